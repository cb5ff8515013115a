"""The address of a client, also behind proxies that are trusted to name it."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Sequence

from gridcast.runtime.errors import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
FORWARDED_FOR = b"x-forwarded-for"
MAX_HOPS = 20
"""Addresses of X-Forwarded-For that are looked at, from its end."""


def parse_networks(options: Sequence[str]) -> tuple[Network, ...]:
    """Return the networks of proxies, each an address or a network such as 172.18.0.0/16. Raises ConfigError."""
    networks = []
    for option in options:
        try:
            networks.append(ipaddress.ip_network(option.strip()))
        except ValueError as error:
            raise ConfigError(
                f"--trusted-proxy: '{option}' is not an address or a network ({error}); give one such as 10.0.0.7 or "
                "172.18.0.0/16"
            ) from None
    return tuple(networks)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def client_address(peer: str, headers: Iterable[tuple[bytes, bytes]], proxies: tuple[Network, ...]) -> str:
    """Return the address of the client that the `peer` of a connection speaks for: its own unless it is trusted.

    Each proxy appends to X-Forwarded-For the address that it was called from. So the list is read from its end, as far
    as trusted `proxies` wrote it; the rest is the client's own claim.
    """
    if not proxies or not _is_trusted(peer, proxies):
        return peer
    lists = [value.decode("latin-1") for name, value in headers if name == FORWARDED_FOR]
    address = peer
    for hop in reversed(",".join(lists).split(",")[-MAX_HOPS:]):
        parsed = _parse(hop)
        if parsed is None:
            break
        address = str(parsed)
        if not _is_trusted(address, proxies):
            break
    return address


def rate_group(address: str) -> str:
    """Return the address, or the network of 64 bits that an IPv6 address is in: one client has all of that."""
    parsed = _parse(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return address


@functools.lru_cache(maxsize=4096)
def _is_trusted(address: str, proxies: tuple[Network, ...]) -> bool:
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in proxies)


@functools.lru_cache(maxsize=4096)
def _parse(text: str) -> Address | None:
    """The address in `text`, which may have a port; None if there is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address):
        return parsed.ipv4_mapped or parsed
    return parsed
