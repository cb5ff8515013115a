"""A baseline that fails or is killed stands in the report with its reason, and the command says so at its end."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gridcast.api.events import Quiet
from gridcast.api.running import sweep_plan
from gridcast.models.baselines import NAIVE_BASELINES
from gridcast.runtime.errors import GridcastError
from gridcast.sweep import final_evaluation, records
from gridcast.sweep.plan import OWN_SETTINGS
from gridcast.sweep.session import SweepSession
from gridcast.sweep.task import SweepTask
from gridcast.sweep.worker_job import TaskFailure, WorkerSettings
from gridcast.tracking import mlflow_runs
from gridcast.tracking.store import open_store
from small_experiments import SMALL, planned, sales

KILLED = "its worker used 9.0 GiB, more than its memory limit (--memory-limit)"
REPORT = Path("reports", "small", "report.html")


@dataclass
class Project:
    """A project whose first start lost two baselines, and how it ended; `again` starts it anew."""

    plan: Any
    workers: WorkerSettings
    failure: str = ""
    message: str = ""
    page: str = ""
    sweep: Any = None

    @property
    def store(self) -> Any:
        return open_store("small")

    def again(self) -> None:
        self.failure = sweep_plan(self.plan, self.workers, Quiet()).failure


@pytest.fixture(scope="module")
def project(tmp_path_factory, programs):
    import mlflow

    folder, before = tmp_path_factory.mktemp("failed"), mlflow.get_tracking_uri()
    execute = SweepSession.execute

    def without_two(session, tasks, keep_going=lambda: True):
        lost = [task for task in tasks if task.name in ("ETS", OWN_SETTINGS)]
        yield from ((task, TaskFailure(KILLED)) for task in lost)
        yield from execute(session, [task for task in tasks if task not in lost], keep_going)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setattr("gridcast.reporting.report.draw_figures", lambda *_: {})  # pictures say nothing here
        plan = planned(folder, sales(130), **SMALL, grid={"learning_rate": [0.02, 0.003]}, baselines=["ETS"])
        made = Project(plan, WorkerSettings(1, "jax", programs))
        with pytest.MonkeyPatch.context() as faulty:
            faulty.setattr(SweepSession, "execute", without_two)
            made.again()
        made.message, made.page = made.failure, REPORT.read_text()
        [made.sweep] = mlflow_runs.search_runs(made.store, f"tags.`{mlflow_runs.KIND_TAG}` = 'sweep'")
        yield made
        mlflow.set_tracking_uri(before)


def test_the_command_fails_with_the_reasons(project):
    assert project.message == (
        f"2 baselines failed and cannot be compared with (own settings: {KILLED}; ETS: {KILLED}); "
        "see the reasons above or in MLflow"
    )


def test_verdict_and_report_name_what_failed_and_why(project):
    for name in ("ETS", OWN_SETTINGS):
        sentence = f"The winner could not be compared with {name}, which failed: {KILLED}."
        assert sentence in project.sweep.data.tags[mlflow_runs.VERDICT_TAG]
        assert f"{name} failed and is not in the tables: {KILLED}" in project.page


def test_the_sweep_is_marked_as_failed_and_the_rest_is_there(project):
    assert project.sweep.info.status == "FAILED"
    assert project.sweep.data.metrics["baselines_failed"] == 2
    keys = [project.plan.baseline_keys[name] for name in NAIVE_BASELINES]
    assert len(mlflow_runs.finished_runs(project.store, keys, "baseline")) == len(keys)
    assert "last value" in project.page


def test_the_next_start_computes_them_and_writes_the_report_again(project):
    before = mlflow_runs.finished_runs(project.store, project.plan.runs)
    project.again()
    assert project.failure == ""
    assert {key: run.info.run_id for key, run in before.items()} == {
        key: run.info.run_id for key, run in mlflow_runs.finished_runs(project.store, project.plan.runs).items()
    }
    page = REPORT.read_text()
    assert "failed and is not in the tables" not in page
    assert "ETS: the forms with the lowest AICc, by number of series: ETS(" in page
    keys = [project.plan.baseline_keys[name] for name in ("ETS", OWN_SETTINGS)]
    assert len(mlflow_runs.finished_runs(project.store, keys, "baseline")) == 2


@dataclass
class FakeSession:
    """A session in which every task fails."""

    plan: Any
    entries: list[Any] = field(default_factory=list)

    @property
    def recorder(self):
        return self

    def execute(self, tasks):
        return [(task, TaskFailure(KILLED)) for task in tasks]

    def add(self, entry):
        self.entries.append(entry)

    def flush(self):
        pass


def test_a_baseline_that_fails_on_the_test_span_does_not_end_the_sweep_but_the_winner_does(project):
    session = FakeSession(project.plan)
    key = project.plan.baseline_keys[OWN_SETTINGS]
    assert final_evaluation.evaluate(session, [SweepTask("baseline", OWN_SETTINGS, key)], None) == {
        OWN_SETTINGS: KILLED
    }
    [entry] = session.entries
    assert (entry.kind, entry.key, entry.error) == ("baseline", key, KILLED)
    with pytest.raises(GridcastError, match="the test of best failed"):
        final_evaluation.evaluate(session, [SweepTask("test", "best", "k")], None)


def test_own_settings_that_cannot_be_trained_fail_under_the_key_of_the_baseline(project):
    task = SweepTask("reference", OWN_SETTINGS, project.plan.reference_key, project.plan.reference_run)
    entry = records.failure_entry(project.plan, task, KILLED)
    assert (entry.kind, entry.key) == ("baseline", project.plan.baseline_keys[OWN_SETTINGS])
