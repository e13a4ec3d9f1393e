"""What a Wasm binary says about itself, read by us before any engine sees it.

The laws of this file:

* `parse` returns a `ModuleInfo` or raises `BinaryError`; no input makes it raise anything else.
* Every length and count is compared with the bytes that remain before it is believed, so memory
  and time are bounded by the size of the input, and `MAX_WALKED_BYTES` bounds the slow part.
* Nothing is guessed. A byte that this reader doesn't know is an error, because the engine behind
  it might read that byte differently, and then our checks would have looked at another module.
* Code and data are skipped by their lengths; `compile_cost` and `ModuleInfo.data_segments` read
  them when asked. Instructions are the engine's business.

Why a reader of our own: the engine's C API aborts the process when asked for a signature with a
vector or a reference in it, so signatures have to be known before it is asked. What is read here
is judged in `policy.py`; a feature we don't take is noted in `ModuleInfo.features`, not refused.
"""

from __future__ import annotations

from wasmos.errors import ModuleRefused

TYPE_CHECKING = False  # `typing` itself takes longer to import than this module
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    ValueType: TypeAlias = str
    FuncType: TypeAlias = tuple[tuple[ValueType, ...], tuple[ValueType, ...]]
    Descriptor: TypeAlias = "FuncType | TableType | MemoryType | GlobalType"

PAGE_BYTES = 65_536

# Kinds of imports and exports, by the byte that stands for them.
FUNC, TABLE, MEMORY, GLOBAL, TAG = KINDS = ("func", "table", "memory", "global", "tag")

# Value types that a module may use inside, and the more exotic ones with their proposals.
_PLAIN = {
    0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128",
    0x70: "funcref", 0x6F: "externref",
}  # fmt: skip
_PLAIN_BYTES = bytes(_PLAIN)
NUMBERS = frozenset(("i32", "i64", "f32", "f64"))

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

# No compiler's output comes near these; they bound the time a hostile file can take here.
MAX_WALKED_BYTES = 4 << 20  # all sections but code, data, elements and custom ones together
MAX_TYPES = 50_000
MAX_IMPORTS = 20_000
MAX_FUNCTIONS = 1_000_000
MAX_EXPORTS = 100_000
MAX_GLOBALS = 100_000
MAX_TABLES = MAX_MEMORIES = MAX_TAGS = 100
MAX_SEGMENTS = 100_000
MAX_CUSTOM_SECTIONS = 10_000
MAX_NAME_BYTES = 100_000  # the engine's own limit, as are the next two
MAX_VALUES = 1_000  # parameters, or results, of one function
MAX_LOCALS = 50_000  # of one function
MAX_GROUPS = 2_000_000  # of locals, in all functions: more than a second to read
MAX_CONSTANT_STEPS = 1_000  # instructions in one constant expression

MAX_SHOWN_NAME = 60  # characters


class BinaryError(ModuleRefused):
    """The bytes aren't a Wasm module that this reader accepts; `offset` is where it stopped."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(f"not a module that can run here: at byte {offset}: {what}")
        self.offset = offset
        self.what = what


# --- what is found in a module ----------------------------------------------------------------


class _Record:
    """Equality, hash and repr by slots: what a frozen dataclass gives, without its import time."""

    __slots__: tuple[str, ...] = ()

    def _fields(self) -> tuple[object, ...]:
        return tuple(getattr(self, slot) for slot in self.__slots__)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._fields()))

    def __repr__(self) -> str:
        fields = zip(self.__slots__, self._fields(), strict=True)
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in fields)})"


class TableType(_Record):
    __slots__ = ("element", "is_64", "maximum", "minimum")

    def __init__(
        self, element: str, minimum: int, maximum: int | None, is_64: bool = False
    ) -> None:
        self.element = element
        self.minimum = minimum  # elements
        self.maximum = maximum
        self.is_64 = is_64


class MemoryType(_Record):
    __slots__ = ("is_64", "maximum", "minimum", "page_bytes", "shared")

    def __init__(
        self,
        minimum: int,
        maximum: int | None,
        shared: bool = False,
        is_64: bool = False,
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        self.minimum = minimum  # pages of `page_bytes`
        self.maximum = maximum
        self.shared = shared
        self.is_64 = is_64
        self.page_bytes = page_bytes

    @property
    def min_bytes(self) -> int:
        return self.minimum * self.page_bytes


class GlobalType(_Record):
    __slots__ = ("mutable", "value")

    def __init__(self, value: str, mutable: bool) -> None:
        self.value = value
        self.mutable = mutable


class Import(_Record):
    """A tag's descriptor is its function type."""

    __slots__ = ("descriptor", "kind", "module", "name")

    def __init__(self, module: str, name: str, kind: str, descriptor: Descriptor) -> None:
        self.module = module
        self.name = name
        self.kind = kind
        self.descriptor = descriptor


