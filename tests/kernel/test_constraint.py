"""Constraints, one field at a time: their four ways of saying the same agree."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.rules import VOCABULARY, Mix, Names, encoded, passes
from wasmos import RuleError, abi
from wasmos.kernel import pattern
from wasmos.kernel.constraint import Constraint, bounds
from wasmos.kernel.rule import Rule


def constraint(name: str, key: str, value: str) -> Constraint:
    return Rule.parse(f"lab.{name}({key}={value})", VOCABULARY).constraints[key]


_small = st.integers(-4, 4)


@st.composite
def _number_sets(draw: st.DrawFn) -> str:
    ends = draw(st.lists(st.tuples(_small, _small).map(sorted), min_size=1, max_size=3))
    return "[" + ", ".join(f"{low}..{high}" for low, high in ends) + "]"


@given(mine=_number_sets(), other=_number_sets())
def test_numbers(mine: str, other: str) -> None:
    a, b = constraint("lab_mix", "whole", mine), constraint("lab_mix", "whole", other)
    admitted = [{n for n in range(-5, 6) if one.admits(n)} for one in (a, b)]
    assert a.covers(b) == (admitted[0] >= admitted[1])
    for number in range(-5, 6):
        raw = encoded(Mix(whole=number))
        assert passes(a.test(), raw) == a.admits(number)


_patterns = st.text(st.sampled_from("aB.*?/"), max_size=4)
_subjects = st.text(st.sampled_from("ab./"), max_size=4)


@settings(max_examples=300)
@given(
    field=st.sampled_from(["host", "path"]), mine=_patterns, other=_patterns,
    subjects=st.lists(_subjects, max_size=20), unsure=st.booleans(),
)  # fmt: skip
def test_texts(field: str, mine: str, other: str, subjects: list[str], unsure: bool) -> None:
    try:
        a, b = (constraint("names", field, f"'{pattern}'") for pattern in (mine, other))
    except RuleError:
        assume(False)
    for subject in (*subjects, mine, other):
        message = Names(**{field: subject})
        assert passes(a.test(), encoded(message), unsure) == a.admits(subject, unsure)
        if a.covers(b):
            assert a.admits(subject) or not b.admits(subject)


def test_what_both_name_is_not_compared() -> None:
    """A list of texts in another one is looked up, so it takes as long as it is."""
    names = [f'"{n}"' for n in range(60)]
    mine, other = (Rule.parse(f"env.get(name=[{', '.join(some)}])") for some in (names, names[1:]))
    with mock.patch.object(pattern, "contains") as contains:
        assert mine.covers(other)
        assert not other.covers(mine)
    assert contains.call_count == 0


def test_a_text_without_an_end_is_never_allowed_and_always_denied() -> None:
    raw = bytearray(encoded(Names(host="a")))
    raw[8:16] = b"a" * 8
    for key, value in (("host", "'*'"), ("len(host)", "0..")):
        test = constraint("names", key, value).test()
        assert not passes(test, raw)
        assert passes(test, raw, unsure=True)


def test_a_length_that_is_none_is_not_allowed() -> None:
    raw = bytearray(encoded(Mix(data=b"abc")))
    test = constraint("lab_mix", "len(data)", "0..").test()
    assert passes(test, raw)
    raw[32:36] = b"\xff\xff\xff\xff"
    assert not passes(test, raw)


def _fields() -> Iterator[abi.Field]:
    yield from (field for message in abi.MESSAGES.values() for field in message.FIELDS)


def test_only_full_numbers_are_open() -> None:
    assert constraint("lab_mix", "port", "0..").is_open
    assert not constraint("lab_mix", "port", "1..").is_open
    assert not constraint("names", "host", "'*'").is_open
    assert not constraint("names", "len(host)", "0..").is_open
    assert not constraint("lab_mix", "len(data)", "0..").is_open


def test_bounds() -> None:
    found = {(field.kind, bounds(field)) for field in _fields() if field.kind <= abi.UINT16}
    assert found == {
        (abi.INT32, (-(1 << 31), (1 << 31) - 1)),
        (abi.UINT32, (0, (1 << 32) - 1)),
        (abi.UINT16, (0, (1 << 16) - 1)),
    }


@pytest.mark.parametrize("meaning", ["hostname", "path", "name", "own_name", "ipv4", "port"])
def test_every_meaning_is_used_by_a_message(meaning: str) -> None:
    """Else the defaults and the modes of matching would be for nobody."""
    assert meaning in {field.meaning for field in _fields()}
