"""What was served, kept in SQLite within a bound: the inputs and forecasts that the monitor looks at."""

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
"""Roles: who answered, and who was asked beside it without being heard."""
REQUEST, MODEL, VERSION, SERVED = "__request__", "__model__", "__version__", "__served__"
"""Columns that are put before those of the frames; marked, since a covariate may well be called `model`."""
LOCK_TIMEOUT = 5.0
"""Seconds to wait for another process that writes."""
LOG = logging.getLogger(__name__)
SCHEMA = """
PRAGMA journal_mode = WAL;  -- who reads does not stop who writes
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS served (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, request TEXT NOT NULL, model TEXT NOT NULL,
  version TEXT NOT NULL, role TEXT NOT NULL, history BLOB NOT NULL, forecasts BLOB NOT NULL,
  rows INTEGER NOT NULL, before INTEGER NOT NULL  -- rows of all that came before: the bound is kept without counting
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
    """Keeps what is served in the SQLite file at `path`: at most `limit` rows of inputs and forecasts, the newest.

    Any thread may add, and several processes may keep in one file. Raises ConfigError when the limit is below 1
    or the file cannot be used; what fails later is logged, once, and fails no request.
    """

    def __init__(self, path: Path, limit: int) -> None:
        if limit < 1:
            raise ConfigError(f"the limit of kept rows must be at least 1 (got {limit})")
        self.path, self.limit, self._lock, self._told = path, limit, threading.Lock(), False
        try:
            self._database = sqlite3.connect(path, timeout=LOCK_TIMEOUT, check_same_thread=False)
            self._database.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise ConfigError(f"{path}: nothing can be kept in this file: {error}; name another one") from None

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
        """Keep what `request` brought and what `model` answered; the oldest go when there are too many rows."""
        try:
            about = time.time(), request, model, version, role
            frames = _to_bytes(history), _to_bytes(forecasts)
            with self._lock, self._database as database:
                database.execute(INSERT, (*about, *frames, len(history) + len(forecasts)))
                database.execute(ROTATE, (self.limit,))
        except Exception as error:  # noqa: BLE001 - no request fails for what cannot be kept
            if not self._told:
                self._told = True
                LOG.warning(f"{self.path}: some of what is served is not kept: {error} (told once)")

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._database.close()


def read_predictions(path: Path, model: str | None = None, role: str = CHAMPION) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Forecasts and inputs that are kept of `model` (None: of all) in this `role`, in the order in which they came.

    Columns REQUEST, MODEL, VERSION and SERVED (UTC), then those that were added. Both frames are empty where
    nothing of this role is kept. Raises DataError when the file is not there or is none of this kind, or knows
    other models only.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file of kept forecasts")
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT)) as database:
            names = [name for (name,) in database.execute("SELECT DISTINCT model FROM served ORDER BY model")]
            rows = database.execute(SELECT, (role, model)).fetchall()
    except sqlite3.Error as error:
        raise DataError(f"{path}: holds no kept forecasts: {error}") from None
    if model is not None and model not in names:
        known = f"{suggest(model, names)} (it keeps: {', '.join(names) or 'nothing yet'})"
        raise DataError(f"{path}: nothing is kept of the model '{model}'{known}")
    return _together(rows, 4), _together(rows, 5)


def _together(rows: list[tuple[Any, ...]], place: int) -> pd.DataFrame:
    frames = [pd.read_feather(io.BytesIO(row[place])) for row in rows]
    marks = pd.DataFrame([row[:4] for row in rows], columns=[REQUEST, MODEL, VERSION, SERVED])
    marks[SERVED] = pd.to_datetime(marks[SERVED], unit="s")
    repeated = marks.loc[np.repeat(marks.index, list(map(len, frames)))].reset_index(drop=True)
    return pd.concat([repeated, pd.concat(frames, ignore_index=True)], axis=1) if frames else repeated


def _to_bytes(frame: pd.DataFrame) -> bytes:
    """As Arrow keeps it: ids such as `01` stay text, stamps stay stamps."""
    buffer = io.BytesIO()
    frame.reset_index(drop=True).to_feather(buffer)
    return buffer.getvalue()