class Export(_Record):
    __slots__ = ("index", "kind", "name")

    def __init__(self, name: str, kind: str, index: int) -> None:
        self.name = name
        self.kind = kind
        self.index = index


class Span(_Record):
    """A piece of the file: a custom section's content under its name, or a section's items."""

    __slots__ = ("end", "name", "start")

    def __init__(self, name: str, start: int, end: int) -> None:
        self.name = name
        self.start = start
        self.end = end


class DataSegment(_Record):
    """`offset` is where it goes in memory: None if passive, or if the module computes it."""

    __slots__ = ("end", "memory", "offset", "start")

    def __init__(self, memory: int | None, offset: int | None, start: int, end: int) -> None:
        self.memory = memory  # None: passive
        self.offset = offset
        self.start = start  # where its bytes are in the file
        self.end = end


class ModuleInfo:
    """Everything `parse` learned. Index spaces begin with the imports, as in the format."""

    __slots__ = (
        "__weakref__",
        "code",
        "code_start",
        "custom_sections",
        "data",
        "data_count",
        "data_section",
        "element_bytes",
        "element_count",
        "exports",
        "features",
        "functions",
        "globals",
        "imports",
        "memories",
        "start",
        "tables",
        "tags",
        "types",
    )

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.types: list[FuncType | None] = []  # None: a type that isn't a function's
        self.imports: list[Import] = []
        self.functions: list[int] = []  # type indices
        self.tables: list[TableType] = []
        self.memories: list[MemoryType] = []
        self.globals: list[GlobalType] = []
        self.tags: list[int] = []  # type indices
        self.exports: dict[str, Export] = {}
        self.start: int | None = None
        self.element_count = 0
        self.element_bytes = 0  # of all segments together
        self.data_count = 0
        self.code: Span | None = None
        self.code_start: int | None = None  # of its content, which debug information counts from
        self.data_section: Span | None = None
        self.custom_sections: list[Span] = []
        self.features: dict[str, int] = {}  # what it needs -> the offset where that shows

    def function_type(self, index: int) -> FuncType:
        """Only for an index that `parse` has checked: an export's or the start function's."""
        found = self.types[self.functions[index]]
        assert found is not None
        return found

    def signature(self, export: str) -> FuncType | None:
        """The type of an exported function; None if no function is exported by that name."""
        found = self.exports.get(export)
        if found is None or found.kind != FUNC:
            return None
        return self.function_type(found.index)

    def imports_from(self, module: str) -> list[Import]:
        return [item for item in self.imports if item.module == module]

    def module_name(self) -> str | None:
        """The name its compiler gave it. A broken name section is no error: it's only a hint."""
        for section in self.custom_sections:
            if section.name == "name":
                try:
                    return _module_name(_Reader(self.data, section.start, section.end, {}))
                except BinaryError:
                    return None
        return None

    def data_segments(self) -> Iterator[DataSegment]:
        """Raises `BinaryError` where the data section is malformed: `parse` only counted it."""
        if self.data_section is not None:
            reader = _Reader(self.data, self.data_section.start, self.data_section.end, {})
            for _ in range(self.data_count):
                yield _data_segment(reader)
            reader.finish("data section")

    def strings(
        self,
        *,
        min_length: int = 2,
        max_length: int = 255,
        max_strings: int = 10_000,
        max_bytes: int = 4 << 20,
    ) -> Iterator[str]:
        """Printable, NUL-terminated ASCII in the data, in order: names it may look up, say.

        The end of a segment ends a string too: optimisers drop trailing zeros, and untouched
        memory is zero.
        """
        max_length = min(max_length, _WINDOW // 2)
        for segment in self.data_segments():
            end = min(segment.end, segment.start + max_bytes)
            max_bytes -= end - segment.start
            for text in _strings(self.data, segment.start, end, max_length):
                if len(text) >= min_length:
                    if max_strings <= 0:
                        return
                    max_strings -= 1
                    yield text
            if max_bytes <= 0:
                return


def show_type(descriptor: Descriptor) -> str:
    """A descriptor as people write it: `(i32, i32) -> i32`, `memory of 2 or more pages`."""
    if isinstance(descriptor, tuple):
        params, results = (_show_values(values) for values in descriptor)
        single = len(descriptor[1]) == 1
        return f"({params}) -> {results if single else f'({results})'}"
    if isinstance(descriptor, GlobalType):
        return f"{'mutable ' if descriptor.mutable else ''}global {descriptor.value}"
    top = "or more" if descriptor.maximum is None else f"to {descriptor.maximum}"
    if isinstance(descriptor, MemoryType):
        return f"memory of {descriptor.minimum} {top} pages"
    return f"table of {descriptor.minimum} {top} {descriptor.element}"


def _show_values(values: tuple[ValueType, ...]) -> str:
    shown = ", ".join(values[:8])
    return shown if len(values) <= 8 else f"{shown}, … {len(values)} in all"


def quote(name: str) -> str:
    """A guest's name as it may be shown: escaped, so no control or bidi character, and short."""
    return ascii(name if len(name) <= MAX_SHOWN_NAME else name[: MAX_SHOWN_NAME - 3] + "...")


# --- reading ----------------------------------------------------------------------------------


class _Reader:
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


def _limits(reader: _Reader, flags: int, bits: int, what: str) -> tuple[int, int | None]:
    start = reader.pos
    low = reader.unsigned(bits, f"{what}'s minimum")
    high = reader.unsigned(bits, f"{what}'s maximum") if flags & 1 else None
    if high is not None and high < low:
        raise BinaryError(start, f"{what}'s maximum {high} is below its minimum {low}")
    return low, high


def _table_type(reader: _Reader) -> TableType:
    element = reader.reference_type()
    start = reader.pos
    flags = reader.byte("table's limits")
    if flags & ~0b101:
        raise BinaryError(start, f"table's limits have unknown flags {flags:#04x}")
    is_64 = bool(flags & 4)
    if is_64:
        reader.note(MEMORY64, start)
    low, high = _limits(reader, flags, 64 if is_64 else 32, "table")
    return TableType(element, low, high, is_64)


def _memory_type(reader: _Reader) -> MemoryType:
    start = reader.pos
    flags = reader.byte("memory's limits")
    if flags & ~0b1111:
        raise BinaryError(start, f"memory's limits have unknown flags {flags:#04x}")
    for bit, feature in ((2, SHARED_MEMORY), (4, MEMORY64), (8, PAGE_SIZES)):
        if flags & bit:
            reader.note(feature, start)
    is_64 = bool(flags & 4)
    low, high = _limits(reader, flags, 64 if is_64 else 32, "memory")
    page_bytes = PAGE_BYTES
    if flags & 8:
        log2 = reader.u32("page size")
        if log2 not in (0, 16):
            raise BinaryError(start, f"memory pages of 2**{log2} bytes")
        page_bytes = 1 << log2
    return MemoryType(low, high, bool(flags & 2), is_64, page_bytes)


def _global_type(reader: _Reader) -> GlobalType:
    value = reader.value_type()
    return GlobalType(value, reader.flag("global's mutability"))


# --- constant expressions ---------------------------------------------------------------------

_END, _I32_CONST = 0x0B, 0x41
# Opcode -> the number of bytes to skip, or what has to be read after it.
_CONSTANT_STEPS: dict[int, int | str] = {
    0x41: "i32", 0x42: "i64", 0x43: 4, 0x44: 8, 0x23: "index", 0xD2: "index", 0xD0: "heap",
    0x6A: 0, 0x6B: 0, 0x6C: 0, 0x7C: 0, 0x7D: 0, 0x7E: 0, 0xFD: "vector", 0xFB: "gc",
}  # fmt: skip
# Of the 0xfb family: sub-opcode -> how many indices follow.
_GC_STEPS = {0x00: 1, 0x01: 1, 0x06: 1, 0x07: 1, 0x08: 2, 0x1A: 0, 0x1B: 0, 0x1C: 0}


def _constant(reader: _Reader) -> int | None:
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


def _constant_operand(reader: _Reader, operand: str, start: int) -> None:
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


def _null_type(reader: _Reader) -> None:
    """The type after `ref.null`: `func` and `extern` are plain here, not a newer proposal's."""
    if reader.pos < reader.end and reader.data[reader.pos] in (0x70, 0x6F):
        reader.pos += 1
    else:
        reader.heap_type()


# --- sections ---------------------------------------------------------------------------------


def _read_types(reader: _Reader, info: ModuleInfo) -> None:
    for _ in range(reader.count("types", MAX_TYPES, 2)):
        start = reader.pos
        if reader.byte("type") == 0x4E:
            reader.note(GC, start)
            for _ in range(reader.count("types in a group", MAX_TYPES, 2)):
                _read_type(reader, info)
        else:
            reader.pos = start
            _read_type(reader, info)
        if len(info.types) > MAX_TYPES:
            raise BinaryError(start, f"more than the {MAX_TYPES} types accepted here")


def _read_type(reader: _Reader, info: ModuleInfo) -> None:
    start = reader.pos
    form = reader.byte("type")
    if form in (0x50, 0x4F):
        reader.note(GC, start)
        for _ in range(reader.count("supertypes", MAX_VALUES, 1)):
            reader.u32("supertype")
        form = reader.byte("type")
    if form == 0x60:
        info.types.append((reader.value_types("parameters"), reader.value_types("results")))
        return
    info.types.append(None)
    if form == 0x5F:
        reader.note(GC, start)
        for _ in range(reader.count("fields", 10 * MAX_VALUES, 2)):
            _read_field(reader)
    elif form == 0x5E:
        reader.note(GC, start)
        _read_field(reader)
    elif form == 0x5D:
        reader.note(STACK_SWITCHING, start)
        reader.heap_type()
    else:
        raise BinaryError(start, f"{form:#04x} is no form of type known here")


def _read_field(reader: _Reader) -> None:
    if reader.pos < reader.end and reader.data[reader.pos] in (0x77, 0x78):  # i16, i8
        reader.pos += 1
    else:
        reader.value_type()
    reader.flag("field's mutability")


def _function_type(reader: _Reader, info: ModuleInfo, what: str) -> int:
    start = reader.pos
    index = reader.u32(what)
    if index >= len(info.types):
        raise BinaryError(start, f"{what} is type {index} of {len(info.types)}")
    if info.types[index] is None:
        raise BinaryError(start, f"{what} is type {index}, which is no function type")
    return index


def _read_imports(reader: _Reader, info: ModuleInfo) -> None:
    for _ in range(reader.count("imports", MAX_IMPORTS, 4)):
        module, name = reader.name("import's module"), reader.name("import's name")
        start = reader.pos
        code = reader.byte("import's kind")
        if code >= len(KINDS):
            raise BinaryError(start, f"{code:#04x} is no kind of import known here")
        kind = KINDS[code]
        info.imports.append(Import(module, name, kind, _import_type(reader, info, kind)))


def _import_type(reader: _Reader, info: ModuleInfo, kind: str) -> Descriptor:
    if kind == FUNC:
        info.functions.append(_function_type(reader, info, "imported function"))
        return info.function_type(len(info.functions) - 1)
    if kind == TABLE:
        info.tables.append(_table_type(reader))
        return info.tables[-1]
    if kind == MEMORY:
        info.memories.append(_memory_type(reader))
        return info.memories[-1]
    if kind == GLOBAL:
        info.globals.append(_global_type(reader))
        return info.globals[-1]
    return _read_tag(reader, info)


def _read_functions(reader: _Reader, info: ModuleInfo) -> None:
    append, types = info.functions.append, info.types
    for _ in range(reader.count("functions", MAX_FUNCTIONS, 1)):
        start = reader.pos
        index = reader.u32("function's type")
        if index >= len(types) or types[index] is None:
            raise BinaryError(start, f"a function's type is {index}, which is no function type")
        append(index)


def _read_tables(reader: _Reader, info: ModuleInfo) -> None:
    for _ in range(reader.count("tables", MAX_TABLES, 3)):
        has_value = reader.data[reader.pos : reader.pos + 2] == b"\x40\x00"
        if has_value:
            reader.note(TYPED_REFS, reader.pos)
            reader.skip(2, "table")
        info.tables.append(_table_type(reader))
        if has_value:
            _constant(reader)


def _read_memories(reader: _Reader, info: ModuleInfo) -> None:
    for _ in range(reader.count("memories", MAX_MEMORIES, 2)):
        info.memories.append(_memory_type(reader))


def _read_tags(reader: _Reader, info: ModuleInfo) -> None:
    for _ in range(reader.count("tags", MAX_TAGS, 2)):
        _read_tag(reader, info)


def _read_tag(reader: _Reader, info: ModuleInfo) -> FuncType:
    if reader.byte("tag") != 0:
        raise BinaryError(reader.pos - 1, "a tag of an unknown kind")
    info.tags.append(_function_type(reader, info, "tag"))
    found = info.types[info.tags[-1]]
    assert found is not None
    return found


def _read_globals(reader: _Reader, info: ModuleInfo) -> None:
    for _ in range(reader.count("globals", MAX_GLOBALS, 3)):
        info.globals.append(_global_type(reader))
        _constant(reader)


def _read_exports(reader: _Reader, info: ModuleInfo) -> None:
    spaces = (info.functions, info.tables, info.memories, info.globals, info.tags)
    sizes = [len(space) for space in spaces]
    for _ in range(reader.count("exports", MAX_EXPORTS, 3)):
        start = reader.pos
        name = reader.name("export's name")
        code = reader.byte("export's kind")
        if code >= len(KINDS):
            raise BinaryError(start, f"{code:#04x} is no kind of export known here")
        index = reader.u32("export's index")
        if index >= sizes[code]:
            raise BinaryError(start, f"export {quote(name)} is {KINDS[code]} {index}, not there")
        if name in info.exports:
            raise BinaryError(start, f"two exports are called {quote(name)}")
        info.exports[name] = Export(name, KINDS[code], index)


def _read_start(reader: _Reader, info: ModuleInfo) -> None:
    start = reader.pos
    index = reader.u32("start function")
    if index >= len(info.functions):
        raise BinaryError(start, f"the start function is function {index}, which isn't there")
    if info.function_type(index) != ((), ()):
        shown = show_type(info.function_type(index))
        raise BinaryError(start, f"the start function has type {shown} instead of () -> ()")
    info.start = index


def _read_elements(reader: _Reader, info: ModuleInfo) -> None:
    info.element_count = reader.count("element segments", MAX_SEGMENTS, 2)
    info.element_bytes = reader.end - reader.pos
    reader.pos = reader.end


def _read_data_count(reader: _Reader, info: ModuleInfo) -> None:
    start = reader.pos
    info.data_count = reader.u32("data count")
    if info.data_count > MAX_SEGMENTS:
        raise BinaryError(start, f"{info.data_count} data segments, more than accepted here")


def _read_code(reader: _Reader, info: ModuleInfo) -> None:
    start = reader.pos
    defined = _defined_functions(info)
    bodies = reader.count("function bodies", MAX_FUNCTIONS, 3)
    if bodies != defined:
        raise BinaryError(start, f"{bodies} function bodies for {defined} functions")
    info.code, info.code_start = Span("code", reader.pos, reader.end), start
    reader.pos = reader.end


def _read_data(reader: _Reader, info: ModuleInfo) -> None:
    info.data_count = reader.count("data segments", MAX_SEGMENTS, 2)
    info.data_section = Span("data", reader.pos, reader.end)
    reader.pos = reader.end


def _defined_functions(info: ModuleInfo) -> int:
    return len(info.functions) - sum(item.kind == FUNC for item in info.imports)


if TYPE_CHECKING:
    _Section: TypeAlias = tuple[str, bool, Callable[[_Reader, ModuleInfo], None]]

# By id, in the order the format asks for (custom sections, id 0, may stand anywhere): name,
# whether it is walked item by item, and its reader.
_SECTIONS: dict[int, _Section] = {
    1: ("type section", True, _read_types),
    2: ("import section", True, _read_imports),
    3: ("function section", True, _read_functions),
    4: ("table section", True, _read_tables),
    5: ("memory section", True, _read_memories),
    13: ("tag section", True, _read_tags),
    6: ("global section", True, _read_globals),
    7: ("export section", True, _read_exports),
    8: ("start section", True, _read_start),
    9: ("element section", False, _read_elements),
    12: ("data count section", True, _read_data_count),
    10: ("code section", False, _read_code),
    11: ("data section", False, _read_data),
}
_ORDER = {section: place for place, section in enumerate(_SECTIONS)}


def parse(data: bytes) -> ModuleInfo:
    """Read a module's declarations, or raise `BinaryError`."""
    _check_header(data)
    info = ModuleInfo(data)
    reader = _Reader(data, 8, len(data), info.features)
    last, walked, declared = -1, 0, None
    while reader.pos < reader.end:
        start = reader.pos
        section = reader.byte("section id")
        length = reader.u32("section's length")
        if section == 0:
            _read_custom(reader, info, length)
            continue
        if section not in _SECTIONS:
            raise BinaryError(start, f"there is no section {section}")
        what, is_walked, read = _SECTIONS[section]
        if _ORDER[section] <= last:
            again = "a second" if _ORDER[section] == last else "out of order:"
            raise BinaryError(start, f"{again} {what}")
        last = _ORDER[section]
        walked += length * is_walked
        if walked > MAX_WALKED_BYTES:
            raise BinaryError(start, f"more than {MAX_WALKED_BYTES} bytes of declarations")
        _read_section(reader, info, length, what, read)
        if section == 12:
            declared = info.data_count
    _check_counts(info, declared)
    return info


def _read_section(
    reader: _Reader,
    info: ModuleInfo,
    length: int,
    what: str,
    read: Callable[[_Reader, ModuleInfo], None],
) -> None:
    reader.skip(length, what)
    inner = _Reader(reader.data, reader.pos - length, reader.pos, info.features)
    read(inner, info)
    inner.finish(what)


def _read_custom(reader: _Reader, info: ModuleInfo, length: int) -> None:
    start = reader.skip(length, "custom section")
    if len(info.custom_sections) >= MAX_CUSTOM_SECTIONS:
        raise BinaryError(start, f"more than {MAX_CUSTOM_SECTIONS} custom sections")
    inner = _Reader(reader.data, start, reader.pos, info.features)
    name = inner.name("custom section's name")
    info.custom_sections.append(Span(name, inner.pos, inner.end))


def _check_header(data: bytes) -> None:
    if not data:
        raise BinaryError(0, "the file is empty")
    if data[:4] != b"\0asm":
        if data[:256].lstrip().startswith((b"(", b";;")):
            raise BinaryError(0, "this looks like Wasm's text format: translate it with wat2wasm")
        raise BinaryError(0, "not a Wasm binary: it doesn't begin with '\\0asm'")
    if len(data) < 8:
        raise BinaryError(len(data), "the header is cut off")
    version, layer = int.from_bytes(data[4:6], "little"), int.from_bytes(data[6:8], "little")
    if layer == 1:
        raise BinaryError(
            6, "a component, and only core modules run here: build for wasm32, not for wasip2"
        )
    if (version, layer) != (1, 0):
        raise BinaryError(4, f"Wasm version {version}, layer {layer}: only version 1 is known")


def _check_counts(info: ModuleInfo, declared: int | None) -> None:
    """The counts that have to agree between sections that may be missing."""
    end = len(info.data)
    if info.code is None and (defined := _defined_functions(info)):
        raise BinaryError(end, f"no code section for {defined} functions")
    actual = info.data_count if info.data_section else 0
    if declared is not None and declared != actual:
        raise BinaryError(end, f"{declared} data segments announced, {actual} there")


# --- read on demand ---------------------------------------------------------------------------


def name_section(module: str) -> bytes:
    """A custom section that gives the module whose last section it is a name."""
    text = _sized(module.encode())
    content = _sized(b"name") + b"\0" + _sized(text)
    return b"\0" + _sized(content)


def _sized(data: bytes) -> bytes:
    size, rest = len(data), b""
    while size > 0x7F:
        rest += bytes([size & 0x7F | 0x80])
        size >>= 7
    return rest + bytes([size]) + data


def _module_name(reader: _Reader) -> str | None:
    """The name section's first subsection, if it is there: it has to be the first."""
    if reader.pos == reader.end or reader.byte("subsection") != 0:
        return None
    length = reader.u32("subsection's length")
    start = reader.skip(length, "subsection")
    return _Reader(reader.data, start, reader.pos, {}).name("module name")


def _data_segment(reader: _Reader) -> DataSegment:
    start = reader.pos
    mode = reader.u32("data segment")
    if mode > 2:
        raise BinaryError(start, f"data segment of unknown kind {mode}")
    memory = None if mode == 1 else reader.u32("memory index") if mode == 2 else 0
    offset = None if mode == 1 else _constant(reader)
    length = reader.u32("data segment's length")
    begin = reader.skip(length, "data segment")
    return DataSegment(memory, offset, begin, reader.pos)


_WINDOW = 65_536
# NUL separates, other unprintable bytes become \x01, and a space a byte that split() leaves alone.
_TEXT = bytes(
    0x20 if b == 0 else 0x80 if b == 0x20 else b if 0x20 < b < 0x7F else 0x01 for b in range(256)
)


def _strings(data: bytes, start: int, end: int, max_length: int) -> Iterator[str]:
    """In windows that end at a NUL, so that one huge segment isn't copied at once."""
    while start < end:
        stop = min(start + _WINDOW, end)
        if stop < end:
            nul = data.rfind(0, start, stop)
            if nul < 0:  # no string this long is of interest; keep what may be the end of one
                start = max(start + 1, stop - max_length - 1)
                continue
            stop = nul + 1
        for token in data[start:stop].translate(_TEXT).split():
            text = token.rpartition(b"\x01")[2]
            if 0 < len(text) <= max_length:
                yield text.replace(b"\x80", b" ").decode("ascii")
        start = stop


class CompileCost(_Record):
    """Upper bounds that can be had without decoding instructions; all are counts or bytes."""

    __slots__ = (
        "code_bytes",
        "element_bytes",
        "exports",
        "functions",
        "groups",
        "largest_body",
        "locals_total",
        "types",
        "widest_type",
    )

    def __init__(self, info: ModuleInfo) -> None:
        self.types = len(info.types)
        # Parameters and results of one type: every block and call of it copies them all.
        self.widest_type = max((len(t[0]) + len(t[1]) for t in info.types if t), default=0)
        self.functions = len(info.functions)
        self.exports = len(info.exports)
        self.element_bytes = info.element_bytes
        self.code_bytes = 0
        self.largest_body = 0  # bytes: nesting, stack depth and jump tables can't exceed it
        self.locals_total = 0  # parameters included, as the compiler sees them
        self.groups = 0  # of locals, empty ones too: each costs us a look, whatever it declares


def compile_cost(info: ModuleInfo) -> CompileCost:
    """Sizes and locals of all function bodies: about a microsecond each."""
    cost = CompileCost(info)
    if info.code is None:
        return cost
    reader = _Reader(info.data, info.code.start, info.code.end, {})
    cost.code_bytes = reader.end - reader.pos
    params = [0 if found is None else len(found[0]) for found in info.types]
    for function in info.functions[len(info.functions) - _defined_functions(info) :]:
        length = reader.u32("function body's length")
        start = reader.skip(length, "function body")
        cost.locals_total += params[function] + _count_locals(reader, start, reader.pos, cost)
        reader.pos = start + length
        cost.largest_body = max(cost.largest_body, length)
    reader.finish("code section")
    return cost


def _count_locals(reader: _Reader, start: int, end: int, cost: CompileCost) -> int:
    """Borrows the section's reader: making one for each body would double the time."""
    section_end, reader.pos, reader.end = reader.end, start, end
    total = 0
    groups = reader.count("groups of locals", MAX_LOCALS, 2)
    cost.groups += groups
    if cost.groups > MAX_GROUPS:
        raise BinaryError(start, f"more than {MAX_GROUPS} groups of locals")
    for _ in range(groups):
        total += reader.u32("number of locals")
        reader.value_type()
        if total > MAX_LOCALS:
            raise BinaryError(start, f"a function of more than {MAX_LOCALS} locals")
    reader.end = section_end
    return total
