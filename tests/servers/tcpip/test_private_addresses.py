"""Addresses that aren't public, however they are written: a rule has to name them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.servers.tcpip.grants import RESOLVE, code, fake, number, offering
from tests.servers.tcpip.harness import World
from wasmos.abi import ErrorCode
from wasmos.abi.networks import NOT_PUBLIC


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
