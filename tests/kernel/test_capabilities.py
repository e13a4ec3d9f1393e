"""What a capability is for, to the byte, the use and the nanosecond; and nothing makes it more.

Each test says one thing that must be so, by real calls. Random combinations of the same are in
test_authority_model.py, rules as texts in test_rule.py.
"""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

import wasmos
from tests.support.wat import (
    RECEIVE,
    SLEEP,
    SRC,
    M,
    Plus,
    Reporter,
    answer,
    forever,
    passive,
    program,
    repeat,
    settle,
)
from wasmos import _core, abi

NOT_ALLOWED, NOT_SUPPORTED, ABORTED = -8, -9, -21


class NestPing(abi.Ping):
    """A message of a service that the kernel doesn't know from the start."""

    TYPE, NAME = 1021, "nest_ping"


NEST = SimpleNamespace(
    MESSAGES={NestPing.TYPE: NestPing},
    RPCS={NestPing.NAME: abi.Rpc(NestPing.NAME, NestPing, NestPing)},
    ONEWAYS={}, SERVICES={"nest": (NestPing.NAME,)}, EVENTS={}, COVERED_BY={}, BADGES={},
)  # fmt: skip


class Anything(wasmos.Service):
    """Answers nothing but "not supported": for what is admitted at all."""

    def __init__(self, name: str) -> None:
        self.name = name


class Who(wasmos.Service):
    """Answers pings, and notes by which right they came."""

    name = "who"

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, dict[str, str], list[int]]] = []
        self.told: list[tuple[int, int]] = []
        self.gone: list[int] = []

    def ping(self, caller: wasmos.Caller, value: int) -> int:
        held = [grant.id for grant in caller.grants()]
        self.seen.append((caller.id, caller.grant, dict(caller.badge), held))
        return value

    def task_destroyed(self, caller: wasmos.Caller, task: int) -> None:
        self.told.append((task, caller.grant))

    def revoked(self, grant: int) -> None:
        self.gone.append(grant)


class Slow(wasmos.Service):
    """Answers a ping when its time has come; notes what was cancelled."""

    name = "slow"

    def __init__(self) -> None:
        self.late: asyncio.Future[None] | None = None  # what is cancelled goes on until then
        self.ends: list[asyncio.Future[None]] = []
        self.cancelled: list[int] = []

    async def ping(self, caller: wasmos.Caller, value: int) -> int:
        self.ends.append(asyncio.get_running_loop().create_future())
        try:
            await self.ends[-1]
        except asyncio.CancelledError:
            self.cancelled.append(value)
            if self.late is None:
                raise
            await self.late
        return value + 1


def send(client: wasmos.Client, service: str, message: abi.Message | bytes) -> int:
    """What became of a call: 0, or an error code."""
    kernel = client.kernel
    raw = message if isinstance(message, bytes) else kernel.encode(message)
    result = kernel.send(client.id, kernel.service_id(service), raw)
    if result is None:
        kernel.run(lambda: client._result is not None)
        result, client._result = client._result, None
    assert result is not None
    reply = int.from_bytes(kernel.reply_of(client.id)[:4], "little", signed=True)
    return result or min(reply, 0)


def admits(
    kernel: wasmos.Kernel, rule: str, message: abi.Message | bytes, *deny: str, name: str = "me"
) -> bool:
    """Whether a task with this rule may send a message to the rule's service."""
    service = kernel.parse_rule(rule).service
    if service not in kernel.services:
        kernel.serve(Anything(service))
    client = kernel.client(name, allow=[rule], deny=deny)
    code = send(client, service, message)
    client.kill()
    return code != NOT_ALLOWED


def ping(client: wasmos.Client, service: str = "who", value: int = 1) -> int:
    return send(client, service, abi.Ping(value))


def cause(client: wasmos.Client) -> str:
    client.kernel.take_records()
    return client.denials[-1].cause


def begin(client: wasmos.Client, service: str, value: int = 1) -> None:
    """A call that has to wait."""
    client.begin(service, abi.Ping(value), lambda: None)
    client.kernel.run(timeout=0.001)
    assert client._result is None


# --- the value of a field ---------------------------------------------------------------------

LEAST, MOST = -(2**31), 2**31 - 1


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ("-5..3", [-5, -1, 0, 3], [-6, 4, LEAST, MOST]),
        ("..-1", [LEAST, -1], [0, 1, MOST]),
        ("0..", [0, MOST], [-1, LEAST]),
        (f"{LEAST}", [LEAST], [LEAST + 1, MOST, 0]),
        (f"{MOST}", [MOST], [-1, LEAST, MOST - 1]),
        ("[1, 3, 10..12]", [1, 3, 10, 11, 12], [0, 2, 4, 9, 13]),
        ("-8..-5", [-8, -5], [-9, -4, 5, 8]),
        ("[-2, 2]", [-2, 2], [-1, 0, 1]),
    ],
)
def test_int32(kernel: wasmos.Kernel, rule: str, yes: list[int], no: list[int]) -> None:
    for value in yes + no:
        assert admits(kernel, f"pong.ping(value={rule})", abi.Ping(value)) == (value in yes), value
        assert admits(kernel, "pong", abi.Ping(value), f"pong.ping(value={rule})") == (value in no)


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        (f"{2**31}..", [2**31, 2**32 - 1], [0, 1, 2**31 - 1]),
        (f"..{2**31}", [0, 2**31 - 1, 2**31], [2**31 + 1, 2**32 - 1]),
        (f"{2**32 - 1}", [2**32 - 1], [2**31 - 1, 0]),
        (f"[0, {2**31 + 5}]", [0, 2**31 + 5], [5, 2**31]),
        ("256..511", [256, 511], [255, 512, 0]),
        (f"{2**31}..{2**32 - 1}", [2**31, 2**32 - 1], [2**31 - 1]),
    ],
)
def test_uint32(kernel: wasmos.Kernel, rule: str, yes: list[int], no: list[int]) -> None:
    for value in yes + no:
        assert admits(kernel, f"fs.read(len={rule})", abi.FsRead(0, value)) == (value in yes), value
        assert admits(kernel, "fs", abi.FsRead(0, value), f"fs.read(len={rule})") == (value in no)


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ("80", [80], [79, 81, 80 + 256, 0]),
        ("[80, 443, 8000..8100]", [80, 443, 8000, 8100], [442, 7999, 8101]),
        ("65535", [65535], [65534, 0]),
        ("1024..", [1024, 65535], [1023, 0]),
        ("32768..65535", [32768, 65535], [32767]),
    ],
)
def test_uint16(kernel: wasmos.Kernel, rule: str, yes: list[int], no: list[int]) -> None:
    for value in yes + no:
        rule_text = f"tcpip.listen(listen_port={rule})"
        assert admits(kernel, rule_text, abi.TcpipListen(value)) == (value in yes), value


@pytest.mark.parametrize("above", [0, 0x5555, 0xFFFF])
def test_a_uint16_is_two_bytes(kernel: wasmos.Kernel, above: int) -> None:
    """What lies behind it is none of its business, and not the message's either."""
    raw = kernel.encode(abi.TcpipListen(80))[:10] + above.to_bytes(2, "little") + bytes(8)
    assert admits(kernel, "tcpip.listen(listen_port=80)", raw)
    assert not admits(kernel, "tcpip.listen(listen_port=81)", raw)


def test_addresses(kernel: wasmos.Kernel) -> None:
    """By default, only public ones; a rule names the others."""
    public, private, loopback = 0x5DB8D822, 0x0A010203, 0x7F000001

    def to(address: int) -> abi.Message:
        return abi.TcpipConnect(address, 80)

    for rule, allowed in {
        "tcpip": [public], "tcpip.connect": [public], "tcpip.connect(dst_port=80)": [public],
        'tcpip.connect(dst_addr="10.0.0.0/8")': [private],
        'tcpip.connect(dst_addr=["10.0.0.0/8", "127.0.0.1"])': [private, loopback],
        'tcpip.connect(dst_addr="all")': [public, private, loopback],
        'tcpip.connect(dst_addr="128.0.0.0/1")': [], "tcpip.listen": [],
    }.items():  # fmt: skip
        for address in (public, private, loopback):
            assert admits(kernel, rule, to(address)) == (address in allowed), rule
    # Everything is everything, and what denies has no defaults.
    client = kernel.client("all", allow=["*"])
    assert send(client, "tcpip", to(loopback)) != NOT_ALLOWED
    assert not admits(kernel, 'tcpip.connect(dst_addr="all")', to(private), "tcpip.connect")


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ('"HOME"', ["HOME"], ["home", "HOM", "HOMES", "", "HOME "]),
        ('"LC_*"', ["LC_", "LC_ALL"], ["LC", "XLC_ALL", "lc_all"]),
        ('"*_PATH"', ["_PATH", "MAN_PATH"], ["PATH", "MAN_PATHS"]),
        ('"A?C"', ["ABC", "A/C"], ["AC", "ABBC"]),
        ('"a*b*c"', ["abc", "aXbYc", "abcbc"], ["ab", "acb", "abcd"]),
        ('["A", "B*"]', ["A", "B", "BA"], ["AB", "C"]),
        ('""', [""], ["A"]),
        ('"\\\\*"', ["*"], ["A", "", "**"]),
        ('"ä"', ["ä"], ["a", "Ä"]),
    ],
)
def test_plain_texts(kernel: wasmos.Kernel, rule: str, yes: list[str], no: list[str]) -> None:
    for name in yes + no:
        assert admits(kernel, f"env.get(name={rule})", abi.EnvGet(name)) == (name in yes), name
        assert admits(kernel, "env", abi.EnvGet(name), f"env.get(name={rule})") == (name in no)


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ("example.com", ["example.com", "EXAMPLE.com", "example.com.", "Example.Com."],
         ["example.com..", ".example.com", "www.example.com", "example.co", "", "."]),
        ("Example.COM.", ["example.com", "example.com."], ["example.org"]),
        ("*.example.com", ["www.example.com", "a.b.Example.Com", "x.example.com."],
         ["example.com", ".example.com", "badexample.com", "www.example.com.evil.org", "com"]),
        ("db?.local", ["db1.local", "DB2.LOCAL."], ["db.local", "db12.local"]),
        ("*", ["a", "a.b.", ""], []),
    ],
)  # fmt: skip
def test_hostnames(kernel: wasmos.Kernel, rule: str, yes: list[str], no: list[str]) -> None:
    for name in yes + no:
        message = abi.TcpipDnsResolve(name)
        text = f'tcpip.dns_resolve(hostname="{rule}")'
        assert admits(kernel, text, message) == (name in yes), name
        assert admits(kernel, "tcpip", message, text) == (name in no), name


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ("/data/a", ["/data/a", "data/a", "/data/a/", "data/a/"], ["/data", "/data/A", "/data/ab"]),
        ("/data/*", ["/data/a", "data/.a"], ["/data", "/data/a/b", "/datax/a"]),
        ("/data/**", ["/data/a", "/data/a/b/c"], ["/data", "/dat"]),
        ("/**", ["/", "", "/a", "/a/b"], []),
        ("/*.txt", ["/a.txt", "/.txt"], ["/a/b.txt", "/a.tx"]),
    ],
)
def test_paths(kernel: wasmos.Kernel, rule: str, yes: list[str], no: list[str]) -> None:
    for path in yes + no:
        text = f'fs.open(path="{rule}")'
        assert admits(kernel, text, abi.FsOpen(path, 0)) == (path in yes), path
        assert admits(kernel, "fs", abi.FsOpen(path, 0), text) == (path in no), path


