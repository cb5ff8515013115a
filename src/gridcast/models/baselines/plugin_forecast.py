"""The forecasts of a baseline that is a plug-in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gridcast.config import Plugin
from gridcast.config.plugins import raised_at
from gridcast.runtime.baselines.residuals import with_residual_quantiles
from gridcast.runtime.baselines.task import BaselineForecast, BaselineTask
from gridcast.runtime.errors import ConfigError


def plugin_forecast(plugin: Plugin, task: BaselineTask) -> BaselineForecast:
    """Return the forecasts of a plug-in for the windows of `task`.

    The function of the task returns points (n, horizon), or a pair of these and of quantiles (n, horizon, levels), in
    data units. Where it returns no quantiles, they come from its errors on the training span. Raises ConfigError with
    file and line where it fails, or returns something else.
    """
    outcome = _called(plugin, task)
    if isinstance(outcome, BaselineForecast):
        outcome = outcome.point if outcome.quantiles is None else (outcome.point, outcome.quantiles)
    if isinstance(outcome, tuple):
        point, quantiles = outcome if len(outcome) == 2 else (outcome, None)
        shape = (len(task.index), task.horizon, len(task.levels))
        return BaselineForecast(
            _checked(plugin, point, shape[:2], "points (n, horizon)"),
            _checked(plugin, quantiles, shape, "quantiles (n, horizon, levels)") if task.levels else None,
        )
    first = _checked(plugin, outcome, (len(task.index), task.horizon), "points (n, horizon)")

    def forecast(index: np.ndarray) -> np.ndarray:
        if index is task.index:
            return first
        points = _called(plugin, replace(task, index=index))
        return _checked(plugin, points, (len(index), task.horizon), "points (n, horizon)", must_be_finite=False)

    return with_residual_quantiles(task, forecast, earliest=task.lookback)


def _called(plugin: Plugin, task: BaselineTask) -> Any:
    try:
        return plugin.function(task)
    except Exception as error:  # noqa: BLE001 - whatever the user's code raises
        where = raised_at(error, plugin.source.file, plugin.line)
        raise ConfigError(f"{where}: baseline '{plugin.name}': {type(error).__name__}: {error}") from None


def _checked(
    plugin: Plugin, values: Any, shape: tuple[int, ...], expected: str, *, must_be_finite: bool = True
) -> np.ndarray:
    try:
        array = np.asarray(values, float)
    except (TypeError, ValueError):
        array = np.empty(0)
    problem = ""
    if array.shape != shape:
        returned = f"an array of shape {array.shape}" if array.size else repr(values)
        problem = f"must return {expected} of shape {shape}, and returns {returned}"
    elif must_be_finite and not np.isfinite(array).all():
        problem = f"returns {int((~np.isfinite(array)).sum())} of {array.size} values that are not finite"
    if problem:
        raise ConfigError(f"{plugin.where}: baseline '{plugin.name}' {problem}")
    return array
