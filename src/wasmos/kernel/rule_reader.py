"""Reading the text of rules.

Law: knows the grammar, and no message. A text is read to its last character or refused, with the
column where it stops making sense. Written by hand, because a parser's library takes longer to
import than most programs run.

    rule     := ("*" | service ["." message] ["(" item {"," item} ")"]) {lifetime}
    item     := (name | "len" "(" name ")") "=" value
    value    := scalar | "[" scalar {"," scalar} "]"
    scalar   := integer | [integer] ".." [integer] | string | "any" | "all"
    lifetime := "for" TIME | "once" | integer "times"
"""

from __future__ import annotations

from wasmos.errors import UsageError
from wasmos.kernel.rule_text import (
    EVERYTHING,
    MAX_DIGITS,
    MAX_NAME_BYTES,
    MAX_NS,
    MAX_TEXT_BYTES,
    MAX_USES,
    UNITS,
    Item,
    Parts,
    Word,
    escaped,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from wasmos.kernel.rule_text import Scalar

# Sets and not texts: nothing, which is what stands behind the end, is in every text.
_DIGITS = frozenset("0123456789")
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_ESCAPES = {'"': '"', "'": "'", "\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
_HEX_ESCAPES = {"x": 2, "u": 4, "U": 8}


def read(text: str) -> Parts:
    """Raises RuleError."""
    return _Reader(text).rule()


class _Reader:
    """A place in a text that only moves on."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise UsageError(f"a rule is a text like 'tcpip.listen(listen_port=80)', not {text!r}")
        self.parts = Parts(text)
        self.text = text
        self.at = 0
        if len(text) > MAX_TEXT_BYTES or len(text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
            self.parts.text = text[:60] + "…"
            self.parts.fail(f"longer than {MAX_TEXT_BYTES:,} bytes")
        if not text.isprintable():
            self._refuse_what_does_not_show()

    def _refuse_what_does_not_show(self) -> NoReturn:
        column = next(i for i, c in enumerate(self.text) if not c.isprintable())
        escape = escaped(self.text[column])
        self.parts.fail(
            f"column {column + 1} is a control character; within quotes, write {escape}", column
        )

    def rule(self) -> Parts:
        parts = self.parts
        self._spaces()
        if self._accept(EVERYTHING):
            parts.service = EVERYTHING
            if self._peek() in (".", "("):
                self._fail("'*' is everything, so nothing can follow it but a lifetime")
        else:
            self._service()
            if self._peek() not in ("", " ", ".", "("):
                self._fail("a name with other characters than a-z A-Z 0-9 _ - needs quotes")
            if self._accept("."):
                parts.message_column = self.at
                parts.message = self._word("a message")
            self._spaces()
            if self._accept("("):
                parts.items = self._items()
        self._lifetime()
        return parts

    def _service(self) -> None:
        column = self.at
        name = self._string() if self._peek() in ('"', "'") else self._word("a service")
        size = len(name.encode("utf-8", "surrogateescape"))
        if not 0 < size <= MAX_NAME_BYTES:
            self.parts.fail(f"a service's name has 1 to {MAX_NAME_BYTES} bytes, not {size}", column)
        if name == EVERYTHING:
            self.parts.fail("no service can be called '*'; without quotes, it is all", column)
        self.parts.service = name

    def _items(self) -> list[Item]:
        items: list[Item] = []
        while True:
            items.append(self._item())
            if any(items[-1].key == item.key for item in items[:-1]):
                self.parts.fail(
                    f"{items[-1].key} stands there twice; several values are a list: "
                    f"{items[-1].key}=[…, …]",
                    items[-1].column,
                )
            if self._accept(")"):
                return items
            self._expect(",", "',' or ')'")

    def _item(self) -> Item:
        self._spaces()
        column = self.at
        name = self._word("a field")
        self._spaces()
        is_length = name == "len" and self._accept("(")
        if is_length:
            self._spaces()
            name = self._word("a field")
            self._expect(")")
        self._expect("=")
        self._spaces()
        listed = self._accept("[")
        values = [self._scalar()]
        while listed and not self._accept("]"):
            self._expect(",", "',' or ']'")
            values.append(self._scalar())
        self._spaces()
        return Item(name, is_length, values, listed, column)

    def _scalar(self) -> Scalar:
        self._spaces()
        column = self.at
        here = self._peek()
        value: str | tuple[int | None, int | None]
        if here in ('"', "'"):
            value = self._string()
        elif here.isascii() and here.isalpha():
            value = Word(self._word("a value"))
        elif here == "]":
            self._fail("a list has at least one value")
        else:
            value = self._range()
        self._spaces()
        return value, column

    def _range(self) -> tuple[int | None, int | None]:
        column = self.at
        low = None if self.text.startswith("..", self.at) else self._integer()
        self._spaces()
        if not self.text.startswith("..", self.at):
            return low, low
        self.at += 2
        self._spaces()
        high = self._integer() if self._peek() in _DIGITS | {"-"} else None
        if low is None and high is None:
            self.parts.fail("a range has at least one end: 1.., ..9 or 1..9", column)
        if low is not None and high is not None and low > high:
            self.parts.fail(f"{low}..{high} is empty; did you mean {high}..{low}?", column)
        return low, high

    def _integer(self) -> int:
        column = self.at
        sign = -1 if self._accept("-") else 1
        is_hex = self.text[self.at : self.at + 2] in ("0x", "0X")
        start = self.at = self.at + 2 * is_hex
        while self._peek() in (_HEX_DIGITS if is_hex else _DIGITS):
            self.at += 1
        digits = self.text[start : self.at]
        if not digits:
            self.at = column
            self._fail('expected a value: a number, a range like 1..9, or a text in "quotes"')
        if len(digits) > MAX_DIGITS:
            self.parts.fail("no field holds a number of that size", column)
        if not is_hex and digits[0] == "0" and digits != "0":
            self.parts.fail("a number has no leading zeros", column)
        if self._peek() in _WORD:
            self._fail("a number ends here; expected ',' or ')'")
        return sign * int(digits, 16 if is_hex else 10)

    def _string(self) -> str:
        column, end = self.at, self._peek()
        self.at += 1
        found: list[str] = []
        while True:
            character = self._peek()
            self.at += 1
            if not character:
                self.parts.fail(f"the text from column {column + 1} on has no end quote", column)
            if character == end:
                break
            found.append(self._escape() if character == "\\" else character)
        try:
            # Bytes that are no UTF-8 can be written one by one, and may turn out to be some.
            raw = "".join(found).encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            self.parts.fail(r"half a character; \udc80 to \udcff stand for single bytes", column)
        if 0 in raw:
            self.parts.fail("no text holds a NUL", column)
        return raw.decode("utf-8", "surrogateescape")

    def _escape(self) -> str:
        """What follows a backslash."""
        kind = self._peek()
        self.at += 1
        if kind in _ESCAPES or not kind:
            return _ESCAPES.get(kind, "")
        size = _HEX_ESCAPES.get(kind, 0)
        digits = self.text[self.at : self.at + size]
        self.at += len(digits)
        if size and len(digits) == size and _HEX_DIGITS.issuperset(digits):
            number = int(digits, 16)
            if number <= 0x10FFFF:
                return chr(number)
        return self.parts.fail(
            f'unknown escape \\{kind}{digits}; there are \\" \\\\ \\n \\r \\t \\xNN \\uNNNN '
            r"\UNNNNNNNN, and a literal * in a pattern is \\*",
            self.at - len(digits) - 2,
        )

    def _lifetime(self) -> None:
        parts = self.parts
        self._spaces()
        while self._peek():
            column = self.at
            word = self._word("'for', 'once' or a number of 'times', or the end")
            self._spaces()
            if word == "for" and parts.ns is None:
                parts.ns = self._time()
            elif word == "once" and parts.uses is None:
                parts.uses = 1
            elif word.isdigit() and parts.uses is None and self._accept_word("times"):
                parts.uses = self._uses(word, column)
            else:
                self.at = column
                self._fail(f"expected 'for TIME', 'once' or 'N times', not {word!r}")
            self._spaces()

    def _uses(self, word: str, column: int) -> int:
        uses = int(word) if len(word) <= MAX_DIGITS else 0
        if not 1 <= uses <= MAX_USES:
            self.parts.fail(f"1 to {MAX_USES:,} times, not {word}", column)
        return uses

    def _time(self) -> int:
        """Nanoseconds."""
        column = self.at
        while self._peek() in _DIGITS | {"."}:
            self.at += 1
        digits = self.text[column : self.at]
        self._spaces()
        unit_at = self.at
        while self._peek() in _WORD:
            self.at += 1
        unit = self.text[unit_at : self.at]
        if unit not in UNITS:  # `for 60 once`: the number is all of it
            self.at, unit = unit_at, "" if unit == "once" or unit.isdigit() else unit
        if unit not in UNITS or digits.count(".") > 1 or not digits.strip("."):
            self.parts.fail(
                f"{self.text[column:].strip()!r} is not a time like 5s or 250ms", column
            )
        factor = UNITS[unit]
        if len(digits) > MAX_DIGITS:
            digits = str(MAX_NS)
        ns = int(digits) * factor if digits.isdigit() else round(float(digits) * factor)
        if not 1 <= ns <= MAX_NS:
            self.parts.fail(f"a lifetime is 1ns to {MAX_NS // 10**9:,}s", column)
        return ns

    # --- the smallest steps ---

    def _peek(self) -> str:
        """The next character; nothing at the end."""
        return self.text[self.at : self.at + 1]

    def _spaces(self) -> None:
        while self._peek() == " ":
            self.at += 1

    def _accept(self, character: str) -> bool:
        found = self._peek() == character
        self.at += found
        return found

    def _accept_word(self, word: str) -> bool:
        end = self.at + len(word)
        found = self.text[self.at : end] == word and self.text[end : end + 1] in ("", " ")
        self.at += len(word) * found
        return found

    def _expect(self, character: str, wanted: str = "") -> None:
        self._spaces()
        if not self._accept(character):
            self._fail(f"expected {wanted or repr(character)}")

    def _word(self, wanted: str) -> str:
        start = self.at
        while self._peek() in _WORD:
            self.at += 1
        if start == self.at:
            self._fail(f"expected {wanted}")
        return self.text[start : self.at]

    def _fail(self, problem: str) -> NoReturn:
        if self.at >= len(self.text):
            problem = f"{problem}, and the text ends"
        self.parts.fail(f"column {self.at + 1}: {problem}", self.at)
