"""Wasm binaries made by hand: valid, expensive and hostile ones, for any test that needs them.

`module(...)` assembles sections from encoded items in the right order and leaves out empty ones;
`raw(...)` puts together whatever it is given, right or wrong. Nothing here checks anything: being
able to write nonsense is the point.

`COMPILE_BOMBS`: valid modules that are expensive to load or to compile, each at most 8 MB and made
in well under a second. `HOSTILE`: modules that have to be refused before the engine sees them. The
ones in `ABORTS_ENGINE` must never get as far as a question about their types: the engine's C API
answers by aborting the process.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

HEADER = b"\0asm\x01\0\0\0"
MAX_BYTES = 8 << 20

I32, I64, F32, F64, V128 = b"\x7f", b"\x7e", b"\x7d", b"\x7c", b"\x7b"
FUNCREF, EXTERNREF, ANYREF, EXNREF = b"\x70", b"\x6f", b"\x6e", b"\x69"
FUNC, TABLE, MEMORY, GLOBAL, TAG = range(5)
END = b"\x0b"

# --- encoding ---------------------------------------------------------------------------------


def uleb(value: int, width: int = 1) -> bytes:
    """Unsigned LEB128, padded to `width` bytes if it is shorter."""
    out = bytearray()
    while value >= 0x80 or len(out) < width - 1:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def sleb(value: int) -> bytes:
    out = bytearray()
    while not -64 <= value < 64:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)


def vec(items: Iterable[bytes]) -> bytes:
    listed = list(items)
    return uleb(len(listed)) + b"".join(listed)


def sized(body: bytes) -> bytes:
    return uleb(len(body)) + body


def name(text: str) -> bytes:
    return sized(text.encode())


def section(number: int, body: bytes) -> bytes:
    return bytes([number]) + sized(body)


def custom(title: str, body: bytes = b"") -> bytes:
    return section(0, name(title) + body)


def functype(params: bytes = b"", results: bytes = b"") -> bytes:
    """Of one-byte value types."""
    return b"\x60" + sized(params) + sized(results)


def limits(low: int, high: int | None = None, flags: int = 0) -> bytes:
    top = b"" if high is None else uleb(high)
    return bytes([flags | (high is not None)]) + uleb(low) + top


def imported(module: str, field: str, kind: int, descriptor: bytes) -> bytes:
    return name(module) + name(field) + bytes([kind]) + descriptor


def exported(field: str, kind: int, index: int) -> bytes:
    return name(field) + bytes([kind]) + uleb(index)


def i32_const(value: int) -> bytes:
    return b"\x41" + sleb(value)


def body(instructions: bytes = b"", locals_: Sequence[tuple[int, bytes]] = ()) -> bytes:
    """A function's body; `locals_` are groups of (count, type)."""
    groups = vec(uleb(count) + kind for count, kind in locals_)
    return sized(groups + instructions + END)


def data(content: bytes, offset: int = 0) -> bytes:
    return b"\x00" + i32_const(offset) + END + sized(content)


def raw(*sections: bytes) -> bytes:
    return HEADER + b"".join(sections)


def module(
    *,
    types: Sequence[bytes] = (),
    imports: Sequence[bytes] = (),
    functions: Sequence[int] = (),
    tables: Sequence[bytes] = (),
    memories: Sequence[bytes] = (),
    tags: Sequence[bytes] = (),
    globals_: Sequence[bytes] = (),
    exports: Sequence[bytes] = (),
    start: int | None = None,
    elements: Sequence[bytes] = (),
    data_count: int | None = None,
    code: Sequence[bytes] = (),
    datas: Sequence[bytes] = (),
    customs: Sequence[bytes] = (),
) -> bytes:
    """All items encoded, except function types (`functions`) and `start`, which are indices."""
    listed: tuple[tuple[int, Sequence[bytes]], ...] = (
        (1, types), (2, imports), (3, [uleb(index) for index in functions]), (4, tables),
        (5, memories), (13, tags), (6, globals_), (7, exports),
    )  # fmt: skip
    out = [section(number, vec(items)) for number, items in listed if items]
    out += [section(8, uleb(start))] if start is not None else []
    out += [section(9, vec(elements))] if elements else []
    out += [section(12, uleb(data_count))] if data_count is not None else []
    out += [section(10, vec(code))] if code else []
    out += [section(11, vec(datas))] if datas else []
    return raw(*out, *customs)


NOTHING = functype()
CODE = functype(b"", I32)
PAGE = limits(1)


