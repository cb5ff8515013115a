"""Confirmation: the leading configurations are trained with further seeds, so that the winner is not one lucky seed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gridcast.config import Configuration, Experiment
from gridcast.config.grid import Run
from gridcast.sweep.events import SweepEvents
from gridcast.sweep.plan import Plan
from gridcast.sweep.proposals import with_proposals
from gridcast.sweep.records import failure_entry, run_entry, sweep_files
from gridcast.sweep.search import search_effort
from gridcast.sweep.search_loop import SearchTally
from gridcast.sweep.session import SweepSession
from gridcast.sweep.task import run_tasks
from gridcast.sweep.worker_job import TaskFailure
from gridcast.tracking import mlflow_runs, ranking
from gridcast.tracking.store import Store

MAX_SHARE = 0.1
"""Share of the sweep's epochs that confirmation takes at most where the experiment file does not ask for it."""
MIN_TOP = 2
"""Configurations below which nothing is confirmed unless the file asks for it: one alone is compared with nothing."""


@dataclass(frozen=True)
class ConfirmationPlan:
    """The `top` leading configurations get `seeds` seeds each, by at most `runs` further runs.

    With `top` 0 nothing is confirmed; `reason` says why, empty where the file switches it off.
    """

    top: int
    seeds: int = 0
    runs: int = 0
    reason: str = ""


def plan_confirmation(experiment: Experiment, runs: int) -> ConfirmationPlan:
    """Return how the leaders of a grid of `runs` runs are confirmed.

    If `search.confirm` is left out, as many configurations, up to its default, as take at most a tenth of the epochs
    of the search; with random and tpe none.
    """
    search, training = experiment.search, experiment.training
    if search.confirm is None:
        return ConfirmationPlan(0)
    if experiment.mode != "global":
        each = "each series has leading configurations of its own"
        return ConfirmationPlan(0, reason=f"with mode: {experiment.mode} {each}")
    seeds_before = len(set(training.seeds))
    seeds = max(search.confirm.seeds, seeds_before)
    # A whole grid has all its seeds; of a search, a leader may have one.
    missing = seeds - (seeds_before if search.strategy == "grid" else 1)
    folds = experiment.split.folds or 1
    runs_each = missing * folds
    if not runs_each:
        return ConfirmationPlan(0, reason=f"every configuration has {seeds_before} seeds")
    top = min(search.confirm.top, max(1, runs // (seeds_before * folds)))
    if not search.is_confirm_asked:
        if search.strategy not in ("grid", "halving"):
            return ConfirmationPlan(0, reason=f"search.strategy: {search.strategy} confirms only if asked")
        limit = MAX_SHARE * search_effort(search, runs, training.epochs).epochs * runs
        top = min(top, int(limit / runs_each))
        if top < MIN_TOP:
            needed = f"the {MIN_TOP * runs_each} runs that {MIN_TOP} configurations need"
            return ConfirmationPlan(0, reason=f"{needed} are more than a tenth of the sweep")
    return ConfirmationPlan(top, seeds, top * runs_each)


def confirmation_runs(plan: Plan, finished: Mapping[str, Any]) -> dict[str, Run]:
    """Return the further runs of the leading configurations of the search by run key, trained or not.

    `finished` are the finished MLflow runs of the grid by run key. The leaders are those with the best mean of
    `selection.metric` over the seeds that they have, on every fold. Their further seeds are the smallest numbers that
    are not in `training.seeds`, until each has as many as any configuration, and at least `search.confirm.seeds`.
    Raises GridcastError where runs of version 0.1 lack the metric.
    """
    wanted = plan_confirmation(plan.experiment, len(plan.runs))
    if not wanted.top:
        return {}
    metric, folds = plan.experiment.selection.metric, range(plan.last_fold + 1)
    ranking.check_online_metric(list(finished.values()), metric)
    losses: dict[Configuration, dict[int, dict[int, float]]] = {}
    first_keys: dict[Configuration, str] = {}
    for key, run in plan.runs.items():
        if key in finished and ranking.has_finite(finished[key], metric):
            by_fold = losses.setdefault(run.configuration, {}).setdefault(run.seed, {})
            by_fold[run.fold] = ranking.cost(finished[key], metric)
            first_keys[run.configuration] = min(key, first_keys.get(run.configuration, key))
    means: dict[Configuration, float] = {}
    counts: dict[Configuration, int] = {}
    for configuration, by_seed in losses.items():
        whole = [list(of_seed.values()) for of_seed in by_seed.values() if len(of_seed) == len(folds)]
        if whole:
            means[configuration], counts[configuration] = float(np.mean(whole)), len(whole)
    leaders = sorted(means, key=lambda configuration: (means[configuration], first_keys[configuration]))[: wanted.top]
    target = max([wanted.seeds, *counts.values()])
    tried = set(plan.experiment.training.seeds)
    further = [
        Run(configuration, seed, fold)
        for configuration in leaders
        for seed in itertools.islice((s for s in itertools.count() if s not in tried), target - counts[configuration])
        for fold in folds
    ]
    return {plan.run_key(run): run for run in further}


def with_confirmation(plan: Plan, store: Store) -> tuple[Plan, dict[str, Any]]:
    """Return the plan with its confirmation runs, and the finished MLflow runs of grid and confirmation by run key."""
    plan = with_proposals(plan, store)
    finished = mlflow_runs.finished_runs(store, plan.runs)
    plan = replace(plan, confirmation_runs=confirmation_runs(plan, finished))
    if plan.confirmation_runs:
        finished |= mlflow_runs.finished_runs(store, plan.confirmation_runs)
    return plan, finished


def train_confirmation(session: SweepSession, events: SweepEvents, tally: SearchTally) -> None:
    """Train the confirmation runs of the session's plan that are not finished; record and count them."""
    plan = session.plan
    if not plan.confirmation_runs:
        return
    mlflow_runs.log_texts(session.store, session.sweep_id, sweep_files(plan))
    todo = [key for key in plan.confirmation_runs if key not in session.finished_keys]
    tasks = run_tasks(plan, todo, plan.experiment.training.epochs)
    if not tasks:
        return
    session.reopen()
    configurations = {run.configuration for run in plan.confirmation_runs.values()}
    events.confirming(len(configurations), len(tasks), sum(task.cost for task in tasks))
    for task, result in session.execute(tasks):
        if isinstance(result, TaskFailure):
            tally.failed += 1
            session.recorder.add(failure_entry(plan, task, result.reason))
            events.failed(task.name, task.cost, result.reason)
            continue
        tally.trained += 1
        tally.confirmed += 1
        session.recorder.add(run_entry(plan, task, result))
        session.finished_keys.add(task.key)
        events.finished(task.name, task.cost, result.metrics)
