"""The tour: both notebooks have the same cells, and both run on a sweep of their own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from matplotlib.figure import Figure

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


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


@pytest.mark.slow
def test_the_marimo_notebook_runs(folder):
    spec = importlib.util.spec_from_file_location("tour", TOUR)
    tour = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tour)
    _, found = tour.app.run()
    forecast, leaderboard = found["forecast"], found["leaderboard"]
    assert forecast.groupby("product").size().to_dict() == {"apple": 14, "pear": 14, "plum": 14}
    assert np.isfinite(forecast["forecast"]).all()
    assert forecast["rolled_forward"].sum() == 3 * 7
    assert leaderboard["learning_rate"].value_counts().to_dict() == {0.01: 2, 0.003: 2}
    assert leaderboard["best_val_loss"].is_monotonic_increasing
    assert isinstance(found["interactions"], Figure)
    drawn = {line.get_label(): line.get_ydata() for line in found["axes"].lines}
    assert drawn["forecast"].tolist() == forecast[forecast["product"] == "apple"]["forecast"].tolist()
    assert len(drawn["history"]) == 60


@pytest.mark.slow
def test_the_jupyter_twin_runs(folder):
    from nbclient import NotebookClient

    notebook = nbformat.read(TOUR.with_suffix(".ipynb"), 4)
    client = NotebookClient(notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute(env=dict(os.environ))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    tables = [output.data["text/html"] for output in outputs if "<table" in output.get("data", {}).get("text/html", "")]
    assert "learning_rate" in tables[-2]
    assert "rolled_forward" in tables[-1]
