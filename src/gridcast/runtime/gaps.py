"""Missing steps: pure functions on (series, steps) arrays with NaN where nothing was observed."""

from __future__ import annotations

import numpy as np


def inner_gaps(target: np.ndarray) -> np.ndarray:
    """True where a value is missing between two observations of its series.

    Before its first and after its last observation a series is absent, not broken off.
    """
    missing = np.isnan(target)
    begun = ~np.logical_and.accumulate(missing, axis=1)
    going_on = ~np.logical_and.accumulate(missing[:, ::-1], axis=1)[:, ::-1]
    return missing & begun & going_on


def fill(target: np.ndarray, policy: str) -> np.ndarray:
    """`target` with its gaps filled: zero (also where the series is absent), ffill or interpolate.

    `interpolate` reads the value after the gap, see `settled`; `keep` fills none.
    """
    missing = np.isnan(target)
    if policy == "zero":
        return np.where(missing, 0.0, target)
    broken = inner_gaps(target)
    if policy in ("error", "keep") or not broken.any():
        return target
    if policy == "ffill":
        return np.where(broken, forward_fill(target), target)
    filled, steps = target.copy(), np.arange(target.shape[1])
    for series in np.flatnonzero(broken.any(axis=1)):
        gap, known = broken[series], ~missing[series]
        filled[series, gap] = np.interp(steps[gap], steps[known], target[series, known])
    return filled


def is_observed(target: np.ndarray, policy: str) -> np.ndarray:
    """True where `target`, not filled yet, holds a value to learn and to score.

    `zero` declares that nothing recorded means nothing happened, a day without a sale is a true 0:
    such steps count. What `ffill` and `interpolate` put in is made up, to be read and no more.
    """
    return np.ones(target.shape, bool) if policy == "zero" else np.isfinite(target)


def is_settled(filled: np.ndarray, observed: np.ndarray, policy: str) -> np.ndarray:
    """True where a step of the `filled` target owes nothing to later steps: only there may inputs end.

    An interpolated value tells of the first value after its gap. Inputs that reach that value
    themselves learn nothing from it; inputs that end within the gap would know their future.
    """
    return observed if policy == "interpolate" else np.isfinite(filled)


def forward_fill(values: np.ndarray) -> np.ndarray:
    """Along the last axis, each NaN replaced by the last value before it, if there is one."""
    rows = values.reshape(-1, values.shape[-1])
    at = np.maximum.accumulate(np.where(np.isnan(rows), 0, np.arange(rows.shape[1])), axis=1)
    return np.asarray(rows[np.arange(len(rows))[:, None], at].reshape(values.shape))
