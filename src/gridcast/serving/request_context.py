"""Facts about one request, for the access log and the metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass
class RequestContext:
    """One request while it is handled.

    `started` is a reading of `time.perf_counter`. `path` is without the version prefix, `route` the path as it is
    declared, such as `/models/{name}/example`. The middleware adds the `address` of the client and the id of its `key`;
    endpoints add the `model`, the number of `rows` in the request and of `series` in the response. A request `is_begun`
    once a thread has worked on it.
    """

    id: str
    started: float
    path: str
    route: str
    address: str | None = None
    key: str | None = None
    model: str | None = None
    rows: int | None = None
    series: int | None = None
    is_begun: bool = False

    @property
    def client(self) -> str:
        """The client that the request counts for: a key, or an address that needs none."""
        return self.key or self.address or ""

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the request arrived."""
        return 1000 * (time.perf_counter() - self.started)
