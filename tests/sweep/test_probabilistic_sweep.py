"""A small probabilistic grid through the real command, to quantiles from a registered model on both backends."""

import contextlib
import io
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from gridcast import cli
from gridcast.tracking import store
from small_experiments import sales, write_experiment

FRAME = sales(110).assign(quantity=lambda table: table["quantity"].round().clip(lower=0))
SECTIONS = {
    "name": "orders",
    "task": "probabilistic",
    "data": {"past": ["price"], "future": ["day_of_week"]},
    "window": {"horizon": 2},
    "probabilistic": {"quantiles": [0.1, 0.5, 0.9], "paths": 60},
    "grid": {"likelihood": ["student-t", "negative-binomial"]},
    "training": {"epochs": 3, "patience": 3, "steps": 5},
    "selection": {"metric": "best_val_wql", "promote_to": "orders", "when_beaten": "warn"},
}
ASKED = (None, {"horizon": 4, "quantiles": [0.05, 0.5, 0.95], "seed": 3}, {"horizon": 4, "quantiles": [0.5], "seed": 3})
DOOR = """
import json, sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "gridcast":
            raise ModuleNotFoundError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocked())
import mlflow, pandas
model = mlflow.pyfunc.load_model("models:/orders@champion")
table = pandas.read_csv("orders.csv")
found = [model.predict(table, params=params) for params in json.loads(sys.argv[1])]
network = mlflow.keras.load_model("models:/orders@champion")
import keras
shapes = {tensor.name: tensor.shape for tensor in network.inputs}
print(json.dumps([keras.backend.backend(), [one.astype(str).to_dict("list") for one in found], shapes]))
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory, jax_backend):
    """The folder of a sweep by the command, called in this process."""
    folder = tmp_path_factory.mktemp("probabilistic")
    FRAME.to_csv(folder / "orders.csv", index=False)
    write_experiment(folder / "orders.yaml", "orders.csv", **SECTIONS)
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stderr(io.StringIO()) as noise,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setattr("gridcast.reporting.report.draw_figures", lambda *_: {})  # pictures say nothing here
        patch.setattr(sys, "argv", ["gridcast", "run", "orders.yaml", "--workers", "1"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert (ended.value.code, noise.getvalue()) == (0, "")
    return folder


def stored(folder, kind):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("orders").experiment_id
    return client, list(client.search_runs([experiment], f"tags.`gridcast.kind` = '{kind}'"))


def test_every_run_is_recorded_with_its_likelihood_and_what_it_is_worth(swept):
    _, runs = stored(swept, "run")
    assert {run.data.params["likelihood"] for run in runs} == {"student-t", "negative-binomial"}
    for run in runs:
        assert 0 < run.data.metrics["best_val_wql"] < 1
        assert np.isfinite(run.data.metrics["best_val_loss"])


def test_the_winner_is_tested_with_its_quantiles(swept):
    client, runs = stored(swept, "run")
    (tested,) = (run for run in runs if "gridcast.tested" in run.data.tags)
    best = min(runs, key=lambda run: run.data.metrics["best_val_wql"])
    assert tested.data.tags["gridcast.run_key"] == best.data.tags["gridcast.run_key"]
    table = pd.read_parquet(client.download_artifacts(tested.info.run_id, "test_forecasts.parquet", str(swept)))
    assert (table["q0.1"] <= table["q0.5"]).all()
    assert (table["q0.5"] <= table["q0.9"]).all()
    np.testing.assert_array_equal(table["forecast"], table["q0.5"])
    assert 0 < tested.data.metrics["test_wql"] < 1
    assert tested.data.metrics["test_crps"] == pytest.approx(table["crps"].mean())
    assert 0 < tested.data.metrics["test_crps"] < tested.data.metrics["test_mae"]


def asked(swept, backend):
    """What the registered model answers in a process without gridcast, and the shapes of its inputs."""
    variables = os.environ | {"KERAS_BACKEND": backend, "MLFLOW_TRACKING_URI": f"sqlite:///{swept}/mlflow.db"}
    command = [sys.executable, "-c", DOOR, json.dumps(ASKED)]
    done = subprocess.run(command, cwd=swept, env=variables, capture_output=True, text=True, check=True)
    named, tables, shapes = json.loads(done.stdout.splitlines()[-1])
    assert named == backend
    return [pd.DataFrame(table) for table in tables], shapes


@pytest.fixture(scope="module")
def answers(swept):
    """What the registered model answers in this process."""
    store.connect(f"sqlite:///{swept}/mlflow.db")
    from mlflow import pyfunc

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))  # MLflow leaves the model's code there
        model = pyfunc.load_model("models:/orders@champion", suppress_warnings=True)
    table = pd.read_csv(swept / "orders.csv")
    return [model.predict(table, params=params).astype(str) for params in ASKED]


@pytest.mark.slow
def test_the_registered_model_answers_with_the_same_quantiles_on_both_backends(swept):
    (ours, shapes), (theirs, others) = asked(swept, "jax"), asked(swept, "tensorflow")
    assert set(shapes) == set(others) == {"signal"}
    for one, other in zip(ours, theirs, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_quantiles_horizon_and_seed_are_as_asked(answers):
    default, far, median = answers
    assert list(default) == ["product", "date", "forecast", "q0.1", "q0.5", "q0.9", "rolled_forward"]
    assert list(far) == ["product", "date", "forecast", "q0.05", "q0.5", "q0.95", "rolled_forward"]
    assert far["rolled_forward"].tolist() == ["False", "False", "True", "True"] * 2
    low, middle, high = (far[name].astype(float) for name in ("q0.05", "q0.5", "q0.95"))
    assert ((low <= middle) & (middle <= high)).all()
    assert (low < high).any()
    assert far["forecast"].tolist() == far["q0.5"].tolist() == median["q0.5"].tolist()
