"""What a network of a probabilistic forecast reads: lagged targets in units of each window's own.

Pure; `arrays` is the library that all arrays belong to: numpy, or jax.numpy inside a compiled program.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

SEASON_STEPS = {
    "min": (60, 1440),
    "h": (24, 168),
    "D": (7, 28, 364),
    "B": (5, 20, 260),
    "W": (4, 52),
    "M": (12,),
    "MS": (12,),
    "ME": (12,),
    "Q": (4,),
    "QS": (4,),
    "QE": (4,),
}
RECENT_LAGS, SEASONS_BACK = 7, 3
"""Lags that every frequency has, and how many times each season counts."""
MIN_RELATIVE_SPREAD = 0.01
"""Least spread of a window in units of its level: of one that stands still, nothing tells what a change would be."""


def useful_lags(frequency: str, most: int) -> tuple[int, ...]:
    """Lags up to `most` that tell of a series of this pandas frequency: the last steps, and seasons ago.

    Source: the idea is that of Salinas et al. (2020), section 4.
    """
    every, base = re.match(r"(\d*)(.*)", frequency).groups()  # type: ignore[union-attr]
    step = int(every or 1)
    found = set(range(1, RECENT_LAGS + 1))
    for season in SEASON_STEPS.get(base.partition("-")[0], ()):
        if season % step == 0 and season // step > 1:
            around = (times * (season // step) + off for times in range(1, SEASONS_BACK + 1) for off in (-1, 0, 1))
            found |= {lag for lag in around if lag > 0}
    return tuple(sorted(lag for lag in found if lag <= max(most, 1)))


def gather_targets(channels: Any, index: Any, lookback: int, horizon: int, before: int, arrays: Any = np) -> Any:
    """Scaled targets (n, before + lookback + horizon) around each window of `index` (n, 2), NaN where there is none."""
    steps = index[:, 1, None] + np.arange(-before - lookback, horizon)
    found = channels[:, :, 0][index[:, 0, None], arrays.maximum(steps, 0)]
    return arrays.where(steps >= 0, found, np.nan)


def mean_level(context: Any, arrays: Any = np) -> Any:
    """Mean absolute value (n,) of each `context` (n, lookback), NaN left out; where it is 0 the series' own, 1."""
    known = arrays.isfinite(context)
    size = arrays.where(known, arrays.abs(context), 0.0).sum(axis=1) / arrays.maximum(known.sum(axis=1), 1)
    return arrays.where(size > 0, size, 1.0)


def window_units(context: Any, centred: bool, arrays: Any = np) -> tuple[Any, Any]:
    """Centre and scale (n,) of each `context` (n, lookback), NaN left out, in which its window is read and forecast.

    Where `centred` its mean, and the mean absolute deviation from it; else 0, and the level.
    """
    own = mean_level(context, arrays)
    if not centred:
        return arrays.zeros_like(own), own
    known = arrays.isfinite(context)
    count = arrays.maximum(known.sum(axis=1), 1)
    centre = arrays.where(known, context, 0.0).sum(axis=1) / count
    spread = arrays.where(known, arrays.abs(context - centre[:, None]), 0.0).sum(axis=1) / count
    silent = arrays.where(known, context != 0, False).sum(axis=1) == 0
    return centre, arrays.where(silent, 1.0, arrays.maximum(spread, MIN_RELATIVE_SPREAD * own))


def lagged_inputs(
    channels: Any,
    index: Any,
    lookback: int,
    horizon: int,
    own: tuple[int, ...],
    ahead: int,
    size: Any,
    centred: bool = False,
    arrays: Any = np,
) -> Any:
    """Inputs (n, lookback + horizon, lags + centred + channels) of each window.

    Of each step: the target `own` lags ago in the window's units, 0 where there is none; the
    logarithms of its level in units of a common one, `size` (n,) being the series', and, where it is
    `centred`, of its spread in units of its level; the covariates known up to the step before, the last
    ones throughout the horizon; and those from channel `ahead` on, which are known of the step itself.
    """
    whole = gather_targets(channels, index, lookback, horizon, own[-1], arrays)
    steps, context = lookback + horizon, whole[:, own[-1] : own[-1] + lookback]
    levels, (centre, scale) = mean_level(context, arrays), window_units(context, centred, arrays)
    clean = arrays.where(arrays.isfinite(whole), (whole - centre[:, None]) / scale[:, None], 0.0)
    parts = [arrays.take(clean, own[-1] + np.arange(steps)[:, None] - np.array(own), axis=1)]
    sizes = [levels * size, *([scale / levels] if centred else [])]
    parts += [arrays.broadcast_to(arrays.log(told)[:, None, None], (len(index), steps, 1)) for told in sizes]
    rows, at = index[:, 0, None], index[:, 1, None] + np.arange(-lookback, horizon)
    if ahead > 1:
        past = arrays.clip(at - 1, 0, index[:, 1, None] - 1)
        parts.append(channels[:, :, 1:ahead][rows, past])
    if channels.shape[2] > ahead:
        parts.append(channels[:, :, ahead:][rows, at])
    return arrays.concatenate(parts, axis=2).astype(np.float32)
