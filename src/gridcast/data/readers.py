"""Read one CSV or Parquet file, whatever its dialect: separator, encoding, decimal comma, order of dates."""

from __future__ import annotations

import contextlib
from typing import Any, cast

import numpy as np
import pandas as pd

from gridcast.config import Data
from gridcast.data import csv_text, parse_fields
from gridcast.data.csv_text import Header
from gridcast.data.parse_fields import LINE
from gridcast.runtime import calendar_features
from gridcast.runtime.calendar_features import is_column
from gridcast.runtime.errors import DataError, suggest

SAMPLED_LINES = 1000
"""Lines that show which columns hold numbers."""


def read_table(path: str, data: Data, *, settable: bool = True) -> tuple[pd.DataFrame, str]:
    """Return the columns of `path` that `data` names, with `LINE`, and a note on how the file was read.

    The time column comes as datetime64 without a time zone, the target and covariates as floats, series and static
    columns as text or categories of it. Rows without a target are left out: their step is a gap.

    `settable` says that there is an experiment file, so that errors may name its keys as a remedy; without one, static
    columns may be empty. Raises DataError that names file, line, column, value and remedy.
    """
    read = _read_parquet if path.endswith(".parquet") else _read_csv
    rows, note = read(path, data, settable=settable)
    parse_fields.check_filled(rows, (*data.series, *(data.static if settable else ())), path)
    if data.sensors:  # a stamp alone makes a step, even if all sensors are empty
        return rows, note
    has_target = rows[data.target].notna()
    if has_target.all():
        return rows, note
    missing = int((~has_target).sum())
    left_out = "" if path.endswith(".parquet") else f", {missing:,} rows without '{data.target}' left out"
    return rows[has_target].reset_index(drop=True), note + left_out


def column_names(path: str) -> list[str]:
    """Return the names of the columns in the file at `path`. Raises DataError where it cannot be read."""
    if path.endswith(".parquet"):
        return list(_parquet_schema(path).names)
    return csv_text.parse_header(csv_text.read_text(path)[0], path).names


def numeric_columns(path: str) -> list[str]:
    """Return the columns of `path` that hold numbers and nothing else in its first rows. Raises DataError."""
    if path.endswith(".parquet"):
        import pyarrow as pa

        is_number = pa.types.is_integer, pa.types.is_floating
        return [str(field.name) for field in _parquet_schema(path) if any(test(field.type) for test in is_number)]
    head = "\n".join(csv_text.read_text(path)[0].split("\n", SAMPLED_LINES)[:SAMPLED_LINES])
    header = csv_text.parse_header(head, path)
    unique = [name for name in header.names if header.names.count(name) == 1]
    rows = csv_text.read_columns(head.encode(), header, unique, path)
    rows[LINE] = 0
    numeric = []
    for name in unique:
        with contextlib.suppress(DataError):
            if parse_fields.parse_numbers(rows, name, separator=header.separator, path=path)[0].notna().any():
                numeric.append(name)
    return numeric


def _read_csv(path: str, data: Data, *, settable: bool) -> tuple[pd.DataFrame, str]:
    text, encoding = csv_text.read_text(path)
    if not text.strip():
        raise DataError(f"{path}: the file is empty; give one with a header and rows")
    header = csv_text.parse_header(text, path)
    needed = _needed_columns(header.names, data, path)
    csv_text.check_field_counts(text, header, path)
    raw = text.encode()
    del text  # a large file is in memory once, not three times
    categories = sorted({*data.series, *data.static} - {data.time, *_number_columns(data)})
    rows = csv_text.read_columns(raw, header, needed, path, categories=categories)
    rows[LINE] = csv_text.line_numbers(raw, rows)
    del raw
    _release_arrow_memory()
    is_blank = rows[needed].isna().all(axis=1)
    if is_blank.any():
        rows = rows[~is_blank].reset_index(drop=True)
    _check_rows(rows, path)
    first_text = rows[data.time].iloc[:1]
    rows[data.time], order = parse_fields.parse_dates(rows, data, path=path, settable=settable)
    in_utc = parse_fields.utc_note(first_text, order, rows[data.time].iloc[0], data)
    decimal_comma = _parse_all_numbers(rows, data, header, path)
    details = [encoding, csv_text.SEPARATORS[header.separator], *(["decimal comma"] if decimal_comma else [])]
    return rows, f"{len(rows):,} rows, {', '.join(details)}, {'ISO' if order == 'iso' else order} dates{in_utc}"


