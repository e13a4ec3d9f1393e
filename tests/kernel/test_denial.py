"""Which fields of a message that was denied, or audited, may be shown; and why it was denied."""

from __future__ import annotations

import pytest

import wasmos
from tests.support.services import NOT_ALLOWED, Anything, Who, cause, ping, send
from tests.support.wat import program
from wasmos import abi
from wasmos.abi.message import BYTES, CSTR, INT32, UINT16, UINT32, Field, Message
from wasmos.kernel.authority import MAX_LOST
from wasmos.kernel.denial import fields_of, shown


class Put(Message):
    """A message with a field of each sort."""

    __slots__ = ()
    NAME = "kv_put"
    FIELDS = (
        Field("addr", UINT32, 8, 4, meaning="ipv4"),
        Field("port", UINT16, 12, 2, meaning="port"),
        Field("host", CSTR, 14, 64, meaning="hostname"),
        Field("path", CSTR, 78, 512, meaning="path"),
        Field("who", CSTR, 590, 64, meaning="own_name"),
        Field("token", CSTR, 654, 64, meaning="secret"),
        Field("pin", INT32, 718, 4, meaning="secret"),
        Field("note", CSTR, 722, 64),
        Field("handle", INT32, 786, 4),
        Field("data", BYTES, 790, 64, 788),
        Field("key", BYTES, 854, 64, 852, meaning="secret"),
    )


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("addr", 0x7F000001, "127.0.0.1"), ("addr", 0xFFFFFFFF, "255.255.255.255"),
        ("addr", 0, "0.0.0.0"), ("port", 65535, 65535), ("host", "a.example", "a.example"),
        ("path", "/x" * 200, ("/x" * 128) + "…"), ("path", "é", "é"), ("who", "me", "me"),
        ("token", "hunter2", "***"), ("pin", 1234, "***"), ("key", {"len": 7}, "***"),
        ("data", {"len": 7}, {"len": 7}),
        # They may be what decided.
        ("note", "text", "text"), ("handle", 3, 3), ("handle", -65536, -65536),
    ],
)  # fmt: skip
def test_a_field(name: str, value: object, wanted: object) -> None:
    found = shown(Put, {name: value})
    assert found == {name: wanted}
    assert "hunter2" not in str(found)


@pytest.mark.parametrize("name", ["note", "handle", "data"])
def test_of_what_is_admitted_only_what_means_something(name: str) -> None:
    assert shown(Put, {name: 7, "port": 80, "token": "hunter2"}, matter=True) == {
        "port": 80, "token": "***",
    }  # fmt: skip


def test_what_no_message_has_is_not_shown() -> None:
    assert shown(Put, {"other": "hunter2"}) == {}
    assert shown(None, {"a": 1, "b": "hunter2"}) == {}


def test_from_a_message_as_it_was_sent() -> None:
    """Of data nothing but its length is ever taken, so that nothing else can be shown."""
    data = bytearray(918)
    data[654:661] = b"hunter2"
    data[718:722] = data[788:792] = (7).to_bytes(4, "little")
    data[792:799] = data[856:863] = b"hunter2"
    found = fields_of(Put, bytes(data))
    assert found["data"] == {"len": 7} and found["key"] == {"len": 0}
    assert "hunter2" not in str(shown(Put, found))


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        (abi.TcpipConnect(0x0A000001, 443), {"dst_addr": "10.0.0.1", "dst_port": 443}),
        (abi.ConsoleWrite(b"my password"), {"data": {"len": 11}}),
        (abi.FsOpen("/a", 0), {"path": "/a", "flags": 0}),
        (abi.Ping(7), {"value": 7}),
        (abi.CapGrant(7, "console"), {"task": 7, "rule": "console"}),
    ],
)
def test_messages_of_the_system(
    kernel: wasmos.Kernel, sent: Message, wanted: dict[str, object]
) -> None:
    assert shown(type(sent), fields_of(type(sent), kernel.encode(sent))) == wanted


# --- why: what would have admitted it, and has ended ----------------------------------------------


def test_what_was_taken_back_is_why_from_then_on(kernel: wasmos.Kernel) -> None:
    """For every later message, and not only for a call that it interrupts."""
    kernel.serve(Who())
    client = kernel.client("c", allow=["who"])
    grant = client.grants[0]
    grant.revoke()
    for value in (1, 2):
        assert ping(client, value=value) == NOT_ALLOWED
        assert cause(client) == "revoked"
        assert client.denials[-1].grant is grant
        assert client.denials[-1].reason == "what granted it was taken back"


@pytest.mark.parametrize(
    ("lifetime", "wanted"),
    [({"uses": 1}, "spent"), ({"seconds": 1}, "expired")],
)
def test_what_ended_by_itself_is_why_from_then_on(
    kernel: wasmos.Kernel, lifetime: dict[str, int], wanted: str
) -> None:
    kernel.serve(Who())
    client = kernel.client("c", allow=[])
    grant = kernel.grant(client, "who", **lifetime)
    assert ping(client) == 0
    kernel.run(timeout=1)
    for value in (2, 3):
        assert ping(client, value=value) == NOT_ALLOWED
        assert cause(client) == wanted
        assert client.denials[-1].grant is grant


