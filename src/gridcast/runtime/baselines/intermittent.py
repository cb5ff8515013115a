"""Baselines for intermittent demand, where many steps are 0: demand size and frequency are smoothed separately.

A step that was not observed changes neither. Nothing is fitted: the smoothing constant is `ALPHA`, and each series
starts from its first demand.
"""

from __future__ import annotations

import numpy as np

from .residuals import with_residual_quantiles
from .task import BaselineForecast, BaselineTask

ALPHA = 0.1
"""Syntetos and Boylan (2005) find 0.05 to 0.2 good for intermittent demand."""
MIN_ZERO_SHARE = 1 / 3
"""Share of zeros in the training span above which these baselines apply."""


def croston(task: BaselineTask) -> BaselineForecast:
    """Forecast the smoothed size of a demand over the smoothed interval between demands, times 1 - alpha / 2.

    Both are updated when there is demand; 0 before the first demand. Sources: Croston (1972), "Forecasting and stock
    control for intermittent demands"; the factor, which removes its bias: Syntetos and Boylan (2005).
    """
    target = task.observed_target
    size, interval = np.zeros(len(target)), np.ones(len(target))
    steps_since, has_begun = np.zeros(len(target)), np.zeros(len(target), bool)
    level = np.zeros((len(target), target.shape[1] + 1))
    for step, value in enumerate(target.T):
        steps_since += np.isfinite(value)
        demand = value > 0
        rate = np.where(has_begun, ALPHA, 1.0) * demand
        size = size + rate * (np.where(demand, value, 0.0) - size)
        interval = interval + rate * (steps_since - interval)
        steps_since, has_begun = np.where(demand, 0, steps_since), has_begun | demand
        level[:, step + 1] = (1 - ALPHA / 2) * size / interval
    return with_residual_quantiles(task, lambda index: _constant(level, index, task.horizon))


def tsb(task: BaselineTask) -> BaselineForecast:
    """Forecast the smoothed size of a demand times the smoothed probability of demand.

    The size is updated when there is demand, the probability at every step, so that the forecast fades where demand has
    ended; 0 before the first demand. Source: Teunter, Syntetos and Babai (2011), "Intermittent demand: linking
    forecasting to inventory obsolescence".
    """
    target = task.observed_target
    size, probability = np.zeros(len(target)), np.zeros(len(target))
    has_begun = np.zeros(len(target), bool)
    steps = np.zeros(len(target))
    level = np.zeros((len(target), target.shape[1] + 1))
    for step, value in enumerate(target.T):
        observed, demand = np.isfinite(value), value > 0
        steps += observed & ~has_begun
        first = demand & ~has_begun
        size = size + np.where(has_begun, ALPHA, 1.0) * demand * (np.where(demand, value, 0.0) - size)
        probability = probability + ALPHA * (observed & has_begun) * (demand - probability)
        probability = np.where(first, 1 / np.maximum(steps, 1), probability)
        has_begun = has_begun | demand
        level[:, step + 1] = size * probability
    return with_residual_quantiles(task, lambda index: _constant(level, index, task.horizon))


def _constant(level: np.ndarray, index: np.ndarray, horizon: int) -> np.ndarray:
    """Forecasts (n, horizon): the level (series, steps + 1) before each origin, at every step of the horizon."""
    return np.repeat(level[index[:, 0], index[:, 1], None], horizon, axis=1)