def program(instructions: bytes = i32_const(0), **more: Any) -> bytes:
    """The smallest program, `main: () -> i32` and a memory; sections replaced or added."""
    parts: dict[str, Any] = {
        "types": [CODE],
        "functions": [0],
        "memories": [PAGE],
        "exports": [exported("main", FUNC, 0), exported("memory", MEMORY, 0)],
        "code": [body(instructions)],
    }
    return module(**(parts | more))


def _one(instructions: bytes, **more: Any) -> bytes:
    return program(instructions + i32_const(0), **more)


def _many(bodies: Sequence[bytes]) -> bytes:
    """`main` and other functions of its type."""
    return program(functions=[0] * (1 + len(bodies)), code=[body(i32_const(0)), *bodies])


# --- modules that are expensive to compile or to load -----------------------------------------

ONE, DROP = i32_const(1), b"\x1a"
# The engine refuses function bodies above 7,654,321 bytes.
BODY_BYTES = 7_000_000


def nested_blocks() -> bytes:
    return _one(b"\x02\x40" * 1_000_000 + END * 1_000_000)


def nested_loops() -> bytes:
    return _one(b"\x03\x40" * 1_000_000 + END * 1_000_000)


def nested_ifs() -> bytes:
    return _one((ONE + b"\x04\x40") * 1_000_000 + END * 1_000_000)


def nested_if_else() -> bytes:
    return _one((ONE + b"\x04\x40\x01\x05") * 700_000 + END * 700_000)


def blocks_in_a_row() -> bytes:
    return _one((ONE + b"\x04\x40" + END) * 1_200_000)


def loops_that_never_end() -> bytes:
    return _one((b"\x03\x40" + ONE + b"\x0d\x00" + END) * 1_000_000)


def branches_out_of_depth() -> bytes:
    """Every block is left from the innermost one: each end joins many edges."""
    depth = 20_000
    leave = b"".join(ONE + b"\x0d" + uleb(level) for level in range(depth)) * 10
    return _one(b"\x02\x40" * depth + leave + END * depth)


def many_locals() -> bytes:
    touch = b"\x20\x00\x1a"
    return _many([body(touch + i32_const(0), [(50_000, I64)])] * 20_000)


def live_locals() -> bytes:
    """Many locals set in many loops: every loop head may join every local."""
    locals_ = 10_000
    sets = b"".join(
        b"\x03\x40" + b"\x20" + uleb(n) + ONE + b"\x6a\x21" + uleb(n) for n in range(locals_)
    )
    leave = b"".join(b"\x20" + uleb(n) + b"\x0d\x00" for n in range(0, locals_, 100))
    return module(
        types=[CODE],
        functions=[0],
        exports=[exported("main", FUNC, 0)],
        code=[body(sets + leave + END * locals_ + i32_const(0), [(locals_, I32)])],
    )


