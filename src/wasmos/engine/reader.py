"""Numbers, names, types and constants, as they stand in a Wasm binary.

Law: no input makes a `Reader` raise anything but `BinaryError`, and every length and count is
compared with the bytes that remain before it is believed. A byte that isn't known here is an
error, never a guess; a feature that we don't take is noted.
"""

from __future__ import annotations

from wasmos.errors import ModuleRefused

TYPE_CHECKING = False  # `typing` itself takes longer to import than this module
if TYPE_CHECKING:
    from typing import TypeAlias

    ValueType: TypeAlias = str

NUMBERS = frozenset(("i32", "i64", "f32", "f64"))

# Value types that a module may use inside, and the more exotic ones with their proposals.
_PLAIN = {
    0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128",
    0x70: "funcref", 0x6F: "externref",
}  # fmt: skip
_PLAIN_BYTES = bytes(_PLAIN)

# Features that are noted while reading.
GC = "garbage collection"
TYPED_REFS = "typed function references"
STACK_SWITCHING = "stack switching"
MEMORY64 = "memory64"
SHARED_MEMORY = "shared memory"
PAGE_SIZES = "custom page sizes"

# Heap types by their byte, and the feature that they belong to if that is noted; with "ref" after
# the name, each is also a value type.
_HEAP = {
    0x70: ("func", TYPED_REFS), 0x6F: ("extern", TYPED_REFS),
    0x73: ("nofunc", GC), 0x72: ("noextern", GC), 0x71: ("none", GC),
    0x6E: ("any", GC), 0x6D: ("eq", GC), 0x6C: ("i31", GC), 0x6B: ("struct", GC),
    0x6A: ("array", GC), 0x69: ("exn", ""), 0x74: ("noexn", ""),
    0x68: ("cont", STACK_SWITCHING), 0x75: ("nocont", STACK_SWITCHING),
}  # fmt: skip

MAX_NAME_BYTES = 100_000  # the engine's own limit, as is the next one
MAX_VALUES = 1_000  # parameters, or results, of one function
MAX_CONSTANT_STEPS = 1_000  # instructions in one constant expression


