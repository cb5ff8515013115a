"""Baselines for intermittent demand, where many steps are 0: sizes and their frequency are smoothed apart.

Parts of a step that was not observed stay as they were. Nothing is fitted: the smoothing constant is
`ALPHA`, and each series starts from its first demand.
"""

from __future__ import annotations

import numpy as np

from gridcast.models.baselines.residuals import with_residual_quantiles
from gridcast.models.baselines.task import BaselineForecast, BaselineTask

ALPHA = 0.1
"""Syntetos and Boylan (2005) find 0.05 to 0.2 good for intermittent demand."""
MIN_ZERO_SHARE = 1 / 3
"""Share of zeros from which these baselines are worth a look."""


def croston(task: BaselineTask) -> BaselineForecast:
    """Croston (1972), "Forecasting and stock control for intermittent demands", unbiased by Syntetos and Boylan (2005).

    Smoothed size over smoothed interval between demands, both renewed when there is demand, times
    1 - alpha / 2; 0 before the first demand.
    """
    known = task.observed_target
    size, interval = np.zeros(len(known)), np.ones(len(known))
    since, seen = np.zeros(len(known)), np.zeros(len(known), bool)
    level = np.zeros((len(known), known.shape[1] + 1))
    for step, value in enumerate(known.T):
        since += np.isfinite(value)
        demand = value > 0
        rate = np.where(seen, ALPHA, 1.0) * demand
        size = size + rate * (np.where(demand, value, 0.0) - size)
        interval = interval + rate * (since - interval)
        since, seen = np.where(demand, 0, since), seen | demand
        level[:, step + 1] = (1 - ALPHA / 2) * size / interval
    return with_residual_quantiles(task, lambda index: _flat(level, index, task.horizon))


def tsb(task: BaselineTask) -> BaselineForecast:
    """Teunter, Syntetos and Babai (2011), "Intermittent demand: linking forecasting to inventory obsolescence".

    Smoothed size, renewed when there is demand, times the smoothed probability of demand, renewed at every
    step: it fades where demand has ended. 0 before the first demand.
    """
    known = task.observed_target
    size, probability = np.zeros(len(known)), np.zeros(len(known))
    seen = np.zeros(len(known), bool)
    steps = np.zeros(len(known))
    level = np.zeros((len(known), known.shape[1] + 1))
    for step, value in enumerate(known.T):
        observed, demand = np.isfinite(value), value > 0
        steps += observed & ~seen
        first = demand & ~seen
        size = size + np.where(seen, ALPHA, 1.0) * demand * (np.where(demand, value, 0.0) - size)
        probability = probability + ALPHA * (observed & seen) * (demand - probability)
        probability = np.where(first, 1 / np.maximum(steps, 1), probability)
        seen = seen | demand
        level[:, step + 1] = size * probability
    return with_residual_quantiles(task, lambda index: _flat(level, index, task.horizon))


def _flat(level: np.ndarray, index: np.ndarray, horizon: int) -> np.ndarray:
    """The level (series, steps + 1) before each origin, at every step of the horizon."""
    return np.repeat(level[index[:, 0], index[:, 1], None], horizon, axis=1)
