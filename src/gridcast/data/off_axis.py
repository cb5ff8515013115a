"""The explanation of a stamp that is no step of a regular axis."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gridcast.runtime.frequencies import DAY_SECONDS, is_day_or_longer, seconds_per_step
from gridcast.runtime.step_rule import StepRule

MAX_JITTER = 0.1
"""Share of a step that stamps may lie beside it to be taken for late or early readings."""
HOUR = 3600.0
OBSERVED = "data.calendar: observed, which takes every stamp for a step"


def explain_off_axis(
    stamp: pd.Timestamp, off_axis: pd.DatetimeIndex, steps: pd.DatetimeIndex, rule: StepRule, *, can_aggregate: bool
) -> str:
    """Return a sentence, with the remedy, on `stamp`, the first row off the axis of the regular `steps`.

    `off_axis` are all stamps off it. `can_aggregate` says that `data.aggregate` may be named as a remedy.
    """
    day = f", on the {rule.anchor}" if rule.anchor else ""
    begin = f"{stamp} is off the regular axis of frequency {rule.frequency}{day} that starts at {steps[0]}"
    is_long = is_day_or_longer(rule.frequency)
    beside = np.abs(_seconds_beside(off_axis, steps[0], DAY_SECONDS if is_long else seconds_per_step(rule.frequency)))
    if is_long and (beside == HOUR).all():
        return (
            f"{begin}: {len(off_axis):,} stamps are an hour off, as after a clock change; give them as local dates "
            f"without a time, or with their offset from UTC and the data.time_zone of their days, or write {OBSERVED}"
        )
    if not is_long and len(off_axis) > 1 and beside.max() <= MAX_JITTER * seconds_per_step(rule.frequency):
        combined = f"combine them by data.aggregate: mean with data.frequency: {rule.frequency}, "
        return (
            f"{begin}: {len(off_axis):,} stamps are up to {beside.max():g} seconds beside a step; round them, "
            f"{combined if can_aggregate else ''}or write {OBSERVED}"
        )
    return f"{begin} ({len(off_axis):,} such stamps); correct it, or write {OBSERVED}"


def _seconds_beside(times: pd.DatetimeIndex, start: pd.Timestamp, step: float) -> np.ndarray:
    """The seconds (n,) from the nearest of the steps, `step` seconds apart and one of them at `start`."""
    seconds = (times - start).total_seconds().to_numpy()
    return seconds - np.round(seconds / step) * step
