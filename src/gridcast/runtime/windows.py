"""Windows as indices into the panel: pure, and never `lookback` copies of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

CONSTANT_VARIANCE = 1e-12
"""Variance of windows, in squared scaled units, up to which a sensor never changes."""


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


def past(channels: np.ndarray, index: np.ndarray, lookback: int) -> np.ndarray:
    """Past of each window (n, lookback, channels), gathered from `channels` (series, steps, channels).

    Steps before the first one repeat it: a window of `origins` has none.
    """
    steps = (index[:, 1, None] + np.arange(-lookback, 0)).clip(0)
    return channels[index[:, 0, None], steps]


def future(channels: np.ndarray, index: np.ndarray, horizon: int) -> np.ndarray:
    """Future of each window (n, horizon, ...), gathered from `channels` (series, steps, ...)."""
    steps = index[:, 1, None] + np.arange(horizon)
    return channels[index[:, 0, None], steps]


def window_units(history: Any, *, centred: bool, spreads: Sequence[float] = ()) -> tuple[Any, Any]:
    """Centre and unit (n, 1, sensors) in which some windows of sensors (n, lookback, sensors) are read, and what is
    ahead of them.

    0 and 1, or, where `centred`, their mean and 1. Where their usual `spreads` (sensors,) are given, the unit is the
    root of the window's variance and the square of these: a window that hardly changes is not blown up.
    Source: Kim, Kim, Tae, Park, Choi, Choo (2022), "Reversible Instance Normalization for Accurate Time-Series
    Forecasting against Distribution Shift", without the affine part, and with errors that stay in the window's unit.
    """
    centre = history.mean(axis=1, keepdims=True) if centred else 0.0
    if not len(spreads):
        return centre, 1.0
    return centre, (history.var(axis=1, keepdims=True) + np.square(np.array(spreads, np.float32))) ** 0.5


def typical_spreads(values: np.ndarray, lookback: int) -> tuple[float, ...]:
    """The usual spread (sensors,) of windows of `lookback` steps of `values` (steps, sensors).

    The root mean square of their standard deviations; 1 for a sensor that never changes. Windows with NaN are passed
    over.
    """
    variances = pd.DataFrame(values).rolling(lookback).var(ddof=0).mean().to_numpy()
    return tuple(float(np.sqrt(one)) if one > CONSTANT_VARIANCE else 1.0 for one in variances)
