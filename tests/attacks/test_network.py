"""Forbidden addresses, rebinding, and other tasks' sockets."""

from __future__ import annotations

import pytest

from tests.attacks.agent import offer
from tests.attacks.attack import Scene, attack, serve_vm, settle
from tests.attacks.outside import OTHER, PUBLIC, connect, resolve, serve
from wasmos import abi

ADDRESSES = [
    "127.0.0.1", "127.0.0.0", "127.1.2.3", "127.255.255.255", "0.0.0.0", "0.0.0.1", "0.255.255.255",
    "10.0.0.0", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "169.254.0.1",
    "169.254.169.254", "169.254.255.255", "172.16.0.1", "172.31.255.255", "192.0.0.1",
    "192.0.0.170",
    "192.0.2.1", "192.88.99.1", "192.168.0.1", "192.168.255.255", "198.18.0.1", "198.19.255.255",
    "198.51.100.1", "203.0.113.7", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "1.0.0.127", "1.0.0.10",
]  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES[:-2])
@attack(
    "an address that isn't public",
    "connect with a right to `tcpip`, which is for public addresses",
    stopped_by=r"denial evil.* tcpip\.connect\(dst_addr=\"?[\d.]+\"?, dst_port=443\) field",
    each="address",
)
def test_an_address_that_is_not_public(scene: Scene, address: str) -> None:
    network = serve(scene)
    evil = scene.agent("evil", "tcpip")
    assert connect(evil, address) == -8
    assert network.connected == []


@attack(
    "the other byte order",
    "127.0.0.1 and 10.0.0.1 with the bytes turned around, in case two parts disagree about them",
    stopped_by=r"call evil\[\d+\] to tcpip.* tcpip_connect",
)
def test_the_other_byte_order(scene: Scene) -> None:
    """Public addresses like others: the number that was checked is the one connected to."""
    network = serve(scene)
    evil = scene.agent("evil", "tcpip")
    for address in ("1.0.0.127", "1.0.0.10"):
        connect(evil, address)
    assert network.connected == ["1.0.0.127:443", "1.0.0.10:443"]


NEIGHBOURS = ["10.1.0.0", "9.255.255.255", "11.0.0.0", "192.168.0.1", PUBLIC, "138.0.0.1"]


@pytest.mark.parametrize("address", NEIGHBOURS)
@attack(
    "an address beside a network",
    "connect with a right to 10.0.0.0/16: its neighbours, 10.0.0.0 with the highest bit, others",
    stopped_by=r"denial evil.* tcpip\.connect\(.*\) field .*dst_addr=\"10\.0\.0\.0/16\"",
    each="address",
)
def test_an_address_beside_a_network(scene: Scene, address: str) -> None:
    network = serve(scene)
    evil = scene.agent("evil", 'tcpip.connect(dst_addr="10.0.0.0/16")')
    assert connect(evil, address) == -8
    assert network.connected == []


@pytest.mark.parametrize("name", ["local", "cloud", "intra", "zero"])
@attack(
    "a name that leads inside",
    "A name of a public domain that resolves to loopback, a private network, the cloud's secrets",
    stopped_by=r"denial evil.* tcpip\.connect\(dst_addr=.*\) field",
    each="name",
)
def test_a_name_that_leads_inside(scene: Scene, name: str) -> None:
    network = serve(scene)
    evil = scene.agent("evil", "tcpip")
    address = resolve(evil, f"{name}.example.com")
    assert connect(evil, address) == -8
    assert network.connected == []


@attack(
    "a name that changes its mind",
    "DNS rebinding: public when it is looked up, 127.0.0.1 the next time, connect in between",
    stopped_by=r"denial evil.* tcpip\.connect\(dst_addr=\"?127\.0\.0\.1\"?, dst_port=443\) field",
)
def test_rebinding(scene: Scene) -> None:
    network = serve(scene)
    network.answers("flip.example.com", PUBLIC, "127.0.0.1", PUBLIC, "10.0.0.1")
    evil = scene.agent("evil", "tcpip")
    first = resolve(evil, "flip.example.com")
    assert connect(evil, first) == 0
    second = resolve(evil, "flip.example.com")
    assert connect(evil, second) == -8
    assert network.connected == [f"{PUBLIC}:443"]
    assert network.resolved == ["flip.example.com"] * 2  # nobody else looks it up again


@attack(
    "a name that changes its mind, with a right to that name",
    "The same with a right to tcpip(host=…), which the name's owner could bend to any address",
    stopped_by=r"denial evil.* tcpip\.connect\(dst_addr=\"?127\.0\.0\.1\"?, dst_port=443\) field",
)
def test_rebinding_with_a_right_to_the_name(scene: Scene) -> None:
    network = serve(scene)
    network.answers("flip.example.com", PUBLIC, "127.0.0.1", "169.254.169.254")
    evil = scene.agent("evil", 'tcpip(host="*.example.com")')
    assert connect(evil, resolve(evil, "flip.example.com")) == 0
    for _ in range(2):
        assert connect(evil, resolve(evil, "flip.example.com")) == -8
    assert network.connected == [f"{PUBLIC}:443"]


