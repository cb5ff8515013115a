"""Naive baselines: a past value, or a level of the training span."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .residuals import with_residual_quantiles
from .task import BaselineForecast, BaselineTask


def last_value(task: BaselineTask) -> BaselineForecast:
    """Forecast the value before the origin at every step of the horizon."""
    return with_residual_quantiles(task, lambda index: _last_values(task, index))


def _last_values(task: BaselineTask, index: np.ndarray) -> np.ndarray:
    return np.repeat(task.target[index[:, 0], index[:, 1] - 1][:, None], task.horizon, axis=1)


def seasonal_naive(task: BaselineTask) -> BaselineForecast:
    """Forecast the value one period before each step, from the last complete period before the origin."""
    period = task.period or 1

    def forecast(index: np.ndarray) -> np.ndarray:
        series, origin = index.T
        steps = origin[:, None] - period + np.arange(task.horizon) % period
        values = task.target[series[:, None], np.maximum(steps, 0)]
        return np.where(np.isfinite(values) & (steps >= 0), values, _last_values(task, index))

    return with_residual_quantiles(task, forecast, earliest=period)


def training_mean(task: BaselineTask) -> BaselineForecast:
    """Forecast the mean of the series over the training span."""
    return _constant(task, np.nanmean)


def training_median(task: BaselineTask) -> BaselineForecast:
    """Forecast the median of the series over the training span."""
    return _constant(task, np.nanmedian)


def _constant(task: BaselineTask, statistic: Callable[..., Any]) -> BaselineForecast:
    levels = statistic(task.observed_target[:, : task.train], axis=1)
    return with_residual_quantiles(task, lambda index: np.repeat(levels[index[:, 0], None], task.horizon, axis=1))
