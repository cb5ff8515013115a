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
    """Return the days that the `holidays:` and `events:` of `names` mark, on the axis of `times` and beyond.

    Raises ConfigError for an unknown country, DataError for an event file that cannot be used.
    """
    found = []
    for name in dict.fromkeys(names):
        if name.startswith(HOLIDAYS):
            found.append(_holidays(name, times[0].year, times[-1].year + YEARS_AHEAD))
        elif name.startswith(EVENTS):
            found.append(_events(name))
    return tuple(found)


def coverage_notes(found: Sequence[MarkedDays], training: pd.DatetimeIndex, frequency: str) -> list[str]:
    """Notes on how far each of `found` is known, and on what marks no step of the `training` span."""
    notes = [
        f"{one.name}: known to {one.known_span[1]}, forecasts beyond need a new training"
        for one in found
        if one.known_span
    ]
    names = [one.name for one in found]
    marks = calendar_features.calendar_channels(training, names, frequency, found)
    return notes + [
        f"warning: {label}: on no step of the training span, so that nothing is learned of it"
        for channel, label in enumerate(calendar_features.calendar_channel_names(names, found))
        if not marks[:, channel].any()
    ]


def _holidays(name: str, first: int, last: int) -> MarkedDays:
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
    days = holidays.country_holidays(country, subdiv=part or None, years=range(first, last + 1))
    marked = tuple((str(day), str(day)) for day in sorted(days))
    return MarkedDays(name, (name,), (marked,), (f"{first}-01-01", f"{last}-12-31"))


def _events(name: str) -> MarkedDays:
    """Events of a CSV file with the column `date`, and `end` and `name` if there are such: one channel per name."""
    path = name.removeprefix(EVENTS)
    found: dict[str, list[tuple[str, str]]] = {}
    faults = []
    for line, row in small_csv.read_rows(path, f"data.future: '{name}'", ["date"]):
        try:
            event, days = _event(row)
            found.setdefault(event, []).append(days)
        except ValueError as fault:
            faults.append(f"{path}, line {line}, {fault}")
    if faults:
        raise DataError("\n".join(faults))
    if not found:
        raise DataError(f"{path}: no events; add lines such as 2011-12-31, or leave '{name}' out")
    labels = tuple(f"{name}:{event}" if event else name for event in sorted(found))
    return MarkedDays(name, labels, tuple(tuple(sorted(found[event])) for event in sorted(found)))


def _event(row: dict[str, str]) -> tuple[str, tuple[str, str]]:
    """Name, and first and last day, of the event in `row`. ValueError: column, value and remedy."""
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
