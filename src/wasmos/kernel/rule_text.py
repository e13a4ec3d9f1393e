"""The text of rules: its parts, and how they are written so that they read back the same.

Law: knows no message and no service. What is written shows in full: nothing that a terminal or an
editor would hide, or take for something else, stands there as it is.
"""

from __future__ import annotations

from wasmos.errors import RuleError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, TypeAlias

    # A text, or a bare word; a range's ends, None where it has none; and where it stands.
    Scalar: TypeAlias = tuple["str | Word | tuple[int | None, int | None]", int]

MAX_TEXT_BYTES = 4096
MAX_NAME_BYTES = 63
MAX_USES = (1 << 31) - 1
MAX_NS = 10**18  # some 30 years, as for all other times
EVERYTHING = "*"

MAX_DIGITS = 20
# Nanoseconds; without a unit, it is seconds.
UNITS = {
    "h": 3600 * 10**9, "min": 60 * 10**9, "m": 60 * 10**9, "s": 10**9, "": 10**9,
    "ms": 10**6, "us": 10**3, "ns": 1,
}  # fmt: skip


class Word(str):
    """A word without quotes where a value stands: `any`."""

    __slots__ = ()


class Item:
    """`name=value`, or `len(name)=value`."""

    __slots__ = ("column", "is_length", "listed", "name", "values")

    def __init__(
        self, name: str, is_length: bool, values: list[Scalar], listed: bool, column: int
    ) -> None:
        self.name = name
        self.is_length = is_length
        self.values = values
        self.listed = listed
        self.column = column

    @property
    def key(self) -> str:
        return f"len({self.name})" if self.is_length else self.name


class Parts:
    """A rule as it was written. Columns count from 0."""

    __slots__ = ("items", "message", "message_column", "ns", "service", "text", "uses")

    def __init__(self, text: str) -> None:
        self.text = text
        self.service = ""
        self.message: str | None = None
        self.message_column = 0
        self.items: list[Item] = []
        self.uses: int | None = None
        self.ns: int | None = None

    def fail(self, problem: str, column: int = 0) -> NoReturn:
        message = f'rule "{printable(self.text)}": {printable(problem)}'
        raise RuleError(message, self.text, column + 1)


def quote(text: str) -> str:
    """A string as rules have it: without anything that wouldn't show."""
    return f'"{printable(text, quoted=True)}"'


def printable(text: str, *, quoted: bool = False) -> str:
    if quoted:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return text if text.isprintable() else "".join(map(escaped, text))


def escaped(character: str) -> str:
    number = ord(character)
    if character.isprintable():
        return character
    if character == "\n":
        return "\\n"
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def check_lifetime(uses: int | None, ns: int | None) -> None:
    """Raises UsageError."""
    if uses is not None and not 1 <= uses <= MAX_USES:
        raise UsageError(f"a right has 1 to {MAX_USES:,} uses, not {uses:,}")
    if ns is not None and not 1 <= ns <= MAX_NS:
        raise UsageError(f"a lifetime is 1ns to {MAX_NS // 10**9:,}s")


def show_lifetime(uses: int | None, ns: int | None) -> str:
    """` for 5m 3 times`; nothing if there is no end."""
    text = ""
    if ns is not None:
        unit = next(unit for unit, factor in UNITS.items() if unit != "min" and ns % factor == 0)
        text = f" for {ns // UNITS[unit]}{unit}"
    if uses is not None:
        text += " once" if uses == 1 else f" {uses} times"
    return text


def split(text: str) -> list[str]:
    """The rules of a text that separates them by commas: `console,tcpip.connect(dst_port=[1, 2])`.
    Raises RuleError where there is nothing between two commas."""
    if not text.strip():
        return []
    parts = [""]
    quote_, depth, escaped = "", 0, False
    for character in text:
        if quote_:
            quote_ = "" if character == quote_ and not escaped else quote_
            escaped = character == "\\" and not escaped
        elif character in "\"'":
            quote_ = character
        elif character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif character == "," and depth <= 0:
            parts.append("")
            continue
        parts[-1] += character
    parts = [part.strip() for part in parts]
    if "" in parts:
        raise RuleError(f"rules {printable(text)!r}: there is nothing beside a comma", text)
    return parts
