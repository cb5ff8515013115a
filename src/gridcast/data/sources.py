"""From `data.source` to one tidy table: built-in sets, files, addresses, databases, or a frame."""

from __future__ import annotations

import glob
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd

from gridcast.config import Data
from gridcast.data import (
    anomaly_labels,
    builtin,
    csv_text,
    file_bytes,
    layout,
    no_sensors,
    readers,
    sensor_table,
    sentinels,
)
from gridcast.data.parse_fields import FRAME, LINE, unit_of
from gridcast.data.select_rows import aggregate_table, drop_repeated_rows, select_rows
from gridcast.data.static_categories import check_static_columns, with_static_columns
from gridcast.data.table import FILE, ONLY_SERIES, SERIES, TARGET, TIME, Table
from gridcast.runtime.errors import DataError, suggest
from gridcast.runtime.series_ids import plain_id, series_id_column


def load_table(data: Data, cache: Path = Path("data"), frame: pd.DataFrame | None = None) -> Table:
    """Return the table of `data.source`, with the rows that `data` selects; built-in sets are kept under `cache`.

    With a `frame`, its rows are read in place of the source. Raises DataError that names file, line, column and remedy.
    """
    if frame is not None:
        table = _read_files(data, [frame])
    elif data.source in builtin.BUILTIN_SETS:
        path, notes = builtin.fetch_set(data.source, cache, (*data.past, *data.future, *data.static))
        table = replace(_read_files(data, [str(path)]), notes=tuple(notes))
    else:
        table = _read_files(data, matching_tables(data.source) or _no_match(data.source))
    table = select_rows(table, data)
    if data.repeated != "error":
        table = drop_repeated_rows(table, data.repeated)
    if data.static_source is not None:
        table = replace(table, rows=with_static_columns(table.rows, data, data.static_source))
    check_static_columns(table.rows, data.static)
    return table if data.aggregate == "none" else aggregate_table(table, data)


def matching_tables(source: str) -> list[str]:
    """Return the paths or addresses of the tables that `source` names or matches. Raises DataError."""
    if file_bytes.scheme_of(source):
        return _addresses(source)
    # Its name may hold signs of a pattern, such as sales[2021].csv. `Path.is_file` raises for some texts.
    if os.path.isfile(source):  # noqa: PTH113
        return [source]
    paths = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 - the pattern may be absolute
    return [path for path in paths if not Path(path).is_dir()]


def _no_match(source: str) -> NoReturn:
    if source == FRAME:
        raise DataError(
            "data.source: the sweep read a DataFrame, which no file holds; give it again in Python (data=frame), or "
            "write its rows to a file and name that"
        )
    similar = suggest(source, [*builtin.BUILTIN_SETS, *map(str, Path().glob("**/*.csv"))])
    raise DataError(
        f"data.source: no file matches '{source}'{similar} "
        f"(a built-in set: {', '.join(builtin.BUILTIN_SETS)}; or a path or glob of CSV, Excel or Parquet files)"
    )


def _addresses(source: str) -> list[str]:
    """The address itself, or those of a storage that its pattern matches."""
    if file_bytes.is_database(source) or not glob.has_magic(source) or file_bytes.scheme_of(source).startswith("http"):
        return [source]
    import fsspec

    try:
        return sorted(str(file.full_name) for file in fsspec.open_files(source, "rb")) or [source]
    except ImportError as error:
        raise DataError(f"data.source: {file_bytes.shown(source)}: needs another package: {error}") from None
    except Exception as error:  # noqa: BLE001 - every file system has exceptions of its own
        raise DataError(f"data.source: {file_bytes.shown(source)}: cannot be listed: {error}") from None


def _read_files(data: Data, sources: Sequence[str | pd.DataFrame]) -> Table:
    """The rows of all files, with a note on each."""
    in_files = data if data.static_source is None else data.model_copy(update={"static": ()})
    if data.sensors is not None:
        in_files = sensor_table.with_sensor_names(in_files, sources[0])
    read, dialect = readers.read_tables(sources, in_files)
    paths, notes = tuple(table.path for table in read), [f"{table.path}: {table.note}" for table in read]
    if data.sensors is not None and not data.sensors:
        notes += _text_columns(sources[0], in_files)
        sensors, remarks = no_sensors.split_sensors([table.rows for table in read], in_files.sensors or ())
        in_files, notes = in_files.model_copy(update={"sensors": tuple(sensors)}), notes + remarks
    tables: list[pd.DataFrame] = []
    labels: list[pd.Series] = []
    silent = [str(name) for table in read if len(table.silent) for name in _ids(table.silent, data.series)]
    while read:
        table, number = read.pop(0), len(tables)
        rows, path = table.rows, table.path
        del table  # a large table is in memory once
        tidy = _tidy_sensors(rows, in_files, path) if in_files.sensors else _tidy_rows(rows, in_files, path)
        tables.append(tidy.assign(**{FILE: np.int32(number)}))
        if data.labels:
            labels.append(_labels(rows, data, path))
    rows = _in_order(csv_text.concat_rows(tables, [SERIES]), in_files)
    _check_values(rows, in_files)
    notes += _doubtful_notes(rows, is_sensors=data.sensors is not None)
    silent = sorted(set(silent) - set(rows[SERIES].unique())) if silent else []
    if silent:
        notes.append(f"warning: {len(silent):,} series without any '{data.target}' left out: {layout.listed(silent)}")
    return Table(rows, paths, tuple(notes), pd.concat(labels) if labels else None, dialect, tuple(silent))