@pytest.mark.parametrize("path", ["/data/../etc", "/data/./a", "/data//a", "..", "/a/..", "///",
                                  "/data/a//"])  # fmt: skip
def test_a_path_that_leads_elsewhere_fits_no_rule(kernel: wasmos.Kernel, path: str) -> None:
    """And every one that denies."""
    assert not admits(kernel, 'fs.open(path="/**")', abi.FsOpen(path, 0))
    assert not admits(kernel, 'fs.open(path="/data/**")', abi.FsOpen(path, 0))
    assert not admits(kernel, "fs", abi.FsOpen(path, 0), 'fs.open(path="/secret")')
    assert not admits(kernel, "fs", abi.FsOpen(path, 0), 'fs.open(path="/s*")')
    assert admits(kernel, "fs", abi.FsOpen(path, 0))  # who may open everything may open that


UNENDED = {
    "env": ("env.get(name=%s)", abi.EnvGet),
    "fs": ("fs.open(path=%s)", abi.FsOpen),
    "tcpip": ("tcpip.dns_resolve(hostname=%s)", abi.TcpipDnsResolve),
}


@pytest.mark.parametrize("service", UNENDED)
@pytest.mark.parametrize("like", ['"A"', '"*A"', '"A*"', '"*"', '"**"', '"*.a"'])
def test_a_text_without_an_end_is_never_allowed(
    kernel: wasmos.Kernel, service: str, like: str
) -> None:
    """It can't be told what it is, so no rule that cares allows it, and each one that does denies
    it: whatever it says."""
    rule, cls = UNENDED[service]
    raw = cls.TYPE.to_bytes(4, "little") + bytes(4) + b"A" * 256 + bytes(64)
    assert not admits(kernel, rule % like, raw)
    assert not admits(kernel, service, raw, rule % like)
    assert admits(kernel, service, raw)
    short = raw[:8] + b"A" * 255 + bytes(65)
    assert admits(kernel, service, short, rule % '"B"')


def test_a_length_of_a_text_without_an_end(kernel: wasmos.Kernel) -> None:
    raw = abi.EnvGet.TYPE.to_bytes(4, "little") + bytes(4) + b"A" * 256
    assert not admits(kernel, "env.get(len(name)=..255)", raw)
    assert not admits(kernel, "env", raw, "env.get(len(name)=7)")


def test_lengths(kernel: wasmos.Kernel) -> None:
    for size in (0, 1, 511, 512, 513, 1024):
        message = abi.FsWrite(3, b"x" * size)
        assert admits(kernel, "fs.write(len(data)=..512)", message) == (size <= 512)
        assert admits(kernel, "fs.write(len(data)=[0, 512])", message) == (size in (0, 512))
        assert admits(kernel, "fs", message, "fs.write(len(data)=512..)") == (size < 512)
        assert admits(kernel, "env.get(len(name)=3..)", abi.EnvGet("A" * (size % 7))) == (
            size % 7 >= 3
        )


@pytest.mark.parametrize("length", [1025, 2**31, 2**32 - 1])
def test_a_length_that_is_none(kernel: wasmos.Kernel, length: int) -> None:
    raw = kernel.encode(abi.FsWrite(3, b"x"))
    raw = raw[:1036] + length.to_bytes(4, "little") + raw[1040:]
    assert not admits(kernel, "fs.write(len(data)=..1024)", raw)


def test_all_fields_have_to_be_right(kernel: wasmos.Kernel) -> None:
    rule = 'tcpip.connect(dst_addr="8.8.8.8", dst_port=53)'
    for address, port in [(0x08080808, 53), (0x08080808, 54), (0x08080809, 53), (0, 0)]:
        right = (address, port) == (0x08080808, 53)
        assert admits(kernel, rule, abi.TcpipConnect(address, port)) == right


TWO = [("8.8.8.8", 53), ("9.9.9.9", 80)]


def test_of_two_rules_neither_lends_the_other_a_field(kernel: wasmos.Kernel) -> None:
    kernel.serve(Anything("tcpip"))
    rules = [f'tcpip.connect(dst_addr="{a}", dst_port={b})' for a, b in TWO]
    client = kernel.client("me", allow=rules)
    for address, port, right in [(8, 53, True), (9, 80, True), (8, 80, False), (9, 53, False)]:
        code = send(client, "tcpip", abi.TcpipConnect(address * 0x01010101, port))
        assert (code != NOT_ALLOWED) == right


def test_own_name(kernel: wasmos.Kernel) -> None:
    for rule in ("vm", "vm.service_register"):
        assert admits(kernel, rule, abi.ServiceRegister("web"), name="web")
        assert not admits(kernel, rule, abi.ServiceRegister("web"), name="we")
    assert admits(kernel, 'vm.service_register(name="web")', abi.ServiceRegister("web"), name="x")


def test_what_a_message_made_comes_with_it(kernel: wasmos.Kernel) -> None:
    """Who may open may read and close; but not who may write."""
    assert admits(kernel, 'fs.open(path="/a")', abi.FsClose(3))
    assert admits(kernel, 'fs.open(path="/a")', abi.FsRead(3, 9))
    assert not admits(kernel, 'fs.open(path="/a")', abi.FsWrite(3, b""))
    assert not admits(kernel, "fs.close", abi.FsOpen("/a", 0))


def test_types_that_nobody_has_heard_of(kernel: wasmos.Kernel) -> None:
    for type in (0, 5000, 2**31 - 1):
        raw = type.to_bytes(4, "little") + bytes(12)
        assert admits(kernel, "pong", raw)
        assert not admits(kernel, "pong.ping", raw)
        assert admits(kernel, "pong", raw, "pong.ping")
        assert not admits(kernel, "pong", raw, "pong")
        assert not admits(kernel, "pong", raw, "*")


# --- deny -------------------------------------------------------------------------------------


@pytest.mark.parametrize("allow", ["who", "who.ping", "*", "who.ping(value=..20)"])
@pytest.mark.parametrize(
    "deny", ["who", "who.ping", "*", "who.ping(value=1)", "who.ping(value=..9)"]
)
def test_deny_wins(kernel: wasmos.Kernel, allow: str, deny: str) -> None:
    """Whatever was first, and however narrow."""
    kernel.serve(Who())
    client = kernel.client("me", allow=[allow], deny=[deny])
    assert [ping(client) for _ in range(3)] == [NOT_ALLOWED] * 3
    kernel.grant(client, allow)
    kernel.grant(client, "who.ping(value=1)")
    assert [ping(client) for _ in range(3)] == [NOT_ALLOWED] * 3
    assert cause(client) == "denied"
    assert (ping(client, value=10) == 0) == ("value" in deny)


def test_deny_of_one_name_of_a_task_closes_the_other(kernel: wasmos.Kernel) -> None:
    kernel.register(kernel.serve(Who()), "two")
    client = kernel.client("me", allow=["who"])
    assert ping(client) == 0
    rule = kernel.deny(client, "two")
    assert ping(client) == NOT_ALLOWED
    rule.revoke()
    assert ping(client) == 0


def test_a_name_that_is_added_may_be_a_denied_one(kernel: wasmos.Kernel) -> None:
    """Also when the way was open before."""
    task = kernel.serve(Who())
    client = kernel.client("me", allow=["who"], deny=["two"])
    assert [ping(client) for _ in range(3)] == [0, 0, 0]
    kernel.register(task, "two")
    assert ping(client) == NOT_ALLOWED


def test_a_deny_rule_has_no_lifetime(kernel: wasmos.Kernel) -> None:
    client = kernel.client("me", allow=["who"])
    for rule in ("who once", "who for 5s"):
        with pytest.raises(wasmos.UsageError):
            kernel.deny(client, rule)
    assert len(client.grants) == 1


# --- one way ----------------------------------------------------------------------------------


def test_a_one_way_message_needs_a_capability_for_it(kernel: wasmos.Kernel) -> None:
    who = Who()
    id = kernel.serve(who).id
    for value, allow in enumerate(["who.ping", "who", "*", "pong", "who once"]):
        client = kernel.client("me", allow=[allow])
        kernel.notify(client.id, id, abi.TaskDestroyed(value))
        settle(kernel)
    assert [value for value, _ in who.told] == [1, 2, 4]


def test_a_one_way_message_tells_what_admitted_it(kernel: wasmos.Kernel) -> None:
    who = Who()
    id = kernel.serve(who).id
    client = kernel.client("me", allow=["who.ping", "who"])
    kernel.notify(client.id, id, abi.TaskDestroyed(1))
    settle(kernel)
    assert who.told == [(1, client.grants[1].id)]


def test_a_one_way_message_is_a_use(kernel: wasmos.Kernel) -> None:
    who = Who()
    id = kernel.serve(who).id
    client = kernel.client("me", allow=["who once"])
    kernel.notify(client.id, id, abi.TaskDestroyed(1))
    kernel.notify(client.id, id, abi.TaskDestroyed(2))
    settle(kernel)
    assert [value for value, _ in who.told] == [1]
    assert client.grants == []


def test_no_use_is_lost_by_a_full_mailbox(kernel: wasmos.Kernel) -> None:
    id = kernel.spawn(program(forever()), service="deaf", trusted=True).id
    client = kernel.client("me", allow=["deaf 2000 times"])
    sent = 0
    while kernel.notify(client.id, id, abi.TaskDestroyed(1)):
        sent += 1
    assert 0 < sent < 2000
    assert client.grants[0].uses_left == 2000 - sent


def test_a_service_writes_only_to_who_may_call_it(kernel: wasmos.Kernel) -> None:
    id = kernel.serve(Who()).id
    mail = {}
    for allow, deny in [("who", ""), ("who.ping", ""), ("*", ""), ("pong", ""), ("who", "who"),
                        ("who", "*"), ("who", "who.ping")]:  # fmt: skip
        client = kernel.client("me", allow=[allow], deny=[deny] if deny else [])
        kernel.notify(id, client.id, abi.TaskDestroyed(5))
        settle(kernel)
        mail[allow, deny] = client.receive() is not None
    assert [pair for pair, came in mail.items() if not came] == [
        ("pong", ""), ("who", "who"), ("who", "*")
    ]  # fmt: skip


def test_a_service_writes_no_longer_after_a_revocation(kernel: wasmos.Kernel) -> None:
    id = kernel.serve(Who()).id
    client = kernel.client("me", allow=["who"])
    kernel.revoke(client, "who")
    kernel.notify(id, client.id, abi.TaskDestroyed(5))
    settle(kernel)
    assert client.receive() is None


