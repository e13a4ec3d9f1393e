"""Line programs: from addresses to places in source files.

Law: a program is run once for all addresses that are asked for, and no row of its table is kept but
the one before the current one. Each instruction is paid for.
"""

from __future__ import annotations

from bisect import bisect_left

from wasmos.system.backtrace import dwarf
from wasmos.system.backtrace.cursor import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from wasmos.system.backtrace.cursor import Budget, Cursor
    from wasmos.system.backtrace.dwarf import Unit

    Row: TypeAlias = tuple[int, int, int]  # file, line, column

MAX_FILES = 100_000
_PATH, _DIRECTORY = 1, 2  # kinds of content in a list of files


class Lines:
    """The line program of a unit. Raises Damaged."""

    def __init__(self, unit: Unit, offset: int, budget: Budget) -> None:
        self.unit = unit
        self.budget = budget
        cursor = unit.sections.at(".debug_line", offset, budget)
        length = cursor.unsigned(4)
        self._offset_size = 8 if length == 0xFFFF_FFFF else 4
        if self._offset_size == 8:
            length = cursor.unsigned(8)
        body = cursor.piece(length)
        self.version = body.unsigned(2)
        if not 2 <= self.version <= 5:
            raise Damaged(f"lines of version {self.version}")
        if self.version >= 5:
            body.skip(2)  # sizes of addresses: each says its own
        head = body.unsigned(self._offset_size)
        program = body.pos + head
        self._min_length = body.byte()
        if self.version >= 4:
            body.skip(1)  # operations an instruction: one
        body.skip(1)  # whether a row begins as a statement: nobody asks
        self._line_base = (body.byte() ^ 0x80) - 0x80
        self._line_range = body.byte()
        self._opcode_base = body.byte()
        if not self._line_range or not self._opcode_base:
            raise Damaged("a line program without opcodes")
        at = body.skip(self._opcode_base - 1)
        self._operands = body.data[at : body.pos]
        self._files = body
        self._directories: list[str] = []
        self._names: list[tuple[str, int]] = []
        self._read_files()
        if not body.start <= program <= body.end:
            raise Damaged("a line program outside of its unit")
        self._program = program
        self._body = body

    # --- files ---

    def file(self, number: int) -> str:
        """A file's path as the compiler had it, "" if there is no such file."""
        index = number if self.version >= 5 else number - 1
        if not 0 <= index < len(self._names):
            return ""
        name, directory = self._names[index]
        if name.startswith("/"):
            return name
        # 0 is where the compiler ran, and what it is called is the unit's affair.
        if self.version < 5:
            directory -= 1
        elif directory == 0:
            return name
        if not 0 <= directory < len(self._directories):
            return name
        return f"{self._directories[directory].rstrip('/')}/{name}"

    def _read_files(self) -> None:
        cursor = self._files
        if self.version >= 5:
            self._directories = [path for path, _ in self._list(cursor)]
            self._names = self._list(cursor)
            return
        while cursor.pos < cursor.end and cursor.data[cursor.pos]:
            self._add(self._directories, cursor.text())
        cursor.skip(1)
        while cursor.pos < cursor.end and cursor.data[cursor.pos]:
            self._add(self._names, self._old_file(cursor))
        cursor.skip(1)

    @staticmethod
    def _add(found: list[Any], one: Any) -> None:
        if len(found) >= MAX_FILES:
            raise Damaged("too many files")
        found.append(one)

    @staticmethod
    def _old_file(cursor: Cursor) -> tuple[str, int]:
        name, directory = cursor.text(), cursor.uleb()
        cursor.uleb()  # when it was changed
        cursor.uleb()  # its size
        return name, directory

    def _list(self, cursor: Cursor) -> list[tuple[str, int]]:
        kinds = cursor.byte()
        self.budget.spend(kinds)  # also if the list itself is empty
        formats = [(cursor.uleb(), cursor.uleb()) for _ in range(kinds)]
        count = cursor.uleb()
        if count > MAX_FILES or (count and not formats):
            raise Damaged("too many files")
        found = []
        for _ in range(count):
            self.budget.spend(1 + len(formats))
            path, directory = "", 0
            for content, form in formats:
                if content == _PATH:
                    path = self._path(cursor, form)
                elif content == _DIRECTORY:
                    directory = self._number(cursor, form)
                else:
                    self._number(cursor, form)
            found.append((path, directory))
        return found

    def _path(self, cursor: Cursor, form: int) -> str:
        if form == dwarf.STRING:
            return cursor.text()
        if form in (dwarf.STRP, dwarf.LINE_STRP):
            return self.unit.text((form, cursor.unsigned(self._offset_size)), self.budget)
        return self.unit.text((form, self._number(cursor, form)), self.budget)

    def _number(self, cursor: Cursor, form: int) -> int:
        value: int = self.unit._value(cursor, form, 0)[1]
        return value

    # --- the program ---

    def rows(self, addresses: list[int]) -> dict[int, Row]:
        """Where each address is, of those that are anywhere. Raises Damaged; `found` then
        has what was found before."""
        self.found: dict[int, Row] = {}
        self._wanted = sorted(set(addresses))
        cursor = self._body
        cursor.pos = self._program
        while cursor.pos < cursor.end and len(self.found) < len(self._wanted):
            self._sequence(cursor)
        return self.found

    def _sequence(self, cursor: Cursor) -> None:
        """Run until a sequence ends. In one piece, as each instruction is a step of this loop and
        the registers are its variables."""
        address, file, line, column = 0, 1, 1, 0
        before: tuple[int, Row] | None = None
        is_dead = True  # until it says where it is
        budget = self.budget
        while cursor.pos < cursor.end:
            budget.left -= 1
            if budget.left < 0:
                budget.spend()
            opcode = cursor.byte()
            ends = False
            if opcode >= self._opcode_base:
                advance, step = divmod(opcode - self._opcode_base, self._line_range)
                address += advance * self._min_length
                line += self._line_base + step
            elif opcode == 0:
                length = cursor.uleb()
                piece = cursor.piece(length)
                extended = piece.byte()
                if extended == 2:
                    address = piece.unsigned(min(piece.end - piece.pos, 8))
                    is_dead = address == 0
                    continue
                if extended == 3:
                    self._add(self._names, self._old_file(piece))
                    continue
                if extended != 1:
                    continue
                ends = True
            elif opcode == 1:
                pass
            else:
                if opcode == 2:
                    address += cursor.uleb() * self._min_length
                elif opcode == 3:
                    line += cursor.sleb()
                elif opcode == 4:
                    file = cursor.uleb()
                elif opcode == 5:
                    column = cursor.uleb()
                elif opcode == 8:
                    address += (255 - self._opcode_base) // self._line_range * self._min_length
                elif opcode == 9:
                    address += cursor.unsigned(2)
                else:
                    operands = self._operands[opcode - 1]
                    budget.spend(operands)
                    for _ in range(operands):
                        cursor.uleb()
                continue
            # A row: what was before it reaches until here.
            if before is not None and not is_dead and before[0] < address:
                self._settle(before[0], address, before[1])
            if ends:
                return
            before = address, (file, line, column)

    def _settle(self, begin: int, end: int, row: Row) -> None:
        wanted = self._wanted
        for index in range(bisect_left(wanted, begin), bisect_left(wanted, end)):
            self.found.setdefault(wanted[index], row)
