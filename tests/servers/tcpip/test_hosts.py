"""Grants for a host: what it was looked up as, and nothing else."""

from __future__ import annotations

import pytest

from tests.servers.tcpip.grants import (
    OTHER,
    PRIVATE,
    PUBLIC,
    RESOLVE,
    code,
    fake,
    grant,
    number,
    offering,
)
from tests.servers.tcpip.harness import Guest, World
from tests.servers.tcpip.inside import link
from wasmos.abi import ErrorCode
from wasmos.servers.tcpip import Bounds

# --- host ---


def test_a_host_is_reached_once_it_was_looked_up(world: World) -> None:
    world.serve()
    offer, port = world.side.offer()
    rule = f'tcpip.connect(host="localhost", dst_addr="127.0.0.0/8", dst_port={port})'
    guest = world.guest(allow=[rule, RESOLVE])
    assert guest.error(guest.connect, port) == ErrorCode.NOT_ALLOWED
    assert "localhost" in guest.client.denials[-1].reason
    assert guest.connect(port, guest.resolve("localhost"))
    offer.close()


def test_only_what_fits_counts(fake_world: World) -> None:
    world = fake_world
    fake(world).names |= {"a.example.com": PUBLIC, "evil.test": OTHER, "example.com": "8.8.8.8"}
    world.serve()
    offering(world, PUBLIC, OTHER, "8.8.8.8")
    guest = world.guest(allow=['tcpip.connect(host="*.example.com")', RESOLVE])
    for name in ("a.example.com", "evil.test", "example.com"):
        guest.resolve(name)
    assert code(guest, PUBLIC) == 0
    assert code(guest, OTHER) == ErrorCode.NOT_ALLOWED
    assert code(guest, "8.8.8.8") == ErrorCode.NOT_ALLOWED
    assert code(guest, PUBLIC, 80) == ErrorCode.NOT_FOUND  # allowed: nobody is there


def test_two_names_of_one_address(fake_world: World) -> None:
    """Whoever may go by one of them may go."""
    world = fake_world
    fake(world).names |= {"good.example": PUBLIC, "other.example": PUBLIC}
    world.serve()
    offering(world, PUBLIC)
    guest = world.guest(allow=['tcpip.connect(host="good.example")', RESOLVE])
    guest.resolve("other.example")
    assert code(guest, PUBLIC) == ErrorCode.NOT_ALLOWED
    guest.resolve("GOOD.example.")
    assert code(guest, PUBLIC) == 0


def test_another_tasks_lookup_does_not_help(fake_world: World) -> None:
    world = fake_world
    fake(world).names["a.example"] = PUBLIC
    world.serve()
    offering(world, PUBLIC)
    rules = ['tcpip.connect(host="a.example")', RESOLVE]
    one, two = world.guest("one", allow=rules), world.guest("two", allow=rules)
    one.resolve("a.example")
    assert code(two, PUBLIC) == ErrorCode.NOT_ALLOWED
    assert code(one, PUBLIC) == 0
    one.client.kill()
    assert code(two, PUBLIC) == ErrorCode.NOT_ALLOWED
    assert world.tcpip._names._answers == {}


def test_a_delegated_host_is_looked_up_by_its_holder(fake_world: World) -> None:
    world = fake_world
    fake(world).names["a.example"] = PUBLIC
    world.serve()
    offering(world, PUBLIC)
    giver = world.guest("giver", allow=['tcpip.connect(host="a.example")', RESOLVE])
    giver.resolve("a.example")
    taker = world.guest("taker", allow=[RESOLVE])
    grant(giver).delegate(taker.client, "tcpip.connect")
    assert code(taker, PUBLIC) == ErrorCode.NOT_ALLOWED
    taker.resolve("a.example")
    assert code(taker, PUBLIC) == 0


