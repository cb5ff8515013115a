"""Windows as indices into the panel: pure, and never `lookback` copies of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def origins(
    usable: np.ndarray,
    lookback: int,
    horizon: int,
    stride: int,
    start: int,
    end: int,
    *,
    settled: np.ndarray | None = None,
    observed: np.ndarray | None = None,
) -> np.ndarray:
    """Index pairs (n, 2) of series and origin whose targets lie whole within steps [start, end).

    The window at origin o reads steps [o - lookback, o) and forecasts [o, o + horizon); its inputs
    may reach back over `start`, its targets never over either bound. `usable` (series, steps) is
    False where a value is missing: no window touches such a step. Inputs end on a step that is
    `settled`, targets are `observed` throughout, both (series, steps) and True where not given.
    Origins are `stride` apart, counted from the first possible one of the span; ordered by series,
    then by time.
    """
    first, last = max(start, lookback), end - horizon
    if last < first:
        return np.zeros((0, 2), np.int32)
    whole = np.asarray(sliding_window_view(usable[:, first - lookback : end], lookback + horizon, axis=1).all(axis=2))
    if settled is not None:
        whole &= settled[:, first - 1 : last]
    if observed is not None:
        whole &= sliding_window_view(observed[:, first:end], horizon, axis=1).all(axis=2)
    whole = whole[:, ::stride]
    index, place = np.empty((np.count_nonzero(whole), 2), np.int32), np.flatnonzero(whole)
    np.floor_divide(place, whole.shape[1], out=index[:, 0], casting="unsafe")
    np.remainder(place, whole.shape[1], out=index[:, 1], casting="unsafe")
    index[:, 1] = index[:, 1] * stride + first
    return index


def inputs(channels: np.ndarray, index: np.ndarray, lookback: int) -> np.ndarray:
    """Past of each window (n, lookback, channels), gathered from `channels` (series, steps, channels).

    Steps before the first one repeat it: a window of `origins` has none.
    """
    steps = (index[:, 1, None] + np.arange(-lookback, 0)).clip(0)
    return channels[index[:, 0, None], steps]


def ahead(channels: np.ndarray, index: np.ndarray, horizon: int) -> np.ndarray:
    """Future of each window (n, horizon, ...), gathered from `channels` (series, steps, ...)."""
    steps = index[:, 1, None] + np.arange(horizon)
    return channels[index[:, 0, None], steps]


def level(history: Any, *, centred: bool) -> Any:
    """What is taken from each of some windows of sensors (n, lookback, sensors), and from what is ahead of them.

    Their mean (n, 1, sensors) where they are read around it, else 0.
    """
    return history.mean(axis=1, keepdims=True) if centred else 0.0
