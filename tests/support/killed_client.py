"""An MLflow client whose process is killed before one of its writes."""

from __future__ import annotations

import functools
from typing import Any

READS = ("get_", "search_", "list_", "download_")


class Killed(BaseException):
    """The end of the process, as far as the code in it can tell."""


class KilledClient:
    """The MLflow client `client`, of whose writes the first `allowed` succeed; `before` is called before each."""

    def __init__(self, client: Any, allowed: int = 10**9, before: Any = None) -> None:
        self.client, self.allowed, self.before = client, allowed, before
        self.written: list[str] = []

    def __getattr__(self, name: str) -> Any:
        own = getattr(self.client, name)
        if not callable(own) or name.startswith(READS):
            return own

        @functools.wraps(own)
        def write(*args: Any, **kwargs: Any) -> Any:
            if self.before is not None:
                self.before(name)
            if len(self.written) >= self.allowed:
                raise Killed
            self.written.append(name)
            return own(*args, **kwargs)

        return write