def test_looking_up_by_a_grant_for_a_host(fake_world: World) -> None:
    """A question to a name server says something to the outside, too."""
    world = fake_world
    fake(world).names |= {"a.example": PUBLIC, "secrets.evil.test": OTHER}
    world.serve()
    offering(world, PUBLIC)
    guest = world.guest(allow=['tcpip(host="a.example")'])
    assert guest.error(guest.resolve, "secrets.evil.test") == ErrorCode.NOT_ALLOWED
    assert fake(world).asked == []
    assert guest.resolve("a.example") == number(PUBLIC)
    assert code(guest, PUBLIC) == 0


def test_host_and_address_hold_for_the_same_capability(fake_world: World) -> None:
    """Two grants, each of which is half of what would be needed."""
    world = fake_world
    fake(world).names |= {"db.internal": PRIVATE, "a.example": PUBLIC}
    world.serve()
    offering(world, PRIVATE, PUBLIC)
    halves = world.guest(
        "halves",
        allow=[
            'tcpip.connect(host="db.internal")',
            'tcpip.connect(host="other.internal", dst_addr="10.0.0.0/8")',
            RESOLVE,
        ],
    )
    assert halves.resolve("db.internal") == number(PRIVATE)
    assert code(halves, PRIVATE) == ErrorCode.NOT_ALLOWED
    rule = 'tcpip.connect(host="db.internal", dst_addr="10.0.0.0/8", dst_port=443)'
    whole = world.guest("whole", allow=[rule, RESOLVE])
    assert code(whole, PRIVATE) == ErrorCode.NOT_ALLOWED
    whole.resolve("db.internal")
    assert code(whole, PRIVATE) == 0
    assert code(whole, PRIVATE, 80) == ErrorCode.NOT_ALLOWED


def test_a_grant_without_a_host_admits_the_rest(fake_world: World) -> None:
    world = fake_world
    world.serve()
    offering(world, PUBLIC)
    guest = world.guest(
        allow=['tcpip.connect(host="a.example")', f'tcpip.connect(dst_addr="{PUBLIC}")']
    )
    sock = guest.connect(443, number(PUBLIC))
    assert link(world, sock).grant is grant(guest, 1)


def test_a_socket_belongs_to_the_grant_that_means_it(fake_world: World) -> None:
    """The kernel admits by either of them, since it doesn't know what a host is."""
    world = fake_world
    fake(world).names |= {"a.example": PUBLIC, "b.example": OTHER}
    world.serve()
    offering(world, PUBLIC, OTHER)
    rules = ['tcpip.connect(host="a.example")', 'tcpip.connect(host="b.example")']
    guest = world.guest(allow=[*rules, RESOLVE])
    a = guest.connect(443, guest.resolve("a.example"))
    b = guest.connect(443, guest.resolve("b.example"))
    grant(guest, 0).revoke()
    assert link(world, a).connection.error is not None
    assert link(world, b).connection.error is None
    assert guest.notice() == ("closed", a)
    guest.write(b, b"still")
    assert code(guest, PUBLIC) == ErrorCode.NOT_ALLOWED
    assert code(guest, OTHER) == 0


def test_a_badge_that_makes_no_sense_allows_nothing(fake_world: World) -> None:
    world = fake_world
    fake(world).names["a.example"] = PUBLIC
    world.serve()
    guest = world.guest(allow=['tcpip.connect(host="a\\\\b")', RESOLVE])
    guest.resolve("a.example")
    assert code(guest, PUBLIC) == ErrorCode.NOT_ALLOWED


def test_answers_grow_old(fake_world: World) -> None:
    world = fake_world
    fake(world).names["a.example"] = PUBLIC
    world.serve(bounds=Bounds(name_seconds=0))
    guest = world.guest(allow=['tcpip.connect(host="a.example")', RESOLVE])
    guest.resolve("a.example")
    assert code(guest, PUBLIC) == ErrorCode.NOT_ALLOWED


def test_so_many_answers_are_remembered(fake_world: World) -> None:
    world = fake_world
    found = [f"93.184.0.{last}" for last in range(6)]
    fake(world).answers("a.example", *found)
    world.serve(bounds=Bounds(names=4))
    offering(world, *found)
    guest = world.guest(allow=['tcpip.connect(host="a.example")', RESOLVE])
    for _ in found:
        guest.resolve("a.example")
    assert [code(guest, address) == 0 for address in found] == [False] * 2 + [True] * 4
    with pytest.raises(ValueError, match="below 1"):
        Bounds(names=0)


