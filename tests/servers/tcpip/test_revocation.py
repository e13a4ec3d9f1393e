"""What was made by a grant ends with it."""

from __future__ import annotations

import asyncio
import os

import pytest

import wasmos
from tests.servers.tcpip.grants import PUBLIC, USE, grant, number
from tests.servers.tcpip.harness import Guest, HostSide, Peer, Void, World, receive_all
from tests.servers.tcpip.inside import fill, link, nothing_is_left
from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.servers.tcpip import Bounds
from wasmos.servers.tcpip.fake import FakeNetwork

# --- the end of a grant ---


def is_denied(world: World, guest: Guest) -> None:
    """What the guest waits for ends, for want of a right."""
    world.until(lambda: guest.client._result is not None)
    with pytest.raises(wasmos.CapabilityDenied):
        guest.client.finish()
    guest.settle()


def listening(world: World, *more: str) -> tuple[Guest, Peer, Peer, int]:
    """A guest with a port, a connection that it knows, and one that it hasn't heard of."""
    world.serve()
    guest = world.guest(allow=['tcpip.listen(bind="0")', *more])
    guest.listen()
    peer = world.dial()
    world.do(peer.send(b"hello"))
    sock = guest.accept()
    silent = world.dial()
    world.until(lambda: len(world.tcpip._sockets._sockets) == 3)
    return guest, peer, silent, sock


def test_a_revoked_port_is_free_and_its_visitors_are_gone(world: World) -> None:
    guest, peer, silent, sock = listening(world)
    endpoint = world.tcpip.bound[80][0]
    grant(guest).revoke()
    assert world.tcpip.bound == {}
    for each in (peer, silent):
        assert world.do(receive_all(each)) == b""
    with pytest.raises(ConnectionRefusedError):
        world.do(world.side.dial(endpoint.host, endpoint.port))
    assert guest.error(guest.read, sock) == ErrorCode.NOT_ALLOWED
    assert guest.settle() == []
    assert nothing_is_left(world)
    world.side.network.listen(world.kernel.loop, endpoint, None).close()  # type: ignore[arg-type]


def test_a_task_that_holds_something_else_hears_of_it(world: World) -> None:
    guest, peer, _, sock = listening(world, *USE)
    world.do(peer.send(b" and more"))
    grant(guest).revoke()
    assert guest.notice() == ("closed", sock)
    assert guest.read(sock) == b""  # what came by the grant is gone with it
    assert guest.error(guest.write, sock, b"x") == ErrorCode.ABORTED
    guest.destroy(sock)
    assert guest.settle() == []
    assert nothing_is_left(world)


def test_a_revoked_connection_is_closed(world: World) -> None:
    world.serve()
    offer, port = world.side.offer()
    guest = world.guest(allow=['tcpip.connect(dst_addr="127.0.0.1")', *USE])
    sock = guest.connect(port)
    peer = world.do(offer.accept())
    guest.write(sock, b"hello")
    assert world.do(peer.receive()) == b"hello"
    grant(guest).revoke()
    assert world.do(receive_all(peer)) == b""
    assert guest.notice() == ("closed", sock)
    assert guest.error(guest.write, sock, b"x") == ErrorCode.ABORTED
    assert guest.error(guest.connect, port) == ErrorCode.NOT_ALLOWED
    offer.close()


def test_others_are_left_alone(world: World) -> None:
    guest, peer, _, sock = listening(world)
    other = world.guest("other", allow=['tcpip.listen(bind="0")'])
    other.listen(81)
    grant(other).revoke()
    assert list(world.tcpip.bound) == [80]
    guest.write(sock, b"answer")
    assert world.do(peer.receive()) == b"answer"


def test_a_second_grant_does_not_save_what_the_first_made(world: World) -> None:
    guest, _, _, sock = listening(world)
    first = grant(guest)
    world.kernel.grant(guest.client, str(first.rule))
    first.revoke()
    assert world.tcpip.bound == {}
    assert guest.notice() == ("closed", sock)
    guest.listen()


def test_revoking_takes_what_was_passed_on(world: World) -> None:
    world.serve()
    giver = world.guest("giver", allow=['tcpip.listen(bind="0")'])
    taker = world.guest("taker", allow=[])
    leaf = grant(giver).delegate(taker.client).delegate(world.guest("leaf", allow=[]).client)
    taker.listen(80)
    leaf_guest = Guest(world, world.kernel.find(leaf.holder))  # type: ignore[arg-type]
    leaf_guest.listen(81)
    assert leaf.parent is not None
    leaf.parent.revoke()
    assert nothing_is_left(world)
    giver.listen(80)
    grant(giver).revoke()
    assert nothing_is_left(world)


