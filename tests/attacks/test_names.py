"""Name squatting, look-alikes, and texts that read in two ways."""

from __future__ import annotations

import pytest

from tests.attacks.agent import raw
from tests.attacks.attack import Bank, Scene, attack, serve_vm
from tests.attacks.echoes import serve
from wasmos import abi

REGISTER = abi.ServiceRegister.TYPE


@attack(
    "a name before its owner comes",
    "A task that may use vm registers `fs` before the file server is up",
    stopped_by=r'denial evil.* vm\.service_register\(name="fs"\) field grant \d+ .*; rule vm$',
)
def test_before_its_owner(scene: Scene) -> None:
    serve_vm(scene)
    evil = scene.agent("evil", "vm")
    victim = scene.agent("victim", "fs")
    victim.begin(4, 0, b"fs\0")
    assert evil.call("vm", abi.ServiceRegister("fs")).error == -8
    real = scene.serve(Bank("fs"))
    assert victim.result().code == real.id


@attack(
    "a name in the restart window",
    "The file server is killed, and before it is back a task takes its name",
    stopped_by=r'denial evil.* vm\.service_register\(name="fs"\) field',
)
def test_in_the_restart_window(scene: Scene) -> None:
    serve_vm(scene)
    old = scene.serve(Bank("fs"))
    evil, victim = scene.agent("evil", "vm"), scene.agent("victim", "fs")
    assert victim.call("fs", abi.Ping(1)).error == 0
    old.kill()
    assert evil.call("vm", abi.ServiceRegister("fs")).error == -8
    assert "fs" not in scene.kernel.services
    bank = Bank("fs")
    scene.serve(bank)
    assert victim.call("fs", abi.Ping(2)).error == 0
    assert bank.seen == [(victim.id, 2)]


@attack(
    "somebody else's live name",
    "A task that may register every name registers that of a live service, and vm's",
    stopped_by=r"reply vm.* to evil.*: already exists",
)
def test_a_live_name(scene: Scene) -> None:
    serve_vm(scene)
    bank = scene.serve(Bank())
    evil = scene.agent("evil", "*")
    for name in ("bank", "vm", "hand"):
        assert evil.call("vm", abi.ServiceRegister(name)).error == -3
    assert scene.kernel.services["bank"] == bank.id


@attack(
    "one capability for a name, and another name",
    'A task may register "cache", and registers "fs", "cache2" and "Cache"',
    stopped_by=r'denial evil.* vm\.service_register\(name="fs"\) field .*'
    r'service_register\(name="cache"\)',
)
def test_another_name_than_granted(scene: Scene) -> None:
    serve_vm(scene)
    evil = scene.agent("evil", 'vm.service_register(name="cache")')
    for name in ("fs", "cache2", "Cache", "cach", "", "cache."):
        assert evil.call("vm", abi.ServiceRegister(name)).error == -8
    assert evil.call("vm", abi.ServiceRegister("cache")).error == 0


LOOK_ALIKES = [
    b"bank ", b" bank", b"BANK", b"bank.", b"b\xd0\xb0nk", b"bank\xe2\x80\x8b", b"bank\n",
    b"bank\t",
    b"\xef\xbd\x82ank", b"bank\xcc\x81", b"ban\xe2\x84\xaa", b"bank\xff", b"\xc0\xa2ank",
    b"b\xc1\xa1nk",
    b"bank/", b"bank*", b"*", b"?ank", b"bank\x1b[0m",
]  # fmt: skip


@pytest.mark.parametrize("name", LOOK_ALIKES)
@attack(
    "a name that looks alike",
    "lookup, vm's lookup and registration of names that look or fold like `bank`, which it may use",
    stopped_by=r"denial evil.* (vm\.service_register\(.*\) field|.*lookup)",
    each="name",
)
def test_a_look_alike(scene: Scene, name: bytes) -> None:
    serve_vm(scene)
    scene.serve(Bank())
    evil = scene.agent("evil", "vm", "bank.ping", 'vm.service_register(name="bank")')
    assert evil.lookup(name) == -8
    padded = raw(abi.ServiceLookup.TYPE) + name.ljust(64, b"\0")
    assert evil.call("vm", padded).error == -8
    assert evil.call("vm", raw(REGISTER) + name.ljust(64, b"\0")).error == -8
    assert set(scene.kernel.services) == {"bank", "hand", "vm"}


