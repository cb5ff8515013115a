"""The time axis: regular steps, and the steps that follow the last one."""

from __future__ import annotations

import functools
import re

import numpy as np
import pandas as pd

MONTHS_PER_UNIT = {"M": 1, "Q": 3, "Y": 12}
MAX_CACHED_STEPS = 2000
"""Steps of the longest axis that is remembered: all who ask a service today know the same days."""
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


def anchored_frequency(frequency: str, first: pd.Timestamp) -> str:
    """Weeks begin on the weekday of the first stamp; months, quarters and years on their first or last day, as it."""
    if frequency == "W":
        return f"W-{first:%a}".upper()
    if frequency in MONTHS_PER_UNIT:
        month = "" if frequency == "M" else f"-{first:%b}".upper()
        return f"{frequency}{'S' if first.day == 1 else 'E'}{month}"
    return frequency


def period_start(times: pd.DatetimeIndex, frequency: str) -> pd.DatetimeIndex:
    """Start of the period of `frequency` that each of `times` lies in; weeks begin on Monday, `W-SUN` on Sunday.

    ValueError: a frequency of which a stamp alone does not tell the periods, such as 2W, or whose steps
    are the ends of its periods, such as ME.
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


def period_end(begins: pd.DatetimeIndex, frequency: str) -> pd.DatetimeIndex:
    """The moment after the period of `frequency` that starts at each of `begins`."""
    count, unit, _ = _parts(frequency)
    if unit in MONTHS_PER_UNIT:
        return begins + pd.DateOffset(months=MONTHS_PER_UNIT[unit] * count)
    days = {"D": 1, "B": 1, "W": 7}.get(unit)
    return begins + (pd.Timedelta(days=days * count) if days else pd.Timedelta(f"{count}{unit}"))


def days_of_steps(times: pd.DatetimeIndex, frequency: str) -> tuple[pd.DatetimeIndex, pd.DatetimeIndex]:
    """The first day of each step and the day after its last.

    The day itself for steps of a day and less, the seven days from the stamp on for weeks, and the
    calendar month, quarter or year in which the stamp lies.
    """
    count, unit, _ = _parts(frequency)
    if unit in MONTHS_PER_UNIT:
        first = times.to_period(unit).start_time
        return first, period_end(first, frequency)
    first = times.normalize()
    return first, period_end(first, f"{count}{unit}" if unit in ("D", "W") else "D")


def _parts(frequency: str) -> tuple[int, str, str]:
    """`2W-SUN` -> 2, W, SUN; that a month is told by its first or last day (MS, ME) is left out."""
    found = re.fullmatch(r"(\d*)([A-Za-z]+)(?:-([A-Z]{3}))?", frequency)
    count, unit, anchor = found.groups() if found else (1, frequency, "")
    unit = unit[0] if len(unit) == 2 and unit[0] in MONTHS_PER_UNIT and unit[1] in "SE" else unit
    return int(count or 1), unit, anchor or ""


def regular_steps(times: pd.DatetimeIndex, frequency: str) -> pd.DatetimeIndex:
    """Every step of `frequency` from the first to the last of `times`. ValueError: unknown frequency."""
    return pd.date_range(times.min(), times.max(), freq=anchored_frequency(frequency, times.min()))


def usual_weekdays(times: pd.DatetimeIndex, frequency: str, calendar: str) -> tuple[int, ...]:
    """Weekdays (Monday 0) on which an observed daily axis has steps as a rule; empty elsewhere.

    A weekday with less than a fifth of the steps of the busiest one is an exception, such as the
    two Saturdays a shop opened before Christmas.
    """
    if calendar != "observed" or frequency != "D":
        return ()
    counts = np.bincount(times.day_of_week, minlength=7)
    return tuple(int(day) for day in np.flatnonzero(counts * 5 >= counts.max()))


def closed_dates(times: pd.DatetimeIndex, days: tuple[int, ...]) -> tuple[str, ...] | None:
    """Dates between the first and the last of `times` whose weekday is one of `days`, and that have no step.

    None where they are more than a fifth of such dates: the weekdays do not tell the calendar then.
    """
    usual = _usual(times, days)
    missing = usual[~usual.isin(times.normalize())]
    return tuple(missing.strftime("%Y-%m-%d")) if days and len(missing) * 5 <= len(usual) else None


def with_open_dates(times: pd.DatetimeIndex, days: tuple[int, ...], closed: tuple[str, ...]) -> pd.DatetimeIndex:
    """`times` and every date between the first and the last of them on `days` that is not `closed`."""
    usual = _usual(times, days)
    missing = usual[~usual.isin(times.normalize()) & ~usual.isin(pd.DatetimeIndex(closed))]
    return times.union(missing + (times[0] - times[0].normalize()))


def build_axis(
    seen: np.ndarray,
    steps: int,
    frequency: str,
    calendar: str,
    days: tuple[int, ...] = (),
    closed: tuple[str, ...] | None = None,
) -> tuple[np.ndarray, int]:
    """The axis of a history that was `seen` at these stamps, and `steps` after it; both are datetime64[us], sorted.

    The number tells where the steps after it begin. ValueError: unknown frequency.
    """
    work = _laid if len(seen) <= MAX_CACHED_STEPS else _laid.__wrapped__
    return work(seen.tobytes(), steps, frequency, calendar, days, closed)


@functools.lru_cache(maxsize=256)
def _laid(
    stamps: bytes, steps: int, frequency: str, calendar: str, days: tuple[int, ...], closed: tuple[str, ...] | None
) -> tuple[np.ndarray, int]:
    seen = pd.DatetimeIndex(np.frombuffer(stamps, "datetime64[us]"))
    if calendar == "regular":
        seen = regular_steps(seen, frequency)
    elif closed is not None:
        seen = with_open_dates(seen, days, closed)
    times = seen.append(steps_after(seen[-1], steps, frequency, days)).to_numpy("datetime64[us]")
    times.flags.writeable = False  # it is handed to others too
    return times, len(seen)


def _usual(times: pd.DatetimeIndex, days: tuple[int, ...]) -> pd.DatetimeIndex:
    dates = pd.date_range(times[0].normalize(), times[-1].normalize())
    return dates[np.isin(dates.day_of_week, days)]


@functools.lru_cache(maxsize=1024)
def steps_after(last: pd.Timestamp, steps: int, frequency: str, days: tuple[int, ...] = ()) -> pd.DatetimeIndex:
    """The `steps` stamps after `last`, on the given weekdays only where there are any."""
    every = max(1, -(-7 // len(days))) if days else 1
    ahead = pd.date_range(last, periods=(steps + 7) * every + 1, freq=anchored_frequency(frequency, last))
    ahead = ahead[ahead > last]
    if days:
        ahead = ahead[np.isin(ahead.day_of_week, days)]
    return ahead[:steps]