# --- replies ----------------------------------------------------------------------------------


def test_a_call_is_answered_once(kernel: wasmos.Kernel) -> None:
    """The second answer is a one-way message to somebody who doesn't wait for one."""
    twice = RECEIVE + answer("#5") + f"(call $put #{M} #10 #6) (call $reply {SRC} #{M})"
    kernel.spawn(program(forever(twice)), service="s", trusted=True)
    body = "(drop (call $ask @s #9 #1)) (i32.mul (call $value) #10)"
    task = kernel.spawn(program(body), allow=["s"], trusted=True)
    assert kernel.wait(task).code == 50


def test_only_who_was_called_answers(kernel: wasmos.Kernel) -> None:
    """Another one that the caller may call can write to it, and it is no answer."""
    slow = Slow()
    kernel.serve(slow)
    other = kernel.serve(Plus(), name="other")
    client = kernel.client("me", allow=["slow", "other"])
    begin(client, "slow", 7)
    kernel.notify(other.id, client.id, abi.PingReply(666))
    kernel.run(timeout=0.001)
    assert client._result is None
    slow.ends[0].set_result(None)
    kernel.run(lambda: client._result is not None)
    assert client.finish() == abi.PingReply(8)


def test_a_guest_answers_nobody_elses_call(kernel: wasmos.Kernel) -> None:
    kernel.spawn(program(forever(RECEIVE)), service="mute", trusted=True)
    settle(kernel)
    caller = kernel.spawn(program("(call $ask @mute #9 #1)"), allow=["mute"], trusted=True)
    settle(kernel)
    forger = program(f"(call $put #{M} #10 #666) (call $reply #{caller.id} #{M}) #0")
    assert kernel.wait(kernel.spawn(forger, allow=["*"], trusted=True)).code == 0
    settle(kernel)
    assert caller.account()["state"] == "awaiting reply"


def test_a_late_answer_of_a_coroutine_reaches_nobody(kernel: wasmos.Kernel) -> None:
    """Not even the next call of the same task to the same service."""
    slow = Slow()
    kernel.serve(slow)
    client = kernel.client("me", allow=["slow"])
    begin(client, "slow", 10)
    slow.late = kernel.loop.create_future()
    kernel.revoke(client, "slow")
    assert client._result == NOT_ALLOWED or kernel.run(lambda: client._result is not None)
    with pytest.raises(wasmos.CapabilityDenied):
        client.finish()
    kernel.grant(client, "slow")
    client.begin("slow", abi.Ping(20), lambda: None)
    kernel.run(timeout=0.001)
    assert slow.cancelled == [10]
    slow.late.set_result(None)  # the first coroutine returns its answer now
    kernel.run(timeout=0.001)
    assert client._result is None
    slow.ends[1].set_result(None)
    kernel.run(lambda: client._result is not None)
    assert client.finish() == abi.PingReply(21)


class Refusing(Slow):
    """Says "not allowed" when its time has come."""

    async def ping(self, caller: wasmos.Caller, value: int) -> int:
        await super().ping(caller, value)
        raise wasmos.CapabilityDenied(f"not {value}")


def test_a_late_refusal_of_a_coroutine_is_no_denial(kernel: wasmos.Kernel) -> None:
    """It would be told with the fields of the next call."""
    slow = Refusing()
    kernel.serve(slow)
    client = kernel.client("me", allow=["slow"])
    begin(client, "slow", 10)
    slow.late = kernel.loop.create_future()
    kernel.revoke(client, "slow")
    assert kernel.run(lambda: client._result is not None)
    with pytest.raises(wasmos.CapabilityDenied):
        client.finish()
    kernel.grant(client, "slow")
    client.begin("slow", abi.Ping(20), lambda: None)
    kernel.run(timeout=0.001)
    slow.late.set_result(None)  # the first coroutine refuses now
    kernel.run(timeout=0.001)
    assert [denial.cause for denial in client.denials] == ["revoked"]
    slow.ends[1].set_result(None)
    kernel.run(lambda: client._result is not None)
    assert [(d.cause, d.reason) for d in client.denials[1:]] == [("server", "not 20")]


def test_an_answer_after_the_next_call_began(kernel: wasmos.Kernel) -> None:
    """A guest's late answer, while the next call of its client waits in the queue."""
    late = (
        RECEIVE + f"(local.set $i {SRC}) (drop (call $recv @gate #{M}))"
        f"(call $put #{M} #10 #5) (call $reply (local.get $i) #{M})"
        + forever(RECEIVE + answer("(i32.add (call $value) #100)"))
    )
    gate = kernel.serve(Plus(), name="gate")
    service = kernel.spawn(program(late), service="s", allow=["gate"], trusted=True)
    settle(kernel)
    client = kernel.client("me", allow=["s"])
    begin(client, "s", 1)
    kernel.revoke(client, "s")
    kernel.run(lambda: client._result is not None)
    with pytest.raises(wasmos.CapabilityDenied):
        client.finish()
    kernel.grant(client, "s")
    client.begin("s", abi.Ping(2), lambda: None)
    kernel.notify(gate.id, service.id, abi.TaskDestroyed(0))
    kernel.run(lambda: client._result is not None)
    assert client.finish() == abi.PingReply(102)


# --- what was checked is what arrives ----------------------------------------------------------


def test_the_message_is_a_private_copy(kernel: wasmos.Kernel) -> None:
    """A client's buffer is used again while its first message waits: it arrives as it was."""
    who = Who()
    kernel.serve(who)
    client = kernel.client("me", allow=["who.ping(value=1)"])
    raw = kernel.encode(abi.Ping(1))
    assert kernel.send(client.id, kernel.service_id("who"), raw) is None
    settle(kernel)
    assert kernel.answer_to(client.id) == abi.PingReply(1)


def test_a_message_that_waits_is_what_was_checked(kernel: wasmos.Kernel) -> None:
    """The caller's memory grows, and its page is written to by the callee's reply to another call,
    between the check and the delivery: nothing of it arrives."""
    seen = Reporter()
    kernel.serve(seen)
    gate = kernel.serve(Plus(), name="gate")
    server = f"(drop (call $recv @gate #{M}))" + forever(
        RECEIVE + "(call $report (call $value))" + answer("#0")
    )
    service = kernel.spawn(
        program(server), service="s", allow=["gate", "report", "vm"], trusted=True
    )
    settle(kernel)
    clients = [
        kernel.spawn(program(f"(drop (memory.grow #3)) (call $ask @s #9 #{value})"),
                     allow=[f"s.ping(value={value})"], trusted=True)
        for value in (1, 2, 3)
    ]  # fmt: skip
    settle(kernel)
    kernel.notify(gate.id, service.id, abi.TaskDestroyed(0))
    assert [kernel.wait(task).code for task in clients] == [0, 0, 0]
    assert seen.numbers == [1, 2, 3]


def test_a_passive_handler_that_calls_on_is_checked_itself(kernel: wasmos.Kernel) -> None:
    """Its buffer holds what its client wrote; it is the handler's message that counts."""
    who = Who()
    kernel.serve(who)
    body = "(call $answer (call $ask @who #9 (local.get $in)))"
    kernel.spawn(passive(body, fibre=True), service="p", allow=["who.ping(value=1)"], trusted=True)
    settle(kernel)
    client = kernel.client("me", allow=["p", "who"])
    assert client.call("p", abi.Ping(1)) == abi.PingReply(0)
    assert client.call("p", abi.Ping(2)) == abi.PingReply(NOT_ALLOWED)
    assert len(who.seen) == 1


