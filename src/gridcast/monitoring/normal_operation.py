"""Normal operation: where it is read from, what a detector says of it, and whether its scores have drifted."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gridcast.config import SENSOR_DEFAULTS, Data
from gridcast.data import readers
from gridcast.monitoring import drift
from gridcast.monitoring.findings import AlarmLimits
from gridcast.monitoring.stream import followed_model
from gridcast.monitoring.stream.ledger import Ledger
from gridcast.runtime.detector import Detector
from gridcast.runtime.errors import DataError

SQLITE_MAGIC = b"SQLite format 3\0"
"""What the record of a stream begins with."""
DEFAULT_LIMITS = AlarmLimits()


@dataclass(frozen=True)
class ScoredOperation:
    """What a detector `said`, by stamp, and which of these steps (n,) are `normal`.

    Those have a score and are no anomaly, nor read with one. `labelled` tells that labels say so.
    """

    said: pd.DataFrame
    normal: np.ndarray
    labelled: bool

    def late(self, last: pd.Timedelta) -> np.ndarray:
        """Which steps (n,) lie in the `last` span."""
        return np.asarray(self.said.index > self.said.index[-1] - last)


def read_readings(path: Path, detector: Detector, label: str) -> tuple[pd.DataFrame, np.ndarray | None]:
    """The readings of the CSV or Parquet file at `path`, and its labels (rows,), None without such a column. DataError.

    In the column `label`, 0 is confirmed as normal; whatever else it says is not.
    """
    labels = label if label in readers.columns(str(path)) else None
    names: dict[str, Any] = {"sensors": detector.sensors, "labels": labels, "frequency": detector.frequency}
    names |= {"source": str(path), "time": detector.time, "target": SENSOR_DEFAULTS["target"]}
    rows, _ = readers.read(str(path), Data(**names), settable=False)
    rows = rows.drop(columns=readers.LINE)
    return (rows, None) if labels is None else (rows.drop(columns=labels), rows[labels].to_numpy() != 0)


def is_stream_record(path: Path) -> bool:
    """Whether the file at `path` is the record of a stream."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC


def read_stream_record(
    path: Path, name: str, detector: Detector, *, false_alarms: Sequence[str]
) -> tuple[pd.DataFrame, np.ndarray]:
    """The readings in the record of the stream of the model `name`, and whether they belong to an event (rows,).

    Those of the alerts that are told as `false` do not, now and from now on. Raises ConfigError for an alert that is
    not there, or the record of another stream, which is left as it is.
    """
    with contextlib.closing(Ledger(path, name, detector.frequency)) as ledger:
        with ledger.writing():
            for key in false_alarms:
                ledger.mark_false(key)
        table = ledger.readings(pd.Timestamp.min, detector.sensors)
        labels = np.zeros(len(table), bool)
        for first, last in ledger.events().values():
            labels |= (table.index >= first) & (table.index <= last)
    return table.rename_axis(detector.time).reset_index(), labels


def score_readings(detector: Detector, table: pd.DataFrame, labels: np.ndarray | None) -> ScoredOperation:
    """What the detector says of `table`, of whose rows the `labels` (rows,) tell which are anomalous. DataError."""
    said = detector.predict(table).set_index(detector.time)
    normal = said["score"].notna().to_numpy(copy=True)
    if labels is not None:
        reach = detector.lookback * followed_model.step_length(detector.frequency)
        marked = pd.DatetimeIndex(table.loc[labels, detector.time]).sort_values()
        # Near means that some label lies in [step - reach, step + reach].
        times = pd.DatetimeIndex(said.index)
        normal &= marked.searchsorted(times - reach, "left") == marked.searchsorted(times + reach, "right")
    return ScoredOperation(said, normal, labels is not None)


def score_shift(operation: ScoredOperation, last: pd.Timedelta) -> drift.Shift:
    """How far the scores of normal operation in the `last` span lie from those before.

    Raises DataError where there are too few of these.
    """
    late = operation.late(last)
    known, new = (operation.said.loc[operation.normal & part, "score"].to_numpy()[None] for part in (~late, late))
    try:
        return drift.measure_shift(known, known.shape[1], new)
    except ValueError:
        raise DataError(
            f"--drifted: {new.shape[1]} scores of the --last span cannot be judged by {known.shape[1]} before them; "
            f"{drift.MIN_BLOCKS} times as many are needed: give more data, or a shorter --last"
        ) from None


def has_drifted(found: drift.Shift) -> bool:
    """Whether a shift is beyond the limits that `gridcast monitor` has too."""
    likely = drift.holm([found.psi_p_value, found.ks_p_value])
    return found.psi >= DEFAULT_LIMITS.psi and bool(np.nanmin(likely) <= DEFAULT_LIMITS.alpha)
