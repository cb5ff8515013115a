"""Tables with a column for each sensor: their names, their labels, and a tidy row for each value."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gridcast.config import Data
from gridcast.data import parse_fields, readers
from gridcast.data.anomaly_labels import LABEL_FILE_SUFFIX
from gridcast.data.parse_fields import LINE
from gridcast.data.table import SERIES, TARGET, TIME
from gridcast.runtime.errors import DataError

RESERVED_NAMES = ("score", "threshold", "anomaly", "labelled")
"""Columns that stand beside those of the sensors in a detector's answer."""


def with_sensor_names(data: Data, source: str | pd.DataFrame) -> Data:
    """Return `data` with the names of the sensors; the columns of numbers in the table `source` if `data` has none.

    A labels file in `data.labels` is left out, since it is no column. Raises DataError where there is no sensor, or one
    has a name that a detector's answer needs.
    """
    taken, path = (data.time, data.labels), parse_fields.shown_source(source)
    sensors = data.sensors or [name for name in readers.numeric_columns(source, data) if name not in taken]
    if not sensors:
        raise DataError(f"{path}: no column of numbers besides '{data.time}'; name the sensors in data.sensors")
    for name in sensors:
        if name in (*RESERVED_NAMES, *taken):
            raise DataError(
                f"{path}, line 1: a sensor cannot be called '{name}', as answers have a column of that name; if it "
                "says what is anomalous, name it in data.labels, otherwise leave it out with data.sensors, or rename it"
            )
    labels = None if data.labels and data.labels.endswith(LABEL_FILE_SUFFIX) else data.labels
    return data.model_copy(update={"series": (), "sensors": tuple(dict.fromkeys(sensors)), "labels": labels})


def melt_sensors(rows: pd.DataFrame, data: Data) -> pd.DataFrame:
    """Return a tidy row for each value of each sensor in `rows`; empty fields get none."""
    sensors = list(data.sensors or ())
    values = rows[sensors].to_numpy(float).T
    is_present = np.isfinite(values)
    sensor, row = np.nonzero(is_present)
    names = pd.Categorical.from_codes(sensor.astype(np.int32), categories=pd.Index(sensors))
    columns = {SERIES: names, TIME: rows[data.time].to_numpy()[row], TARGET: values[is_present]}
    return pd.DataFrame({**columns, LINE: rows[LINE].to_numpy(np.int32)[row]})


def labels_in_column(rows: pd.DataFrame, column: str, *, time: str, path: str) -> pd.Series:
    """Return which stamps, its index, the labels in `column` mark as anomalous; an empty field marks nothing.

    Raises DataError for values other than 0 and 1.
    """
    values = rows[column].fillna(0)
    wrong = np.flatnonzero(~values.isin((0, 1)))
    if len(wrong):
        raise DataError(
            f"{parse_fields.place(path, rows, int(wrong[0]))}, column '{column}': {values.iloc[wrong[0]]:g} is not a "
            "label; write 1 where a step is anomalous, else 0"
        )
    return pd.Series(values.to_numpy() == 1, index=pd.DatetimeIndex(rows[time]))
