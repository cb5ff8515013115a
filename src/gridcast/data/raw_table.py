"""The columns of one table as they come: text from CSV files, typed values from all other sources."""

from __future__ import annotations

import datetime as dt
import decimal
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from gridcast.config import Data
from gridcast.data import csv_text, excel_file, file_bytes
from gridcast.data.csv_text import SEPARATOR_SIGNS, SEPARATORS, HeaderOptions
from gridcast.data.layout import Layout, find_layout
from gridcast.data.parse_fields import FRAME, LINE
from gridcast.runtime.errors import ConfigError, DataError, install_remedy


@dataclass(frozen=True)
class RawTable:
    """The columns of `layout` in the table at `path`, with LINE, not parsed yet.

    `details` say how it was read; `separator` is the name of that between the fields, None where there is none.
    """

    path: str
    rows: pd.DataFrame
    layout: Layout
    details: tuple[str, ...]
    separator: str | None = None


def read_raw_table(source: str | pd.DataFrame, data: Data, *, settable: bool) -> RawTable:
    """Return the columns that `data` names of a file, an address, a database, or a frame. Raises DataError."""
    if isinstance(source, pd.DataFrame):
        return _from_frame(source, FRAME, data, "DataFrame")
    if file_bytes.is_database(source):
        return _from_frame(_query(source, data, settable=settable), file_bytes.shown(source), data, "SQL")
    kind = file_bytes.kind_of(source)
    if kind == "parquet":
        return _from_parquet(source, data)
    if kind == "excel":
        frame, sheet = excel_file.read_sheet(source, data.sheet, data.skip, settable=settable)
        return _from_frame(frame, source, data, f"sheet '{sheet}'")
    return _from_csv(source, data, settable=settable)


def column_names(source: str | pd.DataFrame, data: Data, *, settable: bool = True) -> list[str]:
    """Return the names of the columns of a table. Raises DataError where it cannot be read."""
    if isinstance(source, pd.DataFrame):
        return [str(name) for name in source.columns]
    if file_bytes.is_database(source):
        return list(_query(source, data, settable=settable).columns)
    kind = file_bytes.kind_of(source)
    if kind == "parquet":
        return list(parquet_schema(source).names)
    if kind == "excel":
        return list(excel_file.read_sheet(source, data.sheet, data.skip, settable=settable)[0].columns)
    raw, _ = csv_text.read_text(source, data.encoding, settable=settable)
    return csv_text.parse_header(raw, source, _options(data, settable=settable), _fits(data, source)).names


