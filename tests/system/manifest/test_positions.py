"""Lines of keys and values in TOML, however it is written."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from wasmos.system.manifest.positions import Positions

TEXT = (
    """\
# comment with [brackets] and = signs
top = 1
[system]  # [not]
name = "a # b"
"quoted key" = '''
several
lines''''
list = [ # here
  "one", "two",
  # "three"
  [ "inner",
    "x" ],
  { a = 1, b = [ "deep",
     "deeper" ] },
]
after = """
    + '"""'
    + """
 \\" = [ " ""\\
 """
    + '"""'
    + """
[task."a.b"]
use = ["first", 'se[]{}cond',
"third"] # end
date = 1979-05-27 07:32:00
[ task . web ]
args.x.y = true
inline = { "k\\u0065y" = { z = "v" } }
[[many]]
a = 1
[[many]]
a = 2
[many.sub]
b = 3
[last]"""
)


def test_every_line() -> None:
    tomllib.loads(TEXT)  # it is TOML
    positions = Positions(TEXT)
    lines = {
        ("top",): 2, ("system",): 3, ("system", "name"): 4, ("system", "quoted key"): 5,
        ("system", "list"): 8, ("system", "list", 0): 9, ("system", "list", 1): 9,
        ("system", "list", 2): 11, ("system", "list", 2, 1): 12, ("system", "list", 3): 13,
        ("system", "list", 3, "b", 0): 13, ("system", "list", 3, "b", 1): 14,
        ("system", "after"): 16,
        ("task", "a.b"): 19, ("task", "a.b", "use", 0): 20, ("task", "a.b", "use", 1): 20,
        ("task", "a.b", "use", 2): 21, ("task", "a.b", "date"): 22, ("task", "web"): 23,
        ("task", "web", "args", "x", "y"): 24, ("task", "web", "inline", "key", "z"): 25,
        ("many",): 26, ("many", 0, "a"): 27, ("many", 1): 28, ("many", 1, "a"): 29,
        ("many", 1, "sub", "b"): 31, ("last",): 32,
    }  # fmt: skip
    assert {place: positions.line(place) for place in lines} == lines


def places(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if place:
        yield place
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, (dict, list)):
            yield from places(item, (*place, key))
        else:
            yield (*place, key)


def test_nothing_is_left_out() -> None:
    """Each place that tomllib knows is found as itself, and not as what is around it."""
    positions = Positions(TEXT)
    for place in places(tomllib.loads(TEXT)):
        assert place in positions._lines, place


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_end_as_they_like(newline: str) -> None:
    positions = Positions(newline.join(["a = 1", "[b]", "c = [", "1,", "2]"]))
    assert [positions.line(p) for p in (("a",), ("b", "c"), ("b", "c", 1))] == [1, 3, 5]


def test_what_is_not_there_is_where_it_would_be() -> None:
    positions = Positions("[a]\nb = [1]")
    assert positions.line(("a", "nothing")) == 1
    assert positions.line(("a", "b", 7)) == 2
    assert positions.line(("nothing",)) is None


@pytest.mark.parametrize("text", ["", "]", "=", "[", "a", "a=[", 'a="', "{", "a = {b", "[[x"])
def test_what_is_not_toml_ends_too(text: str) -> None:
    Positions(text)
