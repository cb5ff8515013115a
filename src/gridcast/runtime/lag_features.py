"""The inputs of probabilistic networks: lagged targets, in units of each window's own level or spread.

Pure. `arrays` is the library that all arrays belong to: numpy, or jax.numpy inside a compiled program.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
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
"""Seasons of each pandas frequency, in its steps."""
RECENT_LAGS = 7
"""Lags 1 to this one are read at every frequency."""
SEASONS_BACK = 3
"""Repetitions of each season that are read."""
MIN_RELATIVE_SPREAD = 0.01
"""Least spread of a window in units of its level: a constant window does not show how large a change would be."""


@dataclass(frozen=True)
class LagSettings:
    """How a network with lags reads a window.

    `lags` are ascending, in steps. Channels from `first_known_ahead` on are known at the step itself, those before it
    (but the target, channel 0) only up to the step before. `centred` windows are read around their mean.
    """

    lookback: int
    horizon: int
    lags: tuple[int, ...]
    first_known_ahead: int
    centred: bool = False


def useful_lags(frequency: str, max_lag: int) -> tuple[int, ...]:
    """Return the lags, up to `max_lag` steps, for series of this pandas frequency: recent steps, and seasons ago.

    Source: the idea is that of Salinas et al. (2020), section 4.
    """
    count_text, unit = re.match(r"(\d*)(.*)", frequency).groups()  # type: ignore[union-attr]
    count = int(count_text or 1)
    lags = set(range(1, RECENT_LAGS + 1))
    for season in SEASON_STEPS.get(unit.partition("-")[0], ()):
        if season % count == 0 and season // count > 1:
            around = (times * (season // count) + off for times in range(1, SEASONS_BACK + 1) for off in (-1, 0, 1))
            lags |= {lag for lag in around if lag > 0}
    return tuple(sorted(lag for lag in lags if lag <= max(max_lag, 1)))


def gather_targets(channels: Any, index: Any, *, before: int, after: int, arrays: Any = np) -> Any:
    """Return the scaled targets (n, before + after) around each origin, NaN before the first step of the axis.

    `channels` is (rows, steps, channels), with the target first; `index` (n, 2).
    """
    steps = index[:, 1, None] + np.arange(-before, after)
    targets = channels[:, :, 0][index[:, 0, None], arrays.maximum(steps, 0)]
    return arrays.where(steps >= 0, targets, np.nan)


def mean_level(context: Any, arrays: Any = np) -> Any:
    """Return the mean absolute value (n,) of each `context` (n, lookback), NaN left out; 1, the series' own, for 0."""
    is_finite = arrays.isfinite(context)
    total = arrays.where(is_finite, arrays.abs(context), 0.0).sum(axis=1)
    level = total / arrays.maximum(is_finite.sum(axis=1), 1)
    return arrays.where(level > 0, level, 1.0)


def window_units(context: Any, centred: bool, arrays: Any = np) -> tuple[Any, Any]:
    """Return centre and scale (n,), in which a window is read and forecast, of each `context` (n, lookback).

    If `centred`, its mean and the mean absolute deviation from it; else 0 and its level. NaN is left out.
    """
    level = mean_level(context, arrays)
    if not centred:
        return arrays.zeros_like(level), level
    is_finite = arrays.isfinite(context)
    count = arrays.maximum(is_finite.sum(axis=1), 1)
    centre = arrays.where(is_finite, context, 0.0).sum(axis=1) / count
    spread = arrays.where(is_finite, arrays.abs(context - centre[:, None]), 0.0).sum(axis=1) / count
    all_zero = arrays.where(is_finite, context != 0, False).sum(axis=1) == 0
    return centre, arrays.where(all_zero, 1.0, arrays.maximum(spread, MIN_RELATIVE_SPREAD * level))


def lagged_inputs(channels: Any, index: Any, settings: LagSettings, *, relative_scales: Any, arrays: Any = np) -> Any:
    """Return the inputs (n, lookback + horizon, lags + sizes + covariates) of each window of `index` (n, 2), float32.

    For each step, in this order:
    - the target each of the lags ago, in the window's units, 0 where there is none;
    - the logarithm of the window's level in units common to all series, for which `relative_scales` (n,) has the
      scale of each window's series; if `centred`, also that of the window's spread in units of its level;
    - covariates known up to the step before, of which the horizon repeats the last;
    - covariates known at the step itself.
    """
    lookback, horizon, first_known = settings.lookback, settings.horizon, settings.first_known_ahead
    length, max_lag, lags = lookback + horizon, settings.lags[-1], np.array(settings.lags)
    targets = gather_targets(channels, index, before=max_lag + lookback, after=horizon, arrays=arrays)
    context = targets[:, max_lag : max_lag + lookback]
    level = mean_level(context, arrays)
    centre, scale = window_units(context, settings.centred, arrays)
    in_units = arrays.where(arrays.isfinite(targets), (targets - centre[:, None]) / scale[:, None], 0.0)
    parts = [arrays.take(in_units, max_lag + np.arange(length)[:, None] - lags, axis=1)]
    sizes = [level * relative_scales, *([scale / level] if settings.centred else [])]
    parts += [arrays.broadcast_to(arrays.log(size)[:, None, None], (len(index), length, 1)) for size in sizes]
    rows, steps = index[:, 0, None], index[:, 1, None] + np.arange(-lookback, horizon)
    if first_known > 1:
        known_steps = arrays.clip(steps - 1, 0, index[:, 1, None] - 1)
        parts.append(channels[:, :, 1:first_known][rows, known_steps])
    if channels.shape[2] > first_known:
        parts.append(channels[:, :, first_known:][rows, steps])
    return arrays.concatenate(parts, axis=2).astype(np.float32)
