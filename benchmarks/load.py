"""Load on an HTTP service, from a process of its own: what came back, how soon, and how much of it.

    .venv/bin/python benchmarks/load.py < JOB.json

Prints a `Result` as JSON.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp
import httptools
import numpy as np

TIMEOUT = 30.0
Ask = Callable[[float], Awaitable[None]]
"""Asks once, from the moment at which that was due."""


@dataclass(frozen=True)
class Job:
    """POST `body` to `url` for so many `seconds`.

    Without a `rate`, each of the `clients` asks again as soon as it has its answer; one that is alone does so over a
    bare socket, since a client of many parts takes as long as the service does. With a `rate` so many requests a
    second are sent by the clock, however many are still waiting, and each waits from the moment at which it was due:
    a service that stalls does not slow down its users.
    `told` names a field of the answers whose values are counted.
    """

    url: str
    body: str
    seconds: float
    headers: dict[str, str] = field(default_factory=dict)
    clients: int = 1
    rate: float | None = None
    told: str | None = None


@dataclass(frozen=True)
class Result:
    """Milliseconds are those of answers with status 200; `failed` counts the others by reason."""

    requests: int
    failed: dict[str, int]
    per_second: float
    median_ms: float
    p99_ms: float
    most_ms: float
    told: dict[str, int]


@dataclass
class Heard:
    """What came back so far: seconds of each answer with status 200, the others by reason, and what was told."""

    waited: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)

    def answer(self, job: Job, status: int, content: bytes, due: float) -> None:
        """One more."""
        if status != 200:
            self.failed[f"status {status}"] += 1
            return
        self.waited.append(time.perf_counter() - due)
        if job.told:
            self.told[str(json.loads(content)[job.told])] += 1


def run(job: Job) -> Result:
    """Put the load of `job` on its service."""
    heard, started = Heard(), time.perf_counter()
    if job.clients == 1 and not job.rate:
        _alone(job, heard, started)
    else:
        asyncio.run(_together(job, heard, started))
    seconds = time.perf_counter() - started
    milliseconds = 1000 * np.array(heard.waited or [np.nan])
    median, p99, most = np.percentile(milliseconds, [50, 99, 100])
    asked = len(heard.waited) + heard.failed.total()
    return Result(asked, dict(heard.failed), len(heard.waited) / seconds, median, p99, most, dict(heard.told))


class Answer:
    """An HTTP answer as it comes in, read by httptools."""

    def __init__(self) -> None:
        self.content, self.whole = b"", False

    def on_body(self, part: bytes) -> None:
        """Part of the content."""
        self.content += part

    def on_message_complete(self) -> None:
        """There is no more of it."""
        self.whole = True


def _alone(job: Job, heard: Heard, started: float) -> None:
    """One client that asks, and asks again."""
    url, body = urlsplit(job.url), job.body.encode()
    headers = {"Host": url.netloc, "Content-Type": "application/json", "Content-Length": len(body), **job.headers}
    lines = [f"POST {url.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    request = "".join(f"{line}\r\n" for line in (*lines, "")).encode() + body
    while time.perf_counter() < started + job.seconds:
        try:
            with socket.create_connection((url.hostname, url.port), TIMEOUT) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while (due := time.perf_counter()) < started + job.seconds:
                    connection.sendall(request)
                    answer = Answer()
                    parser = httptools.HttpResponseParser(answer)
                    while not answer.whole:
                        if not (part := connection.recv(1 << 16)):
                            raise ConnectionResetError
                        parser.feed_data(part)
                    heard.answer(job, parser.get_status_code(), answer.content, due)
        except OSError as error:
            heard.failed[type(error).__name__] += 1


async def _together(job: Job, heard: Heard, started: float) -> None:
    """Many clients, or requests by the clock."""
    limit = aiohttp.ClientTimeout(total=TIMEOUT)
    headers = {"Content-Type": "application/json", **job.headers}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=limit, headers=headers) as session:

        async def ask(due: float) -> None:
            try:
                async with session.post(job.url, data=job.body) as answer:
                    heard.answer(job, answer.status, await answer.read(), due)
            except (aiohttp.ClientError, TimeoutError) as error:
                heard.failed[type(error).__name__] += 1

        await (_by_the_clock(job, ask, started) if job.rate else _one_after_another(job, ask, started))


async def _one_after_another(job: Job, ask: Ask, started: float) -> None:
    async def client() -> None:
        while (now := time.perf_counter()) < started + job.seconds:
            await ask(now)

    await asyncio.gather(*(client() for _ in range(job.clients)))


async def _by_the_clock(job: Job, ask: Ask, started: float) -> None:
    async with asyncio.TaskGroup() as waiting:
        for number in range(int((job.rate or 0) * job.seconds)):
            due = started + number / job.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            waiting.create_task(ask(due))


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(run(Job(**json.load(sys.stdin))))))