def test_what_would_not_have_admitted_it_is_not_why(kernel: wasmos.Kernel) -> None:
    kernel.serve(Anything("tcpip"))
    kernel.serve(Who())
    client = kernel.client("c", allow=["tcpip.connect(dst_port=80)", "who.ping", "vm"])
    message = abi.TcpipConnect(0x08080808, 443)
    kernel.revoke(client)
    assert send(client, "tcpip", message) == NOT_ALLOWED
    assert cause(client) == "no_capability"
    assert send(client, "who", abi.TaskDestroyed(1)) == NOT_ALLOWED
    assert cause(client) == "no_capability"
    other = kernel.grant(client, "tcpip.connect(dst_port=8080)")
    assert send(client, "tcpip", abi.TcpipConnect(0x08080808, 81)) == NOT_ALLOWED
    assert (cause(client), client.denials[-1].grant) == ("field", other)
    # What would have is nearer than what it still holds.
    assert send(client, "tcpip", abi.TcpipConnect(0x08080808, 80)) == NOT_ALLOWED
    assert cause(client) == "revoked"
    assert str(client.denials[-1].grant and client.denials[-1].grant.rule) == (
        "tcpip.connect(dst_port=80)"
    )
    # And of several the last, unless a rule denies it anyway.
    last = kernel.grant(client, "tcpip")
    kernel.revoke(last)
    assert send(client, "tcpip", message) == NOT_ALLOWED
    assert (cause(client), client.denials[-1].grant) == ("revoked", last)
    kernel.deny(client, "tcpip")
    assert send(client, "tcpip", message) == NOT_ALLOWED
    assert cause(client) == "denied"


def test_bytes_are_looked_back_at_by_their_length(kernel: wasmos.Kernel) -> None:
    kernel.serve(Anything("console"))
    client = kernel.client("c", allow=["console.write(len(data)=..3)"])
    kernel.revoke(client)
    for data, wanted in ((b"abc", "revoked"), (b"abcd", "no_capability")):
        assert send(client, "console", abi.ConsoleWrite(data)) == NOT_ALLOWED
        assert cause(client) == wanted


def test_a_service_of_two_names(kernel: wasmos.Kernel) -> None:
    kernel.register(kernel.serve(Who()), "also")
    client = kernel.client("c", allow=["also"])
    kernel.revoke(client)
    assert ping(client) == NOT_ALLOWED
    assert cause(client) == "revoked"


def test_what_was_passed_on_and_taken_back(kernel: wasmos.Kernel) -> None:
    """It was what it came from allowed, too, without what the giver was denied."""
    kernel.serve(Anything("tcpip"))
    giver = kernel.client("giver", allow=["tcpip.connect(dst_port=80)"])
    kernel.deny(giver, 'tcpip.connect(dst_addr="9.9.9.9")')
    taker = kernel.client("taker", allow=[])
    grant = giver.grants[0]
    assert not grant.deny
    heir = grant.delegate(taker, "tcpip")
    grant.revoke()
    for address, port, wanted in (
        (0x08080808, 80, "revoked"), (0x08080808, 81, "no_capability"),
        (0x09090909, 80, "no_capability"),
    ):  # fmt: skip
        assert send(taker, "tcpip", abi.TcpipConnect(address, port)) == NOT_ALLOWED
        assert cause(taker) == wanted
    assert heir.state == "revoked"


def test_what_it_never_held_is_not_why(kernel: wasmos.Kernel) -> None:
    """An offer that was not accepted, and a rule that denied."""
    kernel.serve(Who())
    giver, taker = kernel.client("giver", allow=["who"]), kernel.client("taker", allow=[])
    kernel.revoke(kernel.authority.delegate(giver.grants[0], taker, by=giver.id, offer=True))
    kernel.revoke(kernel.deny(taker, "who"))
    assert ping(taker) == NOT_ALLOWED
    assert cause(taker) == "no_capability"


def test_of_what_has_ended_the_last_is_remembered(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    client = kernel.client("c", allow=["who.ping"])
    kernel.revoke(client)
    for _ in range(MAX_LOST):
        kernel.revoke(kernel.grant(client, "console"))
    assert ping(client) == NOT_ALLOWED
    assert cause(client) == "no_capability"


def test_looking_back_has_an_end(kernel: wasmos.Kernel) -> None:
    """Tasks make their rules as dear as they may; what they say of a denial isn't worth that."""
    kernel.serve(Anything("tcpip"))
    giver = kernel.client("giver", allow=["tcpip"])
    taker = kernel.client("taker", allow=["tcpip.dns_resolve"])
    kernel.revoke(taker)
    dear = 'tcpip.dns_resolve(hostname="*a*z")'
    message = abi.TcpipDnsResolve("a" * 250)
    for count, wanted in ((1, "revoked"), (40, "no_capability")):
        for _ in range(count):
            giver.grants[0].delegate(taker, dear).revoke()
        assert send(taker, "tcpip", message) == NOT_ALLOWED
        assert cause(taker) == wanted


def test_a_lookup_of_what_was_taken_back(kernel: wasmos.Kernel) -> None:
    told: list[dict[str, object]] = []
    kernel.authority.report.sinks.append(told.extend)
    task = kernel.spawn(program("(drop @who) @console"), allow=["who"])
    grant = task.grants[0]
    kernel.revoke(task)
    kernel.wait(task)
    first, second = [each for each in told if each["event"] == "denial"]
    assert (first["cause"], first["grant"], first["rule"]) == ("revoked", grant.id, "who")
    assert second["cause"] == "no_capability" and "grant" not in second
