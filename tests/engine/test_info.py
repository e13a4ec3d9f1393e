"""What is read in a module when asked: strings, data, names as they may be shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import wasmgen as gen
from wasmos.engine.binary import parse
from wasmos.engine.info import _WINDOW, quote
from wasmos.engine.reader import BinaryError


def strings(*contents: bytes, **limits: int) -> list[str]:
    info = parse(gen.module(memories=[gen.PAGE], datas=[gen.data(c) for c in contents]))
    return list(info.strings(**limits))


def test_strings_are_printable_and_end_with_nul() -> None:
    assert strings(b"fs\0\x01\x02tcpip\0no\x07\0two words\0\0\0x\0end") == [
        "fs", "tcpip", "two words", "end",
    ]  # fmt: skip
    assert strings("naïve\0".encode(), b"\xffafter\0") == ["ve", "after"]


def test_strings_are_bounded() -> None:
    assert strings(b"a\0" * 10, min_length=1, max_strings=3) == ["a"] * 3
    assert strings(b"x" * 300 + b"\0ok\0") == ["ok"]
    assert strings(b"one\0two\0", b"three\0", max_bytes=8) == ["one", "two"]


def test_strings_of_a_large_segment() -> None:
    """Strings lie across the windows in which a segment is read."""
    window = _WINDOW
    for shift in range(6):
        assert strings(b"\x01" * (window - shift) + b"fs\0") == ["fs"]
        assert strings(bytes(window - shift) + b"tcpip\0") == ["tcpip"]
    assert strings(b"y" * (2 * window + 17) + b"\0fs\0") == ["fs"]


@given(st.binary(max_size=2_000))
def test_strings_find_what_a_plain_search_finds(content: bytes) -> None:
    expected = []
    for piece in content.split(b"\0"):
        tail = piece[len(piece) - _printable_tail(piece) :]
        if 2 <= len(tail) <= 255:
            expected.append(tail.decode())
    assert strings(content) == expected


def _printable_tail(piece: bytes) -> int:
    length = 0
    while length < len(piece) and 0x20 <= piece[-1 - length] < 0x7F:
        length += 1
    return length


def test_broken_data_is_an_error_when_asked_for() -> None:
    info = parse(gen.raw(gen.section(11, b"\x01\x00\x41\x00\x0b\x7fxx")))
    with pytest.raises(BinaryError, match="127 bytes long, but 2 remain"):
        list(info.data_segments())


def test_names_are_shown_harmlessly() -> None:
    assert quote("main") == "'main'"
    assert quote("\x1b[31m\n\u202e") == r"'\x1b[31m\n\u202e'"
    assert len(quote("x" * 1_000)) < 70
