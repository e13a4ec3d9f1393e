"""Reading a piece of a file that may be damaged, or lie.

Law: a cursor never leaves its piece, and whatever it reads is paid for: `Budget` counts work, not
time, so that the same file always gets as far. A walk pays for each step in proportion to what it
does, a text for its length. Nothing is allocated by a length that the file states before that many
bytes are known to be there.
"""

from __future__ import annotations


class Damaged(Exception):
    """The file isn't what it says; what was found until now may be right."""


class Exhausted(Damaged):
    """Reading on isn't worth it."""


class Budget:
    """How many steps may still be taken."""

    __slots__ = ("left",)

    def __init__(self, steps: int) -> None:
        self.left = steps

    def spend(self, steps: int = 1) -> None:
        self.left -= steps
        if self.left < 0:
            raise Exhausted


MAX_NUMBER_BYTES = 10  # of a variable-length number of 64 bits
MAX_TEXT = 4096  # of a path or a name


class Cursor:
    """A place in `data[start:end]`: `pos` counts from the beginning of `data`."""

    __slots__ = ("budget", "data", "end", "pos", "start")

    def __init__(
        self, data: bytes, start: int, end: int, budget: Budget, pos: int | None = None
    ) -> None:
        self.data = data
        self.start = start
        self.end = end
        self.budget = budget
        self.pos = start if pos is None else pos
        if not start <= self.pos <= end <= len(data):
            raise Damaged("a place outside of its section")

    def skip(self, size: int) -> int:
        """Step over so many bytes; where they began."""
        start = self.pos
        if size > self.end - start:
            raise Damaged("cut off")
        self.pos = start + size
        return start

    def piece(self, size: int) -> Cursor:
        """The next so many bytes, as a piece of its own."""
        start = self.skip(size)
        return Cursor(self.data, start, self.pos, self.budget)

    def unsigned(self, size: int) -> int:
        """A number of so many bytes."""
        start = self.skip(size)
        return int.from_bytes(self.data[start : self.pos], "little")

    def byte(self) -> int:
        pos = self.pos
        if pos >= self.end:
            raise Damaged("cut off")
        self.pos = pos + 1
        return self.data[pos]

    def uleb(self) -> int:
        """A number of variable length."""
        value, _ = self._groups()
        return value

    def sleb(self) -> int:
        """The same, with a sign."""
        value, bits = self._groups()
        return value - (1 << bits) if value >> (bits - 1) else value

    def _groups(self) -> tuple[int, int]:
        value = shift = 0
        while shift < 7 * MAX_NUMBER_BYTES:
            group = self.byte()
            value |= (group & 0x7F) << shift
            shift += 7
            if group < 0x80:
                return value, shift
        raise Damaged("a number that doesn't end")

    def text(self) -> str:
        """Up to a NUL, which is stepped over. Only its beginning is read if it is long."""
        start = self.pos
        end = self.data.find(b"\0", start, self.end)
        if end < 0:
            raise Damaged("a text that doesn't end")
        self.budget.spend(1 + (end - start) // 64)
        self.pos = end + 1
        return self.data[start : min(end, start + MAX_TEXT)].decode("utf-8", "replace")

    def skip_text(self) -> None:
        end = self.data.find(b"\0", self.pos, self.end)
        if end < 0:
            raise Damaged("a text that doesn't end")
        self.budget.spend(1 + (end - self.pos) // 64)
        self.pos = end + 1
