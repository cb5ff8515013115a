"""Load on an HTTP service, from a process of its own: what came back, how soon, and how much of it.

    .venv/bin/python benchmarks/load.py < JOB.json

Prints a `Result` as JSON.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp
import numpy as np

TIMEOUT = 30.0


@dataclass(frozen=True)
class Job:
    """POST `body` to `url` for so many `seconds`.

    Without a `rate`, each of the `clients` asks again as soon as it has its answer. With one, so many
    requests a second are sent by the clock, however many are still waiting, and each waits from the moment
    at which it was due: a service that stalls does not slow down its users.
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


async def run(job: Job) -> Result:
    """Put the load of `job` on its service."""
    waited: list[float] = []
    failed: Counter[str] = Counter()
    told: Counter[str] = Counter()
    limit = aiohttp.ClientTimeout(total=TIMEOUT)
    headers = {"Content-Type": "application/json", **job.headers}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=limit, headers=headers) as session:

        async def ask(due: float) -> None:
            try:
                async with session.post(job.url, data=job.body) as answer:
                    content = await answer.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                failed[type(error).__name__] += 1
                return
            if answer.status != 200:
                failed[f"status {answer.status}"] += 1
                return
            waited.append(time.perf_counter() - due)
            if job.told:
                told[str(json.loads(content)[job.told])] += 1

        started = time.perf_counter()
        await (_by_the_clock(job, ask, started) if job.rate else _one_after_another(job, ask, started))
        seconds = time.perf_counter() - started
    milliseconds = 1000 * np.array(waited or [np.nan])
    median, p99, most = np.percentile(milliseconds, [50, 99, 100])
    asked = len(waited) + failed.total()
    return Result(asked, dict(failed), len(waited) / seconds, median, p99, most, dict(told))


async def _one_after_another(job, ask, started: float) -> None:
    async def client() -> None:
        while (now := time.perf_counter()) < started + job.seconds:
            await ask(now)

    await asyncio.gather(*(client() for _ in range(job.clients)))


async def _by_the_clock(job, ask, started: float) -> None:
    async with asyncio.TaskGroup() as waiting:
        for number in range(int(job.rate * job.seconds)):
            due = started + number / job.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            waiting.create_task(ask(due))


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(asyncio.run(run(Job(**json.load(sys.stdin)))))))
