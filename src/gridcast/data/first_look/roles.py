"""The role of each column of an unknown table: time, series, target, sensors, labels, and what is left."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from gridcast.config import Data
from gridcast.data import layout
from gridcast.data.first_look import keys, names
from gridcast.data.first_look.columns import ColumnFacts, missing_words
from gridcast.data.first_look.open_table import OpenedTable
from gridcast.data.first_look.wishes import Wishes
from gridcast.data.parse_fields import is_text
from gridcast.runtime import date_text
from gridcast.runtime.errors import DataError, suggest
from gridcast.runtime.frequencies import DAY_SECONDS

MANY_COLUMNS = 3
"""Columns of numbers from which those without a telling name are series, each of them."""
MANY_PERIODS = 12
"""Columns from which numbers in their names may count periods."""
MANY_NUMBERED = 300
"""Columns from which they do, and are no sensors."""


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


IN_TEXTS = ("years", "texts")
"""The `stamps` of columns whose digits the reader takes for dates by itself."""


def period_columns(table: OpenedTable, wishes: Wishes) -> tuple[str, ...]:
    """Return the columns that are periods, by their names or numbered from `wishes.start` on; empty in a long table.

    Raises DataError where they are numbered, and nothing says from when on.
    """
    if wishes.time is not None:
        return ()
    named, (_, numbered) = _named_periods(table), _numbered(table)
    if len(named) * 2 > len(table.names):
        return named
    if wishes.start is None and len(numbered) > MANY_NUMBERED:
        raise _without_start(table, numbered)
    if wishes.start is not None and not numbered:
        raise DataError(f"--start: {table.paths[0]} has no columns that are numbered, such as d_1; leave it out")
    return numbered if wishes.start is not None else ()


def assign_roles(
    table: OpenedTable, facts: Mapping[str, ColumnFacts], wishes: Wishes, periods: tuple[str, ...] = ()
) -> Roles:
    """Return the roles of the columns of `table`, of which `periods` are no columns of facts.

    Raises DataError where there is no column of times or of values.
    """
    _check_stated(table, wishes)
    if periods:
        return _roles_of_periods(table, facts, wishes, periods)
    time, why = _time_column(table, facts, wishes)
    _check_clock(table, facts, time)
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
    step = _typical_step(table.raw.rows[columns.time], facts[columns.time])
    is_fine = step < DAY_SECONDS
    labels = [name for name in columns.numbers if facts[name].is_flag and names.is_about(name, names.LABELS)]
    values = tuple(name for name in columns.numbers if name not in labels)
    target = wishes.target or _named_target(values, whole=step < 3600)
    wants_forecast = wishes.task not in (None, "anomaly") or wishes.target is not None
    tag = next((name for name in columns.keys.columns if names.is_about(name, names.TAGS)), None)
    if not wants_forecast and tag is not None and len(values) == 1 and len(columns.keys.columns) == 1 and is_fine:
        return _roles_of_readings(facts, columns, tag, values[0])
    is_bare = not columns.keys.columns
    if not wants_forecast and is_bare and len(values) > 0:
        is_sensors = bool(labels) or (target is None and is_fine and len(values) > 1)
        if is_sensors or wishes.task == "anomaly":
            return _roles_of_sensors(facts, columns, labels)
    if not values and wishes.target is None:
        return _without_values(table, facts, wishes, columns)
    if target is None and is_bare and len(values) >= MANY_COLUMNS and _are_alike(values, facts):
        return _roles_of_series_columns(table, facts, columns, values)
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
            others = ", ".join(name for name in usable if name != chosen)
            doubts.append(f"no column is named like a target: '{chosen}' is taken; others: {others} (--target)")
    others = tuple(name for name in usable if name != chosen)
    if others and wishes.target is None and target is not None:
        reasons["target"] += "; --target chooses another"
    data = dict(columns.known) | {"target": chosen}
    if columns.keys.columns:
        data["series"] = list(columns.keys.columns)
        times = "each stamp occurs once in it" if not columns.keys.repeated else "the columns that name series"
        reasons["series"] = "as stated" if wishes.series is not None else times
    return Roles(
        "probabilistic" if wishes.task == "probabilistic" else "forecast",
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
        if name not in labels[:1] and (facts[name].is_flag or names.is_about(name, names.NOT_SENSORS))
    ]
    sensors = [name for name in columns.numbers if name not in (*labels, *flags)] or flags
    data = dict(columns.known) | {"sensors": sensors}
    reasons = dict(columns.reasons) | {"sensors": "all columns of numbers"}
    left = [name for name in flags if name not in sensors]
    if left:
        reasons["sensors"] = f"all columns of numbers but {', '.join(left)}, flags or codes: add what is a sensor"
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
    table: OpenedTable, facts: Mapping[str, ColumnFacts], columns: _Columns, values: tuple[str, ...]
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
    return Roles("forecast", data, reasons, (), texts, doubts, columns.keys.repeated, _missing(facts, values))


def _roles_of_periods(
    table: OpenedTable, facts: Mapping[str, ColumnFacts], wishes: Wishes, periods: tuple[str, ...]
) -> Roles:
    """Those of a table with a column for each period."""
    wide: dict[str, Any] = {"time": "columns"}
    if wishes.start is not None:
        wide = {"columns": f"{_numbered(table)[0]}[0-9]*", "start": wishes.start}
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
    return Roles("forecast", data, reasons, (), _texts(facts, set(series)), (), 0.0, missing_words(table, periods))


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


def _named_periods(table: OpenedTable) -> tuple[str, ...]:
    """The columns whose names are periods, such as Jan-21."""
    data = Data(source="", time="time", target="value", wide={"time": "columns"})
    try:
        return layout.find_layout(table.names, data, table.paths[0]).wide
    except DataError:
        return ()


def _numbered(table: OpenedTable) -> tuple[str, tuple[str, ...]]:
    """The prefix of most columns, followed by a number, and these columns; empty where there are none."""
    match = re.fullmatch(r"(\D*)\d+", table.names[-1])
    if match is None:
        return "", ()
    columns = tuple(name for name in table.names if re.fullmatch(re.escape(match[1]) + r"\d+", name))
    while columns and _holds_names(table.raw.rows[columns[0]]):  # M4 calls its ids V1, and its values V2 and on
        columns = columns[1:]
    return match[1], columns if len(columns) > MANY_PERIODS and len(columns) * 2 > len(table.names) else ()


def _holds_names(values: pd.Series) -> bool:
    """Whether the texts of a column are no numbers."""
    first = str(values.dropna().iloc[0]) if values.notna().any() else "0"
    return is_text(values) and re.search(r"[^\W\d_]", first) is not None


def _time_column(table: OpenedTable, facts: Mapping[str, ColumnFacts], wishes: Wishes) -> tuple[str, str]:
    """The column of time stamps, and why it is that one. Raises DataError without any."""
    if wishes.time is not None:
        return wishes.time, "as stated"
    order = list(facts)
    stamps = [name for name, fact in facts.items() if fact.kind == "time"]
    digits = [
        name
        for name, fact in facts.items()
        if fact.stamps is not None
        and (names.is_about(name, names.TIME) or (fact.stamps not in ("years", "excel") and name == order[0]))
    ]
    found = sorted(stamps or digits, key=lambda name: (names.rank(name, names.TIME), order.index(name)))
    if found:
        others = [name for name in found[1:] if facts[name].kind == "time"]
        return found[0], f"others: {', '.join(others)} (--time)" if others else "the only column of dates or times"
    _, numbered = _numbered(table)
    named = [name for name in order if names.is_about(name, names.TIME) and facts[name].kind in ("text", "clock")]
    if numbered and not named:
        raise _without_start(table, numbered)
    if named:
        return named[0], "named like one"
    raise DataError(
        f"{table.paths[0]}: no column of dates or times (it has: {layout.listed(table.names)}); give one, such as "
        "2011-12-31, or name it with --time"
    )


def _without_start(table: OpenedTable, numbered: tuple[str, ...]) -> DataError:
    return DataError(
        f"{table.paths[0]}: no column of dates; the columns {numbered[0]} to {numbered[-1]} seem to be periods: give "
        "the date of the first and the step, such as --start 2011-01-29 --frequency D"
    )


def _check_clock(table: OpenedTable, facts: Mapping[str, ColumnFacts], time: str) -> None:
    clocks = [name for name, fact in facts.items() if fact.kind == "clock" and name != time]
    values = table.raw.rows[time]
    if not clocks or names.words(clocks[0]) == () or not names.is_about(clocks[0], names.TIME):
        return
    if pd.api.types.is_datetime64_any_dtype(values):
        has_times = bool((values != values.dt.normalize()).any())
    else:
        has_times = is_text(values) and bool(values.str.contains(":", regex=False, na=False).any())
    if not has_times:
        raise DataError(
            f"{table.paths[0]}: '{time}' holds dates and '{clocks[0]}' times of a day; join them into one column, such "
            "as 2011-12-31 18:00"
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


def _typical_step(values: pd.Series, fact: ColumnFacts) -> float:
    """The usual distance in seconds between stamps that follow each other, infinite where none is shown."""
    if pd.api.types.is_datetime64_any_dtype(values):
        stamps = values.dropna().to_numpy("datetime64[us]")
    else:
        different = pd.Series(pd.unique(values.dropna().astype("str")), dtype="str").iloc[:1000]
        unit = fact.stamps if fact.kind == "number" and fact.stamps not in (None, *IN_TEXTS) else None
        kind = date_text.find_order(different).kind
        order = date_text.DAY_FIRST if kind == "slashed" else kind
        stamps = date_text.split_dates(different, order, unit)[0]
    stamps = np.unique(stamps[~np.isnat(stamps)])
    if len(stamps) < 2:
        return float("inf")
    return float(np.median(np.diff(stamps).astype("timedelta64[us]").astype(float))) / 1e6


def _new_name(name: str, table: OpenedTable) -> str:
    return name if name not in table.names else f"{name}_of_column"
