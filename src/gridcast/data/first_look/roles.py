"""The role of each column of an unknown table: time, series, target, sensors, labels, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gridcast.data import layout
from gridcast.data.first_look import keys, names
from gridcast.data.first_look.columns import ColumnFacts, missing_words
from gridcast.data.first_look.open_table import OpenedTable
from gridcast.data.first_look.period_columns import numbered_columns
from gridcast.data.first_look.time_column import IN_TEXTS, check_clock, time_column, typical_step
from gridcast.data.first_look.wishes import Wishes
from gridcast.runtime.errors import DataError, suggest
from gridcast.runtime.frequencies import DAY_SECONDS

MANY_COLUMNS = 3
"""Columns of numbers from which those without a telling name are series, each of them."""


@dataclass(frozen=True)
class Roles:
    """The `task`, and the keys of `data` that name columns, with the reason of each.

    `others` are the columns of numbers without a role, `texts` those of text. `doubts` are choices that a person
    should look at.
    """

    task: str
    data: Mapping[str, Any]
    reasons: Mapping[str, str]
    others: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    repeated: float = 0.0
    missing: tuple[str, ...] = field(default=())


def assign_roles(
    table: OpenedTable, facts: Mapping[str, ColumnFacts], wishes: Wishes, periods: tuple[str, ...] = ()
) -> Roles:
    """Return the roles of the columns of `table`, of which `periods` are no columns of facts.

    Raises DataError where there is no column of times or of values.
    """
    _check_stated(table, wishes)
    if periods:
        return _roles_of_periods(table, facts, wishes, periods)
    time, why = time_column(table, facts, wishes)
    check_clock(table, facts, time)
    known = {"time": time}
    if facts[time].kind == "number" and (unit := facts[time].stamps) not in (None, *IN_TEXTS):
        known["time_unit"] = str(unit)
    reasons = {"time": why, "time_unit": "the stamps are numbers, which are dates in this unit"}
    if known.get("time_unit") == "excel":
        reasons["time_unit"] = "days as Excel counts them from 1900 on; CHECK: workbooks of old Macs count from 1904"
    if wishes.series is None:
        found = keys.find_keys(table.raw.rows, time, facts)
    else:
        found = keys.SeriesKeys(wishes.series, 0.0)
    numbers = _numbers(facts, {time, *found.columns})
    return _roles_of_rows(table, facts, wishes, _Columns(known, reasons, found, numbers))


@dataclass(frozen=True)
class _Columns:
    """The decided keys of data with their reasons, the columns of series, and those of numbers that are left."""

    known: Mapping[str, Any]
    reasons: Mapping[str, str]
    keys: keys.SeriesKeys
    numbers: tuple[str, ...]

    @property
    def time(self) -> str:
        return str(self.known["time"])


def _roles_of_rows(table: OpenedTable, facts: Mapping[str, ColumnFacts], wishes: Wishes, columns: _Columns) -> Roles:
    """The roles in a table with a column of time stamps."""
    step = typical_step(table.raw.rows[columns.time], facts[columns.time])
    is_fine = step < DAY_SECONDS
    labels = [name for name in columns.numbers if facts[name].is_flag and names.is_about(name, names.LABELS)]
    values = tuple(name for name in columns.numbers if name not in labels)
    target = wishes.target or _named_target(values, whole=step < 3600)
    wants_forecast = wishes.task not in (None, "anomaly") or wishes.target is not None
    is_bare = not columns.keys.columns
    if not wants_forecast and len(values) == 1 and len(columns.keys.columns) == 1:
        (tag,) = columns.keys.columns
        if wishes.task == "anomaly" or (names.is_about(tag, names.TAGS) and is_fine):
            return _roles_of_readings(facts, columns, tag, values[0])
    if wishes.task == "anomaly" and not (is_bare and values):
        raise DataError(
            f"--task: anomaly needs a column of numbers for each sensor, or a row for each reading of one; "
            f"{table.paths[0]} has series in {layout.listed(columns.keys.columns) or 'no column'} and the numbers "
            f"{layout.listed(values) or 'nowhere'}"
        )
    if not wants_forecast and is_bare and len(values) > 0:
        is_sensors = bool(labels) or (target is None and is_fine and len(values) > 1)
        if is_sensors or wishes.task == "anomaly":
            return _roles_of_sensors(facts, columns, labels)
    if not values and wishes.target is None:
        return _without_values(table, facts, wishes, columns)
    if target is None and is_bare and len(values) >= MANY_COLUMNS and _are_alike(values, facts):
        return _roles_of_series_columns(table, facts, wishes, columns, values)
    return _roles_of_target(facts, wishes, columns, target)


def _roles_of_target(facts: Mapping[str, ColumnFacts], wishes: Wishes, columns: _Columns, target: str | None) -> Roles:
    doubts, reasons = [], dict(columns.reasons)
    usable = columns.numbers
    plain = [name for name in usable if not facts[name].is_flag and not names.is_about(name, names.NOT_TARGETS)]
    if wishes.target is not None:
        chosen, reasons["target"] = wishes.target, "as stated"
    elif target is not None:
        chosen, reasons["target"] = target, "named like one"
        if len(usable) == 1:
            reasons["target"] = "the only column of numbers"
    else:
        chosen = (plain or list(usable))[0]
        is_only = len(usable) == 1
        reasons["target"] = "the only column of numbers" if is_only else "the first column of numbers: none is named"
        if not is_only:
            rest = ", ".join(name for name in usable if name != chosen)
            doubts.append(f"no column is named like a target: '{chosen}' is taken; others: {rest} (--target)")
    others = tuple(name for name in usable if name != chosen)
    if others and wishes.target is None and target is not None:
        reasons["target"] += "; --target chooses another"
    data = dict(columns.known) | {"target": chosen}
    if columns.keys.columns:
        data["series"] = list(columns.keys.columns)
        times = "each stamp occurs once in it" if not columns.keys.repeated else "the columns that name series"
        reasons["series"] = "as stated" if wishes.series is not None else times
    return Roles(
        wishes.task or "forecast",
        data,
        reasons,
        others,
        _texts(facts, {columns.time, *columns.keys.columns}),
        tuple(doubts),
        columns.keys.repeated,
        _missing(facts, [chosen]),
    )


def _roles_of_sensors(facts: Mapping[str, ColumnFacts], columns: _Columns, labels: list[str]) -> Roles:
    flags = [
        name
        for name in columns.numbers
        if name not in labels[:1]
        and (facts[name].is_flag or facts[name].is_counter or names.is_about(name, names.NOT_SENSORS))
    ]
    sensors = [name for name in columns.numbers if name not in (*labels, *flags)] or flags
    data = dict(columns.known) | {"sensors": sensors}
    reasons = dict(columns.reasons) | {"sensors": "all columns of numbers"}
    left = [name for name in flags if name not in sensors]
    if left:
        reasons["sensors"] = (
            f"all columns of numbers except {', '.join(left)} (flags, counters, codes); add those that are sensors"
        )
    if labels:
        data["labels"] = labels[0]
        reasons["labels"] = "1 where a step is anomalous; only the test reads it"
    task = "a column of labels" if labels else "sensors, and no column is named like a target (--target: forecasts)"
    reasons["task"] = task
    texts = _texts(facts, {columns.time})
    return Roles("anomaly", data, reasons, (), texts, (), columns.keys.repeated, _missing(facts, sensors))


def _roles_of_readings(facts: Mapping[str, ColumnFacts], columns: _Columns, tag: str, value: str) -> Roles:
    """Those of a table with a row for each reading of a sensor."""
    data = dict(columns.known) | {"pivot": {"names": tag, "values": value}, "sensors": []}
    reasons = dict(columns.reasons) | {
        "pivot": f"a row for each reading: the names in '{tag}' become columns",
        "sensors": "empty: all of them",
        "task": "readings of sensors (--task forecast: forecasts of each)",
    }
    texts = _texts(facts, {columns.time, tag})
    return Roles("anomaly", data, reasons, (), texts, (), columns.keys.repeated, _missing(facts, [value]))


def _roles_of_series_columns(
    table: OpenedTable,
    facts: Mapping[str, ColumnFacts],
    wishes: Wishes,
    columns: _Columns,
    values: tuple[str, ...],
) -> Roles:
    """Those of a table with a column for each series."""
    wide: dict[str, Any] = {"time": columns.time}
    if set(values) | {columns.time} != set(table.names):
        wide = {"columns": list(values), "time": columns.time}
    data = dict(columns.known) | {"wide": wide, "series": [_new_name("series", table)]}
    data["target"] = _new_name("value", table)
    reasons = dict(columns.reasons) | {
        "wide": f"{len(values)} columns of numbers, none named like a target: each is a series",
        "series": "will hold their names",
        "target": "will hold their values",
    }
    doubts = (f"{layout.listed(values)} are read as a series each; --target COLUMN forecasts one of them",)
    texts = _texts(facts, {columns.time})
    task = wishes.task or "forecast"
    return Roles(task, data, reasons, (), texts, doubts, columns.keys.repeated, _missing(facts, values))


def _roles_of_periods(
    table: OpenedTable, facts: Mapping[str, ColumnFacts], wishes: Wishes, periods: tuple[str, ...]
) -> Roles:
    """Those of a table with a column for each period."""
    wide: dict[str, Any] = {"time": "columns"}
    if wishes.start is not None:
        wide = {"columns": f"{numbered_columns(table)[0]}[0-9]*", "start": wishes.start}
    found = keys.find_keys(table.raw.rows, None, facts)
    data: dict[str, Any] = {"time": _new_name("time", table), "wide": wide, "target": _new_name("value", table)}
    series = wishes.series if wishes.series is not None else found.columns
    if series:
        data["series"] = list(series)
    reasons = {
        "time": "will hold the periods in the header",
        "wide": f"a column for each period: {periods[0]} to {periods[-1]}",
        "target": "will hold their values",
        "series": "as stated" if wishes.series is not None else "each row has its own",
    }
    if wishes.task == "anomaly":
        raise DataError(f"--task: anomaly needs a column for each sensor, and {table.paths[0]} has one for each period")
    texts, missing = _texts(facts, set(series)), missing_words(table, periods)
    return Roles(wishes.task or "forecast", data, reasons, (), texts, (), 0.0, missing)


def _without_values(table: OpenedTable, facts: Mapping[str, ColumnFacts], wishes: Wishes, columns: _Columns) -> Roles:
    """Those in which the reader says why a column of text holds no numbers. Raises DataError without any."""
    texts = [name for name, fact in facts.items() if fact.kind == "text" and name != columns.time]
    target = _named_target(tuple(texts), whole=False) or next(reversed(texts), None)
    if target is None:
        raise DataError(f"{table.paths[0]}: no column of numbers besides '{columns.time}'; give one with values")
    kept = tuple(name for name in columns.keys.columns if name != target)
    bare = _Columns(columns.known, columns.reasons, keys.SeriesKeys(kept, 0.0), (target,))
    return _roles_of_target(facts, wishes, bare, target)


def _check_stated(table: OpenedTable, wishes: Wishes) -> None:
    stated = {"--time": (wishes.time,), "--target": (wishes.target,), "--series": wishes.series or ()}
    for option, columns in stated.items():
        for name in columns:
            if name is not None and name not in table.names:
                raise DataError(
                    f"{option}: {table.paths[0]} has no column '{name}'{suggest(name, table.names)} "
                    f"(it has: {layout.listed(table.names)})"
                )


def _numbers(facts: Mapping[str, ColumnFacts], taken: set[str]) -> tuple[str, ...]:
    return tuple(
        name for name, fact in facts.items() if fact.kind == "number" and name not in taken and fact.distinct > 1
    ) or tuple(name for name, fact in facts.items() if fact.kind == "number" and name not in taken)


def _texts(facts: Mapping[str, ColumnFacts], taken: set[str]) -> tuple[str, ...]:
    return tuple(name for name, fact in facts.items() if fact.kind == "text" and name not in taken)


def _missing(facts: Mapping[str, ColumnFacts], columns: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for name in columns for word in facts[name].missing))


def _named_target(columns: tuple[str, ...], *, whole: bool) -> str | None:
    """The column named most like a target, None without one."""

    def place(name: str) -> tuple[int, int]:
        return names.rank(name, names.TARGETS, whole=whole), len(names.words(name))

    usable = [name for name in columns if not names.is_about(name, names.NOT_TARGETS)]
    best = min(usable, key=place, default=None)
    return best if best is not None and place(best)[0] < len(names.TARGETS) else None


def _are_alike(columns: tuple[str, ...], facts: Mapping[str, ColumnFacts]) -> bool:
    """Whether columns may all be series: none is a flag, or named like a covariate."""
    return not any(
        facts[name].is_flag or names.is_about(name, (*names.NOT_TARGETS, *names.KNOWN_AHEAD)) for name in columns
    )


def _new_name(name: str, table: OpenedTable) -> str:
    return name if name not in table.names else f"{name}_of_column"
