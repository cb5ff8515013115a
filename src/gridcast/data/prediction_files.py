"""The table that a model is asked from, read as the data of its experiment were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from gridcast.config import Data
from gridcast.data import readers
from gridcast.runtime.preprocessing import Preprocessing


def read_series_table(path: Path, own: Preprocessing) -> pd.DataFrame:
    """The rows of `path` with a target, and those without one that bring future columns. Raises DataError."""
    ahead, present = tuple(own.future_columns), readers.column_names(str(path))
    names: dict[str, Any] = {"source": str(path), "time": own.time, "series": own.keys, "frequency": own.frequency}
    names["static"] = tuple(column for column, _ in own.categories if column in present)
    rows, _ = readers.read_table(
        str(path), Data(**names, target=own.target, past=own.past, future=ahead), settable=False
    )
    if ahead:
        known, _ = readers.read_table(str(path), Data(**names, target=ahead[0], future=ahead[1:]), settable=False)
        rows = pd.concat([rows, known[~known[readers.LINE].isin(rows[readers.LINE])]], ignore_index=True)
    return rows.drop(columns=readers.LINE)


def read_sensor_table(path: Path, own: Preprocessing) -> pd.DataFrame:
    """The rows of `path` for a detector: stamps and sensors, NaN where a field is empty. Raises DataError."""
    data = Data(source=str(path), time=own.time, target=own.target, sensors=own.series, frequency=own.frequency)
    return readers.read_table(str(path), data, settable=False)[0].drop(columns=readers.LINE)
