"""The names of steps: counts, units and anchors in aliases such as `D`, `15min`, `2W`, `QE-JAN`."""

from __future__ import annotations

import re

import pandas as pd

MONTHS_PER_UNIT = {"M": 1, "Q": 3, "Y": 12}
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
DAY_SECONDS = 86400
WEEK_SECONDS = 7 * DAY_SECONDS
MAX_STEP_DAYS = 36_500
"""Length of the longest step that makes sense."""


def parts(frequency: str) -> tuple[int, str, str]:
    """Count, unit and anchor: `2W-SUN` -> 2, W, SUN. `MS`, `ME` and `BME` (days of a month) have the unit M."""
    match = re.fullmatch(r"(\d*)([A-Za-z]+)(?:-([A-Z]{3}))?", frequency)
    count, unit, anchor = match.groups() if match else (1, frequency, "")
    of_months = re.fullmatch(r"B?([MQY])[SE]", unit)
    return int(count or 1), of_months[1] if of_months else unit, anchor or ""


def is_possible(frequency: str) -> bool:
    """Whether `frequency` may be the name of a step longer than 0 and not longer than MAX_STEP_DAYS.

    False for a sign, a fraction, or other characters than letters and digits; a name that is unknown may be possible.
    """
    match = re.fullmatch(r"([0-9]{0,12})[A-Za-z]+(-[A-Za-z0-9]+)?", frequency)
    if match is None or match[1].strip("0") == "" != match[1]:
        return False
    months = months_per_step(frequency)
    try:
        days = months * 30 if months else seconds_per_step(frequency) / DAY_SECONDS
    except ValueError:  # a name that is unknown, or longer than a Timedelta
        return len(match[1]) <= len(str(MAX_STEP_DAYS))
    return days <= MAX_STEP_DAYS


def months_per_step(frequency: str) -> int:
    """Return the months of a step, 0 for a frequency that does not count months."""
    count, unit, _ = parts(frequency)
    return MONTHS_PER_UNIT.get(unit, 0) * count


def seconds_per_step(frequency: str) -> float:
    """Return the seconds of a step, of a day for business days; 0 for a frequency that counts months.

    Raises ValueError for an unknown frequency.
    """
    count, unit, _ = parts(frequency)
    if unit in MONTHS_PER_UNIT:
        return 0.0
    days = {"D": 1, "B": 1, "W": 7}.get(unit)
    return float(days * count * DAY_SECONDS if days else pd.Timedelta(f"{count}{unit}").total_seconds())


def is_day_or_longer(frequency: str) -> bool:
    """Whether a step is at least a day, so that stamps name days. Raises ValueError for an unknown frequency."""
    return months_per_step(frequency) > 0 or seconds_per_step(frequency) >= DAY_SECONDS


def anchored_frequency(frequency: str, first: pd.Timestamp) -> str:
    """Return the pandas alias of `frequency` that is in phase with the stamp `first`.

    Weeks start on its weekday; months, quarters and years are stamped with their first day if it is one, else with
    their last. This is all that models of version 0.2.0 and before know of their stamps.
    """
    if frequency == "W":
        return f"W-{first:%a}".upper()
    if frequency in MONTHS_PER_UNIT:
        month = "" if frequency == "M" else f"-{first:%b}".upper()
        return f"{frequency}{'S' if first.day == 1 else 'E'}{month}"
    return frequency
