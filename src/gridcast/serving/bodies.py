"""Bodies of requests, read within the limits of each and of all together."""

from __future__ import annotations

import asyncio
import collections
import time

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from gridcast.serving.http_errors import HttpError
from gridcast.serving.settings import DoorLimits


class OpenBodies:
    """Counts the bytes of large bodies that are read or worked on, by client."""

    def __init__(self, limits: DoorLimits) -> None:
        self.limits = limits
        self._bytes: collections.Counter[str] = collections.Counter()
        self._total = 0

    def add(self, client: str, size: int) -> bool:
        """Count bytes of a client. False, and nothing is counted, if they exceed a limit."""
        limits = self.limits
        if self._total + size > limits.all_bodies or self._bytes[client] + size > limits.client_bodies:
            return False
        self._bytes[client] += size
        self._total += size
        return True

    def remove(self, client: str, size: int) -> None:
        """Count bytes of a client no longer."""
        self._total -= size
        self._bytes[client] -= size
        if not self._bytes[client]:
            del self._bytes[client]


class Body:
    """The body of a request of `client`, of at most `max_bytes`.

    A limit that is exceeded raises an HTTPException whose detail is the HttpError of the response: the framework
    replaces all other exceptions while it reads a body.
    """

    def __init__(self, receive: Receive, bodies: OpenBodies, client: str, max_bytes: int) -> None:
        self._receive, self._bodies, self._client, self._max_bytes = receive, bodies, client, max_bytes
        self._size = self._counted = 0
        self._end: float | None = None

    async def receive(self) -> Message:
        """Return the next message."""
        seconds = self._bodies.limits.body_seconds
        if self._end is None:
            self._end = time.monotonic() + seconds
        try:
            async with asyncio.timeout(self._end - time.monotonic() if self._end else None):
                message = await self._receive()
        except TimeoutError:
            text = f"the body did not arrive within {seconds:g} s"
            raise _refused(HttpError(408, "body_timeout", text, where="body")) from None
        self._size += len(message.get("body", b""))
        if not message.get("more_body"):
            self._end = 0.0  # what is received from now on is that the client leaves
        if self._size > self._max_bytes:
            raise _refused(body_too_large(self._max_bytes))
        self._count()
        return message

    def release(self) -> None:
        """Stop counting the body of a request that is answered."""
        if self._counted:
            self._bodies.remove(self._client, self._counted)
            self._counted = 0

    def _count(self) -> None:
        # Small bodies are not counted: they find room whatever others send.
        if self._size <= self._bodies.limits.small_body or self._size == self._counted:
            return
        if not self._bodies.add(self._client, self._size - self._counted):
            text = "other large requests are in progress; try again in a moment"
            raise _refused(HttpError(503, "busy", text, headers={"Retry-After": "1"}))
        self._counted = self._size


def body_too_large(max_bytes: int) -> HttpError:
    """Return the error for a body of more than `max_bytes` (413)."""
    return HttpError(413, "limit_body", f"the body has more than {max_bytes} bytes; send less at once", where="body")


def _refused(error: HttpError) -> HTTPException:
    return HTTPException(error.status, detail=error)  # type: ignore[arg-type]
