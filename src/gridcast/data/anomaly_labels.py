"""Labels of anomalies that a file of their own has for several tables, as the Numenta Anomaly Benchmark keeps them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from gridcast.runtime.errors import DataError, suggest

LABEL_FILE_SUFFIX = ".json"
"""By which a file of labels is told from a column of them."""


def read_labels(path: str, table: str, times: pd.DatetimeIndex) -> pd.Series:
    """Which of the `times` of `table` the file at `path` marks as anomalous, indexed by them.

    The file holds, by the path of each table or the end of it, a list of stretches [first, last], or of single
    stamps. Raises DataError.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        known = {str(name): [_stretch(one) for one in stretches] for name, stretches in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"data.labels: '{path}' cannot be read: {error}; it must be JSON such as "
            '{"pump.csv": [["2024-01-01 10:00", "2024-01-01 10:30"]]}'
        ) from None
    own = [name for name in known if f"/{Path(table).as_posix()}".endswith(f"/{name}")]
    if not own:
        raise DataError(f"data.labels: '{path}' has no entry for {table}{suggest(table, known)}; add it, [] for none")
    marked = np.zeros(len(times), bool)
    for first, last in known[max(own, key=len)]:
        marked |= np.asarray((times >= first) & (times <= last))
    return pd.Series(marked, index=times)


def _stretch(given: object) -> tuple[pd.Timestamp, pd.Timestamp]:
    """First and last stamp, without a time zone, in UTC where they came with one."""
    ends = [given, given] if isinstance(given, str) else given
    if not isinstance(ends, list) or len(ends) != 2 or not all(isinstance(end, str) for end in ends):
        raise ValueError(f"{given!r} is no stretch [first, last]")
    first, last = (pd.to_datetime(end, utc=True).tz_localize(None) for end in ends)
    return first, last
