"""MLflow on a real store: runs are written whole, found again, and reported when they cannot be."""

import math
from pathlib import Path

import pytest

from gridcast.runtime.errors import ConfigError, GridcastError, TrackingError
from gridcast.tracking import mlflow_runs, ranking, run_recording
from gridcast.tracking.mlflow_runs import KEY_TAG, KIND_TAG, SweepEntry
from gridcast.tracking.run_recording import RunEntry
from gridcast.tracking.store import DEFAULT_URI, connect, open_store


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracking")
    return f"sqlite:///{folder}/mlflow.db"


@pytest.fixture
def store(uri, request, monkeypatch):
    """An experiment of the test's own."""
    monkeypatch.chdir(Path(uri.removeprefix("sqlite:///")).parent)
    return open_store(request.node.name, uri)


def record(store, key, *, kind="run", **about):
    return run_recording.record_run(store, "parent", RunEntry(f"run {key}", kind, key, **about))


def test_an_experiment_is_made_once(store, uri):
    again = open_store(store.client.get_experiment(store.experiment).name, uri)
    assert again.experiment == store.experiment


def test_an_experiment_that_must_be_there_is_refused_with_a_near_miss(store, uri):
    name = store.client.get_experiment(store.experiment).name
    with pytest.raises(TrackingError, match=rf"no MLflow experiment '{name}s'; did you mean '{name}'\?$"):
        open_store(f"{name}s", uri, create=False)


def test_a_deleted_experiment_is_refused_with_a_remedy(store, uri):
    name = store.client.get_experiment(store.experiment).name
    store.client.delete_experiment(store.experiment)
    with pytest.raises(TrackingError, match=f"^the MLflow experiment '{name}' is deleted; restore it, or rename"):
        open_store(name, uri)


def test_a_store_that_cannot_be_opened_is_a_plain_error(tmp_path):
    (tmp_path / "file").touch()
    for uri in (f"sqlite:///{tmp_path}/file/mlflow.db", "gopher://somewhere"):
        with pytest.raises(TrackingError, match=f"^{uri}: the MLflow store cannot be "):
            connect(uri)


def test_the_uri_of_the_environment_comes_before_the_default_and_after_the_argument(uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert connect()[1] == uri
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "gopher://somewhere")
    assert connect(uri)[1] == uri
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert DEFAULT_URI == "sqlite:///mlflow.db"


def test_a_run_is_written_whole_and_closed_last(store):
    run_id = record(
        store,
        "k1",
        tags={"colour": "red"},
        params={"units": 4, "attention": True, "period": None},
        metrics={"best_val_loss": 0.5},
        curves={"loss": [(1, 3.0), (2, 2.0)]},
        artifacts={"notes.txt": b"hello", mlflow_runs.VALIDATION_FILE: b'{"val_loss_by_origin": [[97, 0.25]]}'},
    )
    run = store.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"units": "4", "attention": "true", "period": "None"}
    assert run.data.metrics == {"best_val_loss": 0.5, "loss": 2.0}
    own = {"mlflow.runName": "run k1", "gridcast.sweep": "parent", KIND_TAG: "run", KEY_TAG: "k1", "colour": "red"}
    assert own.items() <= run.data.tags.items()
    assert mlflow_runs.metric_history(store, run_id, "loss") == {1: 3.0, 2: 2.0}
    assert mlflow_runs.read_artifact(store, run_id, "notes.txt") == b"hello"
    assert mlflow_runs.validation_errors(store, run_id, mlflow_runs.LOSS_BY_ORIGIN) == {97: 0.25}
    assert mlflow_runs.validation_errors(store, run_id, mlflow_runs.MAE_BY_SERIES) == {}


def test_errors_that_version_0_1_recorded_as_a_metric_are_read(store):
    run_id = record(store, "k1", curves={"val_loss_by_origin": [(97, 0.25), (98, 0.5)]})
    assert mlflow_runs.validation_errors(store, run_id, mlflow_runs.LOSS_BY_ORIGIN) == {97: 0.25, 98: 0.5}


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("MLFLOW_EXPERIMENT_NAME", "team", "write name: team in the experiment file"),
        ("MLFLOW_EXPERIMENT_ID", "7", "unset the variable"),
        ("MLFLOW_RUN_ID", "0a1b", "unset the variable"),
    ],
)
def test_another_destination_is_refused_and_nothing_is_made(store, monkeypatch, variable, value, remedy):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=f"^{variable}: '{value}', .*{remedy}$"):
        open_store("ours", store.uri)
    assert store.client.get_experiment_by_name("ours") is None


