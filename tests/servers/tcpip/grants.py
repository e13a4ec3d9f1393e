"""What the tests of grants share: addresses, and who waits there."""

from __future__ import annotations

from ipaddress import IPv4Address

from tests.servers.tcpip.harness import FakeSide, Guest, World
from wasmos.kernel import Grant
from wasmos.servers.tcpip.fake import FakeNetwork

PUBLIC = "93.184.215.14"
OTHER = "1.1.1.1"
PRIVATE = "10.0.0.1"
RESOLVE = "tcpip.dns_resolve"
USE = ("tcpip.read", "tcpip.write", "tcpip.destroy")  # of sockets, and to be told of them


def number(address: str) -> int:
    return int(IPv4Address(address))


def fake(world: World) -> FakeNetwork:
    assert isinstance(world.side, FakeSide)
    return world.side.fake


def offering(world: World, *addresses: str) -> None:
    """Somebody waits at these addresses."""
    for address in addresses:
        fake(world).offer(address, 443)


def code(guest: Guest, address: str, port: int = 443) -> int:
    return guest.error(guest.connect, port, number(address))


def grant(guest: Guest, index: int = 0) -> Grant:
    return guest.client.grants[index]
