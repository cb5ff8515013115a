"""Limits of one request, and of the request rate of a key or an address."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

MAX_BUCKETS = 10_000
"""Buckets in memory before the full ones, which are no different from new ones, are dropped."""


@dataclass(frozen=True)
class RequestLimits:
    """Limits of a request: bytes of its body, rows and series in it, steps ahead, quantile levels, seconds.

    At most `concurrent` requests are worked on at a time. A key, and an address, may make `rate` requests per second
    on average and `burst` at once; a rate of 0 sets no limit.
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


class TokenBuckets:
    """A token bucket for each client: it starts with `burst` tokens and gains `rate` a second; a request takes one."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self.clock = rate, burst, clock
        self._buckets: dict[str, tuple[float, float]] = {}
        """Tokens of each client, and the time at which it had them."""

    def take(self, client: str) -> float:
        """Take a token of `client` and return 0, or return the seconds until it has one again."""
        if not self.rate:
            return 0.0
        now = self.clock()
        tokens, updated = self._buckets.get(client, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - updated) * self.rate)
        missing = 1 - tokens
        self._buckets[client] = (tokens if missing > 0 else tokens - 1, now)
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
