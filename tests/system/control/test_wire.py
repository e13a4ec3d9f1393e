"""Lines: whatever comes in, a request or an error that says what is wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmos.system.control import wire


@given(st.lists(st.binary(max_size=8)), st.lists(st.integers(1, 5), min_size=1))
def test_lines_are_the_same_however_they_arrive(parts: list[bytes], sizes: list[int]) -> None:
    wanted = [part.replace(b"\n", b"") for part in parts]
    data = b"".join(part + b"\n" for part in wanted)
    lines = wire.Lines()
    found = []
    turn = 0
    while data:
        size = sizes[turn % len(sizes)]
        lines.add(data[:size])
        data = data[size:]
        turn += 1
        while (line := lines.next()) is not None:
            found.append(line)
    assert found == wanted


def test_the_longest_line_and_a_longer_one() -> None:
    lines = wire.Lines(limit=10)
    lines.add(b"x" * 10)
    assert lines.next() is None
    lines.add(b"\n" + b"y" * 10 + b"\n")
    assert [lines.next(), lines.next(), lines.next()] == [b"x" * 10, b"y" * 10, None]
    for data in (b"z" * 11, b"z" * 11 + b"\n"):
        longer = wire.Lines(limit=10)
        longer.add(data)
        with pytest.raises(wire.WireError, match="at most 10 bytes"):
            longer.next()


OBJECT = 'a request is a JSON object, such as {"v":1,"do":"ps"}'
LINE = 'a request is a line of JSON, such as {"v":1,"do":"ps"}'


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"", LINE), (b"ps", LINE), (b"{", LINE), (b'{"v":1,"do":"ps"} x', LINE),
        (b"\xff\xfe", LINE), (b"\0" * 99, LINE), (b"[" * 60_000, LINE), (b"9" * 9999, LINE),
        (b"[]", OBJECT), (b"1", OBJECT), (b"null", OBJECT), (b'"ps"', OBJECT),
        (b"{}", "version null is not spoken here, but 1"),
        (b'{"v":2,"do":"ps"}', "version 2 is not spoken here, but 1"),
        (b'{"v":true,"do":"ps"}', "version true is not spoken here, but 1"),
        (b'{"v":1.0,"do":"ps"}', "version 1.0 is not spoken here, but 1"),
        (b'{"v":1}', 'a request says what to do: {"v":1,"do":"ps"}'),
        (b'{"v":1,"do":["ps"]}', 'a request says what to do: {"v":1,"do":"ps"}'),
    ],
)  # fmt: skip
def test_what_is_no_request(line: bytes, problem: str) -> None:
    with pytest.raises(wire.WireError) as caught:
        wire.parse(line)
    assert str(caught.value) == problem


def test_a_request() -> None:
    assert wire.parse(b' {"v":1,"do":"kill","task":9}\r') == {"do": "kill", "task": 9}


@given(st.text())
def test_an_answer_is_one_line_of_printable_ascii(text: str) -> None:
    for line in (wire.answer({text: text}), wire.error(text)):
        assert line.endswith(b"\n") and line[:-1].decode("ascii").isprintable()
    assert json.loads(wire.error(text)) == {"v": 1, "ok": False, "error": text}
