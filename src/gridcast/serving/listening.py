"""The address that a service listens on."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import sys
from collections.abc import Iterator

import uvicorn

from gridcast.runtime.errors import GridcastError
from gridcast.serving import json_logging

LOG = logging.getLogger(json_logging.LOGGER_NAME)


class BoundServer(uvicorn.Server):
    """A server that says in the log where it runs, also if its sockets were bound before."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        if sockets and self.started:
            LOG.info(f"running on http://{_place(self.config.host, self.config.port)}")


def bind(host: str, port: int) -> list[socket.socket]:
    """Return sockets for all addresses of `host`, which do not listen yet. Raises GridcastError."""
    bound: list[socket.socket] = []
    with explained(host, port), contextlib.ExitStack() as closed_after_error:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            opened = socket.socket(family, kind, protocol)
            bound.append(closed_after_error.enter_context(opened))
            if sys.platform != "win32":  # where it would let two services share the port
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.bind(address)
        closed_after_error.pop_all()
    return bound


@contextlib.contextmanager
def explained(host: str, port: int) -> Iterator[None]:
    """Raise GridcastError in place of an OSError about the address."""
    try:
        yield
    except OSError as error:
        place = _place(host, port)
        if error.errno == errno.EADDRINUSE:
            text = "is in use by another program; stop that one, or choose another port with --port"
        else:
            text = f"cannot be listened on: {error.strerror}; choose another address with --host and --port"
        raise GridcastError(f"{place} {text}") from None


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
