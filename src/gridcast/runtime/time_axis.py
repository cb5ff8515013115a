"""The time axis: regular steps, observed steps, and the steps that follow the last one."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

from .frequencies import MONTHS_PER_UNIT, WEEKDAYS, anchored_frequency, parts
from .local_time import from_wall_clock, wall_clock
from .step_rule import StepRule, steps_after

MAX_CACHED_STEPS = 2000
"""Steps of the longest axis that is cached: most requests to a service on one day ask for the same steps."""
MAX_CLOSED_DAYS = 5
"""Days in a row, such as a holiday week, that a trading calendar may be closed; a longer hole is a gap."""


def period_start(times: pd.DatetimeIndex, frequency: str) -> pd.DatetimeIndex:
    """Return the start of the period of `frequency` that each of `times` lies in.

    Weeks start on Monday, those of `W-SUN` on Sunday.

    Raises ValueError for a frequency whose periods do not follow from a stamp alone, such as 2W, or that is named after
    the end of its periods, such as ME.
    """
    count, unit, anchor = parts(frequency)
    if unit in MONTHS_PER_UNIT and count == 1 and not anchor and not frequency.endswith("E"):
        return times.to_period(unit).start_time
    days = times.normalize()
    if unit == "W" and count == 1:
        return days - pd.to_timedelta((days.day_of_week - WEEKDAYS.index(anchor or "MON")) % 7, unit="D")
    if frequency in ("D", "B"):
        return days
    if pd.Timedelta(f"{count}{unit}") > pd.Timedelta(days=1):
        raise ValueError(frequency)
    return times.floor(frequency)


def period_end(starts: pd.DatetimeIndex, frequency: str) -> pd.DatetimeIndex:
    """Return the first moment after the period of `frequency` that begins at each of `starts`."""
    count, unit, _ = parts(frequency)
    if unit in MONTHS_PER_UNIT:
        return starts + pd.DateOffset(months=MONTHS_PER_UNIT[unit] * count)
    days = {"D": 1, "B": 1, "W": 7}.get(unit)
    return starts + (pd.Timedelta(days=days * count) if days else pd.Timedelta(f"{count}{unit}"))


def days_of_steps(times: pd.DatetimeIndex, frequency: str) -> tuple[pd.DatetimeIndex, pd.DatetimeIndex]:
    """Return the first day of each step, and the day after its last.

    For steps up to a day, the day of the stamp; for weeks, seven days from the stamp on; for months, quarters and
    years, the calendar period in which the stamp lies.
    """
    count, unit, _ = parts(frequency)
    if unit in MONTHS_PER_UNIT:
        first = times.to_period(unit).start_time
        return first, period_end(first, frequency)
    first = times.normalize()
    return first, period_end(first, f"{count}{unit}" if unit in ("D", "W") else "D")


def regular_steps(times: pd.DatetimeIndex, rule: StepRule) -> pd.DatetimeIndex:
    """Return every step of `rule` from the first to the last of `times`. Raises ValueError for an unknown frequency.

    Where the rule is loose, the last stamp within a period stands for it instead of its anchor.
    """
    first, last = times.min(), times.max()
    if not rule.anchor:
        return pd.date_range(first, last, freq=anchored_frequency(rule.frequency, first))
    begin, end = rule.periods(pd.DatetimeIndex([first, last]))
    days = rule.stamps(np.arange(begin, end + 1)).astype("datetime64[us]")
    steps = pd.DatetimeIndex(days) + (first - first.normalize())
    if not rule.loose:
        return steps
    stamps = pd.Series(steps)
    ordered = times[rule.on_axis(times)].unique().sort_values()
    stamps[rule.periods(ordered) - begin] = ordered
    return pd.DatetimeIndex(stamps)


def trading_steps(times: pd.DatetimeIndex, rule: StepRule) -> pd.DatetimeIndex:
    """Return `times` and the steps of the trading calendar `rule` that are missing between the first and the last.

    A day without any stamp is closed, unless more than MAX_CLOSED_DAYS open days in a row have none, or the rule names
    the closed dates and it is not among them. On other days the steps between their first and last stamp are added: a
    session may begin late or end early.
    """
    first, last = times[0], times[-1]
    expected = open_times(first, last, rule)
    days, dates = local_days(expected, rule), local_days(times, rule)
    open_days = days.unique()
    is_empty = ~open_days.isin(dates)
    if rule.closed_dates is not None:
        opened = open_days[is_empty & ~open_days.isin(pd.DatetimeIndex(rule.closed_dates))]
    else:
        run = np.cumsum(~is_empty)
        run_lengths = np.bincount(run, weights=is_empty)
        opened = open_days[is_empty & (run_lengths[run] > MAX_CLOSED_DAYS)]
    begins = pd.Series(times, index=dates).groupby(level=0)
    first_stamps, last_stamps = begins.min().reindex(days), begins.max().reindex(days)
    within = (expected >= first_stamps.to_numpy()) & (expected <= last_stamps.to_numpy())
    return times.union(expected[within | days.isin(opened)])


def local_days(times: pd.DatetimeIndex, rule: StepRule) -> pd.DatetimeIndex:
    """Return the day (n,) on which each of `times` (n,) is in the time zone of the open times."""
    return wall_clock(times, rule.time_zone).normalize()


def open_times(first: pd.Timestamp, last: pd.Timestamp, rule: StepRule) -> pd.DatetimeIndex:
    """Return the open times of `rule` from `first` to `last`."""
    in_week = rule.open_seconds((first - first.normalize()).total_seconds())
    if not len(in_week):
        return pd.date_range(first, last, freq=rule.frequency)
    begin, end = wall_clock(pd.DatetimeIndex([first, last]), rule.time_zone)
    monday = begin.normalize() - pd.Timedelta(days=begin.day_of_week)
    weeks = np.arange((end - monday) // pd.Timedelta(days=7) + 1)[:, None] * np.timedelta64(7, "D")
    seconds = (in_week * 1e6).round().astype("timedelta64[us]")
    local = pd.DatetimeIndex((np.datetime64(monday, "us") + weeks + seconds).ravel())
    stamps = from_wall_clock(local, rule.time_zone).unique()
    return stamps[(stamps >= first) & (stamps <= last)]


def axis_positions(axis: np.ndarray, stamps: np.ndarray, rule: StepRule) -> np.ndarray:
    """Return the position (n,) on `axis`, ascending, of each of `stamps` (n,), -1 for one that is no step of it."""
    if not (rule.anchor and rule.loose and rule.calendar == "regular"):
        positions = np.minimum(axis.searchsorted(stamps), len(axis) - 1)
        return np.where(axis[positions] == stamps, positions, -1)
    times = pd.DatetimeIndex(stamps)
    positions = pd.Index(rule.periods(pd.DatetimeIndex(axis))).get_indexer(pd.Index(rule.periods(times)))
    return np.where(rule.on_axis(times), positions, -1)


def usual_weekdays(times: pd.DatetimeIndex, frequency: str, calendar: str) -> tuple[int, ...]:
    """Return the weekdays (Monday 0) on which an observed daily axis usually has steps; empty for any other axis.

    A weekday with less than a fifth of the steps of the busiest one is an exception, such as the two Saturdays that a
    shop opened before Christmas.
    """
    if calendar != "observed" or frequency != "D":
        return ()
    counts = np.bincount(times.day_of_week, minlength=7)
    return tuple(int(day) for day in np.flatnonzero(counts * 5 >= counts.max()))


def closed_dates(times: pd.DatetimeIndex, weekdays: tuple[int, ...]) -> tuple[str, ...] | None:
    """Return the dates between the first and the last of `times` that lie on `weekdays` but have no step.

    None if they are more than a fifth of all such dates: the weekdays then do not determine the calendar.
    """
    expected = _dates_on(times, weekdays)
    missing = expected[~expected.isin(times.normalize())]
    follows_weekdays = weekdays and len(missing) * 5 <= len(expected)
    return tuple(missing.strftime("%Y-%m-%d")) if follows_weekdays else None


def with_open_dates(times: pd.DatetimeIndex, weekdays: tuple[int, ...], closed: tuple[str, ...]) -> pd.DatetimeIndex:
    """Return `times` and every date between the first and the last of them on `weekdays` that is not `closed`."""
    expected = _dates_on(times, weekdays)
    missing = expected[~expected.isin(times.normalize()) & ~expected.isin(pd.DatetimeIndex(closed))]
    return times.union(missing + (times[0] - times[0].normalize()))


def _dates_on(times: pd.DatetimeIndex, weekdays: tuple[int, ...]) -> pd.DatetimeIndex:
    dates = pd.date_range(times[0].normalize(), times[-1].normalize())
    return dates[np.isin(dates.day_of_week, weekdays)]


def history_steps(times: pd.DatetimeIndex, rule: StepRule) -> pd.DatetimeIndex:
    """Return the steps of a table with the stamps `times`, ascending, from the first to the last of them.

    A table with an observed calendar lacks steps of which only other series have rows: the dates on the usual weekdays
    are added, but for the closed ones (None: add nothing). Raises ValueError for an unknown frequency.
    """
    if rule.calendar == "regular":
        return regular_steps(times, rule)
    if rule.calendar == "trading":
        return trading_steps(times, rule)
    return times if rule.closed_dates is None else with_open_dates(times, rule.weekdays, rule.closed_dates)


def build_axis(stamps: np.ndarray, steps: int, rule: StepRule) -> tuple[np.ndarray, int]:
    """Return the time axis of a history with these `stamps`, extended by `steps`, and the length of the history on it.

    Stamps and axis are datetime64[us], ascending; see `history_steps`.
    """
    compute = _build_axis if len(stamps) <= MAX_CACHED_STEPS else _build_axis.__wrapped__
    return compute(stamps.tobytes(), steps, rule)


@functools.lru_cache(maxsize=256)
def _build_axis(stamps: bytes, steps: int, rule: StepRule) -> tuple[np.ndarray, int]:
    history = history_steps(pd.DatetimeIndex(np.frombuffer(stamps, "datetime64[us]")), rule)
    axis = history.append(steps_after(history[-1], steps, rule)).to_numpy("datetime64[us]")
    axis.flags.writeable = False  # the cache hands the same array to every caller
    return axis, len(history)
