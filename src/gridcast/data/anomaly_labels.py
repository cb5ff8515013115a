"""A file with labels of anomalies for several tables, in the format of the Numenta Anomaly Benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from gridcast.runtime.errors import DataError, suggest

LABEL_FILE_SUFFIX = ".json"
"""It distinguishes a file of labels from a column of them in `data.labels`."""


def read_labels(path: str, *, table_path: str, times: pd.DatetimeIndex) -> pd.Series:
    """Return which of `times`, its index, the file at `path` labels as anomalous for the table at `table_path`.

    The file maps the path of each table, or the end of it, to a list of intervals [first, last] or single stamps.
    Raises DataError.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        by_table = {str(name): [_interval(entry) for entry in entries] for name, entries in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"data.labels: '{path}' cannot be read: {error}; it must be JSON such as "
            '{"pump.csv": [["2024-01-01 10:00", "2024-01-01 10:30"]]}'
        ) from None
    names = [name for name in by_table if f"/{Path(table_path).as_posix()}".endswith(f"/{name}")]
    if not names:
        raise DataError(
            f"data.labels: '{path}' has no entry for {table_path}{suggest(table_path, by_table)}; add it, [] for none"
        )
    is_labelled = np.zeros(len(times), bool)
    for first, last in by_table[max(names, key=len)]:
        if last < times.min() or first > times.max():
            raise DataError(
                f"data.labels: '{path}': the interval {first} to {last} lies outside of {table_path}, whose rows are "
                f"from {times.min()} to {times.max()}; correct the interval, or remove it"
            )
        is_labelled |= np.asarray((times >= first) & (times <= last))
    return pd.Series(is_labelled, index=times)


def _interval(entry: object) -> tuple[pd.Timestamp, pd.Timestamp]:
    """First and last stamp, without a time zone, in UTC where they had one."""
    ends = [entry, entry] if isinstance(entry, str) else entry
    if not isinstance(ends, list) or len(ends) != 2 or not all(isinstance(end, str) for end in ends):
        raise ValueError(f"{entry!r} is not an interval [first, last]")
    first, last = (pd.to_datetime(end, utc=True).tz_localize(None) for end in ends)
    if last < first:
        raise ValueError(f"the interval {entry!r} ends before it begins")
    return first, last