def huge_function() -> bytes:
    step = b"\x41\x01\x6a"
    return program(i32_const(0) + step * (BODY_BYTES // len(step)))


def deep_stack() -> bytes:
    """Values piled up before the first one is used."""
    return _one(ONE * 2_000_000 + b"\x6a" * 1_999_999 + DROP)


def select_chain() -> bytes:
    step = ONE + ONE + b"\x1b"
    return program(i32_const(0) + step * (BODY_BYTES // len(step)))


def divisions() -> bytes:
    """Each may trap, so each needs its own way out."""
    step = b"\x20\x00\x6d"
    return _many([body(b"\x20\x00" + step * 2_000_000, [(1, I32)])])


def constant_pool() -> bytes:
    floats = b"".join(b"\x44" + struct.pack("<Q", n * 0x9E3779B97F4A7C15 % 2**62) + DROP
                      for n in range(600_000))  # fmt: skip
    return _one(floats)


def vector_constants() -> bytes:
    vectors = b"".join(b"\xfd\x0c" + n.to_bytes(16, "little") + DROP for n in range(350_000))
    return _one(vectors)


def memory_accesses() -> bytes:
    return _one(b"".join(ONE + b"\x28\x00" + uleb(n * 6007, 5) + DROP for n in range(700_000)))


def memory_fills() -> bytes:
    return _one((ONE * 3 + b"\xfc\x0b\x00") * 700_000)


def big_jump_table() -> bytes:
    targets = uleb(5_000_000) + bytes(5_000_000)
    return _one(b"\x02\x40" + ONE + b"\x0e" + targets + b"\x00" + END)


def many_jump_tables() -> bytes:
    table = b"\x02\x40" + ONE + b"\x0e" + vec([b"\x00"] * 60) + b"\x00" + END
    return _one(table * 100_000)


def jump_table_ladder() -> bytes:
    depth = 5_000
    table = b"\x0e" + vec(uleb(level) for level in range(depth)) + b"\x00"
    return _many([body(b"\x02\x40" * depth + ONE + table + END * depth + i32_const(0))] * 250)


def many_functions() -> bytes:
    return _many([b"\x04\x00\x41\x00\x0b"] * 999_999)


def call_chain() -> bytes:
    return _many([body(b"\x10" + uleb(n)) for n in range(300_000)])


def call_fan() -> bytes:
    """Few functions, and each calls every other one many times."""
    calls = b"".join(b"\x10" + uleb(n) + DROP for n in range(200)) * 40
    return _many([body(calls + i32_const(0))] * 200)


def indirect_calls() -> bytes:
    step = ONE + b"\x11\x00\x00" + DROP
    return _one(step * 1_000_000, tables=[FUNCREF + limits(1)])


def wide_signatures() -> bytes:
    """A thousand parameters, a thousand results, and calls that shuffle them all."""
    wide = functype(I64 * 1_000, I64 * 1_000)
    pushes = b"".join(b"\x20" + uleb(n) for n in range(1_000))
    calls = pushes + b"\x10\x01" * 2_000
    return module(
        types=[CODE, wide],
        functions=[0] + [1] * 100,
        exports=[exported("main", FUNC, 0)],
        code=[body(i32_const(0))] + [body(calls)] * 100,
    )


def wide_blocks() -> bytes:
    wide = functype(I32 * 1_000, I32 * 1_000)
    inner = b"\x03\x01" * 100_000 + END * 100_000
    return module(
        types=[CODE, wide],
        functions=[0, 1],
        exports=[exported("main", FUNC, 0)],
        code=[body(i32_const(0)), body(b"".join(b"\x20" + uleb(n) for n in range(1_000)) + inner)],
    )


def many_types() -> bytes:
    kinds = (I32, I64, F32, F64)
    spelled = (b"".join(kinds[n >> 2 * place & 3] for place in range(10)) for n in range(300_000))
    return module(
        types=[CODE, *(functype(params) for params in spelled)],
        functions=[0],
        exports=[exported("main", FUNC, 0)],
        code=[body(i32_const(0))],
    )


def same_types() -> bytes:
    return raw(section(1, vec([NOTHING] * 1_000_000)))


def many_imports() -> bytes:
    entries = [imported("env", f"f{n}", FUNC, b"\x00") for n in range(300_000)]
    return module(types=[NOTHING], imports=entries)


def repeated_imports() -> bytes:
    """The right one, again and again."""
    entry = imported("env", "ipc_call", FUNC, b"\x00")
    return module(types=[functype(I32 + I32, I32)], imports=[entry] * 120_000)


def many_exports() -> bytes:
    entries = [exported(f"{n:x}", FUNC, 0) for n in range(300_000)]
    return module(types=[CODE], functions=[0], exports=entries, code=[body(i32_const(0))])


def long_names() -> bytes:
    entries = [exported(f"{n:02}" + "x" * 99_990, FUNC, 0) for n in range(80)]
    return module(types=[CODE], functions=[0], exports=entries, code=[body(i32_const(0))])


def many_globals() -> bytes:
    return program(globals_=[I32 + b"\x01\x41\x00\x0b"] * 1_000_000)


def long_constant() -> bytes:
    """An initial value that is a program of its own."""
    return program(globals_=[I32 + b"\x00" + i32_const(0) + (ONE + b"\x6a") * 2_600_000 + END])


def many_tables() -> bytes:
    return program(tables=[FUNCREF + limits(1_000_000)] * 100)


def huge_table() -> bytes:
    return program(tables=[FUNCREF + limits(200_000_000)])


def many_elements() -> bytes:
    segment = b"\x00" + i32_const(0) + END + vec([b"\x00"])
    return program(tables=[FUNCREF + limits(1)], elements=[segment] * 100_000)


def huge_element() -> bytes:
    segment = b"\x01\x00" + uleb(7_000_000) + bytes(7_000_000)
    return program(elements=[segment])


def many_data_segments() -> bytes:
    return program(datas=[data(b"")] * 100_000)


def huge_data() -> bytes:
    return program(datas=[data(b"x" * 60_000, 1)] * 130)


def scattered_data() -> bytes:
    """A byte on every page of the largest memory: an image of 4 GiB, if one is made."""
    return module(
        memories=[limits(65_536)], datas=[data(b"x", page << 16) for page in range(32_768)]
    )


def endless_start() -> bytes:
    loop = body(b"\x03\x40\x0c\x00\x0b")
    return module(types=[NOTHING], functions=[0], start=0, code=[loop])


def huge_custom_section() -> bytes:
    return program(customs=[custom("producers", b"\xff" * 8_000_000)])


def many_custom_sections() -> bytes:
    return program(customs=[custom("x")] * 1_500_000)


def huge_name_section() -> bytes:
    names = vec(uleb(n) + name("function_" * 8) for n in range(100_000))
    return program(customs=[custom("name", b"\x01" + sized(names))])


COMPILE_BOMBS: dict[str, Callable[[], bytes]] = {
    make.__name__: make
    for make in (
        nested_blocks, nested_loops, nested_ifs, nested_if_else, blocks_in_a_row,
        loops_that_never_end, branches_out_of_depth, many_locals, live_locals, huge_function,
        deep_stack, select_chain, divisions, constant_pool, vector_constants, memory_accesses,
        memory_fills, big_jump_table, many_jump_tables, jump_table_ladder, many_functions,
        call_chain, call_fan, indirect_calls, wide_signatures, wide_blocks, many_types,
        same_types, many_imports, repeated_imports, many_exports, long_names, many_globals,
        long_constant, many_tables, huge_table, many_elements, huge_element, many_data_segments,
        huge_data, scattered_data, endless_start, huge_custom_section, many_custom_sections,
        huge_name_section,
    )
}  # fmt: skip

# --- modules that have to be refused ----------------------------------------------------------


def _imports_function(params: bytes, results: bytes = b"") -> bytes:
    return module(
        types=[functype(params, results)], imports=[imported("env", "ipc_call", FUNC, b"\x00")]
    )


def _exports_function(params: bytes, results: bytes = b"") -> bytes:
    """An ordinary program that also exports this one; its body is `unreachable`."""
    return module(
        types=[CODE, b"\x60" + params + results],
        functions=[0, 1],
        memories=[PAGE],
        exports=[
            exported("main", FUNC, 0),
            exported("memory", MEMORY, 0),
            exported("other", FUNC, 1),
        ],
        code=[body(i32_const(0)), body(b"\x00")],
    )


def _with_type(encoded: bytes) -> bytes:
    return program(types=[CODE, encoded])


def _null(kind: bytes) -> bytes:
    return b"\xd0" + kind + END


V128_ZERO = b"\xfd\x0c" + bytes(16) + END
_BOTH = [exported("main", FUNC, 0), exported("memory", MEMORY, 0)]
_NO_RESULTS = b"\x00"

_ABORTING: dict[str, bytes] = {
    "v128_import": _imports_function(V128),
    "v128_import_result": _imports_function(b"", V128),
    "v128_export": _exports_function(sized(V128), _NO_RESULTS),
    "v128_export_result": _exports_function(b"\x00", sized(V128)),
    "v128_global_import": module(imports=[imported("env", "g", GLOBAL, V128 + b"\x00")]),
    "v128_global_export": program(
        globals_=[V128 + b"\x00" + V128_ZERO], exports=[*_BOTH, exported("g", GLOBAL, 0)]
    ),
    "anyref_import": _imports_function(ANYREF),
    "anyref_export": _exports_function(sized(ANYREF), _NO_RESULTS),
    "concrete_ref_export": _exports_function(b"\x01\x63\x00", _NO_RESULTS),
    "exnref_import": _imports_function(EXNREF),
    "anyref_table_import": module(imports=[imported("env", "t", TABLE, ANYREF + limits(1))]),
    "anyref_global_export": program(
        globals_=[ANYREF + b"\x00" + _null(ANYREF)], exports=[*_BOTH, exported("g", GLOBAL, 0)]
    ),
}
ABORTS_ENGINE = frozenset(_ABORTING)

_COMPLETE = module(
    types=[CODE, NOTHING, functype(I32 + I32)],
    imports=[imported("env", "ipc_reply", FUNC, b"\x02")],
    functions=[0, 1],
    tables=[FUNCREF + limits(1)],
    memories=[PAGE],
    globals_=[I32 + b"\x00\x41\x07\x0b"],
    exports=[exported("main", FUNC, 1), exported("memory", MEMORY, 0)],
    start=2,
    elements=[b"\x00" + i32_const(0) + END + vec([b"\x01"])],
    data_count=1,
    code=[body(i32_const(0)), body()],
    datas=[data(b"tcpip\0")],
    customs=[custom("name", b"\x00" + sized(name("complete")))],
)


def complete() -> bytes:
    """A valid module with every section that an ordinary module may have."""
    return _COMPLETE


def section_bounds(binary: bytes) -> list[tuple[int, int, int]]:
    """(id, start, end) of each section of a module that is known to be well-formed."""
    found, position = [], len(HEADER)
    while position < len(binary):
        start, shift, length = position, 0, 0
        position += 1
        while True:
            group = binary[position]
            length |= (group & 0x7F) << shift
            position, shift = position + 1, shift + 7
            if group < 0x80:
                break
        position += length
        found.append((binary[start], start, position))
    return found


def _truncations() -> dict[str, bytes]:
    """Cut in the middle of every section, so that its length is a lie."""
    return {
        f"truncated_in_section_{number}": _COMPLETE[: (start + end + 1) // 2]
        for number, start, end in section_bounds(_COMPLETE)
    }


def _short_sections() -> dict[str, bytes]:
    """Every section that `parse` reads, its content stopping early while its length is right."""
    out = {}
    for number, start, end in section_bounds(_COMPLETE):
        content = _COMPLETE[start + 2 : end]  # every length here is one byte
        cut = section(number, content[: len(content) // 2])
        out[f"short_section_{number}"] = _COMPLETE[:start] + cut + _COMPLETE[end:]
    for number in (0, 9, 11):  # contents that only the engine reads, or nobody
        del out[f"short_section_{number}"]
    return out


def _random(count: int) -> bytes:
    return random.Random(count).randbytes(count)


HOSTILE: dict[str, bytes | Callable[[], bytes]] = {
    **_ABORTING,
    # references across the boundary
    "externref_import": _imports_function(EXTERNREF),
    "externref_export": _exports_function(sized(EXTERNREF), _NO_RESULTS),
    "funcref_export": _exports_function(b"\x00", sized(FUNCREF)),
    "externref_table": program(tables=[EXTERNREF + limits(1)]),
    "externref_table_import": module(imports=[imported("env", "t", TABLE, EXTERNREF + limits(1))]),
    "externref_global_export": program(
        globals_=[EXTERNREF + b"\x00" + _null(EXTERNREF)],
        exports=[*_BOTH, exported("g", GLOBAL, 0)],
    ),
    # features
    "memory64": program(memories=[limits(1, flags=4)]),
    "memory64_import": module(imports=[imported("env", "m", MEMORY, limits(1, flags=4))]),
    "table64": program(tables=[FUNCREF + limits(1, flags=4)]),
    "multi_memory": program(memories=[PAGE, PAGE]),
    "imported_and_own_memory": program(imports=[imported("env", "memory", MEMORY, PAGE)]),
    "shared_memory": program(memories=[limits(1, 1, flags=2)]),
    "shared_memory_import": module(imports=[imported("env", "m", MEMORY, limits(1, 1, flags=2))]),
    "custom_page_size": program(memories=[limits(1, flags=8) + b"\x00"]),
    "gc_struct": _with_type(b"\x5f" + vec([I32 + b"\x00", b"\x78\x01"])),
    "gc_array": _with_type(b"\x5e" + I32 + b"\x01"),
    "gc_rec": _with_type(b"\x4e" + vec([NOTHING, NOTHING])),
    "gc_empty_rec": _with_type(b"\x4e\x00"),
    "gc_sub": _with_type(b"\x50\x00" + NOTHING),
    "gc_sub_final": _with_type(b"\x4f\x00" + NOTHING),
    "continuation_type": _with_type(b"\x5d\x00"),
    "typed_reference": _with_type(b"\x60\x01\x64\x00\x00"),
    "exnref_tag_export": program(
        types=[CODE, functype(EXNREF)],
        tags=[b"\x00\x01"],
        exports=[exported("main", FUNC, 0), exported("e", TAG, 0)],
    ),
    "tag_import": module(types=[NOTHING], imports=[imported("env", "t", TAG, b"\x00\x00")]),
    "tag_import_as_a_call": module(
        types=[functype(I32 + I32)], imports=[imported("env", "ipc_reply", TAG, b"\x00\x00")]
    ),
    "v128_tag_export": program(
        types=[CODE, functype(V128)], tags=[b"\x00\x01"], exports=[*_BOTH, exported("t", TAG, 0)]
    ),
    "component": b"\0asm\x0d\0\x01\0",
    "component_with_content": b"\0asm\x0d\0\x01\0" + custom("x"),
    # imports that nobody provides, or of another kind or type
    "unknown_import": module(types=[NOTHING], imports=[imported("env", "exec", FUNC, b"\x00")]),
    "wrong_import_type": _imports_function(I32, I32),
    "import_as_global": module(imports=[imported("env", "ipc_call", GLOBAL, I32 + b"\x00")]),
    "memory_import": module(imports=[imported("env", "memory", MEMORY, PAGE)]),
    "table_import": module(imports=[imported("env", "t", TABLE, FUNCREF + limits(1))]),
    "global_import": module(imports=[imported("env", "g", GLOBAL, I32 + b"\x00")]),
    # sizes
    "whole_memory": program(memories=[limits(65_536)]),
    "impossible_memory": program(memories=[limits(0xFFFF_FFFF)]),
    "huge_table": huge_table,
    # shapes
    "no_exports": module(types=[CODE], functions=[0], code=[body(i32_const(0))]),
    "main_with_parameters": module(
        types=[functype(I32 + I32, I32)],
        functions=[0],
        exports=[exported("main", FUNC, 0)],
        code=[body(i32_const(0))],
    ),
    "main_is_a_memory": module(memories=[PAGE], exports=[exported("main", MEMORY, 0)]),
    # not a module
    "empty": b"",
    "wrong_magic": b"\x7fELF" + bytes(60),
    "text": b"(module)",
    "only_magic": b"\0asm",
    "wrong_version": b"\0asm\x02\0\0\0",
    "unknown_layer": b"\0asm\x01\0\x02\0",
    "unknown_section": raw(section(14, b"\x00")),
    "sections_out_of_order": raw(section(3, b"\x00"), section(1, b"\x00")),
    "section_twice": raw(section(1, b"\x00"), section(1, b"\x00")),
    "section_beyond_end": raw(b"\x01\x7f\x00"),
    "section_longer_than_content": raw(section(1, b"\x00\x00")),
    "section_of_4_gib": raw(b"\x01\xff\xff\xff\xff\x0f"),
    "number_of_six_bytes": raw(b"\x01\x80\x80\x80\x80\x80\x00"),
    "number_with_33_bits": raw(b"\x01\xff\xff\xff\xff\x1f"),
    "endless_number": raw(b"\x01" + b"\x80" * 100_000),
    "count_beyond_end": raw(section(1, uleb(0xFFFF_FFFF))),
    "params_beyond_end": raw(section(1, b"\x01\x60" + uleb(0xFFFF_FFFF))),
    "name_beyond_end": raw(section(2, b"\x01" + uleb(0xFFFF_FFFF) + b"env")),
    "name_not_utf8": raw(section(7, b"\x01\x02\xc3\x28\x00\x00")),
    "custom_without_name": raw(b"\x00\x00"),
    "type_index_beyond_end": module(types=[CODE], functions=[1], code=[body()]),
    "export_index_beyond_end": program(exports=[exported("main", FUNC, 1)]),
    "export_twice": program(exports=[exported("main", FUNC, 0), exported("main", FUNC, 0)]),
    "start_beyond_end": module(types=[NOTHING], functions=[0], start=1, code=[body()]),
    "start_with_result": module(types=[CODE], functions=[0], start=0, code=[body(ONE)]),
    "functions_without_code": module(types=[CODE], functions=[0]),
    "code_without_functions": module(code=[body()]),
    "wrong_data_count": program(datas=[data(b"x")], customs=[]).replace(
        section(10, vec([body(i32_const(0))])),
        section(12, b"\x02") + section(10, vec([body(i32_const(0))])),
    ),
    "memory_maximum_below_minimum": program(memories=[limits(2, 1)]),
    "locals_of_4_billion": module(
        types=[CODE],
        functions=[0],
        exports=[exported("main", FUNC, 0)],
        code=[body(i32_const(0), [(0xFFFF_FFFF, I32)])],
    ),
    "random_16": lambda: HEADER + _random(16),
    "random_1_kb": lambda: HEADER + _random(1_024),
    "random_8_mb": lambda: HEADER + _random(MAX_BYTES - 8),
    "zeros_8_mb": lambda: HEADER + bytes(MAX_BYTES - 8),
    "ones_8_mb": lambda: HEADER + b"\xff" * (MAX_BYTES - 8),
    **_truncations(),
    **_short_sections(),
}


def made(entry: bytes | Callable[[], bytes]) -> bytes:
    return entry if isinstance(entry, bytes) else entry()
