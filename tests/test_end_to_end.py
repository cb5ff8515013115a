"""One small experiment through the real command, from a CSV file to a network loaded by strangers.

The tests tell one story in the order of the file: a sweep is interrupted, goes on, has nothing left
to do, and loses a run. Each start happens once, in a fixture.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import warm_python

from gridcast import config
from gridcast.runtime.network_inputs import network_inputs
from gridcast.sweep import events, plan, runner
from gridcast.sweep.worker_job import WorkerSettings
from gridcast.tracking import store
from small_experiments import gridcast, sales, write_experiment

pytestmark = pytest.mark.xdist_group("end to end")

DAYS = 200
FRAME = sales(DAYS)
SECTIONS = {
    "baselines": ["ridge"],
    "data": {"past": ["price"], "calendar": "regular"},
    "window": {"horizon": 2},
    "transform": {"log1p": True},
    "baseline": {"attention": True},
    # The second takes longer to compile: a Ctrl-C after the first comes before its end.
    "grid": [{"learning_rate": [0.01]}, {"learning_rate": [0.001], "layers": [2]}],
    "training": {"seeds": [0, 1]},
}


@dataclass(frozen=True)
class Ended:
    """How a start of the command ended, and every run that the store knew afterwards, newest first."""

    code: int
    out: str
    err: str
    runs: list

    def tested(self):
        return [run for run in self.runs if "gridcast.tested" in run.data.tags]

    def of(self, kind, status="FINISHED"):
        return [run for run in self.runs if run.data.tags["gridcast.kind"] == kind and run.info.status == status]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("end_to_end")
    FRAME.to_csv(folder / "sales.csv", index=False)
    write_experiment(folder / "small.yaml", "sales.csv", **SECTIONS)
    return folder


def environment(**variables):
    unset = ("MLFLOW_TRACKING_URI", "KERAS_BACKEND")
    return {name: value for name, value in os.environ.items() if name not in unset} | variables


def client_of(uri):
    import mlflow

    return mlflow.MlflowClient(uri)


def stored(uri, experiment):
    client = client_of(uri)
    return list(client.search_runs([client.get_experiment_by_name(experiment).experiment_id], max_results=1000))


def start(folder, *arguments, experiment="small", uri=None, stop_after=None):
    """Run the command in `folder`; once a line begins with `stop_after` it gets a Ctrl-C."""
    command = [sys.executable, "-m", "gridcast.cli", "run", f"{experiment}.yaml", *arguments]
    variables = environment(**({"MLFLOW_TRACKING_URI": uri} if uri else {}))
    with (folder / "stderr").open("w+") as err:
        process = warm_python.Popen(
            command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=err, text=True, start_new_session=True
        )
        lines = []
        with process:
            for line in process.stdout:
                lines.append(line)
                if stop_after and line.startswith(stop_after):
                    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, the workers included
        err.seek(0)
        return Ended(
            process.returncode, "".join(lines), err.read(), stored(uri or f"sqlite:///{folder}/mlflow.db", experiment)
        )


@pytest.fixture(scope="module")
def interrupted(folder):
    return start(folder, "--workers", "2", stop_after="  1/4 ")


@pytest.fixture(scope="module")
def finished(folder, interrupted):
    assert interrupted.runs
    return start(folder, "--workers", "1")


@pytest.fixture(scope="module")
def repeated(folder, finished):
    """The same command once more, in this process: it has nothing to do."""
    assert finished.runs
    done = gridcast(folder, "run", "small.yaml", "--workers", "1")
    return Ended(done.returncode, done.stdout, done.stderr, stored(f"sqlite:///{folder}/mlflow.db", "small"))


@pytest.fixture(scope="module")
def repaired(folder, repeated, planned, programs, jax_backend):
    """The sweep once more, after one of its runs was deleted, in this one process."""
    uri = f"sqlite:///{folder}/mlflow.db"
    lost = repeated.of("run")[-1]  # a worker of the first start trained it
    client_of(uri).delete_run(lost.info.run_id)
    with contextlib.chdir(folder):
        result = runner.run_sweep(
            planned, store.open_store("small", uri), WorkerSettings(1, "jax", programs), events.SweepEvents()
        )
    return lost, result, Ended(0, "", "", stored(uri, "small"))


@pytest.fixture(scope="module")
def planned(folder):
    with contextlib.chdir(folder):
        text = Path("small.yaml").read_text()
        return plan.make_plan(config.read("small.yaml"), text, "jax")


def winner(ended):
    """The best seed of the configuration with the best mean over seeds."""
    runs = pd.DataFrame(
        {"rate": run.data.params["learning_rate"], "loss": run.data.metrics["best_val_loss"], "run": run}
        for run in ended.of("run")
    )
    best = runs[runs["rate"] == runs.groupby("rate")["loss"].mean().idxmin()]
    return best.loc[best["loss"].idxmin(), "run"]


def test_ctrl_c_ends_with_130_and_keeps_what_is_finished(interrupted):
    done = len(interrupted.of("run"))
    assert interrupted.code == 130
    assert 1 <= done < 4
    interrupted_with = re.fullmatch(
        r"interrupted with (\d) of 4 runs finished(; \d of them wait in \S+ for MLflow)?"
        r"; the same command continues with the rest\n",
        interrupted.err,
    )
    assert interrupted_with
    assert done <= int(interrupted_with[1]) < 4
    assert len(interrupted.of("sweep", "KILLED")) == 1


def test_the_next_start_goes_on_and_finishes_the_sweep(interrupted, finished):
    before = len(interrupted.of("run"))
    assert (finished.code, finished.err) == (0, "")
    assert f"  {before} runs are finished already, {4 - before} to go\n" in finished.out
    assert f"{4 - before} runs trained, {before} finished before, 0 failed, in " in finished.out
    assert {run.info.run_id for run in interrupted.of("run")} < {run.info.run_id for run in finished.of("run")}


def test_there_is_one_finished_parent_with_the_experiment_in_it(folder, finished, planned):
    (parent,) = finished.of("sweep")
    assert parent.data.tags["gridcast.fingerprint"] == planned.fingerprint
    client = client_of(f"sqlite:///{folder}/mlflow.db")
    kept = Path(client.download_artifacts(parent.info.run_id, "", str(folder / "parent")))
    assert (kept / "experiment.yaml").read_text() == (folder / "small.yaml").read_text()
    assert json.loads((kept / "sweep.json").read_text())["run_keys"] == list(planned.runs)


def test_every_run_of_the_grid_has_one_finished_child_with_all_that_the_contract_says(folder, finished, planned):
    (parent,) = finished.of("sweep")
    children = finished.of("run")
    client = client_of(f"sqlite:///{folder}/mlflow.db")
    assert sorted(run.data.tags["gridcast.run_key"] for run in children) == sorted(planned.runs)
    for child in children:
        tags, metrics = child.data.tags, child.data.metrics
        run = planned.runs[tags["gridcast.run_key"]]
        assert tags["gridcast.sweep"] == parent.info.run_id
        assert "mlflow.parentRunId" not in tags  # else MLflow would fold the grid below its sweep
        assert tags["gridcast.seed"] == str(run.seed)
        assert child.data.params == {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in planned.run_params(run).items()
        }
        curves = {
            name: [point.value for point in client.get_metric_history(child.info.run_id, name)]
            for name in ("loss", "val_loss", "mae", "val_mae")
        }
        assert {len(curve) for curve in curves.values()} == {2}
        assert metrics["epochs_trained"] == 2
        assert metrics["best_val_loss"] == min(curves["val_loss"]) == curves["val_loss"][int(metrics["best_epoch"]) - 1]
        assert metrics["best_val_mae"] > 10 * metrics["val_mae"]  # pieces, not scaled units
        assert metrics["fit_seconds"] > 0


def test_winner_and_baselines_and_nobody_else_meet_the_test_span(finished, planned):
    (tested,) = finished.tested()
    assert tested.data.tags["gridcast.run_key"] == winner(finished).data.tags["gridcast.run_key"]
    baselines = finished.of("baseline")
    assert {run.data.tags["mlflow.runName"]: run.data.tags["gridcast.run_key"] for run in baselines} == {
        name: planned.baseline_keys[name] for name in ("own settings", *planned.baseline_names)
    }
    last = next(run for run in baselines if run.data.tags["mlflow.runName"] == "last value")
    index = planned.dataset.origins("test", 7)
    actual, known = planned.dataset.targets(index), planned.panel.target[index[:, 0], index[:, 1] - 1]
    assert last.data.metrics["test_mae"] == pytest.approx(np.abs(actual - known[:, None]).mean())
    assert f"{last.data.metrics['test_mase']:.4g}" in finished.out
    others = [run for run in finished.of("run") if run.info.run_id != tested.info.run_id]
    assert not any(name.startswith("test_") for run in others for name in run.data.metrics)


def test_models_rank_by_their_metrics_as_the_runs_do(folder, finished):
    client = client_of(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("small").experiment_id
    models = client.search_logged_models([experiment], order_by=[{"field_name": "metrics.best_val_loss"}])
    ranked = sorted(finished.of("run"), key=lambda run: run.data.metrics["best_val_loss"])
    assert [model.source_run_id for model in models] == [run.info.run_id for run in ranked]
    (tested,) = finished.tested()
    values = {metric.key: metric.value for model in models for metric in model.metrics if metric.key == "test_mase"}
    assert values == {"test_mase": tested.data.metrics["test_mase"]}
    assert {metric.dataset_name for model in models for metric in model.metrics} == {"sales.csv"}


def test_the_sweep_has_the_axes_the_numbers_and_the_verdict(finished):
    (sweep,) = finished.of("sweep")
    assert sweep.data.params["learning_rate"] == "0.01, 0.001"
    (tested,) = finished.tested()
    assert sweep.data.metrics["winner_test_mase"] == pytest.approx(tested.data.metrics["test_mase"])
    baselines = [run.data.metrics["test_mase"] for run in finished.of("baseline")]
    assert sweep.data.metrics["best_baseline_test_mase"] == pytest.approx(min(baselines))
    assert (sweep.data.metrics["runs_trained"], sweep.data.metrics["runs_failed"]) == (4, 0)
    assert sweep.data.tags["gridcast.verdict"].splitlines()[0] in sweep.data.tags["mlflow.note.content"]
    assert f"/runs/{winner(finished).info.run_id})" in sweep.data.tags["mlflow.note.content"]


def test_a_report_is_written(folder, finished):
    assert "Report: reports/small/report.html\n" in finished.out
    written = {path.name for path in (folder / "reports" / "small").iterdir()}
    # Two steps ahead, with attention: the last forecasts, the error by step, and what the winner leans on.
    assert {"report.html", "fan_charts.png", "error_by_step.png", "inputs.png"} <= written


def test_the_winner_is_explained_on_the_validation_span(folder, finished, planned):
    (tested,) = finished.tested()
    client = client_of(f"sqlite:///{folder}/mlflow.db")
    explanation = json.loads(Path(client.download_artifacts(tested.info.run_id, "importance.json")).read_text())
    assert explanation["windows"] == len(planned.dataset.origins("validation", 7))
    named = {(part["kind"], part["name"]) for part in explanation["permuted"]}
    assert named == {("target", "quantity"), ("covariate", "price"), *(("lag", f"lag {k}") for k in range(1, 8))}
    assert [part["lag"] for part in explanation["attention"]] == [1, 2, 3, 4, 5, 6, 7]
    assert sum(part["share"] for part in explanation["attention"]) == pytest.approx(100)


def test_the_command_writes_nowhere_else(folder, finished):
    assert finished.code == 0
    known = {"sales.csv", "small.yaml", "stderr", "mlflow.db", "mlruns", ".gridcast", "reports", "parent"}
    assert {path.name for path in folder.iterdir()} <= known


def test_a_second_start_trains_nothing_and_adds_no_run(finished, repeated):
    assert (repeated.code, repeated.err) == (0, "")
    assert "0 runs trained, 4 finished before, 0 failed, in " in repeated.out
    assert {run.info.run_id for run in repeated.runs} == {run.info.run_id for run in finished.runs}


def test_a_deleted_run_is_trained_again_and_it_alone(repeated, repaired):
    lost, result, ended = repaired
    assert (result.trained, result.skipped, result.failed) == (1, 3, 0)
    before, after = ({run.info.run_id: run for run in found.of("run")} for found in (repeated, ended))
    (new,) = set(after) - set(before)
    assert set(before) - set(after) == {lost.info.run_id}
    assert after[new].data.tags["gridcast.run_key"] == lost.data.tags["gridcast.run_key"]
    # One process alone gives the very weights that a worker gave.
    assert after[new].data.metrics["best_val_loss"] == lost.data.metrics["best_val_loss"]


DOORS = """
import json, sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "gridcast":
            raise ModuleNotFoundError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocked())
