"""Read the files that a model in use is given, with the code that read those of its experiment."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from gridcast.config import Data
from gridcast.data import readers, sentinels
from gridcast.data.parse_fields import LINE
from gridcast.data.readers import ReadingOptions
from gridcast.runtime.preprocessing import Preprocessing

LOG = logging.getLogger("gridcast")


def read_series_table(path: Path | str, preprocessing: Preprocessing) -> pd.DataFrame:
    """Return the rows of `path` that a forecaster reads.

    These are the rows with a target, then rows without one that bring values of the future columns. Raises DataError.
    """
    preprocessing = _adopted(preprocessing)
    sections = _sections(path, preprocessing)
    columns: dict[str, Any] = {"past": preprocessing.past, "future": preprocessing.future_columns}
    data = Data(**sections, **columns, series=preprocessing.keys, target=preprocessing.target)
    in_file = set(readers.column_names(str(path), data, settable=False))
    static = tuple(column for column, _ in preprocessing.categories if column in in_file)
    return _rows(path, data.model_copy(update={"static": static}), preprocessing, keep_ahead=True)


def read_sensor_table(
    path: Path | str, preprocessing: Preprocessing, *, labels: str | None = None, partial: bool = False
) -> pd.DataFrame:
    """Return the rows of `path` for a detector: stamps and sensors, NaN where a field is empty.

    `labels` is a further column of numbers, which the file need not have. With `partial`, it need not have all sensors
    either: those that it lacks are no columns. Raises DataError.
    """
    preprocessing = _adopted(preprocessing)
    data = Data(**_sections(path, preprocessing), target=preprocessing.target, sensors=preprocessing.series)
    if labels is not None or partial:
        names = readers.column_names(str(path), data, settable=False)
        if labels in names:
            data = data.model_copy(update={"labels": labels})
        present = tuple(name for name in preprocessing.series if name in names)
        if partial and present:
            data = data.model_copy(update={"sensors": present})
    return _rows(path, data, preprocessing)


def _adopted(preprocessing: Any) -> Preprocessing:
    """The preprocessing that an older model carries, with the fields that there are now."""
    return preprocessing if isinstance(preprocessing, Preprocessing) else Preprocessing.adopt(preprocessing)


def _sections(path: Path | str, preprocessing: Preprocessing) -> dict[str, Any]:
    """The section `data` of the experiment, as far as it says how tables are written."""
    blanks = {"blanks": preprocessing.dialect.blanks}
    axis = {"time": preprocessing.time, "frequency": preprocessing.frequency, "repeated": preprocessing.repeated}
    zone = {"time_zone": preprocessing.time_zone or None}
    return {"source": str(path), **axis, **zone, **blanks, **preprocessing.reading}


def _rows(path: Path | str, data: Data, preprocessing: Preprocessing, *, keep_ahead: bool = False) -> pd.DataFrame:
    options = ReadingOptions(preprocessing.dialect, settable=False, keep_ahead=keep_ahead)
    rows, _ = readers.read_table(str(path), data, options)
    for column in data.sensors or (data.target,):
        if remark := sentinels.sentinel_remark(rows[column], settable=False):
            LOG.warning(f"{path}, column '{column}': {remark}")
    return _with_zone(rows.drop(columns=LINE), preprocessing)


def _with_zone(rows: pd.DataFrame, preprocessing: Preprocessing) -> pd.DataFrame:
    """The rows with their stamps marked as UTC where they are, so that no model takes them for local times."""
    if not preprocessing.has_zoned_axis:
        return rows
    return rows.assign(**{preprocessing.time: rows[preprocessing.time].dt.tz_localize("UTC")})
