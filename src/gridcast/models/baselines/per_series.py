"""Baselines that fit each series alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from gridcast.models.baselines.naive import seasonal_naive
from gridcast.models.baselines.task import BaselineForecast, BaselineTask

FitSeries = Callable[[int, np.ndarray], tuple[np.ndarray, np.ndarray]]


def forecast_each_series(task: BaselineTask, fit: FitSeries) -> BaselineForecast:
    """Forecasts of each series by `fit(series, origins)`: point (n, horizon) and quantiles (n, horizon, levels).

    A series that cannot be fitted, or whose forecast is not finite, takes the seasonal naive forecast
    (the last value, where there is no period), and a note tells so.
    """
    point = np.empty((len(task.index), task.horizon))
    quantiles = np.empty((*point.shape, len(task.levels)))
    series, failed, reasons = np.unique(task.index[:, 0]), [], []
    for own in series:
        rows = np.flatnonzero(task.index[:, 0] == own)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # convergence is judged by the test error, in the open
                point[rows], quantiles[rows] = fit(own, task.index[rows, 1])
            if not (np.isfinite(point[rows]).all() and np.isfinite(quantiles[rows]).all()):
                raise ValueError("its forecast is not finite")
        except Exception as error:  # noqa: BLE001 - whatever a library raises on one series, the others go on
            failed.append(rows)
            reasons.append(str(error) or type(error).__name__)
    notes: tuple[str, ...] = ()
    if failed:
        rows = np.concatenate(failed)
        instead = seasonal_naive(replace(task, index=task.index[rows]))
        point[rows] = instead.point
        if instead.quantiles is not None:
            quantiles[rows] = instead.quantiles
        stand_in = "seasonal naive" if task.period else "last value"
        notes = (f"{len(failed)} of {len(series)} series could not be fitted and take the {stand_in}: {reasons[0]}",)
    return BaselineForecast(point, quantiles if task.levels else None, notes)


def state_space_forecast(
    results: Any, at: np.ndarray, task: BaselineTask, scale: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts of a fitted state-space model (statsmodels) from the state before each step `at` (n,).

    Returns the mean (n, horizon) and normal quantiles (n, horizon, levels) from the variance of the
    state. `scale` is what all variances are in units of: that of the fit, for a filter that finds a
    scale of its own knows all steps.
    """
    from scipy.stats import norm

    ssm = results.model.ssm
    transition, design = np.asarray(ssm["transition"]), np.asarray(ssm["design"])[0]
    drift = np.asarray(ssm["state_intercept"]).reshape(len(transition), -1)[:, :1]
    shocks = np.asarray(ssm["selection"]) @ np.asarray(ssm["state_cov"]) @ np.asarray(ssm["selection"]).T
    noise = np.asarray(ssm["obs_cov"])[0, 0]
    states = np.asarray(results.predicted_state)[:, at]
    spread = (
        np.moveaxis(np.asarray(results.predicted_state_cov)[:, :, at], -1, 0) / results.scale if task.levels else None
    )
    point = np.empty((len(at), task.horizon))
    deviation = np.empty((len(at), task.horizon))
    for step in range(task.horizon):
        point[:, step] = design @ states
        states = transition @ states + drift
        if spread is not None:
            variance = design @ spread @ design + noise
            deviation[:, step] = np.sqrt(scale * np.maximum(variance, 0))
            spread = transition @ spread @ transition.T + shocks
    return point, point[:, :, None] + deviation[:, :, None] * norm.ppf(task.levels)
