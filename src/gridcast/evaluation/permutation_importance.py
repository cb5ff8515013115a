"""Permutation importance: how far a forecaster's error rises when one part of its input comes from other windows.

Pure but for the forecaster itself, which is any callable `forecast(channels, index, codes)` that returns
forecasts (n, horizon) in data units of the windows `index` (n, 2) of `channels` (rows, steps, channels), where
`codes` (rows,) gives the series of each row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridcast.evaluation import significance

ForecastFunction = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
MIN_SERIES = 5
"""Series from which on the rise is tested over series."""
MAX_SINGLE_LAG = 24
"""Lags up to this one are shuffled one by one, those before in blocks of doubling length."""


@dataclass(frozen=True)
class InputPart:
    """A part of the input of each window: `channels` on the steps from `first` to before `end`, counted from origin.

    `kind` is `target` for its whole past, `lag` for one step of it (or a block of steps), `covariate` for all
    channels of a column or calendar term, so that sine and cosine go together.
    """

    name: str
    kind: str
    channels: tuple[int, ...]
    first: int
    end: int


@dataclass(frozen=True)
class ScoredWindows:
    """Windows `index` (n, 2) on `channels` (series, steps, channels) and the `actual` values (n, horizon) after them.

    `codes` (series,) are the codes of the rows, `scale` (series,) the units of their errors, as `naive_scale` gives
    them; windows of a series whose scale is 0 are left out of the error.
    """

    channels: np.ndarray
    index: np.ndarray
    codes: np.ndarray
    actual: np.ndarray
    scale: np.ndarray


def input_parts(channels: Sequence[str], *, first_known_ahead: int, lookback: int, horizon: int) -> list[InputPart]:
    """Return the parts of a window's input: the target whole and lag by lag, and each covariate.

    `channels` names every channel, the target first; channels of one name are one part. Those from
    `first_known_ahead` on are known over the horizon too. `lookback` is how far back a window reads at most.
    """
    parts = [InputPart(channels[0], "target", (0,), -lookback, 0)]
    for name in dict.fromkeys(channels[1:]):
        numbers = tuple(k for k, channel in enumerate(channels) if k and channel == name)
        end = horizon if numbers[0] >= first_known_ahead else 0
        parts.append(InputPart(name, "covariate", numbers, -lookback, end))
    lags = [InputPart(_lag_name(near, far), "lag", (0,), -far, 1 - near) for near, far in _lag_blocks(lookback)]
    return parts + lags


def _lag_blocks(lookback: int) -> list[tuple[int, int]]:
    """Nearest and furthest lag of each block up to `lookback`."""
    blocks = [(lag, lag) for lag in range(1, min(lookback, MAX_SINGLE_LAG) + 1)]
    near = MAX_SINGLE_LAG + 1
    while near <= lookback:
        far = min(2 * (near - 1), lookback)
        blocks.append((near, far))
        near = far + 1
    return blocks


def _lag_name(near: int, far: int) -> str:
    return f"lag {near}" if near == far else f"lags {near}-{far}"


def part_importance(
    forecast: ForecastFunction,
    windows: ScoredWindows,
    parts: Sequence[InputPart],
    *,
    generator: np.random.Generator,
    repeats: int = 5,
) -> tuple[float, pd.DataFrame]:
    """Return the error on `windows`, and how far it rises when each of `parts` is shuffled among them.

    The error is the mean absolute one in units of the series' scale. The frame has the columns name, kind, rise
    (percent of that error, mean over `repeats` shuffles; NaN where the error is 0, and for a part that is the same in
    all windows), spread (the standard deviation of the rises) and p_value (of "no rise": the larger one of that over
    the origins in time order, see `significance.long_run_mean`, and that over series, by Student's t; NaN where nothing
    can be tested). Correlated parts can substitute for each other: each
    may look unimportant while one of them is needed. Source: Breiman (2001), "Random Forests", section 10; Fisher,
    Rudin, Dominici (2019).
    """
    before, after = -min(part.first for part in parts), windows.actual.shape[1]
    series, origins = windows.index.T
    steps = origins[:, None] + np.arange(-before, after)
    # Each window gets a row of its own, as far back as the parts reach: shuffling a part must not change the windows
    # that overlap with it. Steps before the first one of the panel are NaN.
    in_panel = windows.channels[series[:, None], np.maximum(steps, 0)]
    rows = np.where(steps[:, :, None] >= 0, in_panel, np.float32(np.nan))
    index = np.stack([np.arange(len(series)), np.full(len(series), before)], axis=1)
    codes, unit = windows.codes[series], windows.scale[series]
    counts = unit > 0

    def losses() -> np.ndarray:
        deviations = np.abs(forecast(rows, index, codes) - windows.actual)
        return np.asarray(np.mean(deviations[counts] / unit[counts, None], axis=1))

    losses_before = losses()
    unshuffled = float(np.mean(losses_before))
    importances = []
    for part in parts:
        place = np.s_[:, before + part.first : before + part.end, list(part.channels)]
        block = rows[place]
        rises, p_value = np.full(repeats, np.nan), float("nan")
        if not np.array_equal(block, np.broadcast_to(block[:1], block.shape), equal_nan=True):
            shuffled = []
            for _ in range(repeats):
                rows[place] = generator.permutation(block)
                shuffled.append(losses())
            rows[place] = block
            if unshuffled > 0:
                rises = 100 * (np.mean(shuffled, axis=1) / unshuffled - 1)
                p_value = _p_value(np.mean(shuffled, axis=0) - losses_before, windows.index[counts], horizon=after)
        importances.append((part.name, part.kind, float(rises.mean()), float(rises.std(ddof=1)), p_value))
    return unshuffled, pd.DataFrame(importances, columns=["name", "kind", "rise", "spread", "p_value"])


def _p_value(gaps: np.ndarray, index: np.ndarray, *, horizon: int) -> float:
    """Return the p value of "the mean of `gaps` (n,) is 0", which depend within an origin and within a series.

    Inputs and errors that last in time agree for a while by chance, and so do the levels of few series: fewer than
    `MIN_SERIES` are not tested, but each of them must have a rise.
    """
    by_series, by_origin = (_group_means(gaps, index[:, k]) for k in (0, 1))
    p_over_series = 0.0 if by_series.min() > 0 else 1.0
    if len(by_series) >= MIN_SERIES:
        error = float(by_series.std(ddof=1)) / math.sqrt(len(by_series))
        p_over_series = significance.Estimate(float(by_series.mean()), error, len(by_series) - 1).p_value
    places = np.unique(index[:, 1])
    span = int(places[-1] - places[0]) + 1
    overlap = min(horizon, math.ceil(horizon * len(places) / span))
    if not np.isfinite(by_origin).all():
        return float("nan")
    return max(significance.long_run_mean(by_origin, overlap).p_value, p_over_series)


def _group_means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the mean of `values` (n,) of each of `groups` (n,), in their order."""
    codes = np.unique(groups, return_inverse=True)[1]
    return np.asarray(np.bincount(codes, values) / np.bincount(codes))


def attention_by_lag(weights: np.ndarray) -> pd.DataFrame:
    """Return the mean attention by lag, from `weights` (n, lookback) whose rows add up to 1: lag, share and spread.

    In percent. Lag 1 is the step before the origin, the last of each row; spread is the standard deviation over
    windows.
    """
    lags = np.arange(weights.shape[1], 0, -1)
    frame = pd.DataFrame({"lag": lags, "share": 100 * weights.mean(axis=0), "spread": 100 * weights.std(axis=0)})
    return frame.sort_values("lag", ignore_index=True)
