"""HTTP within limits, before and while the application sees a request."""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from pydantic_core import to_json
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gridcast.serving.connections import Connections
from gridcast.serving.http_errors import HttpError
from gridcast.serving.settings import DoorLimits

SLICE = 16 * 2**10
"""Bytes that are parsed before other connections have their turn."""
HELD_BODY = 64 * 2**10
"""Bytes of a body that are held until the application takes them."""
MAX_PIPELINED = 16
"""Requests that may follow one that is not answered yet."""
FREE_CHUNKS = 1000
MIN_CHUNK = 16
"""Bytes that the chunks of a body must have on average, beyond the first ones: each takes as long as a kilobyte."""
MAX_DISCARDED = 32 * 2**20
DISCARD_SECONDS = 10.0
"""Limits of what a client sends after its refusal. It is read, or the client would be reset before it reads that."""
INVALID = HttpError(400, "invalid_request", "this is not a valid HTTP request")


class _Refused(Exception):
    """Raised in a callback of the parser to stop it."""


class _Flow(FlowControl):
    """Flow control that reads nothing more while there are bytes which are `unread`."""

    def __init__(self, transport: asyncio.Transport, unread: bytearray) -> None:
        super().__init__(transport)
        self.unread = unread

    def resume_reading(self) -> None:
        if not self.unread:
            super().resume_reading()


