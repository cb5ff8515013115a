"""Dynamic batching: requests that arrive together go through a network together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

from gridcast.serving.fair_line import FairLine

Item = TypeVar("Item")
Result = TypeVar("Result")
MAX_BATCH = 64
"""Items of one batch."""
MAX_BATCH_COST = 50.0
"""Milliseconds of a batch, before its last item."""


class Batcher(Generic[Item, Result]):
    """Calls `run` on batches of items, one batch at a time.

    `run` returns for each item its result or the exception that it raised. A batch runs in a thread of `executor`, or,
    if every item `is_light`, directly on the event loop: such a batch takes less time than handing it to a thread.
    Where more items wait than a batch takes, clients take turns.

    An item that is alone runs at once; items submitted in the same turn of the loop form a batch. If the last batch
    had several items, a new one waits up to `seconds` for as many; items submitted while a batch runs form the next.
    All methods belong to the thread of the event loop.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        executor: Executor,
        *,
        seconds: float,
        is_light: Callable[[Item], bool] = lambda _: False,
    ) -> None:
        self._run, self._executor, self._seconds, self._is_light = run, executor, seconds, is_light
        self._waiting: FairLine[tuple[Item, asyncio.Future[Result], float]] = FairLine()
        self._expected = 1
        self._is_running = False
        self._ran_in_this_turn = False
        self._timer: asyncio.Handle | None = None

    def run_alone(self, item: Item) -> Result:
        """Return the result of `item`, or raise its exception, without a batch and in this thread."""
        [result] = self._run([item])
        if isinstance(result, Exception):
            raise result
        return result

    async def submit(self, item: Item, client: str = "", *, cost: float = 0.0) -> Result:
        """Return the result of an item of `client`, or raise its exception; it takes about `cost` milliseconds."""
        if self._is_light(item) and self._may_run_alone():
            [result] = self._run_safely([item])
            if isinstance(result, Exception):
                raise result
            return result
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.add(client, (item, future, cost))
        if not self._is_running:
            if len(self._waiting) >= self._expected:
                self._schedule(loop.call_soon(self._start_batch))
            elif self._timer is None:
                self._schedule(loop.call_later(self._seconds, self._start_batch))
        return await future

    def _may_run_alone(self) -> bool:
        """Whether there is nothing to batch with; True at most once in a turn of the loop.

        A second item in the same turn is the first sign of several clients: it waits for the end of the turn.
        """
        if self._ran_in_this_turn or self._is_running or self._waiting or self._expected > 1:
            return False
        self._ran_in_this_turn = True
        asyncio.get_running_loop().call_soon(self._end_turn)
        return True

    def _end_turn(self) -> None:
        self._ran_in_this_turn = False

    def _schedule(self, timer: asyncio.Handle) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer

    def _start_batch(self) -> None:
        self._timer = None
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        total = 0.0
        while self._waiting and len(batch) < MAX_BATCH and total < MAX_BATCH_COST:
            item, future, cost = self._waiting.take()
            if not future.done():  # its client may have left
                batch.append((item, future))
                total += cost
        if not batch:
            return
        self._is_running, self._expected = True, len(batch)
        items = [item for item, _ in batch]
        if all(map(self._is_light, items)):
            self._finish(batch, self._run_safely(items))
        else:
            results = asyncio.get_running_loop().run_in_executor(self._executor, self._run_safely, items)
            results.add_done_callback(lambda done: self._finish(batch, done.result()))

    def _run_safely(self, items: Sequence[Item]) -> Sequence[Result | Exception]:
        """The results of `run`; if it raises, that exception for every item."""
        try:
            return self._run(items)
        except Exception as error:  # noqa: BLE001 - raised again by `submit`
            return [error] * len(items)

    def _finish(self, batch: list[tuple[Item, asyncio.Future[Result]]], results: Sequence[Result | Exception]) -> None:
        self._is_running = False
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        if self._waiting:
            self._schedule(asyncio.get_running_loop().call_soon(self._start_batch))
