"""The readings of a batch: numbers by step, in order, and notes on what is wrong with its rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from gridcast.monitoring.stream.feeds import FeedBatch
from gridcast.monitoring.stream.followed_model import FollowedDetector, iso_stamp, step_length
from gridcast.monitoring.stream.ledger import Ledger
from gridcast.monitoring.stream.set_aside import sort_out_leaps
from gridcast.monitoring.stream.wording import quoted_names
from gridcast.runtime.dialect import NO_READING, SENTINELS
from gridcast.runtime.errors import suggest

MAX_CLOCK_LEAD = pd.Timedelta(days=1)
"""How far a time may be ahead of the clock (time zones)."""
SENTINEL_SPREADS = 10.0
"""Distance from training, in scaled units, from which on a number such as -9999 is taken for no reading."""


def readings_of(
    batch: FeedBatch, ledger: Ledger, detector: FollowedDetector, *, now: pd.Timestamp, counts: Counter[str]
) -> tuple[pd.DataFrame, list[str]] | None:
    """Return the numbers of every sensor by step, in order, and notes on bad rows; None where nothing is new.

    Of rows of one step, the first reading of each sensor counts. A row whose time leaps ahead is set aside.
    """
    parsed, notes = _parse(batch, detector, now=now, counts=counts)
    sorted_out = sort_out_leaps(parsed, ledger, detector)
    if batch.end is None and not sorted_out.is_new and not counts["unreadable"]:
        return None  # an address is asked for the rows after the newest step, and so returns them at each look
    readings = sorted_out.readings
    repeated = int(readings.index.duplicated().sum())
    counts["repeated"] += repeated
    readings = readings.sort_index(kind="stable")
    return readings.groupby(level=0).first() if repeated else readings, [*notes, *sorted_out.notes]


def _parse(
    batch: FeedBatch, detector: FollowedDetector, *, now: pd.Timestamp, counts: Counter[str]
) -> tuple[pd.DataFrame, list[str]]:
    """The numbers of every sensor by step, in the order of the rows, and notes on bad ones."""
    rows, notes = batch.rows, [*batch.notes]
    present = [sensor for sensor in detector.sensors if sensor in rows]
    readings = pd.DataFrame(np.nan, pd.DatetimeIndex(rows[detector.time]), list(detector.sensors))
    for sensor in present:
        text = rows[sensor].astype(str).str.strip()
        values = pd.to_numeric(text, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)
        is_bad = values.isna() & ~text.isin(NO_READING)
        if is_bad.any():
            notes.append(f"{is_bad.sum()} readings of '{sensor}' are not numbers, the first '{text[is_bad].iloc[0]}'")
        readings[sensor] = values.to_numpy()
    notes += _column_notes(rows, detector, present) if len(rows) else []
    notes += _leave_out_sentinels(readings, detector)
    is_future = np.asarray(readings.index > now + MAX_CLOCK_LEAD)
    if is_future.any():
        notes.append(f"{is_future.sum()} rows are in the future, the first {iso_stamp(readings.index[is_future][0])}")
    is_unreadable = is_future | (not present)
    counts["unreadable"] += int(is_unreadable.sum())
    readings = readings[~is_unreadable]
    length = step_length(detector.frequency)
    # The nearest step; a time in the middle of two belongs to the earlier one.
    steps = (pd.DatetimeIndex(readings.index).as_unit("ns") + length / 2 - pd.Timedelta(1)).floor(length)
    steps = steps.as_unit("us")
    between = int((steps != readings.index).sum())
    if between:
        notes.append(f"{between} rows lie between two steps and count as the nearest one")
    return readings.set_axis(steps), notes


def _column_notes(rows: pd.DataFrame, detector: FollowedDetector, present: list[str]) -> list[str]:
    """Notes on sensors without a column, and on columns that are no sensors."""
    missing = [sensor for sensor in detector.sensors if sensor not in rows]
    unknown = [str(column) for column in rows.columns if column not in {*present, detector.time}]
    notes = []
    if missing:
        near = suggest(missing[0], unknown)
        notes.append(f"{'no column for' if present else 'none of'} the model's sensors {quoted_names(missing)}{near}")
    names = [column for column in unknown if rows[column].astype(str).str.strip().isin(detector.sensors).any()]
    if names and not present:
        notes.append(
            f"'{names[0]}' names sensors, so this is a row for each reading, and a column for each sensor is needed: "
            "reshape the table, or train the model with data.pivot"
        )
    if unknown:
        notes.append(f"columns that the model does not know are ignored: {quoted_names(unknown)}")
    return notes


def _leave_out_sentinels(readings: pd.DataFrame, detector: FollowedDetector) -> list[str]:
    """Make numbers such as -9999 missing where they are far from training, as they mean no reading; notes on them."""
    notes = []
    for position, sensor in enumerate(detector.sensors):
        for sentinel in SENTINELS:
            is_sentinel = (readings[sensor] == sentinel).to_numpy()
            if is_sentinel.any() and _is_far(sentinel, detector, position):
                readings.loc[is_sentinel, sensor] = np.nan
                notes.append(
                    f"{is_sentinel.sum()} readings of '{sensor}' are {sentinel:g}, far from training: taken for no "
                    f"reading; data.missing: [{sentinel:g}] in the experiment says so for good"
                )
    return notes


def _is_far(value: float, detector: FollowedDetector, sensor: int) -> bool:
    """Whether `value` is far from what the sensor at this position showed in training."""
    preprocessing: Any = getattr(detector, "preprocessing", None)
    if preprocessing is None:
        return False
    with np.errstate(invalid="ignore"):
        scaled = preprocessing.target_scaler.take(sensor).transform(np.array([[value]]))
    return not bool(np.abs(scaled[0, 0]) <= SENTINEL_SPREADS)
