"""Which fields of a message go into the log."""

from __future__ import annotations

import pytest

from wasmos import abi
from wasmos.abi.message import BYTES, CSTR, INT32, UINT16, UINT32, Field, Message
from wasmos.system.audit import fields_that_matter
from wasmos.system.audit.mask import cut, without


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
    ("name", "value", "shown"),
    [
        ("addr", 0x7F000001, "127.0.0.1"), ("addr", 0xFFFFFFFF, "255.255.255.255"),
        ("addr", 0, "0.0.0.0"),
        ("addr", "10.0.0.1", "10.0.0.1"), ("port", 65535, 65535),
        ("host", "a.example", "a.example"),
        ("path", "/x" * 200, ("/x" * 128) + "…"), ("path", "é", "é"), ("who", "me", "me"),
        ("token", "hunter2", "***"), ("pin", 1234, "***"), ("key", b"hunter2", "***"),
        ("note", "hunter2", None), ("handle", 3, 3), ("handle", -1, -1),
        ("handle", 65535, 65535), ("handle", 65536, None), ("handle", -65536, None),
        ("data", b"hunter2", {"len": 7}), ("data", bytearray(b""), {"len": 0}),
        ("data", memoryview(b"hunter2"), {"len": 7}), ("data", "hunter2", None),
        ("data", {"len": 7}, {"len": 7}),
        ("data", {"len": "hunter2"}, None), ("data", {"len": 7, "x": "hunter2"}, {"len": 7}),
        ("unknown", "hunter2", None), ("unknown", b"hunter2", {"len": 7}), ("unknown", 7, 7),
        ("note", None, None), ("note", ["hunter2"], None),
    ],
)  # fmt: skip
def test_a_field(name: str, value: object, shown: object) -> None:
    found = fields_that_matter(Put, {name: value})
    assert found == ({} if shown is None else {name: shown})
    assert "hunter2" not in str(found)


def test_a_mask_is_stronger_than_a_meaning() -> None:
    assert fields_that_matter(Put, {"port": 80, "note": "x"}, mask=["port", "note"]) == {
        "port": "***", "note": "***",
    }  # fmt: skip


def test_a_message_that_is_not_known() -> None:
    values = {"a": 1, "b": "text", "c": b"bytes", "d": 1 << 40}
    assert fields_that_matter(None, values) == {"a": 1, "c": {"len": 5}}


def test_messages_of_the_system() -> None:
    connect = fields_that_matter(abi.TcpipConnect, {"dst_addr": 0x0A000001, "dst_port": 443})
    assert connect == {"dst_addr": "10.0.0.1", "dst_port": 443}
    write = fields_that_matter(abi.ConsoleWrite, {"data": b"my password"})
    assert write == {"data": {"len": 11}}
    assert fields_that_matter(abi.FsOpen, {"path": "/a", "flags": 0}) == {"path": "/a", "flags": 0}


def test_cut() -> None:
    assert cut("x" * 256) == "x" * 256
    assert cut("x" * 257) == "x" * 256 + "…"


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        ('kv.put(token="a", port=80)', "kv.put(token=***, port=80)"),
        (r'kv.put(token="a\", port=\"b", port=80)', "kv.put(token=***, port=80)"),
        ('kv.put(port=80, token=["a]", "b"]) for 60s', "kv.put(port=80, token=***) for 60s"),
        ("kv.put(token=17, port=80)", "kv.put(token=***, port=80)"),
        ("kv.put(token=17)", "kv.put(token=***)"),
        ('kv.put(token = "a")', "kv.put(token = ***)"),
        ('kv.put(token="cut off', "kv.put(token=***"),
        ('kv.put(token=["cut off", "h', "kv.put(token=***"),
        ('kv.put(mytoken="a")', 'kv.put(mytoken="a")'),
        ("kv.put(len(token)=5)", "kv.put(len(token)=5)"),
        ("console", "console"),
    ],
)  # fmt: skip
def test_a_rule_without_secrets(rule: str, shown: str) -> None:
    assert without({"token", "a.b"}, rule) == shown
    assert without((), rule) == rule
