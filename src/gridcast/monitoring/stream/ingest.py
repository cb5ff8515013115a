"""Ingest batches of a stream: every step is scored once and every event raises one alert, whatever is killed when.

A batch, the high-water mark, the scores, the events and their alerts are written in one transaction, so that `kill -9`
at any moment leaves all of it or nothing, and the next start reads the rest. An alert is therefore queued exactly once.
It is delivered at least once: it waits in an outbox and is marked as sent after its channel accepted it. A kill between
the two sends it again with the same id, by which a web hook can drop it and a person can recognise it.
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

from gridcast.monitoring.stream.feeds import FeedBatch
from gridcast.monitoring.stream.followed_model import FollowedDetector, FollowedModel, iso_stamp, step_length, with_zone
from gridcast.monitoring.stream.ledger import Ledger, ScoredStep
from gridcast.monitoring.stream.wording import batch_remarks, event_alert, quoted_names, scores_summary
from gridcast.runtime import events, running_threshold
from gridcast.runtime.dialect import NO_READING
from gridcast.runtime.errors import is_data_error

MAX_CLOCK_LEAD = pd.Timedelta(days=1)
"""How far a time may be ahead of the clock (time zones): after one wrong year, every later row would be late."""
NO_SCORES = pd.DataFrame({"score": [], "threshold": []}, pd.DatetimeIndex([]), dtype=float)
LOG = logging.getLogger(__name__)


def ingest_batch(
    batch: FeedBatch, ledger: Ledger, model: FollowedModel, *, channels: Sequence[str], now: pd.Timestamp
) -> str | None:
    """Store and score a batch, with its events and alerts, in one transaction; return a line about it.

    Steps without a row, and sensors without a reading, are missing values to the detector. Rows that come late, before
    the high-water mark, fill such a hole for the steps that are scored from then on, and are themselves scored if a new
    step is within `lookback` of them. A row that repeats a stored step is ignored, whatever it says now. Each of these
    is counted. Returns None, and does nothing, where another process read the same part of the file.
    """
    detector = model.detector
    # The whole batch is one transaction. Were the rows stored first and the scores later, a kill between the two would
    # leave steps without a score that no later batch returns to; were the file marked as read on its own, rows would be
    # lost or read twice. The write lock also decides which of two processes gets the batch: the check of `bytes_read`
    # is inside, so the second one sees what the first has stored.
    with ledger.transaction():
        if ledger.bytes_read().get(batch.source, 0) != batch.begin:
            return None
        counts: Counter[str] = Counter(rows=len(batch.rows) + batch.unreadable, unreadable=batch.unreadable)
        readings, notes = _parse_readings(batch, detector, now=now, counts=counts)
        mark = ledger.high_water_mark
        is_stored = ledger.has_steps(readings.index.to_series()).to_numpy(bool)
        is_behind = readings.index <= mark if mark is not None else np.zeros(len(readings), bool)
        late, new = readings[is_behind & ~is_stored], readings[~is_behind & ~is_stored]
        counts["repeated"] += int(is_stored.sum())
        counts["late"] = len(late)
        number = ledger.open_batch(iso_stamp(now), batch.source, model.version)
        ledger.add_steps(number, late, late=True)
        results = []
        for piece in _pieces(new, detector):
            newest = ledger.high_water_mark
            if newest is not None and piece.index[0] - newest > _longest_influence(detector):
                # After so long a hole nothing more can come for the steps before it: they need not wait.
                begin = newest + step_length(detector.frequency)
                results.append(_score_steps(begin, ledger, model, wait=0, channels=channels, now=now))
            ledger.add_steps(number, piece)
            results.append(_score_steps(piece.index[0], ledger, model, wait=model.wait, channels=channels, now=now))
        scores = pd.concat([scores for scores, _ in results]) if results else NO_SCORES
        notes += [problem for _, problem in results if problem]
        counts["scored"] = int(scores.index.isin(new.index).sum())
        counts["afterwards"] = len(scores) - counts["scored"]
        counts["unscored"] = len(new) - counts["scored"]
        notes = [*batch_remarks(new, late, mark=mark, counts=counts, model=model), *notes]
        ledger.close_batch(number, new.index, counts=counts, notes=notes)
        if batch.end:
            ledger.mark_read(batch.source, batch.end)
    until = f" up to {iso_stamp(new.index[-1])}" if len(new) else ""
    return "; ".join([f"{batch.source}: {counts['rows']} rows{until}, {scores_summary(scores)}", *notes])


def score_waiting_steps(
    ledger: Ledger, model: FollowedModel, *, channels: Sequence[str], now: pd.Timestamp
) -> str | None:
    """Score the steps that wait for later ones with what is there; return a line about it, None where none waits.

    Called when a poll finds nothing new. A score never changes afterwards: the steps that are scored here rest on
    fewer windows than they would have with later data, which is better than an alert that comes when the plant sends
    data again. Like a batch, it is one transaction, and a batch of its own in the record, without rows.
    """
    length = step_length(model.detector.frequency)
    with ledger.transaction():
        newest = ledger.high_water_mark
        if newest is None or not ledger.has_unscored_steps(newest - model.wait * length):
            return None
        scores, _ = _score_steps(newest + length, ledger, model, wait=0, channels=channels, now=now)
        if not len(scores):
            return None
        number = ledger.open_batch(iso_stamp(now), "", model.version)
        ledger.close_batch(number, pd.DatetimeIndex([]), counts={"afterwards": len(scores)}, notes=[])
    return f"nothing new: {scores_summary(scores)}, which were waiting for later steps"


def _score_steps(
    begin: pd.Timestamp,
    ledger: Ledger,
    model: FollowedModel,
    *,
    wait: int,
    channels: Sequence[str],
    now: pd.Timestamp,
) -> tuple[pd.DataFrame, str]:
    """Score the steps from `begin` on, and waiting ones before, and queue alerts of new events; see `_save_scores`."""
    scores, problem = _save_scores(begin, ledger, model, wait)
    if len(scores):
        for event in _find_events(scores.index[0], ledger, model):
            if ledger.save_event(event):
                ledger.queue_alert(event_alert(event, model), channels, iso_stamp(now))
    return scores, problem


def _parse_readings(
    batch: FeedBatch, detector: FollowedDetector, *, now: pd.Timestamp, counts: Counter[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Return the numbers of every sensor by step, in order and without repetitions, and notes on bad rows."""
    rows, notes = batch.rows, [*batch.notes]
    present = [sensor for sensor in detector.sensors if sensor in rows]
    missing = [sensor for sensor in detector.sensors if sensor not in rows]
    unknown = [str(column) for column in rows.columns if column not in {*present, detector.time}]
    readings = pd.DataFrame(np.nan, pd.DatetimeIndex(rows[detector.time]), list(detector.sensors))
    for sensor in present:
        text = rows[sensor].astype(str).str.strip()
        values = pd.to_numeric(text, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)
        is_bad = values.isna() & ~text.isin(NO_READING)
        if is_bad.any():
            notes.append(f"{is_bad.sum()} readings of '{sensor}' are not numbers, the first '{text[is_bad].iloc[0]}'")
        readings[sensor] = values.to_numpy()
    if missing and len(rows):
        notes.append(f"{'no column for' if present else 'none of'} the model's sensors {quoted_names(missing)}")
    if unknown and len(rows):
        notes.append(f"columns that the model does not know are ignored: {quoted_names(unknown)}")
    is_future = np.asarray(readings.index > now + MAX_CLOCK_LEAD)
    if is_future.any():
        notes.append(f"{is_future.sum()} rows are in the future, the first {iso_stamp(readings.index[is_future][0])}")
    is_unreadable = is_future | (not present)
    counts["unreadable"] += int(is_unreadable.sum())
    readings = readings[~is_unreadable]
    steps = pd.DatetimeIndex(readings.index).floor(step_length(detector.frequency))
    between = int((steps != readings.index).sum())
    if between:
        notes.append(f"{between} rows lie between two steps and count as the earlier one")
    readings = readings.set_axis(steps).sort_index(kind="stable")
    is_repeated = readings.index.duplicated()
    counts["repeated"] += int(is_repeated.sum())
    return readings[~is_repeated], notes


