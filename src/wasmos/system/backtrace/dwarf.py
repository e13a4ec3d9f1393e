"""DWARF, versions 2 to 5: sections, units, and the entries of a unit's tree.

Law: everything that is read comes from a program that nobody vouches for. So each entry is paid for
(`cursor`), nothing is followed backwards while walking, nothing recurses, and an entry is kept only
for as long as it is looked at. What is wrong raises `Damaged`.

A reader of our own, where pyelftools reads DWARF well: it makes lists of whatever a file states,
and nobody can count, stop or bound that from outside of it, short of a process with limits for each
trap. A line program of 4 MB took it 50 seconds and 1.6 GB. This one reads what a backtrace takes,
which is little, and steps over the rest.

Addresses are offsets into the content of the code section, as the tool conventions of WebAssembly
have it.
"""

from __future__ import annotations

from wasmos.system.backtrace.cursor import Cursor, Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TypeAlias

    from wasmos.system.backtrace.cursor import Budget

    # Of an attribute: its form, and a number: the value, or where in the file it is.
    Value: TypeAlias = tuple[int, int]
    Entry: TypeAlias = dict[int, Value]

MAX_SECTION_BYTES = 64 << 20
MAX_ATTRIBUTES = 256  # of one kind of entry
MAX_ABBREVIATIONS = 100_000  # of one table

# Kinds of entries.
COMPILE_UNIT, PARTIAL_UNIT, SKELETON_UNIT = 0x11, 0x3C, 0x4A
SUBPROGRAM, INLINED = 0x2E, 0x1D
CLASS, STRUCTURE, UNION, ENUMERATION, NAMESPACE, MODULE = 0x02, 0x13, 0x17, 0x04, 0x39, 0x1E

# Attributes.
NAME, STATEMENTS, LOW_PC, HIGH_PC, DIRECTORY = 0x03, 0x10, 0x11, 0x12, 0x1B
ABSTRACT_ORIGIN, SPECIFICATION, RANGES = 0x31, 0x47, 0x55
CALL_COLUMN, CALL_FILE, CALL_LINE = 0x57, 0x58, 0x59
LINKAGE_NAME, MIPS_LINKAGE_NAME = 0x6E, 0x2007
STR_OFFSETS_BASE, ADDR_BASE, RNGLISTS_BASE = 0x72, 0x73, 0x74

# Forms, by what they are.
ADDR, STRING, STRP, LINE_STRP, INDIRECT, EXPRLOC = 0x01, 0x08, 0x0E, 0x1F, 0x16, 0x18
SDATA, UDATA, REF_UDATA, REF_ADDR, SEC_OFFSET = 0x0D, 0x0F, 0x15, 0x10, 0x17
FLAG_PRESENT, IMPLICIT_CONST, RNGLISTX = 0x19, 0x21, 0x23
# As many bytes each; of those with an offset it depends.
_FIXED = {
    0x05: 2, 0x06: 4, 0x07: 8, 0x0B: 1, 0x0C: 1, 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x1C: 4,
    0x19: 0, 0x1E: 16, 0x20: 8, 0x21: 0, 0x24: 8, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x29: 1,
    0x2A: 2, 0x2B: 3, 0x2C: 4,
}  # fmt: skip
_OFFSETS = frozenset((STRP, LINE_STRP, SEC_OFFSET, 0x1D))
_NUMBERS = frozenset((UDATA, REF_UDATA, 0x1A, 0x1B, 0x22, RNGLISTX))
_BLOCKS = {0x03: 2, 0x04: 4, 0x0A: 1}  # by the size of their length
_STRX = frozenset((0x1A, 0x25, 0x26, 0x27, 0x28))
_ADDRX = frozenset((0x1B, 0x29, 0x2A, 0x2B, 0x2C))
_UNIT_REFS = frozenset((0x11, 0x12, 0x13, 0x14, REF_UDATA))


class Sections:
    """Where the sections of a file's debug information are, by name."""

    def __init__(self, data: bytes, places: Mapping[str, tuple[int, int]]) -> None:
        self.data = data
        self.places = {
            name: place
            for name, place in places.items()
            if place[1] - place[0] <= MAX_SECTION_BYTES
        }

    def __contains__(self, name: str) -> bool:
        return name in self.places

    def at(self, name: str, offset: int, budget: Budget) -> Cursor:
        """At an offset in a section. Raises Damaged."""
        if name not in self.places:
            raise Damaged(f"there is no {name}")
        start, end = self.places[name]
        return Cursor(self.data, start, end, budget, start + offset)


