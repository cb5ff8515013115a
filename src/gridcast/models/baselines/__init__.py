"""Baselines that forecast without a network: name -> function(task), in data units.

They are fitted on the training span alone (except Prophet, see there), and no forecast reads values at or after its
origin. Only observed values are fitted on, since an interpolated value may depend on the span after it.
"""

from __future__ import annotations

from collections.abc import Callable

from gridcast.models.baselines.arima import auto_arima
from gridcast.models.baselines.automatic_ets import ets
from gridcast.models.baselines.intermittent import croston, tsb
from gridcast.models.baselines.naive import last_value, seasonal_naive, training_mean, training_median
from gridcast.models.baselines.prophet import prophet
from gridcast.models.baselines.ridge_regression import ridge
from gridcast.models.baselines.task import BaselineForecast, BaselineTask
from gridcast.models.baselines.theta import theta
from gridcast.models.baselines.trees import trees

BASELINES: dict[str, Callable[[BaselineTask], BaselineForecast]] = {
    "last value": last_value,
    "seasonal naive": seasonal_naive,
    "training mean": training_mean,
    "training median": training_median,
    "ETS": ets,
    "ridge": ridge,
    "Theta": theta,
    "trees": trees,
    "Croston": croston,
    "TSB": tsb,
    "AutoARIMA": auto_arima,
    "Prophet": prophet,
}
VERSIONS = {"ETS": 2, "Theta": 2, "ridge": 2, "trees": 2}
"""Versions of baselines whose forecasts changed: raise one with its forecasts, so that recorded ones are not reused.

2: ETS chooses its form; Theta finds the best smoothing constant of all; ridge and trees read what is known ahead, lags,
and categories.
"""
SEASONAL_BASELINES = ("seasonal naive", "ETS", "Theta", "AutoARIMA")
"""Baselines that use the period."""
NAIVE_BASELINES = ("last value", "seasonal naive", "training mean", "training median")
"""Baselines that fit no model: a network that loses to one of them is not promoted."""
