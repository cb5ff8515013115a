"""The columns of an unknown table that are periods: named as such, or only numbered."""

from __future__ import annotations

import re

import pandas as pd

from gridcast.config import Data, Wide
from gridcast.data import layout
from gridcast.data.first_look import names
from gridcast.data.first_look.columns import find_facts
from gridcast.data.first_look.open_table import OpenedTable
from gridcast.data.first_look.wishes import Wishes
from gridcast.data.parse_fields import is_text
from gridcast.runtime.errors import DataError

MANY_PERIODS = 12
"""Columns from which numbers in their names may count periods."""
MANY_NUMBERED = 300
"""Columns from which they are not looked at one by one where nothing else holds stamps."""


def period_columns(table: OpenedTable, wishes: Wishes) -> tuple[str, ...]:
    """Return the columns that are periods, by their names or numbered from `wishes.start` on; empty in a long table.

    Raises DataError where they are numbered, and nothing says from when on.
    """
    if wishes.time is not None:
        return ()
    named, (_, numbered) = _named_periods(table), numbered_columns(table)
    if len(named) * 2 > len(table.names):
        return named
    if wishes.start is None and len(numbered) > MANY_NUMBERED and not _has_stamps(table, numbered):
        raise without_start(table, numbered)
    if wishes.start is not None and not numbered:
        raise DataError(f"--start: {table.paths[0]} has no columns that are numbered, such as d_1; leave it out")
    return numbered if wishes.start is not None else ()


def _has_stamps(table: OpenedTable, numbered: tuple[str, ...]) -> bool:
    """Whether another column than the `numbered` ones holds time stamps, so that these are series or sensors."""
    return any(
        fact.kind == "time" or (fact.stamps is not None and names.is_about(name, names.TIME))
        for name, fact in find_facts(table, numbered).items()
    )


def numbered_columns(table: OpenedTable) -> tuple[str, tuple[str, ...]]:
    """Return the prefix of most columns, followed by a number, and these columns; empty where there are none."""
    match = re.fullmatch(r"(\D*)\d+", table.names[-1])
    if match is None:
        return "", ()
    columns = tuple(name for name in table.names if re.fullmatch(re.escape(match[1]) + r"\d+", name))
    while columns and _holds_names(table.raw.rows[columns[0]]):  # M4 calls its ids V1, and its values V2 and on
        columns = columns[1:]
    return match[1], columns if len(columns) > MANY_PERIODS and len(columns) * 2 > len(table.names) else ()


def without_start(table: OpenedTable, numbered: tuple[str, ...]) -> DataError:
    """Return the error that nothing says when the first of the `numbered` columns is."""
    return DataError(
        f"{table.paths[0]}: no column of dates; the columns {numbered[0]} to {numbered[-1]} seem to be periods: give "
        "the date of the first and the step, such as --start 2011-01-29 --frequency D"
    )


def _named_periods(table: OpenedTable) -> tuple[str, ...]:
    """The columns whose names are periods, such as Jan-21."""
    data = Data(source="", time="time", target="value", wide=Wide(time="columns"))
    try:
        return layout.find_layout(table.names, data, table.paths[0]).wide
    except DataError:
        return ()


def _holds_names(values: pd.Series) -> bool:
    """Whether the texts of a column are no numbers."""
    first = str(values.dropna().iloc[0]) if values.notna().any() else "0"
    return is_text(values) and re.search(r"[^\W\d_]", first) is not None
