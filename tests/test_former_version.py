"""A project of version 0.1.0 works with this version: its sweeps, models, API keys, prediction log, stream record.

`former/state.tar.xz` is a project folder as commit a5b2b02 left it, and `former/expected.json` holds the answers that
commit gave itself; see `former/make_state.py`. The tests use the command line, MLflow, HTTP and the SQLite files alone.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
import warm_python

from tracking_servers import free_port, wait

pytestmark = [
    pytest.mark.usefixtures("jax_backend"),
    pytest.mark.xdist_group("former version"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),  # MLflow's own imports
]

STATE = Path(__file__).parent / "former" / "state.tar.xz"
EXPECTED = json.loads(STATE.with_name("expected.json").read_text())
EXPERIMENTS = ("sales", "per-product", "combined", "demand", "quantiles", "pump")
FORECASTERS = EXPERIMENTS[:-1]


def daily(*names: str) -> list[Any]:
    """All experiments, those that are not named with the slow tests: loading and compiling takes seconds for each."""
    return [name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in EXPERIMENTS]


RECORD = Path(".gridcast", "streams", "pump.sqlite")
SERVING = Path(".gridcast", "serving")
FORMER_EVENT = "pump/2024-01-01T08:35:00"
NEXT_EVENT = "pump/2024-01-01T12:15:00"
# The same model gives the same numbers on one machine. Instruction sets (SSE4.2 against AVX-512) change the last bits
# of float32: 7e-7 of a detector's score, 1e-7 of a forecast.
NEAR: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-6}


@dataclass(frozen=True)
class Ended:
    """How the command ended."""

    code: int
    out: str
    err: str


def gridcast(*words: str) -> Ended:
    """The command, in this process and in the working directory."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["gridcast", *words])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module("gridcast.cli", run_name="__main__")
    return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Project:
    """The project in a new place: `refused` is a command before its paths were mended, `repaired` is `doctor --fix`."""

    folder: Path
    refused: Ended
    repaired: Ended

    @property
    def client(self) -> Any:
        import mlflow

        return mlflow.MlflowClient(f"sqlite:///{self.folder}/mlflow.db")

    def runs(self, name: str) -> dict[str, Any]:
        """All MLflow runs of an experiment, by id."""
        experiment = self.client.get_experiment_by_name(name)
        return {run.info.run_id: run for run in self.client.search_runs([experiment.experiment_id], max_results=1000)}

    def aliases(self, name: str) -> dict[str, int]:
        aliases = self.client.get_registered_model(name).aliases
        return {alias: int(version) for alias, version in aliases.items()}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The working directory of all tests here."""
    import mlflow

    folder = tmp_path_factory.mktemp("former")
    with tarfile.open(STATE) as archive:
        archive.extractall(folder, filter="data")
    before, uri = mlflow.get_tracking_uri(), f"sqlite:///{folder}/mlflow.db"
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        refused = gridcast("report", "pump")
        with pytest.MonkeyPatch.context() as quick:
            # `doctor` also has each backend compute in another process: ten seconds, and of no interest here.
            quick.setattr(sys, "executable", shutil.which("true"))
            repaired = gridcast("doctor", "--fix")
        mlflow.set_tracking_uri(uri)
        yield Project(folder, refused, repaired)
        mlflow.set_tracking_uri(before)


def rows(path: Path, question: str) -> list[tuple[Any, ...]]:
    """Rows of an SQLite file."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(question).fetchall()


def agree(table: pd.DataFrame, expected: dict[str, list[Any]]) -> None:
    """Assert that a table has the same columns and values, numbers within NEAR."""
    assert list(table.columns) == list(expected)
    for column, values in expected.items():
        if isinstance(values[0], float):
            np.testing.assert_allclose(table[column].to_numpy(float), np.array(values, float), **NEAR, err_msg=column)
        elif isinstance(values[0], bool):
            assert table[column].tolist() == values, column
        elif column in ("date", "time"):
            assert pd.to_datetime(table[column]).tolist() == pd.to_datetime(pd.Series(values)).tolist()
        else:
            assert table[column].astype(str).tolist() == values, column


