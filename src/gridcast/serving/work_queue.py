"""Work in threads, a few pieces at a time, in turns between clients."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from gridcast.serving.cancellation import run_cancellable
from gridcast.serving.fair_line import FairLine

T = TypeVar("T")


class WorkQueue:
    """Some `threads` for what would hold up the event loop. All methods belong to the thread of that loop."""

    def __init__(self, threads: int, name: str) -> None:
        self._threads, self._executor = threads, ThreadPoolExecutor(threads, name)
        self._waiting: FairLine[tuple[Callable[[], Any], asyncio.Future[Any]]] = FairLine()
        self._running = 0

    async def run(self, client: str, work: Callable[[], T], *, is_next: bool = False) -> T:
        """Return the result of `work`, or raise its exception; if it `is_next`, other work of its client waits for it.

        If this is cancelled, as after the time limit of a request, work that waits is dropped, and work that runs ends
        at its next call of `check_cancelled`.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.add(client, (work, future), is_next=is_next)
        self._start()
        return await future

    def close(self) -> None:
        """Start nothing more."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        while self._running < self._threads and self._waiting:
            work, future = self._waiting.take()
            if not future.done():
                self._running += 1
                running = asyncio.get_running_loop().run_in_executor(
                    self._executor, run_cancellable, work, future.cancelled
                )
                running.add_done_callback(functools.partial(self._finish, future))

    def _finish(self, future: asyncio.Future[Any], done: asyncio.Future[Any]) -> None:
        self._running -= 1
        error = None if done.cancelled() else done.exception()
        if future.done():
            pass
        elif done.cancelled():
            future.cancel()
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(done.result())
        self._start()
