"""Grants for a time, and for a number of uses: what becomes of what was made by them."""

from __future__ import annotations

import pytest

import wasmos
from tests.servers.tcpip.grants import (
    OTHER,
    PUBLIC,
    RESOLVE,
    USE,
    code,
    fake,
    grant,
    number,
    offering,
)
from tests.servers.tcpip.harness import Guest, World, receive_all
from tests.servers.tcpip.inside import link, nothing_is_left
from wasmos import abi
from wasmos.abi import ErrorCode


def pass_seconds(world: World, seconds: float) -> None:
    world.kernel.advance(world.kernel.now_ns + int(seconds * 1e9))
    world.kernel.timers.fire(world.kernel.now_ns)


def test_what_expires_is_closed(timed_world: World) -> None:
    world = timed_world
    world.serve()
    guest = world.guest(allow=['tcpip.listen(bind="0") for 60s', *USE])
    held = grant(guest)
    guest.listen()
    peer = world.dial()
    world.do(peer.send(b"hello"))
    sock = guest.accept()
    pass_seconds(world, 59)
    guest.write(sock, b"answer")
    assert world.do(peer.receive()) == b"answer"
    pass_seconds(world, 1)
    assert held.state == "expired"
    assert world.tcpip.bound == {}
    assert world.do(receive_all(peer)) == b""
    assert guest.notice() == ("closed", sock)


def connected_once(world: World, rule: str) -> tuple[Guest, int]:
    world.serve()
    offering(world, PUBLIC)
    guest = world.guest(allow=[rule, *USE])
    sock = guest.connect(443, number(PUBLIC))
    guest.settle(5)  # so few that no virtual time passes
    return guest, sock


def test_what_a_spent_grant_made_lives_on(timed_world: World) -> None:
    world = timed_world
    guest, sock = connected_once(world, "tcpip.connect once")
    assert len(guest.client.grants) == len(USE)
    guest.write(sock, b"still there")
    assert code(guest, PUBLIC) == ErrorCode.NOT_ALLOWED
    pass_seconds(world, 1e6)
    guest.write(sock, b"still there")


def test_a_spent_grant_still_has_its_time(timed_world: World) -> None:
    world = timed_world
    guest, sock = connected_once(world, "tcpip.connect for 60s once")
    guest.write(sock, b"still there")
    pass_seconds(world, 59)
    guest.write(sock, b"still there")
    pass_seconds(world, 1)
    assert guest.error(guest.write, sock, b"x") == ErrorCode.ABORTED
    assert guest.notice() == ("closed", sock)
    guest.destroy(sock)
    assert nothing_is_left(world)


def test_what_a_spent_grant_came_from_can_be_taken_back(fake_world: World) -> None:
    world = fake_world
    world.serve()
    offering(world, PUBLIC)
    giver = world.guest("giver", allow=["tcpip.connect"])
    taker = world.guest("taker", allow=[*USE])
    grant(giver).delegate(taker.client, uses=1)
    sock = taker.connect(443, number(PUBLIC))
    taker.settle()
    assert len(taker.client.grants) == len(USE)
    taker.write(sock, b"x")
    grant(giver).revoke()
    assert taker.notice() == ("closed", sock)
    assert taker.error(taker.write, sock, b"x") == ErrorCode.ABORTED


def test_a_last_use_under_way_when_its_origin_is_taken_back(world: World) -> None:
    """The kernel has let it through, and what it came by is spent; the server's coroutine hasn't
    begun when the grant above is revoked."""
    world.serve()
    offer, port = world.side.offer()
    giver = world.guest("giver", allow=['tcpip.connect(dst_addr="127.0.0.1")'])
    taker = world.guest("taker", allow=[])
    held = grant(giver).delegate(taker.client, uses=1)
    _ = world.kernel.loop
    taker.client.begin("tcpip", abi.TcpipConnect(0x7F000001, port), lambda: None)
    world.kernel.step(1_000_000)
    assert held.state == "spent"
    grant(giver).revoke()
    world.until(lambda: taker.client._result is not None)
    with pytest.raises(wasmos.CapabilityDenied):
        taker.client.finish()
    assert nothing_is_left(world)
    offer.close()


def test_of_several_it_is_the_one_that_the_kernel_counts(world: World) -> None:
    world.serve()
    offer, port = world.side.offer()
    guest = world.guest(allow=[])
    for _ in range(3):
        world.kernel.grant(guest.client, 'tcpip.connect(dst_addr="127.0.0.1")')
    _ = world.kernel.loop
    guest.client.begin("tcpip", abi.TcpipConnect(0x7F000001, port), lambda: None)
    world.kernel.step(1_000_000)
    counted = world.kernel.capability_under_way(guest.client.id)
    world.until(lambda: guest.client._result is not None)
    assert link(world, guest.client.finish().sock).grant.id == counted
    offer.close()


def test_nothing_is_counted_of_what_was_taken_back(fake_world: World) -> None:
    fake_world.serve()
    guest = fake_world.guest(allow=['tcpip.listen(bind="0") 3 times'])
    guest.listen()
    assert list(fake_world.tcpip._rights._used.values()) == [1]
    grant(guest).revoke()
    assert fake_world.tcpip._rights._used == {}


def test_one_use_is_one_use(fake_world: World) -> None:
    """By whichever of two the kernel admits it: for the host of the first it is once."""
    world = fake_world
    fake(world).names |= {"a.example": PUBLIC, "b.example": OTHER}
    for first in (True, False):
        world.serve() if first else None
        offering(world, PUBLIC, OTHER) if first else None
        rules = ['tcpip.connect(host="a.example") once', 'tcpip.connect(host="b.example")']
        guest = world.guest(allow=[*(rules if first else rules[::-1]), RESOLVE])
        guest.resolve("a.example")
        guest.resolve("b.example")
        codes = [code(guest, PUBLIC) for _ in range(3)]
        assert codes == [0, ErrorCode.NOT_ALLOWED, ErrorCode.NOT_ALLOWED]
        assert [code(guest, OTHER) for _ in range(3)] == [0, 0, 0]
        guest.client.kill()
    assert world.tcpip._rights._used == {}


def test_so_many_uses_are_so_many(fake_world: World) -> None:
    world = fake_world
    fake(world).names["a.example"] = PUBLIC
    world.serve()
    offering(world, PUBLIC)
    guest = world.guest(allow=['tcpip.connect(host="a.example") 3 times', RESOLVE])
    guest.resolve("a.example")
    codes = [code(guest, PUBLIC) for _ in range(4)]
    assert codes == [0, 0, 0, ErrorCode.NOT_ALLOWED]
    guest.client.kill()
    world.until(lambda: world.tcpip._rights._used == {})  # nothing is kept of what is over


def test_a_last_use_is_counted_with_those_before(fake_world: World) -> None:
    """The server has let somebody through by a grant that the kernel didn't count; then the
    kernel counts its only use, for another message."""
    world = fake_world
    fake(world).names |= {"a.example": PUBLIC, "b.example": OTHER}
    world.serve()
    offering(world, PUBLIC, OTHER)
    guest = world.guest(allow=['tcpip.connect(host="b.example")', RESOLVE])
    world.kernel.grant(guest.client, 'tcpip.connect(host="a.example") once')
    guest.resolve("a.example")
    assert code(guest, PUBLIC) == 0
    grant(guest, 0).revoke()  # only the one with a use is left, if it is
    assert code(guest, PUBLIC) == ErrorCode.NOT_ALLOWED
