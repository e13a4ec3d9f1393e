"""A record becomes the text of a line: all of it but its number, its time and its hash.

Law: whatever a record holds, the line is one line of printable ASCII and of bounded length, with
the keys in the schema's order and nothing in it that is masked. What is empty is left out.

Written by hand because every call of every task may pay for it. What records have in common is
made once: the text before the fields and the text after them are looked up by their values.
"""

from __future__ import annotations

from wasmos.errors import UsageError
from wasmos.system.audit.mask import CUT, MASKED, MAX_TEXT, secret_names, without
from wasmos.system.audit.schema import EVENTS, KEYS
from wasmos.system.units import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Any, TypeAlias

    from wasmos.system.audit.schema import Record

    Values: TypeAlias = tuple[Any, ...]

MAX_FIELDS = 32
MAX_WORDS = 1024  # characters of a rule or a reason
MAX_FRAMES = 32  # of a backtrace
MAX_CACHE = 4096  # entries; guests choose the values, so it has to end somewhere

_GIVEN = KEYS[KEYS.index("event") : KEYS.index("prev") + 1]
_BEFORE = _GIVEN[: _GIVEN.index("fields")]
_AFTER = _GIVEN[_GIVEN.index("fields") + 1 :]
_MADE = {"time_ns"}  # stands in a record, and is written by others


class Form:
    """Makes texts of records; keeps what it made."""

    def __init__(self, mask: Collection[str] = ()) -> None:
        self._mask = frozenset(mask)
        self._in_rules = self._mask | secret_names()
        self._shapes: dict[tuple[str, ...], _Shape] = {}
        self._words: dict[str, str] = {}

    def text(self, record: Record) -> str:
        """`"event":…` and so on. Raises UsageError for a key that isn't in the schema."""
        keys = tuple(record)
        shape = self._shapes.get(keys)
        if shape is None:
            shape = self._shapes[keys] = _Shape(keys)
        before = shape.before
        values = before.values(record)
        text = before.texts.get(values) or self._kept(before, values)
        if shape.has_fields and record["fields"]:
            text = f'{text},"fields":{{{self._fields(record["fields"])}}}'
        if (after := shape.after) is not None:
            values = after.values(record)
            if more := after.texts.get(values) or self._kept(after, values):
                text = f"{text},{more}"
        return text

    def _kept(self, half: _Half, values: Values) -> str:
        """Make a text that isn't there yet."""
        if len(half.texts) >= MAX_CACHE:
            half.texts.clear()
        pairs = zip(half.names, values, strict=True)
        said = [f'"{name}":{self._top(name, value)}' for name, value in pairs if value != ""]
        text = ",".join(said)
        half.texts[values] = text
        return text

    def _top(self, name: str, value: Any) -> str:
        if name == "event" and value not in EVENTS:
            raise UsageError(f"no audit event {value!r}; {nearest(str(value), EVENTS)}")
        if name in ("rule", "reason"):
            return _quoted(without(self._in_rules, str(value)), MAX_WORDS)
        if name == "backtrace":
            return f"[{','.join(map(_frame, value[:MAX_FRAMES]))}]"
        return _plain(value)

    def _fields(self, fields: Record) -> str:
        words = self._words
        made = []
        for name, value in fields.items():
            word = words.get(name) or self._name(name)
            if name in self._mask:
                made.append(f'{word}"{MASKED}"')
            elif type(value) is int:
                made.append(f"{word}{value}")
            elif type(value) is dict and type(size := value.get("len")) is int:
                made.append(f'{word}{{"len":{size}}}')
            elif type(value) is str:  # it may be a rule
                made.append(word + _quoted(without(self._in_rules, value)))
            else:
                made.append(word + _plain(value))
        return ",".join(made[:MAX_FIELDS])

    def _name(self, name: str) -> str:
        if len(self._words) >= MAX_CACHE:
            self._words.clear()
        word = self._words[name] = f"{_quoted(name)}:"
        return word


class _Half:
    """Some keys of a record, in order; how to get their values, and the texts made of those."""

    def __init__(self, names: tuple[str, ...]) -> None:
        from operator import itemgetter

        self.names = names
        self.texts: dict[Values, str] = {}
        get: Callable[[Record], Any] = itemgetter(*names)
        # One key gives a value instead of a tuple of one.
        self.values: Callable[[Record], Values]
        self.values = get if len(names) > 1 else lambda record: (get(record),)


class _Shape:
    """What records with the same keys, in whatever order, have in common."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            if key not in _GIVEN and key not in _MADE:
                raise UsageError(f"an audit record has no key {key!r}; {nearest(key, _GIVEN)}")
        if "event" not in keys:
            raise UsageError("an audit record needs an 'event'")
        self.before = _Half(tuple(name for name in _BEFORE if name in keys))
        after = tuple(name for name in _AFTER if name in keys)
        self.after = _Half(after) if after else None
        self.has_fields = "fields" in keys


def _plain(value: Any) -> str:
    """A value as JSON. What no message can hold is shown as the text of it."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f'{{"len":{len(value)}}}'
    return _quoted(str(value))


def _frame(frame: Sequence[Any]) -> str:
    """As `Exit.backtrace` has it."""
    index, function, offset, part = frame
    said = f'"function":{int(index)}'
    if function:
        said += f',"name":{_quoted(function)}'
    if offset < 1 << 32:  # else the engine doesn't know it
        said += f',"byte":{int(offset)}'
    return f'{{{said},"part":{_quoted(part)}}}' if part else f"{{{said}}}"


def _quoted(text: str, limit: int = MAX_TEXT) -> str:
    if len(text) > limit:
        text = text[:limit] + CUT
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    import json

    return json.dumps(text)