def test_a_moved_project_is_refused_with_the_remedy_which_works(project):
    assert project.refused.code == 1
    assert "gridcast doctor --fix" in project.refused.err
    assert project.repaired.code == 0, project.repaired.out + project.repaired.err
    assert len(list(project.folder.glob("mlflow.db.before-move-*"))) == 1


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_finished_sweep_is_recognised_and_nothing_is_trained(project, name):
    before, versions = project.runs(name), project.aliases(name)
    recorded = {
        run_id: {
            "kind": run.data.tags["gridcast.kind"],
            "key": run.data.tags.get("gridcast.run_key", run.data.tags.get("gridcast.sweep_key")),
            "status": run.info.status,
        }
        for run_id, run in before.items()
        if run.data.tags["gridcast.kind"] != "monitor"
    }
    assert recorded == {
        run_id: {field: about[field] for field in ("kind", "key", "status")}
        for run_id, about in EXPECTED["runs"][name].items()
    }
    page = Path("reports", name, "report.html")
    written = page.read_bytes()
    ended = gridcast("run", f"{name}.yaml", "--workers", "1")
    assert ended.code == 0, ended.err
    after = project.runs(name)
    assert sorted(after) == sorted(before), "the sweep was not recognised: new runs were made"
    for run_id, run in after.items():
        assert run.info.status == "FINISHED"
        assert run.data.metrics == before[run_id].data.metrics
    assert project.aliases(name) == versions
    assert page.read_bytes() == written  # nothing is new, so nothing is reported anew


@pytest.mark.parametrize("name", daily("sales", "combined", "pump"))
def test_the_champion_predicts_the_same_numbers_through_pyfunc(project, name):
    import mlflow

    expected = EXPECTED["doors"][name]
    model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    agree(model.predict(pd.read_csv(expected["table"])), expected["predictions"])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_networks_of_its_runs_answer_the_same_through_keras(project, name):
    import keras
    import mlflow

    def example_input(tensor):
        if "int" in tensor.dtype:
            return np.zeros((2, *tensor.shape[1:]), tensor.dtype)
        shape = (2, *(size or 6 for size in tensor.shape[1:]))
        return np.sin(np.arange(np.prod(shape))).reshape(shape).astype("float32")

    answers = EXPECTED["doors"][name]["networks"]
    assert answers
    for run_id, expected in answers.items():
        network = mlflow.keras.load_model(f"runs:/{run_id}/model")
        outputs = keras.tree.flatten(network(keras.tree.map_structure(example_input, network.input)))
        for output, values in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(np.asarray(output, float).ravel(), values, **NEAR)


@pytest.mark.parametrize("name", daily("per-product", "demand")[:-1])
def test_the_command_line_forecasts_the_same_numbers(project, name):
    expected, run_id = EXPECTED["doors"][name], EXPECTED["champions"][name]
    model = f"runs:/{run_id}/model" if name == "sales" else name
    ended = gridcast("predict", model, expected["table"])
    assert ended.code == 0, ended.err
    agree(pd.read_csv(io.StringIO(ended.out)), expected["predictions"])


@dataclass(frozen=True)
class Service:
    """A service over the project; its `folder` is a copy of the one in which the former version kept keys and log."""

    url: str
    folder: Path
    names: tuple[str, ...]

    def ask(self, path: str, body: Any = None, key: str = EXPECTED["api_key"]) -> requests.Response:
        method = "GET" if body is None else "POST"
        return requests.request(method, self.url + path, json=body, headers={"X-API-Key": key}, timeout=60)


