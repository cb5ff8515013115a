"""Send the tasks of one job to Dask workers, one at a time per thread, and try failed ones again.

Dask's own scheduling is not used: a queue of tasks on a worker would die with it, and a task that waits behind the
one that killed the worker would be blamed too. So each thread gets a task only when it has nothing to do.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gridcast.sweep.dask_workers import DaskWorkers
from gridcast.sweep.worker_job import WorkerJob

LOST_TASK_DELAY = 5
"""Seconds after which a task whose worker is gone counts as lost: Dask would keep it waiting for that worker."""


@dataclass(frozen=True)
class _SentTask:
    """Where the task at `position` was sent, and when."""

    position: int
    address: str
    sent_at: float

    @property
    def age(self) -> float:
        """Seconds since it was sent."""
        return time.monotonic() - self.sent_at


class JobDispatch:
    """A job under way: the positions that wait, the futures that run, and how often each task was tried."""

    def __init__(self, workers: DaskWorkers, job: WorkerJob) -> None:
        self._workers, self._job = workers, job
        self._waiting = deque(range(len(job.tasks)))
        self._attempts = [0] * len(job.tasks)
        self._running: dict[Any, _SentTask] = {}
        self._last_family: dict[str, Any] = {}  # by worker
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def results(self) -> Iterator[tuple[int, Any]]:
        """Yield position and result, or TaskFailure, of each task as it ends."""
        try:
            while self._waiting or self._running:
                self._job.check()
                if not self._job.keep_going():
                    self._waiting.clear()
                threads = self._workers.threads()
                self._send(threads)
                future = self._next_ended(threads)
                if future is None:
                    continue
                sent = self._running.pop(future)
                outcome = self._workers.outcome(future, sent.address)
                attempt = self._attempts[sent.position]
                if outcome.refused:
                    self._waiting.appendleft(sent.position)
                elif outcome.may_retry and attempt < self._job.retries:
                    self._job.warn_of_retry(sent.position, outcome.result.reason, attempt)
                    self._attempts[sent.position] += 1
                    self._waiting.appendleft(sent.position)
                else:
                    yield sent.position, outcome.result
                    self._workers.recycle(sent.address)
        finally:
            self._workers.cancel(self._running)

    def _send(self, threads: Mapping[str, int]) -> None:
        """Send a task to each thread that has nothing to do."""
        for address in list(_free_slots(threads, self._running)):
            if not self._waiting:
                return
            position = _choose_task(self._waiting, self._job.tasks, address, self._last_family)
            self._waiting.remove(position)
            task = self._job.tasks[position]
            self._last_family[address] = _family(task)
            future = self._workers.submit(self._job.function, task, address)
            self._running[future] = _SentTask(position, address, time.monotonic())
            future.add_done_callback(self._ended.put)

    def _next_ended(self, threads: Mapping[str, int]) -> Any:
        """Return a future that ended; None after a second without one."""
        try:
            future = self._ended.get(timeout=1)
            return future if future in self._running else None
        except queue.Empty:
            # A task that was sent to a worker at the moment of its death would wait for it forever.
            lost = (
                future
                for future, sent in self._running.items()
                if sent.address not in threads and sent.age > LOST_TASK_DELAY
            )
            return next(lost, None)


def _free_slots(threads: Mapping[str, int], running: Mapping[Any, _SentTask]) -> Iterator[str]:
    """Yield the address of each thread that has nothing to do."""
    busy = Counter(sent.address for sent in running.values())
    for address, count in threads.items():
        yield from [address] * (count - busy[address])


def _choose_task(waiting: Sequence[int], tasks: Sequence[Any], address: str, last_family: Mapping[str, Any]) -> int:
    """Return the position of the next task for a worker.

    It is the first task of the family that the worker did last, whose compiled program it has; else of a family
    that no worker did last, so that each program is compiled by one worker; else the first of all.
    """
    own_family, families = last_family.get(address), set(last_family.values())
    same = (k for k in waiting if own_family is not None and _family(tasks[k]) == own_family)
    new = (k for k in waiting if _family(tasks[k]) not in families)
    return next(itertools.chain(same, new, waiting))


def _family(task: Any) -> Any:
    return getattr(task, "family", None)
