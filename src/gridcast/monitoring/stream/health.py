"""The follower watches itself: problems of a feed, each an alert when it begins and one when it ends."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from gridcast.monitoring.stream.feed_rows import WEB_PAGE_NOTE
from gridcast.monitoring.stream.followed_model import FollowedModel, iso_stamp, step_length
from gridcast.monitoring.stream.ledger import Ledger
from gridcast.monitoring.stream.ledger_rows import Alert, FeedProblem, ReadBatch
from gridcast.monitoring.stream.set_aside import readings_set_aside
from gridcast.runtime.errors import suggest

LOOKS_WITHOUT_DATA = 3
"""Looks in a row without new rows that are a problem, if as many steps of time have passed, too."""
UNREADABLE_SHARE = 0.1
"""Share of unreadable lines that is a problem."""
MIN_SILENT_STEPS = 10
"""Steps without a reading after which a sensor counts as dead; the window of the model, if that is longer."""
NO_DATA, UNREACHABLE, FAILED = "no new data", "unreachable", "look failed"
WEB_PAGE, NO_ROW, UNREADABLE, DEAD = "web page", "no readable row", "unreadable lines", "dead sensor"
JUDGED_KEY, SILENCE_KEY, LOOKS_KEY = "batches judged", "last rows arrived", "looks without data"


@dataclass(frozen=True)
class FollowerState:
    """The state of a follower at the time `at`: its open `problems`, counts of lines, looks in a row without data.

    Rows `set_aside` wait until others near them come.
    """

    at: pd.Timestamp
    newest_step: pd.Timestamp | None
    lines: int
    unreadable: int
    looks_without_data: int
    problems: tuple[FeedProblem, ...]
    set_aside: int = 0


def follower_state(ledger: Ledger, now: pd.Timestamp) -> FollowerState:
    """Return the state of the follower that writes `ledger`."""
    lines, unreadable = ledger.line_counts()
    return FollowerState(
        at=now,
        newest_step=ledger.high_water_mark,
        lines=lines,
        unreadable=unreadable,
        looks_without_data=int(ledger.note(LOOKS_KEY) or 0),
        problems=tuple(ledger.open_problems()),
        set_aside=len(readings_set_aside(ledger, ())),
    )


def judge_look(
    ledger: Ledger,
    model: FollowedModel,
    *,
    failures: Sequence[str],
    unknown: Collection[str],
    channels: Sequence[str],
    now: pd.Timestamp,
) -> None:
    """Store the problems that a finished look found, and the end of those that it found no more, with their alerts.

    `failures` say which files could not be read; `unknown` columns may be sensors under another name. All that was
    read since the last judgement is judged, also by a process that was killed before it came to that.
    """
    with ledger.transaction():
        batches = ledger.read_batches(int(ledger.note(JUDGED_KEY) or 0))
        found = _silence(ledger, model, has_rows=bool(batches), now=now)
        judged = {NO_DATA, UNREACHABLE, FAILED, DEAD}
        if failures:
            found[UNREACHABLE, ""] = failures[0]
        found |= _dead_sensors(ledger, model, unknown)
        if batches:
            found |= _unreadable_lines(batches)
            judged |= {WEB_PAGE, NO_ROW, UNREADABLE}
            ledger.save_note(JUDGED_KEY, str(batches[-1].number))
        _store(found, judged, ledger, model.name, channels=channels, now=now)


def record_failure(
    kind: str,
    text: str,
    ledger: Ledger,
    name: str,
    *,
    channels: Sequence[str],
    now: pd.Timestamp,
    sent: Sequence[str] = (),
) -> None:
    """Store that a look failed, with its alert, which some channels may have `sent` already."""
    with ledger.transaction():
        _store({(kind, ""): text}, {UNREACHABLE, FAILED} - {kind}, ledger, name, channels=channels, now=now)
        alert = failure_alert(kind, text, name, now)
        for channel in sent:
            ledger.mark_sent(alert, channel, iso_stamp(now))


def failure_alert(kind: str, text: str, name: str, now: pd.Timestamp) -> Alert:
    """Return the alert of a look that failed at the time `now`."""
    return _alert(FeedProblem(kind, "", iso_stamp(now), text), name)


def _store(
    found: Mapping[tuple[str, str], str],
    judged: Collection[str],
    ledger: Ledger,
    name: str,
    *,
    channels: Sequence[str],
    now: pd.Timestamp,
) -> None:
    """Store the problems that are `found` and not open yet, and the end of open ones of a kind that was `judged`."""
    open_ones = {(problem.kind, problem.subject): problem for problem in ledger.open_problems()}
    for key, text in found.items():
        if key not in open_ones:
            problem = FeedProblem(*key, ledger.unused_start(*key, now), text)
            ledger.save_problem(problem)
            ledger.queue_alert(_alert(problem, name), channels, iso_stamp(now))
    for key, problem in open_ones.items():
        if key not in found and problem.kind in judged:
            ledger.end_problem(problem, iso_stamp(now))
            ledger.queue_alert(_alert(problem, name, ended=iso_stamp(now)), channels, iso_stamp(now))


def _alert(problem: FeedProblem, name: str, ended: str | None = None) -> Alert:
    label = f"{problem.kind} {problem.subject}".strip()
    event_id = f"{name}/feed/{label.replace(' ', '-')}/{problem.since}"
    content = {"kind": problem.kind, "subject": problem.subject, "first": problem.since, "text": problem.text}
    if ended is None:
        title, text = f"{name}: feed: {label} since {problem.since}", problem.text
    else:
        event_id, text = f"{event_id}/recovered", f"It was: {problem.text}"
        title = f"{name}: feed: recovered at {ended} from: {label}"
    event = {"id": event_id, **content, "last": ended}
    return Alert(id=event_id, title=title, text=f"{text}. Alert {event_id}", event=event)


def _silence(ledger: Ledger, model: FollowedModel, *, has_rows: bool, now: pd.Timestamp) -> dict[tuple[str, str], str]:
    """Count a look without rows; a problem where there were enough."""
    looks = 0 if has_rows else int(ledger.note(LOOKS_KEY) or 0) + 1
    ledger.save_note(LOOKS_KEY, str(looks))
    since = ledger.note(SILENCE_KEY)
    if has_rows or since is None:
        since = iso_stamp(now)
        ledger.save_note(SILENCE_KEY, since)
    is_long = now - pd.Timestamp(since) >= LOOKS_WITHOUT_DATA * step_length(model.detector.frequency)
    if looks < LOOKS_WITHOUT_DATA or not is_long:
        return {}
    mark = ledger.high_water_mark
    newest = "" if mark is None else f"; the newest step is {iso_stamp(mark)}"
    return {(NO_DATA, ""): f"no new row since {since}, in {looks} looks{newest}"}


def _dead_sensors(ledger: Ledger, model: FollowedModel, unknown: Collection[str]) -> dict[tuple[str, str], str]:
    """A problem for each sensor that has no reading where others have."""
    newest = ledger.high_water_mark
    if newest is None:
        return {}
    detector, length = model.detector, step_length(model.detector.frequency)
    limit = max(detector.lookback, MIN_SILENT_STEPS)
    readings = ledger.readings(newest - (limit - 1) * length, detector.sensors)
    if len(readings) <= limit // 2:  # a hole, or a stream that begins
        return {}
    silent = [str(sensor) for sensor in detector.sensors if readings[sensor].isna().all()]
    return {
        (DEAD, sensor): f"'{sensor}' has no reading in the last {limit} steps, up to {iso_stamp(newest)}"
        f"{suggest(sensor, sorted(unknown))}"
        for sensor in silent
    }


def _unreadable_lines(batches: Sequence[ReadBatch]) -> dict[tuple[str, str], str]:
    """Problems of what was read: a web page, files without a readable row, a share of lines that is too large."""
    pages = [batch for batch in batches if any(WEB_PAGE_NOTE in note for note in batch.notes)]
    whole = [batch for batch in batches if batch.unreadable >= batch.rows and batch not in pages]
    if pages:
        return {(WEB_PAGE, ""): f"{pages[0].source} {WEB_PAGE_NOTE}"}
    if whole:
        return {(NO_ROW, ""): f"{whole[0].source}: {'; '.join(whole[0].notes) or 'no row can be read'}"}
    rows, unreadable = sum(batch.rows for batch in batches), sum(batch.unreadable for batch in batches)
    if unreadable < UNREADABLE_SHARE * rows:
        return {}
    worst = max(batches, key=lambda batch: batch.unreadable)
    return {(UNREADABLE, ""): f"{unreadable} of {rows} lines cannot be read; {worst.source}: {'; '.join(worst.notes)}"}
