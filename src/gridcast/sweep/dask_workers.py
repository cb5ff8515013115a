"""The Dask workers of a pool: processes of this machine, or those of a cluster."""

from __future__ import annotations

import contextlib
import logging
import pickle
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from gridcast.runtime.errors import ConfigError, GridcastError
from gridcast.sweep import worker_process
from gridcast.sweep.worker_job import (
    RETRYABLE_ERRORS,
    TaskContext,
    TaskFailure,
    TaskFunction,
    WorkerSettings,
    error_reason,
)

TASKS_PER_WORKER = 100
"""Tasks after which a local worker is restarted, so that a memory leak of any library stays small."""
NO_WORKER_TIMEOUT = 120
"""Seconds that a pool waits for a worker before it gives up."""
CLOSING_TIMEOUT = 5
"""Seconds that a pool which ends at once waits for Dask."""


class WorkerMismatchError(GridcastError):
    """A worker has other versions of packages than the sweep."""


class TaskOutcome(NamedTuple):
    """Result or TaskFailure of a task, and whether another try may help.

    `refused` means that the worker must not do the work of this sweep: the task goes to another one.
    """

    result: Any = None
    may_retry: bool = False
    refused: bool = False


class DaskWorkers:
    """Dask workers that have the `shared` data of all tasks; `start` starts them, `close` ends them.

    The data reach each worker process once, when it starts, also one that replaces a killed one or joins a
    cluster late. They come with a worker plugin: in Dask's distributed memory they would be lost with a killed
    worker.
    """

    def __init__(self, settings: WorkerSettings, shared: Any) -> None:
        self._settings, self._shared = settings, shared
        # A unique name, because sweeps that share a cluster have different data.
        self._plugin_name = f"gridcast-{uuid.uuid4().hex}"
        self._refused: set[str] = set()  # addresses of workers with other versions
        self._task_counts: Counter[str] = Counter()
        self._last_seen = time.monotonic()  # when there was a worker
        self._stack = contextlib.ExitStack()
        self._client: Any = None
        self._cluster: Any = None
        self._report: Callable[[Any], None] = lambda _: None

    def start(self, report: Callable[[Any], None]) -> None:
        """Start the workers unless they are started; `report` gets what tasks report, in a thread of Dask.

        Raises ConfigError if no scheduler answers.
        """
        self._report = report
        if self._client is not None:
            return
        from distributed import Client

        # Dask logs dead workers and broken connections over many lines; the pool reports them itself.
        names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
        for name in (*names, "asyncio", "tornado.application"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        settings, address = self._settings, self.name
        if settings.scheduler is None:
            self._cluster = self._stack.enter_context(
                worker_process.local_cluster(
                    settings.workers, memory=settings.memory, backend=settings.backend, folder=settings.cache
                )
            )
            address = self._cluster.scheduler_address
        try:
            self._client = self._stack.enter_context(Client(address, set_as_default=False, timeout=10))
        except (OSError, ValueError) as error:
            raise ConfigError(f"--scheduler: no Dask scheduler answers at '{self.name}': {error}") from None
        self._stack.callback(self._unregister)
        self._client.subscribe_topic(self._plugin_name, self._receive)
        self._register()

    def close(self, *, at_once: bool = False) -> None:
        """End the workers; `at_once` ends their tasks too, for which Dask would wait."""
        if not at_once:
            self._stack.close()
            return
        if self._cluster is not None:
            worker_process.kill_workers(self._cluster)
        closing = threading.Thread(target=self._stack.close, daemon=True)
        closing.start()
        closing.join(CLOSING_TIMEOUT)

    @property
    def name(self) -> str:
        """The workers in error messages."""
        return self._settings.scheduler or "the local workers"

    def submit(self, function: TaskFunction, task: Any, address: str) -> Any:
        """Send a task to the worker at `address`; return its future."""
        return self._client.submit(_run_on_worker, self._plugin_name, function, task, pure=False, workers=[address])

    def cancel(self, futures: Iterable[Any]) -> None:
        """Cancel tasks that were sent."""
        self._client.cancel(list(futures), force=True)

    def threads(self) -> dict[str, int]:
        """Return the number of threads of each worker that is there now, by address.

        Raises GridcastError if there was no worker for `NO_WORKER_TIMEOUT` seconds.
        """
        try:
            threads = {address: n for address, n in self._client.nthreads().items() if address not in self._refused}
        except OSError:
            threads = {}
        if threads:
            self._last_seen = time.monotonic()
        elif time.monotonic() - self._last_seen > NO_WORKER_TIMEOUT:
            raise GridcastError(f"{self.name}: no worker for {NO_WORKER_TIMEOUT} s; start some, then run again")
        return threads

    def outcome(self, future: Any, address: str) -> TaskOutcome:
        """Return the outcome of the task that was sent to `address`. Raises GridcastError if the scheduler is gone."""
        from distributed.scheduler import KilledWorker

        if future.status in ("cancelled", "lost"):
            raise GridcastError(f"{self.name}: the scheduler is gone; the same command continues when it is back")
        if future.status == "finished":
            result = future.result()
            future.release()
            return TaskOutcome(result)
        # A future that is still pending has no error: its worker is gone.
        error = future.exception() if future.status == "error" else KilledWorker("", None, 0)
        future.cancel(force=True)
        if isinstance(error, WorkerMismatchError):
            self._refused.add(address)
            logging.getLogger("gridcast").warning("%s", error)
            return TaskOutcome(refused=True)
        if isinstance(error, KilledWorker):
            return TaskOutcome(TaskFailure(self._death_reason(address)), may_retry=True)
        return TaskOutcome(TaskFailure(error_reason(error)), may_retry=isinstance(error, RETRYABLE_ERRORS))

    def recycle(self, address: str) -> None:
        """Count a task of a worker; restart a local one after `TASKS_PER_WORKER` tasks."""
        self._task_counts[address] += 1
        if self._task_counts[address] >= TASKS_PER_WORKER and self._settings.scheduler is None:
            self._client.restart_workers([address], raise_for_error=False)

    def _register(self) -> None:
        """Send the plugin with the data to all workers."""
        folder = self._settings.cache if self._settings.scheduler is None else None
        plugin = worker_process.worker_plugin(self._shared, self._settings.backend, folder)
        deadline = time.monotonic() + NO_WORKER_TIMEOUT
        while True:
            try:
                self._client.register_plugin(plugin, name=self._plugin_name)
                return
            except OSError as error:
                # A worker that has just died is listed until the scheduler notices; then it works.
                if time.monotonic() > deadline:
                    raise GridcastError(f"{self.name}: a worker does not answer: {error}") from None
                time.sleep(1)

    def _receive(self, event: tuple[float, Any]) -> None:
        self._report(pickle.loads(event[1]))  # noqa: S301 - from our own workers, as all results of tasks

    def _unregister(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._client.unregister_worker_plugin(self._plugin_name)

    def _death_reason(self, address: str) -> str:
        """Return why a worker died, as far as its nanny reported it."""
        events = self._client.get_events("worker-restart-memory")
        restarts = [event for _, event in events if event["worker"] == address]
        if restarts:
            gib = restarts[-1]["rss"] / 2**30
            return f"its worker used {gib:.1f} GiB, more than its memory limit (--memory-limit)"
        return f"its worker {address} died"


def _run_on_worker(plugin_name: str, function: TaskFunction, task: Any) -> Any:
    """Run a task on a worker, with the data that its plugin holds. Raises WorkerMismatchError."""
    from distributed import get_worker

    worker = get_worker()
    plugin = worker.plugins[plugin_name]
    if plugin.refusal:
        raise WorkerMismatchError(plugin.refusal)

    def report(progress: Any) -> None:
        worker.log_event(plugin_name, pickle.dumps(progress))  # Dask itself would turn tuples into lists

    return function(plugin.shared, task, TaskContext(plugin.cache, report))
