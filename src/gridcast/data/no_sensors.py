"""Columns of numbers that are no sensors: flags of 0 and 1, counters, and codes. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from gridcast.data import layout
from gridcast.data.first_look import names

MIN_COUNTED = 100
"""Rows from which values that never fall are those of a counter: in fewer, a sensor may just have risen."""
MIN_COUNTS = 20
"""Different values that a counter has at least: a sensor with two levels may have risen once."""
MAX_CODES = 20
"""Different whole numbers that a column of codes has at most."""
FLAG, COUNTER, CODE = "hold only 0 and 1", "never fall, as counters and row numbers", "hold codes, as their names say"


def split_sensors(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return those of the `columns` of numbers in `tables` that are sensors, and notes on the others.

    Nobody named these columns; a person who names them in `data.sensors` has them all. Where nothing else is left,
    they are sensors.
    """
    reasons = {name: _reason(name, [table[name] for table in tables]) for name in columns}
    sensors = [name for name in columns if not reasons[name]]
    by_reason = {reason: [name for name in columns if reasons[name] == reason] for reason in (FLAG, COUNTER, CODE)}
    notes = [f"{layout.listed(found)} {reason}" for reason, found in by_reason.items() if found]
    if not notes:
        return sensors, []
    if not sensors:
        return list(columns), [f"warning: {'; '.join(notes)}: read as sensors, as there are no others"]
    remedy = "name in data.labels what marks anomalies, and all sensors in data.sensors if one of these is one"
    return sensors, [f"warning: no sensors: {'; '.join(notes)}; {remedy}"]


def _reason(name: str, parts: Sequence[pd.Series]) -> str:
    """Why the column `name`, in `parts` by table, is no sensor; empty where it is one."""
    values = [part.dropna().to_numpy(float) for part in parts]
    distinct = np.unique(np.concatenate(values))
    if np.isin(distinct, (0, 1)).all() and 0 in distinct:  # without a 0 it is constant
        return FLAG
    if (
        len(distinct) <= MAX_CODES
        and names.is_about(name, names.NOT_SENSORS)
        and (distinct == np.round(distinct)).all()
    ):
        return CODE
    return COUNTER if is_counter(values) else ""


def is_counter(parts: Sequence[np.ndarray]) -> bool:
    """Whether the values of a column, in `parts` by table, never fall, and are many enough to say so."""
    is_long = sum(map(len, parts)) >= MIN_COUNTED and len(np.unique(np.concatenate(parts))) >= MIN_COUNTS
    return is_long and all(bool((np.diff(part) >= 0).all()) for part in parts)