class BinaryError(ModuleRefused):
    """The bytes aren't a Wasm module that this reader accepts; `offset` is where it stopped."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(f"not a module that can run here: at byte {offset}: {what}")
        self.offset = offset
        self.what = what


class Reader:
    """A cursor over `data[pos:end]`. Every method leaves `pos <= end` or raises `BinaryError`."""

    __slots__ = ("data", "end", "features", "pos", "values_seen")

    def __init__(self, data: bytes, pos: int, end: int, features: dict[str, int]) -> None:
        self.data = data
        self.pos = pos
        self.end = end
        self.features = features
        self.values_seen: dict[bytes, tuple[ValueType, ...]] = {}

    def note(self, feature: str, offset: int) -> None:
        if feature:
            self.features.setdefault(feature, offset)

    def truncated(self, what: str) -> BinaryError:
        return BinaryError(self.pos, f"{what} is cut off")

    def finish(self, what: str) -> None:
        if self.pos != self.end:
            raise BinaryError(self.pos, f"{what} has {self.end - self.pos} bytes too many")

    def byte(self, what: str) -> int:
        pos = self.pos
        if pos >= self.end:
            raise self.truncated(what)
        self.pos = pos + 1
        return self.data[pos]

    def u32(self, what: str) -> int:
        pos = self.pos
        if pos < self.end and (value := self.data[pos]) < 0x80:  # most numbers are one byte
            self.pos = pos + 1
            return value
        return self.unsigned(32, what)

    def unsigned(self, bits: int, what: str) -> int:
        start = self.pos
        value, _ = self._groups(bits, what)
        if value >> bits:
            raise BinaryError(start, f"{what} doesn't fit in {bits} bits")
        return value

    def signed(self, bits: int, what: str) -> int:
        start = self.pos
        value, width = self._groups(bits, what)
        if value >> (width - 1):
            value -= 1 << width
        if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            raise BinaryError(start, f"{what} doesn't fit in {bits} signed bits")
        return value

    def _groups(self, bits: int, what: str) -> tuple[int, int]:
        """LEB128 without regard to sign: the value and its width in bits. Padding is legal."""
        start, value, shift = self.pos, 0, 0
        while True:
            group = self.byte(what)
            value |= (group & 0x7F) << shift
            shift += 7
            if group < 0x80:
                return value, shift
            if shift >= bits:
                raise BinaryError(start, f"{what} is a number of more than {shift // 7} bytes")

    def skip(self, length: int, what: str) -> int:
        """Step over `length` bytes and return where they began."""
        start = self.pos
        if length > self.end - start:
            left = self.end - start
            raise BinaryError(start, f"{what} is {length} bytes long, but {left} remain")
        self.pos = start + length
        return start

    def count(self, what: str, limit: int, smallest: int) -> int:
        """How many items follow, each of at least `smallest` bytes: checked before any loop."""
        start = self.pos
        count = self.u32(what)
        if count > limit:
            raise BinaryError(start, f"{count} {what}, more than the {limit} accepted here")
        if count * smallest > self.end - self.pos:
            left = self.end - self.pos
            raise BinaryError(start, f"{count} {what} can't be in the {left} bytes that remain")
        return count

    def name(self, what: str) -> str:
        length = self.u32(what)
        if length > MAX_NAME_BYTES:
            raise BinaryError(self.pos, f"{what} is longer than {MAX_NAME_BYTES} bytes")
        start = self.skip(length, what)
        try:
            return self.data[start : self.pos].decode()
        except UnicodeDecodeError:
            raise BinaryError(start, f"{what} isn't UTF-8") from None

    def flag(self, what: str) -> bool:
        value = self.byte(what)
        if value > 1:
            raise BinaryError(self.pos - 1, f"{what} is {value:#04x}, neither 0 nor 1")
        return value == 1

    def value_type(self) -> ValueType:
        start = self.pos
        code = self.byte("value type")
        if (plain := _PLAIN.get(code)) is not None:
            return plain
        if code in (0x63, 0x64):
            return f"(ref {'null ' if code == 0x63 else ''}{self.heap_type()})"
        if code not in _HEAP:
            raise BinaryError(start, f"{code:#04x} is no value type known here")
        name, feature = _HEAP[code]
        self.note(feature, start)
        return f"{name}ref"

    def heap_type(self) -> str:
        start = self.pos
        index = self.signed(33, "heap type")
        if index >= 0:
            self.note(TYPED_REFS, start)
            return str(index)
        found = _HEAP.get(index + 0x80)
        if found is None:
            raise BinaryError(start, f"{index} is no heap type known here")
        self.note(found[1], start)
        return found[0]

    def value_types(self, what: str) -> tuple[ValueType, ...]:
        count = self.count(what, MAX_VALUES, 1)
        raw = self.data[self.pos : self.pos + count]
        if (seen := self.values_seen.get(raw)) is not None:
            self.pos += count
            return seen
        if raw.translate(None, _PLAIN_BYTES):  # something longer than a byte among them
            return tuple([self.value_type() for _ in range(count)])
        self.pos += count
        values = self.values_seen[raw] = tuple([_PLAIN[code] for code in raw])
        return values

    def reference_type(self) -> ValueType:
        start = self.pos
        found = self.value_type()
        if found in NUMBERS or found == "v128":
            raise BinaryError(start, f"a table of {found}, which is no reference")
        return found


# --- constant expressions ---------------------------------------------------------------------


_END, _I32_CONST = 0x0B, 0x41

# Opcode -> the number of bytes to skip, or what has to be read after it.
_CONSTANT_STEPS: dict[int, int | str] = {
    0x41: "i32", 0x42: "i64", 0x43: 4, 0x44: 8, 0x23: "index", 0xD2: "index", 0xD0: "heap",
    0x6A: 0, 0x6B: 0, 0x6C: 0, 0x7C: 0, 0x7D: 0, 0x7E: 0, 0xFD: "vector", 0xFB: "gc",
}  # fmt: skip

# Of the 0xfb family: sub-opcode -> how many indices follow.
_GC_STEPS = {0x00: 1, 0x01: 1, 0x06: 1, 0x07: 1, 0x08: 2, 0x1A: 0, 0x1B: 0, 0x1C: 0}


def constant(reader: Reader) -> int | None:
    """Step over a constant expression. Its value, if it is a single `i32.const`, else None."""
    value = None
    for step in range(MAX_CONSTANT_STEPS + 1):
        start = reader.pos
        opcode = reader.byte("constant expression")
        if opcode == _END:
            return value if step == 1 else None
        operand = _CONSTANT_STEPS.get(opcode)
        if operand is None:
            raise BinaryError(start, f"opcode {opcode:#04x} in a constant expression")
        if opcode == _I32_CONST:
            value = reader.signed(32, "i32 constant") & 0xFFFF_FFFF
            continue
        value = None
        if isinstance(operand, int):
            reader.skip(operand, "constant")
        else:
            _constant_operand(reader, operand, start)
    raise BinaryError(reader.pos, f"a constant of more than {MAX_CONSTANT_STEPS} instructions")


def _constant_operand(reader: Reader, operand: str, start: int) -> None:
    if operand == "i64":
        reader.signed(64, "i64 constant")
    elif operand == "index":
        reader.u32("index in a constant expression")
    elif operand == "heap":
        _null_type(reader)
    elif operand == "vector":
        if reader.u32("vector opcode") != 0x0C:
            raise BinaryError(start, "a vector instruction in a constant expression")
        reader.skip(16, "v128 constant")
    else:
        reader.note(GC, start)
        indices = _GC_STEPS.get(reader.u32("gc opcode"))
        if indices is None:
            raise BinaryError(start, "a gc instruction that is not constant")
        for _ in range(indices):
            reader.u32("index in a constant expression")


def _null_type(reader: Reader) -> None:
    """The type after `ref.null`: `func` and `extern` are plain here, not a newer proposal's."""
    if reader.pos < reader.end and reader.data[reader.pos] in (0x70, 0x6F):
        reader.pos += 1
    else:
        reader.heap_type()
