"""The rule that the stamps of a time axis follow: the one successor of a step, in training and in use."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from .frequencies import DAY_SECONDS, WEEK_SECONDS, WEEKDAYS, anchored_frequency, months_per_step, parts
from .local_time import OWN_OFFSETS, from_wall_clock, wall_clock

FIRST_DAY, LAST_DAY = "first day", "last day"
FIRST_BUSINESS_DAY, LAST_BUSINESS_DAY = "first business day", "last business day"
DAY = "day "
"""With a number: that day of the month, or its last where it is shorter."""
ORDINALS = {"1st": 1, "2nd": 2, "3rd": 3, "4th": 4, "last": -1}
"""Before a weekday, such as `3rd FRI`: that one of the month."""


@dataclass(frozen=True)
class StepRule:
    """The stamps that are steps, as learned from the data of training.

    `frequency`: pandas alias of the step. `calendar`: "regular" (every step), "trading" (the steps at open times; whole
    days without one are closed) or "observed" (the steps that the table has). `closed_dates`: dates of training without
    a step though their weekday usually has one; None where each table shows its own.

    `anchor`: the day of the month that stamps of months fall on, or the weekday of weeks; empty for other steps, and in
    former models, where `anchored_frequency` guesses it from a single stamp. `phase`: where the steps of several months
    or weeks stand among these, counted from 1970. `loose`: a stamp on another day is the step of its month or week too,
    such as the last trading day before a holiday.

    `weekdays`: those of a daily axis that lacks some, Monday 0. `sessions`: open times within the week of an axis finer
    than days, as pairs of the first and the last step in seconds from Monday 00:00; empty if it is always open. Where
    the axis is in UTC and a zone is known, they are local times in that `time_zone`.
    """

    frequency: str
    calendar: str = "observed"
    weekdays: tuple[int, ...] = ()
    closed_dates: tuple[str, ...] | None = None
    anchor: str = ""
    phase: int = 0
    loose: bool = False
    sessions: tuple[tuple[int, int], ...] = ()
    time_zone: str = field(default=OWN_OFFSETS, repr=False)

    def periods(self, times: pd.DatetimeIndex) -> np.ndarray:
        """Return the number of the month, week, or multiple of them, that each of `times` (n,) lies in.

        Only for a rule with an anchor.
        """
        cycle = months_per_step(self.frequency) or parts(self.frequency)[0]
        return np.asarray((self._units(times) - self.phase) // cycle)

    def stamps(self, periods: np.ndarray) -> np.ndarray:
        """Return the days (n,), datetime64[D], that stand for these `periods`. Only for a rule with an anchor."""
        months = months_per_step(self.frequency)
        units = periods * (months or parts(self.frequency)[0]) + self.phase
        if months:
            return anchor_days(units, self.anchor)
        return (units * 7 - 3 + WEEKDAYS.index(self.anchor)).astype("datetime64[D]")

    def on_axis(self, times: pd.DatetimeIndex) -> np.ndarray:
        """Return True (n,) where a stamp is that of its period, or a loose one within it. Only with an anchor."""
        anchored = pd.DatetimeIndex(self.stamps(self.periods(times)))
        if self.loose:
            return np.asarray(self._units(anchored) == self._units(times))
        return np.asarray(anchored == times.normalize())

    def _units(self, times: pd.DatetimeIndex) -> np.ndarray:
        """Number (n,) of the month, or of the week from Monday on, of each stamp; those of 1970 begin near 0."""
        if months_per_step(self.frequency):
            return times.to_numpy("datetime64[M]").astype(np.int64)
        return (times.to_numpy("datetime64[D]").astype(np.int64) + 3) // 7

    def open_seconds(self, time_of_day: float = 0.0) -> np.ndarray:
        """Return the steps of a week in seconds from Monday 00:00, those of days at `time_of_day`; empty if always."""
        if not self.sessions:
            return np.array([day * DAY_SECONDS + time_of_day for day in self.weekdays])
        step = _fixed_seconds(self.frequency)
        return np.concatenate([np.arange(first, last + step / 2, step) for first, last in self.sessions])


def anchor_days(months: np.ndarray, anchor: str) -> np.ndarray:
    """Return the day (n,), datetime64[D], of each of `months` (n,), counted from January 1970, that is its `anchor`."""
    first = months.astype("datetime64[M]").astype("datetime64[D]")
    last = (months + 1).astype("datetime64[M]").astype("datetime64[D]") - np.timedelta64(1, "D")
    if anchor == FIRST_DAY:
        return np.asarray(first)
    if anchor == LAST_DAY:
        return np.asarray(last)
    if anchor == FIRST_BUSINESS_DAY:
        return np.asarray(np.busday_offset(first, 0, roll="forward"))
    if anchor == LAST_BUSINESS_DAY:
        return np.asarray(np.busday_offset(last, 0, roll="backward"))
    if anchor.startswith(DAY):
        return np.minimum(first + np.timedelta64(int(anchor.removeprefix(DAY)) - 1, "D"), last)
    ordinal, weekday = anchor.split()
    day = WEEKDAYS.index(weekday)
    if ordinal == "last":
        return np.asarray(last - (_weekdays(last) - day) % 7)
    return np.asarray(first + (day - _weekdays(first)) % 7 + 7 * (ORDINALS[ordinal] - 1))


@functools.lru_cache(maxsize=1024)
def steps_after(last: pd.Timestamp, steps: int, rule: StepRule) -> pd.DatetimeIndex:
    """Return the `steps` stamps that follow `last` by `rule`."""
    time_of_day = last - last.normalize()
    if rule.anchor:
        following = int(rule.periods(pd.DatetimeIndex([last]))[0]) + 1 + np.arange(steps)
        return pd.DatetimeIndex(rule.stamps(following).astype("datetime64[us]")) + time_of_day
    in_week = rule.open_seconds(time_of_day.total_seconds())
    if len(in_week):
        local = wall_clock(pd.DatetimeIndex([last]), rule.time_zone)[0]
        monday = local.normalize() - pd.Timedelta(days=local.day_of_week)
        passed = np.searchsorted(in_week, (local - monday).total_seconds(), side="right")
        # A few more, as an hour that clocks skip falls on the one after it.
        weeks, positions = np.divmod(passed + np.arange(2 * steps), len(in_week))
        seconds = weeks * WEEK_SECONDS + in_week[positions]
        stamps = pd.DatetimeIndex(np.datetime64(monday, "us") + (seconds * 1e6).round().astype("timedelta64[us]"))
        return from_wall_clock(stamps, rule.time_zone).unique()[:steps]
    # A stamp off the rule, such as a Sunday among business days, may or may not be the first.
    stamps = pd.date_range(last, periods=steps + 2, freq=anchored_frequency(rule.frequency, last))
    return stamps[stamps > last][:steps]


def _weekdays(days: np.ndarray) -> np.ndarray:
    return (days.astype(np.int64) + 3) % 7


def _fixed_seconds(frequency: str) -> float:
    count, unit, _ = parts(frequency)
    return pd.Timedelta(f"{count}{unit}").total_seconds()
