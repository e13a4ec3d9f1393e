"""What grants mean at the server: hosts, ports, and the end of what was made by them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

import wasmos
from tests.servers.tcpip.harness import FakeSide, Guest, HostSide, Peer, World, receive_all
from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.abi.networks import NOT_PUBLIC
from wasmos.kernel import Grant
from wasmos.servers.tcpip import Bounds
from wasmos.servers.tcpip.fake import FakeNetwork, FakeStream
from wasmos.servers.tcpip.network import Endpoint, Events, Stream
from wasmos.servers.tcpip.sockets import Link

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


def link(world: World, sock: int) -> Link:
    found = world.tcpip._sockets._sockets[sock]
    assert isinstance(found, Link)
    return found


def grant(guest: Guest, index: int = 0) -> Grant:
    return guest.client.grants[index]


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


@pytest.fixture
def timed_world(no_leaks: None) -> Iterator[World]:
    """In memory, and in virtual time."""
    side = FakeSide()
    with wasmos.Kernel(virtual_clock=True) as kernel:
        yield World(kernel, side)


def pass_seconds(world: World, seconds: float) -> None:
    world.kernel.advance(world.kernel.now_ns + int(seconds * 1e9))
    world.kernel.timers.fire(world.kernel.now_ns)


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


# --- addresses that aren't public ---


def samples() -> list[str]:
    found: list[str] = []
    for text in NOT_PUBLIC:
        network = IPv4Network(text)
        middle = int(network[0]) + network.num_addresses // 2
        inside = (network[0], network[1], IPv4Address(middle), network[-2], network[-1])
        found += [str(address) for address in inside]
    named = """
        127.0.0.53 127.1.2.3 127.0.1.1 10.0.0.138 10.255.255.254 172.16.0.1 172.17.0.1 172.18.0.1
        172.31.255.254 192.168.0.1 192.168.1.1 192.168.178.1 192.168.49.2 192.168.65.2
        169.254.169.254 169.254.170.2 169.254.169.253 169.254.42.42 100.100.100.200 100.64.0.1
        192.0.0.192 192.0.0.170 198.18.0.1 224.0.0.251 239.255.255.250 240.0.0.1 255.255.255.255
        0.0.0.0 0.1.2.3 10.96.0.1 10.0.2.2 172.20.10.1 192.168.122.1 192.168.99.100
        203.0.113.7 198.51.100.7 192.0.2.7 192.88.99.1
    """
    return list(dict.fromkeys([*found, *named.split()]))


def test_there_are_enough_of_them() -> None:
    assert len(samples()) >= 100


@pytest.mark.parametrize("address", samples())
def test_what_is_not_public_has_to_be_named(fake_world: World, address: str) -> None:
    world = fake_world
    world.serve()
    offering(world, address)
    stranger = world.guest("stranger", allow=["tcpip", "tcpip.connect(dst_port=443)"])
    assert code(stranger, address) == ErrorCode.NOT_ALLOWED
    world.kernel.take_records()
    assert stranger.client.denials[-1].cause == "field"  # the kernel, already
    friend = world.guest("friend", allow=[f'tcpip.connect(dst_addr="{address}")'])
    assert code(friend, address) == 0


FORMS = {
    "127.1": "127.0.0.1",
    "127.0.1": "127.0.0.1",
    "0x7f000001": "127.0.0.1",
    "0x7f.1": "127.0.0.1",
    "0x7F.0x0.0x0.0x1": "127.0.0.1",
    "2130706433": "127.0.0.1",
    "017700000001": "127.0.0.1",
    "0177.0.0.01": "127.0.0.1",
    "127.0.0.1": "127.0.0.1",
    "0": "0.0.0.0",
    "0x0": "0.0.0.0",
    "10.1": "10.0.0.1",
    "167772161": "10.0.0.1",
    "0xa9fea9fe": "169.254.169.254",
    "2852039166": "169.254.169.254",
    "169.254.43518": "169.254.169.254",
    "0251.0376.0251.0376": "169.254.169.254",
    "192.168.257": "192.168.1.1",
    "localhost": "127.0.0.1",
}
NAMES = FORMS | {
    "localhost.": "127.0.0.1",
    "LOCALHOST": "127.0.0.1",
    "localhost.localdomain": "127.0.0.1",
    "127.0.0.1.nip.example": "127.0.0.1",
    "10-0-0-1.nip.example": "10.0.0.1",
    "7f000001.rebind.example": "127.0.0.1",
    "metadata.example": "169.254.169.254",
    "xn--lcalhost-54a.example": "127.0.0.1",
}


@pytest.mark.parametrize(
    "name",
    ["::1", "[::1]", "::ffff:127.0.0.1", "\uff4cocalhost", "\u24db.example", "loc\u00adalhost",
     "a\\.example.com", "a/b.example.com", "a:80", "a#.example.com", "a?.example.com", "a b"],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_name(fake_world: World, name: str) -> None:
    """A resolver would make another name of it than the one that rules were asked about."""
    world = fake_world
    fake(world).names[name.lower()] = "127.0.0.1"
    world.serve()
    guest = world.guest(allow=["tcpip"])
    assert guest.error(guest.resolve, name) == ErrorCode.INVALID_ARG
    assert fake(world).asked == []


@pytest.mark.parametrize(("name", "address"), NAMES.items(), ids=ascii)
def test_however_a_name_is_written(fake_world: World, name: str, address: str) -> None:
    """Refused at connect, not at lookup; and with a rule that names the address it is reached."""
    world = fake_world
    fake(world).names[name.lower().removesuffix(".")] = address
    world.serve()
    offering(world, address)
    rules = ["tcpip", 'tcpip.connect(host="*")']
    stranger = world.guest("stranger", allow=rules)
    assert stranger.resolve(name) == number(address)
    assert code(stranger, address) == ErrorCode.NOT_ALLOWED
    friend = world.guest(
        "friend", allow=[f'tcpip.connect(host="*", dst_addr="{address}")', RESOLVE]
    )
    assert code(friend, address) == ErrorCode.NOT_ALLOWED  # not looked up yet
    assert code(friend, str(IPv4Address(friend.resolve(name)))) == 0


@pytest.mark.parametrize("name", FORMS)
def test_however_the_host_reads_it(host_world: World, name: str) -> None:
    """The resolver of the host reads these as numbers. What it makes of them is refused."""
    world = host_world
    world.serve()
    guest = world.guest(allow=["tcpip"])
    assert guest.resolve(name) == number(FORMS[name])
    assert guest.error(guest.connect, 80, number(FORMS[name])) == ErrorCode.NOT_ALLOWED


@pytest.mark.parametrize(
    "name", ["127.0.0.1 x", " 127.0.0.1", "127.0.0.1\n", "a\tb", "\x7f", "a\x01"]
)
def test_what_resolvers_cut_off_is_no_name(fake_world: World, name: str) -> None:
    fake_world.serve()
    guest = fake_world.guest(allow=["tcpip"])
    assert guest.error(guest.resolve, name) == ErrorCode.INVALID_ARG
    assert fake(fake_world).asked == []


# --- bind ---


def test_bind_says_where_a_port_is(world: World) -> None:
    world.serve(ports=["0:81"])
    guest = world.guest(allow=['tcpip.listen(listen_port=80, bind="0")'])
    guest.listen()
    peer = world.dial()
    world.do(peer.send(b"hello"))
    assert guest.read(guest.accept()) == b"hello"
    assert guest.error(guest.listen, 81) == ErrorCode.NOT_ALLOWED  # the grant is for 80


@pytest.mark.parametrize(
    ("bind", "endpoint"),
    [
        ("8080", "127.0.0.1:8080"),
        ("0.0.0.0:8080", "0.0.0.0:8080"),
        ("[::1]:8080", "[::1]:8080"),
        ("0", "127.0.0.1:49152"),
        ("8080-8089", "127.0.0.1:8080"),
    ],
)
def test_forms_of_bind(fake_world: World, bind: str, endpoint: str) -> None:
    told = []
    fake_world.serve(on_bound=lambda *row: told.append(row))
    guest = fake_world.guest(allow=[f'tcpip.listen(bind="{bind}")'])
    guest.listen(80)
    assert [(port, str(where)) for port, where in told] == [(80, endpoint)]
    assert guest.error(guest.listen, 80) == ErrorCode.ALREADY_USED


def test_the_oldest_bind_decides(fake_world: World) -> None:
    world = fake_world
    world.serve(ports=["7000:80"])
    guest = world.guest(
        allow=[
            "tcpip",
            'tcpip.listen(listen_port=81, bind="8001")',
            'tcpip.listen(bind="8002")',
            'tcpip.listen(listen_port=80, bind="8003")',
        ]
    )
    guest.listen()
    assert str(world.tcpip.bound[80][0]) == "127.0.0.1:8002"
    grant(guest, 2).revoke()
    assert world.tcpip.bound == {}
    guest.listen()
    assert str(world.tcpip.bound[80][0]) == "127.0.0.1:8003"
    grant(guest, 2).revoke()
    guest.listen()  # no bind admits it any more
    assert str(world.tcpip.bound[80][0]) == "127.0.0.1:7000"


def test_each_task_has_its_own_port_80(fake_world: World) -> None:
    world = fake_world
    world.serve(ports=["7000:80"])
    guests = [
        world.guest(f"guest{last}", allow=[f'tcpip.listen(bind="800{last}")']) for last in (1, 2)
    ]
    guests.append(world.guest("mapped", allow=["tcpip"]))
    for guest in guests:
        guest.listen()
    assert [each.port for each in world.tcpip.bound[80]] == [8001, 8002, 7000]
    other = world.guest("other", allow=["tcpip"])
    assert other.error(other.listen) == ErrorCode.ALREADY_USED
    late = world.guest("late", allow=['tcpip.listen(bind="8001")'])
    assert late.error(late.listen) == ErrorCode.ALREADY_USED
    guests[0].client.kill()
    late.listen()
    guests[2].client.kill()
    other.listen()
    assert sorted(each.port for each in world.tcpip.bound[80]) == [7000, 8001, 8002]


def test_a_range_is_shared(fake_world: World) -> None:
    fake_world.serve()
    for name in ("one", "two"):
        guest = fake_world.guest(name, allow=['tcpip.listen(bind="8080-8081")'])
        guest.listen()
    assert [each.port for each in fake_world.tcpip.bound[80]] == [8080, 8081]


def test_a_bind_that_makes_no_sense_opens_nothing(fake_world: World) -> None:
    fake_world.serve(ports=["8080:80"])
    guest = fake_world.guest(allow=['tcpip.listen(bind="eighty")'])
    assert guest.error(guest.listen) == ErrorCode.NOT_ALLOWED
    assert "'eighty' is no port" in guest.client.denials[-1].reason
    assert fake_world.tcpip.bound == {}


# --- the end of a grant ---


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


def fill(guest: Guest, sock: int) -> None:
    """Write until the next write would wait."""
    while not link(guest.world, sock).connection.stream.full:
        guest.write(sock, bytes(1024))


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
def test_a_connect_under_way_ends(world: World, more: bool) -> None:
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


def test_a_connect_that_has_not_begun_ends(world: World) -> None:
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
    world.until(lambda: guest.client._result is not None)
    with pytest.raises(wasmos.CapabilityDenied):
        guest.client.finish()
    guest.settle()
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
    world.until(lambda: guest.client._result is not None)
    with pytest.raises(wasmos.CapabilityDenied):
        guest.client.finish()
    guest.settle()
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


# --- lifetimes ---


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


# --- the server's own policy ---


def test_capabilities_decide(fake_world: World) -> None:
    world = fake_world
    world.serve()
    offering(world, PUBLIC, PRIVATE)
    assert code(world.guest("a", allow=["tcpip"]), PUBLIC) == 0
    assert code(world.guest("b", allow=["tcpip.listen"]), PUBLIC) == ErrorCode.NOT_ALLOWED
    assert code(world.guest("c", allow=["*"]), PRIVATE) == 0


@pytest.mark.parametrize(
    ("connect", "reached"),
    [
        ("granted", [PUBLIC, PRIVATE]),
        (["granted"], [PUBLIC, PRIVATE]),
        ("any", [PUBLIC]),
        ("10.0.0.0/8", [PRIVATE]),
        ("none", []),
        (["none"], []),
    ],
)
def test_a_bound_on_what_they_allow(
    fake_world: World, connect: str | list[str], reached: list[str]
) -> None:
    world = fake_world
    world.serve(connect=connect)
    offering(world, PUBLIC, PRIVATE)
    guest = world.guest(allow=['tcpip.connect(dst_addr="all")'])
    assert [address for address in (PUBLIC, PRIVATE) if code(guest, address) == 0] == reached


@pytest.mark.parametrize("alone", ["none", "granted"])
def test_what_stands_alone(fake_world: World, alone: str) -> None:
    with pytest.raises(wasmos.UsageError, match=f'"{alone}" stands alone'):
        fake_world.serve(connect=[alone, "any"])


class Void(FakeNetwork):
    """Whatever is sent there disappears."""

    def connect(
        self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint, events: Events
    ) -> Stream:
        stream, _ = FakeStream.pair(loop)
        stream.events = events
        return stream


def test_a_connect_that_nobody_answers_ends_by_revocation(fake_world: World) -> None:
    world = fake_world
    world.side.network = Void()
    world.serve()
    guest = world.guest(allow=["tcpip.connect"])
    guest.client.begin("tcpip", abi.TcpipConnect(number(PUBLIC), 443), lambda: None)
    guest.settle()
    grant(guest).revoke()
    world.until(lambda: guest.client._result is not None)
    with pytest.raises(wasmos.CapabilityDenied):
        guest.client.finish()
    guest.settle()
    assert nothing_is_left(world)