def _longest_influence(detector: FollowedDetector) -> pd.Timedelta:
    """Return the distance from which on a step affects neither scores nor events of another."""
    return step_length(detector.frequency) * (max(detector.lookback, detector.gap) + 1)


def _pieces(new: pd.DataFrame, detector: FollowedDetector) -> Iterator[pd.DataFrame]:
    """Yield the new steps in pieces, cut where so much is missing that no window or event spans the hole."""
    ends = [0, *(np.flatnonzero(np.diff(new.index) > _longest_influence(detector)) + 1), len(new)]
    for start, end in itertools.pairwise(ends):
        if end > start:
            yield new.iloc[start:end]


def _save_scores(begin: pd.Timestamp, ledger: Ledger, model: FollowedModel, wait: int) -> tuple[pd.DataFrame, str]:
    """Store and return the scores that can be given now, by time; and why there are none, if the detector refuses.

    The steps from `begin` on are new; the last `wait` of them are not scored yet.
    """
    # A score is final once it is stored: `save_scores` fills only steps that have none. This call scores the new steps
    # except for the last `wait`, and steps before `begin` that have no score yet: those that waited, maybe since before
    # a hole, and those after a missing step, which need a whole window behind them. None of these is before `earliest`.
    # The detector reads one lookback more, so that every step has the same windows as in one pass over the whole table.
    detector, length = model.detector, step_length(model.detector.frequency)
    newest = ledger.newest_before(begin) or begin
    earliest = min(begin - max(detector.lookback, model.wait) * length, newest - model.wait * length)
    readings = ledger.readings(earliest - detector.lookback * length, detector.sensors)
    axis = pd.date_range(readings.index[0], readings.index[-1], freq=length)
    try:
        table = readings.reindex(axis).rename_axis(detector.time).reset_index()
        # A score rests on what a poll for every row would have had, however many rows came at once.
        scores = detector.predict(with_zone(table, detector), {"wait": model.wait})
    except Exception as error:
        if not is_data_error(error):
            raise
        return NO_SCORES, str(error)
    scores = scores.set_index(detector.time)
    is_due = (scores.index >= earliest) & (scores.index <= axis[-1] - wait * length)
    scores = scores[is_due & scores["score"].notna()]
    if getattr(detector, "seen", None) is not None:  # a running threshold
        scores = _with_running_threshold(scores, ledger, model)
    return scores.loc[ledger.save_scores(scores)], ""