def test_a_denied_message_is_unchanged(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    client = kernel.client("me", allow=[])
    raw = kernel.encode(abi.Ping(77))
    assert kernel.send(client.id, kernel.service_id("who"), raw) == NOT_ALLOWED
    assert kernel.reply_of(client.id)[: len(raw)] == raw


# --- what a service is told ---------------------------------------------------------------------


def test_the_caller_shows_what_admitted_it(kernel: wasmos.Kernel) -> None:
    who = Who()
    kernel.serve(who)
    client = kernel.client("me", allow=["who once", "who.ping(value=1)", "who.ping(value=2)", "*"])
    once, _, two, every = (grant.id for grant in client.grants)
    assert ping(client, value=2) == 0
    [(id, grant, badge, held)] = who.seen
    assert (id, badge, held) == (client.id, {}, [once, two, every])
    assert grant in (two, every)  # one that isn't used up by it
    assert client.grants[0].uses_left == 1


def test_the_oldest_of_what_is_used_up(kernel: wasmos.Kernel) -> None:
    who = Who()
    kernel.serve(who)
    client = kernel.client("me", allow=["who.ping 2 times", "who once", "who for 9s"])
    first, second, third = (grant.id for grant in client.grants)
    assert [ping(client) for _ in range(4)] == [0] * 4
    assert [row[1] for row in who.seen] == [first, first, second, third]


def test_the_last_use_is_among_the_grants(kernel: wasmos.Kernel) -> None:
    who = Who()
    kernel.serve(who)
    client = kernel.client("me", allow=["who once"])
    [grant] = client.grants
    assert ping(client) == 0
    assert who.seen == [(client.id, grant.id, {}, [grant.id])]
    assert grant.state == "spent"


def test_badges(kernel: wasmos.Kernel) -> None:
    who = Who()
    kernel.serve(who, name="fs")
    client = kernel.client("me", allow=['fs(dir="/srv", mode="ro")'])
    assert ping(client, "fs") == 0
    assert who.seen[0][2] == {"dir": "/srv", "mode": "ro"}


def test_the_service_hears_of_the_end(kernel: wasmos.Kernel) -> None:
    who = Who()
    kernel.serve(who)
    client, other = kernel.client("me", allow=["who", "pong", "*"]), kernel.client("o", allow=[])
    who_grant, pong, every = client.grants
    child = who_grant.delegate(other)
    for grant in (pong, who_grant, every):
        grant.revoke()
    assert who.gone == [child.id, who_grant.id, every.id]


# --- revocation of a call that is under way ------------------------------------------------------

UNCHANGED = (
    f"(if (i32.ne (i32.load #{M}) #9) (then (return #90)))"
    "(if (i32.ne (call $value) #7) (then (return #91)))"
)
CALLER = program(f"(local.set $i (call $ask @s #9 #7)) {UNCHANGED} (local.get $i)")


def caught(kernel: wasmos.Kernel, state: str) -> wasmos.Task:
    """A task whose call to `s` waits in this state."""
    task = kernel.spawn(CALLER, allow=["s"], trusted=True)
    kernel.run(timeout=0.001)
    assert task.account()["state"] == state
    return task


def is_refused(kernel: wasmos.Kernel, task: wasmos.Task) -> bool:
    """Its call ends with "not allowed", and its message is as it wrote it."""
    kernel.run(timeout=0.001)
    return task.exit is not None and task.exit.code == NOT_ALLOWED


def test_revoked_while_it_waits_for_an_active_server(kernel: wasmos.Kernel) -> None:
    """In the queue, from the middle: the others stay in theirs."""
    gate = kernel.serve(Plus(), name="gate")
    body = f"(drop (call $recv @gate #{M}))" + forever(RECEIVE + answer("(call $value)"))
    service = kernel.spawn(program(body), service="s", allow=["gate"], trusted=True)
    settle(kernel)
    first, task, last = (caught(kernel, "sending") for _ in range(3))
    kernel.revoke(task, "s")
    assert is_refused(kernel, task)
    kernel.notify(gate.id, service.id, abi.TaskDestroyed(0))
    kernel.run(timeout=0.001)
    assert first.exit is not None
    assert last.exit is not None
    assert service.account()["served"] == 2


def test_revoked_while_an_active_server_holds_it(kernel: wasmos.Kernel) -> None:
    gate = kernel.serve(Plus(), name="gate")
    body = (
        RECEIVE + f"(local.set $i {SRC}) (drop (call $recv @gate #{M}))"
        f"(call $put #{M} #10 #5) (call $reply (local.get $i) #{M}) #0"
    )
    service = kernel.spawn(program(body), service="s", allow=["gate"], trusted=True)
    settle(kernel)
    task = caught(kernel, "awaiting reply")
    kernel.revoke(task, "s")
    assert is_refused(kernel, task)
    kernel.notify(gate.id, service.id, abi.TaskDestroyed(0))
    assert kernel.wait(service).code == 0  # its answer is lost, and that is all


def test_revoked_at_an_async_service(kernel: wasmos.Kernel) -> None:
    """Its coroutine is cancelled, and nobody else's."""
    slow = Slow()
    kernel.serve(slow, name="s")
    task, other = caught(kernel, "awaiting reply"), caught(kernel, "awaiting reply")
    kernel.revoke(task, "s")
    assert is_refused(kernel, task)
    assert slow.cancelled == [7]
    slow.ends[1].set_result(None)
    kernel.run(timeout=0.001)
    assert other.exit is not None
    assert other.exit.code == 90  # it was answered: its message is another one now


def test_revoked_at_a_passive_service(kernel: wasmos.Kernel) -> None:
    """On a fibre, and in its queue; it goes on, and answers the next."""
    gate = kernel.serve(Plus(), name="gate")
    body = f"(drop (call $recv @gate #{M})) (call $answer (i32.add (local.get $in) #1))"
    service = kernel.spawn(passive(body, fibre=True), service="s", allow=["gate"], trusted=True)
    settle(kernel)
    task = caught(kernel, "awaiting reply")
    queued, last = caught(kernel, "sending"), caught(kernel, "sending")
    kernel.revoke(task, "s")
    kernel.revoke(queued, "s")
    assert is_refused(kernel, task)
    assert is_refused(kernel, queued)
    for _ in range(2):
        kernel.notify(gate.id, service.id, abi.TaskDestroyed(0))
        kernel.run(timeout=0.001)
    assert last.exit is not None
    assert last.exit.code == 90
    assert service.account()["served"] == 2


@pytest.mark.parametrize("how", ["revoke", "deny", "expire", "parent", "parent's denial"])
def test_every_way_of_taking_back_ends_it(kernel: wasmos.Kernel, how: str) -> None:
    slow = Slow()
    kernel.serve(slow)
    parent = kernel.client("parent", allow=["slow for 1s" if how == "expire" else "slow"])
    client = kernel.client("me", allow=[])
    grant = parent.grants[0].delegate(client)
    begin(client, "slow")
    {
        "revoke": grant.revoke, "parent": parent.grants[0].revoke,
        "deny": lambda: kernel.deny(client, "slow.ping(value=1)"),
        "parent's denial": lambda: kernel.deny(parent, "slow.ping(value=1)"),
        "expire": lambda: kernel.run(timeout=2),
    }[how]()  # fmt: skip
    kernel.run(timeout=0.001)
    assert client._result == NOT_ALLOWED
    assert slow.cancelled == [1]


def test_a_call_that_something_else_admits_goes_on(kernel: wasmos.Kernel) -> None:
    slow = Slow()
    kernel.serve(slow)
    client = kernel.client("me", allow=["slow.ping(value=1)"])
    begin(client, "slow")
    kernel.grant(client, "slow 5 times")
    client.grants[0].revoke()
    kernel.run(timeout=0.001)
    assert client._result is None
    assert client.grants[0].uses_left == 4  # that one admits it now
    client.grants[0].revoke()
    kernel.run(timeout=0.001)
    assert client._result == NOT_ALLOWED


def test_a_revocation_is_a_denial(kernel: wasmos.Kernel) -> None:
    kernel.serve(Slow())
    client = kernel.client("me", allow=["slow"])
    [grant] = client.grants
    begin(client, "slow")
    grant.revoke()
    assert cause(client) == "revoked"
    assert client.denials[-1].grant is grant


def test_revoked_by_who_hears_of_a_denial(kernel: wasmos.Kernel) -> None:
    """Its server is over in that very moment: it is told that instead."""
    kernel.serve(Plus(), name="vm")
    server = program(RECEIVE + "(drop (call $ask #1 #9 #1)) unreachable")
    kernel.spawn(server, service="s", trusted=True)
    settle(kernel)
    task = kernel.spawn(program("(call $ask @s #9 #1)"), allow=["s"], trusted=True)
    heard: list[wasmos.Denial] = []
    kernel.on_denial(lambda denial: (heard.append(denial), kernel.revoke(task, "s")))
    assert kernel.wait(task).code == ABORTED
    assert len(heard) == 1


# --- uses --------------------------------------------------------------------------------------


def test_a_replay_is_denied(kernel: wasmos.Kernel) -> None:
    who = Who()
    kernel.serve(who)
    client = kernel.client("me", allow=["who once"])
    [grant] = client.grants
    assert [ping(client), ping(client), ping(client)] == [0, NOT_ALLOWED, NOT_ALLOWED]
    assert (grant.state, client.grants, who.gone) == ("spent", [], [grant.id])


def test_a_guest_uses_it_once(kernel: wasmos.Kernel, report: Reporter) -> None:
    """Back to back, in place: nothing but the core decides there."""
    kernel.spawn(passive("(call $answer (local.get $in))"), service="p", trusted=True)
    body = "(local.set $j @p)" + repeat(4, "(call $report (call $ask (local.get $j) #9 #1))")
    task = kernel.spawn(program(body + "#0"), allow=["p 2 times", "report"], trusted=True)
    kernel.wait(task)
    assert report.numbers == [0, 0, NOT_ALLOWED, NOT_ALLOWED]


def test_a_guest_uses_what_its_parent_has_left(kernel: wasmos.Kernel, report: Reporter) -> None:
    """The same, where it is the parent's uses that end."""
    kernel.spawn(passive("(call $answer (local.get $in))"), service="p", trusted=True)
    parent = kernel.client("parent", allow=["p 2 times", "report"])
    body = "(local.set $j @p)" + repeat(4, "(call $report (call $ask (local.get $j) #9 #1))")
    task = kernel.spawn(program(body + "#0"), parent=parent, allow=["p", "report"], trusted=True)
    kernel.wait(task)
    assert report.numbers == [0, 0, NOT_ALLOWED, NOT_ALLOWED]


def test_a_guest_is_quicker_than_the_ledger(kernel: wasmos.Kernel) -> None:
    """It calls in place, again and again, before anybody in Python hears of the last use."""
    kernel.spawn(passive("(call $answer (local.get $in))"), service="p", trusted=True)
    settle(kernel)
    parent = kernel.client("parent", allow=["p 2 times"])
    body = "(local.set $j @p)" + repeat(
        5,
        "(if (i32.eqz (call $ask (local.get $j) #9 #1)) (then (global.set $n (i32.add"
        " (global.get $n) #1))))",
    )
    task = kernel.spawn(
        program(body + "(global.get $n)", fields="(global $n (mut i32) #0)"),
        parent=parent, allow=["p"], trusted=True,
    )  # fmt: skip
    assert kernel.wait(task).code == 2


class Keeper(Who):
    """Has something of every grant open."""

    def holds(self, grant: int) -> bool:
        return True


def test_a_last_use_looks_at_no_other_grant(kernel: wasmos.Kernel) -> None:
    """But for some of those that are used up and still behind something, however many there are."""
    kernel.serve(Keeper())
    other, client = kernel.client("other", allow=[]), kernel.client("me", allow=[])
    for _ in range(300):
        kernel.grant(other, "who once")
    assert [ping(other) for _ in range(301)] == [0] * 300 + [NOT_ALLOWED]
    for _ in range(300):
        kernel.grant(other, "who 2 times")
    for _ in range(10):
        kernel.grant(client, "who once")
    with (
        mock.patch.object(kernel, "uses_left", side_effect=kernel.uses_left) as uses_left,
        mock.patch.object(kernel, "is_in_use", side_effect=kernel.is_in_use) as is_in_use,
    ):
        assert [ping(client) for _ in range(11)] == [0] * 10 + [NOT_ALLOWED]
    assert uses_left.call_count + is_in_use.call_count <= 10 * 64


def test_what_is_used_up_is_forgotten_by_and_by(kernel: wasmos.Kernel) -> None:
    """Each of many, once nothing hangs on it any more."""
    keeper = Keeper()
    kernel.serve(keeper)
    client = kernel.client("me", allow=[])
    for _ in range(200):
        kernel.grant(client, "who once")
    assert [ping(client) for _ in range(200)] == [0] * 200
    assert len(kernel.grants) == 200
    with mock.patch.object(keeper, "holds", return_value=False):
        for _ in range(4):
            kernel.client("passer-by").kill()
    assert kernel.grants == []


def test_the_use_in_progress_completes(kernel: wasmos.Kernel) -> None:
    slow = Slow()
    kernel.serve(slow)
    client = kernel.client("me", allow=["slow once"])
    [grant] = client.grants
    begin(client, "slow", 5)
    assert (grant.state, slow.cancelled) == ("spent", [])
    slow.ends[0].set_result(None)
    kernel.run(lambda: client._result is not None)
    assert client.finish() == abi.PingReply(6)


def test_children_share_their_parents_uses(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    parent = kernel.client("parent", allow=["who 3 times"])
    one, two = kernel.client("one", allow=[]), kernel.client("two", allow=[])
    grants = [parent.grants[0].delegate(one, "who"), parent.grants[0].delegate(two, "who 2 times")]
    assert [grant.uses_left for grant in grants] == [3, 2]
    assert [ping(client) for client in (one, two, parent)] == [0, 0, 0]
    assert [ping(client) for client in (one, two, parent)] == [NOT_ALLOWED] * 3
    assert [grant.state for grant in grants] == ["spent", "spent"]


def test_a_childs_uses_are_its_own_too(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    parent, child = kernel.client("parent", allow=["who 3 times"]), kernel.client("c", allow=[])
    parent.grants[0].delegate(child, "who", uses=1)
    assert [ping(child), ping(child), ping(parent), ping(parent), ping(parent)] == [
        0, NOT_ALLOWED, 0, 0, NOT_ALLOWED
    ]  # fmt: skip


@pytest.mark.parametrize("uses", [0, -1])
def test_uses_that_are_none(kernel: wasmos.Kernel, uses: int) -> None:
    client = kernel.client("me", allow=[])
    with pytest.raises(wasmos.UsageError):
        kernel.grant(client, "who", uses=uses)
    assert client.grants == []


# --- time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1.0, 0.001, 1.001, 2.003, 3.007])
def test_it_ends_at_the_nanosecond(kernel: wasmos.Kernel, seconds: float) -> None:
    kernel.serve(Who())
    client = kernel.client("me", allow=["who"])
    client.grants[0].revoke()
    grant = kernel.grant(client, f"who for {round(seconds * 1000)}ms")
    begun = kernel.now_ns
    assert grant.expires_ns == begun + round(seconds * 1000) * 10**6
    kernel.advance(grant.expires_ns - 1)
    assert send(client, "who", abi.Ping(1)) == 0
    assert grant.state == "live"
    kernel.advance(grant.expires_ns)
    assert send(client, "who", abi.Ping(1)) == NOT_ALLOWED
    assert cause(client) == "expired"
    kernel.run(timeout=0.001)
    assert (grant.state, client.grants) == ("expired", [])
    assert send(client, "who", abi.Ping(1)) == NOT_ALLOWED
    assert cause(client) == "no_capability"


def test_a_timer_takes_it_back(kernel: wasmos.Kernel) -> None:
    who = Who()
    kernel.serve(who)
    client = kernel.client("me", allow=["who for 2s"])
    [grant] = client.grants
    kernel.run(timeout=1.999)
    assert (grant.state, who.gone) == ("live", [])
    kernel.run(timeout=0.002)
    assert (grant.state, who.gone) == ("expired", [grant.id])


def test_no_child_lives_longer(kernel: wasmos.Kernel) -> None:
    parent, child = kernel.client("parent", allow=["who for 2s"]), kernel.client("c", allow=[])
    [grant] = parent.grants
    for rule in ("who", "who for 9s", "who for 2s", "who.ping(value=1) for 1h"):
        assert grant.delegate(child, rule).expires_ns == grant.expires_ns
    assert grant.delegate(child, "who for 1s").expires_ns == kernel.now_ns + 10**9
    kernel.run(timeout=3)
    assert child.grants == []


# --- passing on ----------------------------------------------------------------------------------


def heirs(kernel: wasmos.Kernel, count: int) -> list[wasmos.Client]:
    return [kernel.client(f"heir{n}", allow=[]) for n in range(count)]


@pytest.mark.parametrize(
    "rule",
    ["pong", "*", 'fs(dir="/")', 'fs(dir="/srv/x")', 'fs(dir="/srv", mode="rw")',
     'fs(at="/x")', "fs.write", 'fs.open(dir="/etc", path="/a")'],
)  # fmt: skip
def test_what_is_no_part_is_not_passed_on(kernel: wasmos.Kernel, rule: str) -> None:
    giver = kernel.client("giver", allow=['fs.read(dir="/srv", mode="ro", len=..9)'])
    [heir] = heirs(kernel, 1)
    with pytest.raises(wasmos.CapabilityDenied):
        giver.grants[0].delegate(heir, rule)
    with pytest.raises(wasmos.CapabilityDenied):
        kernel.pass_on(giver, heir, rule, offer=False)
    assert heir.grants == []
    assert giver.grants[0].children == []


def test_who_holds_everything_chooses_no_badge(kernel: wasmos.Kernel) -> None:
    """Nor who holds a service without one: what it stands for is the host's to say."""
    [heir] = heirs(kernel, 1)
    for allow in ("*", "fs"):
        giver = kernel.client("giver", allow=[allow])
        for rule in ('fs(dir="/")', 'fs(dir="/srv", mode="ro")', 'fs.open(dir="/", path="/a")'):
            with pytest.raises(wasmos.CapabilityDenied):
                giver.grants[0].delegate(heir, rule)
            assert kernel.spawn(SLEEP, parent=giver, allow=[rule], trusted=True).grants == []


def test_a_badge_is_inherited(kernel: wasmos.Kernel) -> None:
    giver = kernel.client("giver", allow=['fs(dir="/srv")'])
    a, b = heirs(kernel, 2)
    less = giver.grants[0].delegate(a, 'fs(mode="ro")')
    assert less.badge == {"dir": "/srv", "mode": "ro"}
    with pytest.raises(wasmos.CapabilityDenied):
        less.delegate(b, 'fs(mode="rw")')
    assert less.delegate(b, "fs.read").badge == {"dir": "/srv", "mode": "ro"}


@pytest.mark.parametrize(
    "rule", ["who", "who.ping", "who.ping(value=..100)", "who.ping(value=[0, 7])"]
)
def test_a_wider_rule_gives_no_more(kernel: wasmos.Kernel, rule: str) -> None:
    """What the heir's rule says and the giver's doesn't is nothing."""
    kernel.serve(Who())
    giver = kernel.client("giver", allow=["who.ping(value=5..9)"])
    a, b = heirs(kernel, 2)
    giver.grants[0].delegate(a, rule).delegate(b, "who")
    for value in (4, 5, 7, 9, 10):
        right = 5 <= value <= 9 and (rule[-1] != ")" or value == 7 or ".." in rule)
        assert (ping(a, value=value) == 0) == right
        assert (ping(b, value=value) == 0) == right
    assert send(a, "who", (5000).to_bytes(4, "little") + bytes(4)) == NOT_ALLOWED


def test_a_task_passes_on_only_what_it_covers(kernel: wasmos.Kernel) -> None:
    giver = kernel.client("giver", allow=["who.ping(value=5..9)", "pong 2 times"])
    [heir] = heirs(kernel, 1)
    for rule in ("who", "who.ping(value=5..10)", "who.ping", "pong", "pong 3 times", "*"):
        with pytest.raises(wasmos.CapabilityDenied):
            kernel.pass_on(giver, heir, rule, offer=False)
    for rule in ("who.ping(value=6)", "pong once", "who.ping(value=5..9) for 5s"):
        assert str(kernel.pass_on(giver, heir, rule, offer=False).rule) == rule


def test_own_names_are_not_passed_on(kernel: wasmos.Kernel) -> None:
    """The giver may be called what it is called, and the heir would be called something else."""
    kernel.serve(Anything("vm"))
    giver = kernel.client("giver", allow=["vm"])
    [heir] = heirs(kernel, 1)
    giver.grants[0].delegate(heir)
    for name in ("giver", "heir0", "x"):
        assert send(heir, "vm", abi.ServiceRegister(name)) == NOT_ALLOWED
    assert send(heir, "vm", abi.WatchTasks()) != NOT_ALLOWED


@pytest.mark.parametrize("state", ["revoked", "expired", "spent", "left", "offered", "deny"])
def test_what_is_not_held_is_not_passed_on(kernel: wasmos.Kernel, state: str) -> None:
    kernel.serve(Who())
    giver = kernel.client("giver", allow=["who"])
    a, b = heirs(kernel, 2)
    grant = {
        "expired": lambda: kernel.grant(a, "who", seconds=1),
        "spent": lambda: kernel.grant(a, "who once"),
        "offered": lambda: kernel.pass_on(giver, a, "who", offer=True),
        "deny": lambda: kernel.deny(a, "who"),
    }.get(state, lambda: kernel.grant(a, "who"))()
    if state == "revoked":
        grant.revoke()
    if state == "left":
        grant.delegate(giver)
        a.kill()
    if state == "spent":
        ping(a)
    if state == "expired":
        kernel.run(timeout=2)
    assert grant.state == (state if state != "deny" else "live")
    with pytest.raises(wasmos.UsageError):
        grant.delegate(b)
    if a.exit is None:
        with pytest.raises(wasmos.CapabilityDenied):
            kernel.pass_on(a, b, "who", offer=False)
        assert kernel.spawn(SLEEP, parent=a, allow=["who"], trusted=True).grants == []
    assert b.grants == []


def test_to_a_task_that_has_ended(kernel: wasmos.Kernel) -> None:
    """Nothing is left behind by the attempt, and what was held can be taken back as before."""
    kernel.serve(Who())
    giver = kernel.client("giver", allow=["who"])
    [heir] = heirs(kernel, 1)
    heir.kill()
    [grant] = giver.grants
    with pytest.raises(LookupError):
        grant.delegate(heir)
    assert grant.children == []
    grant.revoke()
    assert ping(giver) == NOT_ALLOWED


def test_at_most_32_deep(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    clients = heirs(kernel, 34)
    grants = [kernel.grant(clients[0], "who")]
    for client in clients[1:32]:
        grants.append(grants[-1].delegate(client))
    with pytest.raises(wasmos.UsageError, match="32"):
        grants[-1].delegate(clients[32])
    assert grants[-1].depth == 31
    assert [ping(clients[31]), ping(clients[32])] == [0, NOT_ALLOWED]
    grants[0].revoke()
    assert [ping(client) for client in clients] == [NOT_ALLOWED] * 34


def test_at_most_256_passed_on(kernel: wasmos.Kernel) -> None:
    """At once: what is over counts no longer, however it ended."""
    giver = kernel.client("giver", allow=["who"])
    clients = heirs(kernel, 256)
    made = [kernel.pass_on(giver, heir, "who", offer=bool(n % 2)) for n, heir in enumerate(clients)]
    with pytest.raises(wasmos.UsageError, match="256"):
        kernel.pass_on(giver, clients[0], "who", offer=False)
    made[0].revoke()
    clients[1].kill()  # an offer
    clients[2].kill()  # what it held
    for _ in range(3):
        kernel.pass_on(giver, clients[3], "who", offer=False)
    with pytest.raises(wasmos.UsageError, match="256"):
        kernel.pass_on(giver, clients[3], "who", offer=False)


def test_the_whole_tree_goes_with_its_root(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    clients = heirs(kernel, 7)
    root = kernel.grant(clients[0], "who")
    grants = [root]
    for n, client in enumerate(clients[1:], 1):
        grants.append(grants[(n - 1) // 2].delegate(client))
    grants[1].revoke()
    assert [ping(client) for client in clients] == [
        0, NOT_ALLOWED, 0, NOT_ALLOWED, NOT_ALLOWED, 0, 0
    ]  # fmt: skip
    root.revoke()
    assert {grant.state for grant in grants} == {"revoked"}
    assert kernel.grants == []


def test_what_the_holder_passed_on_goes_on_without_it(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    root, giver, heir = heirs(kernel, 3)
    top = kernel.grant(root, "who")
    middle = top.delegate(giver)
    middle.delegate(heir)
    giver.kill()
    assert (middle.state, ping(heir)) == ("left", 0)
    root.kill()
    assert ping(heir) == 0
    assert kernel.grants == [top, middle, heir.grants[0]]
    top.revoke()
    assert ping(heir) == NOT_ALLOWED
    assert kernel.grants == []


def test_what_is_left_goes_with_the_last_heir(kernel: wasmos.Kernel) -> None:
    root, giver, heir = heirs(kernel, 3)
    kernel.grant(root, "who").delegate(giver).delegate(heir)
    for task in (root, giver, heir):
        task.kill()
    assert kernel.grants == []


def test_a_left_grant_still_ends_in_time(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    giver, heir = heirs(kernel, 2)
    kernel.grant(giver, "who for 1s 5 times").delegate(heir, "who")
    giver.kill()
    assert ping(heir) == 0
    kernel.run(timeout=2)
    assert ping(heir) == NOT_ALLOWED
    assert kernel.grants == []


# --- what the giver is denied -------------------------------------------------------------------


@pytest.mark.parametrize("first", ["deny", "delegate"])
def test_a_giver_passes_on_nothing_that_it_is_denied(kernel: wasmos.Kernel, first: str) -> None:
    """Whether it was denied that before or after, and however far it was passed on."""
    kernel.serve(Who())
    giver = kernel.client("giver", allow=["who"])
    a, b = heirs(kernel, 2)
    if first == "deny":
        kernel.deny(giver, "who.ping(value=5)")
    giver.grants[0].delegate(a).delegate(b, "who.ping")
    if first == "delegate":
        assert ping(b, value=5) == 0
        kernel.deny(giver, "who.ping(value=5)")
    assert [ping(a, value=5), ping(b, value=5), ping(b, value=6)] == [NOT_ALLOWED, NOT_ALLOWED, 0]


def test_an_heirs_other_grants_are_its_own(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    giver = kernel.client("giver", allow=["who"])
    [heir] = heirs(kernel, 1)
    giver.grants[0].delegate(heir)
    kernel.deny(giver, "who")
    assert ping(heir) == NOT_ALLOWED
    kernel.grant(heir, "who")
    assert ping(heir) == 0


def test_a_denial_of_one_service_is_none_of_another(kernel: wasmos.Kernel) -> None:
    for name in ("who", "pong"):
        kernel.serve(Who(), name=name)
    giver = kernel.client("giver", allow=["*"], deny=["pong"])
    a, b = heirs(kernel, 2)
    giver.grants[1].delegate(a, "who")
    giver.grants[1].delegate(b, "pong")
    kernel.deny(giver, "pong.ping")
    assert [ping(a), ping(b, "pong")] == [0, NOT_ALLOWED]


def test_an_inherited_denial_of_what_cannot_be_told(kernel: wasmos.Kernel) -> None:
    kernel.serve(Anything("fs"))
    giver = kernel.client("giver", allow=["fs"], deny=['fs.open(path="/secret/**")'])
    [heir] = heirs(kernel, 1)
    giver.grants[1].delegate(heir)
    for path, right in {"/a": True, "/secret/a": False, "/a/../secret/a": False}.items():
        assert (send(heir, "fs", abi.FsOpen(path, 0)) != NOT_ALLOWED) == right
    raw = abi.FsOpen.TYPE.to_bytes(4, "little") + bytes(4) + b"a" * 256 + bytes(4)
    assert send(heir, "fs", raw) == NOT_ALLOWED


def test_an_offer_inherits_denials_too(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    giver = kernel.client("giver", allow=["who"])
    [heir] = heirs(kernel, 1)
    offer = kernel.pass_on(giver, heir, "who", offer=True)
    kernel.deny(giver, "who.ping(value=5)")
    kernel.accept(heir, offer.id)
    assert [ping(heir, value=5), ping(heir, value=6)] == [NOT_ALLOWED, 0]


# --- offers -------------------------------------------------------------------------------------


def test_an_offer_is_nothing_before_it_is_accepted(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    giver = kernel.client("giver", allow=["who"])
    heir, other = heirs(kernel, 2)
    offer = kernel.pass_on(giver, heir, "who", offer=True)
    assert (heir.grants, ping(heir), kernel.may_look_up(heir.id, "who")) == ([], NOT_ALLOWED, False)
    for task, id in [(other, offer.id), (heir, offer.id + 1), (heir, giver.grants[0].id)]:
        with pytest.raises(LookupError):
            kernel.accept(task, id)
    kernel.accept(heir, offer.id)
    assert (heir.grants, ping(heir)) == ([offer], 0)
    with pytest.raises(LookupError):
        kernel.accept(heir, offer.id)


@pytest.mark.parametrize("how", ["revoke", "parent", "expire", "holder", "giver"])
def test_an_offer_ends(kernel: wasmos.Kernel, how: str) -> None:
    giver = kernel.client("giver", allow=["who for 1s"])
    [heir] = heirs(kernel, 1)
    offer = kernel.pass_on(giver, heir, "who for 1s", offer=True)
    {"revoke": offer.revoke, "parent": giver.grants[0].revoke, "holder": heir.kill,
     "expire": lambda: kernel.run(timeout=2), "giver": giver.kill}[how]()  # fmt: skip
    with pytest.raises(LookupError):
        kernel.accept(heir, offer.id)
    assert offer.state == ("expired" if how == "expire" else "revoked")


def test_a_strangers_offer_is_in_nobodys_way(kernel: wasmos.Kernel) -> None:
    stranger = kernel.client("stranger", allow=["who"])
    task, heir = heirs(kernel, 2)
    kernel.pass_on(stranger, task, "who", offer=True)
    kernel.grant(task, "who")
    assert kernel.pass_on(task, heir, "who", offer=False).parent is task.grants[0]
    child = kernel.spawn(SLEEP, parent=task, allow=["who"], trusted=True)
    assert [grant.parent for grant in child.grants] == task.grants


def test_a_denial_keeps_its_meaning_for_heirs(kernel: wasmos.Kernel) -> None:
    """Said before its service's interface is known, of a name that another message has, too."""
    giver, heir = kernel.client("giver", allow=["nest"]), kernel.client("heir", allow=[])
    early = giver.grants[0].delegate(heir)
    denial = kernel.deny(giver, "nest.ping")
    late = giver.grants[0].delegate(heir)
    kernel.define(NEST)
    kernel.serve(Anything("nest"))
    assert [send(client, "nest", NestPing(1)) for client in (giver, heir)] == [NOT_ALLOWED] * 2
    early.revoke()
    assert send(heir, "nest", NestPing(1)) == NOT_ALLOWED
    denial.revoke()
    assert late.state == "live"
    assert [send(client, "nest", NestPing(1)) for client in (giver, heir)] == [NOT_SUPPORTED] * 2


def test_a_rule_for_a_message_that_turns_out_to_be_none(kernel: wasmos.Kernel) -> None:
    """A task can say so before the interface is known: nothing to whoever makes it known."""
    giver, heir = kernel.client("giver", allow=["nest"]), kernel.client("heir", allow=[])
    kernel.pass_on(giver, heir, "nest.echo", offer=False)
    kernel.define(NEST)
    kernel.serve(Anything("nest"))
    assert send(heir, "nest", NestPing(1)) == NOT_ALLOWED
    assert send(giver, "nest", NestPing(1)) == NOT_SUPPORTED


# --- tasks that start others ---------------------------------------------------------------------


def test_a_child_gets_what_both_have(kernel: wasmos.Kernel) -> None:
    parent = kernel.spawn(
        SLEEP, allow=["who.ping(value=..9)", "console"], deny=["console.read"], trusted=True
    )
    child = kernel.spawn(
        SLEEP, parent=parent, allow=["who.ping(value=5..)", "fs", "console"], trusted=True
    )
    held = {grant.rule.service: grant for grant in child.grants}
    assert sorted(held) == ["console", "who"]
    assert [grant.parent for grant in child.grants] == parent.grants[1:]
    parent.grants[1].revoke()
    assert [grant.rule.service for grant in child.grants] == ["console"]


def test_a_childs_child_gets_no_more(kernel: wasmos.Kernel) -> None:
    parent = kernel.spawn(SLEEP, allow=["who"], trusted=True)
    child = kernel.spawn(SLEEP, parent=parent, allow=[], trusted=True)
    assert kernel.spawn(SLEEP, parent=child, allow=["who", "*"], trusted=True).grants == []


def test_a_child_gets_each_directory_once(kernel: wasmos.Kernel) -> None:
    """A rule that doesn't say which means all of them; but not each grant that there is for one."""
    rules = ['fs(dir="/a", at="/a")', 'fs(dir="/b", at="/b")']
    parent = kernel.spawn(SLEEP, allow=rules, trusted=True)
    for grant in parent.grants[:]:
        grant.delegate(parent, "fs.open")
    child = kernel.spawn(SLEEP, parent=parent, allow=["fs.open"], trusted=True)
    assert [grant.badge["dir"] for grant in child.grants] == ["/a", "/b"]
    assert kernel.spawn(SLEEP, parent=parent, allow=[rules[1]], trusted=True).grants[0].badge == {
        "dir": "/b", "at": "/b"
    }  # fmt: skip


def test_a_spawn_that_gives_too_much_leaves_nothing(kernel: wasmos.Kernel) -> None:
    parent = kernel.spawn(SLEEP, allow=["who", "console"], trusted=True)
    kernel.parse_rule("who")
    program = kernel.load(SLEEP, trusted=True)
    rules = [f"who for {n}s" for n in range(1, 200)]
    kernel.spawn(program, parent=parent, allow=rules)
    before = kernel.grants, kernel.tasks
    with pytest.raises(wasmos.UsageError, match="256"):
        kernel.spawn(program, parent=parent, allow=rules)
    assert (kernel.grants, kernel.tasks) == before
    assert all(grant.state == "live" for grant in before[0])


def test_what_the_host_says_has_no_bounds(kernel: wasmos.Kernel) -> None:
    """A grant of its own isn't counted, and one that it passes on is only counted."""
    giver, heir = kernel.client("giver", allow=[]), kernel.client("heir", allow=["tcpip", "vm"])
    stars = ",".join(f'"*{n}*"' for n in range(100))
    kernel.grant(heir, f"tcpip.dns_resolve(hostname=[{stars}])")
    grant = kernel.grant(giver, f"tcpip.dns_resolve(hostname=[{stars}])")
    kernel.pass_on(giver, heir, 'tcpip.dns_resolve(hostname="*1*") 5 times', offer=False)
    for _ in range(15):
        grant.delegate(heir)
    with pytest.raises(wasmos.UsageError, match="too long to check"):
        kernel.pass_on(giver, heir, 'tcpip.dns_resolve(hostname="*1*") 5 times', offer=False)
    grant.delegate(heir)
    kernel.pass_on(kernel.client("other", allow=["console"]), heir, "console", offer=False)


def test_an_offer_that_is_too_much_stays_one(kernel: wasmos.Kernel) -> None:
    giver, heir = kernel.client("giver", allow=["tcpip"]), kernel.client("heir", allow=[])
    pattern = "*a" * 16
    rule = f'tcpip.dns_resolve(hostname="{pattern}")'
    offers = [kernel.pass_on(giver, heir, rule, offer=True) for _ in range(140)]
    with pytest.raises(wasmos.UsageError, match="too long to check"):
        for offer in offers:
            kernel.accept(heir, offer.id)
    taken = [offer for offer in offers if offer.state == "live"]
    assert 100 < len(taken) < 130
    taken[0].revoke()
    kernel.accept(heir, offers[len(taken)].id)
    with pytest.raises(wasmos.UsageError, match="too long to check"):
        kernel.accept(heir, offers[-1].id)
    assert offers[-1].state == "offered"


def test_what_the_host_denies_keeps_nobody_from_one_grant(kernel: wasmos.Kernel) -> None:
    """However much there is to ask, and of which service."""
    parent = kernel.spawn(SLEEP, allow=["fs", "console", "who"], trusted=True)
    for number in range(1_000):
        kernel.deny(parent, f'fs.open(path="/**/{number}/*")')
    child = kernel.spawn(SLEEP, parent=parent, allow=["fs", "console", "who"], trusted=True)
    assert [grant.rule.service for grant in child.grants] == ["fs", "console", "who"]
    kernel.pass_on(parent, child, "console", offer=False)
    with pytest.raises(wasmos.UsageError, match="too long to check"):
        kernel.pass_on(parent, child, "fs", offer=False)


def test_a_denial_is_asked_about_once(kernel: wasmos.Kernel) -> None:
    """However often a right went to and fro between those whom it denies."""
    kernel.serve(Who())
    a, b = kernel.client("a", allow=["who"]), kernel.client("b", allow=[])
    early = kernel.deny(a, "who.ping(value=1)")
    grants = [a.grants[0]]
    for n in range(10):
        grants.append(grants[-1].delegate((b, a)[n % 2]))
    late = kernel.deny(a, "who.ping(value=2)")
    assert [grant.excepts for grant in grants[1:]] == [[early, late]] * 10
    assert [ping(b, value=value) for value in (1, 2, 3)] == [NOT_ALLOWED, NOT_ALLOWED, 0]
    late.revoke()
    assert [ping(b, value=value) for value in (1, 2, 3)] == [NOT_ALLOWED, 0, 0]


# --- those who hear of ends ----------------------------------------------------------------------


class Meddler(Who):
    """Does something whenever it hears of an end."""

    action: Any = None

    def revoked(self, grant: int) -> None:
        super().revoked(grant)
        if self.action is not None:
            self.action(grant)


def family(kernel: wasmos.Kernel) -> tuple[Meddler, list[wasmos.Client], list[wasmos.Grant]]:
    """A chain of three grants."""
    meddler = Meddler()
    kernel.serve(meddler)
    clients = heirs(kernel, 4)
    grants = [kernel.grant(clients[0], "who")]
    for client in clients[1:3]:
        grants.append(grants[-1].delegate(client))
    return meddler, clients, grants


def test_who_hears_of_an_end_may_revoke_more(kernel: wasmos.Kernel) -> None:
    meddler, clients, grants = family(kernel)
    meddler.action = lambda _: grants[0].revoke()
    grants[1].revoke()
    assert [ping(client) for client in clients] == [NOT_ALLOWED] * 4
    assert sorted(meddler.gone) == [grant.id for grant in grants]
    assert kernel.grants == []


def test_who_hears_of_an_end_passes_nothing_on(kernel: wasmos.Kernel) -> None:
    """The whole tree is over by then: nothing can be saved from it."""
    meddler, clients, grants = family(kernel)
    meddler.action = lambda _: grants[0].delegate(clients[3])
    grants[0].revoke()
    assert [ping(client) for client in clients] == [NOT_ALLOWED] * 4
    assert kernel.grants == []


def test_who_hears_of_an_end_may_kill(kernel: wasmos.Kernel) -> None:
    meddler, clients, grants = family(kernel)
    meddler.action = lambda _: [client.kill() for client in clients[:3]]
    grants[1].revoke()
    assert kernel.grants == []
    assert grants[0].state == "left"


def test_a_sink_may_revoke_what_it_hears_of(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    giver = kernel.client("giver", allow=["who"])
    [heir] = heirs(kernel, 1)

    def sink(entries: list[dict[str, Any]]) -> None:
        if entries[0]["event"] == "delegate":
            giver.grants[0].revoke()

    kernel.audit(sink)
    giver.grants[0].delegate(heir)
    assert [ping(giver), ping(heir)] == [NOT_ALLOWED, NOT_ALLOWED]
    assert kernel.grants == []


# --- asking --------------------------------------------------------------------------------------


def asked(
    kernel: wasmos.Kernel, answer: Any, *, allow: list[str] | None = None
) -> tuple[wasmos.Client, list[wasmos.Denial]]:
    client = kernel.client("me", allow=allow or [])
    heard: list[wasmos.Denial] = []

    def ask(denial: wasmos.Denial) -> bool | None:
        heard.append(denial)
        found: bool | None = answer(denial) if callable(answer) else answer
        return found

    kernel.ask(client, ask)
    return client, heard


def test_asked_and_granted(kernel: wasmos.Kernel) -> None:
    who = Who()
    kernel.serve(who)
    client, heard = asked(
        kernel, lambda denial: bool(kernel.grant(client, denial.rule, origin="asked"))
    )
    assert [ping(client), ping(client)] == [0, 0]
    assert [(d.message, d.cause, d.rule) for d in heard] == [
        ("who.ping", "no_capability", "who.ping")
    ]
    assert client.grants[0].origin == "asked"
    assert client.denials == []


def test_asked_and_refused(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    client, heard = asked(kernel, False)
    assert [ping(client), ping(client)] == [NOT_ALLOWED] * 2
    assert len(heard) == 2
    assert cause(client) == "no_capability"


def test_asked_and_granted_something_else(kernel: wasmos.Kernel) -> None:
    """Nobody asks twice about one message."""
    kernel.serve(Who())
    client, heard = asked(kernel, lambda _: bool(kernel.grant(client, "who.ping(value=2)")))
    assert ping(client, value=1) == NOT_ALLOWED
    assert len(heard) == 1
    assert ping(client, value=2) == 0


def test_asked_about_what_a_rule_denies(kernel: wasmos.Kernel) -> None:
    """What is granted then can't help."""
    kernel.serve(Who())
    client, heard = asked(kernel, lambda d: bool(kernel.grant(client, d.rule)))
    kernel.deny(client, "who.ping(value=1)")
    assert ping(client) == NOT_ALLOWED
    assert heard[0].cause == "denied"


def test_asked_and_answered_later(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    client, heard = asked(kernel, None)
    begin(client, "who")
    assert client.account()["state"] == "asking"
    kernel.grant(client, "who once")
    kernel.run(timeout=0.001)
    assert client._result is None  # not before somebody says so
    kernel.answer_asked(client.id)
    kernel.answer_asked(client.id)
    kernel.run(lambda: client._result is not None)
    assert client.finish() == abi.PingReply(1)
    assert len(heard) == 1
    kernel.answer_asked(client.id)


def test_a_guest_that_is_asked_about(kernel: wasmos.Kernel) -> None:
    """It may look the name up, and its message is what was asked about, unchanged if denied."""
    kernel.serve(Plus(), name="s")
    for yes in (True, False):
        task = kernel.spawn(CALLER, trusted=True)
        kernel.ask(task, lambda d, task=task, yes=yes: yes and bool(kernel.grant(task, d.rule)))
        assert kernel.wait(task).code == (90 if yes else NOT_ALLOWED)


def test_revoking_while_somebody_is_asked(kernel: wasmos.Kernel) -> None:
    """It held nothing for it, so nothing changes; it still waits."""
    kernel.serve(Who())
    client, _ = asked(kernel, None, allow=["who.ping(value=2)"])
    begin(client, "who")
    kernel.revoke(client, "who")
    kernel.run(timeout=0.001)
    assert client._result is None
    kernel.answer_asked(client.id)
    kernel.run(timeout=0.001)
    assert client._result == NOT_ALLOWED


def test_the_one_who_is_asked_fails(kernel: wasmos.Kernel) -> None:
    """Whoever runs the kernel hears of it, and the message is denied."""
    kernel.serve(Who())
    client, _ = asked(kernel, lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        client.call("who", abi.Ping(1))
    kernel.run(timeout=0.001)
    assert client._result == NOT_ALLOWED


@pytest.mark.parametrize("answer", [True, False, None])
def test_the_task_ends_while_somebody_is_asked(kernel: wasmos.Kernel, answer: bool | None) -> None:
    kernel.serve(Who())

    def kill(_: wasmos.Denial) -> bool | None:
        client.kill()
        return answer

    client, heard = asked(kernel, kill)
    client.begin("who", abi.Ping(1), lambda: None)
    kernel.run(timeout=0.001)
    assert client.exit is not None
    assert len(heard) == 1


@pytest.mark.parametrize("answer", [True, False, None])
def test_the_service_ends_while_somebody_is_asked(
    kernel: wasmos.Kernel, answer: bool | None
) -> None:
    service = kernel.serve(Who())

    def kill(_: wasmos.Denial) -> bool | None:
        service.kill()
        kernel.grant(client, "who")
        return answer

    client, _ = asked(kernel, kill)
    client.begin("who", abi.Ping(1), lambda: None)
    kernel.run(timeout=0.001)
    assert client._result == ABORTED


def test_the_service_ends_before_the_answer(kernel: wasmos.Kernel) -> None:
    service = kernel.serve(Who())
    client, _ = asked(kernel, None)
    begin(client, "who")
    service.kill()
    kernel.run(timeout=0.001)
    assert client._result == ABORTED
    kernel.answer_asked(client.id)


def test_nobody_is_asked_any_more(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    client, heard = asked(kernel, True)
    kernel.ask(client, None)
    assert ping(client) == NOT_ALLOWED
    assert heard == []


# --- records -------------------------------------------------------------------------------------


def audited(kernel: wasmos.Kernel, **options: bool) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    kernel.audit(entries.extend, **options)
    return entries


def test_the_same_denial_in_a_row_is_one(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    client = kernel.client("me", allow=[])
    entries = audited(kernel)
    for value in (1, 1, 1, 2, 1):
        ping(client, value=value)
    kernel.take_records()
    assert [(e["fields"], e.get("count")) for e in entries] == [
        ({"value": 1}, 3), ({"value": 2}, None), ({"value": 1}, None)
    ]  # fmt: skip


def test_a_denial_says_all_that_is_known(kernel: wasmos.Kernel) -> None:
    kernel.serve(Anything("tcpip"))
    client = kernel.client("web", allow=['tcpip.connect(dst_addr="10.0.0.0/8")'], origin="here:1")
    entries = audited(kernel)
    send(client, "tcpip", abi.TcpipConnect(0x7F000001, 80))
    kernel.take_records()
    [entry] = entries
    assert entry == {
        "event": "denial", "task": client.id, "name": "web", "service": "tcpip",
        "message": "tcpip.connect", "fields": {"dst_addr": "127.0.0.1", "dst_port": 80},
        "decision": "denied", "cause": "field", "grant": client.grants[0].id,
        "rule": 'tcpip.connect(dst_addr="10.0.0.0/8")', "origin": "here:1",
        "time_ns": entry["time_ns"],
    }  # fmt: skip
    assert client.denials[0].rule == 'tcpip.connect(dst_addr="127.0.0.1", dst_port=80)'


@pytest.mark.parametrize(
    ("allow", "deny", "cause"),
    [
        ([], [], "no_capability"), (["who"], ["who"], "denied"), (["*"], ["x", "*"], "denied"),
        ([], ["who"], "denied"), ([], ["x", "who.ping", "who.echo"], "no_capability"),
    ],
)  # fmt: skip
def test_a_lookup_that_is_denied_says_why(
    kernel: wasmos.Kernel, allow: list[str], deny: list[str], cause: str
) -> None:
    kernel.serve(Who())
    entries = audited(kernel)
    task = kernel.spawn(program("@who"), allow=allow, deny=deny, origin="here:1", trusted=True)
    assert kernel.wait(task).code == NOT_ALLOWED
    kernel.take_records()
    [entry] = [entry for entry in entries if entry["event"] == "denial"]
    assert (entry["message"], entry["cause"]) == ("who (lookup)", cause)
    rules = {e["grant"]: (e["rule"], e["origin"]) for e in entries if e["event"] == "deny"}
    if cause == "denied":
        assert rules[entry["grant"]] == (entry["rule"], entry["origin"]) == (deny[-1], "here:1")
    else:
        assert not {"grant", "rule", "origin"} & entry.keys()


def test_the_rule_of_a_denial_would_have_allowed_it(kernel: wasmos.Kernel) -> None:
    """Or as little more as a rule can say; it is a rule in any case."""
    names = ("who", "tcpip", "fs", "console", "a b")
    for name in names:
        kernel.serve(Anything(name))
    unended = abi.TcpipDnsResolve.TYPE.to_bytes(4, "little") + bytes(4) + b"a" * 256
    for service in names:
        for message in (
            abi.Ping(1), abi.TcpipConnect(0x7F000001, 80), abi.FsOpen("/a/../b", 0),
            abi.TcpipDnsResolve("A.b."), abi.TcpipDnsResolve("*\\?"), unended,
            (5000).to_bytes(4, "little") + bytes(4), abi.FsOpen("x" * 255, 1),
        ):  # fmt: skip
            client = kernel.client("me", allow=[])
            assert send(client, service, message) == NOT_ALLOWED
            kernel.take_records()
            kernel.grant(client, client.denials[0].rule)
            if client.denials[0].cls is not abi.TcpipDnsResolve or message is not unended:
                assert send(client, service, message) != NOT_ALLOWED, (service, message)


def test_calls_are_recorded_if_that_is_asked_for(kernel: wasmos.Kernel) -> None:
    kernel.serve(Anything("tcpip"))
    client = kernel.client("me", allow=["tcpip"])
    quiet, entries = audited(kernel), audited(kernel, calls=True)
    audited(kernel)  # one more that needs no calls takes them from nobody
    send(client, "tcpip", abi.TcpipConnect(0x08080808, 80))
    send(client, "tcpip", abi.TcpipListen(81))
    kernel.notify(client.id, kernel.service_id("tcpip"), abi.TaskDestroyed(4))
    settle(kernel)
    kernel.take_records()
    assert [(e["event"], e["message"], e.get("fields"), e["grant"]) for e in entries] == [
        ("call", "tcpip.connect", {"dst_addr": "8.8.8.8", "dst_port": 80}, client.grants[0].id),
        ("call", "tcpip.listen", {"listen_port": 81}, client.grants[0].id),
        ("call", "tcpip.task_destroyed", None, client.grants[0].id),
    ]
    assert quiet == entries  # once anybody wants them, all hear of them


def test_calls_in_place_are_recorded(kernel: wasmos.Kernel) -> None:
    kernel.spawn(passive("(call $answer (local.get $in))"), service="p", trusted=True)
    client = kernel.client("me", allow=["p"])
    assert ping(client, "p") == 0
    entries = audited(kernel, calls=True)
    assert [ping(client, "p") for _ in range(3)] == [0, 0, 0]
    kernel.take_records()
    assert [e["event"] for e in entries] == ["call"] * 3


def test_what_happens_is_told_in_order(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    entries = audited(kernel)
    client, heir = kernel.client("me", allow=[]), kernel.client("heir", allow=[])
    ping(client)
    grant = kernel.grant(client, "who once")
    kernel.pass_on(client, heir, "who once", offer=True)
    kernel.accept(heir, heir.kernel.grants[-1].id)
    kernel.deny(client, "pong")
    ping(client)
    settle(kernel)
    ping(client)
    client.kill()
    assert grant.state == "spent"
    assert [(e["event"], e["task"] == client.id) for e in entries] == [
        ("spawn", True), ("spawn", False), ("denial", True), ("grant", True), ("offer", False),
        ("accept", False), ("deny", True), ("spend", False), ("spend", True), ("denial", True),
        ("exit", True),
    ]  # fmt: skip
    times = [e["time_ns"] for e in entries]
    assert times == sorted(times)


def test_a_denial_is_told_before_what_came_of_it(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    client = kernel.client("me", allow=[])
    entries = audited(kernel)
    kernel.on_denial(lambda denial: kernel.grant(client, denial.rule))
    ping(client)
    kernel.take_records()
    assert [e["event"] for e in entries] == ["denial", "grant"]


def test_a_sink_that_fails_is_passed_over(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    client = kernel.client("me", allow=[])
    kernel.audit(lambda _: 1 // 0)
    kernel.on_denial(lambda _: 1 // 0)
    entries = audited(kernel)
    assert ping(client) == NOT_ALLOWED
    kernel.take_records()
    assert [e["event"] for e in entries] == ["denial"]


def test_a_sink_that_was_taken_out_hears_no_more(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    client = kernel.client("me", allow=[])
    entries: list[dict[str, Any]] = []
    sink = entries.extend
    kernel.audit(sink, calls=True)
    ping(client)
    kernel.end_audit(sink)
    assert len(entries) == 1
    kernel.grant(client, "who")
    ping(client)
    kernel.take_records()
    assert len(entries) == 1


FLOOD = 20_000


def test_a_flood_loses_nothing(real_kernel: wasmos.Kernel) -> None:
    """Different denials, faster than anybody reads: the guest is preempted to let them be read."""
    kernel = real_kernel
    id = kernel.serve(Who()).id
    entries = audited(kernel)
    body = repeat(FLOOD, f"(drop (call $ask #{id} #9 (local.get $i)))")
    assert kernel.wait(kernel.spawn(program(body + "#0"), trusted=True)).code == 0
    kernel.take_records()
    denied = [e for e in entries if e["event"] in ("denial", "dropped")]
    assert [e.get("fields") for e in denied] == [{"value": value} for value in range(FLOOD)]


def test_a_flood_without_a_loop_loses_nothing(real_kernel: wasmos.Kernel) -> None:
    """Denied one-way messages, four times as many as there is room for, and nothing in between that
    checks for preemption but the call itself."""
    kernel, count = real_kernel, 2048
    id = kernel.serve(Who()).id
    entries = audited(kernel)
    body = f"(i32.store #{M} #9)" + "".join(
        f"(i32.store offset=8 #{M} #{value}) (call $reply #{id} #{M})" for value in range(count)
    )
    assert kernel.wait(kernel.spawn(program(body + "#0"), trusted=True)).code == 0
    kernel.take_records()
    denied = [e for e in entries if e["event"] in ("denial", "dropped")]
    assert [e.get("fields") for e in denied] == [{"value": value} for value in range(count)]


def test_a_flood_of_calls_in_place_loses_nothing(real_kernel: wasmos.Kernel) -> None:
    kernel = real_kernel
    kernel.spawn(passive("(call $answer (local.get $in))"), service="p", trusted=True)
    entries = audited(kernel, calls=True)
    body = "(local.set $j @p)" + repeat(
        FLOOD, "(drop (call $ask (local.get $j) #9 (local.get $i)))"
    )
    assert kernel.wait(kernel.spawn(program(body + "#0"), allow=["p"], trusted=True)).code == 0
    kernel.take_records()
    events = [e["event"] for e in entries]
    assert events == ["spawn", "grant", *["call"] * FLOOD, "exit"]


# --- how much of it ------------------------------------------------------------------------------


def caps() -> int:
    gc.collect()
    return _core.live_objects()["caps"]


def test_ten_thousand_grants_of_one_task(kernel: wasmos.Kernel) -> None:
    before = caps()
    kernel.serve(Who())
    client = kernel.client("me", allow=[])
    for number in range(10_000):
        kernel.grant(client, f"s{number % 500}.ping(value={number})")
    kernel.grant(client, "who.ping(value=5)")
    assert [ping(client, value=5), ping(client, value=6)] == [0, NOT_ALLOWED]
    kernel.revoke(client)
    assert client.grants == []
    assert ping(client, value=5) == NOT_ALLOWED
    settle(kernel)
    client.kill()
    assert caps() == before


def test_ten_thousand_rules_for_one_message(kernel: wasmos.Kernel) -> None:
    """Half of them deny; each is exactly itself."""
    before = caps()
    kernel.serve(Who())
    client = kernel.client("me", allow=[])
    for number in range(0, 20_000, 4):
        kernel.grant(client, f"who.ping(value={number}..{number + 2})")
        kernel.deny(client, f"who.ping(value={number + 1})")
    found = [ping(client, value=number) == 0 for number in range(9_000, 9_100)]
    assert found == [number % 4 in (0, 2) for number in range(9_000, 9_100)]
    for grant in client.grants:
        grant.revoke()
    assert ping(client, value=9_000) == NOT_ALLOWED
    settle(kernel)
    client.kill()
    assert caps() == before


def test_ten_thousand_heirs(kernel: wasmos.Kernel) -> None:
    before = caps()
    kernel.serve(Who())
    giver, heir = kernel.client("giver", allow=["who"]), kernel.client("heir", allow=[])
    [grant] = giver.grants
    for _ in range(10_000):
        grant.delegate(heir)
    assert ping(heir) == 0
    kernel.deny(giver, "who.ping(value=5)")
    assert ping(heir, value=5) == NOT_ALLOWED
    grant.revoke()
    assert (heir.grants, ping(heir)) == ([], NOT_ALLOWED)
    settle(kernel)
    giver.kill()
    heir.kill()
    assert caps() == before


def test_what_ends_with_the_kernel_is_freed(kernel: wasmos.Kernel) -> None:
    before = caps()
    with wasmos.Kernel(virtual_clock=True) as other:
        other.serve(Slow())
        giver, heir = other.client("giver", allow=["slow"]), other.client("heir", allow=[])
        giver.grants[0].delegate(heir)
        other.pass_on(giver, heir, "slow", offer=True)
        other.deny(giver, "slow.ping(value=9)")
        begin(heir, "slow")
        giver.kill()
    del other, giver, heir
    assert caps() == before
