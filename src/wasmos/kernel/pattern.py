"""Patterns of texts: `*.example.com`, `/data/**`.

Law: a pattern is a tuple of tokens, and a text is a pattern without wildcards, so one function says
both what matches and which pattern allows all that another does. Compared are texts in their usual
form, as the kernel compares them: see `normal`.

`*` is a run of any bytes, `?` is one byte, and a backslash makes either literal. In paths neither
crosses a "/", and `**` is a run that does. `*.` at the beginning of a host's name is at least one
label: a domain is not its own subdomain.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal, TypeAlias

    from wasmos.abi import Field

    Tokens: TypeAlias = tuple[int, ...]
    Compiled: TypeAlias = tuple[Literal["is", "ends"], bytes] | tuple[Literal["like"], Tokens]

# Tokens beyond the 256 bytes. In a path, neither of the first two is a "/".
ONE = 256
RUN_IN_NAME = 257
RUN = 258

PLAIN = "plain"
HOSTNAME = "hostname"
PATH = "path"

# The kernel has room for no more.
MAX_TOKENS = 1500

_STAR, _QUESTION, _BACKSLASH, _SLASH, _DOT = b"*?\\/."
_SHOWN = {ONE: b"?", RUN_IN_NAME: b"*", RUN: b"*"}


def mode_of(field: Field) -> str:
    """What a field stands for says how its texts are compared."""
    return field.meaning if field.meaning in (HOSTNAME, PATH) else PLAIN


def parse(text: str, mode: str) -> Tokens:
    """Raises ValueError, which says what is wrong with it."""
    tokens = _tokens(text.encode("utf-8", "surrogateescape"), mode)
    if mode == PATH:
        tokens = _stripped(tokens)
        _check_components(tokens)
    elif mode == HOSTNAME:
        if tokens[-1:] == (_DOT,):
            tokens = tokens[:-1]
        if tokens[:2] == (RUN, _DOT) and is_literal(tokens[1:]):
            tokens = (ONE, *tokens)
    if len(tokens) > MAX_TOKENS:
        raise ValueError(f"longer than {MAX_TOKENS:,} bytes")
    return tokens


def show(tokens: Tokens, mode: str) -> str:
    """The text that `parse` makes the same tokens of."""
    parts = bytearray(b"/" if mode == PATH else b"")
    for token in tokens[1:] if _is_subdomains(tokens, mode) else tokens:
        if token == RUN and mode == PATH:
            parts += b"**"
        elif token in _SHOWN:
            parts += _SHOWN[token]
        else:
            parts += b"\\" * (token in b"*?\\") + bytes([token])
    if mode == HOSTNAME and tokens[-1:] == (_DOT,):
        parts += b"."
    return parts.decode("utf-8", "surrogateescape")


def compiled(tokens: Tokens, mode: str) -> Compiled:
    """In the form that the kernel reads."""
    if is_literal(tokens):
        return "is", bytes(tokens)
    if _is_subdomains(tokens, mode):
        return "ends", bytes(tokens[2:])
    return "like", tokens


def normal(text: bytes, mode: str) -> bytes | None:
    """A text as it is compared. None if it is a path that doesn't say by itself where it leads."""
    if mode == HOSTNAME:
        return text.lower().removesuffix(b".")
    if mode != PATH:
        return text
    text = text.removeprefix(b"/").removesuffix(b"/")
    is_plain = not text or not {b"", b".", b".."} & set(text.split(b"/"))
    return text if is_plain else None


MAX_STEPS = 4096  # of comparing two patterns: longer ones have to be equal


def contains(pattern: Tokens, inner: Sequence[int], mode: str) -> bool:
    """Whether `pattern` matches all that `inner`, a text or a pattern, does. If it says so, it is
    so; of two patterns that have wildcards it can miss it.

    All ways through the pattern are followed at once, so no text can make it take long.
    """
    if len(pattern) * len(inner) > MAX_STEPS and not is_text(inner):
        return tuple(pattern) == tuple(inner)
    at = [True, *[False] * len(pattern)]  # at[j]: the first j tokens have matched
    _pass_runs(pattern, at)
    for token in inner:
        matched = [False] * len(at)
        for j, wanted in enumerate(pattern):
            if wanted >= RUN_IN_NAME:
                matched[j + 1] = (at[j] or at[j + 1]) and _in_run(wanted, token)
            elif wanted == ONE:
                in_name = mode != PATH or token != _SLASH
                matched[j + 1] = at[j] and token <= ONE and in_name
            else:
                matched[j + 1] = at[j] and token == wanted
        if not any(matched):
            return False
        at = matched
        _pass_runs(pattern, at)
    return at[-1]


def is_text(tokens: Sequence[int]) -> bool:
    """Whether there is no wildcard in it."""
    return all(token < ONE for token in tokens)


def least_size(tokens: Tokens) -> int:
    """How many bytes a text that matches has at least."""
    return sum(token <= ONE for token in tokens)


def is_literal(tokens: Tokens) -> bool:
    return max(tokens, default=0) < ONE


def _pass_runs(pattern: Tokens, at: list[bool]) -> None:
    """A run can be nothing at all."""
    for j, wanted in enumerate(pattern):
        at[j + 1] = at[j + 1] or (at[j] and wanted >= RUN_IN_NAME)


def _in_run(run: int, token: int) -> bool:
    return run == RUN or token not in (_SLASH, RUN)


def _is_subdomains(tokens: Tokens, mode: str) -> bool:
    return mode == HOSTNAME and tokens[:3] == (ONE, RUN, _DOT) and is_literal(tokens[3:])


def _tokens(raw: bytes, mode: str) -> Tokens:
    if mode == HOSTNAME:
        raw = raw.lower()
    found: list[int] = []
    at = 0
    while at < len(raw):
        byte = raw[at]
        at += 1
        if byte == _BACKSLASH:
            if raw[at : at + 1] not in (b"*", b"?", b"\\"):
                raise ValueError("what follows a backslash in a pattern is *, ? or a backslash")
            found.append(raw[at])
            at += 1
        elif byte == _STAR:
            stars = len(raw[at - 1 :]) - len(raw[at - 1 :].lstrip(b"*"))
            at += stars - 1
            found.append(RUN if stars > 1 or mode != PATH else RUN_IN_NAME)
        else:
            found.append(ONE if byte == _QUESTION else byte)
    return tuple(found)


def _stripped(tokens: Tokens) -> Tokens:
    """Without one "/" at each end."""
    if tokens[:1] == (_SLASH,):
        tokens = tokens[1:]
    return tokens[:-1] if tokens[-1:] == (_SLASH,) else tokens


def _check_components(tokens: Tokens) -> None:
    component: list[int] = []
    for token in (*tokens, _SLASH) if tokens else ():
        if token != _SLASH:
            component.append(token)
        elif component in ([], [_DOT], [_DOT, _DOT]):
            name = bytes(component).decode()
            what = f"a component {name!r}" if name else "an empty component"
            raise ValueError(f"no path with {what} is ever allowed")
        else:
            component = []
