"""Error measures on arrays: pure functions, each with its direction in `LOWER_IS_BETTER`."""

from __future__ import annotations

import numpy as np

LOWER_IS_BETTER = {"mae": True, "rmse": True, "r2": False, "mape": True, "smape": True, "mase": True}
CLOSENESS = ("EXCELLENT", "GOOD", "ACCEPTABLE", "NEEDS IMPROVEMENT")


def mae(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Mean absolute error, in the unit of the data."""
    return float(np.mean(np.abs(forecast - actual)))


def rmse(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Root of the mean squared error, in the unit of the data."""
    return float(np.sqrt(np.mean((forecast - actual) ** 2)))


def r2(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Share of the variance explained; NaN where `actual` is constant."""
    variance = np.sum((actual - np.mean(actual)) ** 2)
    return float(1 - np.sum((forecast - actual) ** 2) / variance) if variance > 0 else float("nan")


def mape(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Mean absolute percentage error over the points where `actual` is not 0; NaN if there is none."""
    known = actual != 0
    return float(100 * np.mean(np.abs((forecast - actual)[known] / actual[known]))) if known.any() else float("nan")


def smape(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Symmetric percentage error, 0 to 200 (Makridakis 1993); a point where both are 0 counts 0."""
    size = np.abs(actual) + np.abs(forecast)
    return float(200 * np.mean(np.divide(np.abs(forecast - actual), size, out=np.zeros_like(size), where=size > 0)))


def mase(actual: np.ndarray, forecast: np.ndarray, scale: float) -> float:
    """Mean absolute error in units of `scale` (Hyndman and Koehler 2006, see `naive_scale`)."""
    return mae(actual, forecast) / scale if scale > 0 else float("nan")


def naive_scale(training: np.ndarray) -> np.ndarray:
    """Mean absolute one-step difference of each series (series,) over the training span (series, steps).

    Steps whose value or the one before is NaN, since it was not observed, do not count; 0 where none does.
    """
    steps = np.abs(np.diff(training, axis=1))
    known = np.isfinite(steps)
    return np.sum(steps, axis=1, where=known) / np.maximum(known.sum(axis=1), 1)


def closeness(actual: np.ndarray, forecast: np.ndarray) -> dict[str, float]:
    """Share of forecasts, in percent, whose closest class by forecast / actual is each of `CLOSENESS`.

    Within 95-105 % EXCELLENT, else within 90-110 % GOOD, else within 80-120 % ACCEPTABLE. Where
    the actual value is 0 only a forecast that rounds to 0 is EXCELLENT.
    """
    ratio = np.divide(forecast, actual, out=np.where(np.round(forecast) == 0, 1.0, np.inf), where=actual != 0)
    off = np.abs(ratio - 1) - 1e-12
    at = np.searchsorted([0.05, 0.10, 0.20], off)
    return {name: float(100 * np.mean(at == k)) for k, name in enumerate(CLOSENESS)}


def per_series(
    actual: np.ndarray, forecast: np.ndarray, series: np.ndarray, scale: np.ndarray
) -> dict[str, dict[str, float]]:
    """Every measure for each series; all four arrays are (points,), `scale` as `naive_scale` gives it."""
    found = {}
    for name in dict.fromkeys(series.tolist()):
        own = series == name
        found[name] = _all(actual[own], forecast[own]) | {
            "mase": mase(actual[own], forecast[own], float(scale[own][0]))
        }
    return found


def overall(actual: np.ndarray, forecast: np.ndarray, series: np.ndarray, scale: np.ndarray) -> dict[str, float]:
    """Every measure over all points; MASE is the mean over series, since each has its own scale.

    A series without a finite MASE is left out of that mean; the verdict tells of it.
    """
    each = [own["mase"] for own in per_series(actual, forecast, series, scale).values() if np.isfinite(own["mase"])]
    return _all(actual, forecast) | {"mase": float(np.mean(each)) if each else float("nan")}


def _all(actual: np.ndarray, forecast: np.ndarray) -> dict[str, float]:
    return {measure.__name__: measure(actual, forecast) for measure in (mae, rmse, r2, mape, smape)}


def point_losses(loss: str, actual: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """The training loss mse, mae or huber (delta 1) of each point, shaped like `actual`."""
    error = np.abs(forecast - actual)
    if loss == "mae":
        return error
    return error**2 if loss == "mse" else np.where(error <= 1, 0.5 * error**2, error - 0.5)
