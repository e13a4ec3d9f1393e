"""Constraints: the values that a rule allows for one field of a message.

Law: a constraint is a set of values in one canonical form, checked against its field when it is
made, and never empty. It says the same in four ways: as text, as a test for the kernel, as a
predicate on a value, and in English.
"""

from __future__ import annotations

from bisect import bisect_right

from wasmos import abi
from wasmos.abi.networks import LAST_ADDRESS, PUBLIC
from wasmos.kernel import address, pattern
from wasmos.kernel.rule_text import Word, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal, TypeAlias

    from wasmos.kernel.address import Intervals
    from wasmos.kernel.rule_text import Item, Parts, Scalar

    # What the kernel is given; offsets and sizes are of the message in memory.
    Test: TypeAlias = (
        tuple[Literal["int"], int, int, bool, Intervals]
        | tuple[Literal["strlen"], int, int, Intervals]
        | tuple[Literal["text"], int, int, str, tuple[pattern.Compiled, ...]]
    )

ADDRESS = "ipv4"
OWN_NAME = "own_name"
LAST_NUMBER = 1 << 32  # beyond all that a field holds
_BOUNDS = {
    abi.INT32: (-(1 << 31), (1 << 31) - 1),
    abi.UINT32: (0, LAST_ADDRESS),
    abi.UINT16: (0, 0xFFFF),
    abi.INT64: (-(1 << 63), (1 << 63) - 1),
}
# What has a length and is not a text: bytes in the message, or lent with it.
_SIZED = (abi.BYTES, abi.LENT, abi.LENT_OUT)
_SIGNED = (abi.INT32, abi.INT64)


class Constraint:
    """What is common to all. `key` is what stands before the "=" in a rule."""

    __slots__ = ("field", "key")

    def __init__(self, field: abi.Field, key: str) -> None:
        self.field = field
        self.key = key

    def values(self) -> list[str]:
        raise NotImplementedError

    def test(self) -> Test:
        raise NotImplementedError

    def admits(self, value: object, unsure: bool = False) -> bool:
        """Whether a value of the field is allowed; `unsure` is the answer where that can't be
        told."""
        raise NotImplementedError

    def covers(self, other: Constraint) -> bool:
        """Whether it certainly allows all that another constraint with its key does."""
        raise NotImplementedError

    def steps(self, other: Constraint) -> int:
        """How many steps `covers` takes at most, about."""
        raise NotImplementedError

    def describe(self) -> str:
        raise NotImplementedError

    @property
    def is_open(self) -> bool:
        """Whether every message has an allowed value."""
        return False

    def __str__(self) -> str:
        values = self.values()
        return f"{self.key}={values[0] if len(values) == 1 else '[' + ', '.join(values) + ']'}"


class Numbers(Constraint):
    """Of an integer, an address, or the length of a text or of bytes. Intervals in order, apart."""

    __slots__ = ("intervals",)

    def __init__(self, field: abi.Field, key: str, intervals: Iterable[tuple[int, int]]) -> None:
        super().__init__(field, key)
        self.intervals = address.merged(intervals)

    def values(self) -> list[str]:
        if self.field.meaning == ADDRESS:
            return address.show(self.intervals)
        return [
            address.show_interval(*interval, *bounds(self.field)) for interval in self.intervals
        ]

    def test(self) -> Test:
        field = self.field
        if field.kind == abi.CSTR:
            return "strlen", field.offset, field.size, self.intervals
        if field.kind in _SIZED:
            return "int", field.len_offset, 4, False, self.intervals
        return "int", field.offset, field.size, field.kind in _SIGNED, self.intervals

    def admits(self, value: object, unsure: bool = False) -> bool:  # noqa: ARG002
        number = value if isinstance(value, int) else len(_raw(value))
        return any(low <= number <= high for low, high in self.intervals)

    def covers(self, other: Constraint) -> bool:
        return isinstance(other, Numbers) and all(map(self._includes, other.intervals))

    def steps(self, other: Constraint) -> int:
        return len(other.intervals) if isinstance(other, Numbers) else 0

    def _includes(self, interval: tuple[int, int]) -> bool:
        """Whether it lies in one of its own, which are in order and apart."""
        at = bisect_right(self.intervals, (interval[0], LAST_NUMBER)) - 1
        return at >= 0 and interval[1] <= self.intervals[at][1]

    @property
    def is_open(self) -> bool:
        return self.field.kind in _BOUNDS and self.intervals == (bounds(self.field),)

    def describe(self) -> str:
        field = self.field
        if field.kind not in _BOUNDS:
            unit = f"bytes of {field.name.replace('_', ' ')}"
            return f"with {_alternatives(_in_words(self.intervals, bounds(field)))} {unit}"
        if field.meaning == ADDRESS:
            words = {'"any"': "any public address", '"all"': "any address"}
            return "to " + _alternatives(words.get(v, v.strip('"')) for v in self.values())
        shown = _in_words(self.intervals, bounds(field))
        if field.meaning == "port":
            is_one = len(shown) == 1 and shown[0].isdigit()
            return f"on {'port' if is_one else 'ports'} {_alternatives(shown)}"
        return f"with {field.name.replace('_', ' ')} {_alternatives(shown)}"


