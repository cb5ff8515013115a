"""Scores of quantile forecasts, the same for every contender: arrays in, numbers out.

`actual` is (series, horizon), `forecast` (series, horizon, levels) for the LEVELS, `history`
(series, steps) with NaN before a series begins; all in data units.
"""

from __future__ import annotations

import numpy as np
from peers.panel import LEVELS


def all_of(actual: np.ndarray, forecast: np.ndarray, history: np.ndarray, period: int) -> dict[str, float]:
    """Return every score by name. Raises ValueError for a forecast of another shape or one that is not finite."""
    if forecast.shape != (*actual.shape, len(LEVELS)):
        raise ValueError(f"a forecast of shape {forecast.shape} for actual values of shape {actual.shape}")
    if not np.isfinite(forecast).all():
        raise ValueError(f"{int((~np.isfinite(forecast)).sum())} quantiles are not finite")
    return {
        "weighted_quantile_loss": weighted_quantile_loss(actual, forecast),
        "mase": mase(actual, forecast[:, :, LEVELS.index(0.5)], history, period),
        "coverage_80": coverage(actual, forecast),
    }


def weighted_quantile_loss(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return twice the pinball loss per unit of the actual values, mean over levels, as in GluonTS."""
    error, levels = actual[:, :, None] - forecast, np.array(LEVELS)
    pinball = np.maximum(levels * error, (levels - 1) * error)
    return float((2 * pinball.sum(axis=(0, 1)) / np.abs(actual).sum()).mean())


def mase(actual: np.ndarray, median: np.ndarray, history: np.ndarray, period: int) -> float:
    """Return the absolute error per mean seasonal difference of the history, mean over series (Hyndman, Koehler 2006).

    A series whose history always equals that of a season before has no scale and is left out.
    """
    scale = np.nanmean(np.abs(history[:, period:] - history[:, :-period]), axis=1)
    error = np.abs(actual - median).mean(axis=1)
    return float((error[scale > 0] / scale[scale > 0]).mean())


def coverage(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return the share of the actual values between the quantiles 0.1 and 0.9."""
    low, high = forecast[:, :, LEVELS.index(0.1)], forecast[:, :, LEVELS.index(0.9)]
    return float(((low <= actual) & (actual <= high)).mean())
