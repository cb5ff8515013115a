"""Clock changes that explain a missing or repeated hour in stamps without an offset from UTC."""

from __future__ import annotations

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
