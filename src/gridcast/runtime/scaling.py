"""Scaling of each series, fitted on the training span alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-9
"""A spread below this share of the level comes from rounding: dividing by it would magnify noise."""


@dataclass(frozen=True)
class Scaler:
    """`(value - offset) / scale` of each series, after log(1 + value) if `log1p`; offset and scale are (series,)."""

    offset: np.ndarray
    scale: np.ndarray
    log1p: bool = False

    def transform(self, values: np.ndarray, series: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return `values` (n, ...) in scaled units; row i belongs to `series[i]`."""
        offset, scale = self._of(series, values.ndim)
        return ((np.log1p(values) if self.log1p else values) - offset) / scale

    def inverse(self, scaled: np.ndarray, series: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return `scaled` values (n, ...) in data units; row i belongs to `series[i]`."""
        offset, scale = self._of(series, scaled.ndim)
        values = scaled * scale + offset
        return np.expm1(values) if self.log1p else values

    def take(self, row: int) -> Scaler:
        """Return the scaler of the series in `row` alone."""
        return Scaler(self.offset[row : row + 1], self.scale[row : row + 1], self.log1p)

    def _of(self, series: np.ndarray | slice, ndim: int) -> tuple[np.ndarray, np.ndarray]:
        shape = (-1,) + (1,) * (ndim - 1)
        return self.offset[series].reshape(shape), self.scale[series].reshape(shape)


def fit(train: np.ndarray, method: str, log1p: bool = False) -> Scaler:
    """Return the scaler of `train` (series, steps), NaN where nothing was observed.

    `method` is minmax, standard, mean-abs or none. A series that is constant, or not observed at all, has scale 1.
    """
    values = np.log1p(train) if log1p else train
    observed = np.isfinite(values)
    count = np.maximum(observed.sum(axis=1), 1)
    zeros, ones = np.zeros(len(values)), np.ones(len(values))
    if method == "minmax":
        has_values = observed.any(axis=1)
        low = np.where(has_values, np.min(values, axis=1, where=observed, initial=np.inf), 0.0)
        high = np.where(has_values, np.max(values, axis=1, where=observed, initial=-np.inf), 0.0)
        offset, scale = low, high - low
    elif method == "standard":
        offset = np.sum(values, axis=1, where=observed) / count
        scale = np.sqrt(np.sum((values - offset[:, None]) ** 2, axis=1, where=observed) / count)
    elif method == "mean-abs":
        offset, scale = zeros, np.sum(np.abs(values), axis=1, where=observed) / count
    else:
        offset, scale = zeros, ones
    is_constant = scale <= ROUNDING * np.abs(offset)
    return Scaler(offset, np.where(is_constant, 1.0, scale), log1p)