@pytest.fixture(scope="module", params=[("sales", "pump"), pytest.param(EXPERIMENTS[1:-1], marks=pytest.mark.slow)])
def service(
    project: Project, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Service]:
    names = request.param
    folder, port = tmp_path_factory.mktemp("service") / "serving", free_port()
    shutil.copytree(SERVING, folder)
    words = [*names, "--keep", "--folder", str(folder), "--port", str(port)]
    environment = os.environ | {"GRIDCAST_ADMIN_TOKEN": "another-token-than-before-0123456789"}
    command = [sys.executable, "-m", "gridcast.cli", "serve", *words]
    process = warm_python.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    running = Service(f"http://127.0.0.1:{port}", folder, names)

    def ready() -> bool:
        assert process.poll() is None, process.stderr.read()
        try:
            return requests.get(f"{running.url}/", timeout=5).ok
        except requests.ConnectionError:
            return False

    try:
        wait(ready, 180, "no answer of the service")
        yield running
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
        assert process.returncode == 0, log
    finally:
        process.kill()
        process.communicate()


def test_a_former_api_key_opens_the_service_and_no_other_does(service):
    assert service.ask("/models").status_code == 200
    key_id, _, secret = EXPECTED["api_key"].partition(".")
    for wrong in ("", f"{key_id}.{secret[::-1]}"):
        assert service.ask("/models", key=wrong).status_code == 401
    models = {model["model"]: model for model in service.ask("/models").json()["models"]}
    assert {name: model["version"] for name, model in models.items()} == dict.fromkeys(service.names, "1")
    assert {model["run_id"] for model in models.values()} == {EXPECTED["champions"][name] for name in service.names}


def test_the_service_answers_the_same_numbers(service):
    for name in service.names:
        exchange = EXPECTED["http"][name]
        response = service.ask(f"/{exchange['path']}", exchange["body"])
        assert response.status_code == 200, response.text
        same(response.json() | {"elapsed_ms": 0.0}, exchange["answer"] | {"elapsed_ms": 0.0}, name)


def same(value: Any, expected: Any, where: str) -> None:
    """Assert that two JSON values are the same, numbers within NEAR."""
    assert type(value) is type(expected), where
    if isinstance(expected, dict):
        assert sorted(value) == sorted(expected), where
        for field in expected:
            same(value[field], expected[field], f"{where}.{field}")
    elif isinstance(expected, list):
        assert len(value) == len(expected), where
        for number, item in enumerate(expected):
            same(value[number], item, f"{where}[{number}]")
    elif isinstance(expected, float):
        np.testing.assert_allclose(value, expected, **NEAR, err_msg=where)
    else:
        assert value == expected, where


def test_the_service_goes_on_with_the_former_prediction_log(service):
    question = "SELECT request, model, version, history, forecasts FROM served ORDER BY id"
    before = rows(SERVING / "kept.db", question)
    assert {(model, version) for _, model, version, *_ in before} == {(name, "1") for name in FORECASTERS}
    log, name = service.folder / "kept.db", service.names[0]
    count = len(rows(log, question))
    assert service.ask("/predict", EXPECTED["http"][name]["body"]).status_code == 200
    wait(lambda: len(rows(log, question)) > count, 10, "nothing was added to the log")
    after = rows(log, question)
    assert after[: len(before)] == before
    assert after[-1][1:3] == (name, "1")


def test_the_monitor_judges_the_former_prediction_log(project):
    loose = ("--max-error", "1000", "--max-psi", "1000", "--coverage-gap", "1")
    before = project.runs("sales")
    ended = gridcast("monitor", "sales", "actuals.csv", "--served", str(SERVING / "kept.db"), *loose)
    assert ended.code == 0, ended.out + ended.err
    (made,) = project.runs("sales").keys() - before.keys()
    metrics = project.runs("sales")[made].data.metrics
    assert metrics.keys() - EXPECTED["monitor"].keys() == {"trimmed_error_ratio", "judged_steps", "share_off"}
    for metric, value in EXPECTED["monitor"].items():
        np.testing.assert_allclose(metrics[metric], value, **NEAR, err_msg=metric)


@dataclass(frozen=True)
class Followed:
    """The record of the stream as it was, after a look at nothing new, and after a look at one more file."""

    before: dict[str, Any]
    settled: dict[str, Any]
    after: dict[str, Any]
    settling: Ended
    ended: Ended


