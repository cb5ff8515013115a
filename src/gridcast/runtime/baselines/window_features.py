"""Windows as rows of numbers, with all that the networks read: for baselines that are fitted to windows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import windows
from .task import BaselineTask

MAX_CATEGORIES = 64
"""Values of a category, or series, up to which each has a column of its own; with more, the column is left out."""
MAX_BLOCK_VALUES = 4_000_000
"""Numbers of the windows that are in memory at once."""


def window_rows(task: BaselineTask, index: np.ndarray) -> np.ndarray:
    """Return each window of `index` (n, 2) as one row (n, columns).

    The columns: every channel of the lookback, those known ahead over the horizon, the target at the lags of the
    horizon's steps that lie before the lookback (0 where it was not known, as networks read it), and the categories of
    the series, one column for each value.
    """
    parts = [
        _flat(windows.past(task.channels, index, task.lookback)),
        _flat(windows.future(_known_ahead(task), index, task.horizon)),
        np.nan_to_num(_targets(task, index, np.array(_far_steps(task), int))),
        category_columns(task.categories)[task.codes[index[:, 0]]],
    ]
    return np.concatenate(parts, axis=1)


def category_columns(categories: np.ndarray) -> np.ndarray:
    """Return a column (series, columns) of 0 and 1 for each value of each of the `categories` (series, categories).

    None for a category whose values are all the same, or more than `MAX_CATEGORIES`.
    """
    parts = [np.zeros((len(categories), 0))]
    for codes in categories.T:
        values = np.unique(codes)
        if 1 < len(values) <= MAX_CATEGORIES:
            parts.append((codes[:, None] == values).astype(float))
    return np.concatenate(parts, axis=1)


def left_out_notes(task: BaselineTask) -> tuple[str, ...]:
    """Return a sentence on the categories that have too many values to be read."""
    counts = [len(np.unique(codes)) for codes in task.categories.T]
    large = [count for count in counts if count > MAX_CATEGORIES]
    return (
        (f"which of the {max(large):,} series, or values of a category, it is, is not read (at most {MAX_CATEGORIES})",)
        if large
        else ()
    )


def blocks(index: np.ndarray, columns: int) -> Iterator[np.ndarray]:
    """Yield `index` (n, 2) in parts whose rows of `columns` numbers fit into memory together."""
    size = max(1, MAX_BLOCK_VALUES // max(columns, 1))
    for start in range(0, len(index), size):
        yield index[start : start + size]


def _known_ahead(task: BaselineTask) -> np.ndarray:
    return task.channels[:, :, task.first_known_ahead :]


def _far_steps(task: BaselineTask) -> list[int]:
    """Steps from the origin, all before the lookback, at which a lag of a step of the horizon lies."""
    steps = {step - lag for step in range(task.horizon) for lag in task.lags}
    return sorted(step for step in steps if step < -task.lookback)


def _targets(task: BaselineTask, index: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The target (n, steps), in network units, at `steps` (steps,) from each origin; NaN before the first step."""
    positions = index[:, 1, None] + steps
    last = task.channels.shape[1] - 1
    values = task.channels[:, :, 0][index[:, 0, None], positions.clip(0, last)]
    return np.where(positions >= 0, values, np.nan)


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)