@attack(
    "an address that one was never told",
    "A right to a host, and its address guessed, taken from another task, or another host's",
    stopped_by=r"denial evil.* tcpip\.connect\(.*\) server .*as this task has looked it up",
)
def test_an_address_that_one_was_never_told(scene: Scene) -> None:
    network = serve(scene)
    victim = scene.agent("victim", "tcpip")
    resolve(victim, "www.example.com")
    evil = scene.agent("evil", 'tcpip(host="*.example.com")')
    for address in (PUBLIC, OTHER):
        assert connect(evil, address) == -8
    assert resolve(evil, "other.com") == -8
    assert connect(evil, OTHER) == -8
    assert network.connected == []


HOSTS = [
    "example.com", "other.com", "www.example.com.other.com", "wwwexample.com",
    "www.example.com@other.com", "other.com .example.com", "other.com\t.example.com",
    "..example.com", "other.com..example.com", "%00.example.com", "127.0.0.1", "2130706433",
    "0x7f000001", "0177.0.0.1", "127.1", "::1", "::ffff:127.0.0.1", "localhost", "localhost.",
    "10.0.0.1.", "①②⑦.0.0.1", "www。example。com", "other.com\r\n.example.com",
    "other.com\x7f.example.com",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
@attack(
    "a host that isn't the one that is allowed",
    'dns_resolve with a right to tcpip(host="*.example.com")',
    stopped_by=r"denial evil.* tcpip\.dns_resolve\(.*\) server|reply tcpip.* to evil.*: "
    r"(invalid|not found)",
    each="host",
)
def test_a_host(scene: Scene, host: str) -> None:
    network = serve(scene)
    evil = scene.agent("evil", 'tcpip(host="*.example.com")')
    assert resolve(evil, host) < 0
    assert all(name.endswith(".example.com") and name.isascii() for name in network.resolved)
    assert not any(set("@ \t\r\n") & set(name) for name in network.resolved)


LITERALS = ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "::1",
            "::ffff:127.0.0.1", "fe80::1", "64:ff9b::7f00:1", "localhost"]  # fmt: skip


@pytest.mark.parametrize("literal", LITERALS)
@attack(
    "an address written as a name",
    "Loopback in decimal, octal, hexadecimal, short and IPv6 forms, looked up and connected to",
    stopped_by=r"reply tcpip.* to evil.*: (invalid|not)|denial evil.* tcpip\.connect\(.*\) field",
    each="literal",
)
def test_an_address_as_a_name(scene: Scene, literal: str) -> None:
    network = serve(scene)
    evil = scene.agent("evil", "tcpip")
    address = resolve(evil, literal)
    if address >= 0:
        assert connect(evil, address) == -8
    assert network.connected == []


@pytest.mark.parametrize("port", [0, 80, 442, 444, 65535, 65536 + 443 - 443 + 80])
@attack(
    "another port",
    "connect with a right to dst_port=443, and port 0 and others beside it",
    stopped_by=r"denial evil.* tcpip\.connect\(.*dst_port=\d+\) field",
)
def test_another_port(scene: Scene, port: int) -> None:
    network = serve(scene)
    evil = scene.agent("evil", "tcpip.connect(dst_port=443)")
    assert connect(evil, PUBLIC, port) == -8
    assert network.connected == []


@attack(
    "another task's socket",
    "B reads, writes and closes A's connection by its number, and every number up to 40",
    stopped_by=r"reply tcpip.* to evil.*: invalid argument",
)
def test_another_tasks_socket(scene: Scene) -> None:
    serve(scene)
    victim, evil = scene.agent("victim", "tcpip"), scene.agent("evil", "tcpip")
    assert connect(victim, PUBLIC) == 0
    sock = victim.result().message.sock
    for n in (sock, *range(-2, 40), 2**31 - 1, -(2**31)):
        for message in (abi.TcpipRead(n), abi.TcpipWrite(n, b"FORGED"), abi.TcpipDestroy(n)):
            assert evil.call("tcpip", message).error == -11
    assert victim.call("tcpip", abi.TcpipRead(sock)).error == 0


@attack(
    "to listen where one may not",
    "listen on a port of another rule, on one that is mapped for others, and on port 0",
    stopped_by=r"denial evil.* tcpip\.listen\(listen_port=81\) field grant \d+ "
    r"\(policy\.toml:3\); rule "
    r"tcpip\.listen\(listen_port=80\)",
)
def test_listening_elsewhere(scene: Scene) -> None:
    network = serve(scene)
    evil = scene.agent("evil", "tcpip.listen(listen_port=80)")
    for port in (81, 0, 65535):
        assert evil.call("tcpip", abi.TcpipListen(port)).error == -8
    assert network.opened == []


