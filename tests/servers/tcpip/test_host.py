"""The host's sockets, where the host has a say."""

from __future__ import annotations

import socket
import threading
from unittest import mock

import pytest

from tests.servers.tcpip.harness import HostSide, World, receive_all
from tests.support.descriptors import descriptors_left
from wasmos import abi
from wasmos.servers.reserve import RESERVED
from wasmos.servers.tcpip import host


@pytest.mark.parametrize("left", [0, RESERVED])
def test_out_of_descriptors(host_world: World, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    """Who connects waits until the host has some again; nothing spins, nothing dies. The last ones
    are the host's own."""
    tries = 0
    resume = host.HostListener.resume

    def try_again(listener: host.HostListener) -> None:
        nonlocal tries
        tries += 1
        resume(listener)

    monkeypatch.setattr(host, "STARVED_SECONDS", 0.0)
    monkeypatch.setattr(host.HostListener, "resume", try_again)
    host_world.serve(ports=["0:80"], connect="127.0.0.0/8")
    guest = host_world.guest()
    guest.listen()
    endpoint = host_world.tcpip.bound[80][0]
    assert isinstance(host_world.side, HostSide)
    visitor = host_world.side.keep(socket.socket())
    with descriptors_left(left):
        visitor.sock.connect_ex((endpoint.host, endpoint.port))
        host_world.until(lambda: tries > 3)
        assert guest.error(guest.connect, endpoint.port) == abi.ErrorCode.NO_RESOURCES
    host_world.do(visitor.send(b"hello"))
    assert guest.read(guest.accept()) == b"hello"


def test_out_of_threads(host_world: World) -> None:
    """Looking names up takes one each: without, it is to be tried again, and can be."""
    host_world.serve()
    guest = host_world.guest()
    full = mock.patch.object(threading.Thread, "start", side_effect=RuntimeError("no more threads"))
    with full:
        for _ in range(host.MAX_LOOKUPS):
            assert guest.error(guest.resolve, "localhost") == abi.ErrorCode.TRY_AGAIN
    assert guest.resolve("localhost") == 0x7F000001


def test_an_address_that_is_not_this_hosts(host_world: World) -> None:
    host_world.serve(ports=["192.0.2.1:0:80"])
    guest = host_world.guest()
    assert guest.error(guest.listen) == abi.ErrorCode.NOT_FOUND


def test_ipv6_alone(host_world: World) -> None:
    """[::] opens IPv6 only: IPv4 has to be named as well."""
    host_world.serve(ports=["[::]:0:80"])
    guest = host_world.guest()
    guest.listen()
    port = host_world.tcpip.bound[80][0].port
    with pytest.raises(ConnectionRefusedError):
        host_world.do(host_world.side.dial("127.0.0.1", port))
    peer = host_world.do(host_world.side.dial("::1", port))
    host_world.do(peer.finish())
    guest.destroy(guest.accept())
    assert host_world.do(receive_all(peer)) == b""
