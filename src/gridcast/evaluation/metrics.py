"""Error measures on arrays: pure functions, each with its direction in `LOWER_IS_BETTER`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LOWER_IS_BETTER = {
    "mae": True,
    "rmse": True,
    "r2": False,
    "mape": True,
    "smape": True,
    "mase": True,
    "wape": True,
    "wql": True,
    "crps": True,
    "width": True,
}
"""Of `coverage` neither: it is best at the share that the interval promises."""
POINT_METRICS = ("mae", "rmse", "r2", "mape", "smape", "wape", "mase")
"""Measures that every forecast has; the others need quantiles or samples."""
CLOSENESS_CLASSES = ("EXCELLENT", "GOOD", "ACCEPTABLE", "NEEDS IMPROVEMENT")


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


def wape(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Sum of the absolute errors in percent of the sum of |actual|; NaN where that is 0.

    Unlike `mape` it has no trouble with single zeros (Kolassa and Schuetz 2007).
    """
    size = np.sum(np.abs(actual))
    return float(100 * np.sum(np.abs(forecast - actual)) / size) if size > 0 else float("nan")


def pinball(actual: np.ndarray, quantile: np.ndarray, level: float) -> np.ndarray:
    """Pinball loss of a forecast `quantile` of `level` at each point, shaped like `actual` (Koenker and Bassett 1978).

    In data units; at level 0.5 it is half the absolute error.
    """
    short = actual - quantile
    return np.maximum(level * short, (level - 1) * short)


def weighted_quantile_loss(actual: np.ndarray, quantiles: np.ndarray, levels: Sequence[float]) -> float:
    """Twice the sum of the pinball losses over the sum of |actual|, averaged over `levels`; NaN where that sum is 0.

    `quantiles` is (..., levels) for `actual` (...). The usual measure for comparing whole distributions
    across series (Salinas et al. 2020, "DeepAR", eq. 11): 0 is perfect, and at level 0.5 alone it is WAPE / 100.
    """
    size = np.sum(np.abs(actual))
    if not size > 0:
        return float("nan")
    sums = [np.sum(pinball(actual, quantiles[..., k], level)) for k, level in enumerate(levels)]
    return float(2 * np.mean(sums) / size)


def crps(actual: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score (...) of `samples` (..., paths) for `actual` (...), in data units.

    The energy form E|X - y| - E|X - X'| / 2 (Gneiting and Raftery 2007, eq. 21), its second mean over pairs
    of different paths, so that few paths are not favoured ("fair", Ferro 2014); with one path the absolute error.
    """
    paths = samples.shape[-1]
    off = np.mean(np.abs(samples - actual[..., None]), axis=-1)
    # Sorted, the sum of |x_i - x_j| over all pairs takes one pass: x_k stands above k and below paths - 1 - k others.
    ranks = 2 * np.arange(paths) - (paths - 1)
    apart = np.sort(samples, axis=-1) @ ranks / max(paths * (paths - 1), 1)
    return np.asarray(off - apart)


def coverage(actual: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Share (0 to 1) of the points that lie within [low, high]."""
    return float(np.mean((low <= actual) & (actual <= high)))


def width(low: np.ndarray, high: np.ndarray) -> float:
    """Mean width of the intervals, in the unit of the data."""
    return float(np.mean(high - low))


def widest_interval(levels: Sequence[float]) -> tuple[float, float] | None:
    """The widest pair of `levels` that leaves as much below as above, such as 0.1 and 0.9; None where none does."""
    pairs = [(level, other) for level in levels for other in levels if level < 0.5 and abs(level + other - 1) < 1e-9]
    return min(pairs, default=None)


def quantile_metrics(actual: np.ndarray, quantiles: np.ndarray, levels: Sequence[float]) -> dict[str, float]:
    """`wql`, and `coverage` and `width` of the `outermost` interval.

    `quantiles` is (..., levels) for `actual` (...).
    """
    found = {"wql": weighted_quantile_loss(actual, quantiles, levels)}
    if pair := widest_interval(levels):
        low, high = (quantiles[..., list(levels).index(level)] for level in pair)
        found |= {"coverage": coverage(actual, low, high), "width": width(low, high)}
    return found


def mase(actual: np.ndarray, forecast: np.ndarray, scale: float) -> float:
    """Mean absolute error in units of `scale` (Hyndman and Koehler 2006, see `naive_scale`)."""
    return mae(actual, forecast) / scale if scale > 0 else float("nan")


def closeness(actual: np.ndarray, forecast: np.ndarray) -> dict[str, float]:
    """Share of forecasts, in percent, whose closest class by forecast / actual is each of `CLOSENESS`.

    Within 95-105 % EXCELLENT, else within 90-110 % GOOD, else within 80-120 % ACCEPTABLE. Where
    the actual value is 0 only a forecast that rounds to 0 is EXCELLENT.
    """
    ratio = np.divide(forecast, actual, out=np.where(np.round(forecast) == 0, 1.0, np.inf), where=actual != 0)
    off = np.abs(ratio - 1) - 1e-12
    at = np.searchsorted([0.05, 0.10, 0.20], off)
    return {name: float(100 * np.mean(at == k)) for k, name in enumerate(CLOSENESS_CLASSES)}


def per_series(
    actual: np.ndarray, forecast: np.ndarray, series: np.ndarray, scale: np.ndarray
) -> dict[str, dict[str, float]]:
    """Every measure for each series; all four arrays are (points,), `scale` as `naive_scale` gives it."""
    _, first, code, counts = np.unique(series, return_index=True, return_inverse=True, return_counts=True)
    rows = np.split(np.argsort(code, kind="stable"), np.cumsum(counts)[:-1])
    names, found = series[first].tolist(), {}
    for k in np.argsort(first):
        own = rows[k]
        found[names[k]] = _point_metrics(actual[own], forecast[own]) | {
            "mase": mase(actual[own], forecast[own], float(scale[first[k]]))
        }
    return found


def overall(actual: np.ndarray, forecast: np.ndarray, series: np.ndarray, scale: np.ndarray) -> dict[str, float]:
    """Every measure over all points; MASE is the mean over series, since each has its own scale.

    A series without a finite MASE is left out of that mean; the verdict tells of it.
    """
    _, first, code = np.unique(series, return_index=True, return_inverse=True)
    errors, unit = np.bincount(code, np.abs(forecast - actual)) / np.bincount(code), scale[first]
    each = errors[unit > 0] / unit[unit > 0]
    each = each[np.isfinite(each)]
    return _point_metrics(actual, forecast) | {"mase": float(np.mean(each)) if len(each) else float("nan")}


def _point_metrics(actual: np.ndarray, forecast: np.ndarray) -> dict[str, float]:
    return {measure.__name__: measure(actual, forecast) for measure in (mae, rmse, r2, mape, smape, wape)}


def point_losses(loss: str, actual: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """The training loss mse, mae or huber (delta 1) of each point, shaped like `actual`."""
    error = np.abs(forecast - actual)
    if loss == "mae":
        return error
    return error**2 if loss == "mse" else np.where(error <= 1, 0.5 * error**2, error - 0.5)