@pytest.fixture(scope="module")
def followed(project: Project) -> Followed:
    detect = ("detect", "pump", "--follow", "feed", "--once")
    before = record()
    settling = gridcast(*detect)
    settled = record()
    shutil.copy("next.csv", "feed/690.csv")
    ended = gridcast(*detect)
    return Followed(before, settled, record(), settling, ended)


def record() -> dict[str, Any]:
    """Scores by time, events, and alerts of the stream's record."""
    return {
        "scores": dict(rows(RECORD, "SELECT time, score FROM steps ORDER BY time")),
        "events": [event for (event,) in rows(RECORD, "SELECT id FROM events ORDER BY first")],
        "alerts": [list(row) for row in rows(RECORD, "SELECT id, channel, sent IS NOT NULL FROM alerts ORDER BY id")],
        "stretches": rows(RECORD, "SELECT source, rows, repeated FROM stretches ORDER BY id"),
    }


def test_a_stream_goes_on_where_the_former_version_stopped(followed):
    assert (followed.settling.code, followed.ended.code) == (0, 0), followed.settling.err + followed.ended.err
    for moment in ("before", "settled", "after"):
        scores, expected = getattr(followed, moment)["scores"], EXPECTED["stream"][moment]["scores"]
        assert list(scores) == list(expected)
        values = [np.array(list(column.values()), float) for column in (scores, expected)]
        np.testing.assert_allclose(*values, **NEAR, err_msg=moment)


def test_no_step_of_a_stream_is_read_or_scored_twice(followed):
    before, after = followed.before["scores"], followed.after["scores"]
    assert {time: after[time] for time, score in before.items() if score is not None} == {
        time: score for time, score in before.items() if score is not None
    }
    stretches = [stretch for stretch in followed.after["stretches"] if stretch[1]]  # one without rows was a last look
    assert stretches == [*followed.before["stretches"], ("690.csv", 90, 0)]


def test_a_new_event_raises_one_alert_and_an_old_one_none(followed):
    assert followed.before["alerts"] == [[FORMER_EVENT, "console", 1]]
    assert followed.settled["alerts"] == followed.before["alerts"]
    assert followed.after["alerts"] == [*followed.before["alerts"], [NEXT_EVENT, "console", 1]]
    assert followed.after["events"] == [FORMER_EVENT, NEXT_EVENT]
    assert FORMER_EVENT not in followed.settling.out + followed.ended.out
    assert followed.ended.out.count(NEXT_EVENT) == 1


def test_a_threshold_is_recalibrated_from_the_former_record_and_rolled_back(project, followed):
    ended = gridcast("recalibrate", "pump", str(RECORD), "--force", "to have another threshold")
    assert ended.code == 0, ended.err
    assert project.aliases("pump") == {"champion": 2, "previous": 1}
    tag = project.client.get_model_version("pump", "2").tags["gridcast.threshold"]
    assert float(tag) == pytest.approx(EXPECTED["threshold"], rel=1e-6)
    ended = gridcast("rollback", "pump")
    assert ended.code == 0, ended.err
    assert project.aliases("pump") == {"champion": 1, "previous": 2}


def test_a_champion_stays_champion_where_it_is_promoted_again(project):
    ended = gridcast("promote", "sales.yaml")
    assert ended.code == 0, ended.err
    assert project.aliases("sales") == {"champion": 1}
    assert len(project.client.search_model_versions("name='sales'")) == 1


@pytest.mark.parametrize("name", daily("pump"))
def test_a_report_is_made_of_a_former_sweep(project, name):
    page = Path("reports", name, "report.html")
    left_out = page.read_text()
    try:
        ended = gridcast("report", name)
        assert ended.code == 0, ended.err
        winner = project.client.get_run(EXPECTED["champions"][name])
        assert winner.data.tags["mlflow.runName"] in page.read_text()
        leaderboard = pd.read_csv(page.with_name("leaderboard.csv"))
        trained = [about for about in EXPECTED["runs"][name].values() if about["kind"] == "run"]
        assert len(leaderboard) >= len(trained)
    finally:
        page.write_text(left_out)