@attack(
    "to listen on all addresses",
    "A right to listen on 127.0.0.1:8080, passed on as one for other places",
    stopped_by=r"denial evil.* vm\.cap_grant\(.*\) server",
)
def test_listening_on_all_addresses(scene: Scene) -> None:
    serve_vm(scene)
    network = serve(scene)
    evil = scene.agent("evil", "vm", 'tcpip.listen(listen_port=80, bind="127.0.0.1:8080")')
    friend = scene.agent("friend", "vm")
    for rule in (
        'tcpip.listen(listen_port=80, bind="0.0.0.0:8080")',
        'tcpip.listen(listen_port=80, bind="8080")',
        'tcpip.listen(listen_port=80, bind="127.0.0.1:0")',
    ):  # fmt: skip
        assert evil.call("vm", abi.CapGrant(friend.id, rule)).error == -8
    assert evil.call("tcpip", abi.TcpipListen(80)).error == 0
    assert network.opened == ["127.0.0.1:8080"]


@attack(
    "a socket after revocation",
    "A connection goes on being written to and read from when the right to connect was taken back",
    stopped_by=r"denial evil.* tcpip\.write\(.*\) revoked",
)
def test_a_socket_after_revocation(scene: Scene) -> None:
    serve(scene)
    evil = scene.agent("evil", "tcpip")
    assert connect(evil, PUBLIC) == 0
    sock = evil.result().message.sock
    scene.kernel.revoke(evil.task, "tcpip")
    assert evil.call("tcpip", abi.TcpipWrite(sock, b"x")).error == -8
    scene.kernel.grant(evil.task, "tcpip")
    assert evil.call("tcpip", abi.TcpipWrite(sock, b"x")).error in (-11, -21)


@attack(
    "a socket of one right used by another",
    "The right to one address is taken back; the right to another admits `write`, but not "
    "this socket",
    stopped_by=r"reply tcpip.* to evil.*: (invalid argument|aborted)",
)
def test_a_socket_of_another_right(scene: Scene) -> None:
    network = serve(scene)
    one, two = f'tcpip.connect(dst_addr="{PUBLIC}")', f'tcpip.connect(dst_addr="{OTHER}")'
    evil = scene.agent("evil", one, two)
    assert connect(evil, PUBLIC) == 0
    sock = evil.result().message.sock
    scene.kernel.revoke(evil.task, one)
    assert evil.call("tcpip", abi.TcpipWrite(sock, b"x")).error in (-11, -21)
    assert connect(evil, PUBLIC) == -8
    assert connect(evil, OTHER) == 0
    assert network.connected == [f"{PUBLIC}:443", f"{OTHER}:443"]


@attack(
    "a port that goes on listening",
    "A task listens, its right is taken back, and a peer connects: nothing is there",
    stopped_by=r"revoke evil.* tcpip\.listen",
)
def test_a_port_that_goes_on_listening(scene: Scene) -> None:
    network = serve(scene)
    evil = scene.agent("evil", "tcpip.listen(listen_port=80)")
    assert evil.call("tcpip", abi.TcpipListen(80)).error == 0
    host, _, port = network.opened[0].rpartition(":")
    scene.kernel.revoke(evil.task, "tcpip")
    settle(scene.kernel)

    async def dial() -> bool:
        try:
            await network.dial(host, int(port) or 49152)
        except ConnectionError:
            return False
        return True

    task = scene.kernel.start(dial())
    scene.kernel.run(task.done, timeout=5)
    assert task.done() and not task.result()


@attack(
    "one connection, many times",
    "A right to connect once: a second connection, and one by a child with a part of it",
    stopped_by=r"denial (evil|child).* tcpip\.connect\(.*\) spent",
)
def test_one_connection_many_times(scene: Scene) -> None:
    serve_vm(scene)
    network = serve(scene)
    evil = scene.agent("evil", "vm", "tcpip.connect(dst_port=443) once")
    friend = scene.agent("friend", "vm")
    part = "tcpip.connect(dst_port=443) once"
    assert friend.call("vm", abi.CapAccept(offer(evil, friend, part))).error == 0
    assert connect(evil, PUBLIC) == 0
    assert connect(evil, OTHER) == -8
    assert connect(friend, OTHER) == -8
    assert network.connected == [f"{PUBLIC}:443"]


@attack(
    "a deny rule for an address",
    "connect to a denied network by a task that holds everything, and by whom it passes that on to",
    stopped_by=r"denial evil.* tcpip\.connect\(dst_addr=\"?10\.0\.0\.1\"?, dst_port=443\) denied",
)
def test_a_deny_rule_for_an_address(scene: Scene) -> None:
    serve_vm(scene)
    network = serve(scene)
    evil, friend = scene.agent("evil", "*"), scene.agent("friend", "vm")
    scene.kernel.deny(evil.task, 'tcpip.connect(dst_addr="10.0.0.0/8")', origin="policy.toml:9")
    assert connect(evil, "10.0.0.1") == -8
    wide = 'tcpip.connect(dst_addr="all")'
    assert friend.call("vm", abi.CapAccept(offer(evil, friend, wide))).error == 0
    assert connect(friend, "10.0.0.1") == -8
    assert network.connected == []
