"""A detector in use: every step of a stream is scored once and every event raises one alert, whatever is killed.

A stretch of data, the high-water mark, the scores, the events and the alerts that they raise are kept in one
transaction, so that `kill -9` at any moment leaves all of it or nothing, and the next start takes what is left. An
alert is so raised once in the record. It is delivered at least once: it waits in an outbox and is marked as sent
after its channel took it, and a kill between the two sends it again, with the same id, by which a web hook drops it
and a person knows it.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gridcast.data import readers
from gridcast.monitoring.stream.feeds import FeedBatch
from gridcast.monitoring.stream.followed_model import FollowedDetector, FollowedModel, iso_stamp, step_length
from gridcast.monitoring.stream.ledger import Ledger
from gridcast.monitoring.stream.wording import batch_remarks, event_alert, quoted_names, scores_summary
from gridcast.runtime import events, running_threshold
from gridcast.runtime.errors import DataError

MAX_CLOCK_LEAD = pd.Timedelta(days=1)
"""How far a stamp may lie ahead of the clock (time zones): one wrong year would make all that follows late."""
NO_SCORES = pd.DataFrame({"score": [], "threshold": []}, pd.DatetimeIndex([]), dtype=float)
"""No answer of a detector."""
LOG = logging.getLogger(__name__)


def ingest_batch(
    stretch: FeedBatch, ledger: Ledger, model: FollowedModel, channels: Sequence[str], now: pd.Timestamp
) -> str | None:
    """Score a stretch and keep all that comes of it, in one transaction; returns what there is to tell, in a line.

    Steps without a row are missing, and neither they nor a sensor that is missing are a reading to the detector.
    Rows that come late, behind the mark, fill such a hole for the steps that are scored from then on, and are
    themselves scored if a new step lies within `lookback` of them. A step that was taken before is passed over,
    whatever the row says now. Each of these is counted. None, and nothing is done, where another process took the
    same part of the file.
    """
    detector = model.detector
    with ledger.writing():
        if ledger.taken().get(stretch.source, 0) != stretch.begin:
            return None
        counts: Counter[str] = Counter(rows=len(stretch.rows) + stretch.unreadable, unreadable=stretch.unreadable)
        readings, notes = _readings(stretch, detector, now, counts)
        mark = ledger.mark
        known = ledger.known(readings.index.to_series()).to_numpy(bool)
        behind = (readings.index <= mark) & ~known if mark is not None else np.zeros(len(readings), bool)
        late, new = readings[behind], readings[~known & ~behind]
        counts["repeated"] += int(known.sum())
        counts["late"] = len(late)
        number = ledger.open_stretch(iso_stamp(now), stretch.source, model.version)
        ledger.add_steps(number, late, late=True)
        judged = []
        for piece in _pieces(new, detector):
            newest = ledger.mark
            if newest is not None and piece.index[0] - newest > _far(detector):
                judged.append(_judge(newest + step_length(detector.frequency), ledger, model, 0, channels, now))
            ledger.add_steps(number, piece)
            judged.append(_judge(piece.index[0], ledger, model, model.wait, channels, now))
        scores = pd.concat([scores for scores, _ in judged]) if judged else NO_SCORES
        notes += [problem for _, problem in judged if problem]
        counts["scored"] = int(scores.index.isin(new.index).sum())
        counts["afterwards"] = len(scores) - counts["scored"]
        counts["unscored"] = len(new) - counts["scored"]
        notes = [*batch_remarks(new, late, mark, counts, model), *notes]
        ledger.close_stretch(number, new.index, counts, notes)
        if stretch.end:
            ledger.take_file(stretch.source, stretch.end)
    until = f" up to {iso_stamp(new.index[-1])}" if len(new) else ""
    line = f"{stretch.source}: {counts['rows']} rows{until}, {scores_summary(scores)}"
    return "; ".join([line, *notes])


def score_waiting_steps(ledger: Ledger, model: FollowedModel, channels: Sequence[str], now: pd.Timestamp) -> str | None:
    """Judge the steps that wait for others by what is there; returns what there is to tell, None where none waits."""
    length = step_length(model.detector.frequency)
    with ledger.writing():
        newest = ledger.mark
        if newest is None or not ledger.waits(newest - model.wait * length):
            return None
        scores, _ = _judge(newest + length, ledger, model, 0, channels, now)
        if not len(scores):
            return None
        number = ledger.open_stretch(iso_stamp(now), "", model.version)
        ledger.close_stretch(number, pd.DatetimeIndex([]), {"afterwards": len(scores)}, [])
    return f"nothing new: {scores_summary(scores)}, which had waited for more"


def _judge(
    begin: pd.Timestamp, ledger: Ledger, model: FollowedModel, wait: int, channels: Sequence[str], now: pd.Timestamp
) -> tuple[pd.DataFrame, str]:
    """Score what can be, of the steps from `begin` on and those before that wait, and keep its events; as `_scores`."""
    scores, problem = _scores(begin, ledger, model, wait)
    if len(scores):
        for event in _events(scores.index[0], ledger, model):
            if ledger.put_event(event):
                ledger.raise_alert(event_alert(event, model), channels, iso_stamp(now))
    return scores, problem


def _readings(
    stretch: FeedBatch, detector: FollowedDetector, now: pd.Timestamp, counts: Counter[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Numbers of every sensor of the detector by step, in order, no step twice; and what was wrong with the rows."""
    rows, notes = stretch.rows, [*stretch.notes]
    known = [sensor for sensor in detector.sensors if sensor in rows]
    missing = [sensor for sensor in detector.sensors if sensor not in rows]
    strange = [str(column) for column in rows.columns if column not in {*known, detector.time}]
    readings = pd.DataFrame(np.nan, pd.DatetimeIndex(rows[detector.time]), list(detector.sensors))
    for sensor in known:
        text = rows[sensor].astype(str).str.strip()
        values = pd.to_numeric(text, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)
        bad = values.isna() & ~text.isin(readers.MISSING)
        if bad.any():
            notes.append(f"{bad.sum()} readings of '{sensor}' are no numbers, the first '{text[bad].iloc[0]}'")
        readings[sensor] = values.to_numpy()
    if missing and len(rows):
        notes.append(f"{'no column for' if known else 'none of'} the model's sensors {quoted_names(missing)}")
    if strange and len(rows):
        notes.append(f"columns that the model does not know, passed over: {quoted_names(strange)}")
    wrong = np.asarray(readings.index > now + MAX_CLOCK_LEAD)
    if wrong.any():
        notes.append(f"{wrong.sum()} rows lie in the future, the first {iso_stamp(readings.index[wrong][0])}")
    wrong |= not known
    counts["unreadable"] += int(wrong.sum())
    readings = readings[~wrong]
    steps = pd.DatetimeIndex(readings.index).floor(step_length(detector.frequency))
    between = int((steps != readings.index).sum())
    if between:
        notes.append(f"{between} rows lie between two steps and are taken for the earlier one")
    readings = readings.set_axis(steps).sort_index(kind="stable")
    twice = readings.index.duplicated()
    counts["repeated"] += int(twice.sum())
    return readings[~twice], notes