def parquet_schema(path: str) -> Any:
    """Return the schema of the Parquet file at `path`. Raises DataError."""
    try:
        from pyarrow import parquet as pq

        return pq.read_schema(_parquet_source(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from None


def release_arrow_memory() -> None:
    """Return unused memory to the system: Arrow, which holds the text of pandas columns too, keeps it otherwise."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _options(data: Data, *, settable: bool) -> HeaderOptions:
    return HeaderOptions(SEPARATOR_SIGNS.get(str(data.separator)), data.skip, settable)


def _fits(data: Data, path: str) -> Callable[[list[str]], bool]:
    def fits(names: list[str]) -> bool:
        try:
            find_layout(names, data, path)
        except (DataError, ConfigError):
            return False
        return True

    return fits


def _from_csv(path: str, data: Data, *, settable: bool) -> RawTable:
    raw, encoding = csv_text.read_text(path, data.encoding, settable=settable)
    if not raw.strip():
        raise DataError(f"{path}: the file is empty; give one with a header and rows")
    header = csv_text.parse_header(raw, path, _options(data, settable=settable), _fits(data, path))
    layout = find_layout(header.names, data, path)
    raw = raw[header.start :]
    csv_text.check_field_counts(raw, header, path)
    text_only = {*layout.names} - {layout.time, *layout.numbers}
    rows = csv_text.read_columns(raw, header, layout.columns, path, categories=sorted(text_only))
    rows[LINE] = csv_text.line_numbers(raw, rows, header.line)
    del raw
    release_arrow_memory()
    is_blank = rows[layout.columns].isna().all(axis=1)
    if is_blank.any():
        rows = rows[~is_blank].reset_index(drop=True)
    _check_rows(rows, path)
    names = {sign: name for name, sign in SEPARATOR_SIGNS.items()}
    details = (encoding, SEPARATORS.get(header.separator, f"separator '{header.separator}'"))
    return RawTable(path, rows, layout, details, names.get(header.separator, header.separator))


def _from_parquet(path: str, data: Data) -> RawTable:
    try:
        from pyarrow import parquet as pq

        names = parquet_schema(path).names
        layout = find_layout(names, data, path)
        with pq.ParquetFile(_parquet_source(path), read_dictionary=list(layout.names)) as file:
            columns = {column: _copied_column(file, column) for column in layout.columns}
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from None
    rows = pd.DataFrame(columns, copy=False)
    _check_rows(rows, path)
    rows[LINE] = np.arange(1, len(rows) + 1, dtype=np.int32)
    return RawTable(path, _with_known_types(rows, layout), layout, ("Parquet",))


def _parquet_source(path: str) -> Any:
    """The file for pyarrow: a path, or the content at an address."""
    return io.BytesIO(file_bytes.read_bytes(path)) if file_bytes.scheme_of(path) else path


def _copied_column(file: Any, name: str) -> pd.Series:
    """The column as a copy: a view would keep the memory of the whole file."""
    values = file.read([name])[name].to_pandas().copy()
    release_arrow_memory()
    return cast("pd.Series", values)


def _from_frame(frame: pd.DataFrame, path: str, data: Data, detail: str) -> RawTable:
    if data.time not in frame.columns and data.time in frame.index.names:
        frame = frame.reset_index()
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    layout = find_layout(list(frame.columns), data, path)
    rows = frame[layout.columns].reset_index(drop=True)
    rows[LINE] = frame[excel_file.ROW].to_numpy() if excel_file.ROW in frame else np.arange(1, len(rows) + 1)
    rows = rows[~rows[layout.columns].isna().all(axis=1)].reset_index(drop=True)
    _check_rows(rows, path)
    return RawTable(path, _with_known_types(rows, layout), layout, (detail,))


def _query(source: str, data: Data, *, settable: bool) -> pd.DataFrame:
    """The rows that `data.query` selects in a database. Raises ConfigError and DataError without its password."""
    if data.query is None:
        if not settable:
            problem = "is a database, and the model was not trained on one; give its rows as a file"
            raise DataError(f"{file_bytes.shown(source)}: {problem}")
        remedy = "write the SQL that gives its rows, such as query: SELECT * FROM sales"
        raise ConfigError(f"data.query: {file_bytes.shown(source)} is a database; {remedy}")
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(source)
        with engine.connect() as connection:
            return pd.read_sql(sqlalchemy.text(data.query), connection)
    except ImportError as error:
        remedy = install_remedy(error)
        raise DataError(f"{file_bytes.shown(source)}: needs another package: {error}{remedy}") from None
    except (sqlalchemy.exc.SQLAlchemyError, ValueError) as error:
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise DataError(f"{file_bytes.shown(source)}: data.query failed: {reason}") from None


def _with_known_types(rows: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Columns as numbers, truth values, stamps or text, whatever objects they hold; names as categories of text."""
    for column in layout.columns:
        values = rows[column]
        if column in layout.names and column not in (layout.time, *layout.numbers):
            rows[column] = _names(values)
        elif values.dtype == object or isinstance(values.dtype, pd.CategoricalDtype):
            rows[column] = _from_objects(values)
    return rows


def _names(values: pd.Series) -> pd.Series:
    if isinstance(values.dtype, pd.CategoricalDtype):
        texts = [str(value) for value in values.cat.categories]
        if len(set(texts)) == len(texts):
            return values.cat.rename_categories(texts)
    if values.dtype == object:
        values = values.map(_name_text, na_action="ignore")
    return values.where(values.isna(), values.astype("str")).astype("str").astype("category")


def _name_text(value: object) -> str:
    """A name as a person reads it in its cell: Excel holds 7 as 7.0 in some columns."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _from_objects(values: pd.Series) -> pd.Series:
    """Numbers, dates or texts of a column that may mix them: a mixture becomes text."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
        if values.dtype != object:
            return values
    present = values.dropna()
    if len(present) and present.map(lambda value: isinstance(value, bool | np.bool_)).all():
        return values.astype("boolean")
    if present.map(lambda value: isinstance(value, bool | int | float | decimal.Decimal | np.number | np.bool_)).all():
        return values.where(values.notna(), np.nan).astype(float)
    if present.map(lambda value: isinstance(value, dt.date)).all():
        if present.map(lambda value: getattr(value, "tzinfo", None) is not None).any():
            return pd.to_datetime(values, utc=True)
        return pd.to_datetime(values).astype("datetime64[us]")
    return values.map(_cell_text, na_action="ignore").astype("str")


def _cell_text(value: object) -> str:
    if isinstance(value, dt.date):
        return value.isoformat().replace("T00:00:00", "")
    return _name_text(value)


def _check_rows(rows: pd.DataFrame, path: str) -> None:
    if not len(rows):
        raise DataError(f"{path}: no rows; the file holds a header and nothing else; add rows, or leave the file out")
