"""In which line of a TOML text a key or a value stands, which tomllib doesn't tell.

Law: it reads only what tomllib has read before, so it takes the text to be right; a place that it
can't find has the line of the nearest thing around it.

A place is the way to it: ("task", "web", "use", 0) is the first string of `use` in [task.web],
however the tables are written: with headers, dots or braces.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Place: TypeAlias = tuple[str | int, ...]

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_BLANK = frozenset(" \t\r\n")


class Positions:
    """The lines of everything in a text, counted from 1."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted = 0, 1  # up to here, and the line there
        self._lines: dict[Place, int] = {}
        self._arrays: dict[Place, int] = {}  # [[name]] → its tables so far
        self._document()

    def line(self, place: Place) -> int | None:
        """Of a place, or of the nearest one around it."""
        while place and place not in self._lines:
            place = place[:-1]
        return self._lines.get(place)

    # --- what a text consists of ---

    def _document(self) -> None:
        table: Place = ()
        while self._skip():
            if self._peek() == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Place:
        self._at += 1
        is_array = self._accept("[")
        place = self._keys(())
        if is_array:
            number = self._arrays.get(place, 0)
            self._arrays[place] = number + 1
            place = (*place, number)
            self._mark(place)
        self._at += 1 + is_array
        return place

    def _pair(self, table: Place) -> None:
        place = self._keys(table)
        self._at += 1  # the "="
        self._value(place)

    def _keys(self, place: Place) -> Place:
        """One key, or several with dots between them; each is marked."""
        while True:
            self._skip()
            key = self._quoted() if self._peek() in ('"', "'") else self._bare()
            place = (*place, key)
            # Below [[name]] it is about the last one of them.
            while place in self._arrays and self._peek() != "]":
                place = (*place, self._arrays[place] - 1)
            self._mark(place)
            self._skip()
            if not self._accept("."):
                return place

    def _value(self, place: Place) -> None:
        self._skip()
        self._mark(place)
        here = self._peek()
        if here in ('"', "'"):
            self._string()
        elif here == "[":
            self._array(place)
        elif here == "{":
            self._table(place)
        else:  # a number, a date, true or false
            while self._peek() and self._peek() not in ",]}\n#":
                self._at += 1

    def _array(self, place: Place) -> None:
        self._at += 1
        number = 0
        while self._skip() and not self._accept("]"):
            self._value((*place, number))
            number += 1
            self._skip()
            self._accept(",")

    def _table(self, place: Place) -> None:
        self._at += 1
        while self._skip() and not self._accept("}"):
            self._pair(place)
            self._skip()
            self._accept(",")

    # --- the smallest steps ---

    def _string(self) -> None:
        quote = self._peek()
        end = quote * 3 if self._text.startswith(quote * 3, self._at) else quote
        self._at += len(end)
        while self._at < len(self._text) and not self._text.startswith(end, self._at):
            self._at += 1 + (quote == '"' and self._peek() == "\\")
        self._at += len(end)
        while len(end) == 3 and self._accept(quote):  # up to two more belong to the text
            pass

    def _quoted(self) -> str:
        import tomllib

        start = self._at
        self._string()
        text: str = tomllib.loads(f"key = {self._text[start : self._at]}")["key"]
        return text

    def _bare(self) -> str:
        start = self._at
        while self._peek() in _BARE:
            self._at += 1
        if start == self._at:
            self._at += 1  # not TOML: go on all the same
        return self._text[start : self._at]

    def _skip(self) -> bool:
        """Blanks and comments. False at the end."""
        while (here := self._peek()) in _BLANK or here == "#":
            if here == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            else:
                self._at += 1
        return bool(here)

    def _peek(self) -> str:
        """The next character; nothing at the end."""
        return self._text[self._at : self._at + 1]

    def _accept(self, character: str) -> bool:
        found = self._peek() == character
        self._at += found
        return found

    def _mark(self, place: Place) -> None:
        at, line = self._counted
        line += self._text.count("\n", at, self._at)
        self._counted = self._at, line
        self._lines.setdefault(place, line)
