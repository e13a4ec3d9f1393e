"""What reaches a terminal is text: no control character, however it is split or encoded."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmos.servers.console.visible import Visible, plain


@pytest.mark.parametrize(
    "text",
    [
        "hello\n",
        "a\tb\r\n",
        "grün €uro 日本語 🎉",
        "",
        "~",
        "\u0301",
        "é\u0301",
        "שלום \u200fabc\u200e \u2067עברית\u2069 \u2066x\u2069 \u2068y\u2069",
        "می\u200cخواهم",
    ],
)
def test_text_stays_as_it_is(text: str) -> None:
    """Also text from right to left, with the marks that it needs."""
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
    ("\u202eevil\u202c".encode(), "\\u202eevil\\u202c"),
    ("\u202a\u202b\u202d".encode(), "\\u202a\\u202b\\u202d"),
    ("a\u2028b\u2029".encode(), "a\\u2028b\\u2029"),  # line ends, for some
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


TURNING = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize(
    "c", [*TURNING, *"\u2028\u2029\u200b\ufeff\x85\x9b\xad", "\U000e0041", "\udcff"]
)
def test_in_a_name_nothing_hides(c: str) -> None:
    shown = f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}"
    shown = shown if ord(c) < 65536 else f"\\U{ord(c):08x}"
    assert plain(f"a{c}b") == f"a{shown}b"


def test_a_name_is_shown_as_what_is_printed_is() -> None:
    for data, shown in SHOWN:
        if data.isascii():
            assert plain(data.decode()) == shown
    assert plain("grün €uro 日本語 🎉 שלום\t\r\n") == "grün €uro 日本語 🎉 שלום\t\r\n"


@given(st.text())
def test_what_is_shown_of_a_name_is_printable(text: str) -> None:
    shown = plain(text)
    assert shown.translate(dict.fromkeys(b"\n\r\t")).isprintable()
    assert plain(shown) == shown