def _with_running_threshold(scores: pd.DataFrame, ledger: Ledger, model: FollowedModel) -> pd.DataFrame:
    """Return the steps without a stored score, with the threshold that continues from all scores of this version.

    The history is stored in the same transaction as the scores, so each score counts in it exactly once.
    """
    scores = scores.loc[ledger.unscored_times(pd.DatetimeIndex(scores.index))]
    detector: Any = model.detector
    history = ledger.score_history(model.version) or _history_before(detector, model.wait)
    values = scores["score"].to_numpy()
    thresholds, history = running_threshold.thresholds_and_history(values, detector.level, history)
    ledger.save_score_history(model.version, history)
    return scores.assign(threshold=thresholds, anomaly=values > thresholds)


def _history_before(detector: Any, wait: int) -> Any:
    """Return the score history of training; that of a detector from before there were online scores is in hindsight."""
    return detector.threshold_after(wait).seen if hasattr(detector, "threshold_after") else detector.seen


def _find_events(begin: pd.Timestamp, ledger: Ledger, model: FollowedModel) -> list[dict[str, Any]]:
    """Return the events among the steps from `begin` on, including one that began before and is not over yet."""
    # An event may continue over many batches, so steps before `begin` are read back until more than `gap` steps without
    # an anomaly lie together: no event spans those, and what is older is settled. The event is computed again from its
    # first step, so its peak and blame are those of one pass; `save_event` recognises it by its overlap with the stored
    # one, and only a new event raises an alert.
    detector, length = model.detector, step_length(model.detector.frequency)
    steps: list[ScoredStep] = []
    edge = begin
    for step in ledger.scored_steps():
        if step.time < begin and (edge - step.time) / length - step.is_anomaly > detector.gap:
            break
        edge = step.time if step.is_anomaly and step.time < begin else edge
        steps.append(step)
    if not steps:
        return []
    steps.reverse()
    times = pd.DatetimeIndex([step.time for step in steps])
    axis = pd.date_range(times[0], times[-1], freq=length)
    scores = pd.Series([step.score for step in steps], times).reindex(axis).to_numpy()
    thresholds = pd.Series([step.threshold for step in steps], times).reindex(axis).to_numpy()
    contributions = pd.DataFrame([step.contributions for step in steps], times)
    contributions = contributions.reindex(index=axis, columns=list(detector.sensors)).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = scores / thresholds  # each by the threshold of its time, which versions and running thresholds change
    found = events.find_events(
        ratios,
        1.0,
        contributions.to_numpy(),
        detector.sensors,
        min_steps=detector.least,
        merge_gap=detector.gap,
    )
    return [
        {
            "id": f"{model.name}/{axis[event.start].isoformat()}",
            "first": axis[event.start].isoformat(),
            "last": axis[event.end - 1].isoformat(),
            "steps": event.end - event.start,
            "peak": float(np.nanmax(scores[event.start : event.end])),
            "severity": event.severity if math.isfinite(event.severity) else None,
            "blame": [[name, round(share, 4)] for name, share in event.blame if share > 0],
        }
        for event in found
    ]