@pytest.mark.parametrize("more", [False, True])
def test_a_waiting_write_ends(world: World, more: bool) -> None:
    """With -8 by the kernel; or, if another grant admits writing, with -21."""
    guest, peer, _, sock = listening(world, *(USE if more else ()))
    fill(guest, sock)
    guest.client.begin("tcpip", abi.TcpipWrite(sock, b"x"), lambda: None)
    world.until(lambda: link(world, sock).wake is not None)
    grant(guest).revoke()
    world.until(lambda: guest.client._result is not None)
    with pytest.raises(wasmos.ServiceError) as caught:
        guest.client.finish()
    assert caught.value.code == (ErrorCode.ABORTED if more else ErrorCode.NOT_ALLOWED)
    assert b"x" not in world.do(receive_all(peer))


def descriptors() -> list[str]:
    """What this process has open."""
    return sorted(os.listdir("/dev/fd"))


@pytest.mark.parametrize("more", [False, True])
def test_a_connect_under_way_ends(world: World, more: bool, uncollected: None) -> None:
    rule = 'tcpip.connect(dst_addr="127.0.0.1")'
    world.serve()
    guest = world.guest(allow=[rule])
    if more:
        world.kernel.grant(guest.client, rule)
    offer, port = world.side.offer()
    assert guest.error(guest.connect, world.side.closed_port()) == ErrorCode.NOT_FOUND
    before = descriptors()

    async def take_back() -> None:
        while not world.tcpip._sockets._sockets:
            await asyncio.sleep(0)
        (socket,) = world.tcpip._sockets._sockets.values()
        assert guest.client._result is None
        assert len(descriptors()) == len(before) + isinstance(world.side, HostSide)
        socket.grant.revoke()
        assert descriptors() == before

    taking = world.start(take_back())
    guest.client.begin("tcpip", abi.TcpipConnect(0x7F000001, port), lambda: None)
    world.until(taking.done)
    taking.result()
    world.until(lambda: guest.client._result is not None)
    with pytest.raises(wasmos.ServiceError) as caught:
        guest.client.finish()
    assert caught.value.code == (ErrorCode.ABORTED if more else ErrorCode.NOT_ALLOWED)
    guest.settle()
    assert nothing_is_left(world)
    offer.close()


def test_a_connect_that_has_not_begun_ends(world: World, uncollected: None) -> None:
    """Revoked after the kernel has admitted it, and before the server's coroutine runs."""
    world.serve()
    guest = world.guest(allow=['tcpip.connect(dst_addr="127.0.0.1")'])
    offer, port = world.side.offer()
    _ = world.kernel.loop
    before = descriptors()
    guest.client.begin("tcpip", abi.TcpipConnect(0x7F000001, port), lambda: None)
    world.kernel.step(1_000_000)
    assert world.kernel.account(guest.client.id)["state"] == "awaiting reply"
    grant(guest).revoke()
    is_denied(world, guest)
    assert nothing_is_left(world)
    assert descriptors() == before
    offer.close()


def test_a_connect_that_another_grant_keeps_going(world: World) -> None:
    """The first is revoked before the coroutine runs: the socket is the second's."""
    rule = 'tcpip.connect(dst_addr="127.0.0.1")'
    world.serve()
    guest = world.guest(allow=[rule])
    world.kernel.grant(guest.client, rule)
    offer, port = world.side.offer()
    _ = world.kernel.loop
    guest.client.begin("tcpip", abi.TcpipConnect(0x7F000001, port), lambda: None)
    world.kernel.step(1_000_000)
    first, second = guest.client.grants
    admitted = world.kernel.capability_under_way(guest.client.id)
    gone, left = (first, second) if admitted == first.id else (second, first)
    gone.revoke()
    world.until(lambda: guest.client._result is not None)
    sock = guest.client.finish().sock
    assert link(world, sock).grant is left
    left.revoke()
    guest.settle()
    assert nothing_is_left(world)
    offer.close()


class Gate(FakeNetwork):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__({"a.example": PUBLIC})
        self.ready = asyncio.Event()

    async def resolve(self, hostname: str) -> list[str]:
        self.asked.append(hostname)
        await self.ready.wait()
        return [PUBLIC]


