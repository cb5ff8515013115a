"""Rows whose time leaps far ahead of all others: set aside until further rows go on from there.

A clock that is wrong for one row would otherwise move the newest step, and its reading would count for a later step. A
leap of hours is ordinary after a standstill, so that such a row is kept, and taken as soon as another one follows it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridcast.monitoring.stream.followed_model import FollowedDetector, iso_stamp, step_length
from gridcast.monitoring.stream.ledger import Ledger

MIN_LEAP_STEPS = 10
"""Steps from which on a hole is a leap; the window of the model, if that is longer."""
LEAP_SPACINGS = 3
"""A hole of so many times the usual distance of two rows is a leap, if that is longer still."""
RECENT_STEPS = 50
"""Stored steps that show how far rows usually lie apart."""
WAITING = "lie far ahead of all others: set aside until rows near them come"
ASIDE_KEY = "rows set aside"
MIN_ORDERED = 0.9
"""Share of the rows of a batch that follow the one before them, from which on it is in order."""


@dataclass(frozen=True)
class SortedOut:
    """The `readings` that count, by step, with those taken that were set aside before, and notes.

    Nothing `is_new` where the batch has no row but those that are set aside already.
    """

    readings: pd.DataFrame
    notes: tuple[str, ...] = ()
    is_new: bool = True


def sort_out_leaps(readings: pd.DataFrame, ledger: Ledger, detector: FollowedDetector) -> SortedOut:
    """Set aside, in the record, the `readings` of a batch (by step, in the order of their rows) whose time leaps ahead.

    That is a row which lies far ahead of those before and after it in the batch, or of all others. One that was set
    aside is taken when a later step comes that is near it, or fills a hole; it is dropped where its step comes again.
    """
    steps, aside = pd.DatetimeIndex(readings.index), readings_set_aside(ledger, detector.sensors)
    if not len(readings):
        return SortedOut(readings)
    mark, first = ledger.high_water_mark, ledger.first_step
    waiting = pd.DatetimeIndex(aside.index)
    limit = _leap_limit(steps.union(waiting), ledger, detector)
    ahead, behind = _contradicted(steps, mark, limit)
    too_old = behind & (steps < first if first is not None else True)
    plain = pd.DatetimeIndex(steps[~ahead & ~too_old].unique().sort_values())
    leaps = _isolated_ends(plain, mark, waiting, limit)
    is_leap = ahead | steps.isin(leaps)
    known = steps.isin(waiting)
    if is_leap.all() and known.all():
        return SortedOut(readings[:0], is_new=False)
    if not len(aside) and not is_leap.any() and not too_old.any():
        return SortedOut(readings)
    pool = pd.concat([aside, readings[is_leap]]).groupby(level=0).first()
    others = plain.difference(leaps)
    taken, dropped = _settle(pd.DatetimeIndex(pool.index), plain, others, ledger, limit)
    _save(pool.drop(index=taken.union(dropped)), ledger)
    notes = [
        *_note(steps[too_old], "lie far before the rows around them and before all others: left out"),
        *_note(pool.index.difference(taken).difference(dropped).difference(waiting), WAITING),
        *_note(taken.intersection(waiting), "that were set aside are taken, as rows near them came"),
        *_note(dropped, "whose time leaps ahead are dropped, as their steps have other rows"),
    ]
    return SortedOut(pd.concat([readings[~is_leap & ~too_old], pool.loc[taken]]), tuple(notes))


def readings_set_aside(ledger: Ledger, sensors: Sequence[str]) -> pd.DataFrame:
    """Return the readings of `sensors` that wait, by step."""
    rows = json.loads(ledger.note(ASIDE_KEY) or "{}")
    times = pd.DatetimeIndex(pd.to_datetime(list(rows), format="ISO8601")).as_unit("us")
    return pd.DataFrame(list(rows.values()), times, list(sensors), dtype=float)


def _save(readings: pd.DataFrame, ledger: Ledger) -> None:
    rows = {
        step.isoformat(): {name: value if math.isfinite(value) else None for name, value in row.items()}
        for step, row in zip(readings.index, readings.to_dict("records"), strict=True)
    }
    ledger.save_note(ASIDE_KEY, json.dumps(rows))


def _leap_limit(steps: pd.DatetimeIndex, ledger: Ledger, detector: FollowedDetector) -> pd.Timedelta:
    """The longest hole that is no leap."""
    length = step_length(detector.frequency)
    times = ledger.newest_steps(RECENT_STEPS).union(steps)
    spacings = np.sort(np.diff(times))
    usual = pd.Timedelta(spacings[(len(spacings) - 1) // 2]) if len(spacings) else length
    return max(max(detector.lookback, MIN_LEAP_STEPS) * length, LEAP_SPACINGS * usual)


def _contradicted(
    steps: pd.DatetimeIndex, mark: pd.Timestamp | None, limit: pd.Timedelta
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each row lies more than `limit` ahead of its two neighbours, which are near each other; or behind them.

    In a batch whose rows are in no order, none does. The row before the first one is that of the newest step, `mark`.
    """
    none = np.zeros(len(steps), bool)
    if not (np.abs(np.diff(steps)) > limit.to_timedelta64()).any():
        return none, none
    starts = np.flatnonzero(np.r_[True, steps[1:] != steps[:-1]])  # rows of one step follow each other
    run = np.cumsum(np.r_[True, steps[1:] != steps[:-1]]) - 1
    times = steps[starts].as_unit("us").asi8
    ahead, behind = np.zeros(len(times), bool), np.zeros(len(times), bool)
    moves, far = np.sign(np.diff(times)), limit // pd.Timedelta(microseconds=1)
    if not len(moves) or max((moves > 0).mean(), (moves < 0).mean()) < MIN_ORDERED - 2 / len(times):
        return none, none
    before = mark.as_unit("us").value if mark is not None else None
    for place in range(len(times) - 1):
        time, after = times[place], times[place + 1]
        if before is not None and abs(after - before) <= far:
            ahead[place] = min(time - before, time - after) > far
            behind[place] = min(before - time, after - time) > far
        if not ahead[place] and not behind[place]:
            before = time
    return ahead[run], behind[run]


