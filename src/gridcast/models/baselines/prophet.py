"""Prophet, the peer of the monthly comparison; needs the extra `gridcast[prophet]`."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from gridcast.models.baselines.per_series import forecast_each_series
from gridcast.models.baselines.task import BaselineForecast, BaselineTask
from gridcast.runtime.errors import GridcastError

MAX_REFITS = 10
"""Origins of a series at which Prophet is fitted anew; between them its last fit goes on."""
SAMPLES = 1000


def prophet(task: BaselineTask) -> BaselineForecast:
    """Prophet with its own settings: a trend that changes, and seasons.

    It has no state to carry on with fixed parameters. So it alone is fitted on more than the training
    span: on what is known at each origin, or, where there are more than `REFITS`, at that many spread
    evenly. Quantiles are those of its own samples. Raises GridcastError where it is not installed.
    Source: Taylor and Letham (2018), "Forecasting at scale".
    """
    try:
        from prophet import Prophet
    except ImportError:
        raise GridcastError("Prophet is not installed; run: pip install 'gridcast[prophet]'") from None
    for name in ("prophet", "cmdstanpy"):
        logging.getLogger(name).setLevel(logging.ERROR)
    known = task.observed_target

    def fit(series: int, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        point = np.empty((len(origins), task.horizon))
        quantiles = np.empty((*point.shape, len(task.levels)))
        order = np.argsort(origins)
        for rows in np.array_split(order, min(MAX_REFITS, len(order))):
            first = origins[rows[0]]
            past = pd.DataFrame({"ds": task.times[:first], "y": known[series, :first]}).dropna()
            model = Prophet(uncertainty_samples=SAMPLES if task.levels else 0)
            model.fit(past, seed=0)
            steps = origins[rows, None] + np.arange(task.horizon)
            asked = pd.DataFrame({"ds": task.times[np.unique(steps)]})
            place = np.searchsorted(np.unique(steps), steps)
            point[rows] = model.predict(asked)["yhat"].to_numpy()[place]
            if task.levels:
                np.random.seed(0)  # noqa: NPY002 - Prophet draws from NumPy's global generator
                samples = model.predictive_samples(asked)["yhat"]
                quantiles[rows] = np.moveaxis(np.quantile(samples, task.levels, axis=1), 0, -1)[place]
        return point, quantiles

    return forecast_each_series(task, fit)
