"""A pool that executes tasks in this process, in worker processes of this machine, or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gridcast.runtime.errors import Interrupted
from gridcast.sweep.dask_workers import DaskWorkers
from gridcast.sweep.dispatch import JobDispatch
from gridcast.sweep.worker_job import (
    RETRYABLE_ERRORS,
    TaskContext,
    TaskFailure,
    TaskFunction,
    WorkerJob,
    WorkerSettings,
    error_reason,
)


class WorkerPool:
    """Executes tasks as `settings` say; workers start with the first task and live until the end of the block.

    `shared` is the data that all tasks read.
    """

    def __init__(self, settings: WorkerSettings, shared: Any) -> None:
        self.settings, self.shared = settings, shared
        self._dask = DaskWorkers(settings, shared)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After Ctrl-C nobody waits for tasks.
        self._dask.close(at_once=kind is not None and issubclass(kind, (KeyboardInterrupt, Interrupted)))

    def execute(
        self,
        function: TaskFunction,
        tasks: Sequence[Any],
        *,
        retries: int = 0,
        check: Callable[[], None] = lambda: None,
        report: Callable[[Any], None] = lambda _: None,
        keep_going: Callable[[], bool] = lambda: True,
    ) -> Iterator[tuple[int, Any]]:
        """Return position and result, or TaskFailure, of each task as it ends.

        `function(shared, task, context)` does the work; `context.cache` is a folder of the worker's own host that
        outlives the worker, and what it passes to `context.report` comes to `report`, from any thread. A task whose
        worker died, or that could not write a file, is tried again `retries`
        times. `check` is called about once a second and may raise to end the waiting. Once `keep_going`
        returns False, running tasks are finished and no others begun.

        With one worker the tasks run in this process. Otherwise each worker is a single-threaded process pinned
        to its core, with one task at a time, so that only the task that it was working on is blamed for its death.
        """
        if not tasks:
            return iter(())
        job = WorkerJob(function, tasks, retries, check, report, keep_going)
        if self.settings.workers == 1 and self.settings.scheduler is None:
            return self._execute_here(job)
        return self._execute_on_workers(job)

    def _execute_on_workers(self, job: WorkerJob) -> Iterator[tuple[int, Any]]:
        self._dask.start(job.report)
        yield from JobDispatch(self._dask, job).results()

    def _execute_here(self, job: WorkerJob) -> Iterator[tuple[int, Any]]:
        from gridcast.training import keras_backend

        cache = self.settings.cache
        cache.mkdir(parents=True, exist_ok=True)
        keras_backend.start(self.settings.backend, cache)
        context = TaskContext(cache, job.report)
        try:
            for position, task in enumerate(job.tasks):
                if not job.keep_going():
                    return
                for attempt in range(job.retries + 1):
                    job.check()
                    try:
                        result = job.function(self.shared, task, context)
                        break
                    except Exception as error:  # noqa: BLE001 - an error of one task must not end the others
                        result = TaskFailure(error_reason(error))
                        if attempt == job.retries or not isinstance(error, RETRYABLE_ERRORS):
                            break
                        job.warn_of_retry(position, result.reason, attempt)
                yield position, result
        finally:
            keras_backend.free_programs()
