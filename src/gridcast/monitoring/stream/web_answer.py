"""The answer of an address, as a whole: within a time, and up to a size."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import urllib.error
import urllib.request
from typing import Any

from gridcast.monitoring.stream.feed_files import ended_lines
from gridcast.runtime.errors import GridcastError

SILENCE_SECONDS = 20.0
"""Longest silence of an address."""
ANSWER_SECONDS = 60.0
"""Longest time for a whole answer."""
ANSWER_BYTES = 256 * 2**20
"""Largest answer."""
CHUNK_BYTES = 2**16


class FeedUnreachable(GridcastError):
    """The folder or the address of a feed gives nothing."""


def read_answer(url: str, name: str) -> bytes:
    """Return the body that the address `url` answers. Raises FeedUnreachable, which shows it as `name`.

    A time limit for each read would not end an answer that arrives byte by byte, nor would it end its header.
    """
    opened: list[socket.socket] = []
    expired = threading.Event()

    def stop() -> None:
        expired.set()
        for connection in opened:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(ANSWER_SECONDS, stop)
    timer.daemon = True
    timer.start()
    try:
        body = _read(url, opened)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # an HTTPError is an open response too
        if not expired.is_set():
            raise FeedUnreachable(f"{name}: no response: {error}") from None
        body = None
    finally:
        timer.cancel()
    if expired.is_set():
        raise FeedUnreachable(f"{name}: the answer was not complete after {ANSWER_SECONDS:g} s")
    if body is None:
        raise FeedUnreachable(
            f"{name}: the answer is larger than {ANSWER_BYTES / 2**20:g} MiB; let the address answer with fewer rows"
        )
    return body


def _read(url: str, opened: list[socket.socket]) -> bytes | None:
    """The body, None for one that is too large; the sockets that are opened are added to `opened`."""
    request = urllib.request.Request(url, headers={"Accept": "text/csv, application/json"})  # noqa: S310
    opener = urllib.request.build_opener(_HttpHandler(opened), _HttpsHandler(opened))
    parts, size = [], 0
    with opener.open(request, timeout=SILENCE_SECONDS) as response:
        states_its_end = response.length is not None or response.chunked
        while part := response.read(CHUNK_BYTES):
            parts.append(part)
            size += len(part)
            if size > ANSWER_BYTES:
                return None
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
    body = b"".join(parts)
    # Where an answer ends with its connection, no one knows whether that is the end of its last line.
    return body if states_its_end else ended_lines(body) or body


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, opened: list[socket.socket]) -> None:
        super().__init__()
        self._opened = opened

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, req)

    def _connection(self, host: str, **options: Any) -> http.client.HTTPConnection:
        return _watched(http.client.HTTPConnection(host, **options), self._opened)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, opened: list[socket.socket]) -> None:
        super().__init__()
        self._opened = opened

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, req)

    def _connection(self, host: str, **options: Any) -> http.client.HTTPConnection:
        return _watched(http.client.HTTPSConnection(host, **options), self._opened)


def _watched(connection: http.client.HTTPConnection, opened: list[socket.socket]) -> http.client.HTTPConnection:
    """The `connection`, which adds its socket to `opened` when it connects."""
    connect = connection.connect

    def connect_and_add() -> None:
        connect()
        opened.append(connection.sock)

    connection.connect = connect_and_add  # type: ignore[method-assign]
    return connection
