"""What one request, one key and one address may ask for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

MAX_BUCKETS = 10_000
"""Buckets that are kept before the full ones are forgotten."""


@dataclass(frozen=True)
class RequestLimits:
    """Of a request: bytes of its body, rows and series in it, steps ahead, levels, seconds.

    `concurrent` requests are worked on at once. `rate` is the requests per second that a key, and an
    address, may make for long, `burst` how many at once; a rate of 0 sets no limit.
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
    """A token bucket for each who asks: `burst` tokens at first, `rate` more each second, one for each request."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self.clock = rate, burst, clock
        self._kept: dict[str, tuple[float, float]] = {}

    def wait(self, who: str) -> float:
        """Take a token of `who` and return 0; where there is none, the seconds until there is."""
        if not self.rate:
            return 0.0
        now = self.clock()
        tokens, seen = self._kept.get(who, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - seen) * self.rate)
        missing = 1 - tokens
        self._kept[who] = (tokens if missing > 0 else tokens - 1, now)
        if len(self._kept) > MAX_BUCKETS:
            self._forget(now)
        return max(0.0, missing / self.rate)

    def _forget(self, now: float) -> None:
        """Leave out who has all tokens again; of a crowd that has not, those seen longest ago."""
        kept = {w: (t, at) for w, (t, at) in self._kept.items() if t + (now - at) * self.rate < self.burst}
        newest = sorted(kept, key=lambda who: kept[who][1])[-MAX_BUCKETS // 2 :]
        self._kept = {who: kept[who] for who in newest}
