"""Finished work on its way to MLflow: on disk first, in MLflow when the server takes it."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from gridcast.runtime.errors import Unreachable
from gridcast.tracking.run_recording import RunEntry
from gridcast.training import atomic_bundle
from gridcast.training.atomic_bundle import DamagedError

FLUSH_TIMEOUT = 60.0
"""Seconds without an answer from the server after which the end of a sweep waits no longer."""
SHUTDOWN_TIMEOUT = 1.5
"""Seconds that the end of a sweep gives to results on their way."""
MAX_RETRY_DELAY = 15.0
"""Seconds at most between two tries to reach a server that is down."""
_FILE_FIELDS = ("files", "artifacts")
_LOG = logging.getLogger("gridcast")


def save_entry(folder: Path, entry: RunEntry) -> Path:
    """Keep `entry` as a file of `folder` that survives a kill at any moment. Raises OSError."""
    about = {field.name: getattr(entry, field.name) for field in fields(entry) if field.name not in _FILE_FIELDS}
    files = {"entry.json": json.dumps(about).encode()}
    files |= {f"{kind}/{name}": data for kind in _FILE_FIELDS for name, data in getattr(entry, kind).items()}
    path = folder / f"{entry.kind}-{entry.key}"
    atomic_bundle.write(path, files)
    return path


def load_entry(path: Path) -> RunEntry:
    """The entry kept at `path`. Raises DamagedError."""
    kept = atomic_bundle.read(path)
    inside: dict[str, Any] = {
        kind: {n.partition("/")[2]: d for n, d in kept.items() if n.startswith(f"{kind}/")} for kind in _FILE_FIELDS
    }
    about: dict[str, Any] = json.loads(kept["entry.json"])
    return RunEntry(**about, **inside)


def pending_entries(folder: Path) -> list[Path]:
    """Entries of `folder` that MLflow does not have yet, oldest first."""
    found = [path for path in folder.glob("*-*") if not path.name.startswith(".") and not path.suffix]
    return sorted(found, key=lambda path: path.stat().st_mtime)


class Recorder:
    """Writes entries to MLflow from a thread of its own, those of an earlier start first.

    `deliver` writes one entry, once however often it is called. While it raises Unreachable the
    entries wait on disk; any other error ends the thread and is raised by `check` and `flush`.
    """

    def __init__(self, folder: Path, deliver: Callable[[RunEntry], None]) -> None:
        self.folder = folder
        self._deliver = deliver
        self._queue: queue.Queue[Path] = queue.Queue()
        self._end = threading.Event()
        self._fault: BaseException | None = None
        self._down = ""
        self._answered = time.monotonic()
        left = pending_entries(folder)
        if left:
            _LOG.warning("%d results of an earlier start are written to MLflow first", len(left))
        for path in left:
            self._queue.put(path)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def add(self, entry: RunEntry) -> None:
        """Keep `entry` and have it written soon. Raises OSError when it cannot be kept."""
        self._queue.put(save_entry(self.folder, entry))

    @property
    def pending(self) -> int:
        """How many entries are not in MLflow yet."""
        return self._queue.unfinished_tasks

    def check(self) -> None:
        """Raises what ended the thread, if anything did."""
        if self._fault is not None:
            raise self._fault

    def flush(self) -> None:
        """Return when all is written. Raises Unreachable when the server stays away for `PATIENCE` seconds."""
        begun = time.monotonic()
        while self.pending:
            self.check()
            if self._down and time.monotonic() - max(begun, self._answered) > FLUSH_TIMEOUT:
                raise Unreachable(
                    f"{self._down}; {self.pending} results are kept in {self.folder}, "
                    "and the same command writes them when the server is back"
                )
            time.sleep(0.02)
        self.check()

    def close(self) -> None:
        """Write what is left while the server answers, then end the thread, all within `GOODBYE`."""
        if self._end.is_set():
            return
        until = time.monotonic() + SHUTDOWN_TIMEOUT
        while self.pending and not self._down and self._fault is None and time.monotonic() < until:
            time.sleep(0.02)
        self._end.set()
        self._thread.join(timeout=max(0.2, until - time.monotonic()))

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                path = self._queue.get(timeout=0.2)
            except queue.Empty:
                continue
            try:
                self._write(path)
                self._queue.task_done()
            except BaseException as error:  # noqa: BLE001 - the main thread raises it
                self._fault = error
                return

    def _write(self, path: Path) -> None:
        try:
            entry = load_entry(path)
        except DamagedError as error:
            path.replace(path.with_suffix(".damaged"))
            _LOG.warning("%s; set aside, its run is trained again", error)
            return
        wait = 1.0
        while True:
            try:
                self._deliver(entry)
            except Unreachable as error:
                if not self._down:
                    _LOG.warning("%s; training goes on, results are kept in %s until it answers", error, self.folder)
                self._down = str(error)
                if self._end.wait(wait):
                    return
                wait = min(2 * wait, MAX_RETRY_DELAY)
                continue
            self._answered = time.monotonic()
            if self._down:
                _LOG.warning("the tracking server answers again; %d results are written now", self.pending)
                self._down = ""
            path.unlink(missing_ok=True)
            return