def _doubtful_notes(rows: pd.DataFrame, *, is_sensors: bool) -> list[str]:
    """Warnings about ids that look alike, and values that may stand for none: of sensors, see `check_readings`."""
    remark = "" if is_sensors else sentinels.sentinel_remark(rows[TARGET], rows[SERIES], settable=True)
    return [*_similar_ids(list(map(str, rows[SERIES].cat.categories))), *([f"warning: {remark}"] if remark else [])]


def _text_columns(source: str | pd.DataFrame, data: Data) -> list[str]:
    """A note on the columns that are no sensors because they hold no numbers."""
    sensors = data.sensors or ()
    columns = [] if data.pivot is not None else readers.column_names(source, data)
    others = [name for name in columns if name not in (*sensors, data.time, data.labels, "")]
    return [f"no sensors, as they do not hold numbers: {layout.listed(others)}"] if others else []


def _similar_ids(names: Sequence[str]) -> list[str]:
    by_form: dict[str, str] = {}
    for name in names:
        other = by_form.setdefault(unicodedata.normalize("NFKC", name).strip().casefold(), name)
        if other != name:
            return [f"warning: the series {other!a} and {name!a} look alike; rename one if they are the same"]
    return []


def _labels(rows: pd.DataFrame, data: Data, path: str) -> pd.Series:
    """Return the stamps labelled as anomalous, from a column of the file at `path` or from a file of labels."""
    assert data.labels is not None
    if data.labels.endswith(anomaly_labels.LABEL_FILE_SUFFIX):
        return anomaly_labels.read_labels(data.labels, table_path=path, times=pd.DatetimeIndex(rows[data.time]))
    return sensor_table.labels_in_column(rows, data.labels, time=data.time, path=path)


def _tidy_sensors(rows: pd.DataFrame, data: Data, path: str) -> pd.DataFrame:
    _check_finite(rows, path, {})
    return sensor_table.melt_sensors(rows, data)


def _tidy_rows(rows: pd.DataFrame, data: Data, path: str) -> pd.DataFrame:
    columns = {SERIES: _ids(rows, data.series), TIME: rows[data.time], TARGET: rows[data.target]}
    future = [name for name in data.future if name in rows.columns]
    columns |= {name: rows[name] for name in (*data.past, *future, *data.static)}
    columns[LINE] = rows[LINE].astype(np.int32)
    tidy = pd.DataFrame(columns, copy=False)
    _check_finite(tidy, path, {TARGET: data.target})
    return tidy


def _ids(rows: pd.DataFrame, columns: tuple[str, ...]) -> pd.Series:
    """The id of each row as a category: ten million ids as text would take more memory than the numbers."""
    if not columns:
        return pd.Series(ONLY_SERIES, index=rows.index, dtype="category")
    # The id of the only key is the key itself: its categories need not become text for each row.
    ids = rows[columns[0]] if len(columns) == 1 else series_id_column([rows[column] for column in columns])
    ids = ids.astype("category")
    return ids.cat.rename_categories(list(ids.cat.categories.astype(str)))


def _in_order(rows: pd.DataFrame, data: Data) -> pd.DataFrame:
    """`rows` with their series in the order of the panel: sensors as named, others by id."""
    if data.sensors:
        order = list(data.sensors)
    elif len(data.series) > 1:
        # The order of plain ids, in which the fingerprints of versions before 0.2.0 have the values.
        order = sorted(rows[SERIES].cat.categories, key=lambda name: (plain_id(name, len(data.series)), name))
    else:
        return rows
    return rows.assign(**{SERIES: rows[SERIES].cat.reorder_categories(order)})


def _check_finite(rows: pd.DataFrame, path: str, names: Mapping[str, str]) -> None:
    """Raise DataError at the first infinite value; `names` are those in the file of columns that have others here."""
    for column in map(str, rows.select_dtypes("number").columns):
        infinite = np.flatnonzero(np.isinf(rows[column].to_numpy(float)))
        if len(infinite):
            raise DataError(
                f"{path}, {unit_of(path)} {rows[LINE].iloc[infinite[0]]}, column '{names.get(column, column)}': "
                "infinite value; give a number, or leave the field empty for a missing one"
            )


def _check_values(rows: pd.DataFrame, data: Data) -> None:
    """Raise DataError where the target, or a sensor, has no value in any file."""
    if data.sensors:
        empty = [name for name in data.sensors if not (rows[SERIES] == name).any()]
    else:
        empty = [] if len(rows) else [data.target]
    if empty:
        raise DataError(f"{data.source}, column '{empty[0]}': empty in every row; fill it in, or name another")
