"""Quantiles from the errors that a baseline makes on the training span."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import windows
from ..naive_scale import naive_scale
from .task import BaselineForecast, BaselineTask

MIN_ERRORS = 20
"""Errors that a series needs for its own quantiles; with fewer, those of all series are pooled."""
MAX_WINDOWS = 500
"""Windows of each series whose errors are used, spread evenly over the training span."""


def with_residual_quantiles(
    task: BaselineTask, forecast: Callable[[np.ndarray], np.ndarray], earliest: int = 0
) -> BaselineForecast:
    """Return `forecast(index)` (n, horizon) of the windows of `task`, with quantiles from its errors in training.

    Windows of the training span whose origin lies before `earliest` are skipped, if there are others.
    """
    point = forecast(task.index)
    if not task.levels:
        return BaselineForecast(point)
    offsets = residual_quantiles(task, forecast, earliest)
    return BaselineForecast(point, point[:, :, None] + offsets[task.index[:, 0]])


def residual_quantiles(
    task: BaselineTask, forecast: Callable[[np.ndarray], np.ndarray], earliest: int = 0
) -> np.ndarray:
    """Return the quantiles (series, horizon, levels) of the errors of `forecast(index)` on windows of training.

    At each step of the horizon, the quantiles of actual minus forecast of each series are to be added to the forecast:
    no distribution is assumed, and errors may grow with the step in any way (Hyndman and Athanasopoulos 2021,
    "Forecasting: Principles and Practice", 5.5).
    """
    training = _thinned(task.training_index, earliest)
    errors = windows.future(task.target, training, task.horizon) - forecast(training)
    return _error_quantiles(errors, training[:, 0], naive_scale(task.observed_target[:, : task.train]), task.levels)


def _thinned(index: np.ndarray, earliest: int) -> np.ndarray:
    late = index[index[:, 1] >= earliest]
    index = late if len(late) else index
    max_windows = np.bincount(index[:, 0]).max(initial=0)
    return index[:: max(1, -(-max_windows // MAX_WINDOWS))]


def _error_quantiles(
    errors: np.ndarray, series: np.ndarray, scale: np.ndarray, levels: tuple[float, ...]
) -> np.ndarray:
    """Quantiles (series, horizon, levels) of `errors` (n, horizon), whose rows belong to `series` (n,).

    A series with few errors gets the quantiles of all, each in units of its series' `scale` (series,). The definition
    is that of Weibull (Hyndman and Fan 1996, definition 6): with few errors it lies further out, so that the next error
    falls below it with exactly the probability of the level.
    """
    is_usable = np.isfinite(errors).all(axis=1) & (scale[series] > 0)
    relative = errors[is_usable] / scale[series[is_usable], None]
    quantiles = np.zeros((len(scale), errors.shape[1], len(levels)))
    if len(relative):
        quantiles += _quantiles(relative, levels) * scale[:, None, None]
    for code in np.flatnonzero(np.bincount(series, minlength=len(scale)) >= MIN_ERRORS):
        quantiles[code] = _quantiles(errors[series == code], levels)
    return quantiles


def _quantiles(errors: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """Quantiles (horizon, levels) of `errors` (n, horizon)."""
    return np.quantile(errors, levels, axis=0, method="weibull").T
