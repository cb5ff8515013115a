"""Normal operation of a plant: readings and labels, their scores by a detector, and drift of these scores."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from gridcast.data import prediction_files
from gridcast.evaluation.significance import holm
from gridcast.monitoring import drift
from gridcast.monitoring.findings import AlarmLimits
from gridcast.monitoring.stream import followed_model
from gridcast.monitoring.stream.ledger import Ledger
from gridcast.runtime.detector import MINIMUM, Detector
from gridcast.runtime.errors import DataError

SQLITE_MAGIC = b"SQLite format 3\0"
"""First bytes of the record of a stream."""
DEFAULT_LIMITS = AlarmLimits()


@dataclass(frozen=True)
class ScoredOperation:
    """The `scores` of a detector, by time, and a mask (n,) of the steps that are `normal`.

    The scores are those of a follower of a stream, or in hindsight where the detector has no thresholds for such
    scores. A normal step has a score, is not labelled as anomalous, and no window reads both it and a step that is.
    `labelled` says whether there were labels. `by_wait` holds the scores (n,) of each further view that has a threshold
    of its own: after a number of steps, or in hindsight (None). `members` are the same of each member of an ensemble
    that raises an alarm where all of them do: their thresholds decide.
    """

    scores: pd.DataFrame
    normal: np.ndarray
    labelled: bool
    by_wait: Mapping[int | None, np.ndarray] = field(default_factory=dict)
    members: tuple[ScoredOperation, ...] = ()

    def is_recent(self, span: pd.Timedelta) -> np.ndarray:
        """Return the mask (n,) of the steps in the last `span`."""
        return np.asarray(self.scores.index > self.scores.index[-1] - span)


def read_readings(source: Path | str, detector: Detector, label: str) -> tuple[pd.DataFrame, np.ndarray | None]:
    """Return the readings of a table (see `prediction_files`), and which rows (rows,) are anomalous.

    A row is normal where the column `label` is 0, and anomalous for any other value. The mask is None where the table
    has no such column. Raises DataError.
    """
    rows = prediction_files.read_sensor_table(source, detector.preprocessing, labels=label)
    labels = label if label in rows.columns and label not in detector.sensors else None
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
    """Return the readings in the stream record of the model `name`, and which rows (rows,) belong to an event.

    Alerts whose ids are in `false_alarms` are marked as false in the record; their events do not count, now and in
    later calls. Raises ConfigError for an alert that does not exist, or the record of another stream; the record is
    then not changed.
    """
    with contextlib.closing(Ledger(path, name, detector.frequency)) as ledger:
        with ledger.transaction():
            for event_id in false_alarms:
                ledger.mark_false_alarm(event_id)
        readings = ledger.readings(pd.Timestamp.min, detector.sensors)
        in_event = np.zeros(len(readings), bool)
        for first, last in ledger.event_spans().values():
            in_event |= (readings.index >= first) & (readings.index <= last)
    return readings.rename_axis(detector.time).reset_index(), in_event


def score_readings(
    detector: Detector, readings: pd.DataFrame, is_anomalous: np.ndarray | None, *, further_wait: int | None = None
) -> ScoredOperation:
    """Score `readings`; the mask (rows,) `is_anomalous` is None where there are no labels. Raises DataError.

    Scores after `further_wait` steps are in `by_wait` too, if these are not final.
    """
    # Detectors from before there were online scores, whose code is their own, have none of these attributes.
    waits: list[int | None] = [one.wait for one in getattr(detector, "online", ())]
    if further_wait is not None and waits and further_wait < detector.settling:
        waits = list(dict.fromkeys([*waits, further_wait]))
    params = {"wait": detector.wait} if waits else {}
    scores = detector.predict(readings, params).set_index(detector.time)
    normal = scores["score"].notna().to_numpy(copy=True)
    if is_anomalous is not None:
        reach = detector.lookback * followed_model.step_length(detector.frequency)
        anomalous_times = pd.DatetimeIndex(readings.loc[is_anomalous, detector.time]).sort_values()
        if anomalous_times.tz is not None:  # scores are on the axis of the model, which is in UTC then
            anomalous_times = anomalous_times.tz_convert("UTC").tz_localize(None)
        # A step is normal where no anomalous time lies in [step - reach, step + reach]: both searches then end equal.
        times = pd.DatetimeIndex(scores.index)
        normal &= anomalous_times.searchsorted(times - reach, "left") == anomalous_times.searchsorted(
            times + reach, "right"
        )
    by_wait = {wait: detector.predict(readings, {"wait": wait})["score"].to_numpy() for wait in waits}
    if waits:
        by_wait[None] = detector.predict(readings)["score"].to_numpy()
    members: tuple[ScoredOperation, ...] = ()
    if getattr(detector, "combine", None) == MINIMUM:
        members = tuple(
            score_readings(member, readings, is_anomalous, further_wait=detector.wait) for member in detector.members
        )
    return ScoredOperation(scores, normal, is_anomalous is not None, by_wait, members)


def score_shift(operation: ScoredOperation, span: pd.Timedelta) -> drift.Shift:
    """Return how far the normal scores of the last `span` differ from those before.

    Raises DataError where there are too few scores before.
    """
    is_recent = operation.is_recent(span)
    reference, new = (
        operation.scores.loc[operation.normal & mask, "score"].to_numpy()[None] for mask in (~is_recent, is_recent)
    )
    try:
        return drift.measure_shift(reference, reference.shape[1], new)
    except ValueError:
        raise DataError(
            f"--drifted: {new.shape[1]} scores of the --last span cannot be compared with {reference.shape[1]} before "
            f"them; {drift.MIN_BLOCKS} times as many are needed: give more data, or a shorter --last"
        ) from None


def has_drifted(shift: drift.Shift) -> bool:
    """Whether a shift exceeds the default limits of `gridcast monitor`."""
    p_values = holm([shift.psi_p_value, shift.ks_p_value])
    return shift.psi >= DEFAULT_LIMITS.psi and bool(np.nanmin(p_values) <= DEFAULT_LIMITS.alpha)
