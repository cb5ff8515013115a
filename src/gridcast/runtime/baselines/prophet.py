"""Prophet; needs the extra `gridcast[prophet]`."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from ..errors import GridcastError
from .each_series import forecast_each_series
from .task import BaselineForecast, BaselineTask

MAX_REFITS = 10
"""Origins of a series at which Prophet is fitted again; between them, its last fit forecasts."""
SAMPLES = 1000
"""Paths that quantiles are estimated from."""


def prophet(task: BaselineTask) -> BaselineForecast:
    """Forecast with Prophet and its default settings: a piecewise linear trend, and seasons.

    With fixed parameters it cannot update a state, so it is the only baseline fitted on more than the training span: on
    all steps before each origin, or before `MAX_REFITS` origins, evenly spread, if there are more. Quantiles are those
    of its samples. Raises GridcastError if it is not installed.

    Source: Taylor and Letham (2018), "Forecasting at scale".
    """
    try:
        from prophet import Prophet
    except ImportError:
        raise GridcastError("Prophet is not installed; run: pip install 'gridcast[prophet]'") from None
    for name in ("prophet", "cmdstanpy"):
        logging.getLogger(name).setLevel(logging.ERROR)
    target = task.observed_target

    def fit(series: int, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        point = np.empty((len(origins), task.horizon))
        quantiles = np.empty((*point.shape, len(task.levels)))
        order = np.argsort(origins)
        for rows in np.array_split(order, min(MAX_REFITS, len(order))):
            first = origins[rows[0]]
            past = pd.DataFrame({"ds": task.times[:first], "y": target[series, :first]}).dropna()
            model = Prophet(uncertainty_samples=SAMPLES if task.levels else 0)
            model.fit(past, seed=0)
            steps = origins[rows, None] + np.arange(task.horizon)
            unique_steps = np.unique(steps)
            future = pd.DataFrame({"ds": task.times[unique_steps]})
            position = np.searchsorted(unique_steps, steps)
            point[rows] = model.predict(future)["yhat"].to_numpy()[position]
            if task.levels:
                np.random.seed(0)  # noqa: NPY002 - Prophet draws from NumPy's global generator
                samples = model.predictive_samples(future)["yhat"]
                quantiles[rows] = np.moveaxis(np.quantile(samples, task.levels, axis=1), 0, -1)[position]
        return point, quantiles

    return forecast_each_series(task, fit)
