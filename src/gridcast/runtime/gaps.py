"""Missing steps: pure functions on arrays (series, steps) with NaN where nothing was observed."""

from __future__ import annotations

import numpy as np


def inner_gaps(target: np.ndarray) -> np.ndarray:
    """Return True (series, steps) where a value is missing between two observations of its series.

    Before its first and after its last observation a series does not exist; these steps are no gaps.
    """
    missing = np.isnan(target)
    has_begun = ~np.logical_and.accumulate(missing, axis=1)
    has_not_ended = ~np.logical_and.accumulate(missing[:, ::-1], axis=1)[:, ::-1]
    return missing & has_begun & has_not_ended


def fill(target: np.ndarray, policy: str) -> np.ndarray:
    """Return `target` (series, steps) with its gaps filled by `policy`: zero, ffill or interpolate.

    `zero` also fills the steps where a series does not exist. `interpolate` reads the value after the gap, see
    `is_settled`. `keep` and `error` fill nothing.
    """
    missing = np.isnan(target)
    if policy == "zero":
        return np.where(missing, 0.0, target)
    in_gap = inner_gaps(target)
    if policy in ("error", "keep") or not in_gap.any():
        return target
    if policy == "ffill":
        return np.where(in_gap, forward_fill(target), target)
    filled, steps = target.copy(), np.arange(target.shape[1])
    for series in np.flatnonzero(in_gap.any(axis=1)):
        gap, present = in_gap[series], ~missing[series]
        filled[series, gap] = np.interp(steps[gap], steps[present], target[series, present])
    return filled


def is_observed(target: np.ndarray, policy: str) -> np.ndarray:
    """Return True (series, steps) where `target`, before it is filled, has a value to learn from and to score.

    `zero` declares that nothing recorded means nothing happened, such as a day without a sale: its zeros are true
    values, and count. Values that `ffill` and `interpolate` make up are only read as inputs.
    """
    return np.ones(target.shape, bool) if policy == "zero" else np.isfinite(target)


def is_settled(filled: np.ndarray, observed: np.ndarray, policy: str) -> np.ndarray:
    """Return True (series, steps) where a step of the `filled` target is independent of later steps.

    Only there may inputs end. An interpolated value depends on the first value after its gap: inputs that end within
    the gap would leak it, while inputs that reach it anyway learn nothing new.
    """
    return observed if policy == "interpolate" else np.isfinite(filled)


def forward_fill(values: np.ndarray) -> np.ndarray:
    """Return `values` (..., steps) with each NaN replaced by the last value before it, if there is one."""
    rows = values.reshape(-1, values.shape[-1])
    last = np.maximum.accumulate(np.where(np.isnan(rows), 0, np.arange(rows.shape[1])), axis=1)
    return np.asarray(rows[np.arange(len(rows))[:, None], last].reshape(values.shape))
