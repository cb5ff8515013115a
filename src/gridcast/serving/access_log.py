"""What is written down of answers: counts, and a line of the log. Of some together: for one it takes as long as an
answer does, and the next client would wait for it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from gridcast.serving import json_logging

if TYPE_CHECKING:
    from gridcast.serving.prometheus import PrometheusMetrics
    from gridcast.serving.request_context import RequestContext


WRITE_DELAY = 0.01
"""Seconds until an answer is written down."""


class AccessLog:
    """Keeps answers until they are written to the log and counted by `counters`; all by the one thread of a loop."""

    def __init__(self, counters: PrometheusMetrics) -> None:
        self._counters = counters
        self._answered: list[tuple[float, float, RequestContext, str, int]] = []

    def add(self, visit: RequestContext, method: str, status: int) -> None:
        """An answer that was given now."""
        self._answered.append((time.time(), visit.milliseconds, visit, method, status))
        if len(self._answered) == 1:
            asyncio.get_running_loop().call_later(WRITE_DELAY, self.write)

    def write(self) -> None:
        """Write down all there are."""
        answered, self._answered, lines = self._answered, [], []
        for seconds, milliseconds, visit, method, status in answered:
            self._counters.request(visit.route, status, milliseconds / 1000)
            if visit.model and visit.series:
                self._counters.forecast(visit.model, visit.series)
            told = {"request": visit.id, "method": method, "route": visit.route, "status": status, "key": visit.key}
            told |= {"model": visit.model, "rows": visit.rows, "ms": round(milliseconds, 3)}
            known = {name: value for name, value in told.items() if value is not None}
            lines.append(json_logging.format_line(seconds, "info", "answered", known))
        json_logging.write_lines(lines)
