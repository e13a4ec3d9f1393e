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

from .info import (
    FUNC,
    GLOBAL,
    KINDS,
    MEMORY,
    NAMES,
    PAGE_BYTES,
    TABLE,
    Export,
    GlobalType,
    Import,
    MemoryType,
    ModuleInfo,
    Span,
    TableType,
    defined_functions,
    quote,
    show_type,
)
from .reader import (
    GC,
    MAX_VALUES,
    MEMORY64,
    PAGE_SIZES,
    SHARED_MEMORY,
    STACK_SWITCHING,
    TYPED_REFS,
    BinaryError,
    Reader,
    constant,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from .info import Descriptor, FuncType

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

# --- types ------------------------------------------------------------------------------------


def _limits(reader: Reader, flags: int, bits: int, what: str) -> tuple[int, int | None]:
    start = reader.pos
    low = reader.unsigned(bits, f"{what}'s minimum")
    high = reader.unsigned(bits, f"{what}'s maximum") if flags & 1 else None
    if high is not None and high < low:
        raise BinaryError(start, f"{what}'s maximum {high} is below its minimum {low}")
    return low, high


def _table_type(reader: Reader) -> TableType:
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


def _memory_type(reader: Reader) -> MemoryType:
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


def _global_type(reader: Reader) -> GlobalType:
    value = reader.value_type()
    return GlobalType(value, reader.flag("global's mutability"))


# --- sections ---------------------------------------------------------------------------------


def _read_types(reader: Reader, info: ModuleInfo) -> None:
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


def _read_type(reader: Reader, info: ModuleInfo) -> None:
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


def _read_field(reader: Reader) -> None:
    if reader.pos < reader.end and reader.data[reader.pos] in (0x77, 0x78):  # i16, i8
        reader.pos += 1
    else:
        reader.value_type()
    reader.flag("field's mutability")


def _function_type(reader: Reader, info: ModuleInfo, what: str) -> int:
    start = reader.pos
    index = reader.u32(what)
    if index >= len(info.types):
        raise BinaryError(start, f"{what} is type {index} of {len(info.types)}")
    if info.types[index] is None:
        raise BinaryError(start, f"{what} is type {index}, which is no function type")
    return index


def _read_imports(reader: Reader, info: ModuleInfo) -> None:
    for _ in range(reader.count("imports", MAX_IMPORTS, 4)):
        module, name = reader.name("import's module"), reader.name("import's name")
        start = reader.pos
        code = reader.byte("import's kind")
        if code >= len(KINDS):
            raise BinaryError(start, f"{code:#04x} is no kind of import known here")
        kind = KINDS[code]
        info.imports.append(Import(module, name, kind, _import_type(reader, info, kind)))


def _import_type(reader: Reader, info: ModuleInfo, kind: str) -> Descriptor:
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


def _read_functions(reader: Reader, info: ModuleInfo) -> None:
    append, types = info.functions.append, info.types
    for _ in range(reader.count("functions", MAX_FUNCTIONS, 1)):
        start = reader.pos
        index = reader.u32("function's type")
        if index >= len(types) or types[index] is None:
            raise BinaryError(start, f"a function's type is {index}, which is no function type")
        append(index)


def _read_tables(reader: Reader, info: ModuleInfo) -> None:
    for _ in range(reader.count("tables", MAX_TABLES, 3)):
        has_value = reader.data[reader.pos : reader.pos + 2] == b"\x40\x00"
        if has_value:
            reader.note(TYPED_REFS, reader.pos)
            reader.skip(2, "table")
        info.tables.append(_table_type(reader))
        if has_value:
            constant(reader)


def _read_memories(reader: Reader, info: ModuleInfo) -> None:
    for _ in range(reader.count("memories", MAX_MEMORIES, 2)):
        info.memories.append(_memory_type(reader))


def _read_tags(reader: Reader, info: ModuleInfo) -> None:
    for _ in range(reader.count("tags", MAX_TAGS, 2)):
        _read_tag(reader, info)


def _read_tag(reader: Reader, info: ModuleInfo) -> FuncType:
    if reader.byte("tag") != 0:
        raise BinaryError(reader.pos - 1, "a tag of an unknown kind")
    info.tags.append(_function_type(reader, info, "tag"))
    found = info.types[info.tags[-1]]
    assert found is not None
    return found


def _read_globals(reader: Reader, info: ModuleInfo) -> None:
    for _ in range(reader.count("globals", MAX_GLOBALS, 3)):
        info.globals.append(_global_type(reader))
        constant(reader)


def _read_exports(reader: Reader, info: ModuleInfo) -> None:
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


def _read_start(reader: Reader, info: ModuleInfo) -> None:
    start = reader.pos
    index = reader.u32("start function")
    if index >= len(info.functions):
        raise BinaryError(start, f"the start function is function {index}, which isn't there")
    if info.function_type(index) != ((), ()):
        shown = show_type(info.function_type(index))
        raise BinaryError(start, f"the start function has type {shown} instead of () -> ()")
    info.start = index


def _read_elements(reader: Reader, info: ModuleInfo) -> None:
    info.element_count = reader.count("element segments", MAX_SEGMENTS, 2)
    info.element_bytes = reader.end - reader.pos
    reader.pos = reader.end


def _read_data_count(reader: Reader, info: ModuleInfo) -> None:
    start = reader.pos
    info.data_count = reader.u32("data count")
    if info.data_count > MAX_SEGMENTS:
        raise BinaryError(start, f"{info.data_count} data segments, more than accepted here")


def _read_code(reader: Reader, info: ModuleInfo) -> None:
    start = reader.pos
    defined = defined_functions(info)
    bodies = reader.count("function bodies", MAX_FUNCTIONS, 3)
    if bodies != defined:
        raise BinaryError(start, f"{bodies} function bodies for {defined} functions")
    info.code, info.code_start = Span("code", reader.pos, reader.end), start
    reader.pos = reader.end


def _read_data(reader: Reader, info: ModuleInfo) -> None:
    info.data_count = reader.count("data segments", MAX_SEGMENTS, 2)
    info.data_section = Span("data", reader.pos, reader.end)
    reader.pos = reader.end


if TYPE_CHECKING:
    _Section: TypeAlias = tuple[str, bool, Callable[[Reader, ModuleInfo], None]]

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
    reader = Reader(data, 8, len(data), info.features)
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
    reader: Reader,
    info: ModuleInfo,
    length: int,
    what: str,
    read: Callable[[Reader, ModuleInfo], None],
) -> None:
    reader.skip(length, what)
    inner = Reader(reader.data, reader.pos - length, reader.pos, info.features)
    read(inner, info)
    inner.finish(what)