def _parse_all_numbers(rows: pd.DataFrame, data: Data, header: Header, path: str) -> bool:
    """Parse columns of numbers in place; True where one has decimal commas."""
    decimal_comma = False
    for column in _number_columns(data):
        rows[column], has_comma = parse_fields.parse_numbers(rows, column, separator=header.separator, path=path)
        decimal_comma |= has_comma
        _release_arrow_memory()
    return decimal_comma


def _read_parquet(path: str, data: Data, *, settable: bool) -> tuple[pd.DataFrame, str]:
    try:
        from pyarrow import parquet as pq

        with pq.ParquetFile(path, read_dictionary=[*data.series, *data.static]) as file:
            needed = _needed_columns(file.schema_arrow.names, data, path)
            columns = {column: _copied_column(file, column) for column in needed}
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from None
    rows = pd.DataFrame(columns, copy=False)
    _check_rows(rows, path)
    rows[LINE] = np.arange(1, len(rows) + 1, dtype=np.int32)
    if pd.api.types.is_datetime64_any_dtype(rows[data.time]):
        parse_fields.check_filled(rows, (data.time,), path)
        rows[data.time] = _stamps_of_column(rows, data, path)
    else:
        rows[data.time] = rows[data.time].astype("string")
        rows[data.time], _ = parse_fields.parse_dates(rows, data, path=path, settable=settable)
    for column in _number_columns(data):
        if not pd.api.types.is_numeric_dtype(rows[column]):
            raise DataError(f"{path}, column '{column}': holds {rows[column].dtype}, not numbers")
        rows[column] = rows[column].astype(float)
    return rows, f"{len(rows):,} rows, Parquet"


def _stamps_of_column(rows: pd.DataFrame, data: Data, path: str) -> pd.Series:
    """The time column, which holds stamps, on the axis: those with a time zone as texts with their offsets are."""
    stamps = rows[data.time]
    local, offsets = stamps, np.full(len(rows), np.nan)
    if stamps.dt.tz is not None:
        local = stamps.dt.tz_localize(None)
        offsets = (local - stamps.dt.tz_convert("UTC").dt.tz_localize(None)).dt.total_seconds().to_numpy(float)
    elif data.time_zone is None:
        return stamps.astype("datetime64[us]")
    on_axis = parse_fields.stamps_on_axis(rows, data, local.to_numpy("datetime64[us]"), offsets, path=path)
    return pd.Series(on_axis, index=rows.index)


def _parquet_schema(path: str) -> Any:
    try:
        from pyarrow import parquet as pq

        return pq.read_schema(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from None


def _copied_column(file: Any, name: str) -> pd.Series:
    """The column as a copy: a view would keep the memory of the whole file."""
    values = file.read([name])[name].to_pandas().copy()
    _release_arrow_memory()
    return cast("pd.Series", values)


def _release_arrow_memory() -> None:
    """Return unused memory to the system: Arrow, which holds the text of pandas columns too, keeps it otherwise."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _needed_columns(names: list[str], data: Data, path: str) -> list[str]:
    """The columns that `data` names, once each. Raises DataError where one is missing among `names`, or ambiguous."""
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
                similar = [*names, *calendar_features.similar_names(column)] if field == "data.future" else names
                raise DataError(
                    f"{path}, line 1: no column '{column}' ({field}){suggest(column, similar)} "
                    f"(the file has: {', '.join(names)})"
                )
            if names.count(column) > 1:
                raise DataError(f"{path}, line 1: the column '{column}' occurs twice; rename one of them")
    return list(dict.fromkeys(column for columns in fields.values() for column in columns))


def _number_columns(data: Data) -> list[str]:
    if data.sensors:
        return [*data.sensors, *((data.labels,) if data.labels else ())]
    return list(dict.fromkeys((data.target, *data.past, *filter(is_column, data.future))))


def _check_rows(rows: pd.DataFrame, path: str) -> None:
    if not len(rows):
        raise DataError(f"{path}: no rows; the file holds a header and nothing else; add rows, or leave the file out")