def _isolated_ends(
    plain: pd.DatetimeIndex, mark: pd.Timestamp | None, aside: pd.DatetimeIndex, limit: pd.Timedelta
) -> pd.DatetimeIndex:
    """The last of the steps `plain`, in their order, that lie alone: more than `limit` after any other one."""
    end = len(plain)
    while end:
        last, others = plain[end - 1], aside[aside != plain[end - 1]]
        before = plain[end - 2] if end > 1 else mark
        before = max((time for time in (before, mark) if time is not None), default=None)
        is_near = bool(((others >= last - limit) & (others <= last + limit)).any())
        if before is None or last - before <= limit or is_near:
            break
        end -= 1
    return plain[end:]


def _settle(
    pool: pd.DatetimeIndex,
    plain: pd.DatetimeIndex,
    others: pd.DatetimeIndex,
    ledger: Ledger,
    limit: pd.Timedelta,
) -> tuple[pd.DatetimeIndex, pd.DatetimeIndex]:
    """The steps of the `pool` that are taken now, and those that are dropped; `others` of `plain` are in no doubt."""
    taken: list[pd.Timestamp] = []
    dropped: list[pd.Timestamp] = []
    newest = max([time for time in (ledger.high_water_mark, *others[-1:]) if time is not None], default=None)
    for step in pool:
        below = [time for time in (ledger.newest_before(step), *others[others < step][-1:]) if time is not None]
        is_reached = bool(below) and step - max(below) <= limit
        is_followed = bool(((plain > step) & (plain - step <= limit)).any())
        if is_followed and not is_reached:
            taken.append(step)
        elif newest is not None and newest >= step:
            is_there = step in others or bool(ledger.has_steps(pd.Series([step])).iloc[0])
            (dropped if is_there else taken).append(step)
    return pd.DatetimeIndex(taken), pd.DatetimeIndex(dropped)


def _note(steps: pd.Index, what: str) -> list[str]:
    return [f"{len(steps)} rows {what}, the first {iso_stamp(steps[0])}"] if len(steps) else []