class Texts(Constraint):
    """Of a text: patterns, in order. `likes` are those with wildcards."""

    __slots__ = ("_known", "likes", "mode", "patterns")

    def __init__(self, field: abi.Field, patterns: Iterable[pattern.Tokens]) -> None:
        super().__init__(field, field.name)
        self.mode = pattern.mode_of(field)
        self._known = frozenset(patterns)
        self.patterns = tuple(sorted(self._known))
        self.likes = tuple(each for each in self.patterns if not pattern.is_literal(each))

    def values(self) -> list[str]:
        return [quote(pattern.show(tokens, self.mode)) for tokens in self.patterns]

    def test(self) -> Test:
        patterns = tuple(pattern.compiled(tokens, self.mode) for tokens in self.patterns)
        return "text", self.field.offset, self.field.size, self.mode, patterns

    def admits(self, value: object, unsure: bool = False) -> bool:
        text = pattern.normal(_raw(value), self.mode)
        if text is None:
            return unsure
        return any(pattern.contains(tokens, text, self.mode) for tokens in self.patterns)

    def covers(self, other: Constraint) -> bool:
        return isinstance(other, Texts) and all(
            any(pattern.contains(mine, theirs, self.mode) for mine in self.likes)
            for theirs in other._known - self._known  # a literal contains nothing but itself
        )

    def steps(self, other: Constraint) -> int:
        if not self.likes or not isinstance(other, Texts):
            return 0
        return sum(map(len, self.likes)) * sum(map(len, other._known - self._known))

    def describe(self) -> str:
        word = {"hostname": "for", "path": "at"}.get(self.field.meaning)
        word = "as" if self.field.name == "new_path" else word
        word = word or f"with {self.field.name.replace('_', ' ')}"
        return f"{word} {_alternatives(self.values())}"


class OwnName(Texts):
    """A field where a task says what it is called, left as it is: the name it has."""

    __slots__ = ()

    def __init__(self, field: abi.Field, own_name: str) -> None:
        super().__init__(field, [tuple(own_name.encode("utf-8", "surrogateescape"))])

    def describe(self) -> str:
        return "under its own name"


def default(field: abi.Field, own_name: str) -> Constraint | None:
    """What an allowing rule demands of a field that it doesn't speak of."""
    if field.meaning == ADDRESS:
        return Numbers(field, field.name, PUBLIC)
    return OwnName(field, own_name) if field.meaning == OWN_NAME else None


def build(parts: Parts, item: Item, field: abi.Field) -> Constraint:
    """The constraint that an item of a rule puts on a field. Raises RuleError."""
    if field.kind == abi.UINT8_ARRAY:
        parts.fail(f"{item.name} is an array of bytes, which no rule can constrain", item.column)
    if item.is_length:
        if field.kind in _BOUNDS:
            parts.fail(f"{item.name} is a number and has no length", item.column)
        return Numbers(field, item.key, [_interval(parts, item, field, v) for v in item.values])
    if field.kind in _SIZED:
        advice = f"as in len({item.name})=..{bounds(field)[1]}"
        parts.fail(f"{item.name} is bytes: only its length has bounds, {advice}", item.column)
    if field.kind == abi.CSTR:
        return Texts(field, [_pattern(parts, item, field, value) for value in item.values])
    if field.meaning == ADDRESS:
        intervals = (_addresses(parts, item, field, value) for value in item.values)
        return Numbers(field, item.key, [one for several in intervals for one in several])
    return Numbers(field, item.key, [_interval(parts, item, field, v) for v in item.values])


def bounds(field: abi.Field) -> tuple[int, int]:
    """The least and the greatest number; of a text or of bytes, its length."""
    if field.kind in (abi.LENT, abi.LENT_OUT):
        return 0, LAST_ADDRESS
    return _BOUNDS.get(field.kind) or (0, field.size - (field.kind == abi.CSTR))


def _interval(parts: Parts, item: Item, field: abi.Field, scalar: Scalar) -> tuple[int, int]:
    value, column = scalar
    least, most = bounds(field)
    wanted = f"{item.key} is a number from {least:,} to {most:,}"
    if isinstance(value, str):
        parts.fail(f"{wanted}, not {value if isinstance(value, Word) else quote(value)}", column)
    for number in value:
        if number is not None and not least <= number <= most:
            parts.fail(f"{wanted}, not {number}", column)
    low, high = value
    return least if low is None else low, most if high is None else high


def _pattern(parts: Parts, item: Item, field: abi.Field, scalar: Scalar) -> pattern.Tokens:
    value, column = scalar
    if isinstance(value, Word):
        advice = f'any is "{"**" if field.meaning == "path" else "*"}"'
        parts.fail(f"{item.name} is a text in quotes, not {value}; {advice}", column)
    if not isinstance(value, str):
        parts.fail(f"{item.name} is a text in quotes, not a number", column)
    try:
        tokens = pattern.parse(value, pattern.mode_of(field))
    except ValueError as error:
        parts.fail(f"{item.name}: {quote(value)}: {error}", column)
    size = pattern.least_size(tokens)
    if size >= field.size:
        parts.fail(f"{item.name} holds {field.size - 1:,} bytes at most, not {size:,}", column)
    return tokens


def _addresses(parts: Parts, item: Item, field: abi.Field, scalar: Scalar) -> Intervals:
    value, column = scalar
    if not isinstance(value, str):
        return (_interval(parts, item, field, scalar),)
    try:
        return address.parse(value)
    except ValueError as error:
        return parts.fail(f"{item.name}: {quote(value)} {error}", column)


# --- for people ---


def _raw(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")


def _in_words(intervals: Intervals, ends: tuple[int, int]) -> list[str]:
    shown = []
    for low, high in intervals:
        if low == high:
            shown.append(str(low))
        elif low == ends[0]:
            shown.append(f"up to {high}")
        else:
            shown.append(f"{low} or more" if high == ends[1] else f"{low} to {high}")
    return shown


def _alternatives(shown: Iterable[str]) -> str:
    *first, last = shown
    return f"{', '.join(first)} or {last}" if first else last
