"""The time axis: regular steps, and the steps that follow the last one."""

from __future__ import annotations

import numpy as np
import pandas as pd


def anchored(frequency: str, first: pd.Timestamp) -> str:
    """Weeks begin on the weekday of the first stamp; months on their first or last day, as the data do."""
    if frequency == "W":
        return f"W-{first:%a}".upper()
    if frequency == "M":
        return "MS" if first.day == 1 else "ME"
    return frequency


def regular(times: pd.DatetimeIndex, frequency: str) -> pd.DatetimeIndex:
    """Every step of `frequency` from the first to the last of `times`. ValueError: unknown frequency."""
    return pd.date_range(times.min(), times.max(), freq=anchored(frequency, times.min()))


def weekdays(times: pd.DatetimeIndex, frequency: str, calendar: str) -> tuple[int, ...]:
    """Weekdays (Monday 0) on which an observed daily axis has steps as a rule; empty elsewhere.

    A weekday with less than a fifth of the steps of the busiest one is an exception, such as the
    two Saturdays a shop opened before Christmas.
    """
    if calendar != "observed" or frequency != "D":
        return ()
    counts = np.bincount(times.day_of_week, minlength=7)
    return tuple(int(day) for day in np.flatnonzero(counts * 5 >= counts.max()))


def closed(times: pd.DatetimeIndex, days: tuple[int, ...]) -> tuple[str, ...] | None:
    """Dates between the first and the last of `times` whose weekday is one of `days`, and that have no step.

    None where they are more than a fifth of such dates: the weekdays do not tell the calendar then.
    """
    usual = _usual(times, days)
    missing = usual[~usual.isin(times.normalize())]
    return tuple(missing.strftime("%Y-%m-%d")) if days and len(missing) * 5 <= len(usual) else None


def opened(times: pd.DatetimeIndex, days: tuple[int, ...], closed: tuple[str, ...]) -> pd.DatetimeIndex:
    """`times` and every date between the first and the last of them on `days` that is not `closed`."""
    usual = _usual(times, days)
    missing = usual[~usual.isin(times.normalize()) & ~usual.isin(pd.DatetimeIndex(closed))]
    return times.union(missing + (times[0] - times[0].normalize()))


def _usual(times: pd.DatetimeIndex, days: tuple[int, ...]) -> pd.DatetimeIndex:
    dates = pd.date_range(times[0].normalize(), times[-1].normalize())
    return dates[np.isin(dates.day_of_week, days)]


def following(last: pd.Timestamp, steps: int, frequency: str, days: tuple[int, ...] = ()) -> pd.DatetimeIndex:
    """The `steps` stamps after `last`, on the given weekdays only where there are any."""
    every = max(1, -(-7 // len(days))) if days else 1
    ahead = pd.date_range(last, periods=(steps + 7) * every + 1, freq=anchored(frequency, last))
    ahead = ahead[ahead > last]
    if days:
        ahead = ahead[np.isin(ahead.day_of_week, days)]
    return ahead[:steps]