@pytest.mark.parametrize("more", [False, True])
def test_a_lookup_under_way_ends(fake_world: World, more: bool) -> None:
    """Also if another grant admits lookups: that one is for other names."""
    world = fake_world
    gate = Gate()
    world.side.network = gate
    world.serve()
    rules = ['tcpip(host="a.example")', 'tcpip(host="b.example")'][: 1 + more]
    guest = world.guest(allow=rules)
    guest.client.begin("tcpip", abi.TcpipDnsResolve("a.example"), lambda: None)
    world.until(lambda: gate.asked == ["a.example"])
    grant(guest).revoke()
    gate.ready.set()
    is_denied(world, guest)
    assert world.tcpip._names._answers == {}


def test_lingering_connections_are_cut(world: World) -> None:
    guest, peer, _, sock = listening(world, *USE)
    fill(guest, sock)
    guest.destroy(sock)
    assert world.tcpip._farewells
    grant(guest).revoke()
    assert nothing_is_left(world)
    received = world.do(receive_all(peer))
    assert set(received) <= {0}


def test_what_an_ended_task_had_lingers_until_its_giver_loses_it(world: World) -> None:
    world.serve()
    giver = world.guest("giver", allow=['tcpip.listen(bind="0")'])
    taker = world.guest("taker", allow=[])
    grant(giver).delegate(taker.client)
    taker.listen()
    peer = world.dial()
    world.do(peer.send(b"hello"))
    fill(taker, taker.accept())
    taker.client.kill()
    assert world.tcpip._farewells
    grant(giver).revoke()
    assert nothing_is_left(world)
    world.do(receive_all(peer))


def test_a_connect_that_nobody_answers_ends_by_revocation(fake_world: World) -> None:
    world = fake_world
    world.side.network = Void()
    world.serve()
    guest = world.guest(allow=["tcpip.connect"])
    guest.client.begin("tcpip", abi.TcpipConnect(number(PUBLIC), 443), lambda: None)
    guest.settle()
    grant(guest).revoke()
    is_denied(world, guest)
    assert nothing_is_left(world)


# --- notices that nobody may hear ---


def deaf(world: World) -> tuple[Guest, Peer]:
    """A guest whose only grant was used up by listening."""
    world.serve()
    guest = world.guest(allow=['tcpip.listen(bind="0") once'])
    guest.listen()
    guest.settle()
    assert guest.client.grants == []
    return guest, world.dial()


def test_what_cannot_be_told_is_dropped(world: World) -> None:
    guest, peer = deaf(world)
    world.do(peer.send(b"hello"))
    assert world.do(receive_all(peer)) == b""
    world.until(lambda: len(world.tcpip._sockets._sockets) == 1)  # the port itself
    assert world.tcpip._unsaid == {}
    assert guest.settle() == []
    world.kernel.grant(guest.client, "tcpip.read")  # and now it can
    later = world.dial()
    world.do(later.send(b"hello"))
    assert guest.read(guest.accept()) == b"hello"


def test_what_is_denied_is_dropped(world: World) -> None:
    guest, peer, _, sock = listening(world)
    guest.read(sock)
    world.kernel.deny(guest.client, "tcpip")
    world.do(peer.send(b"more"))
    assert world.do(receive_all(peer)) == b""
    world.until(lambda: sock not in world.tcpip._sockets._sockets)


def test_what_waits_for_room_is_dropped(world: World) -> None:
    """The mailbox was full, and when there is room nothing may come any more."""
    world.serve(bounds=Bounds(sockets=400))
    guest = world.guest(allow=['tcpip.listen(bind="0")'])
    guest.listen()
    endpoint = world.tcpip.bound[80][0]

    async def visits() -> list[Peer]:
        peers = [await world.side.dial(endpoint.host, endpoint.port) for _ in range(260)]
        for peer in peers:
            await peer.send(b"hello")
        return peers

    world.do(visits())
    world.until(lambda: len(world.tcpip._unsaid) == 4)
    waiting = list(world.tcpip._unsaid)
    world.kernel.deny(guest.client, "tcpip")
    guest.notices()
    world.until(lambda: not world.tcpip._unsaid)
    assert len(world.tcpip._sockets._sockets) == 1 + 256
    assert not any(world.tcpip._sockets.holds(each) for each in waiting)
    assert all(each.connection.error is not None for each in waiting)
