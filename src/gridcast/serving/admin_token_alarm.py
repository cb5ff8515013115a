"""Warnings in the log of wrong admin tokens, again and again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from gridcast.serving import json_logging

LOG = logging.getLogger(json_logging.LOGGER_NAME)
FIRST_WARNING = 5
"""Wrong tokens until the first warning; the next comes after twice as many, and so on."""
QUIET_SECONDS = 600.0
"""Seconds without a wrong token after which the count starts again."""


class AdminTokenAlarm:
    """Counts wrong admin tokens of all clients together, as guesses may come from many addresses."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._count, self._last, self._next = clock, 0, 0.0, FIRST_WARNING

    def add(self, address: str) -> None:
        """Count a wrong token from `address`, and warn if there were many."""
        now = self._clock()
        if now - self._last > QUIET_SECONDS:
            self._count, self._next = 0, FIRST_WARNING
        self._count, self._last = self._count + 1, now
        if self._count >= self._next:
            self._next *= 2
            LOG.warning("wrong admin tokens", extra={"fields": {"count": self._count, "address": address}})
