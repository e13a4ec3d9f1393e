"""Patterns: what they match, and when one is known to be within another."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.rules import matches
from wasmos.kernel import pattern

MODES = [pattern.PLAIN, pattern.HOSTNAME, pattern.PATH]

MATCHES = [
    ("plain", "a*c", "abc a/c ac", "ab abcd Ac"),
    ("plain", "a?c", "abc a/c", "ac abbc"),
    ("plain", "é?", "éa", "é éé"),
    ("plain", r"\*\?", "*?", "ab"),
    ("plain", "*", "a .. a/b/", ""),
    ("hostname", "Ex.com", "ex.com EX.COM ex.com.", "a.ex.com ex.com.. .ex.com"),
    ("hostname", "example.com.", "example.com example.com.", "example.com.."),
    ("hostname", "*.b.c", "a.b.c x.a.b.c A.B.C.", "b.c .b.c ab.c b.c."),
    ("hostname", "*b.c", "b.c ab.c a.b.c", "b.cd"),
    ("hostname", "a.*.c", "a.b.c a.x.b.c", "a.c"),
    ("path", "/data/*", "/data/a data/a /data/a/ data/.a",
     "/data /data/ /data/a/b /data/.. /data//a"),
    ("path", "/data/**", "/data/a data/a/b/", "/data /data/ /data/../a /data/a//b /data/a/."),
    ("path", "/data/?", "/data/a", "/data/ab /data//"),
    ("path", "**", "/ a /a/b/c //", "/.. . a/./b ///"),
    ("path", "/", "/ //", "a /. ///"),
    ("path", "a?b", "axb", "a/b"),
    ("path", "**/x", "a/x a/b/x", "x /x"),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "text", "yes", "no"), MATCHES)
def test_matching(mode: str, text: str, yes: str, no: str) -> None:
    tokens = pattern.parse(text, mode)
    for subject in (*yes.split(), *no.split()):
        normal = pattern.normal(subject.encode(), mode)
        found = normal is not None and pattern.contains(tokens, normal, mode)
        assert found == (subject in yes.split()), subject


@pytest.mark.parametrize("mode", MODES)
def test_the_empty_text(mode: str) -> None:
    assert pattern.parse("", mode) == ()
    assert pattern.contains((), b"", mode)
    assert not pattern.contains((), b"a", mode)


def test_no_text_takes_long() -> None:
    """The usual way takes longer than there is time for this one."""
    tokens = pattern.parse("*a" * 30 + "b", pattern.PLAIN)
    assert not pattern.contains(tokens, b"a" * 250, pattern.PLAIN)


def test_as_long_as_the_kernel_has_room_for() -> None:
    pattern.parse("*a" * 750, pattern.PLAIN)
    with pytest.raises(ValueError, match="longer than 1,500 bytes"):
        pattern.parse("*a" * 751, pattern.PLAIN)


def _tried(make: str, mode: str) -> pattern.Tokens | None:
    try:
        return pattern.parse(make, mode)
    except ValueError:
        return None


_texts = st.text(st.sampled_from("ab./*?B\u00e9"), max_size=6) | st.sampled_from(
    ["*.a", "?*.a", "*."]
)


@given(text=_texts, mode=st.sampled_from(MODES))
@example("a..", "hostname")
@example("*..", "hostname")
def test_a_pattern_is_shown_so_that_it_reads_the_same(text: str, mode: str) -> None:
    tokens = _tried(text, mode)
    if tokens is not None:
        assert pattern.parse(pattern.show(tokens, mode), mode) == tokens


# Every normal text of up to four of these.
SUBJECTS = [bytes(t) for n in range(5) for t in itertools.product(b"ab./", repeat=n)]
_tokens = st.lists(st.sampled_from([97, 98, 46, 47, 256, 257, 258]), max_size=5).map(tuple)


def _meant(tokens: pattern.Tokens, mode: str) -> pattern.Tokens:
    """Without what only paths have."""
    run = pattern.RUN if mode != pattern.PATH else pattern.RUN_IN_NAME
    return tuple(run if token == pattern.RUN_IN_NAME else token for token in tokens)


@given(tokens=_tokens, mode=st.sampled_from(MODES))
def test_matching_is_as_regular_expressions_do_it(tokens: pattern.Tokens, mode: str) -> None:
    tokens = _meant(tokens, mode)
    compiled = pattern.compiled(tokens, mode)
    for subject in SUBJECTS[::3]:
        assert pattern.contains(tokens, subject, mode) == matches(compiled, subject, mode)


@settings(max_examples=300)
@given(outer=_tokens, inner=_tokens, mode=st.sampled_from(MODES))
@example((256,), (257,), "path")
@example((257,), (258,), "path")
@example((257,), (97, 47), "path")
@example((256,), (47,), "path")
@example((256, 258, 46, 97), (258, 46, 97), "hostname")
def test_what_is_contained_is_matched(
    outer: pattern.Tokens, inner: pattern.Tokens, mode: str
) -> None:
    outer, inner = _meant(outer, mode), _meant(inner, mode)
    if pattern.contains(outer, inner, mode):
        for subject in SUBJECTS:
            if pattern.contains(inner, subject, mode):
                assert pattern.contains(outer, subject, mode), subject


@given(tokens=_tokens, mode=st.sampled_from(MODES))
def test_a_pattern_contains_itself(tokens: pattern.Tokens, mode: str) -> None:
    tokens = _meant(tokens, mode)
    assert pattern.contains(tokens, tokens, mode)
    assert pattern.contains((pattern.RUN,), tokens, mode)
