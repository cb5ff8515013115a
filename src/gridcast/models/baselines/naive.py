"""Baselines that know nothing but a value or a level of the past."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gridcast.models.baselines.residuals import around
from gridcast.models.baselines.task import Forecast, Task


def last_value(task: Task) -> Forecast:
    """The value before the origin, at every step of the horizon."""
    return around(task, lambda index: _last(task, index))


def _last(task: Task, index: np.ndarray) -> np.ndarray:
    return np.repeat(task.target[index[:, 0], index[:, 1] - 1][:, None], task.horizon, axis=1)


def seasonal_naive(task: Task) -> Forecast:
    """The value one period before each step, of the last whole period known at the origin."""
    period = task.period or 1

    def forecast(index: np.ndarray) -> np.ndarray:
        series, origin = index.T
        steps = origin[:, None] - period + np.arange(task.horizon) % period
        values = task.target[series[:, None], np.maximum(steps, 0)]
        return np.where(np.isfinite(values) & (steps >= 0), values, _last(task, index))

    return around(task, forecast, earliest=period)


def training_mean(task: Task) -> Forecast:
    """The mean of the series over the training span."""
    return _level(task, np.nanmean)


def training_median(task: Task) -> Forecast:
    """The median of the series over the training span."""
    return _level(task, np.nanmedian)


def _level(task: Task, of: Callable[..., Any]) -> Forecast:
    levels = of(task.known[:, : task.train], axis=1)
    return around(task, lambda index: np.repeat(levels[index[:, 0], None], task.horizon, axis=1))