class Abbreviation:
    """A kind of entry: what it stands for, whether others are beneath it, its attributes."""

    __slots__ = ("fields", "has_children", "size", "tag")

    def __init__(
        self, tag: int, has_children: bool, fields: list[tuple[int, int, int]], unit: Unit
    ) -> None:
        self.tag = tag
        self.has_children = has_children
        self.fields = fields  # attribute, form, and the value if it is in the form
        sizes = [unit.fixed_size(form) for _, form, _ in fields]
        # How many bytes it takes, if all such entries take as many.
        self.size = None if None in sizes else sum(size or 0 for size in sizes)


class Unit:
    """A compilation unit: its head, and the attributes of its root."""

    def __init__(self, sections: Sections, start: int, budget: Budget) -> None:
        """At an offset in `.debug_info`."""
        self.sections = sections
        self.start = start
        cursor = sections.at(".debug_info", start, budget)
        length = cursor.unsigned(4)
        self.offset_size = 8 if length == 0xFFFF_FFFF else 4
        if self.offset_size == 8:
            length = cursor.unsigned(8)
        body = cursor.piece(length)
        self.end = body.end - cursor.start  # in the section
        self.version = body.unsigned(2)
        if not 2 <= self.version <= 5:
            raise Damaged(f"DWARF version {self.version}")
        kind = body.byte() if self.version >= 5 else 1
        if self.version >= 5:
            self.address_size = body.byte()
        self.abbreviations_at = body.unsigned(self.offset_size)
        if self.version < 5:
            self.address_size = body.byte()
        if self.address_size not in (4, 8):
            raise Damaged(f"addresses of {self.address_size} bytes")
        # Units of types and of split files have more in their heads, and no code.
        self.has_code = kind in (1, 3)
        self.first = body.pos - cursor.start
        self._tables: dict[int, dict[int, Abbreviation]] = {}
        self.root: Entry = {}

    def load(self, budget: Budget) -> dict[int, Abbreviation]:
        """Its kinds of entries; they are forgotten by `unload`."""
        table = self._tables.get(0)
        if table is None:
            table = self._tables[0] = self._abbreviations(budget)
        return table

    def unload(self) -> None:
        self._tables.clear()

    def _abbreviations(self, budget: Budget) -> dict[int, Abbreviation]:
        cursor = self.sections.at(".debug_abbrev", self.abbreviations_at, budget)
        table: dict[int, Abbreviation] = {}
        while code := cursor.uleb():
            budget.spend(4)
            if len(table) >= MAX_ABBREVIATIONS:
                raise Damaged("too many abbreviations")
            tag, has_children = cursor.uleb(), cursor.byte() != 0
            fields: list[tuple[int, int, int]] = []
            while True:
                budget.spend(2)
                attribute, form = cursor.uleb(), cursor.uleb()
                value = cursor.sleb() if form == IMPLICIT_CONST else 0
                if not (attribute or form):
                    break
                if len(fields) >= MAX_ATTRIBUTES:
                    raise Damaged("too many attributes")
                fields.append((attribute, form, value))
            table.setdefault(code, Abbreviation(tag, has_children, fields, self))
        return table

    def fixed_size(self, form: int) -> int | None:
        """How many bytes a form takes here, None if it depends."""
        if form in _OFFSETS:
            return self.offset_size
        if form == ADDR or (form == REF_ADDR and self.version == 2):
            return self.address_size
        return self.offset_size if form == REF_ADDR else _FIXED.get(form)

    # --- entries ---

    def walk(self, budget: Budget) -> Iterator[tuple[int, int, Abbreviation, Cursor]]:
        """Each entry in the order of the file: depth, offset, kind, and a cursor at its
        attributes. Whoever reads some leaves the cursor anywhere."""
        table = self.load(budget)
        cursor = self.sections.at(".debug_info", self.first, budget)
        base = cursor.start
        cursor.end = base + self.end
        depth = 0
        while cursor.pos < cursor.end:
            budget.left -= 1
            if budget.left < 0:
                budget.spend()
            offset = cursor.pos - base
            code = cursor.uleb()
            if code == 0:
                depth -= 1
                if depth <= 0:
                    return
                continue
            kind = table.get(code)
            if kind is None:
                raise Damaged(f"no abbreviation {code}")
            start = cursor.pos
            yield depth, offset, kind, cursor
            cursor.pos = start
            if kind.size is not None:
                cursor.skip(kind.size)
            else:
                budget.spend(len(kind.fields))
                for _, form, _ in kind.fields:
                    self._skip(cursor, form)
            if kind.has_children:
                depth += 1
            elif depth == 0:
                return

    def entry_at(self, offset: int, budget: Budget) -> tuple[Abbreviation, Entry]:
        """One entry, by its offset in the section. Raises Damaged."""
        if not self.first <= offset < self.end:
            raise Damaged("an entry outside of its unit")
        table = self.load(budget)
        cursor = self.sections.at(".debug_info", offset, budget)
        cursor.end = cursor.start + self.end
        kind = table.get(cursor.uleb())
        if kind is None:
            raise Damaged("no such abbreviation")
        return kind, self.read(kind, cursor)

    def read(self, kind: Abbreviation, cursor: Cursor) -> Entry:
        """An entry's attributes."""
        cursor.budget.spend(1 + len(kind.fields))
        entry: Entry = {}
        for attribute, form, constant in kind.fields:
            value = self._value(cursor, form, constant)
            entry.setdefault(attribute, value)
        return entry

    def _value(self, cursor: Cursor, form: int, constant: int) -> Value:
        if form == INDIRECT:
            form = cursor.uleb()
            if form in (INDIRECT, IMPLICIT_CONST):
                raise Damaged("a form of a form")
        if form == FLAG_PRESENT:
            return form, 1
        if form == IMPLICIT_CONST:
            return form, constant
        if form == SDATA:
            return form, cursor.sleb()
        if form in _NUMBERS:
            return form, cursor.uleb()
        size = self.fixed_size(form)
        if size is not None and size <= 8:
            return form, cursor.unsigned(size)
        start = cursor.pos
        self._skip(cursor, form)
        return form, start

    def _skip(self, cursor: Cursor, form: int) -> None:
        size = self.fixed_size(form)
        if size is not None:
            cursor.skip(size)
        elif form in _NUMBERS or form == SDATA:
            cursor.uleb()
        elif form == STRING:
            cursor.skip_text()
        elif form in _BLOCKS:
            cursor.skip(cursor.unsigned(_BLOCKS[form]))
        elif form in (EXPRLOC, 0x09):
            cursor.skip(cursor.uleb())
        elif form == INDIRECT:
            actual = cursor.uleb()
            if actual in (INDIRECT, IMPLICIT_CONST):
                raise Damaged("a form of a form")
            self._skip(cursor, actual)
        else:
            raise Damaged(f"form {form:#x}")

    # --- what values mean ---

    def read_root(self, budget: Budget) -> None:
        for depth, _, kind, cursor in self.walk(budget):
            if depth == 0 and kind.tag in (COMPILE_UNIT, PARTIAL_UNIT, SKELETON_UNIT):
                self.root = self.read(kind, cursor)
            break

    def text(self, value: Value | None, budget: Budget) -> str:
        """A text, "" for none."""
        if value is None:
            return ""
        form, number = value
        if form == STRING:
            start, end = self.sections.places[".debug_info"]
            return Cursor(self.sections.data, start, end, budget, number).text()
        if form in (STRP, LINE_STRP):
            section = ".debug_str" if form == STRP else ".debug_line_str"
            return self.sections.at(section, number, budget).text()
        if form in _STRX:
            base = self.root.get(STR_OFFSETS_BASE, (0, 8 if self.offset_size == 4 else 16))[1]
            offset = base + number * self.offset_size
            cursor = self.sections.at(".debug_str_offsets", offset, budget)
            return self.sections.at(".debug_str", cursor.unsigned(self.offset_size), budget).text()
        return ""

    def address(self, value: Value, budget: Budget) -> int:
        form, number = value
        return self.indexed_address(number, budget) if form in _ADDRX else number

    def indexed_address(self, index: int, budget: Budget) -> int:
        offset = self.root.get(ADDR_BASE, (0, 8))[1] + index * self.address_size
        return self.sections.at(".debug_addr", offset, budget).unsigned(self.address_size)

    def reference(self, value: Value) -> int | None:
        """Which entry is meant, as an offset in the section."""
        form, number = value
        if form in _UNIT_REFS:
            return self.start + number
        return number if form == REF_ADDR else None
