"""The evaluation of the winner and of the experiment's own settings on the test span, once each."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from gridcast.runtime.errors import GridcastError
from gridcast.sweep.plan import OWN_SETTINGS
from gridcast.sweep.records import evaluation_entry, failure_entry
from gridcast.sweep.session import SweepSession
from gridcast.sweep.task import SweepTask
from gridcast.sweep.worker_job import TaskFailure
from gridcast.tracking import mlflow_runs
from gridcast.training.result import TrainingResult


def pending_evaluations(
    session: SweepSession,
    winner: Any,
    *,
    finished: Mapping[str, Any],
    recorded_baselines: Container[str],
    reference_result: TrainingResult | None,
) -> list[SweepTask]:
    """Return a task for each network that was not evaluated on the test span yet: the winner, the own settings.

    The own settings are `reference_result` if they were trained in this start, else one of the `finished` runs.
    """
    plan, key = session.plan, winner.data.tags[mlflow_runs.KEY_TAG]
    tasks = []
    if key not in mlflow_runs.tested_runs(session.store, [key]):
        files = mlflow_runs.read_model_files(session.store, winner.info.run_id)
        tasks.append(SweepTask("test", mlflow_runs.run_name(winner), key, files=files))
    baseline_key = plan.baseline_keys[OWN_SETTINGS]
    if baseline_key not in recorded_baselines and (reference_result or plan.reference_key in finished):
        if reference_result:
            files = reference_result.files
        else:
            files = mlflow_runs.read_model_files(session.store, finished[plan.reference_key].info.run_id)
        tasks.append(SweepTask("baseline", OWN_SETTINGS, baseline_key, files=files))
    return tasks


def evaluate(session: SweepSession, tasks: Sequence[SweepTask], winner: Any) -> dict[str, str]:
    """Evaluate the networks of `tasks` on the test span and record the results; return why baselines failed, by name.

    Raises GridcastError if the winner fails.
    """
    failed = {}
    for task, result in session.execute(tasks):
        if isinstance(result, TaskFailure):
            if task.kind == "test":
                raise GridcastError(f"the test of {task.name} failed: {result.reason}")
            failed[task.name] = result.reason
            session.recorder.add(failure_entry(session.plan, task, result.reason))
            continue
        tags = {mlflow_runs.WINNER_TAG: str(winner.info.run_id)} if task.kind == "test" else {}
        session.recorder.add(evaluation_entry(session.plan, task, result, kind=task.kind, tags=tags))
    session.recorder.flush()
    return failed


def evaluated_runs(session: SweepSession, winner: Any) -> list[Any]:
    """Return the MLflow runs that hold test metrics: the winner's first, then the baselines in their order."""
    key, baseline_keys = winner.data.tags[mlflow_runs.KEY_TAG], session.plan.baseline_keys.values()
    test = mlflow_runs.tested_runs(session.store, [key])[key]
    baselines = mlflow_runs.finished_runs(session.store, baseline_keys, "baseline")
    return [test, *(baselines[key] for key in baseline_keys if key in baselines)]
