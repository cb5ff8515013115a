"""The record of a stream: one SQLite file of all batches, steps, events and alerts; a batch is stored whole or not.

Times are stored as ISO text, readings and contributions as JSON objects by sensor. A batch is a row of the table
`stretches`.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from gridcast.monitoring.stream.ledger_rows import Alert, FeedProblem, FileMark, ReadBatch, ScoredStep
from gridcast.monitoring.stream.ledger_schema import SCHEMA
from gridcast.runtime.errors import ConfigError, GridcastError, suggest
from gridcast.runtime.running_threshold import ScoreHistory

LOCK_TIMEOUT = 10.0
"""Seconds to wait for another process that writes."""
HISTORY_KEY = "seen by version "
"""Key in the table `about`, before the version, of the score history of a running threshold."""
WAITING_KEY = "late steps that wait"
"""Key in the table `about` of the stretches of late steps that wait for later ones."""
HEADER_KEY = "header of "
"""Key in the table `about`, before the name of a file, of the lines that name its columns."""
MAX_HOLE_AHEAD = pd.Timedelta(hours=1)
"""A step ahead of the clock that follows after a longer hole has a wrong time: newer rows come before it."""
BATCH_COUNTS = ("rows", "scored", "unscored", "late", "repeated", "unreadable", "missing", "afterwards")
"""Counts of a batch: its rows, each of which was scored, could not be scored yet, came late, repeated a stored step, or
could not be read; the steps that are missing in it; and the steps of earlier batches that were scored with its help."""


class Ledger:
    """The SQLite file at `path`, which belongs to the stream of the model `name`, in steps of `frequency`.

    Its newest step is the high-water mark: a row that is not later repeats a stored step or came late.
    Raises ConfigError when the file belongs to another stream, or cannot be used.
    """

    def __init__(self, path: Path, name: str, frequency: str) -> None:
        self.path, self.stream_name = path, name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=LOCK_TIMEOUT, isolation_level=None)
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"{path}: cannot be opened: {error}; name another file") from None
        try:
            # WAL: readers do not block the writer. FULL: a committed batch survives a power failure too.
            self._database.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {SCHEMA}")
            for key, value in {"model": name, "frequency": frequency}.items():
                stored = self.note(key)  # first, as a record may be locked when a follower starts again
                if stored is None:
                    self._database.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (key, value))
                    stored = self.note(key)
                if stored != value:
                    raise ConfigError(
                        f"{path}: belongs to a stream of {key} '{stored}', not '{value}'; name another file"
                    )
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error):
                raise ConfigError(f"{path}: cannot be used as a stream record: {error}; name another file") from None
            raise

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything that is written in the block, or nothing. Raises GridcastError when that fails."""
        try:
            # IMMEDIATE takes the write lock now: what the block reads cannot change before it writes.
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise GridcastError(
                f"{self.path}: {error}; nothing of this batch is stored, the next poll reads it again"
            ) from None
        finally:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")

    @property
    def high_water_mark(self) -> pd.Timestamp | None:
        """The time of the newest step, None where there is none."""
        ((newest,),) = self._database.execute("SELECT max(time) FROM steps")
        return None if newest is None else pd.Timestamp(newest)

    @property
    def first_step(self) -> pd.Timestamp | None:
        """The time of the oldest step, None where there is none."""
        ((first,),) = self._database.execute("SELECT min(time) FROM steps")
        return None if first is None else pd.Timestamp(first)

    def newest_steps(self, count: int) -> pd.DatetimeIndex:
        """Return the times of the newest steps, in their order."""
        rows = self._database.execute("SELECT time FROM steps ORDER BY time DESC LIMIT ?", (count,)).fetchall()
        return _to_times([time for (time,) in rows[::-1]])

    def newest_before(self, time: pd.Timestamp) -> pd.Timestamp | None:
        """Return the time of the newest step before `time`, None where there is none."""
        ((newest,),) = self._database.execute("SELECT max(time) FROM steps WHERE time < ?", (time.isoformat(),))
        return None if newest is None else pd.Timestamp(newest)

    def resume_time(self, now: pd.Timestamp) -> pd.Timestamp | None:
        """Return the time after which a feed is asked for rows, None for all of them.

        It is that of the newest step, unless the clock was wrong for that one: it lies after `now`, and more than
        MAX_HOLE_AHEAD after the one before.
        """
        ((newest,),) = self._database.execute("SELECT max(time) FROM steps WHERE time <= ?", (now.isoformat(),))
        resume = None if newest is None else pd.Timestamp(newest)
        ahead = self._database.execute("SELECT time FROM steps WHERE time > ? ORDER BY time", (now.isoformat(),))
        for (time,) in ahead:
            if resume is not None and pd.Timestamp(time) - resume > MAX_HOLE_AHEAD:
                break
            resume = pd.Timestamp(time)
        return resume

    def file_marks(self) -> dict[str, FileMark]:
        """Return how far each file was read, by its name."""
        # A record of a former version, or one that it wrote to, knows no digest of these bytes.
        rows = self._database.execute(
            "SELECT files.name, files.taken, digest FROM files LEFT JOIN digests "
            "ON digests.name = files.name AND digests.taken = files.taken"
        )
        headers = dict(self._database.execute("SELECT key, value FROM about WHERE key LIKE ?", (HEADER_KEY + "%",)))
        return {name: FileMark(taken, digest or "", headers.get(HEADER_KEY + name, "")) for name, taken, digest in rows}

    def mark_read(self, name: str, mark: FileMark) -> None:
        """Store how far the file `name` was read."""
        self._database.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (name, mark.size))
        self._database.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (name, mark.size, mark.digest))
        self.save_note(HEADER_KEY + name, mark.header)

    def has_steps(self, times: pd.Series) -> pd.Series:
        """Return for each of `times` (n,) whether there is a step."""
        if not len(times):
            return pd.Series([], dtype=bool, index=times.index)
        span = times.min().isoformat(), times.max().isoformat()
        rows = self._database.execute("SELECT time FROM steps WHERE time BETWEEN ? AND ?", span)
        return times.isin(_to_times([time for (time,) in rows]))

    def readings(
        self, since: pd.Timestamp, sensors: Sequence[str], until: pd.Timestamp = pd.Timestamp.max
    ) -> pd.DataFrame:
        """Return the readings of `sensors` from `since` to `until`, late or not, by time; NaN where there is none."""
        rows = self._database.execute(
            "SELECT time, readings FROM steps WHERE time BETWEEN ? AND ? ORDER BY time",
            (since.isoformat(), until.isoformat()),
        ).fetchall()
        times = _to_times([time for time, _ in rows])
        return pd.DataFrame([json.loads(text) for _, text in rows], times, list(sensors), dtype=float)

    def add_steps(self, batch: int, readings: pd.DataFrame, *, late: bool = False) -> None:
        """Store the `readings` of a batch by time, as steps without a score."""
        by_time = zip(readings.index, readings.to_dict("records"), strict=True)
        rows = [(time.isoformat(), batch, int(late), _to_json(values)) for time, values in by_time]
        self._database.executemany("INSERT INTO steps (time, stretch, late, readings) VALUES (?, ?, ?, ?)", rows)

    def complete_steps(self, readings: pd.DataFrame) -> pd.DatetimeIndex:
        """Add `readings` to stored steps that have none of these sensors yet; return the times of such steps."""
        if not len(readings):
            return pd.DatetimeIndex([])
        stored = self.readings(readings.index[0], list(readings.columns), readings.index[-1]).reindex(readings.index)
        gained = stored.isna() & readings.notna()
        for time in readings.index[gained.any(axis=1)]:
            ((text,),) = self._database.execute("SELECT readings FROM steps WHERE time = ?", (time.isoformat(),))
            values = json.loads(text) | json.loads(_to_json(readings.loc[time][gained.loc[time]].to_dict()))
            update = json.dumps(values, separators=(",", ":")), time.isoformat()
            self._database.execute("UPDATE steps SET readings = ? WHERE time = ? AND score IS NULL", update)
        return pd.DatetimeIndex(readings.index[gained.any(axis=1)])

    def waiting_stretches(self) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
        """Return first and last step of the stretches of late steps of which some wait for later ones."""
        row = self._database.execute("SELECT value FROM about WHERE key = ?", (WAITING_KEY,)).fetchone()
        return [(pd.Timestamp(first), pd.Timestamp(last)) for first, last in json.loads(row[0])] if row else []

    def save_waiting_stretches(self, stretches: Sequence[tuple[pd.Timestamp, pd.Timestamp]]) -> None:
        """Store the stretches that `waiting_stretches` returns."""
        content = json.dumps([(first.isoformat(), last.isoformat()) for first, last in stretches])
        self._database.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (WAITING_KEY, content))

    def has_unscored_steps(self, after: pd.Timestamp) -> bool:
        """Whether a step after the time `after` has no score."""
        rows = self._database.execute("SELECT 1 FROM steps WHERE time > ? AND score IS NULL", (after.isoformat(),))
        return rows.fetchone() is not None

    def first_unscored(self) -> pd.Timestamp | None:
        """Return the time of the first step without a score after all those with one, None where there is none."""
        newest = "SELECT coalesce(max(time), '') FROM steps WHERE score IS NOT NULL"
        ((first,),) = self._database.execute(f"SELECT min(time) FROM steps WHERE time > ({newest})")  # noqa: S608
        return None if first is None else pd.Timestamp(first)

    def has_anomaly(self, first: pd.Timestamp, last: pd.Timestamp) -> bool:
        """Whether a step from `first` to `last` is anomalous by its score."""
        span = first.isoformat(), last.isoformat()
        rows = self._database.execute("SELECT 1 FROM steps WHERE anomaly = 1 AND time BETWEEN ? AND ? LIMIT 1", span)
        return rows.fetchone() is not None

    def unscored_times(self, times: pd.DatetimeIndex) -> pd.DatetimeIndex:
        """Return those of `times` whose steps have no score yet."""
        if not len(times):
            return times
        span = times.min().isoformat(), times.max().isoformat()
        rows = self._database.execute("SELECT time FROM steps WHERE score IS NULL AND time BETWEEN ? AND ?", span)
        return times[times.isin(_to_times([time for (time,) in rows]))]

    def save_scores(self, scores: pd.DataFrame) -> pd.DatetimeIndex:
        """Store scores of steps that have none yet; return the times of these steps.

        `scores` has, by time, the columns score, threshold, anomaly, then the contributions of the sensors.
        """
        saved = []
        for time, row in zip(scores.index, scores.to_dict("records"), strict=True):
            values = row.pop("score"), row.pop("threshold"), int(row.pop("anomaly")), _to_json(row)
            update = self._database.execute(
                "UPDATE steps SET score = ?, threshold = ?, anomaly = ?, contributions = ? "
                "WHERE time = ? AND score IS NULL",
                (*values, time.isoformat()),
            )
            saved += [time] * update.rowcount
        return pd.DatetimeIndex(saved)

    def scored_steps(self) -> Iterator[ScoredStep]:
        """Yield every step with a score, the newest first."""
        rows = self._database.execute(
            "SELECT time, score, threshold, anomaly, contributions FROM steps WHERE score IS NOT NULL "
            "ORDER BY time DESC"
        )
        for time, score, threshold, anomaly, contributions in rows:
            yield ScoredStep(pd.Timestamp(time), score, threshold, bool(anomaly), json.loads(contributions))

    def score_history(self, version: str) -> ScoreHistory | None:
        """Return the history that the running threshold of this version continues from; None before its first score."""
        row = self._database.execute("SELECT value FROM about WHERE key = ?", (HISTORY_KEY + version,)).fetchone()
        return ScoreHistory(**json.loads(row[0])) if row else None

    def save_score_history(self, version: str, history: ScoreHistory) -> None:
        """Store the history that the running threshold of this version continues from."""
        row = HISTORY_KEY + version, json.dumps(asdict(history))
        self._database.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", row)

    def open_batch(self, at: str, source: str, version: str) -> int:
        """Store a new batch; return its number."""
        insert = "INSERT INTO stretches (at, source, version) VALUES (?, ?, ?)"
        return int(self._database.execute(insert, (at, source, version)).lastrowid or 0)

    def close_batch(
        self, batch: int, steps: pd.DatetimeIndex, *, counts: Mapping[str, int], notes: Sequence[str]
    ) -> None:
        """Store the times of the new `steps` of a batch, its counts and notes."""
        span = [steps[0].isoformat(), steps[-1].isoformat()] if len(steps) else [None, None]
        names = ", ".join(f"{name} = ?" for name in ("first", "last", "notes", *BATCH_COUNTS))
        values = *span, json.dumps(list(notes)), *(int(counts.get(name, 0)) for name in BATCH_COUNTS), batch
        self._database.execute(f"UPDATE stretches SET {names} WHERE id = ?", values)  # noqa: S608 - our own names

    def save_event(self, event: Mapping[str, Any]) -> bool:
        """Store an event; return whether it is new. One that overlaps a stored event is the continuation of that."""
        stored = self._database.execute(
            "SELECT id, first FROM events WHERE last >= ? AND first <= ? ORDER BY first",
            (event["first"], event["last"]),
        ).fetchone()
        event_id, first = stored or (event["id"], event["first"])
        values = [event[name] for name in ("last", "steps", "peak", "severity")] + [json.dumps(event["blame"])]
        self._database.execute("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", (event_id, first, *values))
        return stored is None

    def event_spans(self) -> dict[str, tuple[pd.Timestamp, pd.Timestamp]]:
        """Return the first and last step of each event that is not marked as a false alarm, by id."""
        rows = self._database.execute(
            "SELECT id, first, last FROM events WHERE id NOT IN (SELECT id FROM false_alarms)"
        )
        return {event_id: (pd.Timestamp(first), pd.Timestamp(last)) for event_id, first, last in rows}

    def mark_false_alarm(self, event_id: str) -> None:
        """Mark the event with this id as a false alarm. Raises ConfigError where there is none."""
        ids = [str(stored) for (stored,) in self._database.execute("SELECT id FROM events ORDER BY first")]
        if event_id not in ids:
            hint = suggest(event_id, ids) or (f" (the newest is '{ids[-1]}')" if ids else " (it has none)")
            raise ConfigError(f"--false: {self.path} has no alert '{event_id}'{hint}")
        self._database.execute("INSERT OR IGNORE INTO false_alarms VALUES (?)", (event_id,))

    def note(self, key: str) -> str | None:
        """Return what `save_note` stored under this key."""
        row = self._database.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def save_note(self, key: str, value: str) -> None:
        """Store a text about the stream."""
        self._database.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (key, value))

    def read_batches(self, after: int) -> list[ReadBatch]:
        """Return the batches with rows whose numbers are greater than `after`, in their order."""
        query = "SELECT id, source, rows, unreadable, notes FROM stretches WHERE id > ? AND rows > 0 ORDER BY id"
        found = self._database.execute(query, (after,)).fetchall()
        return [
            ReadBatch(number, source, rows, unreadable, tuple(json.loads(notes)))
            for number, source, rows, unreadable, notes in found
        ]

    def line_counts(self) -> tuple[int, int]:
        """Return how many lines were read, and how many of them were unreadable."""
        query = "SELECT coalesce(sum(rows), 0), coalesce(sum(unreadable), 0) FROM stretches"
        return self._database.execute(query).fetchone()

    def open_problems(self) -> list[FeedProblem]:
        """Return the problems that have not ended."""
        rows = self._database.execute(
            "SELECT kind, subject, since, text FROM problems WHERE until IS NULL ORDER BY since, kind, subject"
        )
        return [FeedProblem(*row) for row in rows]

    def unused_start(self, kind: str, subject: str, now: pd.Timestamp) -> str:
        """Return `now`, to the second, or a later time if a problem of this kind and subject began then already."""
        query = "SELECT 1 FROM problems WHERE kind = ? AND subject = ? AND since = ?"
        while self._database.execute(query, (kind, subject, now.isoformat(timespec="seconds"))).fetchone():
            now += pd.Timedelta(seconds=1)
        return now.isoformat(timespec="seconds")

    def save_problem(self, problem: FeedProblem) -> None:
        """Store a problem that begins."""
        values = problem.kind, problem.subject, problem.since, problem.text
        self._database.execute("INSERT INTO problems VALUES (?, ?, ?, NULL, ?)", values)

    def end_problem(self, problem: FeedProblem, at: str) -> None:
        """Store that a problem ended."""
        key = at, problem.kind, problem.subject, problem.since
        self._database.execute("UPDATE problems SET until = ? WHERE kind = ? AND subject = ? AND since = ?", key)

    def queue_alert(self, alert: Alert, channels: Sequence[str], at: str) -> None:
        """Put an alert into the outbox of each channel; it is there once, however often it is queued."""
        content = json.dumps({"title": alert.title, "text": alert.text, "event": dict(alert.event)})
        rows = [(alert.id, channel, content, at) for channel in channels]
        self._database.executemany("INSERT OR IGNORE INTO alerts VALUES (?, ?, ?, ?, NULL)", rows)

    def pending_alerts(self) -> list[tuple[str, Alert]]:
        """Return channel and alert of all that is in the outbox, in the order in which they were queued."""
        rows = self._database.execute(
            "SELECT channel, id, about FROM alerts WHERE sent IS NULL ORDER BY rowid"
        ).fetchall()
        return [(channel, Alert(id=alert_id, **json.loads(content))) for channel, alert_id, content in rows]

    def mark_sent(self, alert: Alert, channel: str, at: str) -> None:
        """Store that the channel delivered the alert."""
        self._database.execute("UPDATE alerts SET sent = ? WHERE id = ? AND channel = ?", (at, alert.id, channel))


def _to_times(texts: list[str]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(pd.to_datetime(texts, format="ISO8601")).as_unit("us")


def _to_json(values: Mapping[Any, float]) -> str:
    """Return numbers by name as JSON, to nine digits, which is more than sensors have; null for what is not finite."""
    rounded = {str(name): float(f"{value:.9g}") if math.isfinite(value) else None for name, value in values.items()}
    return json.dumps(rounded, separators=(",", ":"))
