"""Windows as rows of numbers for trees: one for each step of the horizon."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import windows
from ..lag_features import gather_targets, mean_level, window_units
from .task import BaselineTask
from .window_features import category_columns

RECENT = 14
"""Steps before the origin whose targets are columns of their own; of all others of the window, trees read statistics.

More columns make trees slower, and no better: they split by one at a time.
"""
SHORT_MEAN = 4
"""Steps of the shortest rolling mean."""


class StepRows(NamedTuple):
    """The `rows` (n * horizon, columns) of n windows, and their `centre` and `scale` (n,) in network units.

    Targets are forecast as (target - centre) / scale: 0 and 1, or the mean of the window and its spread.
    """

    rows: np.ndarray
    centre: np.ndarray
    scale: np.ndarray


def step_rows(task: BaselineTask, index: np.ndarray, *, is_relative: bool) -> StepRows:
    """Return each window of `index` (n, 2) once for each step of the horizon, NaN where a value is not known.

    The columns:
    - of the window: its last targets, mean and spread over several lengths, the last value and the mean of each past
      covariate, and the categories of the series, one column for each value; if `is_relative`, targets are in units of
      the window, whose level and spread are columns too;
    - of the step: its known-ahead covariates, the target at each lag and one and two periods before it, its number.
    """
    horizon, lookback = task.horizon, task.lookback
    lags = season_lags(task)
    before = max(lookback, *lags, 1)
    targets = gather_targets(task.channels, index, before=before, after=0).astype(float)
    context = targets[:, before - lookback :]
    centre, scale = np.zeros(len(index)), np.ones(len(index))
    if is_relative:
        centre, scale = window_units(context, True)
    targets = (targets - centre[:, None]) / scale[:, None]
    of_window = [targets[:, before - min(RECENT, lookback) :], *_rolling(task, targets)]
    if is_relative:
        level = mean_level(context)
        of_window += [np.log(level)[:, None], (scale / level)[:, None], centre[:, None]]
    past = windows.past(task.channels, index, lookback)[:, :, 1 : task.first_known_ahead]
    of_window += [past[:, -1], past.mean(axis=1), category_columns(task.categories)[task.codes[index[:, 0]]]]
    steps = np.arange(horizon)
    of_step = [
        windows.future(task.channels[:, :, task.first_known_ahead :], index, horizon),
        _lagged(targets, lags, horizon),
        np.broadcast_to(steps[:, None], (len(index), horizon, 1)),
    ]
    rows = np.repeat(np.concatenate(of_window, axis=1), horizon, axis=0)
    rows = np.column_stack([rows, np.concatenate(of_step, axis=2).reshape(len(rows), -1)])
    return StepRows(rows, centre, scale)


def season_lags(task: BaselineTask) -> list[int]:
    """Return the lags before a step at which its row has the target."""
    seasons = (task.period, 2 * task.period) if task.period and task.period > 1 else ()
    return sorted({*task.lags, *seasons})


def _rolling(task: BaselineTask, targets: np.ndarray) -> list[np.ndarray]:
    """Means and standard deviations (n, 1) over the last steps of `targets` (n, before), over several lengths."""
    lengths = {SHORT_MEAN, task.period or 0, task.lookback}
    parts = []
    for length in sorted(length for length in lengths if 1 < length <= targets.shape[1]):
        last = targets[:, -length:]
        is_known = np.isfinite(last)
        with np.errstate(invalid="ignore"):  # NaN where nothing is known
            mean = np.where(is_known, last, 0).sum(axis=1, keepdims=True) / is_known.sum(axis=1, keepdims=True)
            squares = np.where(is_known, (last - mean) ** 2, 0).sum(axis=1, keepdims=True)
            parts += [mean, np.sqrt(squares / is_known.sum(axis=1, keepdims=True))]
    return parts


def _lagged(targets: np.ndarray, lags: list[int], horizon: int) -> np.ndarray:
    """The target (n, horizon, lags) each of the `lags` before a step, NaN at and after the origin; far ones alone."""
    far = np.array([lag for lag in lags if lag > RECENT], int)
    positions = np.arange(horizon)[:, None] - far
    values = targets[:, np.where(positions < 0, positions, -1)]
    return np.where(positions < 0, values, np.nan)
