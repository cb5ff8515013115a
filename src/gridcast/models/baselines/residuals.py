"""Intervals from the errors that a baseline makes on the training span."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gridcast.data import series_statistics
from gridcast.models.baselines.task import BaselineForecast, BaselineTask
from gridcast.runtime import windows

MIN_ERRORS = 20
"""Errors of its own that a series needs for quantiles of its own."""
MAX_WINDOWS = 500
"""Windows of each series whose errors are looked at, spread evenly over the training span."""


def with_residual_quantiles(
    task: BaselineTask, forecast: Callable[[np.ndarray], np.ndarray], earliest: int = 0
) -> BaselineForecast:
    """`forecast(index)` (n, horizon) of the windows asked for, with quantiles from its errors on the training span.

    At each step of the horizon the quantiles of actual less forecast, of each series, are added to the
    forecast: no distribution is assumed, and errors may grow with the step in any way (Hyndman and
    Athanasopoulos 2021, "Forecasting: Principles and Practice", 5.5). Windows of the training span
    whose origin lies before `earliest` are passed over, if there are others.
    """
    point = forecast(task.index)
    if not task.levels:
        return BaselineForecast(point)
    past = _thinned(task.training_index, earliest)
    errors = windows.future(task.target, past, task.horizon) - forecast(past)
    spread = _spread(
        errors, past[:, 0], series_statistics.naive_scale(task.observed_target[:, : task.train]), task.levels
    )
    return BaselineForecast(point, point[:, :, None] + spread[task.index[:, 0]])


def _thinned(index: np.ndarray, earliest: int) -> np.ndarray:
    late = index[index[:, 1] >= earliest]
    index = late if len(late) else index
    most = np.bincount(index[:, 0]).max(initial=0)
    return index[:: max(1, -(-most // MAX_WINDOWS))]


def _spread(errors: np.ndarray, series: np.ndarray, scale: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """Quantiles (series, horizon, levels) of `errors` (n, horizon), whose rows belong to `series` (n,).

    A series with few errors takes those of all, each in units of its series' `scale` (series,). The
    quantile is that of Weibull (Hyndman and Fan 1996, definition 6): of few errors it lies further out,
    where the next one falls below with just the probability asked for.
    """
    finite = np.isfinite(errors).all(axis=1) & (scale[series] > 0)
    relative = errors[finite] / scale[series[finite], None]
    found = np.zeros((len(scale), errors.shape[1], len(levels)))
    if len(relative):
        found += _quantiles(relative, levels) * scale[:, None, None]
    for own in np.flatnonzero(np.bincount(series, minlength=len(scale)) >= MIN_ERRORS):
        found[own] = _quantiles(errors[series == own], levels)
    return found


def _quantiles(errors: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """Quantiles (horizon, levels) of `errors` (n, horizon)."""
    return np.quantile(errors, levels, axis=0, method="weibull").T
