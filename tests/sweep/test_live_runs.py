"""Runs in MLflow while they train: opened with the first report, one for each run key, closed with the result."""

import time

import pytest

from gridcast.sweep import records
from gridcast.sweep.live_runs import LiveRuns
from gridcast.tracking import mlflow_runs
from gridcast.tracking.store import open_store
from gridcast.training.progress import ProgressReporter, RunProgress
from gridcast.training.result import PausedRun, TrainingResult
from gridcast.training.run_state import CURVES
from small_experiments import planned, sales

BEGUN = 1_700_000_000.0


class Held:
    """A lease that is always held."""

    def ensure_held(self):
        pass


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("live"), sales(130), grid={"units": [4, 8]})


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return open_store("small", f"sqlite:///{tmp_path}/mlflow.db")


def live(plan, store):
    return LiveRuns(plan, store, "the sweep", Held())


def progress(key, first=1, last=0):
    """A report of some epochs, ten seconds each, whose loss is 1 / epoch."""
    epochs = range(first, last + 1)
    curves = {name: tuple(1 / epoch for epoch in epochs) for name in CURVES}
    return RunProgress(key, BEGUN, first, tuple(BEGUN + 10 * epoch for epoch in epochs), curves)


def result(plan, key, epochs, kind="run"):
    report = progress(key, 1, epochs)
    times = (BEGUN, *report.times)
    if kind == "stopped":
        return records.stopped_entry(plan, key, PausedRun(dict(report.curves), 10.0 * epochs, times))
    (task,) = [task for task in records_tasks(plan) if task.key == key]
    metrics = {"best_val_loss": 1 / epochs, "epochs_trained": epochs}
    return records.run_entry(plan, task, TrainingResult(dict(report.curves), metrics, ((7, 0.5),), {}, times=times))


def records_tasks(plan):
    from gridcast.sweep.task import run_tasks

    return run_tasks(plan, plan.runs, 100)


def the_run(store, key):
    """The only run of a key, as MLflow has it."""
    (run,) = mlflow_runs.search_runs(store, f"tags.`{mlflow_runs.KEY_TAG}` = '{key}'")
    return run


def curve(store, run, name="val_loss"):
    """Pairs of step and seconds since the begin, in the order of recording; no step may stand twice."""
    points = store.client.get_metric_history(run.info.run_id, name)
    assert len({point.step for point in points}) == len(points)
    return sorted((point.step, point.timestamp / 1000 - BEGUN) for point in points)


def test_a_run_is_there_when_it_begins_and_its_curve_grows(plan, store):
    key, shown = next(iter(plan.runs)), live(plan, store)
    shown.show(progress(key))
    begun = the_run(store, key)
    assert (begun.info.status, begun.info.start_time) == ("RUNNING", int(1000 * BEGUN))
    assert begun.data.params.keys() >= {"units", "learning_rate"}
    assert "mlflow.user" in begun.data.tags
    assert [entry.dataset.name for entry in begun.inputs.dataset_inputs] == ["sales.csv"]
    shown.show(progress(key, 1, 2))
    shown.show(progress(key, 3, 3))
    assert curve(store, the_run(store, key)) == [(1, 10), (2, 20), (3, 30)]
    entry = result(plan, key, 5)
    shown.record(entry)
    done = the_run(store, key)
    assert (done.info.run_id, done.info.status) == (begun.info.run_id, "FINISHED")
    assert done.info.end_time == int(1000 * entry.ended)
    for name in CURVES:
        assert curve(store, done, name) == [(epoch, 10 * epoch) for epoch in range(1, 6)]


def test_late_repeated_and_missing_reports_do_no_harm(plan, store):
    key, shown = next(iter(plan.runs)), live(plan, store)
    shown.show(progress(key, 1, 2))
    shown.show(progress(key, 1, 3))  # a worker that died, and another that began at an earlier state
    shown.show(progress(key, 6, 7))  # epochs 4 and 5 were lost on the way
    assert curve(store, the_run(store, key)) == [(1, 10), (2, 20), (3, 30)]
    for _ in range(2):  # the answer to the first may have been lost
        shown.record(result(plan, key, 8))
    shown.show(progress(key, 1, 1))
    assert the_run(store, key).info.status == "FINISHED"
    assert [step for step, _ in curve(store, the_run(store, key))] == list(range(1, 9))
    live(plan, store).show(progress(key, 1, 1))
    assert the_run(store, key).info.status == "FINISHED"


def test_after_a_kill_the_same_run_goes_on(plan, store):
    key = next(iter(plan.runs))
    live(plan, store).show(progress(key, 1, 4))
    first = the_run(store, key)
    mlflow_runs.close_stale_runs(store)
    assert the_run(store, key).info.status == "KILLED"
    again = live(plan, store)
    again.show(progress(key, 1, 3))  # from a state before the kill
    assert the_run(store, key).info.status == "RUNNING"
    again.show(progress(key, 4, 6))
    again.record(result(plan, key, 6))
    done = the_run(store, key)
    assert (done.info.run_id, done.info.status) == (first.info.run_id, "FINISHED")
    assert curve(store, done) == [(epoch, 10 * epoch) for epoch in range(1, 7)]


def test_stopped_failed_and_interrupted_runs_show_as_what_they_are_and_may_go_on(plan, store):
    key, other = plan.runs
    shown = live(plan, store)
    shown.show(progress(key, 1, 2))
    shown.record(result(plan, key, 2, "stopped"))
    stopped = the_run(store, key)
    assert (stopped.info.status, stopped.data.tags[mlflow_runs.KIND_TAG]) == ("FINISHED", "stopped")
    (task,) = [task for task in records_tasks(plan) if task.key == other]
    shown.show(progress(other, 1, 1))
    shown.record(records.failure_entry(plan, task, "the loss is no longer finite"))
    assert (the_run(store, other).info.status, len(curve(store, the_run(store, other)))) == ("FAILED", 1)
    again = live(plan, store)
    for one in plan.runs:
        again.show(progress(one, 1, 3))
    again.record(result(plan, key, 3))
    again.close()
    done, interrupted = (the_run(store, one) for one in plan.runs)
    assert (done.info.status, done.data.tags[mlflow_runs.KIND_TAG]) == ("FINISHED", "run")
    assert done.info.run_id == stopped.info.run_id
    assert interrupted.info.status == "KILLED"
    assert mlflow_runs.ERROR_TAG not in interrupted.data.tags


def test_a_reporter_sends_the_begin_at_once_and_the_epochs_of_a_second_together(monkeypatch):
    sent, now = [], [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reporter, times, losses = ProgressReporter("key", sent.append), [BEGUN], []
    reporter.update(times, {"loss": losses})
    for epoch in range(1, 6):
        now[0] += 0.4
        times.append(BEGUN + epoch)
        losses.append(1 / epoch)
        reporter.update(times, {"loss": losses})
    assert [(one.first, len(one.times)) for one in sent] == [(1, 0), (1, 3)]
    assert sent[1] == RunProgress("key", BEGUN, 1, tuple(times[1:4]), {"loss": tuple(losses[:3])})
