"""Baselines that fit a model to each series."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .. import gaps
from .naive import seasonal_naive
from .task import BaselineForecast, BaselineTask

FitSeries = Callable[[int, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From a series and its origins (n,) to its point forecasts (n, horizon) and quantiles (n, horizon, levels)."""


def forecast_each_series(task: BaselineTask, fit: FitSeries) -> BaselineForecast:
    """Return the forecasts of each series by `fit(series, origins)`.

    A series that cannot be fitted, or whose forecast is not finite, gets the seasonal naive forecast (the last value,
    if there is no period), and a note says so.
    """
    point = np.empty((len(task.index), task.horizon))
    quantiles = np.empty((*point.shape, len(task.levels)))
    series, failed, reasons = np.unique(task.index[:, 0]), [], []
    for code in series:
        rows = np.flatnonzero(task.index[:, 0] == code)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # poor convergence shows in the test error
                point[rows], quantiles[rows] = fit(code, task.index[rows, 1])
            if not (np.isfinite(point[rows]).all() and np.isfinite(quantiles[rows]).all()):
                raise ValueError("its forecast is not finite")
        except Exception as error:  # noqa: BLE001 - the other series are forecast whatever a library raises on one
            failed.append(rows)
            reasons.append(str(error) or type(error).__name__)
    notes: tuple[str, ...] = ()
    if failed:
        rows = np.concatenate(failed)
        fallback = seasonal_naive(replace(task, index=task.index[rows]))
        point[rows] = fallback.point
        if fallback.quantiles is not None:
            quantiles[rows] = fallback.quantiles
        stand_in = "seasonal naive" if task.period else "last value"
        notes = (f"{len(failed)} of {len(series)} series could not be fitted and take the {stand_in}: {reasons[0]}",)
    return BaselineForecast(point, quantiles if task.levels else None, notes)


def from_first_value(task: BaselineTask, target: np.ndarray) -> tuple[np.ndarray, int, np.ndarray]:
    """Return a series (steps,) from its first value on, gaps filled by the last value; its first step; its training."""
    values = gaps.forward_fill(target)
    start = int(np.argmax(np.isfinite(values)))
    return values[start:], start, values[start : task.train]


def season_of(task: BaselineTask, train: np.ndarray) -> int | None:
    """Return the period of a series with the training steps `train` (steps,); None with fewer than three periods."""
    return task.period if task.period and len(train) >= 3 * task.period else None


def state_space_forecast(results: Any, origins: np.ndarray, task: BaselineTask) -> tuple[np.ndarray, np.ndarray]:
    """Return forecasts of a fitted state-space model (statsmodels) from the state before each step in `origins` (n,).

    These are the mean (n, horizon) and normal quantiles (n, horizon, levels) from the variance of the state.
    """
    from scipy.special import ndtri

    model = results.model.ssm
    transition, design = np.asarray(model["transition"]), np.asarray(model["design"])[0]
    drift = np.asarray(model["state_intercept"]).reshape(len(transition), -1)[:, :1]
    shocks = np.asarray(model["selection"]) @ np.asarray(model["state_cov"]) @ np.asarray(model["selection"]).T
    noise = np.asarray(model["obs_cov"])[0, 0]
    states = np.asarray(results.predicted_state)[:, origins]
    covariance = np.moveaxis(np.asarray(results.predicted_state_cov)[:, :, origins], -1, 0) if task.levels else None
    point = np.empty((len(origins), task.horizon))
    deviation = np.empty((len(origins), task.horizon))
    for step in range(task.horizon):
        point[:, step] = design @ states
        states = transition @ states + drift
        if covariance is not None:
            variance = design @ covariance @ design + noise
            deviation[:, step] = np.sqrt(np.maximum(variance, 0))
            covariance = transition @ covariance @ transition.T + shocks
    return point, point[:, :, None] + deviation[:, :, None] * ndtri(task.levels)
