"""The column of time stamps of an unknown table, and how far apart they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from gridcast.data import layout
from gridcast.data.first_look import names
from gridcast.data.first_look.columns import ColumnFacts
from gridcast.data.first_look.open_table import OpenedTable
from gridcast.data.first_look.period_columns import numbered_columns, without_start
from gridcast.data.first_look.wishes import Wishes
from gridcast.data.parse_fields import is_text
from gridcast.runtime import date_text
from gridcast.runtime.errors import DataError

IN_TEXTS = ("years", "texts")
"""The `stamps` of columns whose digits the reader takes for dates by itself."""


def time_column(table: OpenedTable, facts: Mapping[str, ColumnFacts], wishes: Wishes) -> tuple[str, str]:
    """Return the column of time stamps, and why it is that one. Raises DataError without any."""
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
    _, numbered = numbered_columns(table)
    named = [name for name in order if names.is_about(name, names.TIME) and facts[name].kind in ("text", "clock")]
    if numbered and not named:
        raise without_start(table, numbered)
    if named:
        return named[0], "named like one"
    raise DataError(
        f"{table.paths[0]}: no column of dates or times (it has: {layout.listed(table.names)}); give one, such as "
        "2011-12-31, or name it with --time"
    )


def check_clock(table: OpenedTable, facts: Mapping[str, ColumnFacts], time: str) -> None:
    """Raise DataError where the `time` column holds dates, and another one the times of day."""
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


def typical_step(values: pd.Series, fact: ColumnFacts) -> float:
    """Return the usual distance in seconds between stamps that follow each other, infinite where none is shown."""
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
