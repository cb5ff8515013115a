"""The explanation of a stamp that is no step of a regular axis."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gridcast.runtime.frequencies import is_day_or_longer, months_per_step, seconds_per_step
from gridcast.runtime.step_rule import StepRule

MAX_JITTER = 0.1
"""Share of a step that stamps may lie beside it to be taken for late or early readings."""
HOUR = 3600.0
OBSERVED = "data.calendar: observed, which takes every stamp for a step"


def explain_off_axis(stamp: pd.Timestamp, off_axis: pd.DatetimeIndex, steps: pd.DatetimeIndex, rule: StepRule) -> str:
    """Return a sentence, with the remedy, on `stamp`, the first row off the axis of the regular `steps`.

    `off_axis` are all stamps off it.
    """
    day = f", on the {rule.anchor}" if rule.anchor else ""
    begin = f"{stamp} is off the regular axis of frequency {rule.frequency}{day} that starts at {steps[0]}"
    distances = _seconds_beside(off_axis, steps)
    if is_day_or_longer(rule.frequency) and np.isin(np.abs(distances), (HOUR, 23 * HOUR)).all():
        return (
            f"{begin}: {len(off_axis):,} stamps are an hour off, as after a clock change; give them as local dates "
            f"without a time, or with their offset from UTC and the data.time_zone of their days, or write {OBSERVED}"
        )
    is_fixed = not rule.anchor and months_per_step(rule.frequency) == 0
    if is_fixed and len(off_axis) > 1 and np.abs(distances).max() <= MAX_JITTER * seconds_per_step(rule.frequency):
        return (
            f"{begin}: {len(off_axis):,} stamps are up to {np.abs(distances).max():g} seconds beside a step; round "
            f"them, or write {OBSERVED}"
        )
    return f"{begin} ({len(off_axis):,} such stamps); correct it, or write {OBSERVED}"


def _seconds_beside(off_axis: pd.DatetimeIndex, steps: pd.DatetimeIndex) -> np.ndarray:
    """The seconds (n,) from the nearest of `steps` to each stamp."""
    after = np.minimum(steps.searchsorted(off_axis), len(steps) - 1)
    before = np.maximum(after - 1, 0)
    to_after, to_before = ((off_axis - steps[side]).total_seconds().to_numpy() for side in (after, before))
    return np.where(np.abs(to_after) < np.abs(to_before), to_after, to_before)
