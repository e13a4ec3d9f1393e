"""A message is a value: equal if class and fields are, and it shows both."""

from __future__ import annotations

import pytest

from wasmos.abi import BYTES, UINT16, Field, FsWrite, NetOpenReply, Ping, PingReply, Rpc, WatchTasks


def test_fields_by_position_and_by_keyword() -> None:
    assert FsWrite(3, b"ab") == FsWrite(data=b"ab", fd=3)


def test_fields_default_to_zero() -> None:
    assert FsWrite() == FsWrite(0, b"")
    assert NetOpenReply().macaddr == bytes(6)


def test_equality_needs_the_same_class() -> None:
    assert Ping(1) != PingReply(1)
    assert Ping(1) != Ping(2)
    assert Ping(1) != 1


def test_equal_messages_hash_alike() -> None:
    assert len({Ping(1), Ping(1), Ping(2), PingReply(1), WatchTasks(), WatchTasks()}) == 4


def test_repr_is_what_makes_it() -> None:
    assert repr(FsWrite(3, b"ab")) == "FsWrite(fd=3, data=b'ab')"
    assert repr(WatchTasks()) == "WatchTasks()"


def test_a_field_means_something_or_nothing() -> None:
    assert Field("a", UINT16, 8, 2).meaning == ""
    assert Field("a", BYTES, 8, 4, 12, "secret").meaning == "secret"


def test_no_other_attribute_can_be_set() -> None:
    with pytest.raises(AttributeError):
        Ping(1).vlaue = 2  # type: ignore[attr-defined]


def test_field_and_rpc_show_what_they_are() -> None:
    assert repr(Field("a", BYTES, 8, 4, 12)) == "<Field a kind=4 8+4, len_offset=12>"
    assert repr(Field("a", 0, 8, 4)) == "<Field a kind=0 8+4>"
    assert repr(Field("a", UINT16, 8, 2, meaning="port")) == "<Field a kind=2 8+2 as port>"
    assert repr(Rpc("ping", Ping, PingReply)) == "<Rpc ping: Ping -> PingReply>"
