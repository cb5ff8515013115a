"""The winner of a sweep: the best run or baseline, an ensemble that is better, or a model for each series."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from gridcast.runtime.errors import GridcastError
from gridcast.sweep import candidates, contender_record, ensemble, routing
from gridcast.sweep.candidates import CANDIDATES_FILE, Candidate
from gridcast.sweep.plan import Plan
from gridcast.sweep.session import SweepSession
from gridcast.sweep.task import SweepTask
from gridcast.sweep.worker_job import TaskFailure
from gridcast.tracking import mlflow_runs
from gridcast.tracking.run_recording import RunEntry
from gridcast.tracking.store import Store


def find_winner(plan: Plan, store: Store, runs: Sequence[Any]) -> Any:
    """Return the MLflow run of the winner among the finished `runs` of `plan`.

    Raises GridcastError if it is a forecaster that was not recorded yet.
    """
    if plan.experiment.mode != "global":
        return _recorded(store, routing.routing_key(routing.choose_per_series(plan, store, runs)))
    single = candidates.best_single(candidates.single_candidates(plan, store, runs))
    winner = single.run if single.kind == candidates.NETWORK else _recorded(store, _contender_key(plan, single))
    if plan.experiment.selection.ensemble is None:
        return winner
    combined = _recorded(store, _choose_members(plan, store, runs).key)
    return combined if candidates.is_better(combined, single, plan.experiment.selection.metric) else winner


def record_winner(session: SweepSession, runs: Sequence[Any]) -> Any:
    """Return the MLflow run of the winner among the finished `runs`; what was not trained itself is recorded first."""
    plan, store = session.plan, session.store
    if plan.experiment.mode != "global":
        choices = routing.choose_per_series(plan, store, runs)
        entry = partial(_routing_entry, session, choices)
        return _marked(session, _record_once(session, routing.routing_key(choices), entry))
    singles = candidates.single_candidates(plan, store, runs)
    single = candidates.best_single(singles)
    winner = single.run
    if single.kind == candidates.BASELINE:
        winner = _record_once(session, _contender_key(plan, single), partial(_contender_entry, session, single))
    if plan.experiment.selection.ensemble is not None:
        members = _choose_members(plan, store, runs)
        combined = _record_once(session, members.key, partial(_ensemble_entry, session, members))
        singles.append(candidates.of_ensemble(combined, single, plan.experiment.selection.metric))
        if singles[-1].may_win:
            winner = combined
    if len(singles) > 1:
        content = json.dumps([candidate.to_json() for candidate in singles], indent=1)
        before = _recorded_candidates(session)
        if content != before:
            mlflow_runs.log_texts(store, session.sweep_id, {CANDIDATES_FILE: content})
        if before and content != before:  # the report names them
            mlflow_runs.set_run_tag(store, session.sweep_id, mlflow_runs.VERDICT_TAG, "")
    return _marked(session, winner)


def _recorded_candidates(session: SweepSession) -> str:
    if CANDIDATES_FILE not in mlflow_runs.artifact_names(session.store, session.sweep_id):
        return ""
    return mlflow_runs.read_artifact(session.store, session.sweep_id, CANDIDATES_FILE).decode()


def _routing_entry(session: SweepSession, choices: Sequence[routing.SeriesChoice]) -> RunEntry:
    """Return the record of a model for each series; a worker makes those that are baselines."""
    names = routing.chosen_baselines(session.plan, choices)
    tasks = {name: SweepTask("contender", name, session.plan.baseline_keys[name]) for name in names}
    models = {name: _executed(session, task).files for name, task in tasks.items()}
    return routing.routing_entry(session.plan, session.store, choices, models)


def _marked(session: SweepSession, winner: Any) -> Any:
    """The winner, with its run in a tag of the sweep."""
    mlflow_runs.set_run_tag(session.store, session.sweep_id, mlflow_runs.WINNER_TAG, str(winner.info.run_id))
    return winner


def _recorded(store: Store, key: str) -> Any:
    recorded = mlflow_runs.finished_runs(store, [key], mlflow_runs.WINNER_KIND)
    if not recorded:
        raise GridcastError("no forecaster is made of the best runs yet; finish the sweep: gridcast run")
    return recorded[key]


def _record_once(session: SweepSession, key: str, make_entry: Callable[[], RunEntry]) -> Any:
    """The MLflow run of a winner with this key, recorded from `make_entry` if there is none."""
    if not mlflow_runs.finished_runs(session.store, [key], mlflow_runs.WINNER_KIND):
        session.recorder.add(make_entry())
        session.recorder.flush()
    return _recorded(session.store, key)


def _choose_members(plan: Plan, store: Store, runs: Sequence[Any]) -> ensemble.EnsembleMembers:
    """Return the members of the ensemble; of a greedy one its candidates: the best runs, and baselines that may win."""
    selection = plan.experiment.selection
    assert selection.ensemble is not None
    members = ensemble.choose_members(selection.ensemble, runs, selection.metric, last_fold=plan.last_fold)
    if selection.ensemble.combine != ensemble.GREEDY:
        return members
    singles = candidates.single_candidates(plan, store, runs)
    baselines = [one.run for one in singles if one.kind == candidates.BASELINE and one.may_win]
    return replace(members, runs=(*members.runs, *baselines))


def _ensemble_entry(session: SweepSession, members: ensemble.EnsembleMembers) -> RunEntry:
    """Return the record of an ensemble, with its error on the validation span, which a worker computes."""
    if members.combine == ensemble.GREEDY:
        return _greedy_entry(session, members)
    files = ensemble.ensemble_files(members, session.store)
    task = SweepTask("validation", members.name, members.key, files=files)
    return ensemble.ensemble_entry(session.plan, members, files, _executed(session, task))


def _greedy_entry(session: SweepSession, pool: ensemble.EnsembleMembers) -> RunEntry:
    """Return the record of a greedy ensemble of the candidates `pool`; a worker makes and weighs them."""
    plan, files = session.plan, []
    for run in pool.runs:
        if run.data.tags[mlflow_runs.KIND_TAG] == "run":
            files.append(mlflow_runs.read_model_files(session.store, run.info.run_id))
        else:
            task = SweepTask("contender", mlflow_runs.run_name(run), run.data.tags[mlflow_runs.KEY_TAG])
            files.append(_executed(session, task).files)
    metric = candidates.metric_of_forecasts(plan)
    packed = ensemble.pack_members(files, tuple([1 / len(files)] * len(files)))
    chosen = _executed(session, SweepTask("greedy", pool.name, pool.key, files=packed, metric=metric))
    kept = [number for number, weight in enumerate(chosen.weights) if weight]
    weights = tuple(chosen.weights[number] for number in kept)
    members = replace(pool, runs=tuple(pool.runs[number] for number in kept), weights=weights)
    content = ensemble.pack_members([files[number] for number in kept], weights)
    return replace(ensemble.ensemble_entry(plan, members, content, chosen), key=pool.key)


def _executed(session: SweepSession, task: SweepTask) -> Any:
    ((_, result),) = session.execute([task])
    if isinstance(result, TaskFailure):
        raise GridcastError(f"{task.name} failed on the validation span: {result.reason}")
    return result


def _contender_key(plan: Plan, candidate: Candidate) -> str:
    return contender_record.contender_key(plan.baseline_keys[candidate.name])


def _contender_entry(session: SweepSession, candidate: Candidate) -> RunEntry:
    """Return the record of a baseline that wins, with its model, which a worker makes."""
    task = SweepTask("contender", candidate.name, _contender_key(session.plan, candidate))
    return contender_record.contender_entry(session.plan, candidate, _executed(session, task).files)
