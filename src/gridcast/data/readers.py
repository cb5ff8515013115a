"""One CSV or Parquet file, whatever its dialect: separator, encoding, decimal comma, date order."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from gridcast.config import Data
from gridcast.runtime import calendar_features
from gridcast.runtime.calendar_features import is_column
from gridcast.runtime.errors import DataError, suggest

LINE = "__line__"
MISSING_VALUES = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
DECIMAL_COMMA = re.compile(r"^[-+]?(\d+|\d{1,3}(\.\d{3})+)?(,\d*)?([eE][-+]?\d+)?$")
"""A number with a decimal comma; points stand between thousands only."""
DAY_MONTH_YEAR = re.compile(r"^\s*(\d{1,2})[./-](\d{1,2})[./-](\d{4})\b(.*)$")
ROWS_PER_CHUNK = 2**18
"""Rows that are read at once: before they are numbers and categories, fields take many times as much memory."""
SAMPLED_LINES = 1000
"""Lines by which columns of numbers are told from others."""
OPENERS = {".gz": gzip.open, ".xz": lzma.open}


def read_table(path: str, data: Data, *, settable: bool = True) -> tuple[pd.DataFrame, str]:
    """The columns of `path` that the experiment names, with `LINE`, and a note of what was done.

    The time column comes as datetime64 without a time zone, the target and covariates as floats,
    series and static columns as text or categories of it. Rows without a target are left out: their
    step is a gap. `settable` tells that there is an experiment file, in which `data.dates` is a remedy;
    without one, static columns may be empty.
    Raises DataError that names file, line, column, value and remedy.
    """
    if path.endswith(".parquet"):
        return _parquet(path, data, settable)
    text, encoding = read_text(path)
    header = text.split("\n", 1)[0]
    if not text.strip():
        raise DataError(f"{path}: the file is empty; give one with a header and rows")
    separator = max(",;\t", key=header.count)
    names = _header(header, separator, path)
    wanted = _wanted(names, data, path)
    _no_more_fields(text, separator, names, path)
    raw = text.encode()
    del text
    categories = {*data.series, *data.static} - {data.time, *_numbers(data)}
    rows = _rows(raw, separator, names, wanted, sorted(categories), path)
    rows[LINE] = _lines(raw, rows)
    del raw
    _give_back()
    blank = rows[wanted].isna().all(axis=1)
    if blank.any():
        rows = rows[~blank].reset_index(drop=True)
    _any_rows(rows, path)
    rows[data.time], dates = _dates(rows, data, path, settable)
    comma = False
    for column in _numbers(data):
        rows[column], with_comma = _floats(rows, column, separator, path)
        comma |= with_comma
        _give_back()
    _filled(rows, (*data.series, *(data.static if settable else ())), path)
    kept = _with_target(rows, data)
    named = {",": "commas", ";": "semicolons", "\t": "tabs"}[separator]
    note = f"{len(rows):,} rows, {encoding}, {named}{', decimal comma' if comma else ''}, {dates} dates"
    if len(kept) < len(rows):
        note += f", {len(rows) - len(kept):,} rows without '{data.target}' left out"
    return kept, note


def column_names(path: str) -> list[str]:
    """The names of the columns in the file at `path`. Raises DataError where it cannot be read."""
    if path.endswith(".parquet"):
        return list(_schema(path).names)
    header = read_text(path)[0].split("\n", 1)[0]
    return _header(header, max(",;\t", key=header.count), path)


def numeric_columns(path: str) -> list[str]:
    """The columns of `path` whose fields are numbers in its first rows, as far as they are filled. Raises DataError."""
    if path.endswith(".parquet"):
        import pyarrow as pa

        kinds = pa.types.is_integer, pa.types.is_floating
        return [str(field.name) for field in _schema(path) if any(kind(field.type) for kind in kinds)]
    head = "\n".join(read_text(path)[0].split("\n", SAMPLED_LINES)[:SAMPLED_LINES])
    separator = max(",;\t", key=head.split("\n", 1)[0].count)
    names = _header(head.split("\n", 1)[0], separator, path)
    once = [name for name in names if names.count(name) == 1]
    rows = _rows(head.encode(), separator, names, once, [], path)
    rows[LINE] = 0
    found = []
    for name in once:
        with contextlib.suppress(DataError):
            if _floats(rows, name, separator, path)[0].notna().any():
                found.append(name)
    return found


def _schema(path: str) -> Any:
    try:
        from pyarrow import parquet as pq

        return pq.read_schema(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from None


def read_text(path: str) -> tuple[str, str]:
    """The text of the file at `path`, lines ended by newlines alone, and the name of its encoding. DataError."""
    opener: Any = OPENERS.get(Path(path).suffix, open)
    try:
        with cast("IO[bytes]", opener(path, "rb")) as file:
            raw = file.read()
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if b"\0" in raw[:4096]:
        raise DataError(f"{path}: holds binary data; give a CSV or Parquet file")
    try:
        text, encoding = raw.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        text, encoding = raw.decode("latin-1"), "Latin-1"
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding


def _header(header: str, separator: str, path: str) -> list[str]:
    if not header.strip():
        raise DataError(f"{path}, line 1: blank; the first line must name the columns")
    return [name.strip() for name in next(csv.reader([header], delimiter=separator))]


def _wanted(names: list[str], data: Data, path: str) -> list[str]:
    fields = {
        "data.time": (data.time,),
        "data.series": data.series,
        "data.target": () if data.sensors else (data.target,),
        "data.sensors": data.sensors or (),
        "data.labels": (data.labels,) if data.labels else (),
        "data.past": data.past,
        "data.future": tuple(filter(is_column, data.future)),
        "data.static": data.static,
    }
    for field, columns in fields.items():
        for column in columns:
            if column not in names:
                known = [*names, *calendar_features.similar_names(column)] if field == "data.future" else names
                raise DataError(
                    f"{path}, line 1: no column '{column}' ({field}){suggest(column, known)} "
                    f"(the file has: {', '.join(names)})"
                )
            if names.count(column) > 1:
                raise DataError(f"{path}, line 1: the column '{column}' stands twice; rename one of them")
    return list(dict.fromkeys(column for columns in fields.values() for column in columns))


def _numbers(data: Data) -> list[str]:
    if data.sensors:
        return [*data.sensors, *((data.labels,) if data.labels else ())]
    return list(dict.fromkeys((data.target, *data.past, *(name for name in data.future if is_column(name)))))


def _no_more_fields(text: str, separator: str, names: list[str], path: str) -> None:
    """Refuse a line with more fields than the header: pandas would pass over what is too much."""
    if not re.search(rf"^(?:[^{separator}\n]*{separator}){{{len(names)}}}", text, re.MULTILINE):
        return
    reader, line = csv.reader(io.StringIO(text, newline=""), delimiter=separator), 1
    for fields in reader:
        if any(fields[len(names) :]):
            raise DataError(
                f"{path}, line {line}: {len(fields)} fields where the header has {len(names)}; "
                f"quote fields that contain '{separator}'"
            )
        line = reader.line_num + 1


def _any_rows(rows: pd.DataFrame, path: str) -> None:
    if not len(rows):
        raise DataError(f"{path}: no rows; the file holds a header and nothing else; add rows, or leave the file out")


def _rows(
    raw: bytes, separator: str, names: list[str], wanted: list[str], categories: list[str], path: str
) -> pd.DataFrame:
    """The `wanted` columns as text, `categories` of it where few values stand in many rows."""
    # Columns that nobody asked for may share a name.
    names = [name if name in wanted else f"__{position}__" for position, name in enumerate(names)]
    try:
        parts = pd.read_csv(
            io.BytesIO(raw),  # in a StringIO every letter takes four bytes
            sep=separator,
            names=names,
            header=0,
            usecols=wanted,
            index_col=False,
            dtype=str,
            keep_default_na=False,
            na_values=list(MISSING_VALUES),
            skip_blank_lines=False,
            chunksize=ROWS_PER_CHUNK,
        )
        return concat_rows([part.astype(dict.fromkeys(categories, "category")) for part in parts], categories)
    except pd.errors.ParserError as error:
        raise DataError(f"{path}: not a table: {str(error).strip()}; look for a quote that is not closed") from None


def concat_rows(parts: list[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """The rows of all `parts`, those `columns` with the categories of all: else pandas makes objects of them."""
    for column in columns:
        every = union_categoricals([part[column] for part in parts], sort_categories=True).categories
        parts = [part.assign(**{column: part[column].cat.set_categories(every)}) for part in parts]
    return pd.concat(parts, ignore_index=True)


def _lines(raw: bytes, rows: pd.DataFrame) -> np.ndarray:
    """Line of the file on which each row starts; a quoted field may span several lines."""
    lines = np.arange(2, len(rows) + 2)
    if raw.count(b"\n") - (not raw.endswith(b"\n")) == len(rows) or b'"' not in raw:
        return lines
    quotes = np.array([line.count(b'"') for line in raw.rstrip(b"\n").split(b"\n")])
    starts = np.flatnonzero(np.concatenate([[True], np.cumsum(quotes)[:-1] % 2 == 0])) + 1
    return starts[1 : len(rows) + 1] if len(starts) > len(rows) else lines


def _refuse(rows: pd.DataFrame, position: int, column: str, path: str, problem: str) -> DataError:
    value = rows[column].iloc[position]
    shown = "empty" if pd.isna(value) else f"'{value}'"
    unit = "row" if path.endswith(".parquet") else "line"
    return DataError(f"{path}, {unit} {rows[LINE].iloc[position]}, column '{column}': {shown} {problem}")


def _floats(rows: pd.DataFrame, column: str, separator: str, path: str) -> tuple[pd.Series, bool]:
    text = rows[column].str.strip()
    comma = separator != "," and bool(text.str.contains(",", regex=False, na=False).any())
    if comma:
        text = text.where(text.str.match(DECIMAL_COMMA, na=True), "not a number")
        text = text.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    parts = (text.iloc[start : start + ROWS_PER_CHUNK] for start in range(0, len(text), ROWS_PER_CHUNK))
    values = pd.concat([pd.to_numeric(part, errors="coerce") for part in parts]).astype(float)
    bad = np.flatnonzero(values.isna() & text.notna())
    if len(bad):
        problem = "is no number; correct it, or leave the field empty for a missing value"
        raise _refuse(rows, bad[0], column, path, problem)
    return values, comma


def _filled(rows: pd.DataFrame, columns: tuple[str, ...], path: str) -> None:
    for column in columns:
        bad = np.flatnonzero(rows[column].isna())
        if len(bad):
            raise _refuse(rows, bad[0], column, path, "is no name; fill it in, or delete the line")


def _dates(rows: pd.DataFrame, data: Data, path: str, settable: bool) -> tuple[pd.Series, str]:
    column = data.time
    codes, texts = pd.factorize(rows[column])
    stamps = pd.Series(texts)
    order = _order(rows, stamps, data, path, settable)
    if order == "iso":
        parsed = pd.to_datetime(stamps.str.strip(), format="ISO8601", errors="coerce", utc=True).dt.tz_localize(None)
    else:
        parts = stamps.str.extract(DAY_MONTH_YEAR)
        day, month = (0, 1) if order == "day-first" else (1, 0)
        text = parts[2] + "-" + parts[month].str.zfill(2) + "-" + parts[day].str.zfill(2) + parts[3].fillna("")
        parsed = pd.to_datetime(text, format="mixed", errors="coerce")
    known = np.append(parsed.to_numpy("datetime64[us]"), np.datetime64("NaT"))  # the last for code -1, an empty field
    values = pd.Series(known[codes], index=rows.index)
    bad = np.flatnonzero(values.isna())
    if len(bad):
        example = {"iso": "2011-12-31", "day-first": "31/12/2011", "month-first": "12/31/2011"}[order]
        remedy = "correct it, or see data.dates" if settable else "correct it"
        problem = f"is no date; this file's are read as {order}, such as {example}: {remedy}"
        raise _refuse(rows, bad[0], column, path, problem)
    return values, {"iso": "ISO"}.get(order, order)


def _order(rows: pd.DataFrame, stamps: pd.Series, data: Data, path: str, settable: bool) -> str:
    """`iso`, `day-first` or `month-first`, told from the dates of this one file."""
    if data.dates != "auto":
        return data.dates
    parts = stamps.str.extract(DAY_MONTH_YEAR).dropna()
    if len(parts) * 2 < max(len(stamps), 1):
        return "iso"
    first, second = parts[0].astype(int), parts[1].astype(int)
    day_first, month_first = (first > 12) & (second <= 12), (second > 12) & (first <= 12)
    if day_first.any() and month_first.any():
        rarer = day_first if day_first.sum() < month_first.sum() else month_first
        position = int(np.flatnonzero(rows[data.time] == stamps.loc[rarer[rarer].index[0]])[0])
        raise _refuse(
            rows,
            position,
            data.time,
            path,
            "has day and month the other way round than the file's other dates; correct it",
        )
    if day_first.any() or month_first.any():
        return "day-first" if day_first.any() else "month-first"
    remedy = "data.dates: day-first or month-first" if settable else "them as 2011-12-31"
    raise DataError(
        f"{path}, column '{data.time}': dates such as '{stamps.iloc[0]}' do not tell day from month; write {remedy}"
    )


def _parquet(path: str, data: Data, settable: bool) -> tuple[pd.DataFrame, str]:
    try:
        from pyarrow import parquet as pq

        with pq.ParquetFile(path, read_dictionary=[*data.series, *data.static]) as file:
            wanted = _wanted(file.schema_arrow.names, data, path)
            columns = {column: _column(file, column) for column in wanted}
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from None
    rows = pd.DataFrame(columns, copy=False)
    _any_rows(rows, path)
    rows[LINE] = np.arange(1, len(rows) + 1, dtype=np.int32)
    if pd.api.types.is_datetime64_any_dtype(rows[data.time]):
        stamps = rows[data.time]
        stamps = stamps.dt.tz_convert("UTC").dt.tz_localize(None) if stamps.dt.tz is not None else stamps
        rows[data.time] = stamps.astype("datetime64[us]")
        _filled(rows, (data.time,), path)
    else:
        rows[data.time] = rows[data.time].astype("string")
        rows[data.time], _ = _dates(rows, data, path, settable)
    for column in _numbers(data):
        if not pd.api.types.is_numeric_dtype(rows[column]):
            raise DataError(f"{path}, column '{column}': holds {rows[column].dtype}, not numbers")
        rows[column] = rows[column].astype(float)
    _filled(rows, (*data.series, *(data.static if settable else ())), path)
    return _with_target(rows, data), f"{len(rows):,} rows, Parquet"


def _column(file: Any, name: str) -> pd.Series:
    """The column in memory of its own, not lent by Arrow."""
    values = file.read([name])[name].to_pandas().copy()
    _give_back()
    return cast("pd.Series", values)


def _give_back() -> None:
    """Arrow keeps the memory of what is gone, until it is asked."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _with_target(rows: pd.DataFrame, data: Data) -> pd.DataFrame:
    if data.sensors:  # a step is one as soon as it has a stamp
        return rows
    known = rows[data.target].notna()
    return rows if known.all() else rows[known].reset_index(drop=True)
