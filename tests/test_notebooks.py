"""The tour: both notebooks have the same cells, and both run on a sweep of their own."""

import contextlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from gridcast.config import read
from gridcast.sweep import plan, runner
from gridcast.sweep.events import SweepEvents
from gridcast.sweep.worker_job import WorkerSettings
from gridcast.tracking import promotion
from gridcast.tracking.store import open_store
from small_experiments import SMALL, sales, write_experiment

TOUR = Path(__file__).parent.parent / "notebooks" / "tour.py"


def cells(path):
    """Kind and text of each cell of a Jupyter notebook."""
    return [(cell.cell_type, cell.source) for cell in nbformat.read(path, 4).cells]


def test_the_jupyter_twin_has_the_cells_of_the_marimo_notebook(tmp_path):
    """When it has not: make notebooks."""
    command = [sys.executable, "-m", "marimo", "export", "ipynb", TOUR, "--output", tmp_path / "tour.ipynb"]
    subprocess.run([*command, "--sort", "top-down", "--no-include-outputs"], check=True, capture_output=True)
    assert cells(TOUR.with_suffix(".ipynb")) == cells(tmp_path / "tour.ipynb")


def test_the_jupyter_twin_is_kept_without_outputs():
    """They would come from somebody's machine, and change with every run."""
    found = nbformat.read(TOUR.with_suffix(".ipynb"), 4).cells
    assert not [cell for cell in found if cell.get("outputs") or cell.get("execution_count")]


@pytest.fixture(scope="module")
def swept(tmp_path_factory, programs, jax_backend):
    """A folder with the history and the MLflow record of a small sweep, and the environment that names them."""
    folder = tmp_path_factory.mktemp("tour")
    sales(130).to_csv(folder / "sales.csv", index=False)
    grid, selection = {"learning_rate": [0.01, 0.003]}, {"promote_to": "shop", "when_beaten": "warn"}
    path = write_experiment(
        folder / "small.yaml",
        str(folder / "sales.csv"),
        **SMALL,
        grid=grid,
        selection=selection,
        baselines=["last value"],
    )
    uri = f"sqlite:///{folder}/mlflow.db"
    planned = plan.make_plan(read(path), path.read_text(), "jax")
    with contextlib.chdir(folder):
        store = open_store("small", uri)
        result = runner.run_sweep(planned, store, WorkerSettings(1, "jax", programs), SweepEvents())
    promotion.promote(
        planned.experiment,
        store,
        result.winner,
        test_measures=result.test_measures,
        evaluate_champion=lambda _: {"mase": np.inf},
    )
    names = {"GRIDCAST_MODEL": "shop", "GRIDCAST_HISTORY": str(folder / "sales.csv"), "MLFLOW_TRACKING_URI": uri}
    return folder, names


@pytest.mark.slow
def test_the_marimo_notebook_runs(swept, monkeypatch):
    folder, names = swept
    monkeypatch.chdir(folder)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("tour", TOUR)
    tour = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tour)
    _, found = tour.app.run()
    forecast, leaderboard = found["forecast"], found["leaderboard"]
    assert forecast.groupby("product").size().to_dict() == {"apple": 14, "pear": 14}
    assert np.isfinite(forecast["forecast"]).all()
    assert forecast["rolled_forward"].sum() == 2 * 12
    assert leaderboard["learning_rate"].tolist() in (["0.01", "0.003"], ["0.003", "0.01"])
    assert leaderboard["best_val_loss"].is_monotonic_increasing
    drawn = {line.get_label(): line.get_ydata() for line in found["axes"].lines}
    assert drawn["forecast"].tolist() == forecast[forecast["product"] == "apple"]["forecast"].tolist()
    assert len(drawn["history"]) == 60


@pytest.mark.slow
def test_the_jupyter_twin_runs(swept):
    from nbclient import NotebookClient

    folder, names = swept
    notebook = nbformat.read(TOUR.with_suffix(".ipynb"), 4)
    client = NotebookClient(notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute(env=os.environ | names)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    tables = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert "rolled_forward" in tables[0]
    assert "learning_rate" in tables[1]
