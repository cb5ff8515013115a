"""Decide what the steps of an experiment are: what its file says, checked against the stamps, or else what they say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridcast.config import Data
from gridcast.config.sections import FORMER_CALENDAR, FORMER_FREQUENCY
from gridcast.data import clock_changes, infer_steps
from gridcast.data.infer_steps import MIN_COVERAGE, Spacing
from gridcast.runtime import local_time, time_axis
from gridcast.runtime.errors import ConfigError
from gridcast.runtime.frequencies import DAY_SECONDS, WEEKDAYS, months_per_step, parts, seconds_per_step
from gridcast.runtime.step_rule import DAY, FIRST_BUSINESS_DAY, LAST_BUSINESS_DAY, StepRule, steps_after

MIN_CHECKED_STAMPS = 4
"""Stamps that can contradict a frequency: fewer may lie on the steps of another by chance."""
COMPARED_STEPS = 30
"""Steps after the last stamp that must be those of former versions for their runs to count as the same."""
WEEKDAY_NAMES = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
MAX_NAMED = 5


@dataclass(frozen=True)
class LearnedSteps:
    """The `rule` of the time axis, and `notes` on what was inferred.

    `fingerprint_text` is empty where versions that inferred nothing had the same steps, so that their runs count.
    """

    rule: StepRule
    notes: tuple[str, ...] = ()
    fingerprint_text: str = ""


def learn_steps(times: pd.DatetimeIndex, data: Data) -> LearnedSteps:
    """Return the steps of a table with the stamps `times`, ascending and unique.

    Raises ConfigError for an unknown frequency, one that contradicts the stamps, and where none is stated or shown.
    """
    spacing = infer_steps.find_spacing(times)
    stated = data.row_frequency
    if stated is not None:
        _check_frequency(times, spacing, stated, data)
    elif spacing is None and len(times) >= infer_steps.MIN_STAMPS:
        raise ConfigError(
            f"data.frequency: cannot be inferred, as the stamps of {data.source} follow no steps "
            f"({_first_stamps(times)}); write it, such as h or D, with data.aggregate (sum, mean or last) to combine "
            "the rows of a step"
        )
    frequency = stated or (spacing.frequency if spacing else FORMER_FREQUENCY)
    rule = _rule(times, frequency, data)
    former = StepRule(
        data.frequency or FORMER_FREQUENCY,
        weekdays=time_axis.usual_weekdays(times, data.frequency or FORMER_FREQUENCY, data.calendar or FORMER_CALENDAR),
    )
    after, as_before = (steps_after(times[-1], COMPARED_STEPS, one) for one in (rule, former))
    is_as_before = rule.frequency == former.frequency and after.equals(as_before)
    return LearnedSteps(rule, _notes(times, rule, data), "" if is_as_before else repr(rule))


def _check_frequency(times: pd.DatetimeIndex, spacing: Spacing | None, frequency: str, data: Data) -> None:
    """Raise ConfigError for an unknown frequency, or one that contradicts the stamps."""
    try:
        stated = Spacing.of_frequency(frequency)
        time_axis.regular_steps(times[:1], StepRule(frequency))
    except ValueError:
        raise ConfigError(f"data.frequency: '{frequency}' is unknown (such as min, 15min, h, D, B, W, M, Q)") from None
    if spacing is None or len(times) < MIN_CHECKED_STAMPS:
        return
    is_filled = data.calendar == "regular" and data.gaps in ("zero", "ffill", "interpolate")
    weekends = float((times.day_of_week >= 5).mean())
    if spacing.days < 0.9 * stated.days:
        remedy = f"write frequency: {spacing.frequency}, leave it out, or combine the rows with data.aggregate"
    elif spacing.days > 1.1 * stated.days and not is_filled:
        remedy = f"write frequency: {spacing.frequency}, or leave it out"
    elif parts(frequency)[1] == "B" and weekends > 0.1:
        remedy = "write frequency: D, or leave it out"
    else:
        return
    shown = f"{len(times):,} stamps from {_stamp_text(times[0])} to {_stamp_text(times[-1])}"
    on_weekends = ", on weekends too" if parts(frequency)[1] == "B" and weekends > 0.1 else ""
    raise ConfigError(
        f"data.frequency: {frequency}, but {data.source} has {spacing.text}{on_weekends} ({shown}, such as "
        f"{_first_stamps(times)}); {remedy}"
    )


def _rule(times: pd.DatetimeIndex, frequency: str, data: Data) -> StepRule:
    """The rule of steps of `frequency`, with the calendar of the experiment file or of the stamps."""
    if months_per_step(frequency) or parts(frequency)[1] == "W":
        return _rule_with_anchor(times, frequency, data)
    calendar, seconds = data.calendar, seconds_per_step(frequency)
    time_zone = data.time_zone or local_time.OWN_OFFSETS
    if not local_time.has_zoned_axis(time_zone, frequency):
        time_zone = local_time.OWN_OFFSETS
    weekdays: tuple[int, ...] = ()
    sessions: tuple[tuple[int, int], ...] = ()
    if frequency in ("D", "B") and calendar != "regular":
        weekdays = _open_weekdays(times, frequency, calendar)
    elif seconds < DAY_SECONDS and calendar != "regular":
        sessions = infer_steps.open_sessions(local_time.wall_clock(times, time_zone), seconds)
        if calendar == "trading" and not sessions:
            raise ConfigError(
                f"data.calendar: trading, but the {len(times):,} stamps of {data.source} do not show at which times of "
                "the week there are steps; give several days, best two weeks, or write calendar: regular"
            )
    if calendar is None:
        calendar = "trading" if sessions or 0 < len(weekdays) < 7 else "regular"
    # A day without a step may be open on an axis that has all seven; business days are a calendar of their own.
    keeps = calendar != "regular" and not (frequency == "B" and calendar == "observed")
    return StepRule(frequency, calendar, weekdays=weekdays if keeps else (), sessions=sessions, time_zone=time_zone)


def _open_weekdays(times: pd.DatetimeIndex, frequency: str, calendar: str | None) -> tuple[int, ...]:
    """The weekdays of a daily axis; all seven where those without stamps are no pattern."""
    if frequency == "B":
        return tuple(range(5))
    if calendar == "observed":
        return time_axis.usual_weekdays(times, frequency, calendar)
    return infer_steps.pattern_of_weekdays(times)


def _rule_with_anchor(times: pd.DatetimeIndex, frequency: str, data: Data) -> StepRule:
    anchor, phase, share = infer_steps.find_anchor(times, frequency)
    is_business = anchor in (FIRST_BUSINESS_DAY, LAST_BUSINESS_DAY)
    _, unit, weekday = parts(frequency)
    if unit == "W" and weekday:
        anchor = weekday
    fits = share >= MIN_COVERAGE
    calendar = data.calendar or ("regular" if fits else "observed")
    if calendar == "trading":
        calendar = "regular"
    loose = is_business or (data.calendar is None and share < 1)
    return StepRule(frequency, calendar, anchor=anchor, phase=phase, loose=loose and calendar == "regular")


def _notes(times: pd.DatetimeIndex, rule: StepRule, data: Data) -> tuple[str, ...]:
    """A sentence on what was inferred, and one on days that are taken as closed."""
    notes = []
    if data.row_frequency is None or data.calendar is None:
        frequency = f"frequency {rule.frequency}" + (", inferred" if data.row_frequency is None else "")
        calendar = f"calendar {rule.calendar}" + (", inferred" if data.calendar is None else "")
        following = steps_after(times[-1], 2, rule)
        ends = pd.DatetimeIndex(times[-1:].append(following))
        if data.time_zone and local_time.has_zoned_axis(data.time_zone, rule.frequency):
            ends = local_time.wall_clock(ends, data.time_zone)
        last, first, second = map(_stamp_text, ends)
        ahead = f"after {last} come {first} and {second}"
        notes.append(f"steps: {describe(rule)} ({frequency}; {calendar}); {ahead}")
    if rule.loose:
        off = times[np.asarray(rule.stamps(rule.periods(times)) != times.to_numpy("datetime64[D]"))]
        if len(off):
            steps = "month" if months_per_step(rule.frequency) else "week"
            notes.append(
                f"{len(off)} stamps not on {_day_text(rule)}, each taken for the step of its {steps}: {_named(off)}"
            )
    if rule.sessions and rule.time_zone == local_time.OWN_OFFSETS:
        notes += filter(None, [clock_changes.explain_shifted_sessions(times)])
    if rule.calendar == "trading":
        closed = _closed_days(times, rule)
        if len(closed):
            is_business = rule.weekdays == tuple(range(5))
            remedy = "write data.calendar: regular with frequency: B" if is_business else "add them"
            counted = f"{len(closed)} {'day' if len(closed) == 1 else 'days'}"
            notes.append(f"{counted} without a row taken as closed: {_named(closed)}; if rows are missing, {remedy}")
    return tuple(notes)


def describe(rule: StepRule) -> str:
    """Return the rule in words, such as `one row a month, on the last business day`."""
    text = Spacing.of_frequency(rule.frequency).text
    if rule.anchor:
        return f"{text}, on {_day_text(rule)}"
    if rule.sessions:
        first, last = rule.sessions[0]
        days = tuple(dict.fromkeys(start // DAY_SECONDS for start, _ in rule.sessions))
        return f"{text}, on {_days_text(days)}, from {_clock(first)} to {_clock(last)} on the first of them"
    return f"{text}, on {_days_text(rule.weekdays)}" if 0 < len(rule.weekdays) < 7 else text


def _day_text(rule: StepRule) -> str:
    """The day of a rule with an anchor, such as `Fridays` or `the last day of the month`."""
    if not months_per_step(rule.frequency):
        return WEEKDAY_NAMES[WEEKDAYS.index(rule.anchor)]
    ordinal, _, weekday = rule.anchor.partition(" ")
    if rule.anchor.startswith(DAY):
        return f"{rule.anchor} of the month"
    named = f"{ordinal} {WEEKDAY_NAMES[WEEKDAYS.index(weekday)][:-1]}" if weekday in WEEKDAYS else rule.anchor
    return f"the {named} of the month"


def _days_text(days: tuple[int, ...]) -> str:
    if len(days) > 2 and days == tuple(range(days[0], days[-1] + 1)):
        return f"{WEEKDAY_NAMES[days[0]]} to {WEEKDAY_NAMES[days[-1]]}"
    return ", ".join(WEEKDAY_NAMES[day] for day in days)


def _clock(seconds: int) -> str:
    minutes = seconds % DAY_SECONDS // 60
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _closed_days(times: pd.DatetimeIndex, rule: StepRule) -> pd.DatetimeIndex:
    """The open days of the week without a stamp that the axis leaves out."""
    expected = time_axis.local_days(time_axis.open_times(times[0], times[-1], rule), rule).unique()
    return expected[~expected.isin(time_axis.local_days(time_axis.trading_steps(times, rule), rule))]


def _named(times: pd.DatetimeIndex) -> str:
    more = f" and {len(times) - MAX_NAMED} more" if len(times) > MAX_NAMED else ""
    return ", ".join(map(_stamp_text, times[:MAX_NAMED])) + more


def _first_stamps(times: pd.DatetimeIndex) -> str:
    return ", ".join(map(_stamp_text, times[:3]))


def _stamp_text(stamp: pd.Timestamp) -> str:
    return f"{stamp}".removesuffix(" 00:00:00")
