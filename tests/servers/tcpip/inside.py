"""A look into the server: what it has of a socket, and that it has nothing left."""

from __future__ import annotations

from tests.servers.tcpip.harness import Guest, World
from wasmos.servers.tcpip.sockets import Link


def link(world: World, sock: int) -> Link:
    """The server's own idea of a socket, for waiting until it has one."""
    found = world.tcpip._sockets._sockets[sock]
    assert isinstance(found, Link)
    return found


def fill(guest: Guest, sock: int) -> None:
    """Write until the next write would wait."""
    while not link(guest.world, sock).connection.stream.full:
        guest.write(sock, bytes(1024))


def nothing_is_left(world: World) -> bool:
    server = world.tcpip
    sockets = server._sockets
    return not (
        sockets._sockets
        or sockets._owners
        or sockets._under
        or server._farewells
        or server._unsaid
        or server.bound
        or server._mapped_ports
    )
