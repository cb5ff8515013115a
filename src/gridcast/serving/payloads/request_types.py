"""Parsed requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class ForecastRequest:
    """What is to be forecast, as `Forecaster.answers` takes it; `rows` are those of the request."""

    placed: Any
    horizon: int
    levels: tuple[float, ...]
    rows: int


@dataclass(frozen=True)
class TableRequest:
    """What is to be forecast of a whole table."""

    horizon: int
    levels: tuple[float, ...]


@dataclass(frozen=True)
class DetectionRequest:
    """What a detector is to look at: `values` (steps, sensors) in data units, NaN where nothing was seen.

    `scaled` are the same as its network reads them.
    """

    times: pd.DatetimeIndex
    values: np.ndarray
    scaled: np.ndarray