def _read_custom(reader: Reader, info: ModuleInfo, length: int) -> None:
    start = reader.skip(length, "custom section")
    if len(info.custom_sections) >= MAX_CUSTOM_SECTIONS:
        raise BinaryError(start, f"more than {MAX_CUSTOM_SECTIONS} custom sections")
    inner = Reader(reader.data, start, reader.pos, info.features)
    name = inner.name("custom section's name")
    info.custom_sections.append(Span(name, inner.pos, inner.end))


def names(data: bytes) -> Span | None:
    """The section that gives a module's functions names, in a form that nobody has checked. It is
    found by the heads of sections alone: what `parse` reads can take a second, and everybody waits
    for who asks this. Raises `BinaryError` for what `parse` doesn't take."""
    title = NAMES.encode()
    reader = Reader(data, 8, len(data), {})
    while reader.pos < reader.end:
        section = reader.byte("section id")
        length = reader.u32("section's length")
        start = reader.skip(length, "section")
        end, reader.pos = reader.pos, start
        if section == 0 and reader.u32("custom section's name") == len(title):
            start = reader.skip(len(title), "custom section's name")
            if data[start : reader.pos] == title:
                return Span(NAMES, reader.pos, end)
        reader.pos = end
    return None


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
    if info.code is None and (defined := defined_functions(info)):
        raise BinaryError(end, f"no code section for {defined} functions")
    actual = info.data_count if info.data_section else 0
    if declared is not None and declared != actual:
        raise BinaryError(end, f"{declared} data segments announced, {actual} there")


# --- writing ----------------------------------------------------------------------------------


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
