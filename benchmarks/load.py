"""Load on an HTTP service from a separate process: answers, latencies and throughput.

    .venv/bin/python benchmarks/load.py < JOB.json

Prints a `LoadResult` as JSON.
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
"""Sends one request; its latency counts from the given moment, at which it was due."""


@dataclass(frozen=True)
class LoadJob:
    """POST `body` to `url` for `seconds`.

    Without a `rate`, each of the `clients` sends its next request as soon as it has an answer. A single client uses a
    bare socket, since a full HTTP client takes as long as the service itself. With a `rate`, that many requests per
    second are sent by the clock, however many are still unanswered, and latency counts from the moment at which a
    request was due: a stalled service does not slow down its users.
    `counted_field` names a field of the answers whose values are counted.
    """

    url: str
    body: str
    seconds: float
    headers: dict[str, str] = field(default_factory=dict)
    clients: int = 1
    rate: float | None = None
    counted_field: str | None = None


@dataclass(frozen=True)
class LoadResult:
    """Milliseconds of answers with status 200; `failed` counts the others by reason, `values` those of the field."""

    requests: int
    failed: dict[str, int]
    per_second: float
    median_ms: float
    p99_ms: float
    most_ms: float
    values: dict[str, int]


@dataclass
class Answers:
    """Answers so far: seconds of each one with status 200, the others by reason, values of the counted field."""

    seconds: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)

    def add(self, job: LoadJob, status: int, content: bytes, due: float) -> None:
        """Count an answer."""
        if status != 200:
            self.failed[f"status {status}"] += 1
            return
        self.seconds.append(time.perf_counter() - due)
        if job.counted_field:
            self.values[str(json.loads(content)[job.counted_field])] += 1


def run(job: LoadJob) -> LoadResult:
    """Put the load of `job` on its service and return the result."""
    answers, started = Answers(), time.perf_counter()
    if job.clients == 1 and not job.rate:
        _single_client(job, answers, started)
    else:
        asyncio.run(_many_requests(job, answers, started))
    seconds = time.perf_counter() - started
    milliseconds = 1000 * np.array(answers.seconds or [np.nan])
    median, p99, most = np.percentile(milliseconds, [50, 99, 100])
    requests = len(answers.seconds) + answers.failed.total()
    return LoadResult(
        requests, dict(answers.failed), len(answers.seconds) / seconds, median, p99, most, dict(answers.values)
    )


class HttpAnswer:
    """An HTTP answer while it is being received; httptools calls the methods."""

    def __init__(self) -> None:
        self.content, self.is_complete = b"", False

    def on_body(self, part: bytes) -> None:
        """Append a part of the content."""
        self.content += part

    def on_message_complete(self) -> None:
        """Note the end of the answer."""
        self.is_complete = True


def _single_client(job: LoadJob, answers: Answers, started: float) -> None:
    """One client that sends request after request over a bare socket."""
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
                    answer = HttpAnswer()
                    parser = httptools.HttpResponseParser(answer)
                    while not answer.is_complete:
                        if not (part := connection.recv(1 << 16)):
                            raise ConnectionResetError
                        parser.feed_data(part)
                    answers.add(job, parser.get_status_code(), answer.content, due)
        except OSError as error:
            answers.failed[type(error).__name__] += 1


async def _many_requests(job: LoadJob, answers: Answers, started: float) -> None:
    """Several clients, or requests by the clock."""
    limit = aiohttp.ClientTimeout(total=TIMEOUT)
    headers = {"Content-Type": "application/json", **job.headers}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=limit, headers=headers) as session:

        async def ask(due: float) -> None:
            try:
                async with session.post(job.url, data=job.body) as answer:
                    answers.add(job, answer.status, await answer.read(), due)
            except (aiohttp.ClientError, TimeoutError) as error:
                answers.failed[type(error).__name__] += 1

        await (_by_the_clock(job, ask, started) if job.rate else _one_after_another(job, ask, started))


async def _one_after_another(job: LoadJob, ask: Ask, started: float) -> None:
    async def client() -> None:
        while (now := time.perf_counter()) < started + job.seconds:
            await ask(now)

    await asyncio.gather(*(client() for _ in range(job.clients)))


async def _by_the_clock(job: LoadJob, ask: Ask, started: float) -> None:
    async with asyncio.TaskGroup() as waiting:
        for number in range(int((job.rate or 0) * job.seconds)):
            due = started + number / job.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            waiting.create_task(ask(due))


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(run(LoadJob(**json.load(sys.stdin))))))
