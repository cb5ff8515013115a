"""The open connections of a service, and which of them make room for new ones."""

from __future__ import annotations

import ipaddress
import logging
import resource
import time
from typing import Protocol

from gridcast.serving import json_logging
from gridcast.serving.client_addresses import Network
from gridcast.serving.settings import DoorLimits

LOG = logging.getLogger(json_logging.LOGGER_NAME)
NOTE_SECONDS = 60.0
"""Seconds between two lines of the log about refusals, of which there may be thousands a second."""
RESERVED_FILES = 256
"""Open files that are kept for everything but connections: databases, models, uploads."""


class Connection(Protocol):
    """A connection that can be closed at once."""

    def abort(self) -> None:
        """Close it, whatever is not sent yet."""


class Connections:
    """The open connections within the `limits`, and those among them that wait for a complete header.

    Where a limit is reached, the connection that has waited longest is closed for a new one: a client that sends half a
    header cannot shut out others, even at its own address. Addresses of `trusted` proxies have no limit of their own.
    """

    def __init__(self, limits: DoorLimits, trusted: tuple[Network, ...] = ()) -> None:
        self._trusted = trusted
        self._limit = max_connections(limits)
        self._address_limit = max(1, min(limits.address_connections, self._limit // 2))
        self._groups: dict[Connection, str] = {}
        """The group of addresses of each connection."""
        self._open: dict[str, dict[Connection, None]] = {}
        self._waiting: dict[Connection, None] = {}
        self._waiting_of: dict[str, dict[Connection, None]] = {}
        """Connections that wait, the longest first; and the same by group, as the open ones."""
        self._refusals, self._noted = 0, -NOTE_SECONDS

    def admit(self, connection: Connection, address: str) -> bool:
        """Add a new connection, closing another one if necessary. False if all others are busy."""
        parsed = _parse(address)
        # One client has all addresses of an IPv6 network of 64 bits.
        group = str(int(parsed) >> 64) if isinstance(parsed, ipaddress.IPv6Address) else address
        is_trusted = parsed is not None and any(parsed in network for network in self._trusted)
        if not is_trusted and len(self._open.get(group, ())) >= self._address_limit:
            if not _close_first(self._waiting_of.get(group, {}), self):
                return False
        elif len(self._groups) >= self._limit and not _close_first(self._waiting, self):
            return False
        self._groups[connection] = group
        self._open.setdefault(group, {})[connection] = None
        return True

    def begin_wait(self, connection: Connection) -> None:
        """Note that an open connection waits for the next header from now on."""
        self.end_wait(connection)
        if group := self._groups.get(connection):
            self._waiting[connection] = None
            self._waiting_of.setdefault(group, {})[connection] = None

    def end_wait(self, connection: Connection) -> None:
        """Note that a connection has a complete header."""
        if connection in self._waiting:
            del self._waiting[connection]
            _discard(self._waiting_of, self._groups[connection], connection)

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self.end_wait(connection)
        if group := self._groups.pop(connection, None):
            _discard(self._open, group, connection)

    def note_refusal(self) -> None:
        """Count a connection that was refused or closed, or what was no request within the limits; log it soon."""
        self._refusals += 1
        if time.monotonic() - self._noted >= NOTE_SECONDS:
            LOG.warning("refused before a request", extra={"fields": {"count": self._refusals}})
            self._refusals, self._noted = 0, time.monotonic()


def max_connections(limits: DoorLimits) -> int:
    """Return how many connections may be open, given the number of files that this process may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return limits.connections
    return max(1, min(limits.connections, max(files - RESERVED_FILES, files // 2)))


def _close_first(waiting: dict[Connection, None], connections: Connections) -> bool:
    """Close the first connection that waits. False if there is none."""
    first = next(iter(waiting), None)
    if first is None:
        return False
    connections.note_refusal()
    connections.remove(first)
    first.abort()
    return True


def _discard(groups: dict[str, dict[Connection, None]], group: str, connection: Connection) -> None:
    del groups[group][connection]
    if not groups[group]:
        del groups[group]


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, ipaddress.IPv6Address) else parsed
