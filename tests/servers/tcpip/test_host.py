"""The host's sockets, where the host has a say."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.tcpip.harness import HostSide, World, receive_all
from wasmos import abi
from wasmos.servers.tcpip import host


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """This process can open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(each.name) for each in Path("/dev/fd").iterdir())
    fillers = [socket.socket()]
    while fillers[-1].fileno() <= highest:
        fillers.append(socket.socket())
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1].fileno() + 1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            filler.close()


def test_out_of_descriptors(host_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who connects waits until the host has some again; nothing spins, nothing dies."""
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
    with no_descriptors():
        visitor.sock.connect_ex((endpoint.host, endpoint.port))
        host_world.until(lambda: tries > 3)
        assert guest.error(guest.connect, endpoint.port) == abi.ErrorCode.NO_RESOURCES
    host_world.do(visitor.send(b"hello"))
    assert guest.read(guest.accept()) == b"hello"


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
