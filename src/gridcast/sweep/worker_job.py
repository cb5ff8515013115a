"""The input and output of a worker pool: settings of the workers, a job of tasks, and failures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridcast.runtime.errors import GridcastError

RETRYABLE_ERRORS = (OSError, MemoryError)
"""Errors of a task that may not occur again; any other would."""


@dataclass(frozen=True)
class TaskContext:
    """The surroundings of a task: a folder of its worker's host, and `report`, which sends progress to the parent."""

    cache: Path
    report: Callable[[Any], None]


TaskFunction = Callable[[Any, Any, TaskContext], Any]
"""From the shared data, a task and its context to the result of the task."""


@dataclass(frozen=True)
class WorkerSettings:
    """Where tasks are executed and on which Keras backend; compiled programs and logs go to `cache`.

    There are `workers` processes on this machine, each with at most `memory` bytes (None: its share of the
    machine); or, with `scheduler`, the address of a Dask scheduler, the workers of that cluster.
    """

    workers: int
    backend: str
    cache: Path
    memory: int | None = None
    scheduler: str | None = None


@dataclass(frozen=True)
class TaskFailure:
    """The reason why a task has no result, in one line."""

    reason: str


@dataclass(frozen=True)
class WorkerJob:
    """Tasks for a worker pool, see `WorkerPool.execute`."""

    function: TaskFunction
    tasks: Sequence[Any]
    retries: int
    check: Callable[[], None]
    report: Callable[[Any], None]
    keep_going: Callable[[], bool]

    def warn_of_retry(self, position: int, reason: str, attempt: int) -> None:
        """Log that the task at `position` is tried again after its `attempt`-th failure (0 for the first)."""
        task = self.tasks[position]
        logging.getLogger("gridcast").warning(
            "%s: %s; tried again (%d of %d)", getattr(task, "name", task), reason, attempt + 1, self.retries
        )


def error_reason(error: BaseException) -> str:
    """Return the message of an error in one line, with the name of its class unless it is one of gridcast's."""
    if isinstance(error, GridcastError):
        return str(error)
    text = str(error).strip() or "no message"
    return f"{type(error).__name__}: {text.splitlines()[0]}"
