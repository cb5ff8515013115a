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
    return next((zone for zone in ZONES if time.tz_localize(zone, ambiguous=True, nonexistent="NaT") is pd.NaT), None)


def zone_that_repeats(time: pd.Timestamp) -> str | None:
    """Return a time zone in which the local `time` occurred twice, None if it did in no usual one."""
    found = (
        zone
        for zone in ZONES
        if time.tz_localize(zone, nonexistent="shift_forward", ambiguous="NaT") is pd.NaT
    )
    return next(found, None)