@attack(
    "a look-alike by who may register all",
    "`*`, control characters, an unprintable and an over-long name, by a task that holds "
    "everything",
    stopped_by=r"reply vm.* to evil.*: invalid argument",
)
def test_names_that_are_none(scene: Scene) -> None:
    serve_vm(scene)
    evil = scene.agent("evil", "*")
    for name in (
        b"*",
        b"a\nb",
        b"\x1b[2J",
        b"x" * 64,
        b"\xe2\x80\xae",
        b"bank\xe2\x80\x8b",
        b"\xff",
    ):
        assert evil.call("vm", raw(REGISTER) + name.ljust(64, b"\0")).error == -11
    assert set(scene.kernel.services) == {"hand", "vm"}


@attack(
    "a NUL in a name",
    'registers "evil" with "bank" behind the NUL, and "bank" with "evil" behind it',
    stopped_by=r'denial evil.* vm\.service_register\(name="bank"\) field',
)
def test_a_nul_in_a_name(scene: Scene) -> None:
    serve_vm(scene)
    evil = scene.agent("evil", "vm")
    assert evil.call("vm", raw(REGISTER) + b"bank\0evil".ljust(64, b"\0")).error == -8
    assert evil.call("vm", raw(REGISTER) + b"evil\0bank".ljust(64, b"\0")).error == 0
    assert set(scene.kernel.services) == {"evil", "hand", "vm"}


@attack(
    "an oracle of names",
    "A task compares what it hears of names that there are, of such that there aren't, and of vm",
    stopped_by=r"audit: denial evil.* (nobody|bank) \(lookup\).*no_capability",
)
def test_an_oracle_of_names(scene: Scene) -> None:
    scene.serve(Bank())
    evil = scene.agent("evil")
    assert {evil.lookup(name) for name in ("bank", "nobody", "vm", "*", "")} <= {-8, -11}
    assert evil.lookup("bank") == evil.lookup("nobody") == -8


@attack(
    "to answer under a name that was left",
    "A service gives its name to nobody, and goes on: its ex-clients' messages aren't the "
    "next one's",
    stopped_by=r"refused victim.* ping: invalid task",
)
def test_a_name_that_was_left(scene: Scene) -> None:
    old = scene.serve(Bank())
    victim = scene.agent("victim", "bank")
    victim.call(old.id, abi.Ping(1))
    old.kill()
    evil = scene.agent("evil")
    scene.kernel.register(evil.task, "other")
    assert victim.call(old.id, abi.Ping(2)).error == -12


HOSTS = [
    b"example.com", b"evil.com", b"notexample.com", b"a.example.com.evil.com",
    b"example.com.evil.com",
    b"a.example.com..", b"a.example.org", b"a.example.comx", b"a.example.com/evil",
    b"evil.com/.example.co",
    b"a.ex\xd0\xb0mple.com", b"a\xef\xbc\x8eexample\xef\xbc\x8ecom", b"a.example.com\xc2\xa0",
    b"a.example.com ",
    b".example.com", b"evil.com\0.example.com", b"evil.com#.example.co", b"", b".",
    b"a.example\x00.com", b"127.0.0.1", b"a.example.com:80", b"a.example.com\n",
    b"a.example.c\xd0\xbem",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
@attack(
    "a host name that matches and isn't it",
    'dns_resolve with a right to hostname="*.example.com"',
    stopped_by=r"denial evil.* tcpip\.dns_resolve\(.*\) field",
    each="host",
)
def test_a_host_name(scene: Scene, host: bytes) -> None:
    service = serve(scene)
    evil = scene.agent("evil", 'tcpip.dns_resolve(hostname="*.example.com")')
    assert evil.call("tcpip", raw(abi.TcpipDnsResolve.TYPE) + host.ljust(256, b"\0")).error == -8
    assert service.seen == []


DENIED = [
    b"evil.com", b"EVIL.com", b"eViL.CoM", b"evil.com.", b"a.evil.com", b"A.B.EVIL.COM.",
    b"evil.com\0", b"evil.com\0.example.com",
]  # fmt: skip


@pytest.mark.parametrize("host", DENIED)
@attack(
    "a host name past a deny rule",
    'dns_resolve of what deny tcpip.dns_resolve(hostname=["evil.com", "*.evil.com"]) is for,'
    " written so",
    stopped_by=r"denial evil.* tcpip\.dns_resolve\(.*\) denied grant \d+ \(policy\.toml:9\)",
    each="host",
)
def test_a_host_name_past_a_deny_rule(scene: Scene, host: bytes) -> None:
    service = serve(scene)
    evil = scene.agent("evil", "tcpip")
    scene.kernel.deny(
        evil.task, 'tcpip.dns_resolve(hostname=["evil.com", "*.evil.com"])', origin="policy.toml:9"
    )
    assert evil.call("tcpip", raw(abi.TcpipDnsResolve.TYPE) + host.ljust(256, b"\0")).error == -8
    assert service.seen == []
