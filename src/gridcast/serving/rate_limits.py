"""Limits of one request, and of the request rate of a key or an address."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from gridcast.serving.http_errors import HttpError

MAX_BUCKETS = 10_000
"""Buckets in memory before the full ones, which are no different from new ones, are dropped."""


@dataclass(frozen=True)
class RequestLimits:
    """Limits of a request: bytes of its body, rows and series in it, steps ahead, quantile levels, seconds.

    At most `concurrent` requests are worked on at a time. A key may make `rate` small requests per second on average
    and `burst` at once; larger ones count as several, see `request_costs`. An address may make `address_rate` requests
    of any size per second, and `address_burst` at once; None: as a key. A rate of 0 sets no limit. No answer has more
    than `values` numbers, or costs more than `cost` small requests.
    """

    body: int = 8 * 2**20
    rows: int = 100_000
    series: int = 1000
    horizon: int = 1000
    levels: int = 99
    concurrent: int = 256
    seconds: float = 30.0
    rate: float = 100.0
    burst: int = 200
    address_rate: float | None = None
    address_burst: int | None = None
    values: int = 1_000_000
    cost: float = 5000.0

    @property
    def concurrent_by_client(self) -> int:
        """Requests of one client that are worked on at a time: a part of all, so that others find room."""
        return min(self.concurrent, max(8, self.concurrent // 2))


def limits_of_rates(rate: float, address_rate: float | None, *, concurrent: int, seconds: float) -> RequestLimits:
    """Return the usual limits with these rates; the requests of two seconds may come at once."""
    bursts = [None if one is None else max(1, round(2 * one)) for one in (rate, address_rate)]
    return RequestLimits(
        rate=rate,
        burst=bursts[0] or 1,
        address_rate=address_rate,
        address_burst=bursts[1],
        concurrent=concurrent,
        seconds=seconds,
    )


def check_wait(wait: float, client: str) -> None:
    """Raise HttpError (429) if the `client`, a key or an address, has to `wait` some seconds."""
    if wait:
        text = f"too many requests from this {client}; try again in {wait:.2f} s"
        raise HttpError(429, f"rate_{client}", text, headers={"Retry-After": str(int(wait) + 1)})


class TokenBuckets:
    """A token bucket for each client: it starts with `burst` tokens and gains `rate` a second."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self.clock = rate, burst, clock
        self._buckets: dict[str, tuple[float, float]] = {}
        """Tokens of each client, and the time at which it had them."""

    def take(self, client: str, cost: float = 1.0, least: float = 1.0) -> float:
        """Take `cost` tokens of `client` and return 0, or return the seconds until it has the `least` that it needs.

        A client that has those goes into debt for the rest of the cost: else no request could cost more than `burst`.
        """
        if not self.rate:
            return 0.0
        now = self.clock()
        tokens, updated = self._buckets.get(client, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - updated) * self.rate)
        missing = least - tokens
        self._buckets[client] = (tokens if missing > 0 else tokens - cost, now)
        if len(self._buckets) > MAX_BUCKETS:
            self._drop_buckets(now)
        return max(0.0, missing / self.rate)

    def _drop_buckets(self, now: float) -> None:
        """Drop full buckets; if too many others remain, those that were used longest ago."""
        partly_used = {
            client: (tokens, updated)
            for client, (tokens, updated) in self._buckets.items()
            if tokens + (now - updated) * self.rate < self.burst
        }
        newest = sorted(partly_used, key=lambda client: partly_used[client][1])[-MAX_BUCKETS // 2 :]
        self._buckets = {client: partly_used[client] for client in newest}