def test_an_experiment_of_the_wanted_name_is_recorded_but_not_beside_an_active_run(store, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    assert open_store("another", store.uri).experiment != store.experiment
    with (
        mlflow.start_run() as active,
        pytest.raises(ConfigError, match=f"run {active.info.run_id} is active, .*end_run"),
    ):
        open_store("another", store.uri)


def test_a_curve_longer_than_one_batch_is_kept_whole(store):
    curve = [(step, float(step)) for step in range(2 * run_recording.METRICS_PER_REQUEST + 5)]
    run_id = record(store, "k1", curves={"loss": curve})
    assert mlflow_runs.metric_history(store, run_id, "loss") == dict(curve)


def test_a_run_that_could_not_be_written_whole_is_not_finished(store):
    with pytest.raises(ValueError, match="could not convert"):
        record(store, "k1", metrics={"best_val_loss": "a lot"})
    (run,) = mlflow_runs.search_runs(store, f"tags.`{KEY_TAG}` = 'k1'")
    assert run.info.status == "KILLED"
    assert mlflow_runs.finished_runs(store, ["k1"]) == {}


def test_a_failure_keeps_its_reason(store):
    record(store, "k1", params={"units": 4}, error="no good")
    (run,) = mlflow_runs.search_runs(store, "attributes.status = 'FAILED'")
    assert run.data.tags[mlflow_runs.ERROR_TAG] == "no good"
    assert run.data.params == {"units": "4"}
    assert mlflow_runs.finished_runs(store, ["k1"]) == {}


def test_finished_runs_are_found_by_key_and_kind_unless_deleted(store):
    ids = {key: record(store, key) for key in ("k1", "k2", "k3")}
    record(store, "k4", kind="baseline")
    store.client.delete_run(ids["k2"])
    found = mlflow_runs.finished_runs(store, ["k1", "k2", "k4", "k5"])
    assert {key: run.info.run_id for key, run in found.items()} == {"k1": ids["k1"]}
    assert set(mlflow_runs.finished_runs(store, ["k4"], "baseline")) == {"k4"}


def test_a_sweep_that_was_begun_is_gone_on_with(store):
    entry = SweepEntry("s1", "sweep", {"colour": "red"}, {"units": "4, 8"}, {"experiment.yaml": "version: 1\n"})
    first = mlflow_runs.open_sweep(store, entry)
    assert mlflow_runs.open_sweep(store, SweepEntry("s1", "sweep")) == first
    assert mlflow_runs.open_sweep(store, SweepEntry("s2", "sweep")) != first
    data = store.client.get_run(first).data
    assert data.params == {"units": "4, 8"}
    assert {"mlflow.user", "mlflow.source.name", "colour"} <= data.tags.keys()
    assert mlflow_runs.read_artifact(store, first, "experiment.yaml") == b"version: 1\n"
    for status in ("KILLED", "RUNNING", "FINISHED"):
        mlflow_runs.set_run_status(store, first, status)
        assert store.client.get_run(first).info.status == status


def test_an_artifact_that_is_not_there_is_a_plain_error(store):
    run_id = record(store, "k1")
    with pytest.raises(TrackingError, match=f"run {run_id} has no artifact 'nothing.txt'"):
        mlflow_runs.read_artifact(store, run_id, "nothing.txt")


def runs_of(store, losses):
    """Recorded runs: each configuration with one loss per seed."""
    for name, seeds in losses.items():
        for seed, loss in enumerate(seeds):
            tags = {mlflow_runs.CONFIGURATION_TAG: name, mlflow_runs.SEED_TAG: str(seed)}
            record(store, f"{name}{seed}", tags=tags, metrics={"best_val_loss": loss})
    return mlflow_runs.search_runs(store, f"tags.`{KIND_TAG}` = 'run'")


@pytest.mark.parametrize(
    ("losses", "winner"),
    [
        ({"a": [0.5], "b": [0.4], "c": [0.6]}, "b0"),
        ({"a": [0.1, 0.9], "b": [0.4, 0.3]}, "b1"),  # the best mean, not the luckiest seed
        ({"a": [0.1], "b": [0.4, 0.3]}, "b1"),  # one seed alone may be luck
        ({"a": [-math.inf], "b": [math.nan], "c": [math.inf], "d": [0.4]}, "d0"),
        ({"a": [0.4], "b": [0.4]}, "a0"),
    ],
)
def test_the_winner_is_the_best_seed_of_the_best_configuration(store, losses, winner):
    assert ranking.best_run(runs_of(store, losses), "best_val_loss").data.tags[KEY_TAG] == winner


def test_there_is_no_winner_among_runs_without_a_finite_loss(store):
    with pytest.raises(GridcastError, match=r"^no run has a finite best_val_loss$"):
        ranking.best_run(runs_of(store, {"a": [math.nan]}), "best_val_loss")
