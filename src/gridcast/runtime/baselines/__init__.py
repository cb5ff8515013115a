"""Baselines that forecast without a network: name -> function(task), in data units.

They are fitted on the training span alone (except Prophet, see there), and no forecast reads values at or after its
origin. Only observed values are fitted on, since an interpolated value may depend on the span after it.

They travel in models: each can be the champion, see `baseline_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from .arima import auto_arima
from .automatic_ets import ets
from .intermittent import croston, tsb
from .naive import last_value, seasonal_naive, training_mean, training_median
from .prophet import prophet
from .ridge_regression import fit_ridge, forecast_ridge, ridge
from .task import BaselineForecast, BaselineTask
from .theta import theta
from .trees import fit_relative_trees, fit_trees, forecast_trees, relative_trees, trees

BASELINES: dict[str, Callable[[BaselineTask], BaselineForecast]] = {
    "last value": last_value,
    "seasonal naive": seasonal_naive,
    "training mean": training_mean,
    "training median": training_median,
    "ETS": ets,
    "ridge": ridge,
    "Theta": theta,
    "trees": trees,
    "relative trees": relative_trees,
    "Croston": croston,
    "TSB": tsb,
    "AutoARIMA": auto_arima,
    "Prophet": prophet,
}
LIBRARIES = {"AutoARIMA": ("scipy", "statsmodels"), "Prophet": ("prophet",), "ETS": ("scipy",), "Theta": ("scipy",)}
"""Packages that a model of a baseline needs beside NumPy and pandas."""


class FittedBaseline(NamedTuple):
    """A baseline that is fitted to all series together: from a task to its state, and from both to the forecasts.

    It reads the target as many `periods` back.
    """

    fit: Callable[[BaselineTask], dict[str, np.ndarray]]
    forecast: Callable[[BaselineTask, Mapping[str, np.ndarray]], BaselineForecast]
    periods: int = 0


FITTED_BASELINES = {
    "ridge": FittedBaseline(fit_ridge, forecast_ridge),
    "trees": FittedBaseline(fit_trees, forecast_trees, periods=2),
    "relative trees": FittedBaseline(fit_relative_trees, forecast_trees, periods=2),
}
"""Baselines whose state a model carries; the others are fitted in use, to the history of each series."""
