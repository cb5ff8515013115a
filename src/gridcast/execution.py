"""Where runs are executed: in this process, or in local worker processes (Dask)."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    # Training frees and takes the same megabytes at every step: giving them back costs a third of the time.
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


@dataclass(frozen=True)
class Failure:
    """Why a task gave no result, in one line."""

    reason: str


@dataclass(frozen=True)
class Place:
    """How many workers, on which Keras backend, with compiled programs and logs under `cache`."""

    workers: int
    backend: str
    cache: Path


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Executes tasks at a `Place`; workers start with the first task and live until the end of the block.

    `shared` is what all tasks read. It reaches each worker process once, when that starts, also one
    that takes the place of a killed one.
    """

    def __init__(self, place: Place, shared: Any) -> None:
        self.place, self.shared = place, shared
        self._stack = contextlib.ExitStack()
        self._client: Any = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def execute(self, function: Callable[[Any, Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Position and result, or Failure, of each task as it ends; `function(shared, task)` does the work.

        With one worker the tasks run in this process. Else each worker is a single-threaded
        process pinned to its core; the tasks of a killed one go to another.
        """
        if not tasks:
            return iter(())
        self.place.cache.mkdir(parents=True, exist_ok=True)
        return (self._here if self.place.workers == 1 else self._spread)(function, tasks)

    def _here(self, function: Callable[[Any, Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        from gridcast.training import backend

        backend.start(self.place.backend, self.place.cache)
        try:
            for position, task in enumerate(tasks):
                try:
                    result = function(self.shared, task)
                except Exception as error:  # noqa: BLE001 - any fault of one run is that run's alone
                    result = Failure(_reason(error))
                yield position, result
        finally:
            backend.release()

    def _spread(self, function: Callable[[Any, Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        from distributed import as_completed

        client = self._start()
        futures = {
            client.submit(_call, function, task, pure=False, priority=-position): position
            for position, task in enumerate(tasks)
        }
        for future in as_completed(list(futures), loop=client.loop):
            position = futures.pop(future)
            error = future.exception()
            yield position, future.result() if error is None else Failure(_reason(error))
            future.release()

    def _start(self) -> Any:
        if self._client is None:
            import dask
            from distributed import Client, LocalCluster

            with dask.config.set({"distributed.nanny.pre-spawn-environ": ENVIRONMENT}):
                cluster = LocalCluster(
                    n_workers=self.place.workers,
                    threads_per_worker=1,
                    processes=True,
                    memory_limit=0,
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,
                    local_directory=str(self.place.cache),
                )
            self._stack.enter_context(cluster)
            self._client = self._stack.enter_context(Client(cluster, set_as_default=False))
            self._client.register_plugin(_plugin(self.place, self.shared))
        return self._client


def _plugin(place: Place, shared: Any) -> Any:
    from distributed import WorkerPlugin

    class Start(WorkerPlugin):
        """Makes a fresh worker ready: deaf to Ctrl-C, pinned, quiet, Keras imported, data at hand."""

        name = "gridcast"

        def __init__(self) -> None:
            self.shared = shared

        def setup(self, worker: Any) -> None:
            begin(worker.name, place)

    return Start()


def _call(function: Callable[[Any, Any], Any], task: Any) -> Any:
    """What a worker runs: data that lived in Dask's own memory would be lost with a killed worker."""
    from distributed import get_worker

    return function(get_worker().plugins["gridcast"].shared, task)


def begin(name: Any, place: Place) -> None:
    """What a worker process does first; the parent alone decides when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[int(name) % len(allowed)]})
    log = os.open(place.cache / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    os.close(log)
    from gridcast.training import backend

    backend.start(place.backend, place.cache)


def _reason(error: BaseException) -> str:
    text = str(error).strip() or "no message"
    return f"{type(error).__name__}: {text.splitlines()[0]}"
