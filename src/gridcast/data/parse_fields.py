"""Turn the text fields of a file into numbers and dates; the error for any other text names its line and column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from gridcast.config import Data
from gridcast.runtime import local_time
from gridcast.runtime.errors import DataError

LINE = "__line__"
"""Column of the line of the file in which a row starts; in Parquet files, the number of the row."""
DECIMAL_COMMA = re.compile(r"^[-+]?(\d+|\d{1,3}(\.\d{3})+)?(,\d*)?([eE][-+]?\d+)?$")
"""A number with a decimal comma; points stand between thousands only."""
DAY_MONTH_YEAR = re.compile(r"^\s*(\d{1,2})[./-](\d{1,2})[./-](\d{4})\b(.*)$")
"""A date with the year last; which of the first two numbers is the day, only the whole column can show."""
EXAMPLE_DATES = {"iso": "2011-12-31", "day-first": "31/12/2011", "month-first": "12/31/2011"}
ROWS_PER_CHUNK = 2**18
"""Rows that are parsed at once: as text, fields take many times the memory of numbers and categories."""

DateOrder = Literal["iso", "day-first", "month-first"]


def unit_of(path: str) -> str:
    """Return what `LINE` counts in the file at `path`: `line` or `row`."""
    return "row" if path.endswith(".parquet") else "line"


def field_error(rows: pd.DataFrame, position: int, *, column: str, path: str, problem: str) -> DataError:
    """Return the error that the value of `column` in the row at `position` has a `problem`."""
    value = rows[column].iloc[position]
    shown = "empty" if pd.isna(value) else f"'{value}'"
    return DataError(f"{path}, {unit_of(path)} {rows[LINE].iloc[position]}, column '{column}': {shown} {problem}")


def check_filled(rows: pd.DataFrame, columns: Sequence[str], path: str) -> None:
    """Raise DataError where one of `columns`, which name series or categories, is empty in a row."""
    for column in columns:
        empty = np.flatnonzero(rows[column].isna())
        if len(empty):
            problem = "is not a name; fill it in, or delete the line"
            raise field_error(rows, empty[0], column=column, path=path, problem=problem)


def parse_numbers(rows: pd.DataFrame, column: str, *, separator: str, path: str) -> tuple[pd.Series, bool]:
    """Return the values of `column` as floats, NaN where empty, and whether they have a decimal comma.

    Raises DataError for a value that is not a number.
    """
    text = rows[column].str.strip()
    has_comma = separator != "," and bool(text.str.contains(",", regex=False, na=False).any())
    if has_comma:
        text = text.where(text.str.match(DECIMAL_COMMA, na=True), "not a number")
        text = text.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    chunks = (text.iloc[start : start + ROWS_PER_CHUNK] for start in range(0, len(text), ROWS_PER_CHUNK))
    values = pd.concat([pd.to_numeric(chunk, errors="coerce") for chunk in chunks]).astype(float)
    wrong = np.flatnonzero(values.isna() & text.notna())
    if len(wrong):
        problem = "is not a number; correct it, or leave the field empty for a missing value"
        raise field_error(rows, wrong[0], column=column, path=path, problem=problem)
    return values, has_comma


def parse_dates(rows: pd.DataFrame, data: Data, *, path: str, settable: bool) -> tuple[pd.Series, DateOrder]:
    """Return the time column as stamps on the axis, without a time zone, and the order of its dates; see `local_time`.

    `settable` says that there is an experiment file, whose `data.dates` an error may name as a remedy.
    Raises DataError for a value that is not a date in this order, where the order is ambiguous, where only some stamps
    have an offset from UTC, and for a time that clocks skip in `data.time_zone`.
    """
    # A column of ten million stamps often has a few hundred different ones: these are parsed, not the rows.
    codes, texts = pd.factorize(rows[data.time])
    different = pd.Series(texts)
    order = data.dates if data.dates != "auto" else _date_order(rows, different, data.time, path, settable=settable)
    parsed, offsets = _local_and_offsets(different, order)
    # The last value is that of code -1, an empty field.
    local = np.append(parsed.to_numpy("datetime64[us]"), np.datetime64("NaT"))
    wrong = np.flatnonzero(np.isnat(local[codes]))
    if len(wrong):
        remedy = "correct it, or see data.dates" if settable else "correct it"
        problem = f"is not a date; this file's are read as {order}, such as {EXAMPLE_DATES[order]}: {remedy}"
        raise field_error(rows, wrong[0], column=data.time, path=path, problem=problem)
    if data.time_zone is None and not np.isfinite(offsets).any():
        return pd.Series(local[codes], index=rows.index), order
    stamps = stamps_on_axis(rows, data, local[:-1][codes], offsets[codes], path=path)
    return pd.Series(stamps, index=rows.index), order


def stamps_on_axis(rows: pd.DataFrame, data: Data, local: np.ndarray, offsets: np.ndarray, *, path: str) -> np.ndarray:
    """Return the stamps on the axis (rows,) of `local` times (rows,) with `offsets` (rows,) in seconds, NaN for none.

    See `local_time.axis_times`. Raises DataError where only some stamps have an offset though `data` has no time zone,
    and for a time that clocks skip there.
    """
    has_offset, time_zone = np.isfinite(offsets), data.time_zone or local_time.OWN_OFFSETS
    if data.time_zone is None and not has_offset.all():
        problem = "has no offset from UTC, while other stamps have one; give it to all, or write data.time_zone"
        raise field_error(rows, int(np.argmin(has_offset)), column=data.time, path=path, problem=problem)
    stamps = local_time.axis_times(
        local, offsets, time_zone=time_zone, frequency=data.row_frequency, rows=rows[list(data.series)]
    )
    skipped = np.flatnonzero(np.isnat(stamps))
    if len(skipped):
        problem = (
            f"does not exist in {time_zone}, where clocks were put forward then; correct it, or write the "
            "data.time_zone in which the stamps were taken, such as UTC"
        )
        raise field_error(rows, skipped[0], column=data.time, path=path, problem=problem)
    return stamps


def _local_and_offsets(texts: pd.Series, order: DateOrder) -> tuple[pd.Series, np.ndarray]:
    """The local times of `texts` (n,), NaT for what is no date, and their offsets from UTC (n,) in seconds, NaN."""
    if order == "iso":
        try:
            parsed = pd.to_datetime(texts.str.strip(), format="ISO8601", errors="coerce")
        except ValueError:  # of offsets that differ
            pass
        else:
            if parsed.dt.tz is None and parsed.notna().all():
                return parsed, np.full(len(texts), np.nan)
    texts, offsets = local_time.split_offsets(texts.str.strip())
    if order == "iso":
        return pd.to_datetime(texts, format="ISO8601", errors="coerce"), offsets
    parts = texts.str.extract(DAY_MONTH_YEAR)
    day, month = (0, 1) if order == "day-first" else (1, 0)
    iso = parts[2] + "-" + parts[month].str.zfill(2) + "-" + parts[day].str.zfill(2) + parts[3].fillna("")
    return pd.to_datetime(iso, format="mixed", errors="coerce"), offsets


def _date_order(
    rows: pd.DataFrame, different: pd.Series, column: str, path: str, *, settable: bool
) -> Literal["iso", "day-first", "month-first"]:
    """The order of the `different` dates in `column`, as their numbers above 12 show it."""
    parts = different.str.extract(DAY_MONTH_YEAR).dropna()
    if len(parts) * 2 < max(len(different), 1):
        return "iso"
    first, second = parts[0].astype(int), parts[1].astype(int)
    day_first, month_first = (first > 12) & (second <= 12), (second > 12) & (first <= 12)
    if day_first.any() and month_first.any():
        rarer = day_first if day_first.sum() < month_first.sum() else month_first
        position = int(np.flatnonzero(rows[column] == different.loc[rarer[rarer].index[0]])[0])
        problem = "has day and month the other way round than the file's other dates; correct it"
        raise field_error(rows, position, column=column, path=path, problem=problem)
    if day_first.any() or month_first.any():
        return "day-first" if day_first.any() else "month-first"
    by_steps = _order_of_hours(different)
    if by_steps is not None:
        return by_steps
    remedy = "data.dates: day-first or month-first" if settable else "them as 2011-12-31"
    raise DataError(
        f"{path}, column '{column}': dates such as '{different.iloc[0]}' do not tell day from month; write {remedy}"
    )


def _order_of_hours(texts: pd.Series) -> DateOrder | None:
    """The order in which stamps of hours or minutes are equally far apart, where they are so in one order only."""
    orders: tuple[DateOrder, ...] = ("day-first", "month-first")
    regular: list[DateOrder] = []
    for order in orders:
        local, offsets = _local_and_offsets(texts, order)
        times = local - pd.to_timedelta(np.nan_to_num(offsets), unit="s")
        distances = np.unique(np.diff(np.sort(times.dropna().unique())))
        if len(distances) == 1 and distances[0] < np.timedelta64(1, "D"):
            regular.append(order)
    return regular[0] if len(regular) == 1 else None


def utc_note(text: pd.Series, order: DateOrder, stamp: pd.Timestamp, data: Data) -> str:
    """Return a note that local times are counted in UTC, if the `stamp` of one `text` shows it."""
    local, offsets = _local_and_offsets(text, order)
    if not np.nan_to_num(offsets[0]) or local.iloc[0] - pd.Timedelta(seconds=offsets[0]) != stamp:
        return ""
    return " in UTC" if data.time_zone else " in UTC, hours as covariates too: data.time_zone makes these local"
