"""Infer the steps of a table from its stamps: how far apart they are, on which days and at which hours they fall."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridcast.runtime.frequencies import DAY_SECONDS, WEEK_SECONDS, WEEKDAYS, months_per_step, parts, seconds_per_step
from gridcast.runtime.step_rule import (
    DAY,
    FIRST_BUSINESS_DAY,
    FIRST_DAY,
    LAST_BUSINESS_DAY,
    LAST_DAY,
    ORDINALS,
    anchor_days,
)

MIN_STAMPS = 3
"""Stamps that show a spacing: two may be any distance apart by chance."""
NEARLY_ALL = 0.95
"""Share of stamps that must follow a rule for it to be theirs."""
MIN_COVERAGE = 0.8
"""Share of its open times at which an axis must have steps for its closed times to be a pattern."""
RARE = 5
"""A time of the week with less than one `RARE`-th of the steps of the busiest is an exception."""
DAYS_OF_TWO_WEEKS = 14
WEEKS_FOR_HOURS = 8
"""Weeks that show at which hours each single weekday is open; shorter axes have the same hours on every open day."""


@dataclass(frozen=True)
class Spacing:
    """The usual distance between stamps: a number of `months`, or else of `seconds`."""

    months: int = 0
    seconds: float = 0.0

    @classmethod
    def of_frequency(cls, frequency: str) -> Spacing:
        """Return the spacing of the steps of `frequency`. Raises ValueError for an unknown one."""
        return cls(months_per_step(frequency), seconds_per_step(frequency))

    @property
    def frequency(self) -> str:
        """The alias of the frequency."""
        if self.months:
            units = ((12, "Y"), (3, "Q"), (1, "M"))
            count, unit = next((self.months // size, unit) for size, unit in units if self.months % size == 0)
            return f"{self.months}M" if unit == "Q" and count > 1 else _counted(count, unit)
        for size, unit in ((WEEK_SECONDS, "W"), (DAY_SECONDS, "D"), (3600, "h"), (60, "min"), (1, "s"), (0.001, "ms")):
            if self.seconds % size == 0:
                return _counted(int(self.seconds // size), unit)
        return _counted(round(self.seconds * 1e6), "us")

    @property
    def days(self) -> float:
        """The length in days, of months on average."""
        return self.months * 365.25 / 12 if self.months else self.seconds / DAY_SECONDS

    @property
    def text(self) -> str:
        """The spacing in words, such as `one row every 15 minutes`."""
        for size, name in ((12, "year"), (3, "quarter"), (1, "month")):
            if self.months and self.months % size == 0:
                return _every(self.months // size, name)
        for seconds, name in ((WEEK_SECONDS, "week"), (DAY_SECONDS, "day"), (3600, "hour"), (60, "minute")):
            if self.seconds % seconds == 0:
                return _every(int(self.seconds // seconds), name)
        return f"one row every {self.seconds:g} seconds"


def _counted(count: int, unit: str) -> str:
    return unit if count == 1 else f"{count}{unit}"


def _every(count: int, unit: str) -> str:
    return f"one row a{'n' if unit == 'hour' else ''} {unit}" if count == 1 else f"one row every {count} {unit}s"


def find_spacing(times: pd.DatetimeIndex) -> Spacing | None:
    """Return the usual distance of the stamps `times`, ascending and unique; None where they follow none."""
    if len(times) < MIN_STAMPS:
        return None
    stamps = times.to_numpy("datetime64[us]").astype(np.int64)
    day = DAY_SECONDS * 10**6
    _, counts = np.unique(stamps % day, return_counts=True)
    if counts.max() >= NEARLY_ALL * len(stamps):
        return _spacing_of_days(np.unique(stamps // day))
    differences = np.diff(stamps)
    usual = _most_frequent(differences)
    multiples = (differences % usual == 0).mean()
    if usual % day == 0 and multiples >= 0.9:  # days whose time moves, such as midnight in UTC over a clock change
        return Spacing(seconds=usual / 10**6)
    # Sessions may begin at times that are no whole number of steps apart, such as after a break for lunch.
    repeats = len(counts) <= 1.5 * day / usual and len(stamps) >= 4 * len(counts)
    if (differences == usual).mean() >= 0.3 and (multiples >= 0.98 or repeats):
        return Spacing(seconds=usual / 10**6)
    return None


def _spacing_of_days(days: np.ndarray) -> Spacing | None:
    """The spacing of dates, counted from 1970, ascending and unique."""
    if len(days) < MIN_STAMPS:
        return None
    differences = np.diff(days)
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    weeks, weekdays = (days + 3) // 7, (days + 3) % 7
    same_weekday = np.bincount(weekdays).max() >= MIN_COVERAGE * len(days)
    median = float(np.median(differences))
    if median >= 27 and _is_unique(months) and not (same_weekday and (differences % 28 == 0).all()):
        return Spacing(months=_step_of(np.diff(np.unique(months))))
    if median >= 5 and same_weekday and _is_unique(weeks):
        return Spacing(seconds=float(WEEK_SECONDS * _step_of(np.diff(np.unique(weeks)))))
    usual = _most_frequent(differences)
    is_multiple = usual > 1 and (differences % usual == 0).mean() >= NEARLY_ALL
    return Spacing(seconds=float(DAY_SECONDS * (usual if is_multiple else 1)))


def _is_unique(values: np.ndarray) -> bool:
    return bool(len(np.unique(values)) >= 0.98 * len(values))


def _step_of(differences: np.ndarray) -> int:
    """The most frequent of `differences`, if nearly all are its multiples, else what all are multiples of."""
    usual = _most_frequent(differences)
    return usual if (differences % usual == 0).mean() >= NEARLY_ALL else int(np.gcd.reduce(differences))


def _most_frequent(values: np.ndarray) -> int:
    different, counts = np.unique(values, return_counts=True)
    return int(different[np.argmax(counts)])


def find_anchor(times: pd.DatetimeIndex, frequency: str) -> tuple[str, int, float]:
    """Return anchor and phase of stamps of months or weeks, see `StepRule`, and the share of stamps that they fit."""
    months = months_per_step(frequency)
    days = times.to_numpy("datetime64[D]")
    if not months:
        weekdays = (days.astype(np.int64) + 3) % 7
        anchor = int(np.bincount(weekdays).argmax())
        weeks = (days.astype(np.int64) + 3) // 7
        return WEEKDAYS[anchor], _phase(weeks, parts(frequency)[0]), float((weekdays == anchor).mean())
    numbers = days.astype("datetime64[M]").astype(np.int64)
    shares = {anchor: float((anchor_days(numbers, anchor) == days).mean()) for anchor in _anchors(times)}
    best = max(shares, key=shares.__getitem__)  # of equal ones the first
    return best, _phase(numbers, months), shares[best]


def _anchors(times: pd.DatetimeIndex) -> list[str]:
    """The anchors that stamps of months may have, the usual ones first."""
    weekday = WEEKDAYS[int(np.bincount(times.day_of_week).argmax())]
    typical = round(float(np.median(times.day)))  # where no anchor fits, some day in the middle of them
    days = [*sorted({int(times.day.max()), *times.day.value_counts().index[:1]}), typical]
    business = [LAST_BUSINESS_DAY, FIRST_BUSINESS_DAY]
    return [FIRST_DAY, LAST_DAY, *(f"{DAY}{day}" for day in days), *business, *(f"{o} {weekday}" for o in ORDINALS)]


def _phase(units: np.ndarray, cycle: int) -> int:
    return int(np.bincount(units % cycle).argmax()) if cycle > 1 else 0


def open_weekdays(times: pd.DatetimeIndex, unseen: Iterable[int] = range(5)) -> tuple[int, ...]:
    """Return the weekdays (Monday 0) on which there usually are stamps.

    Within less than two weeks a weekday without a stamp is closed if the stamps pass over it; of those before the first
    and after the last stamp, the `unseen` ones count as open.
    """
    counts = np.bincount(times.normalize().unique().day_of_week, minlength=7)
    usual = {int(day) for day in np.flatnonzero(counts * RARE >= counts.max())}
    if (times[-1] - times[0]).days < DAYS_OF_TWO_WEEKS:
        passed = set(pd.date_range(times[0].normalize(), times[-1].normalize()).day_of_week)
        usual |= set(unseen) - passed
    return tuple(sorted(usual))


def open_sessions(times: pd.DatetimeIndex, step: float) -> tuple[tuple[int, int], ...]:
    """Return the times of the week at which there usually are stamps, `step` seconds apart; empty if there always are.

    Each pair holds the first and the last step of a session, in seconds from Monday 00:00. Empty too where the open
    times have too few stamps for a pattern.
    """
    seconds = (times - times.normalize()).total_seconds().to_numpy()
    hours, counts = np.unique(seconds, return_counts=True)
    hours = hours[counts * RARE >= counts.max()]
    has_breaks = len(times) < round((times[-1] - times[0]).total_seconds() / step) + 1
    if not has_breaks or times[-1].normalize() - times[0].normalize() < pd.Timedelta(days=2):
        return ()  # no closed time was passed, or not often enough
    weekdays = open_weekdays(times, range(7 if len(hours) * step >= DAY_SECONDS else 5))
    if (times[-1] - times[0]).days >= WEEKS_FOR_HOURS * 7:
        in_week, counts = np.unique(times.day_of_week.to_numpy() * DAY_SECONDS + seconds, return_counts=True)
        in_week = in_week[counts * RARE >= counts.max()]
    else:
        in_week = (np.array(weekdays)[:, None] * DAY_SECONDS + hours).ravel()
    weeks = (times[-1] - times[0]).total_seconds() / WEEK_SECONDS
    is_always_open = len(in_week) >= int(WEEK_SECONDS // step)
    if is_always_open or len(times) < MIN_COVERAGE * weeks * len(in_week) or (in_week % 1).any():
        return ()
    breaks = np.flatnonzero(np.abs(np.diff(in_week) - step) > 1e-3)
    firsts, lasts = in_week[np.r_[0, breaks + 1]], in_week[np.r_[breaks, len(in_week) - 1]]
    return tuple((int(first), int(last)) for first, last in zip(firsts, lasts, strict=True))


def has_closed_times(times: pd.DatetimeIndex, frequency: str) -> bool:
    """Whether stamps of steps up to a day lie at certain times of the week only."""
    if months_per_step(frequency) or seconds_per_step(frequency) > DAY_SECONDS:
        return False
    if seconds_per_step(frequency) == DAY_SECONDS:
        return len(pattern_of_weekdays(times)) < 7
    return bool(open_sessions(times, seconds_per_step(frequency)))


def pattern_of_weekdays(times: pd.DatetimeIndex) -> tuple[int, ...]:
    """Return the open weekdays of a daily axis; all seven where too many of them have no stamp for a pattern."""
    weekdays = open_weekdays(times)
    expected = np.isin(pd.date_range(times[0].normalize(), times[-1].normalize()).day_of_week, weekdays).sum()
    is_pattern = np.isin(times.day_of_week, weekdays).sum() >= MIN_COVERAGE * expected
    return weekdays if is_pattern else tuple(range(7))
