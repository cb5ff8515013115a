"""What is known of a request while it is handled."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass
class RequestContext:
    """What is known of a request; an endpoint adds the model, the size, and how many series were forecast."""

    id: str
    started: float
    path: str
    route: str
    key: str | None = None
    model: str | None = None
    rows: int | None = None
    series: int | None = None

    @property
    def milliseconds(self) -> float:
        """Since it came."""
        return 1000 * (time.perf_counter() - self.started)
