"""Which fields of a message that was denied, or audited, may be shown."""

from __future__ import annotations

import pytest

import wasmos
from wasmos import abi
from wasmos.abi.message import BYTES, CSTR, INT32, UINT16, UINT32, Field, Message
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