class LimitedProtocol(HttpToolsProtocol):
    """A connection with limits on its headers, its time, and what it sends before it is asked to.

    A body is parsed once the application reads it, so a request that is refused costs its header. What exceeds a limit
    is answered with an error and closed; nothing waits in a queue.
    """

    def __init__(self, connections_of_all: Connections, limits: DoorLimits, **options: Any) -> None:
        super().__init__(**options)
        self._application, self.app = self.app, self._answer
        self._connections, self._limits = connections_of_all, limits
        self._unread = bytearray()
        self._turn: asyncio.Handle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._unsent = 0
        """Bytes of the answer that waited at the last deadline."""
        self._is_in_header = True
        self._header_bytes = self._frame_bytes = self._body_bytes = self._chunks = 0
        self._is_body_wanted = self._is_ended = False
        self._discarded: int | None = None
        self._refusal: HttpError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a header, unless there is no room."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self._unread)
        if self._connections.admit(self, self.client[0] if self.client else "unknown"):
            self._wait_for_header()
        else:
            self._connections.note_refusal()
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._connections.remove(self)
        self._unread.clear()
        for timer in (self._deadline, self._turn):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse what came, as far as it is due."""
        if self._discarded is not None:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED:
                self.abort()
        elif not self._is_ended:
            self._unread += data
            self._parse()

    # Parsing

    def _parse(self) -> None:
        """Parse a slice, if one is due; the rest has its turn after other connections."""
        self._turn = None
        if self._unread and self._may_parse():
            # Of a header that is too long no more is parsed than shows that it is.
            room = self._limits.header_bytes + 1 - self._header_bytes if self._is_in_header else SLICE
            part = bytes(self._unread[: min(SLICE, room)])
            del self._unread[: len(part)]
            self._header_bytes += len(part)
            self._frame_bytes += len(part)
            self._feed(part)
        if self._is_ended or self.transport.is_closing():
            self._unread.clear()
        elif self._unread:
            self.flow.pause_reading()
            if self._turn is None and self._may_parse():
                self._turn = self.loop.call_soon(self._parse)
        elif self._may_parse():
            self.flow.resume_reading()

    def _may_parse(self) -> bool:
        """Whether a header may come now, or more of a body that is read."""
        if self._is_ended or self.transport.is_closing():
            return False
        if self.cycle is None or self.cycle.response_complete:
            return True
        is_body_due = self._is_body_wanted and self.cycle.more_body and not self.pipeline
        return is_body_due and len(self.cycle.body) <= HELD_BODY

    def _feed(self, part: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade:  # to another protocol, which is not offered; the parser has stopped
            self._is_ended = True
            self.cycle.keep_alive = False
        except httptools.HttpParserError:
            self._refuse(self._refusal or INVALID)
        if self._is_ended or self.transport.is_closing():
            return
        if self._is_in_header and self._header_bytes > self._limits.header_bytes:
            self._refuse(self._header_too_large())
        elif not self._is_in_header and self._frame_bytes > self._limits.header_bytes + SLICE:
            self._refuse(INVALID)  # endless trailers, or the extension of a chunk

    def on_message_begin(self) -> None:
        """Begin a header."""
        super().on_message_begin()
        self._is_in_header = True
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Refused

    def on_url(self, url: bytes) -> None:
        """Keep a part of the URL."""
        super().on_url(url)
        if len(self.url) > self._limits.header_bytes:
            self._stop(self._header_too_large())

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a line of the header; the trailers that may come after a body are ignored."""
        if self._is_in_header:
            super().on_header(name, value)
            if len(self.headers) > self._limits.header_lines:
                self._stop(self._header_too_large())

    def on_headers_complete(self) -> None:
        """Let the application answer the request."""
        self._is_in_header = False
        self._header_bytes = self._frame_bytes = self._body_bytes = self._chunks = 0
        self._end_wait()
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """Count a chunk."""
        self._chunks += 1
        if self._chunks > FREE_CHUNKS + self._body_bytes // MIN_CHUNK:
            text = f"the body has too many small chunks; send at least {MIN_CHUNK} bytes in each"
            self._stop(HttpError(413, "limit_chunks", text, where="body"))

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._frame_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def _header_too_large(self) -> HttpError:
        text = f"the header has more than {self._limits.header_bytes} bytes or {self._limits.header_lines} lines"
        return HttpError(431, "limit_header", text)

    def _stop(self, error: HttpError) -> None:
        """Stop the parser, and refuse the request."""
        self._refusal = error
        raise _Refused

    # Answering

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer; its first call of `receive` lets the body in."""
        cycle = receive.__self__  # type: ignore[attr-defined]

        async def receive_due() -> Message:
            self._is_body_wanted = True
            if self._unread and self._turn is None:
                self._turn = self.loop.call_soon(self._parse)
            return await receive()

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start" and cycle.more_body:
                # The rest of the body is not read, so no other request can follow it.
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        cycle.transport = _PoliteTransport(self, cycle)
        await self._application(scope, receive_due, send_last)

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        self._is_body_wanted = False
        if self._discarded is not None:
            return
        super().on_response_complete()
        if not self.pipeline and self.cycle.response_complete:
            self.cycle.body = bytearray()
            self._wait_for_header()
            if self._unread and self._turn is None:
                self._turn = self.loop.call_soon(self._parse)

    def _refuse(self, error: HttpError) -> None:
        """Answer with `error` and close; if earlier requests are not answered yet, close after their answers."""
        self._connections.note_refusal()
        self._is_ended = True
        self._unread.clear()
        cycle = self.cycle
        is_answering = cycle is not None and not cycle.response_complete
        if is_answering and not cycle.more_body:
            cycle.keep_alive = False  # the last of them
            return
        if is_answering and (self.pipeline or cycle.response_started):
            self.abort()
            return
        if is_answering:
            cycle.disconnected = True
            cycle.message_event.set()
        content = to_json(error.body)
        header = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(content)
        self.transport.write(STATUS_LINE[error.status] + header + content)
        self._discard()

    def close_politely(self) -> None:
        """Close once the client has read its answer: a reset, due to what is not read here, would discard that."""
        if self._unread or self.pipeline or self.cycle.more_body:
            self._discard()
        else:
            self.transport.close()
            self._start_deadline(self._limits.header_seconds)  # for what is not sent yet

    def _discard(self) -> None:
        """Send what is to be sent, then read and discard until the client closes the connection."""
        self._is_ended = True
        self.pipeline.clear()
        self._unread.clear()
        if self._discarded is not None or self.transport.is_closing():
            return
        self._discarded = 0
        self.transport.write_eof()
        self.flow.resume_reading()
        self._connections.begin_wait(self)
        self._start_deadline(DISCARD_SECONDS)

    # Deadlines

    def _wait_for_header(self) -> None:
        self._is_in_header, self._header_bytes = True, 0
        self._connections.begin_wait(self)
        self._start_deadline(self._limits.header_seconds)

    def _end_wait(self) -> None:
        self._connections.end_wait(self)
        if self._deadline is not None:
            self._deadline.cancel()

    def _start_deadline(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._unsent = self.transport.get_write_buffer_size()
        self._deadline = self.loop.call_later(seconds, self._on_deadline, seconds)

    def _on_deadline(self, seconds: float) -> None:
        """Close the connection, unless the client is still reading an answer."""
        unsent = self.transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._start_deadline(seconds)
        elif unsent:
            self.abort()
        else:
            self.transport.close()


class _PoliteTransport:
    """The transport of a connection, as the `cycle` of a request and its answer sees it."""

    def __init__(self, connection: LimitedProtocol, cycle: RequestResponseCycle) -> None:
        self._connection, self._cycle = connection, cycle
        self.write, self.is_closing = connection.transport.write, connection.transport.is_closing

    def close(self) -> None:
        if self._cycle.response_complete:
            self._connection.close_politely()
        else:  # the application failed
            self._connection.abort()
