"""Read the tables that a model in use is given, with the code that read those of its experiment."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gridcast.config import Data
from gridcast.data import readers, sentinels, sources
from gridcast.data.parse_fields import LINE, shown_source
from gridcast.data.readers import ReadingOptions
from gridcast.runtime.preprocessing import Preprocessing

LOG = logging.getLogger("gridcast")


TableOrPath = pd.DataFrame | Path | str
"""A frame, or what names tables: a file, a pattern of files, an address, or a database."""


def read_series_table(source: TableOrPath, preprocessing: Preprocessing) -> pd.DataFrame:
    """Return the rows of `source` that a forecaster reads.

    A database is asked what that of training was asked (`data.query`). The rows are those with a target, then rows
    without one that bring values of the future columns. Raises DataError.
    """
    preprocessing = _adopted(preprocessing)
    tables = _tables(source)
    sections = _sections(tables[0], preprocessing)
    columns: dict[str, Any] = {"past": preprocessing.past, "future": preprocessing.future_columns}
    data = Data(**sections, **columns, series=preprocessing.keys, target=preprocessing.target)
    in_all = set(readers.column_names(tables[0], data, settable=False))
    for table in tables[1:]:
        in_all &= set(readers.column_names(table, data, settable=False))
    static = tuple(column for column, _ in preprocessing.categories if column in in_all)
    return _rows(tables, data.model_copy(update={"static": static}), preprocessing, keep_ahead=True)


def read_sensor_table(
    source: TableOrPath, preprocessing: Preprocessing, *, labels: str | None = None, partial: bool = False
) -> pd.DataFrame:
    """Return the rows of `source` for a detector: stamps and sensors, NaN where a field is empty.

    `source` is as in `read_series_table`; `labels` is a further column of numbers, which the tables need not have. With
    `partial`, they need not have all sensors either: those that one lacks are no columns. Raises DataError.
    """
    preprocessing = _adopted(preprocessing)
    tables = _tables(source)
    data = Data(**_sections(tables[0], preprocessing), target=preprocessing.target, sensors=preprocessing.series)
    if labels is not None or partial:
        names = set.intersection(*(set(readers.column_names(table, data, settable=False)) for table in tables))
        if labels in names:
            data = data.model_copy(update={"labels": labels})
        present = tuple(name for name in preprocessing.series if name in names)
        if partial and present:
            data = data.model_copy(update={"sensors": present})
    return _rows(tables, data, preprocessing)


def _tables(source: TableOrPath) -> Sequence[str | pd.DataFrame]:
    """The tables that `source` means; where there is none, itself, as the reader says best what is wrong with it."""
    if isinstance(source, pd.DataFrame):
        return [source]
    return sources.matching_tables(str(source)) or [str(source)]


def _adopted(preprocessing: Any) -> Preprocessing:
    """The preprocessing that an older model carries, with the fields that there are now."""
    return preprocessing if isinstance(preprocessing, Preprocessing) else Preprocessing.adopt(preprocessing)


def _sections(table: str | pd.DataFrame, preprocessing: Preprocessing) -> dict[str, Any]:
    """The section `data` of the experiment, as far as it says how tables are written."""
    blanks = {"blanks": preprocessing.dialect.blanks}
    axis = {"time": preprocessing.time, "frequency": preprocessing.frequency, "repeated": preprocessing.repeated}
    zone = {"time_zone": preprocessing.time_zone or None}
    return {"source": shown_source(table), **axis, **zone, **blanks, **preprocessing.reading}


def _rows(
    tables: Sequence[str | pd.DataFrame], data: Data, preprocessing: Preprocessing, *, keep_ahead: bool = False
) -> pd.DataFrame:
    options = ReadingOptions(preprocessing.dialect, settable=False, keep_ahead=keep_ahead)
    read, _ = readers.read_tables(tables, data, options)
    rows = pd.concat([table.rows for table in read], ignore_index=True) if len(read) > 1 else read[0].rows
    for column in data.sensors or (data.target,):
        if remark := sentinels.sentinel_remark(rows[column], settable=False):
            LOG.warning(f"{', '.join(map(shown_source, tables[:3]))}, column '{column}': {remark}")
    return _with_zone(rows.drop(columns=LINE), preprocessing)


def _with_zone(rows: pd.DataFrame, preprocessing: Preprocessing) -> pd.DataFrame:
    """The rows with their stamps marked as UTC where they are, so that no model takes them for local times."""
    if not preprocessing.has_zoned_axis:
        return rows
    return rows.assign(**{preprocessing.time: rows[preprocessing.time].dt.tz_localize("UTC")})
