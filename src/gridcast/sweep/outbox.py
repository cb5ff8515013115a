"""Results on their way to MLflow: saved on disk first, delivered when the server takes them.

Training never waits for MLflow: the main thread saves a result as a file, and one thread delivers the files in
order. A file is removed only after its delivery, so a kill at any moment loses nothing; the next start delivers
what is left. Delivery may therefore happen twice, which `deliver` has to tolerate.

The same thread shows the progress of runs in training. Progress is not saved: the result of a run holds all of it.
"""

from __future__ import annotations

import functools
import json
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from gridcast.data.atomic_write import set_aside
from gridcast.runtime.errors import Unreachable
from gridcast.tracking.run_recording import RunEntry
from gridcast.training import atomic_bundle
from gridcast.training.atomic_bundle import DamagedError
from gridcast.training.progress import RunProgress

FLUSH_TIMEOUT = 60.0
"""Seconds without an answer from the server after which `flush` gives up."""
SHUTDOWN_TIMEOUT = 1.5
"""Seconds that the end of a sweep spends on a server that does not answer."""
STREAM_INTERVAL = 2.0
"""Seconds between two deliveries of progress."""
MAX_RETRY_DELAY = 15.0
"""Longest wait in seconds between two tries to reach a server that is down."""
_FILE_FIELDS = ("files", "artifacts")
"""Fields of an entry that hold binary files; the others are saved as JSON."""
_LOG = logging.getLogger("gridcast")


def save_entry(folder: Path, entry: RunEntry) -> Path:
    """Save `entry` as a file of `folder` that survives a kill at any moment. Raises OSError."""
    about = {field.name: getattr(entry, field.name) for field in fields(entry) if field.name not in _FILE_FIELDS}
    files = {"entry.json": json.dumps(about).encode()}
    files |= {f"{field}/{name}": content for field in _FILE_FIELDS for name, content in getattr(entry, field).items()}
    path = folder / f"{entry.kind}-{entry.key}"
    atomic_bundle.write(path, files)
    return path


def load_entry(path: Path) -> RunEntry:
    """Return the entry saved at `path`. Raises DamagedError."""
    contents = atomic_bundle.read(path)
    about: dict[str, Any] = json.loads(contents["entry.json"])
    for field in _FILE_FIELDS:
        prefix = f"{field}/"
        about[field] = {
            name.removeprefix(prefix): content for name, content in contents.items() if name.startswith(prefix)
        }
    return RunEntry(**about | {"times": tuple(about.get("times", ()))})  # an entry of a former version has none


def pending_entries(folder: Path) -> list[Path]:
    """Return the files in `folder` that are not delivered yet, oldest first."""
    # Hidden files are half-written; those with a suffix are damaged.
    paths = [path for path in folder.glob("*-*") if not path.name.startswith(".") and not path.suffix]
    return sorted(paths, key=lambda path: path.stat().st_mtime)


class Recorder:
    """Delivers entries to MLflow in a thread, first those that an earlier start left in `folder`.

    `deliver` must write an entry once, however often it is called with it. While it raises Unreachable, the
    entries wait on disk; any other exception ends the thread and is raised by `check` and `flush`. `stream` gets the
    progress of runs; where it raises Unreachable, it gets the same progress again later.
    """

    def __init__(
        self,
        folder: Path,
        deliver: Callable[[RunEntry], None],
        stream: Callable[[RunProgress], None] = lambda _: None,
    ) -> None:
        self.folder = folder
        self._deliver, self._stream = deliver, stream
        self._progress: queue.SimpleQueue[RunProgress] = queue.SimpleQueue()
        self._last_stream = 0.0
        self._queue: queue.Queue[Path] = queue.Queue()
        self._end = threading.Event()
        self._error: BaseException | None = None
        self._outage = ""  # the error of a server that does not answer at present
        self._last_answer = time.monotonic()
        left_over = pending_entries(folder)
        if left_over:
            _LOG.warning("%d results of an earlier start are written to MLflow first", len(left_over))
        for path in left_over:
            self._queue.put(path)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def add(self, entry: RunEntry) -> None:
        """Save `entry` and have it delivered soon. Raises OSError if it cannot be saved."""
        self._queue.put(save_entry(self.folder, entry))

    def report(self, progress: RunProgress) -> None:
        """Have the progress of a run shown soon; callable from any thread."""
        self._progress.put(progress)

    @property
    def pending(self) -> int:
        """Number of entries that are not in MLflow yet."""
        return self._queue.unfinished_tasks

    def check(self) -> None:
        """Raise the exception that ended the thread, if there is one."""
        if self._error is not None:
            raise self._error

    def flush(self) -> None:
        """Return when everything is delivered.

        Raises Unreachable if the server does not answer for `FLUSH_TIMEOUT` seconds.
        """
        begun = time.monotonic()
        while self.pending:
            self.check()
            if self._outage and time.monotonic() - max(begun, self._last_answer) > FLUSH_TIMEOUT:
                raise Unreachable(
                    f"{self._outage}; {self.pending} results are kept in {self.folder}, "
                    "and the same command writes them when the server is back"
                )
            time.sleep(0.02)
        self.check()

    def close(self) -> None:
        """Deliver what is left while the server answers, then end the thread, all within `SHUTDOWN_TIMEOUT`."""
        if self._end.is_set():
            return
        deadline = time.monotonic() + SHUTDOWN_TIMEOUT
        while self.pending and not self._outage and self._error is None and time.monotonic() < deadline:
            time.sleep(0.02)
        self._end.set()
        self._thread.join(timeout=max(0.2, deadline - time.monotonic()))

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                self._show_progress()
                path = self._queue.get(timeout=0.2)
                self._deliver_file(path)
                self._queue.task_done()
            except queue.Empty:
                continue
            except BaseException as error:  # noqa: BLE001 - the main thread raises it
                self._error = error
                return

    def _show_progress(self) -> None:
        """Deliver the progress that came since the last time, if it is time."""
        if self._progress.empty() or time.monotonic() - self._last_stream < STREAM_INTERVAL:
            return
        while not self._progress.empty() and not self._end.is_set():
            self._with_patience(functools.partial(self._stream, self._progress.get()))
        self._last_stream = time.monotonic()

    def _deliver_file(self, path: Path) -> None:
        """Deliver the entry at `path`, however long the server is down, unless the recorder is closed."""
        try:
            entry = load_entry(path)
        except DamagedError as error:
            aside = set_aside(path, "damaged")
            _LOG.warning("%s; renamed to %s, its run will be trained again", error, aside.name)
            return
        if self._with_patience(lambda: self._deliver(entry)):
            path.unlink(missing_ok=True)

    def _with_patience(self, call: Callable[[], None]) -> bool:
        """Call until the server answers, however long it is down; return False if the recorder is closed meanwhile."""
        delay = 1.0
        while True:
            try:
                call()
            except Unreachable as error:
                if not self._outage:
                    _LOG.warning("%s; training goes on, results are kept in %s until it answers", error, self.folder)
                self._outage = str(error)
                if self._end.wait(delay):
                    return False
                delay = min(2 * delay, MAX_RETRY_DELAY)
                continue
            self._last_answer = time.monotonic()
            if self._outage:
                _LOG.warning("the tracking server answers again; %d results are written now", self.pending)
                self._outage = ""
            return True
