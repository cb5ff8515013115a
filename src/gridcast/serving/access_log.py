"""The access log and the request counters."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from gridcast.serving import json_logging
from gridcast.serving.prometheus import PrometheusMetrics
from gridcast.serving.request_context import RequestContext

WRITE_DELAY = 0.01
"""Seconds until a response is written to the log."""


@dataclass(frozen=True)
class Entry:
    """A response that was sent at `seconds` since 1970."""

    seconds: float
    elapsed_ms: float
    context: RequestContext
    method: str
    status: int


class AccessLog:
    """Batches access log entries and the request counters of `metrics`.

    Writing each entry at once would delay the next response. Only the thread of the event loop uses it.
    """

    def __init__(self, metrics: PrometheusMetrics) -> None:
        self._metrics = metrics
        self._entries: list[Entry] = []

    def add(self, context: RequestContext, method: str, status: int) -> None:
        """Add the response to a request that was answered just now."""
        entry = Entry(time.time(), context.elapsed_ms, context=context, method=method, status=status)
        self._entries.append(entry)
        if len(self._entries) == 1:
            asyncio.get_running_loop().call_later(WRITE_DELAY, self.write)

    def write(self) -> None:
        """Write and count all entries so far."""
        entries, self._entries = self._entries, []
        for entry in entries:
            context = entry.context
            self._metrics.count_request(context.route, entry.status, entry.elapsed_ms / 1000)
            if context.model and context.series:
                self._metrics.count_series(context.model, context.series)
        json_logging.write_lines([_line(entry) for entry in entries])


def _line(entry: Entry) -> str:
    context = entry.context
    fields = {
        "request": context.id,
        "method": entry.method,
        "route": context.route,
        "status": entry.status,
        "address": context.address,
        "key": context.key,
        "model": context.model,
        "rows": context.rows,
        "ms": round(entry.elapsed_ms, 3),
    }
    present = {name: value for name, value in fields.items() if value is not None}
    return json_logging.format_line("answered", present, seconds=entry.seconds, level="info")
