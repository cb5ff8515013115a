"""The plug-ins of experiments/plugins go through grid, fused engine, report, promotion, serving and both doors."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import yaml

from gridcast import config
from gridcast.config import plugins
from gridcast.reporting import record, report
from gridcast.runtime.model_files import MEMBERS_FILE
from gridcast.sweep import candidates, events, plan, runner
from gridcast.sweep.worker_job import WorkerSettings
from gridcast.tracking import mlflow_runs, model_loading, promotion, store
from small_experiments import EXPERIMENTS, SMALL, sales, settings

pytestmark = pytest.mark.usefixtures("jax_backend")
FOLDER = EXPERIMENTS / "plugins"
FRAME = sales(130)
SECTIONS = {
    **SMALL,
    "name": "own",
    "baselines": ["drift"],
    "grid": {"layer": ["TCN", "Transformer", "N-HiTS"]},
    "training": {"epochs": 1, "engine": "fused"},
    "search": {"confirm": "none"},
    "selection": {"promote_to": "own", "when_beaten": "warn", "ensemble": {"top": 3}},
}
DOORS = """
import json, os, sys
os.environ["KERAS_BACKEND"] = "jax"
import mlflow, mlflow.keras, pandas
mlflow.set_tracking_uri(sys.argv[1])
models, data = sys.argv[3:], pandas.read_csv(sys.argv[2])
forecasts = [mlflow.pyfunc.load_model(model).predict(data)["forecast"].tolist() for model in models]
shapes = [mlflow.keras.load_model(model).output_shape for model in models[1:]]
print(json.dumps([forecasts, shapes, "gridcast" in sys.modules]))
"""


@pytest.fixture(scope="module")
def own():
    return plugins.from_file(FOLDER / "networks.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("plugins")


@pytest.fixture(scope="module")
def swept(folder, own, programs, jax_backend):
    """The plan, the store and the result of a sweep of one epoch, in this process."""
    FRAME.to_csv(folder / "sales.csv", index=False)
    text = yaml.safe_dump(settings(str(folder / "sales.csv"), **SECTIONS))
    planned = plan.make_plan(config.parse(text, "own.yaml", own), text, "jax")
    opened = store.open_store("own", f"sqlite:///{folder}/mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "is_better", lambda *_: True)  # the ensemble, so that all three are promoted
        result = runner.run_sweep(planned, opened, WorkerSettings(1, "jax", programs), events.SweepEvents())
    return planned, opened, result


def test_the_file_is_short_and_its_experiment_is_valid(own):
    assert len((FOLDER / "networks.py").read_text().splitlines()) <= 150
    experiment = config.read(FOLDER / "retail.yaml", own)
    assert {"TCN", "Transformer", "N-HiTS"} <= experiment.axis_values("layer")
    assert own.callbacks.keys() == {"halve on plateau"}


def test_the_sweep_trains_each_network_and_computes_the_baseline(swept):
    planned, _, result = swept
    assert (result.trained, result.failed, result.failed_baselines) == (3, 0, {})
    assert np.isfinite(result.test_measures["drift"]["mase"])
    assert all(measures["overstock"] >= 0 for measures in result.test_measures.values())
    assert planned.engine == "fused"


def test_the_report_names_them_without_the_file(swept, folder, monkeypatch):
    _, opened, _ = swept
    monkeypatch.setattr(report, "draw_figures", lambda *_: {})  # pictures say nothing here
    report.write_report(record.read_sweep(opened, "own"), opened, folder / "reports")
    text = (folder / "reports" / "own" / "report.html").read_text()
    assert all(name in text for name in ("TCN", "Transformer", "N-HiTS", "drift", "overstock"))


def test_the_sweep_keeps_the_text_of_the_file(swept):
    _, opened, result = swept
    text = mlflow_runs.read_artifact(opened, result.sweep_id, "plugin-1.py").decode()
    about = json.loads(mlflow_runs.read_artifact(opened, result.sweep_id, "sweep.json"))["plugins"]
    assert text == (FOLDER / "networks.py").read_text()
    assert about["networks"]["TCN"].startswith(f"{FOLDER / 'networks.py'}, line ")


@pytest.fixture(scope="module")
def promoted(swept):
    planned, opened, result = swept
    return promotion.promote(
        planned.experiment, opened, result.winner, test_measures=result.test_measures, evaluate_champion=None
    )


@pytest.mark.usefixtures("one_batch_size")
def test_the_ensemble_of_all_three_is_promoted_and_served(swept, promoted):
    from gridcast.serving.models import loading

    _, opened, result = swept
    assert MEMBERS_FILE in mlflow_runs.read_model_files(opened, result.winner.info.run_id)
    reference = model_loading.find_model(promoted.name, opened.uri)
    [served] = loading.load([reference], opened.uri)
    answers = (
        model.predict(FRAME)["forecast"] for model in (served.model, model_loading.load_model("own", opened.uri))
    )
    np.testing.assert_allclose(*answers, rtol=1e-4)


@pytest.mark.slow
def test_both_doors_open_where_there_is_no_gridcast(swept, promoted, folder):
    _, opened, _ = swept
    runs = [f"runs:/{run.info.run_id}/model" for run in mlflow_runs.search_runs(opened, "tags.`gridcast.kind` = 'run'")]
    unset = ("MLFLOW_TRACKING_URI", "PYTHONPATH")
    variables = {name: value for name, value in os.environ.items() if name not in unset}
    models = [f"models:/{promoted.name}@champion", *runs]
    command = [sys.executable, "-P", "-c", DOORS, opened.uri, str(folder / "sales.csv"), *models]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=True)
    forecasts, shapes, is_imported = json.loads(done.stdout.splitlines()[-1])
    assert (shapes, is_imported) == ([[None, 2]] * 3, False)
    np.testing.assert_allclose(forecasts[0], np.mean(forecasts[1:], axis=0), rtol=1e-4)


def test_the_callback_is_made_for_each_run(swept):
    from gridcast.training import keras_fit

    planned, _, _ = swept
    halved = planned.dataset.training.model_copy(update={"callbacks": ("halve on plateau",)})
    dataset = replace(planned.dataset, training=halved)
    [callback] = keras_fit.own_callbacks(dataset, planned.reference_run.configuration)
    assert callback.factor == 0.5
