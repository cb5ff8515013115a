"""Which connections make room for new ones."""

import ipaddress
import resource

import pytest

from gridcast.serving.connections import Connections, max_connections
from gridcast.serving.settings import DoorLimits


class Opened:
    """A connection that knows whether it was closed."""

    is_closed = False

    def abort(self):
        self.is_closed = True


def admitted(connections, address, *, waits=True):
    """A connection from `address`, or None if it was refused."""
    opened = Opened()
    if not connections.admit(opened, address):
        return None
    if waits:
        connections.begin_wait(opened)
    return opened


def test_the_connection_of_an_address_that_waited_longest_makes_room():
    connections = Connections(DoorLimits(address_connections=2))
    other, first, second = (admitted(connections, address) for address in ("10.0.0.1", "10.0.0.2", "10.0.0.2"))
    connections.begin_wait(first)  # it had a complete header meanwhile
    third = admitted(connections, "10.0.0.2")
    assert [one.is_closed for one in (other, first, second, third)] == [False, False, True, False]


def test_a_connection_is_refused_where_all_of_its_address_are_busy():
    connections = Connections(DoorLimits(address_connections=2))
    busy = [admitted(connections, "10.0.0.1", waits=False) for _ in range(2)]
    assert admitted(connections, "10.0.0.1") is None
    assert admitted(connections, "10.0.0.2")
    connections.remove(busy[0])
    connections.remove(busy[0])
    assert admitted(connections, "10.0.0.1")
    assert not busy[1].is_closed


def test_all_addresses_share_the_limit_of_all():
    connections = Connections(DoorLimits(connections=3))
    opened = [admitted(connections, f"10.0.0.{number}") for number in range(5)]
    assert [one.is_closed for one in opened] == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("address", "closed"), [("172.18.0.9", False), ("::ffff:172.18.0.9", False), ("172.19.0.9", True)]
)
def test_a_trusted_proxy_has_no_limit_of_its_own(address, closed):
    connections = Connections(DoorLimits(address_connections=1), (ipaddress.ip_network("172.18.0.0/16"),))
    first = admitted(connections, address)
    assert admitted(connections, address)
    assert first.is_closed is closed


def test_the_addresses_of_an_ipv6_network_count_as_one():
    connections = Connections(DoorLimits(address_connections=1))
    first, other = admitted(connections, "2001:db8::1"), admitted(connections, "2001:db8:0:1::1")
    assert admitted(connections, "2001:db8::2")
    assert (first.is_closed, other.is_closed) == (True, False)


@pytest.mark.parametrize(("files", "expected"), [(1024, 768), (300, 150), (resource.RLIM_INFINITY, 4096)])
def test_some_of_the_files_that_may_be_open_are_kept_for_other_things(monkeypatch, files, expected):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert max_connections(DoorLimits()) == expected