def _far(detector: FollowedDetector) -> pd.Timedelta:
    """How far a step lies from the one before where nothing before that one has a part in what comes after."""
    return step_length(detector.frequency) * (max(detector.lookback, detector.gap) + 1)


def _pieces(new: pd.DataFrame, detector: FollowedDetector) -> Iterator[pd.DataFrame]:
    """The new steps, parted where so much is missing that nothing goes across."""
    ends = [0, *(np.flatnonzero(np.diff(new.index) > _far(detector)) + 1), len(new)]
    for start, end in itertools.pairwise(ends):
        if end > start:
            yield new.iloc[start:end]


def _scores(begin: pd.Timestamp, ledger: Ledger, model: FollowedModel, wait: int) -> tuple[pd.DataFrame, str]:
    """What is kept now of the detector's answer, by stamp; and why it says nothing, where it refuses the readings.

    The steps from `begin` on are new; the last `wait` of them are not judged yet. Those of the `lookback` before that
    have no score are scored with them, where they can be now: what waited, and steps after one that was missing,
    which may need a whole window behind them.
    """
    detector, length = model.detector, step_length(model.detector.frequency)
    reach = max(detector.lookback, model.wait) * length
    given = ledger.readings(begin - reach - detector.lookback * length, detector.sensors)
    axis = pd.date_range(given.index[0], given.index[-1], freq=length)
    try:
        said = detector.predict(given.reindex(axis).rename_axis(detector.time).reset_index(), {})
    except Exception as error:
        # The code that a model carries has error classes of its own.
        if getattr(error, "exit_code", None) != DataError.exit_code:
            raise
        return NO_SCORES, str(error)
    said = said.set_index(detector.time)
    said = said[(said.index >= begin - reach) & (said.index <= axis[-1] - wait * length) & said["score"].notna()]
    if getattr(detector, "seen", None) is not None:
        said = _running(said.loc[ledger.unscored(pd.DatetimeIndex(said.index))], ledger, model)
    return said.loc[ledger.put_scores(said)], ""


def _running(said: pd.DataFrame, ledger: Ledger, model: FollowedModel) -> pd.DataFrame:
    """What is said of steps without a score, by the threshold that runs on from what this version has judged before."""
    detector: Any = model.detector
    before = ledger.seen(model.version) or detector.seen
    limits, after = running_threshold.thresholds_and_history(said["score"].to_numpy(), detector.level, before)
    ledger.keep_seen(model.version, after)
    return said.assign(threshold=limits, anomaly=said["score"].to_numpy() > limits)


def _events(begin: pd.Timestamp, ledger: Ledger, model: FollowedModel) -> list[dict[str, Any]]:
    """The events among the steps from `begin` on, and what lies before them and is not over yet."""
    detector, length = model.detector, step_length(model.detector.frequency)
    rows, edge = [], begin
    for row in ledger.backwards():
        time, hot = row[0], row[3]
        # Where more than `gap` quiet steps lie together, no event goes across.
        if time < begin and (edge - time) / length - hot > detector.gap:
            break
        edge = time if hot and time < begin else edge
        rows.append(row)
    if not rows:
        return []
    rows = rows[::-1]
    times = pd.DatetimeIndex([row[0] for row in rows])
    table = pd.DataFrame({"score": [row[1] for row in rows], "threshold": [row[2] for row in rows]}, times)
    shares = pd.DataFrame([row[4] for row in rows], times).reindex(columns=list(detector.sensors))
    axis = pd.date_range(times[0], times[-1], freq=length)
    table, shares = table.reindex(axis), shares.reindex(axis).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = table["score"].to_numpy() / table["threshold"].to_numpy()  # each by the threshold of its time
    found = events.find_events(ratio, 1.0, shares.to_numpy(), detector.sensors, detector.least, detector.gap)
    return [
        {
            "id": f"{model.name}/{axis[event.start].isoformat()}",
            "first": axis[event.start].isoformat(),
            "last": axis[event.end - 1].isoformat(),
            "steps": event.end - event.start,
            "peak": float(np.nanmax(table["score"].to_numpy()[event.start : event.end])),
            "severity": event.severity if math.isfinite(event.severity) else None,
            "blame": [[name, round(share, 4)] for name, share in event.blame if share > 0],
        }
        for event in found
    ]
