"""Scaling of each series, fitted on the training span alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-9
"""A spread below this share of the level comes from rounding: dividing by it would magnify noise."""
MARGIN = 0.5
"""How far beyond its training range a covariate is read, in units of that range.

A price or a promotion may go somewhat further than it has been, and half a range further the network still has examples
from near enough to continue. Beyond that nothing was learnt, and one wrong value would decide a forecast.
"""


@dataclass(frozen=True)
class Scaler:
    """`(value - offset) / scale` of each series, after log(1 + value) if `log1p`; offset and scale are (series,).

    The result is kept within `low` and `high` (series,), in scaled units, where there are such bounds.
    """

    offset: np.ndarray
    scale: np.ndarray
    log1p: bool = False
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    def transform(self, values: np.ndarray, series: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return `values` (n, ...) in scaled units; row i belongs to `series[i]`."""
        offset, scale = (_as_rows(one, series, values.ndim) for one in (self.offset, self.scale))
        scaled = ((np.log1p(values) if self.log1p else values) - offset) / scale
        if self.low is None or self.high is None:
            return scaled
        return np.clip(scaled, _as_rows(self.low, series, values.ndim), _as_rows(self.high, series, values.ndim))

    def inverse(self, scaled: np.ndarray, series: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return `scaled` values (n, ...) in data units; row i belongs to `series[i]`."""
        offset, scale = (_as_rows(one, series, scaled.ndim) for one in (self.offset, self.scale))
        values = scaled * scale + offset
        return np.expm1(values) if self.log1p else values

    def take(self, row: int) -> Scaler:
        """Return the scaler of the series in `row` alone."""
        bounds = [None if bound is None else bound[row : row + 1] for bound in (self.low, self.high)]
        return Scaler(self.offset[row : row + 1], self.scale[row : row + 1], self.log1p, *bounds)

    def limits(self, row: int) -> tuple[float, float]:
        """Return the lowest and the highest value, in data units, that the series in `row` is read with."""
        if self.low is None or self.high is None:
            return -np.inf, np.inf
        low, high = (float(self.offset[row] + bound[row] * self.scale[row]) for bound in (self.low, self.high))
        return low, high


def _as_rows(values: np.ndarray, series: np.ndarray | slice, ndim: int) -> np.ndarray:
    """The `values` (series,) of each row (n, 1, ...), to be combined with an array of `ndim` dimensions."""
    return values[series].reshape((-1,) + (1,) * (ndim - 1))


def fit(train: np.ndarray, method: str, log1p: bool = False) -> Scaler:
    """Return the scaler of `train` (series, steps), NaN where nothing was observed.

    `method` is minmax, standard, mean-abs or none. A series that is constant, or not observed at all, has scale 1.
    """
    values = np.log1p(train) if log1p else train
    observed = np.isfinite(values)
    count = np.maximum(observed.sum(axis=1), 1)
    zeros, ones = np.zeros(len(values)), np.ones(len(values))
    if method == "minmax":
        low, high = _range(values)
        offset, scale = low, high - low
    elif method == "standard":
        offset = np.sum(values, axis=1, where=observed) / count
        scale = np.sqrt(np.sum((values - offset[:, None]) ** 2, axis=1, where=observed) / count)
    elif method == "mean-abs":
        offset, scale = zeros, np.sum(np.abs(values), axis=1, where=observed) / count
    else:
        offset, scale = zeros, ones
    has_no_spread = scale <= ROUNDING * np.abs(offset)
    return Scaler(offset, np.where(has_no_spread, 1.0, scale), log1p)


def is_constant(train: np.ndarray) -> np.ndarray:
    """Return True (series,) where `train` (series, steps), NaN where nothing was observed, has one value at most."""
    low, high = _range(train)
    return high - low <= ROUNDING * np.maximum(np.abs(low), np.abs(high))


def fit_bounded(train: np.ndarray, method: str) -> Scaler:
    """Return the scaler of a covariate from its values in training (series, steps), see `fit`, with bounds.

    A series in which it is constant is scaled as all series together are. Where it is constant in each of them it is
    read as 0, whatever comes later: nothing can be learnt from it. Bounds are `MARGIN` beyond the training range.
    """
    constant, (low, high) = is_constant(train), _range(train)
    if constant.all():
        zeros = np.zeros(len(train))
        return Scaler(low, np.ones(len(train)), low=zeros, high=zeros)
    own, pooled = fit(train, method), fit(train.reshape(1, -1), method)
    offset = np.where(constant, pooled.offset, own.offset)
    scale = np.where(constant, pooled.scale, own.scale)
    [lowest], [highest] = _range(train.reshape(1, -1))
    low, high = np.where(constant, lowest, low), np.where(constant, highest, high)
    margin = MARGIN * (high - low)
    return Scaler(offset, scale, low=(low - margin - offset) / scale, high=(high + margin - offset) / scale)


def _range(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest value (series,) of each row of `values` (series, steps); 0 without any."""
    observed = np.isfinite(values)
    low = np.min(values, axis=1, where=observed, initial=np.inf)
    high = np.max(values, axis=1, where=observed, initial=-np.inf)
    has_values = observed.any(axis=1)
    return np.where(has_values, low, 0.0), np.where(has_values, high, 0.0)
