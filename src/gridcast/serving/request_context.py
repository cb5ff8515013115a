"""Facts about one request, for the access log and the metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass
class RequestContext:
    """One request while it is handled.

    `started` is a reading of `time.perf_counter`. `path` is without the version prefix, `route` the path as it is
    declared, such as `/models/{name}/example`. The middleware adds the id of the `key`; endpoints add the `model`, the
    number of `rows` in the request and of `series` in the response.
    """

    id: str
    started: float
    path: str
    route: str
    key: str | None = None
    model: str | None = None
    rows: int | None = None
    series: int | None = None

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the request arrived."""
        return 1000 * (time.perf_counter() - self.started)
