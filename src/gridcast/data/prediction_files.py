"""Read the files that a model in use is given, with the code that read those of its experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from gridcast.config import Data
from gridcast.data import readers
from gridcast.data.parse_fields import LINE
from gridcast.runtime.preprocessing import Preprocessing


def read_series_table(path: Path, preprocessing: Preprocessing) -> pd.DataFrame:
    """Return the rows of `path` that a forecaster reads.

    These are the rows with a target, then rows without one that bring values of the future columns. Raises DataError.
    """
    future = tuple(preprocessing.future_columns)
    in_file = readers.column_names(str(path))
    sections: dict[str, Any] = {
        "source": str(path),
        "time": preprocessing.time,
        "series": preprocessing.keys,
        "frequency": preprocessing.frequency,
        "time_zone": _time_zone(preprocessing),
        "static": tuple(column for column, _ in preprocessing.categories if column in in_file),
    }
    data = Data(**sections, target=preprocessing.target, past=preprocessing.past, future=future)
    rows, _ = readers.read_table(str(path), data, settable=False)
    if future:
        # Rows without a target are left out, so the file is read again with a future column as its target.
        ahead = Data(**sections, target=future[0], future=future[1:])
        ahead_rows, _ = readers.read_table(str(path), ahead, settable=False)
        rows = pd.concat([rows, ahead_rows[~ahead_rows[LINE].isin(rows[LINE])]], ignore_index=True)
    return _with_zone(rows.drop(columns=LINE), preprocessing)


def read_sensor_table(path: Path, preprocessing: Preprocessing) -> pd.DataFrame:
    """Return the rows of `path` for a detector: stamps and sensors, NaN where a field is empty. Raises DataError."""
    data = Data(
        source=str(path),
        time=preprocessing.time,
        target=preprocessing.target,
        sensors=preprocessing.series,
        frequency=preprocessing.frequency,
        time_zone=_time_zone(preprocessing),
    )
    return _with_zone(readers.read_table(str(path), data, settable=False)[0].drop(columns=LINE), preprocessing)


def _time_zone(preprocessing: Preprocessing) -> str | None:
    """The time zone in which the stamps are read; that of a model whose code knows none is UTC."""
    return Preprocessing.adopt(preprocessing).time_zone or None


def _with_zone(rows: pd.DataFrame, preprocessing: Preprocessing) -> pd.DataFrame:
    """The rows with their stamps marked as UTC where they are, so that no model takes them for local times."""
    if not Preprocessing.adopt(preprocessing).has_zoned_axis:
        return rows
    return rows.assign(**{preprocessing.time: rows[preprocessing.time].dt.tz_localize("UTC")})
