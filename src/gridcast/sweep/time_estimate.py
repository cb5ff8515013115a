"""Estimate how long a sweep takes, by timing one epoch of a few of its runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from gridcast.config import Configuration, grid
from gridcast.config.grid import Run
from gridcast.data.dataset import Dataset
from gridcast.sweep.confirmation import ConfirmationPlan
from gridcast.sweep.plan import Plan, epoch_cost
from gridcast.sweep.worker_job import TaskContext, TaskFailure, WorkerSettings
from gridcast.sweep.worker_pool import WorkerPool

PROBE_COUNT = 4
"""Runs that are timed: the cheapest, the most expensive, and two between them."""


def estimate_run_seconds(plan: Plan, workers: WorkerSettings) -> dict[str, float]:
    """Return the seconds of each run, by run key, if it takes all its epochs, measured on `workers`.

    A few runs are timed for two epochs, of which the first compiles; the times of the others are interpolated
    by their arithmetic. Raises GridcastError through the pool.
    """
    windows = len(plan.dataset.origins("train", plan.experiment.window.lookback))
    costs = {
        key: epoch_cost(run.configuration, windows, plan.experiment.training.steps) for key, run in plan.runs.items()
    }
    by_cost = sorted(plan.runs, key=lambda key: costs[key])
    ranks = np.unique(np.linspace(0, len(by_cost) - 1, PROBE_COUNT).astype(int))
    siblings = Counter(map(grid.shared_program, plan.runs.values()))
    probe_keys = [by_cost[rank] for rank in ranks]
    probes = [(plan.runs[key], siblings[grid.shared_program(plan.runs[key])]) for key in probe_keys]
    time_epochs = _fused_epoch_seconds if plan.engine == "fused" else _stock_epoch_seconds
    seconds: dict[float, tuple[float, float]] = {}  # by cost: the first epoch, and each later one
    with WorkerPool(workers, plan.dataset) as pool:
        for position, result in pool.execute(time_epochs, probes):
            if not isinstance(result, TaskFailure):
                seconds[costs[probe_keys[position]]] = result
    timed = sorted(seconds)
    first_times, later_times = ([seconds[cost][k] for cost in timed] for k in (0, 1))

    def estimate(key: str, run: Run) -> float:
        first, later = (float(np.interp(costs[key], timed, times)) for times in (first_times, later_times))
        if run.series is not None:  # one of many that share the program which the first of them compiles
            first = later + (first - later) / siblings[grid.shared_program(run)]
        return first + (plan.dataset.epochs_of(run.configuration) - 1) * later

    return {key: estimate(key, run) for key, run in plan.runs.items()}


def longest_seconds(plan: Plan, seconds: Mapping[str, float], confirmation: ConfirmationPlan) -> float:
    """Return the seconds of the confirmation runs if the slowest configurations lead; `seconds` are by run key."""
    slowest: dict[Configuration, float] = {}
    for key, run in plan.runs.items():
        slowest[run.configuration] = max(seconds[key], slowest.get(run.configuration, 0.0))
    if not confirmation.top:
        return 0.0
    return sum(sorted(slowest.values())[-confirmation.top :]) * confirmation.runs / confirmation.top


def _stock_epoch_seconds(dataset: Dataset, probe: tuple[Run, int], _: TaskContext) -> Any:
    from gridcast.training import keras_fit

    run, _siblings = probe
    return keras_fit.epoch_seconds(dataset, run)


def _fused_epoch_seconds(dataset: Dataset, probe: tuple[Run, int], _: TaskContext) -> Any:
    from gridcast.training import fused_fit

    run, siblings = probe
    return fused_fit.epoch_seconds(dataset, run, siblings)
