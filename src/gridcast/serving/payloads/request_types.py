"""Parsed requests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridcast.runtime.input_table import ForecastInput


@dataclass(frozen=True)
class ForecastRequest:
    """The input of `Forecaster.forecast_all`, with the steps and quantile levels to forecast.

    `rows` is the number of rows in the request.
    """

    forecast_input: ForecastInput
    horizon: int
    levels: tuple[float, ...]
    rows: int


@dataclass(frozen=True)
class DetectionRequest:
    """The steps that a detector scores: their `times`, and `values` (steps, sensors) in data units, NaN where missing.

    `scaled` are the same values as the network reads them.
    """

    times: pd.DatetimeIndex
    values: np.ndarray
    scaled: np.ndarray
