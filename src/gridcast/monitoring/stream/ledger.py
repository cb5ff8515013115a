"""What a stream has taken, scored and raised: one SQLite file, in which a stretch is there whole or not at all.

Stamps are kept as ISO text, readings and contributions as JSON objects by sensor.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gridcast.runtime.errors import ConfigError, GridcastError, suggest
from gridcast.runtime.running_threshold import ScoreHistory

LOCK_TIMEOUT = 10.0
"""Seconds to wait for another process that writes."""
RUNNING_STATE_KEY = "seen by version "
"""Before the version, the key of what its running threshold goes on from."""
BATCH_COUNTS = ("rows", "scored", "unscored", "late", "repeated", "unreadable", "missing", "afterwards")
"""What is counted of a stretch: the rows that it brought, each of which was scored, could not be yet, came late, told
of a step that was taken before, or could not be read; the steps that it should have brought and did not; and the
steps of earlier stretches that were scored with its help."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, taken INTEGER NOT NULL);  -- bytes
CREATE TABLE IF NOT EXISTS stretches (
  id INTEGER PRIMARY KEY, at TEXT NOT NULL, source TEXT NOT NULL, version TEXT NOT NULL, first TEXT, last TEXT,
  notes TEXT, rows INTEGER, scored INTEGER, unscored INTEGER, late INTEGER, repeated INTEGER,
  unreadable INTEGER, missing INTEGER, afterwards INTEGER
);
CREATE TABLE IF NOT EXISTS steps (
  time TEXT PRIMARY KEY, stretch INTEGER NOT NULL REFERENCES stretches, late INTEGER NOT NULL,
  score REAL, threshold REAL, anomaly INTEGER, contributions TEXT, readings TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
  id TEXT PRIMARY KEY, first TEXT NOT NULL, last TEXT NOT NULL, steps INTEGER NOT NULL, peak REAL NOT NULL,
  severity REAL, blame TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS false_alarms (id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS alerts (
  id TEXT NOT NULL, channel TEXT NOT NULL, about TEXT NOT NULL, raised TEXT NOT NULL, sent TEXT,
  PRIMARY KEY (id, channel)
);
"""


@dataclass(frozen=True)
class Alert:
    """Word of an event, as it was when it began to count; `id` lets a receiver drop what it has got before."""

    id: str
    title: str
    text: str
    event: Mapping[str, Any]


class Ledger:
    """The SQLite file at `path`, which belongs to the stream of the model `name`, in steps of `frequency`.

    Its newest step is the high-water mark: what is not later was taken before, came late, or never came.
    Raises ConfigError when the file belongs to another stream, or is none of this kind.
    """

    def __init__(self, path: Path, name: str, frequency: str) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=LOCK_TIMEOUT, isolation_level=None)
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"{path}: cannot be opened: {error}; name another file") from None
        try:
            # WAL: who reads does not stop who writes. FULL: what was told as kept survives a loss of power too.
            self._database.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {SCHEMA}")
            for key, value in {"model": name, "frequency": frequency}.items():
                self._database.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (key, value))
                ((kept,),) = self._database.execute("SELECT value FROM about WHERE key = ?", (key,))
                if kept != value:
                    raise ConfigError(
                        f"{path}: belongs to a stream of {key} '{kept}', not '{value}'; name another file"
                    )
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error):
                raise ConfigError(f"{path}: nothing can be kept in this file: {error}; name another one") from None
            raise

    def close(self) -> None:
        """Let the file go."""
        self._database.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """All that is written within is kept at its end, or nothing. Raises GridcastError when it cannot be."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise GridcastError(
                f"{self.path}: {error}; nothing of this stretch is kept, the next look takes it"
            ) from None
        finally:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")

    @property
    def mark(self) -> pd.Timestamp | None:
        """The high-water mark: the newest step that was taken."""
        ((newest,),) = self._database.execute("SELECT max(time) FROM steps")
        return None if newest is None else pd.Timestamp(newest)

    def taken(self) -> dict[str, int]:
        """Bytes that were taken of each file."""
        return dict(self._database.execute("SELECT name, taken FROM files"))

    def known(self, stamps: pd.Series) -> pd.Series:
        """Whether there is a step at each of `stamps`."""
        if not len(stamps):
            return pd.Series([], dtype=bool, index=stamps.index)
        span = stamps.min().isoformat(), stamps.max().isoformat()
        found = self._database.execute("SELECT time FROM steps WHERE time BETWEEN ? AND ?", span)
        return stamps.isin(_times([time for (time,) in found]))

    def readings(self, since: pd.Timestamp, sensors: Sequence[str]) -> pd.DataFrame:
        """What was read of `sensors` from `since` on, late or not, by stamp; NaN where nothing was."""
        found = self._database.execute(
            "SELECT time, readings FROM steps WHERE time >= ? ORDER BY time", (since.isoformat(),)
        ).fetchall()
        times = _times([time for time, _ in found])
        return pd.DataFrame([json.loads(text) for _, text in found], times, list(sensors), dtype=float)

    def waits(self, after: pd.Timestamp) -> bool:
        """Whether a step after the stamp `after` has no score."""
        found = self._database.execute("SELECT 1 FROM steps WHERE time > ? AND score IS NULL", (after.isoformat(),))
        return found.fetchone() is not None

    def backwards(self) -> Iterator[tuple[pd.Timestamp, float, float, bool, dict[str, float]]]:
        """Stamp, score, threshold, verdict and contributions of every step that was scored, the newest first."""
        found = self._database.execute(
            "SELECT time, score, threshold, anomaly, contributions FROM steps WHERE score IS NOT NULL "
            "ORDER BY time DESC"
        )
        for time, score, threshold, anomaly, contributions in found:
            yield pd.Timestamp(time), score, threshold, bool(anomaly), json.loads(contributions)

    def seen(self, version: str) -> ScoreHistory | None:
        """What a running threshold of this version of the model goes on from; None where it has judged nothing yet."""
        found = self._database.execute(
            "SELECT value FROM about WHERE key = ?", (RUNNING_STATE_KEY + version,)
        ).fetchone()
        return ScoreHistory(**json.loads(found[0])) if found else None

    def keep_seen(self, version: str, seen: ScoreHistory) -> None:
        """Keep what a running threshold of this version goes on from."""
        self._database.execute(
            "INSERT OR REPLACE INTO about VALUES (?, ?)", (RUNNING_STATE_KEY + version, json.dumps(asdict(seen)))
        )

    def unscored(self, stamps: pd.DatetimeIndex) -> pd.DatetimeIndex:
        """Those of the steps at `stamps` that have no score yet."""
        if not len(stamps):
            return stamps
        span = stamps.min().isoformat(), stamps.max().isoformat()
        found = self._database.execute("SELECT time FROM steps WHERE score IS NULL AND time BETWEEN ? AND ?", span)
        return stamps[stamps.isin(_times([time for (time,) in found]))]

    def open_stretch(self, at: str, source: str, version: str) -> int:
        """A new stretch; returns its number."""
        insert = "INSERT INTO stretches (at, source, version) VALUES (?, ?, ?)"
        done = self._database.execute(insert, (at, source, version))
        return int(done.lastrowid or 0)

    def close_stretch(
        self, number: int, steps: pd.DatetimeIndex, counts: Mapping[str, int], notes: Sequence[str]
    ) -> None:
        """What became of the stretch `number`, which brought the new `steps`."""
        span = [steps[0].isoformat(), steps[-1].isoformat()] if len(steps) else [None, None]
        names = ", ".join(f"{name} = ?" for name in ("first", "last", "notes", *BATCH_COUNTS))
        values = *span, json.dumps(list(notes)), *(int(counts.get(name, 0)) for name in BATCH_COUNTS), number
        self._database.execute(f"UPDATE stretches SET {names} WHERE id = ?", values)  # noqa: S608 - our own names

    def take_file(self, name: str, end: int) -> None:
        """Of the file `name`, `end` bytes are taken now."""
        self._database.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (name, end))

    def add_steps(self, number: int, readings: pd.DataFrame, *, late: bool = False) -> None:
        """Keep the steps of the stretch `number`, which have no score yet: their `readings`, by stamp."""
        given = zip(readings.index, readings.to_dict("records"), strict=True)
        rows = [(time.isoformat(), number, int(late), _json(values)) for time, values in given]
        self._database.executemany("INSERT INTO steps (time, stretch, late, readings) VALUES (?, ?, ?, ?)", rows)

    def put_scores(self, said: pd.DataFrame) -> pd.DatetimeIndex:
        """Keep what the detector says of steps that have no score yet; returns which steps these are.

        `said` has, by stamp, the columns score, threshold, anomaly, then the contributions of sensors.
        """
        kept = []
        for time, own in zip(said.index, said.to_dict("records"), strict=True):
            verdict = own.pop("score"), own.pop("threshold"), int(own.pop("anomaly")), _json(own)
            done = self._database.execute(
                "UPDATE steps SET score = ?, threshold = ?, anomaly = ?, contributions = ? "
                "WHERE time = ? AND score IS NULL",
                (*verdict, time.isoformat()),
            )
            kept += [time] * done.rowcount
        return pd.DatetimeIndex(kept)

    def put_event(self, event: Mapping[str, Any]) -> bool:
        """Keep an event; returns whether it is new. One that shares a step with a known one is that one, gone on."""
        known = self._database.execute(
            "SELECT id, first FROM events WHERE last >= ? AND first <= ? ORDER BY first",
            (event["first"], event["last"]),
        ).fetchone()
        key, first = known or (event["id"], event["first"])
        own = [event[name] for name in ("last", "steps", "peak", "severity")] + [json.dumps(event["blame"])]
        self._database.execute("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", (key, first, *own))
        return known is None

    def events(self) -> dict[str, tuple[pd.Timestamp, pd.Timestamp]]:
        """First and last step of each event that nobody called a false alarm, by id."""
        found = self._database.execute(
            "SELECT id, first, last FROM events WHERE id NOT IN (SELECT id FROM false_alarms)"
        )
        return {key: (pd.Timestamp(first), pd.Timestamp(last)) for key, first, last in found}

    def mark_false(self, key: str) -> None:
        """The event with this id was a false alarm. Raises ConfigError where there is none."""
        known = [str(own) for (own,) in self._database.execute("SELECT id FROM events ORDER BY first")]
        if key not in known:
            near = suggest(key, known) or (f" (the newest is '{known[-1]}')" if known else " (it has none)")
            raise ConfigError(f"--false: {self.path} has no alert '{key}'{near}")
        self._database.execute("INSERT OR IGNORE INTO false_alarms VALUES (?)", (key,))

    def raise_alert(self, alert: Alert, channels: Sequence[str], at: str) -> None:
        """Put an alert into the outbox of each channel, once however often it is raised."""
        about = json.dumps({"title": alert.title, "text": alert.text, "event": dict(alert.event)})
        rows = [(alert.id, channel, about, at) for channel in channels]
        self._database.executemany("INSERT OR IGNORE INTO alerts VALUES (?, ?, ?, ?, NULL)", rows)

    def unsent(self) -> list[tuple[str, Alert]]:
        """Channel and alert of all that waits in the outbox, in the order in which they were raised."""
        found = self._database.execute(
            "SELECT channel, id, about FROM alerts WHERE sent IS NULL ORDER BY rowid"
        ).fetchall()
        return [(channel, Alert(id=key, **json.loads(about))) for channel, key, about in found]

    def mark_sent(self, alert: Alert, channel: str, at: str) -> None:
        """The channel has got the alert."""
        self._database.execute("UPDATE alerts SET sent = ? WHERE id = ? AND channel = ?", (at, alert.id, channel))


def _times(texts: list[str]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(pd.to_datetime(texts, format="ISO8601")).as_unit("us")


def _json(values: Mapping[Any, float]) -> str:
    """Numbers by name, with the digits that a sensor may have; null for none."""
    told = {str(name): float(f"{value:.9g}") if math.isfinite(value) else None for name, value in values.items()}
    return json.dumps(told, separators=(",", ":"))