# --- rebinding ---


def hosted(world: World, rule: str = 'tcpip.connect(host="flips.example")') -> Guest:
    world.serve()
    offering(world, PUBLIC, OTHER, PRIVATE, "127.0.0.1")
    return world.guest(allow=[rule, RESOLVE])


def test_a_name_that_was_public_turns_private(fake_world: World) -> None:
    """As with a time to live of 0: each lookup finds something else."""
    world = fake_world
    fake(world).answers("flips.example", PUBLIC, "127.0.0.1", PRIVATE)
    guest = hosted(world)
    assert guest.resolve("flips.example") == number(PUBLIC)
    for private in ("127.0.0.1", PRIVATE):
        assert guest.resolve("flips.example") == number(private)
        assert code(guest, private) == ErrorCode.NOT_ALLOWED
    assert code(guest, PUBLIC) == 0  # what it was told first still is what it was told


def test_a_name_that_was_private_turns_public(fake_world: World) -> None:
    world = fake_world
    fake(world).answers("flips.example", PRIVATE, PUBLIC)
    guest = hosted(world)
    assert guest.resolve("flips.example") == number(PRIVATE)
    assert code(guest, PRIVATE) == ErrorCode.NOT_ALLOWED
    assert guest.resolve("flips.example") == number(PUBLIC)
    assert code(guest, PUBLIC) == 0
    assert code(guest, PRIVATE) == ErrorCode.NOT_ALLOWED


def test_a_rule_for_the_public_does_not_follow_a_name_inside(fake_world: World) -> None:
    """Both are allowed, each by a grant of its own, and the name leads from one to the other."""
    world = fake_world
    fake(world).answers("flips.example", PUBLIC, PRIVATE)
    fake(world).names["db.internal"] = PRIVATE
    world.serve()
    offering(world, PUBLIC, PRIVATE)
    inside = 'tcpip.connect(host="db.internal", dst_addr="10.0.0.0/8")'
    guest = world.guest(allow=['tcpip.connect(host="flips.example")', inside, RESOLVE])
    guest.resolve("flips.example")
    guest.resolve("flips.example")
    assert code(guest, PRIVATE) == ErrorCode.NOT_ALLOWED
    guest.resolve("db.internal")
    assert code(guest, PRIVATE) == 0


def test_connecting_looks_nothing_up(fake_world: World) -> None:
    world = fake_world
    fake(world).answers("flips.example", PUBLIC, PRIVATE)
    guest = hosted(world)
    address = guest.resolve("flips.example")
    for _ in range(3):
        guest.connect(443, address)
    assert fake(world).asked == ["flips.example"]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([PUBLIC, PRIVATE], PUBLIC),
        ([PRIVATE, PUBLIC, OTHER], PUBLIC),
        (["127.0.0.1", "169.254.169.254", OTHER, PUBLIC], OTHER),
        ([PRIVATE, "127.0.0.1"], PRIVATE),
    ],
)
def test_several_addresses(fake_world: World, found: list[str], told: str) -> None:
    """The first public one, or else the first; and no other is the name's for this task."""
    world = fake_world
    fake(world).names["flips.example"] = found
    guest = hosted(world, 'tcpip.connect(host="flips.example", dst_addr="all")')
    assert guest.resolve("flips.example") == number(told)
    reached = [address for address in found if code(guest, address) == 0]
    assert reached == [told]


def test_an_alias_is_of_no_matter(fake_world: World) -> None:
    """What counts is the name that was asked for, whatever names led to the address."""
    world = fake_world
    fake(world).names |= {"flips.example": PUBLIC, "cdn.evil.test": PUBLIC}
    guest = hosted(world)
    guest.resolve("cdn.evil.test")
    assert code(guest, PUBLIC) == ErrorCode.NOT_ALLOWED
    guest.resolve("flips.example")
    assert code(guest, PUBLIC) == 0