for name in [name for name in sys.modules if name.split(".")[0] == "gridcast"]:
    del sys.modules[name]
import keras
keras.saving.get_custom_objects().clear()
import mlflow, numpy, pandas
uri = sys.argv[1]
network = mlflow.keras.load_model(uri)
windows = dict(numpy.load("windows.npz"))
scaled = numpy.asarray(network.predict_on_batch(windows)).tolist()
table = mlflow.pyfunc.load_model(uri).predict(pandas.read_csv("sales.csv"), params={"horizon": 3})
# As `mlflow models predict` does it.
from mlflow.pyfunc.scoring_server import _predict
example = mlflow.artifacts.download_artifacts(f"{uri}/serving_input_example.json")
_predict(uri, example, "answer.json", "json")
import keras
print(json.dumps([keras.backend.backend(), scaled, table.assign(date=table["date"].astype(str)).to_dict("list")]))
"""


@pytest.fixture(scope="module")
def doors(folder, finished, planned):
    """What both doors of the winner's artifact give in processes without gridcast, by backend.

    The one on TensorFlow has never had it; the one on JAX starts with the imports done, and loses its modules and the
    layers that they registered.
    """
    preprocessing, dataset = planned.dataset.preprocessing, planned.dataset
    index = np.stack([np.arange(2), np.full(2, DAYS)], axis=1)
    np.savez(folder / "windows.npz", **network_inputs(preprocessing, dataset.channels, index, dataset.series_codes))
    found = {}
    for backend in ("jax", "tensorflow"):
        variables = environment(KERAS_BACKEND=backend, MLFLOW_TRACKING_URI=f"sqlite:///{folder}/mlflow.db")
        command = [sys.executable, "-c", DOORS, f"runs:/{winner(finished).info.run_id}/model"]
        done = warm_python.run(command, cwd=folder, env=variables)
        assert done.returncode == 0, done.stderr
        named, scaled, table = json.loads(done.stdout.splitlines()[-1])
        assert named == backend
        answer = json.loads((folder / "answer.json").read_text())["predictions"]
        found[backend] = np.array(scaled), pd.DataFrame(table), pd.DataFrame(answer)
    return found


def test_both_doors_give_the_same_on_both_backends_where_gridcast_is_not_installed(doors):
    (networks, tables, answers) = zip(*doors.values(), strict=True)
    np.testing.assert_allclose(networks[0], networks[1], atol=1e-5)
    np.testing.assert_allclose(tables[0]["forecast"], tables[1]["forecast"], rtol=1e-5)
    pd.testing.assert_frame_equal(tables[0].drop(columns="forecast"), tables[1].drop(columns="forecast"))
    for table, answer in zip(tables, answers, strict=True):  # the input example is the end of the first series
        assert answer["product"].tolist() == ["apple"] * 2
        np.testing.assert_allclose(answer["forecast"], table["forecast"][:2], rtol=1e-5)


def test_both_doors_lead_to_the_same_forecast(doors, planned):
    scaled, table, _ = doors["jax"]
    expected = planned.dataset.preprocessing.target_scaler.inverse(scaled)
    np.testing.assert_allclose(table["forecast"].to_numpy().reshape(2, 3)[:, :2], expected, rtol=1e-5)
    assert table["product"].tolist() == ["apple"] * 3 + ["pear"] * 3
    assert table["date"].tolist() == ["2023-07-21", "2023-07-22", "2023-07-23"] * 2
    assert table["rolled_forward"].tolist() == [False, False, True] * 2


def test_the_artifact_holds_what_it_needs_and_no_pickle(folder, finished):
    client = client_of(f"sqlite:///{folder}/mlflow.db")
    for run in finished.of("run"):
        (model,) = run.outputs.model_outputs
        root = Path(client.get_logged_model(model.model_id).artifact_location.removeprefix("file://"))
        files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        assert {"MLmodel", "requirements.txt", "python_env.yaml", "data/model.keras", "data/forecaster.json"} | {
            "code.zip",
            "input_example.json",
            "serving_input_example.json",
        } == set(files)
        for name in ("data/model.keras", "code.zip"):
            with zipfile.ZipFile(root / name) as packed:
                files |= {part: packed.read(part) for part in packed.namelist()}
        assert not [name for name, content in files.items() if content.startswith(b"\x80")]  # as every pickle does
        assert b"gridcast" not in files["config.json"]


@pytest.fixture(scope="module")
def failing(folder):
    """A sweep in another store: squares of such numbers are no floats any more, their sizes are."""
    FRAME.assign(quantity=FRAME["quantity"] * 1e22).to_csv(folder / "large.csv", index=False)
    write_experiment(
        folder / "large.yaml",
        "large.csv",
        name="large",
        **SECTIONS
        | {
            "transform": {"scale": "none"},
            "grid": {"loss": ["mse", "mae"]},
            "training": {"seeds": [0]},
            "selection": {"metric": "best_val_mae"},
        },
    )
    (folder / "elsewhere").mkdir()
    return start(folder, "--workers", "1", experiment="large", uri=f"sqlite:///{folder}/elsewhere/other.db")


@pytest.mark.slow
def test_a_run_that_fails_is_recorded_with_its_reason_and_the_sweep_goes_on(failing):
    reason = "the loss is no longer finite in epoch 1; a lower learning rate may help"
    (failed,) = failing.of("run", "FAILED")
    (done,) = failing.of("run")
    assert (failed.data.params["loss"], done.data.params["loss"]) == ("mse", "mae")
    assert failed.data.tags["gridcast.error"] == reason
    assert failed.data.tags["gridcast.sweep"] == done.data.tags["gridcast.sweep"]
    assert len(failing.of("sweep", "FAILED")) == 1
    assert failing.code == 1
    assert failing.err.endswith("error: 1 of 2 runs failed; see the reasons above or in MLflow\n")
    assert f": {reason}\n" in failing.out
    assert "1 runs trained, 0 finished before, 1 failed, in " in failing.out


@pytest.mark.slow
def test_the_tracking_uri_of_the_environment_is_used(folder, failing):
    assert failing.runs
    client = client_of(f"sqlite:///{folder}/mlflow.db")
    assert client.get_experiment_by_name("large") is None
