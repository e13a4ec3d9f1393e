"""What is found in a module, and read in it when asked.

Law: what is here was declared by a stranger, and is as `binary.parse` found it. Data and the names
of functions are parts of the file that nobody has looked into before.
"""

from __future__ import annotations

from .reader import BinaryError, Reader, constant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from .reader import ValueType

    FuncType: TypeAlias = tuple[tuple[ValueType, ...], tuple[ValueType, ...]]
    Descriptor: TypeAlias = "FuncType | TableType | MemoryType | GlobalType"

PAGE_BYTES = 65_536

# Kinds of imports and exports, by the byte that stands for them.
FUNC, TABLE, MEMORY, GLOBAL, TAG = KINDS = ("func", "table", "memory", "global", "tag")

MAX_SHOWN_NAME = 60  # characters
NAMES = "name"  # what the section of names is called


class Record:
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


class TableType(Record):
    __slots__ = ("element", "is_64", "maximum", "minimum")

    def __init__(
        self, element: str, minimum: int, maximum: int | None, is_64: bool = False
    ) -> None:
        self.element = element
        self.minimum = minimum  # elements
        self.maximum = maximum
        self.is_64 = is_64


class MemoryType(Record):
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


class GlobalType(Record):
    __slots__ = ("mutable", "value")

    def __init__(self, value: str, mutable: bool) -> None:
        self.value = value
        self.mutable = mutable


class Import(Record):
    """A tag's descriptor is its function type."""

    __slots__ = ("descriptor", "kind", "module", "name")

    def __init__(self, module: str, name: str, kind: str, descriptor: Descriptor) -> None:
        self.module = module
        self.name = name
        self.kind = kind
        self.descriptor = descriptor


class Export(Record):
    __slots__ = ("index", "kind", "name")

    def __init__(self, name: str, kind: str, index: int) -> None:
        self.name = name
        self.kind = kind
        self.index = index


class Span(Record):
    """A piece of the file: a custom section's content under its name, or a section's items."""

    __slots__ = ("end", "name", "start")

    def __init__(self, name: str, start: int, end: int) -> None:
        self.name = name
        self.start = start
        self.end = end


class DataSegment(Record):
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

    def without_names(self) -> bytes:
        """The module with everything where it was, but such sections called otherwise."""
        pieces: list[bytes] = []
        last = 0
        for section in self.custom_sections:
            if section.name == NAMES:
                pieces += self.data[last : section.start - len(NAMES)], b"none"
                last = section.start
        return b"".join([*pieces, self.data[last:]]) if pieces else self.data

    def data_segments(self) -> Iterator[DataSegment]:
        """Raises `BinaryError` where the data section is malformed: `parse` only counted it."""
        if self.data_section is not None:
            reader = Reader(self.data, self.data_section.start, self.data_section.end, {})
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


def defined_functions(info: ModuleInfo) -> int:
    return len(info.functions) - sum(item.kind == FUNC for item in info.imports)


def _data_segment(reader: Reader) -> DataSegment:
    start = reader.pos
    mode = reader.u32("data segment")
    if mode > 2:
        raise BinaryError(start, f"data segment of unknown kind {mode}")
    memory = None if mode == 1 else reader.u32("memory index") if mode == 2 else 0
    offset = None if mode == 1 else constant(reader)
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


# --- for people -------------------------------------------------------------------------------


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
