"""Where runs are executed: in this process, in local worker processes, or on any Dask cluster."""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridcast.runtime.errors import ConfigError, GridcastError, Interrupted
from gridcast.sweep import worker_process

RETRYABLE_ERRORS = (OSError, MemoryError)
"""Faults of a task that may not come again; all others would."""
TASKS_PER_WORKER = 100
"""Tasks after which a local worker starts afresh, so that no leak of any library grows for hours."""
NO_WORKER_TIMEOUT = 120
"""Seconds that a pool waits for a worker before it gives up."""


@dataclass(frozen=True)
class TaskFailure:
    """Why a task gave no result, in one line."""

    reason: str


@dataclass(frozen=True)
class WorkerSettings:
    """Where tasks are executed, on which Keras backend, with compiled programs and logs under `cache`.

    `workers` processes here, each with `memory` bytes at most (None: its share of the machine); or
    the Dask cluster whose scheduler listens at `scheduler`, whatever workers that has.
    """

    workers: int
    backend: str
    cache: Path
    memory: int | None = None
    scheduler: str | None = None


TaskFunction = Callable[[Any, Any, Path], Any]


class WorkerPool:
    """Executes tasks at a `Place`; workers start with the first task and live until the end of the block.

    `shared` is what all tasks read. It reaches each worker process once, when that starts, also one
    that takes the place of a killed one or joins a cluster late.
    """

    def __init__(self, place: WorkerSettings, shared: Any) -> None:
        self.place, self.shared = place, shared
        # A name of its own: sweeps that share a cluster have different data.
        self._plugin = f"gridcast-{uuid.uuid4().hex}"
        self._refused: set[str] = set()
        self._done: Counter[str] = Counter()
        self._seen = time.monotonic()
        self._stack = contextlib.ExitStack()
        self._client: Any = None

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, (KeyboardInterrupt, Interrupted)):
            # Dask would wait for every task at hand. The process ends now, and its workers with it.
            self._stack.pop_all()
        self._stack.close()

    def execute(
        self,
        function: TaskFunction,
        tasks: Sequence[Any],
        *,
        retries: int = 0,
        pulse: Callable[[], None] = lambda: None,
        more: Callable[[], bool] = lambda: True,
    ) -> Iterator[tuple[int, Any]]:
        """Position and result, or Failure, of each task as it ends.

        `function(shared, task, cache)` does the work; `cache` is a folder of the worker's own host
        that outlives it. A task whose worker died, or that could not write a file, is tried again
        `retries` times. `pulse` is called about once a second and may raise to end the waiting.
        Once `more` says no, what is under way is finished and nothing else begun.

        With one worker the tasks run in this process. Else each worker is a single-threaded
        process pinned to its core, with one task at a time: only what it worked at is blamed for
        its death.
        """
        if not tasks:
            return iter(())
        here = self.place.workers == 1 and self.place.scheduler is None
        return (self._here if here else self._spread)(_Job(function, tasks, retries, pulse, more))

    def _here(self, job: _Job) -> Iterator[tuple[int, Any]]:
        from gridcast.training import keras_backend

        self.place.cache.mkdir(parents=True, exist_ok=True)
        keras_backend.start(self.place.backend, self.place.cache)
        try:
            for position, task in enumerate(job.tasks):
                if not job.more():
                    return
                for attempt in range(job.retries + 1):
                    job.pulse()
                    try:
                        result = job.function(self.shared, task, self.place.cache)
                        break
                    except Exception as error:  # noqa: BLE001 - any fault of one run is that run's alone
                        result = TaskFailure(_error_reason(error))
                        if attempt == job.retries or not isinstance(error, RETRYABLE_ERRORS):
                            break
                        job.warn(position, result.reason, attempt)
                yield position, result
        finally:
            keras_backend.allow_tensorflow()

    def _spread(self, job: _Job) -> Iterator[tuple[int, Any]]:
        client = self._start()
        waiting = deque(range(len(job.tasks)))
        attempts = [0] * len(job.tasks)
        running: dict[Any, _SentTask] = {}
        latest: dict[str, Any] = {}
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        try:
            while waiting or running:
                job.pulse()
                if not job.more():
                    waiting.clear()
                threads = self._threads(client)
                for address in _free_slots(threads, running):
                    if waiting:
                        position = _choose_task(waiting, job.tasks, address, latest)
                        waiting.remove(position)
                        latest[address] = _family(job.tasks[position])
                        future = client.submit(
                            _run_on_worker,
                            self._plugin,
                            job.function,
                            job.tasks[position],
                            pure=False,
                            workers=[address],
                        )
                        running[future] = _SentTask(position, address, time.monotonic())
                        future.add_done_callback(ended.put)
                future = _next_ended(ended, running, threads)
                if future is None:
                    continue
                sent = running.pop(future)
                result, again = self._outcome(client, future, sent)
                if again and attempts[sent.position] < job.retries:
                    job.warn(sent.position, result.reason, attempts[sent.position])
                    attempts[sent.position] += 1
                    waiting.appendleft(sent.position)
                elif result is None:
                    waiting.appendleft(sent.position)
                else:
                    yield sent.position, result
                    self._recycle(client, sent.address)
        finally:
            client.cancel(list(running), force=True)

    def _outcome(self, client: Any, future: Any, sent: _SentTask) -> tuple[Any, bool]:
        """Result or Failure of a task, and whether another try may help; None where its worker may not do it."""
        from distributed.scheduler import KilledWorker

        if future.status in ("cancelled", "lost"):
            raise GridcastError(f"{self._name}: the scheduler is gone; the same command goes on when it is back")
        if future.status == "finished":
            result = future.result()
            future.release()
            return result, False
        # Still pending, it has no error: its worker is gone.
        error = future.exception() if future.status == "error" else KilledWorker("", None, 0)
        future.cancel(force=True)
        if isinstance(error, WorkerMismatchError):
            self._refused.add(sent.address)
            logging.getLogger("gridcast").warning("%s", error)
            return None, False
        if isinstance(error, KilledWorker):
            return TaskFailure(_death_reason(client, sent.address)), True
        return TaskFailure(_error_reason(error)), isinstance(error, RETRYABLE_ERRORS)

    def _threads(self, client: Any) -> dict[str, int]:
        """Threads of each worker that is there now, by address. Raises GridcastError when there is none for long."""
        try:
            found = {worker: n for worker, n in client.nthreads().items() if worker not in self._refused}
        except OSError:
            found = {}
        if found:
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > NO_WORKER_TIMEOUT:
            raise GridcastError(f"{self._name}: no worker for {NO_WORKER_TIMEOUT} s; start some, then run again")
        return found

    def _recycle(self, client: Any, address: str) -> None:
        """Start a local worker afresh that has done its share."""
        self._done[address] += 1
        if self._done[address] >= TASKS_PER_WORKER and self.place.scheduler is None:
            client.restart_workers([address], raise_for_error=False)

    @property
    def _name(self) -> str:
        return self.place.scheduler or "the local workers"

    def _start(self) -> Any:
        if self._client is None:
            from distributed import Client

            # What Dask has to say of workers that died and connections that broke, the pool says itself.
            loud = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
            for name in (*loud, "asyncio", "tornado.application"):
                logging.getLogger(name).setLevel(logging.CRITICAL)
            place, address = self.place, self._name
            if place.scheduler is None:
                address = self._stack.enter_context(
                    worker_process.local_cluster(place.workers, place.memory, place.backend, place.cache)
                )
            try:
                self._client = self._stack.enter_context(Client(address, set_as_default=False, timeout=10))
            except (OSError, ValueError) as error:
                raise ConfigError(f"--scheduler: no Dask scheduler answers at '{self._name}': {error}") from None
            self._stack.callback(self._unregister)
            self._register()
        return self._client

    def _register(self) -> None:
        """Send the data to all workers; one that has just died is a worker until the scheduler misses it."""
        folder = self.place.cache if self.place.scheduler is None else None
        plugin = worker_process.worker_plugin(self.shared, self.place.backend, folder)
        end = time.monotonic() + NO_WORKER_TIMEOUT
        while True:
            try:
                self._client.register_plugin(plugin, name=self._plugin)
                return
            except OSError as error:
                if time.monotonic() > end:
                    raise GridcastError(f"{self._name}: a worker does not answer: {error}") from None
                time.sleep(1)

    def _unregister(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._client.unregister_worker_plugin(self._plugin)


@dataclass(frozen=True)
class _Job:
    """What `execute` was asked to do."""

    function: TaskFunction
    tasks: Sequence[Any]
    retries: int
    pulse: Callable[[], None]
    more: Callable[[], bool]

    def warn(self, position: int, reason: str, attempt: int) -> None:
        """Tell that a task is tried again."""
        task = self.tasks[position]
        told = (getattr(task, "name", task), reason, attempt + 1, self.retries)
        logging.getLogger("gridcast").warning("%s: %s; tried again (%d of %d)", *told)


class WorkerMismatchError(GridcastError):
    """A worker that cannot do the work of this sweep."""


@dataclass(frozen=True)
class _SentTask:
    """Where the task at `position` was sent, and when."""

    position: int
    address: str
    sent: float

    @property
    def age(self) -> float:
        """Seconds since then."""
        return time.monotonic() - self.sent


def _free_slots(threads: dict[str, int], running: dict[Any, _SentTask]) -> Iterator[str]:
    """The address of each thread that has nothing to do."""
    busy = Counter(sent.address for sent in running.values())
    for address, count in threads.items():
        yield from [address] * (count - busy[address])


def _choose_task(waiting: Sequence[int], tasks: Sequence[Any], address: str, latest: dict[str, Any]) -> int:
    """The first task of the family that the worker did last, else of one that no worker did last, else of all."""
    own, others = latest.get(address), set(latest.values())
    same = (k for k in waiting if own is not None and _family(tasks[k]) == own)
    new = (k for k in waiting if _family(tasks[k]) not in others)
    return next(itertools.chain(same, new, waiting))


def _family(task: Any) -> Any:
    return getattr(task, "family", None)


def _next_ended(ended: queue.SimpleQueue[Any], running: dict[Any, _SentTask], threads: dict[str, int]) -> Any:
    """The next task of `running` that ended, or None after a second."""
    try:
        future = ended.get(timeout=1)
        return future if future in running else None
    except queue.Empty:
        # A task that was sent to a worker in the moment of its death would wait for it forever.
        return next((f for f, sent in running.items() if sent.address not in threads and sent.age > 5), None)


def _run_on_worker(name: str, function: TaskFunction, task: Any) -> Any:
    """What a worker runs.

    Data that lived in Dask's own memory would be lost with a killed worker, so they come with the plugin.
    """
    from distributed import get_worker

    plugin = get_worker().plugins[name]
    if plugin.refusal:
        raise WorkerMismatchError(plugin.refusal)
    return function(plugin.shared, task, plugin.cache)


def _death_reason(client: Any, address: str) -> str:
    """Why a worker died, as far as its nanny told."""
    told = [event for _, event in client.get_events("worker-restart-memory") if event["worker"] == address]
    if told:
        return f"its worker used {told[-1]['rss'] / 2**30:.1f} GiB, more than its memory limit (--memory-limit)"
    return f"its worker {address} died"


def _error_reason(error: BaseException) -> str:
    if isinstance(error, GridcastError):
        return str(error)
    text = str(error).strip() or "no message"
    return f"{type(error).__name__}: {text.splitlines()[0]}"
