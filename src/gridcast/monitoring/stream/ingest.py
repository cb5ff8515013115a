"""Ingest batches of a stream: every step is scored once and every event raises one alert, whatever is killed when.

A batch, the high-water mark, the scores, the events and their alerts are written in one transaction, so that `kill -9`
at any moment leaves all of it or nothing, and the next start reads the rest. An alert is therefore queued exactly once.
It is delivered at least once: it waits in an outbox and is marked as sent after its channel accepted it. A kill between
the two sends it again with the same id, by which a web hook can drop it and a person can recognise it.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gridcast.monitoring.stream.feeds import FeedBatch
from gridcast.monitoring.stream.followed_model import FollowedDetector, FollowedModel, iso_stamp, step_length, with_zone
from gridcast.monitoring.stream.ledger import Ledger
from gridcast.monitoring.stream.ledger_rows import FileMark
from gridcast.monitoring.stream.readings import readings_of
from gridcast.monitoring.stream.recorded_events import find_events
from gridcast.monitoring.stream.stuck import stuck_alerts
from gridcast.monitoring.stream.wording import batch_remarks, event_alert, scores_summary, unscored_reason
from gridcast.runtime import running_threshold
from gridcast.runtime.errors import is_data_error

NO_SCORES = pd.DataFrame({"score": [], "threshold": []}, pd.DatetimeIndex([]), dtype=float)
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchOutcome:
    """The outcome of a batch: a line about it (`text`), and how many of its `steps` were `scored`.

    `waiting` steps have a score that becomes final when later steps arrive. It `is_refused` where half of its rows or
    more were unreadable; `problem` says why no step can be scored; the model does not know the columns `unknown`.
    """

    text: str
    steps: int
    scored: int
    waiting: int
    is_refused: bool
    problem: str
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Scored:
    """The `scores` that were stored, by time; the number of steps that wait for later ones, and why there are none."""

    scores: pd.DataFrame
    waiting: int = 0
    problem: str = ""


def ingest_batch(
    batch: FeedBatch, ledger: Ledger, model: FollowedModel, *, channels: Sequence[str], now: pd.Timestamp
) -> BatchOutcome | None:
    """Store and score a batch, with its events and alerts, in one transaction; return its outcome.

    Steps without a row, and sensors without a reading, are missing values to the detector. Rows that come late, before
    the high-water mark, fill such a hole, and so do those that have a sensor that a stored step lacks, as from a file
    for each sensor: what they complete is scored then. A row that repeats a stored reading is ignored, whatever it says
    now. Each of these is counted. A row whose time leaps ahead is set aside, see `set_aside`. Returns None, and does
    nothing, where another process read the same part of the file, or all rows are set aside already.
    """
    detector = model.detector
    # The whole batch is one transaction. Were the rows stored first and the scores later, a kill between the two would
    # leave steps without a score that no later batch returns to; were the file marked as read on its own, rows would be
    # lost or read twice. The write lock also decides which of two processes gets the batch: the check of the marks is
    # inside, so the second one sees what the first has stored.
    with ledger.transaction():
        if batch.begin is not None and ledger.file_marks().get(batch.source, FileMark()) != batch.begin:
            return None
        counts: Counter[str] = Counter(rows=len(batch.rows) + batch.unreadable, unreadable=batch.unreadable)
        read = readings_of(batch, ledger, detector, now=now, counts=counts)
        if read is None:
            return None
        readings, notes = read
        mark = ledger.high_water_mark
        is_stored = ledger.has_steps(readings.index.to_series()).to_numpy(bool)
        is_behind = readings.index <= mark if mark is not None else np.zeros(len(readings), bool)
        late, new = readings[is_behind & ~is_stored], readings[~is_behind & ~is_stored]
        counts["repeated"] += int(is_stored.sum())
        counts["late"] = len(late)
        number = ledger.open_batch(iso_stamp(now), batch.source, model.version)
        ledger.add_steps(number, late, late=True)
        completed = ledger.complete_steps(readings[is_stored])
        results = _score_new_steps(new, number, ledger, model, channels=channels, now=now)
        results += _score_late_steps(late.index.union(completed), ledger, model, channels=channels, now=now)
        touched = readings.loc[new.index.union(late.index).union(completed)]
        if len(touched):
            for alert in stuck_alerts(touched.index[0], ledger, model):
                ledger.queue_alert(alert, channels, iso_stamp(now))
        scores = pd.concat([one.scores for one in results]) if results else NO_SCORES
        notes += list(dict.fromkeys(one.problem for one in results if one.problem))
        counts["scored"] = int(scores.index.isin(new.index).sum())
        counts["afterwards"] = len(scores) - counts["scored"]
        counts["unscored"] = len(new) - counts["scored"]
        notes = [*batch_remarks(new, late, mark=mark, counts=counts, model=model, completed=len(completed)), *notes]
        ledger.close_batch(number, new.index, counts=counts, notes=notes)
        if batch.end is not None:
            ledger.mark_read(batch.source, batch.end)
    return _outcome(
        batch, touched, scores, counts=counts, notes=notes, results=results, newest=[*new.index[-1:]], model=model
    )


def _outcome(
    batch: FeedBatch,
    touched: pd.DataFrame,
    scores: pd.DataFrame,
    *,
    counts: Counter[str],
    notes: Sequence[str],
    results: Sequence[_Scored],
    newest: Sequence[pd.Timestamp],
    model: FollowedModel,
) -> BatchOutcome:
    """The outcome of a batch that is stored: readings of the steps that it `touched`, scores, its new `newest` step."""
    until = f" up to {iso_stamp(newest[0])}" if newest else ""
    waiting, problem = sum(one.waiting for one in results), ""
    if len(touched) and not len(scores) and not waiting:
        problem = "; ".join([unscored_reason(touched, model), *(one.problem for one in results[:1] if one.problem)])
    known = {model.detector.time, *model.detector.sensors}
    return BatchOutcome(
        text="; ".join([f"{batch.source}: {counts['rows']} rows{until}, {scores_summary(scores)}", *notes]),
        steps=len(touched),
        scored=len(scores),
        waiting=waiting,
        is_refused=counts["unreadable"] >= max(1, counts["rows"] / 2),
        problem=problem,
        unknown=tuple(str(column) for column in batch.rows if column not in known),
    )


def _score_new_steps(
    new: pd.DataFrame,
    number: int,
    ledger: Ledger,
    model: FollowedModel,
    *,
    channels: Sequence[str],
    now: pd.Timestamp,
) -> list[_Scored]:
    """Store the `new` steps of the batch `number` and score them, piece by piece."""
    detector, results = model.detector, []
    for piece in _pieces(new, detector):
        newest = ledger.high_water_mark
        if newest is not None and piece.index[0] - newest > _longest_influence(detector):
            # After so long a hole nothing more can come for the steps before it: they need not wait.
            begin = newest + step_length(detector.frequency)
            results.append(_score_steps(begin, ledger, model, wait=0, patience=0, channels=channels, now=now))
        ledger.add_steps(number, piece)
        results.append(_score_steps(piece.index[0], ledger, model, wait=model.wait, channels=channels, now=now))
    return results


def _score_late_steps(
    times: pd.DatetimeIndex, ledger: Ledger, model: FollowedModel, *, channels: Sequence[str], now: pd.Timestamp
) -> list[_Scored]:
    """Score what steps behind the newest one complete; note where some of it waits for later steps."""
    results, stretches = [], ledger.waiting_stretches()
    for piece in _pieces(pd.DataFrame(index=times), model.detector):
        first, last = piece.index[0], piece.index[-1]
        results.append(_score_steps(first, ledger, model, wait=model.wait, channels=channels, now=now, end=last))
        if results[-1].waiting:
            stretches.append((first, last))
    if stretches and len(times):
        ledger.save_waiting_stretches(_joined(stretches, _longest_influence(model.detector)))
    return results


def _joined(
    stretches: Sequence[tuple[pd.Timestamp, pd.Timestamp]], distance: pd.Timedelta
) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    """The stretches in order, those within this distance of each other as one."""
    joined: list[tuple[pd.Timestamp, pd.Timestamp]] = []
    for first, last in sorted(stretches):
        if joined and first - joined[-1][1] <= distance:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return joined


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
        newest, stretches = ledger.high_water_mark, ledger.waiting_stretches()
        results = [
            _score_steps(first, ledger, model, wait=0, patience=0, channels=channels, now=now, end=last)
            for first, last in stretches
        ]
        if stretches:
            ledger.save_waiting_stretches([])
        if newest is not None and (
            ledger.first_unscored() is not None
            if _fills_gaps(model)
            else ledger.has_unscored_steps(newest - model.wait * length)
        ):
            results.append(_score_steps(newest + length, ledger, model, wait=0, patience=0, channels=channels, now=now))
        scores = pd.concat([one.scores for one in results]) if results else NO_SCORES
        if not len(scores):
            return None
        number = ledger.open_batch(iso_stamp(now), "", model.version)
        ledger.close_batch(number, pd.DatetimeIndex([]), counts={"afterwards": len(scores)}, notes=[])
    return f"nothing new: {scores_summary(scores)}, which were waiting for later steps"


def score_without_lagging_sensors(
    ledger: Ledger, model: FollowedModel, *, channels: Sequence[str], now: pd.Timestamp
) -> str | None:
    """Score steps that lack a sensor which has sent nothing for a window since; return a line about it, or None.

    Called at the end of a poll, for a detector that scores a step by the sensors that it has: within a poll such a
    step waits for the lacking sensor, which may have a file of its own. Transactions are as in `score_waiting_steps`.
    """
    detector, length = model.detector, step_length(model.detector.frequency)
    with ledger.transaction():
        newest, first = ledger.high_water_mark, ledger.first_unscored()
        patience = detector.lookback
        if not _fills_gaps(model) or newest is None or first is None or first > newest - patience * length:
            return None
        scores = _score_steps(
            first, ledger, model, wait=model.wait, patience=patience, channels=channels, now=now
        ).scores
        if not len(scores):
            return None
        number = ledger.open_batch(iso_stamp(now), "", model.version)
        ledger.close_batch(number, pd.DatetimeIndex([]), counts={"afterwards": len(scores)}, notes=[])
    return f"a sensor has sent nothing for {patience} steps: without it {scores_summary(scores)}"


def _fills_gaps(model: FollowedModel) -> bool:
    """Whether the detector scores steps that lack a sensor; the code of a former version has no such detectors."""
    return bool(getattr(model.detector, "fills_gaps", False))


def _score_steps(
    begin: pd.Timestamp,
    ledger: Ledger,
    model: FollowedModel,
    *,
    wait: int,
    channels: Sequence[str],
    now: pd.Timestamp,
    end: pd.Timestamp | None = None,
    patience: int | None = None,
) -> _Scored:
    """Score the steps from `begin` to `end`, and waiting ones around, see `_save_scores`; queue alerts of events."""
    scored = _save_scores(begin, ledger, model, wait=wait, end=end, patience=patience)
    if len(scored.scores):
        for event in find_events(scored.scores.index[0], ledger, model):
            if ledger.save_event(event):
                ledger.queue_alert(event_alert(event, model), channels, iso_stamp(now))
    return scored


def _longest_influence(detector: FollowedDetector) -> pd.Timedelta:
    """Return the distance from which on a step affects neither scores nor events of another."""
    return step_length(detector.frequency) * (max(detector.lookback, detector.gap) + 1)


def _pieces(new: pd.DataFrame, detector: FollowedDetector) -> Iterator[pd.DataFrame]:
    """Yield the new steps in pieces, cut where so much is missing that no window or event spans the hole."""
    ends = [0, *(np.flatnonzero(np.diff(new.index) > _longest_influence(detector)) + 1), len(new)]
    for start, end in itertools.pairwise(ends):
        if end > start:
            yield new.iloc[start:end]


def _save_scores(
    begin: pd.Timestamp,
    ledger: Ledger,
    model: FollowedModel,
    *,
    wait: int,
    end: pd.Timestamp | None,
    patience: int | None,
) -> _Scored:
    """Store and return the scores that can be given now, by time; and why there are none, if the detector refuses.

    The steps from `begin` to `end`, or to the newest one, are new; the last `wait` steps are not scored yet. A detector
    that fills gaps does not score steps after the last reading of a sensor either, unless that is `patience` steps ago.
    """
    # A score is final once it is stored: `save_scores` fills only steps that have none. This call scores the new steps
    # except for the last `wait`, and steps around them that have no score yet: those that waited, maybe since before a
    # hole, and those after a missing step, which need a whole window behind them. None of these is before `earliest`,
    # or after `end` by more than `reach`. The detector reads one lookback more, so that every step has the same windows
    # as in one pass over the whole table; one that fills gaps reads two, holes included, as values are carried so far.
    detector, length, fills_gaps = model.detector, step_length(model.detector.frequency), _fills_gaps(model)
    reach = max(detector.lookback, model.wait) * length
    if fills_gaps and end is None:
        begin = min(begin, ledger.first_unscored() or begin)
    earliest = min(begin - reach, (ledger.newest_before(begin) or begin) - model.wait * length)
    until = pd.Timestamp.max if end is None else end + 2 * reach
    since = earliest - (1 + fills_gaps) * detector.lookback * length
    readings = ledger.readings(since, detector.sensors, until)
    first = since if fills_gaps and ledger.newest_before(since) is not None else readings.index[0]
    axis = pd.date_range(first, readings.index[-1], freq=length)
    try:
        table = readings.reindex(axis).rename_axis(detector.time).reset_index()
        # A score rests on what a poll for every row would have had, however many rows came at once.
        scores = detector.predict(with_zone(table, detector), {"wait": model.wait})
    except Exception as error:
        if not is_data_error(error):
            raise
        return _Scored(NO_SCORES, problem=str(error))
    scores = scores.set_index(detector.time)
    is_near = (scores.index >= earliest) & scores["score"].notna()
    if end is not None:
        is_near &= scores.index <= end + reach
    newest = axis[-1]
    if fills_gaps:
        times_by_sensor = [readings.index[readings[name].notna()] for name in detector.sensors]
        reported = min(times[-1] if len(times) else since for times in times_by_sensor)
        newest = reported if patience is None else max(reported, newest - patience * length)
    is_due = scores.index <= newest - wait * length
    if fills_gaps:  # the first steps of a stream are scored when their first window is complete
        is_due &= newest >= axis[0] + (getattr(detector, "min_table_steps", 1) - 1) * length
    waiting, scores = int((is_near & ~is_due).sum()), scores[is_near & is_due]
    if getattr(detector, "seen", None) is not None:  # a running threshold
        scores = _with_running_threshold(scores, ledger, model)
    return _Scored(scores.loc[ledger.save_scores(scores)], waiting)


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
