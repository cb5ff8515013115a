"""Questions that arrive together go through a network together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")
MAX_BATCH = 64
"""Questions that are answered at once."""


class Batcher(Generic[Q, A]):
    """Asks `answer` for all questions at hand, one call after the other: in a thread of `pool`, or at once where
    all are `light`, which takes less time than a thread does to begin.

    A question that comes alone is asked at once, and those that come in the same turn of the loop together. Where
    several came together the last time, one waits up to `seconds` for as many; those that come while a call is under
    way go with the next one.
    `answer` gives for each question its answer, or the exception that it raised.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Sequence[A | Exception]],
        pool: Executor,
        seconds: float,
        light: Callable[[Q], bool] = lambda _: False,
    ) -> None:
        self._answer, self._pool, self._seconds, self._light = answer, pool, seconds, light
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._expected = 1
        self._busy = False
        self._asked = False
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None

    async def ask(self, question: Q) -> A:
        """The answer to `question`. Raises what it raised."""
        loop = asyncio.get_running_loop()
        if self._light(question) and self.first():
            [found] = self._tried([question])
            if isinstance(found, Exception):
                raise found
            return found
        future: asyncio.Future[A] = loop.create_future()
        self._waiting.append((question, future))
        if not self._busy:
            if len(self._waiting) >= self._expected:
                self._soon(loop.call_soon(self._start))
            elif self._timer is None:
                self._soon(loop.call_later(self._seconds, self._start))
        return await future

    def first(self) -> bool:
        """Whether nobody else is waiting, nor has asked in this turn of the loop: who asks this may answer at once."""
        if self._asked or self._busy or self._waiting or self._expected > 1:
            return False
        self._asked = True
        asyncio.get_running_loop().call_soon(self._turned)
        return True

    def _turned(self) -> None:
        self._asked = False

    def _soon(self, timer: asyncio.Handle) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer

    def _start(self) -> None:
        self._timer = None
        # Who gave up waiting needs no answer.
        waiting = [(question, future) for question, future in self._waiting if not future.done()]
        taken, self._waiting = waiting[:MAX_BATCH], waiting[MAX_BATCH:]
        if not taken:
            return
        self._busy, self._expected = True, len(taken)
        questions = [question for question, _ in taken]
        if all(map(self._light, questions)):
            self._finish(taken, self._tried(questions))
        else:
            done = asyncio.get_running_loop().run_in_executor(self._pool, self._tried, questions)
            done.add_done_callback(lambda found: self._finish(taken, found.result()))

    def _tried(self, questions: Sequence[Q]) -> Sequence[A | Exception]:
        try:
            return self._answer(questions)
        except Exception as error:  # noqa: BLE001 - handed to who asked
            return [error] * len(questions)

    def _finish(self, taken: list[tuple[Q, asyncio.Future[A]]], answers: Sequence[A | Exception]) -> None:
        self._busy = False
        for (_, future), answer in zip(taken, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        if self._waiting:
            self._soon(asyncio.get_running_loop().call_soon(self._start))
