"""The prediction log: inputs and forecasts that were served, in an SQLite file of bounded size, for the monitor."""

from __future__ import annotations

import contextlib
import io
import logging
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gridcast.runtime.errors import ConfigError, DataError, suggest

CHAMPION, SHADOW = "champion", "shadow"
"""Roles: the model that answered, and a challenger whose forecasts were logged only."""
REQUEST, MODEL, VERSION, SERVED = "__request__", "__model__", "__version__", "__served__"
"""Columns added before those of the frames; the underscores distinguish them from a covariate called `model`."""
LOCK_TIMEOUT = 5.0
"""Seconds to wait for another process that writes."""
LOG = logging.getLogger(__name__)
SCHEMA = """
PRAGMA journal_mode = WAL;  -- readers do not block writers
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS served (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, request TEXT NOT NULL, model TEXT NOT NULL,
  version TEXT NOT NULL, role TEXT NOT NULL, history BLOB NOT NULL, forecasts BLOB NOT NULL,
  rows INTEGER NOT NULL, before INTEGER NOT NULL  -- rows of all entries before: the bound needs no counting
);
CREATE INDEX IF NOT EXISTS served_before ON served (before);
"""
INSERT = """
INSERT INTO served SELECT NULL, ?, ?, ?, ?, ?, ?, ?, ?,
  COALESCE((SELECT before + rows FROM served ORDER BY id DESC LIMIT 1), 0)
"""
ROTATE = "DELETE FROM served WHERE before < (SELECT before + rows FROM served ORDER BY id DESC LIMIT 1) - ?"
SELECT = """
SELECT request, model, version, at, forecasts, history FROM served
WHERE role = ? AND model = COALESCE(?, model) ORDER BY id
"""


class PredictionLog:
    """The SQLite file at `path`, which holds the newest entries: at most `limit` rows of inputs and forecasts.

    Threads may share the object, and several processes the file. Raises ConfigError when the limit is below 1 or the
    file cannot be used; later failures are logged, once, and no request fails because of them.
    """

    def __init__(self, path: Path, limit: int) -> None:
        if limit < 1:
            raise ConfigError(f"the limit of the prediction log must be at least 1 row (got {limit})")
        self.path, self.limit, self._lock, self._has_warned = path, limit, threading.Lock(), False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=LOCK_TIMEOUT, check_same_thread=False)
            self._database.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"{path}: cannot be used as a prediction log: {error}; name another file") from None

    def add(
        self,
        request: str,
        *,
        model: str,
        version: str,
        history: pd.DataFrame,
        forecasts: pd.DataFrame,
        role: str = CHAMPION,
    ) -> None:
        """Add the input of `request` and the forecasts of `model`; the oldest entries go when there are too many."""
        try:
            columns = time.time(), request, model, version, role, _to_bytes(history), _to_bytes(forecasts)
            with self._lock, self._database as database:
                database.execute(INSERT, (*columns, len(history) + len(forecasts)))
                database.execute(ROTATE, (self.limit,))
        except Exception as error:  # noqa: BLE001 - no request fails because it cannot be logged
            if not self._has_warned:
                self._has_warned = True
                LOG.warning(f"{self.path}: some forecasts are not logged: {error} (this warning is given once)")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()


def read_predictions(path: Path, model: str | None = None, role: str = CHAMPION) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the logged forecasts and inputs of `model` (None: of all models) in this `role`, oldest first.

    The columns are REQUEST, MODEL, VERSION and SERVED (UTC), then those that were added. Both frames are empty where
    nothing of this role was logged. Raises DataError when the file is missing or is no prediction log, or has only
    other models.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; the prediction log is written by: gridcast serve --keep")
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT)) as database:
            names = [name for (name,) in database.execute("SELECT DISTINCT model FROM served ORDER BY model")]
            rows = database.execute(SELECT, (role, model)).fetchall()
    except sqlite3.Error as error:
        raise DataError(f"{path}: is no prediction log: {error}") from None
    if model is not None and model not in names:
        hint = f"{suggest(model, names)} (it has: {', '.join(names) or 'nothing yet'})"
        raise DataError(f"{path}: has no forecasts of the model '{model}'{hint}")
    return _join_frames(rows, 4), _join_frames(rows, 5)


def _join_frames(rows: list[tuple[Any, ...]], column: int) -> pd.DataFrame:
    """Return the frames in `column` of `rows` below each other, after the columns that identify the entry."""
    frames = [pd.read_feather(io.BytesIO(row[column])) for row in rows]
    entries = pd.DataFrame([row[:4] for row in rows], columns=[REQUEST, MODEL, VERSION, SERVED])
    entries[SERVED] = pd.to_datetime(entries[SERVED], unit="s")
    repeated = entries.loc[np.repeat(entries.index, list(map(len, frames)))].reset_index(drop=True)
    return pd.concat([repeated, pd.concat(frames, ignore_index=True)], axis=1) if frames else repeated


def _to_bytes(frame: pd.DataFrame) -> bytes:
    """Return the frame in Arrow format, which keeps types: an id such as `01` stays text, a time stays a time."""
    buffer = io.BytesIO()
    frame.reset_index(drop=True).to_feather(buffer)
    return buffer.getvalue()
