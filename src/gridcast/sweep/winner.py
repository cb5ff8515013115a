"""The winner of a sweep: its best run, an ensemble, or one forecaster that routes each series to its own model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from gridcast.runtime.errors import GridcastError
from gridcast.sweep import ensemble, routing
from gridcast.sweep.plan import Plan
from gridcast.sweep.session import SweepSession
from gridcast.sweep.task import SweepTask
from gridcast.sweep.worker_job import TaskFailure
from gridcast.tracking import mlflow_runs, ranking
from gridcast.tracking.run_recording import RunEntry
from gridcast.tracking.store import Store


def find_winner(plan: Plan, store: Store, runs: Sequence[Any]) -> Any:
    """Return the MLflow run of the winner among the finished `runs` of `plan`.

    Raises GridcastError if it is a forecaster made of several runs that was not recorded yet.
    """
    selection = plan.experiment.selection
    if plan.experiment.mode != "global":
        key = routing.routing_key(routing.choose_per_series(plan, store, runs))
    elif selection.ensemble is not None:
        key = _choose_members(plan, runs).key
    else:
        return ranking.best_run(runs, selection.metric, plan.last_fold)
    recorded = mlflow_runs.finished_runs(store, [key], mlflow_runs.WINNER_KIND)
    if not recorded:
        raise GridcastError("no forecaster is made of the best runs yet; finish the sweep: gridcast run")
    return recorded[key]


def record_winner(session: SweepSession, runs: Sequence[Any]) -> Any:
    """Return the MLflow run of the winner among the finished `runs`, recorded first if it is made of several runs."""
    plan, store = session.plan, session.store
    if plan.experiment.mode == "global" and plan.experiment.selection.ensemble is None:
        return find_winner(plan, store, runs)
    make_entry: Callable[[], RunEntry]
    if plan.experiment.selection.ensemble is None:
        choices = routing.choose_per_series(plan, store, runs)
        key, make_entry = routing.routing_key(choices), partial(routing.routing_entry, plan, store, choices)
    else:
        members = _choose_members(plan, runs)
        key, make_entry = members.key, partial(_ensemble_entry, session, members)
    if not mlflow_runs.finished_runs(store, [key], mlflow_runs.WINNER_KIND):
        session.recorder.add(make_entry())
        session.recorder.flush()
    winner = mlflow_runs.finished_runs(store, [key], mlflow_runs.WINNER_KIND)[key]
    mlflow_runs.set_run_tag(store, session.sweep_id, mlflow_runs.WINNER_TAG, str(winner.info.run_id))
    return winner


def _choose_members(plan: Plan, runs: Sequence[Any]) -> ensemble.EnsembleMembers:
    selection = plan.experiment.selection
    assert selection.ensemble is not None
    return ensemble.choose_members(selection.ensemble, runs, selection.metric, last_fold=plan.last_fold)


def _ensemble_entry(session: SweepSession, members: ensemble.EnsembleMembers) -> RunEntry:
    """Return the record of an ensemble, with its error on the validation span, which a worker computes."""
    files = ensemble.ensemble_files(members, session.store)
    task = SweepTask("validation", members.name, members.key, files=files)
    ((_, validation),) = session.execute([task])
    if isinstance(validation, TaskFailure):
        raise GridcastError(f"the {members.name} failed on the validation span: {validation.reason}")
    return ensemble.ensemble_entry(session.plan, members, files, validation)
