"""Holidays and events, looked up once: a model in use carries their days and needs no package or file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pandas as pd

from gridcast.data import small_csv
from gridcast.runtime import calendar_features
from gridcast.runtime.calendar_features import EVENTS, HOLIDAYS, MarkedDays
from gridcast.runtime.errors import ConfigError, DataError, suggest

YEARS_AHEAD = 10
"""Years beyond the last of the data for which holidays are looked up."""


def find_marked_days(names: tuple[str, ...], times: pd.DatetimeIndex) -> tuple[MarkedDays, ...]:
    """Return the days that `holidays:` and `events:` among the covariates `names` mark, on the axis `times` and beyond.

    Raises ConfigError for an unknown country, DataError for an event file that cannot be used.
    """
    marked_days = []
    for name in dict.fromkeys(names):
        if name.startswith(HOLIDAYS):
            marked_days.append(_public_holidays(name, times[0].year, times[-1].year + YEARS_AHEAD))
        elif name.startswith(EVENTS):
            marked_days.append(_events(name))
    return tuple(marked_days)


def coverage_notes(marked_days: Sequence[MarkedDays], training_times: pd.DatetimeIndex, frequency: str) -> list[str]:
    """Return notes on how far ahead the days are known, and warnings about those that mark no step of training."""
    notes = [
        f"{days.name}: known up to {days.known_span[1]}; forecasts beyond need a new training"
        for days in marked_days
        if days.known_span
    ]
    names = [days.name for days in marked_days]
    marks = calendar_features.calendar_channels(training_times, names, frequency, marked_days)
    labels = calendar_features.calendar_channel_names(names, marked_days)
    return notes + [
        f"warning: {label}: marks no step of the training span, so that nothing is learned about it"
        for channel, label in enumerate(labels)
        if not marks[:, channel].any()
    ]


def _public_holidays(name: str, first_year: int, last_year: int) -> MarkedDays:
    """Public holidays of a country, `holidays:GB`, or of a part of it, `holidays:GB-ENG`, by their ISO 3166 codes."""
    import holidays

    country, _, part = name.removeprefix(HOLIDAYS).partition("-")
    countries = holidays.list_supported_countries()
    if country not in countries:
        raise ConfigError(
            f"data.future: '{name}': unknown country '{country}'{suggest(country, countries)} "
            "(ISO 3166 codes, such as GB, DE, US, or GB-ENG for a part of a country)"
        )
    if part and part not in countries[country]:
        raise ConfigError(
            f"data.future: '{name}': unknown part '{part}' of {country}{suggest(part, countries[country])} "
            f"(known: {', '.join(countries[country]) or 'none'})"
        )
    dates = holidays.country_holidays(country, subdiv=part or None, years=range(first_year, last_year + 1))
    events = tuple((str(date), str(date)) for date in sorted(dates))
    return MarkedDays(name, (name,), (events,), (f"{first_year}-01-01", f"{last_year}-12-31"))


def _events(name: str) -> MarkedDays:
    """Events of a CSV file with the column `date`, and optionally `end` and `name`: one channel for each name."""
    path = name.removeprefix(EVENTS)
    spans_by_event: dict[str, list[tuple[str, str]]] = {}
    faults = []
    for line, row in small_csv.read_rows(path, f"data.future: '{name}'", ["date"]):
        try:
            event, span = _event(row)
            spans_by_event.setdefault(event, []).append(span)
        except ValueError as fault:
            faults.append(f"{path}, line {line}, {fault}")
    if faults:
        raise DataError("\n".join(faults))
    if not spans_by_event:
        raise DataError(f"{path}: no events; add lines such as 2011-12-31, or leave '{name}' out")
    events = sorted(spans_by_event)
    labels = tuple(f"{name}:{event}" if event else name for event in events)
    return MarkedDays(name, labels, tuple(tuple(sorted(spans_by_event[event])) for event in events))


def _event(row: dict[str, str]) -> tuple[str, tuple[str, str]]:
    """Name, and first and last day, of the event in `row`. Raises ValueError with column, value and remedy."""
    days = {}
    for column in ("date", "end"):
        value = row.get(column) or row["date"]
        try:
            days[column] = str(dt.date.fromisoformat(value))
        except ValueError:
            shown = f"'{value}'" if value else "empty"
            raise ValueError(f"column '{column}': {shown} is not a date; write it as 2011-12-31") from None
    if days["end"] < days["date"]:
        raise ValueError(
            f"column 'end': '{days['end']}' is before '{days['date']}'; let an event end on its date or later"
        )
    if row.get("name") == "":
        raise ValueError("column 'name': empty is not a name; fill it in, or leave the column out")
    return row.get("name", ""), (days["date"], days["end"])
