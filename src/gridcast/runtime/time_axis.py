"""The time axis: regular steps, observed steps, and the steps that follow the last one."""

from __future__ import annotations

import functools
import re

import numpy as np
import pandas as pd

MONTHS_PER_UNIT = {"M": 1, "Q": 3, "Y": 12}
MAX_CACHED_STEPS = 2000
"""Steps of the longest axis that is cached: most requests to a service on one day ask for the same steps."""
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


def anchored_frequency(frequency: str, first: pd.Timestamp) -> str:
    """Return the pandas alias of `frequency` that is in phase with the stamp `first`.

    Weeks start on its weekday; months, quarters and years are stamped with their first day if it is one, else with
    their last.
    """
    if frequency == "W":
        return f"W-{first:%a}".upper()
    if frequency in MONTHS_PER_UNIT:
        month = "" if frequency == "M" else f"-{first:%b}".upper()
        return f"{frequency}{'S' if first.day == 1 else 'E'}{month}"
    return frequency


def period_start(times: pd.DatetimeIndex, frequency: str) -> pd.DatetimeIndex:
    """Return the start of the period of `frequency` that each of `times` lies in.

    Weeks start on Monday, those of `W-SUN` on Sunday.

    Raises ValueError for a frequency whose periods do not follow from a stamp alone, such as 2W, or that is named after
    the end of its periods, such as ME.
    """
    count, unit, anchor = _parts(frequency)
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
    count, unit, _ = _parts(frequency)
    if unit in MONTHS_PER_UNIT:
        return starts + pd.DateOffset(months=MONTHS_PER_UNIT[unit] * count)
    days = {"D": 1, "B": 1, "W": 7}.get(unit)
    return starts + (pd.Timedelta(days=days * count) if days else pd.Timedelta(f"{count}{unit}"))


def days_of_steps(times: pd.DatetimeIndex, frequency: str) -> tuple[pd.DatetimeIndex, pd.DatetimeIndex]:
    """Return the first day of each step, and the day after its last.

    For steps up to a day, the day of the stamp; for weeks, seven days from the stamp on; for months, quarters and
    years, the calendar period in which the stamp lies.
    """
    count, unit, _ = _parts(frequency)
    if unit in MONTHS_PER_UNIT:
        first = times.to_period(unit).start_time
        return first, period_end(first, frequency)
    first = times.normalize()
    return first, period_end(first, f"{count}{unit}" if unit in ("D", "W") else "D")


def _parts(frequency: str) -> tuple[int, str, str]:
    """Count, unit and anchor: `2W-SUN` -> 2, W, SUN. `MS` and `ME` (first and last day of a month) have the unit M."""
    match = re.fullmatch(r"(\d*)([A-Za-z]+)(?:-([A-Z]{3}))?", frequency)
    count, unit, anchor = match.groups() if match else (1, frequency, "")
    unit = unit[0] if len(unit) == 2 and unit[0] in MONTHS_PER_UNIT and unit[1] in "SE" else unit
    return int(count or 1), unit, anchor or ""


def regular_steps(times: pd.DatetimeIndex, frequency: str) -> pd.DatetimeIndex:
    """Return every step of `frequency` from the first to the last of `times`. Raises ValueError if it is unknown."""
    return pd.date_range(times.min(), times.max(), freq=anchored_frequency(frequency, times.min()))


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


def build_axis(
    stamps: np.ndarray,
    steps: int,
    *,
    frequency: str,
    calendar: str,
    weekdays: tuple[int, ...] = (),
    closed: tuple[str, ...] | None = None,
) -> tuple[np.ndarray, int]:
    """Return the time axis of a history with these `stamps`, extended by `steps`, and the length of the history on it.

    Stamps and axis are datetime64[us], ascending. A table with an observed `calendar` lacks steps of which only other
    series have rows: the dates on the usual `weekdays` are added, but for the `closed` ones (None: add nothing).
    Raises ValueError for an unknown frequency.
    """
    compute = _build_axis if len(stamps) <= MAX_CACHED_STEPS else _build_axis.__wrapped__
    return compute(stamps.tobytes(), steps, frequency, calendar, weekdays, closed)


@functools.lru_cache(maxsize=256)
def _build_axis(
    stamps: bytes,
    steps: int,
    frequency: str,
    calendar: str,
    weekdays: tuple[int, ...],
    closed: tuple[str, ...] | None,
) -> tuple[np.ndarray, int]:
    history = pd.DatetimeIndex(np.frombuffer(stamps, "datetime64[us]"))
    if calendar == "regular":
        history = regular_steps(history, frequency)
    elif closed is not None:
        history = with_open_dates(history, weekdays, closed)
    axis = history.append(steps_after(history[-1], steps, frequency, weekdays)).to_numpy("datetime64[us]")
    axis.flags.writeable = False  # the cache hands the same array to every caller
    return axis, len(history)


@functools.lru_cache(maxsize=1024)
def steps_after(last: pd.Timestamp, steps: int, frequency: str, weekdays: tuple[int, ...] = ()) -> pd.DatetimeIndex:
    """Return the `steps` stamps that follow `last`, on `weekdays` (Monday 0) only if there are any."""
    # Of seven dates len(weekdays) are steps: enough dates for them all, and for a week that starts with none.
    dates_per_step = max(1, -(-7 // len(weekdays))) if weekdays else 1
    periods = (steps + 7) * dates_per_step + 1
    following = pd.date_range(last, periods=periods, freq=anchored_frequency(frequency, last))
    following = following[following > last]
    if weekdays:
        following = following[np.isin(following.day_of_week, weekdays)]
    return following[:steps]
