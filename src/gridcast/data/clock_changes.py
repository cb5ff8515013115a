"""Clock changes that explain a missing or repeated hour in stamps without an offset from UTC."""

from __future__ import annotations

import numpy as np
import pandas as pd

ZONES = (
    "Europe/Berlin",
    "Europe/London",
    "Europe/Athens",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Mexico_City",
    "Australia/Sydney",
    "Pacific/Auckland",
    "Asia/Jerusalem",
    "Africa/Cairo",
)
"""Zones, one for each of the usual times of a clock change, that are looked up."""

MIN_SHIFTED = 0.1
"""Share of the days that begin an hour off for it to be no exception."""


def zone_that_skips(time: pd.Timestamp) -> str | None:
    """Return a time zone in which clocks skipped the local `time`, None if no usual one did."""
    found = (zone for zone in ZONES if pd.isna(time.tz_localize(zone, ambiguous=True, nonexistent="NaT")))
    return next(found, None)


def zone_that_repeats(time: pd.Timestamp) -> str | None:
    """Return a time zone in which the local `time` occurred twice, None if it did in no usual one."""
    found = (zone for zone in ZONES if pd.isna(time.tz_localize(zone, nonexistent="shift_forward", ambiguous="NaT")))
    return next(found, None)


def explain_repeated(times: pd.DatetimeIndex) -> str:
    """Return a part of a sentence on rows at `times`, finer than days, that repeat others, if clocks explain it.

    A table whose clock was put back by hand, or by a device, has an hour twice on any day.
    """
    hours = times.floor("h").unique()
    zone = zone_that_repeats(hours[0])
    if zone is not None and all(zone_that_repeats(hour) for hour in hours):
        shown = f": the hour from {hours[0]} on is there twice, as clocks are put back then in {zone}"
        return f"{shown}: if the stamps are local times there, write data.time_zone: {zone}"
    if len(hours) > 1 or len(times.unique()) == 1:
        return ""
    return f": the hour from {hours[0]} on is there twice, as where a clock is put back"


def explain_missing(time: pd.Timestamp) -> str:
    """Return a part of a sentence on a missing row at `time`, if clocks are put forward then, else nothing."""
    zone = zone_that_skips(time)
    if zone is None:
        return ""
    return f"; clocks are put forward then in {zone}: if the stamps are local times there, write data.time_zone: {zone}"


def explain_shifted_sessions(times: pd.DatetimeIndex) -> str | None:
    """Return a warning where sessions begin an hour earlier or later from some day on, as in UTC over a clock change.

    `times` are the stamps of an axis with sessions, ascending; None where most days begin at the same time.
    """
    begins = pd.Series(times - times.normalize(), index=times.normalize()).groupby(level=0).min()
    usual = begins.value_counts().index[:2]
    if len(usual) < 2 or abs(usual[0] - usual[1]) != pd.Timedelta(hours=1):
        return None
    begins = begins[begins.isin(usual)]
    is_changed = begins != begins.iloc[0]
    if is_changed.mean() < MIN_SHIFTED or (~is_changed).mean() < MIN_SHIFTED:
        return None
    changed = int(np.argmax(is_changed.to_numpy()))
    day = pd.DatetimeIndex(begins.index)[changed]
    week = (day - pd.Timedelta(days=7), day)
    zones = [zone for zone in ZONES if len({time.tz_localize(zone).utcoffset() for time in week}) == 2]
    if not zones:
        return None
    before, after = (str(time).split()[-1][:5] for time in begins.iloc[[0, changed]])
    return (
        f"warning: days begin at {before} before {day:%Y-%m-%d}, and at {after} from then on; if that is a clock "
        f"change, as in {zones[0]}, the stamps are not local times: give them with their offset from UTC, and write "
        f"data.time_zone: {zones[0]}"
    )
