"""How long a sweep may take, from timing one epoch of a few of its shapes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from gridcast.config import grid
from gridcast.config.grid import Run
from gridcast.data.dataset import Dataset
from gridcast.sweep import worker_pool
from gridcast.sweep.plan import Plan, epoch_cost
from gridcast.sweep.worker_pool import WorkerSettings

PROBE_COUNT = 4


def estimate_run_seconds(plan: Plan, place: WorkerSettings) -> dict[str, float]:
    """Seconds of each run, by run key, if it takes all its epochs; measured on the workers of `place`.

    The cheapest and the dearest shape and two between them are timed for one compiled epoch; the
    others are placed between them by their arithmetic. Raises GridcastError through the pool.
    """
    epoch = len(plan.dataset.origins("train", plan.experiment.window.lookback)), plan.experiment.training.steps
    ranked = sorted(plan.runs.values(), key=lambda run: epoch_cost(run.configuration, *epoch))
    at = np.unique(np.linspace(0, len(ranked) - 1, PROBE_COUNT).astype(int))
    family = Counter(map(grid.shared_program, ranked))
    probes = [(ranked[k], family[grid.shared_program(ranked[k])]) for k in at]
    measured: dict[float, tuple[float, float]] = {}
    with worker_pool.WorkerPool(place, plan.dataset) as pool:
        for position, found in pool.execute(
            _fused_epoch_seconds if plan.engine == "fused" else _stock_epoch_seconds, probes
        ):
            if not isinstance(found, worker_pool.TaskFailure):
                measured[epoch_cost(probes[position][0].configuration, *epoch)] = found
    costs = sorted(measured)
    firsts, others = ([measured[c][k] for c in costs] for k in (0, 1))

    def of(run: Run) -> float:
        here = epoch_cost(run.configuration, *epoch)
        first, other = (float(np.interp(here, costs, values)) for values in (firsts, others))
        if run.series is not None:  # one of many that share what the first compiles
            first = other + (first - other) / family[grid.shared_program(run)]
        return first + (plan.experiment.training.epochs - 1) * other

    return {key: of(run) for key, run in plan.runs.items()}


def _stock_epoch_seconds(dataset: Dataset, probe: tuple[Run, int], _: Path) -> Any:
    from gridcast.training import keras_fit

    return keras_fit.epoch_seconds(dataset, probe[0])


def _fused_epoch_seconds(dataset: Dataset, probe: tuple[Run, int], _: Path) -> Any:
    from gridcast.training import fused_fit

    return fused_fit.epoch_seconds(dataset, *probe)
