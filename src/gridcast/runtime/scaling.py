"""Per-series scaling, fitted on the training span alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scaler:
    """`(value - offset) / scale` per series, after `log1p` where asked; offset and scale are (series,)."""

    offset: np.ndarray
    scale: np.ndarray
    log1p: bool = False

    def transform(self, values: np.ndarray, series: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Data units -> scaled; `values` is (n, ...), row i belongs to `series[i]`."""
        offset, scale = self._of(series, values.ndim)
        return ((np.log1p(values) if self.log1p else values) - offset) / scale

    def inverse(self, scaled: np.ndarray, series: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Scaled -> data units; the reverse of `transform`."""
        offset, scale = self._of(series, scaled.ndim)
        values = scaled * scale + offset
        return np.expm1(values) if self.log1p else values

    def take(self, row: int) -> Scaler:
        """The scaler of the series in `row` alone."""
        return Scaler(self.offset[row : row + 1], self.scale[row : row + 1], self.log1p)

    def _of(self, series: np.ndarray | slice, ndim: int) -> tuple[np.ndarray, np.ndarray]:
        shape = (-1,) + (1,) * (ndim - 1)
        return self.offset[series].reshape(shape), self.scale[series].reshape(shape)


def fit(train: np.ndarray, method: str, log1p: bool = False) -> Scaler:
    """The scaler of `train` (series, steps), NaN where nothing was observed.

    `method` is minmax, standard, mean-abs or none. A series that is constant or never seen in
    training keeps scale 1.
    """
    values = np.log1p(train) if log1p else train
    seen = np.isfinite(values)
    count = np.maximum(seen.sum(axis=1), 1)
    zero, one = np.zeros(len(values)), np.ones(len(values))
    if method == "minmax":
        any_seen = seen.any(axis=1)
        low = np.where(any_seen, np.min(values, axis=1, where=seen, initial=np.inf), 0.0)
        high = np.where(any_seen, np.max(values, axis=1, where=seen, initial=-np.inf), 0.0)
        offset, scale = low, high - low
    elif method == "standard":
        offset = np.sum(values, axis=1, where=seen) / count
        scale = np.sqrt(np.sum((values - offset[:, None]) ** 2, axis=1, where=seen) / count)
    elif method == "mean-abs":
        offset, scale = zero, np.sum(np.abs(values), axis=1, where=seen) / count
    else:
        offset, scale = zero, one
    # A spread lost in the rounding of the level is no spread: dividing by it would blow noise up.
    flat = scale <= 1e-9 * np.abs(offset)
    return Scaler(offset, np.where(flat, 1.0, scale), log1p)
