"""What reaches a terminal is text: no control character, however it is split or encoded."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmos.servers.console.visible import Visible


@pytest.mark.parametrize(
    "text", ["hello\n", "a\tb\r\n", "grün €uro 日本語 🎉", "", "~", "\u0301", "é\u0301"]
)
def test_text_stays_as_it_is(text: str) -> None:
    assert Visible().text(text.encode()) == text.encode()


SHOWN = [
    (b"\x1b[2J", "^[[2J"),  # clear the screen
    (b"\x1b]0;title\x07", "^[]0;title^G"),
    (b"\x1b]52;c;ZXZpbA==\x1b\\", "^[]52;c;ZXZpbA==^[\\"),  # fill the clipboard
    (b"\x1bP$q\x1b\\", "^[P$q^[\\"),
    (b"\x1b[6n", "^[[6n"),  # make it type an answer
    (b"pass\b\b\b\bfake", "pass^H^H^H^Hfake"),
    (b"\0\x7f\x0b\x0c\x0e\x0f", "^@^?^K^L^N^O"),
    ("\x9b2J".encode(), "\\x9b2J"),  # as ESC [, in one character
    ("\x85\x90\x9d".encode(), "\\x85\\x90\\x9d"),
    (b"\x9b2J", "�2J"),  # the same for a terminal that isn't in UTF-8
    (b"\xc0\x9b", "��"),  # an overlong ESC, nearly
    (b"\xe0\x80\x9b", "���"),
    ("\u202eevil\u2066".encode(), "\\u202eevil\\u2066"),
]


@pytest.mark.parametrize(("data", "shown"), SHOWN)
def test_controls_are_shown(data: bytes, shown: str) -> None:
    assert Visible().text(data) == shown.encode()


def test_a_character_in_parts() -> None:
    visible = Visible()
    assert visible.text(b"\xe2\x82") == b""
    assert visible.text(b"\xac") == "€".encode()
    assert visible.text(b"\xc2") == b""
    assert visible.text(b"\x9b") == b"\\x9b"
    assert visible.text(b"\xc2") == b""
    assert visible.text(b"a") == "�a".encode()


@given(parts=st.lists(st.binary(max_size=8)))
def test_no_bytes_in_any_parts_make_a_control(parts: list[bytes]) -> None:
    visible = Visible()
    text = b"".join(visible.text(part) for part in parts).decode()
    assert all(unicodedata.category(c) != "Cc" for c in text.translate(dict.fromkeys(b"\n\r\t")))


@given(data=st.binary(), at=st.integers(0, 100))
def test_parts_make_no_difference(data: bytes, at: int) -> None:
    one, two = Visible(), Visible()
    assert one.text(data[:at]) + one.text(data[at:]) == two.text(data)
