"""Error metrics on arrays: pure functions, each with its direction in `LOWER_IS_BETTER`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gridcast.config.keras_names import name_and_settings

LOWER_IS_BETTER = {
    "mae": True,
    "rmse": True,
    "r2": False,
    "mape": True,
    "smape": True,
    "mase": True,
    "msse": True,
    "msle": True,
    "wape": True,
    "wql": True,
    "crps": True,
    "width": True,
}
"""`coverage` is missing: it is best at the share that the interval promises."""
POINT_METRICS = ("mae", "rmse", "r2", "mape", "smape", "wape", "mase", "msse", "msle")
"""Metrics of every forecast; the others need quantiles or samples."""
KERAS_EPSILON = 1e-7
"""What Keras divides by at least, and adds to logarithms."""
CLOSENESS_CLASSES = ("EXCELLENT", "GOOD", "ACCEPTABLE", "NEEDS IMPROVEMENT")
"""Classes of `closeness`, the closest first."""


def mae(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return the mean absolute error, in the unit of the data."""
    return float(np.mean(np.abs(forecast - actual)))


def rmse(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return the root mean squared error, in the unit of the data."""
    return float(np.sqrt(np.mean((forecast - actual) ** 2)))


def r2(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return the share of the variance explained; NaN where `actual` is constant."""
    variance = np.sum((actual - np.mean(actual)) ** 2)
    return float(1 - np.sum((forecast - actual) ** 2) / variance) if variance > 0 else float("nan")


def mape(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return the mean absolute percentage error over the points where `actual` is not 0; NaN if there are none."""
    nonzero = actual != 0
    if not nonzero.any():
        return float("nan")
    return float(100 * np.mean(np.abs((forecast - actual)[nonzero] / actual[nonzero])))


def smape(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return the symmetric percentage error, 0 to 200 (Makridakis 1993); a point where both are 0 counts 0."""
    size = np.abs(actual) + np.abs(forecast)
    return float(200 * np.mean(np.divide(np.abs(forecast - actual), size, out=np.zeros_like(size), where=size > 0)))


def wape(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return the sum of the absolute errors in percent of the sum of |actual|; NaN where that is 0.

    Unlike `mape` it is well defined with single zeros (Kolassa and Schuetz 2007).
    """
    size = np.sum(np.abs(actual))
    return float(100 * np.sum(np.abs(forecast - actual)) / size) if size > 0 else float("nan")


def pinball(actual: np.ndarray, quantile: np.ndarray, level: float) -> np.ndarray:
    """Return the pinball loss of the forecast `quantile` of `level` at each point, shaped like `actual`.

    In data units; at level 0.5 it is half the absolute error. Source: Koenker and Bassett (1978).
    """
    shortfall = actual - quantile
    return np.maximum(level * shortfall, (level - 1) * shortfall)


def weighted_quantile_loss(actual: np.ndarray, quantiles: np.ndarray, levels: Sequence[float]) -> float:
    """Return twice the sum of the pinball losses over the sum of |actual|, averaged over `levels`; NaN if that is 0.

    `quantiles` is (..., levels) for `actual` (...). The usual metric for comparing whole distributions
    across series (Salinas et al. 2020, "DeepAR", eq. 11): 0 is perfect, and at level 0.5 alone it is WAPE / 100.
    """
    size = np.sum(np.abs(actual))
    if not size > 0:
        return float("nan")
    losses = [np.sum(pinball(actual, quantiles[..., k], level)) for k, level in enumerate(levels)]
    return float(2 * np.mean(losses) / size)


def crps(actual: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Return the continuous ranked probability score (...) of `samples` (..., paths) for `actual` (...).

    In data units. The energy form E|X - y| - E|X - X'| / 2 (Gneiting and Raftery 2007, eq. 21), its second mean over
    pairs of different paths, so that few paths are not favoured ("fair", Ferro 2014); with one path the absolute error.
    """
    paths = samples.shape[-1]
    error = np.mean(np.abs(samples - actual[..., None]), axis=-1)
    # Sorted, the sum of |x_i - x_j| over all pairs takes one pass: x_k stands above k and below paths - 1 - k others.
    ranks = 2 * np.arange(paths) - (paths - 1)
    half_difference = np.sort(samples, axis=-1) @ ranks / max(paths * (paths - 1), 1)
    return np.asarray(error - half_difference)


def coverage(actual: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Return the share (0 to 1) of the points that lie within [low, high]."""
    return float(np.mean((low <= actual) & (actual <= high)))


def width(low: np.ndarray, high: np.ndarray) -> float:
    """Return the mean width of the intervals, in the unit of the data."""
    return float(np.mean(high - low))


def widest_interval(levels: Sequence[float]) -> tuple[float, float] | None:
    """Return the widest symmetric pair of `levels`, such as 0.1 and 0.9; None if there is none."""
    pairs = [(level, other) for level in levels for other in levels if level < 0.5 and abs(level + other - 1) < 1e-9]
    return min(pairs, default=None)


def quantile_metrics(actual: np.ndarray, quantiles: np.ndarray, levels: Sequence[float]) -> dict[str, float]:
    """Return `wql`, and `coverage` and `width` of the `widest_interval` if there is one.

    `quantiles` is (..., levels) for `actual` (...).
    """
    values = {"wql": weighted_quantile_loss(actual, quantiles, levels)}
    if pair := widest_interval(levels):
        low, high = (quantiles[..., list(levels).index(level)] for level in pair)
        values |= {"coverage": coverage(actual, low, high), "width": width(low, high)}
    return values


def mase(actual: np.ndarray, forecast: np.ndarray, scale: float) -> float:
    """Return the mean absolute error in units of `scale` (Hyndman and Koehler 2006, see `naive_scale`)."""
    return mae(actual, forecast) / scale if scale > 0 else float("nan")


def msse(actual: np.ndarray, forecast: np.ndarray, scale: float) -> float:
    """Return the mean squared error in units of `scale` squared: what `mase` is for networks trained on squares."""
    return float(np.mean((forecast - actual) ** 2)) / scale**2 if scale > 0 else float("nan")


def closeness(actual: np.ndarray, forecast: np.ndarray) -> dict[str, float]:
    """Return the percentage of forecasts in each of `CLOSENESS_CLASSES`, by the ratio forecast / actual.

    Within 95-105 % EXCELLENT, else within 90-110 % GOOD, else within 80-120 % ACCEPTABLE. Where
    the actual value is 0 only a forecast that rounds to 0 is EXCELLENT.
    """
    classes = np.searchsorted([0.05, 0.10, 0.20], _deviation(actual, forecast))
    return {name: float(100 * np.mean(classes == k)) for k, name in enumerate(CLOSENESS_CLASSES)}


def share_name(label: str) -> str:
    """Return the name in records of the share of one of `CLOSENESS_CLASSES`."""
    return f"share_{label.lower().replace(' ', '_')}"


def is_within(actual: np.ndarray, forecast: np.ndarray, share: float) -> np.ndarray:
    """Return whether each forecast differs from the actual value by at most the `share` of it, as `closeness` does."""
    return _deviation(actual, forecast) <= share


def _deviation(actual: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    ratio = np.divide(forecast, actual, out=np.where(np.round(forecast) == 0, 1.0, np.inf), where=actual != 0)
    return np.asarray(np.abs(ratio - 1) - 1e-12)


def log_errors(actual: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """Return the errors of log(1 + forecast), shaped like `actual`; NaN where an actual value is at most -1.

    A forecast below 0 and all actual values counts as the lowest of these: what it forecasts cannot happen.
    """
    if not actual.size or actual.min() <= -1:
        return np.full(actual.shape, np.nan)
    return np.asarray(np.log1p(np.maximum(forecast, min(0.0, float(actual.min())))) - np.log1p(actual))


def msle(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return the mean squared error of log(1 + forecast), see `log_errors`."""
    return float(np.mean(log_errors(actual, forecast) ** 2))


def per_series(
    actual: np.ndarray, forecast: np.ndarray, series: np.ndarray, scale: np.ndarray
) -> dict[str, dict[str, float]]:
    """Return every point metric of each series; all four arrays are (points,), `scale` as `naive_scale` gives it."""
    _, first, code, counts = np.unique(series, return_index=True, return_inverse=True, return_counts=True)
    points_of = np.split(np.argsort(code, kind="stable"), np.cumsum(counts)[:-1])
    names = series[first].tolist()
    by_series = {}
    for k in np.argsort(first):
        points = points_of[k]
        unit = float(scale[first[k]])
        by_series[names[k]] = _unscaled_metrics(actual[points], forecast[points]) | {
            "mase": mase(actual[points], forecast[points], unit),
            "msse": msse(actual[points], forecast[points], unit),
        }
    return by_series


def overall(actual: np.ndarray, forecast: np.ndarray, series: np.ndarray, scale: np.ndarray) -> dict[str, float]:
    """Return every point metric over all points; MASE and MSSE are means over series, since each has its own scale.

    A series without a finite MASE is left out of that mean; the report's verdict mentions it.
    """
    _, first, code = np.unique(series, return_index=True, return_inverse=True)
    error, counts, unit = np.abs(forecast - actual), np.bincount(code), scale[first]
    means = {"mase": np.bincount(code, error) / counts, "msse": np.bincount(code, error**2) / counts}
    values = _unscaled_metrics(actual, forecast)
    for name, power in (("mase", 1), ("msse", 2)):
        ratios = means[name][unit > 0] / unit[unit > 0] ** power
        ratios = ratios[np.isfinite(ratios)]
        values[name] = float(np.mean(ratios)) if len(ratios) else float("nan")
    return values


def _unscaled_metrics(actual: np.ndarray, forecast: np.ndarray) -> dict[str, float]:
    return {metric.__name__: metric(actual, forecast) for metric in (mae, rmse, r2, mape, smape, wape, msle)}


def point_losses(loss: str, actual: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """Return the training loss of each point, shaped like `actual`, as Keras computes it: see `config.keras_names`."""
    name, settings = name_and_settings(loss)
    error, delta = np.abs(forecast - actual), settings.get("delta", 1.0)
    if name == "mae":
        return error
    if name == "mse":
        return error**2
    if name == "log_cosh":
        return error + np.log1p(np.exp(-2 * error)) - np.log(2)
    if name == "mape":
        return 100 * error / np.maximum(np.abs(actual), KERAS_EPSILON)
    if name == "msle":
        positive = np.maximum(actual, KERAS_EPSILON), np.maximum(forecast, KERAS_EPSILON)
        return (np.log1p(positive[0]) - np.log1p(positive[1])) ** 2
    return np.where(error <= delta, 0.5 * error**2, delta * error - 0.5 * delta**2)
