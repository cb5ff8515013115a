"""Windows as indices into the panel: pure, and never `lookback` copies of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

CONSTANT_VARIANCE = 1e-12
"""Variance of windows, in squared scaled units, up to which a sensor counts as constant."""


@dataclass(frozen=True)
class WindowShape:
    """A window reads `lookback` steps and forecasts `horizon` steps; origins are `stride` steps apart."""

    lookback: int
    horizon: int
    stride: int = 1


@dataclass(frozen=True)
class WindowInputs:
    """The inputs of a network with quantiles for n windows, and the units of its output.

    `arrays` holds the network's inputs (n, ...) by name. `centre` and `scale` (n,) are in data units: an output y means
    centre + scale * y. A network that samples reads `lookback` steps, with its target `lags` steps ago at each.
    """

    arrays: Mapping[str, np.ndarray]
    centre: np.ndarray
    scale: np.ndarray
    lookback: int
    lags: tuple[int, ...] = ()


def origins(
    usable: np.ndarray,
    shape: WindowShape,
    span: tuple[int, int],
    *,
    settled: np.ndarray | None = None,
    observed: np.ndarray | None = None,
) -> np.ndarray:
    """Return index pairs (n, 2), series and origin, of the windows whose targets lie within the steps [start, end).

    The window at origin o reads steps [o - lookback, o) and forecasts [o, o + horizon). Its inputs may begin before
    the `span` = (start, end), its targets may not leave it.

    `usable` (series, steps) is False where a value is missing: no window touches such a step. Inputs end on a step
    that is `settled`, and all targets are `observed`; both (series, steps), and True everywhere if not given. Origins
    are `stride` steps apart, counted from the first possible one of the span, and ordered by series, then by time.
    """
    first, last = max(span[0], shape.lookback), span[1] - shape.horizon
    if last < first:
        return np.zeros((0, 2), np.int32)
    length = shape.lookback + shape.horizon
    # Column k of these masks (series, origins) stands for the origin first + k.
    complete = np.asarray(sliding_window_view(usable[:, first - shape.lookback : span[1]], length, axis=1).all(axis=2))
    if settled is not None:
        complete &= settled[:, first - 1 : last]
    if observed is not None:
        complete &= sliding_window_view(observed[:, first : span[1]], shape.horizon, axis=1).all(axis=2)
    complete = complete[:, :: shape.stride]
    # Written into int32 at once: np.argwhere would make pairs of int64, and there may be millions.
    index, position = np.empty((np.count_nonzero(complete), 2), np.int32), np.flatnonzero(complete)
    np.floor_divide(position, complete.shape[1], out=index[:, 0], casting="unsafe")
    np.remainder(position, complete.shape[1], out=index[:, 1], casting="unsafe")
    index[:, 1] = index[:, 1] * shape.stride + first
    return index


def past(channels: np.ndarray, index: np.ndarray, lookback: int) -> np.ndarray:
    """Return the steps before each origin (n, lookback, channels) of `channels` (series, steps, channels).

    `index` is (n, 2). Steps before the first of the axis repeat it; windows of `origins` have none.
    """
    steps = (index[:, 1, None] + np.arange(-lookback, 0)).clip(0)
    return channels[index[:, 0, None], steps]


def future(channels: np.ndarray, index: np.ndarray, horizon: int) -> np.ndarray:
    """Return the steps from each origin on (n, horizon, ...) of `channels` (series, steps, ...); `index` is (n, 2)."""
    steps = index[:, 1, None] + np.arange(horizon)
    return channels[index[:, 0, None], steps]


def window_units(history: Any, *, centred: bool, spreads: Sequence[float] = ()) -> tuple[Any, Any]:
    """Return centre and unit (n, 1, sensors) in which windows of sensors (n, lookback, sensors) are read.

    The centre is the window's mean if `centred`, else 0. The unit is 1, or, where the usual `spreads` (sensors,) of
    windows are given, the root of the window's variance plus the square of the usual spread: the second term keeps
    the noise of a window that hardly changes from being magnified.

    Source: Kim, Kim, Tae, Park, Choi, Choo (2022), "Reversible Instance Normalization for Accurate Time-Series
    Forecasting against Distribution Shift", without the affine part, and with errors left in the window's unit.
    """
    centre = history.mean(axis=1, keepdims=True) if centred else 0.0
    if not len(spreads):
        return centre, 1.0
    return centre, (history.var(axis=1, keepdims=True) + np.square(np.array(spreads, np.float32))) ** 0.5


def typical_spreads(values: np.ndarray, lookback: int) -> tuple[float, ...]:
    """Return the usual spread (sensors,) of windows of `lookback` steps of `values` (steps, sensors).

    That is the root mean square of the windows' standard deviations, without windows that contain NaN; 1 for a sensor
    that never changes.
    """
    variances = pd.DataFrame(values).rolling(lookback).var(ddof=0).mean().to_numpy()
    return tuple(float(np.sqrt(variance)) if variance > CONSTANT_VARIANCE else 1.0 for variance in variances)
