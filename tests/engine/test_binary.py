"""The reader: it agrees with the engine about valid modules, and survives everything else."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import wasmtime
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support import wasmgen as gen
from wasmos.engine import binary
from wasmos.engine.binary import parse
from wasmos.engine.cost import compile_cost
from wasmos.engine.info import (
    FUNC,
    GLOBAL,
    MEMORY,
    TABLE,
    Export,
    GlobalType,
    MemoryType,
    ModuleInfo,
    TableType,
)
from wasmos.engine.reader import NUMBERS, BinaryError
from wasmos.errors import ModuleRefused

# No signature here has a vector or a typed reference in it: the engine's Python package aborts the
# process when asked about those, which is why this reader exists.
SOURCES = {
    "empty": "(module)",
    "program": """(module
        (import "env" "ipc_lookup" (func (param i32) (result i32)))
        (import "env" "ipc_call" (func (param i32 i32) (result i32)))
        (memory (export "memory") 2 16)
        (data (i32.const 1024) "tcpip\\00fs\\00")
        (func (export "main") (result i32) (call 0 (i32.const 1024))))""",
    "all_numbers": """(module
        (func (export "f") (param i32 i64 f32 f64) (result f64 f32 i64 i32)
            (local.get 3) (local.get 2) (local.get 1) (local.get 0))
        (func (export "") (param f64)))""",
    "all_kinds": """(module
        (import "m" "t" (table 1 10 funcref))
        (import "m" "g" (global i64))
        (import "m" "v" (global (mut f32)))
        (import "m" "mem" (memory 1))
        (table (export "own") 3 funcref)
        (table (export "ext") 2 5 externref)
        (global (export "pi") f64 (f64.const 3.14))
        (global (export "sum") (mut i32) (i32.add (i32.const 1) (i32.const 2)))
        (global (export "copy") i64 (global.get 0))
        (global $null funcref (ref.null func))
        (elem (i32.const 0) func $s)
        (func $s) (start $s)
        (export "again" (func $s)) (export "mem" (memory 0)))""",
    "vectors_inside": """(module
        (global v128 (v128.const i32x4 1 2 3 4))
        (func $inner (param v128) (result v128) (local.get 0))
        (func (export "main") (result i32)
            (i32x4.extract_lane 0 (call $inner (v128.const i32x4 1 2 3 4)))))""",
    "passive_data": """(module
        (memory 1)
        (data $later "hello\\00") (data (i32.const 7) "now\\00")
        (func (memory.init $later (i32.const 0) (i32.const 0) (i32.const 5))
              (data.drop $later)))""",
    "unicode": '(module (func (export "h\\c3\\a9llo \\f0\\9f\\90\\88")) (func (export "a\\00b")))',
}


@pytest.fixture(scope="module")
def engine() -> wasmtime.Engine:
    return wasmtime.Engine()


def value_view(found: object) -> str:
    """The engine's Python package says `anyref` for externref, a name of an older draft."""
    return str(found).replace("anyref", "externref")


def engine_view(found: object) -> object:
    """What the engine says about one import or export, in our terms."""
    if isinstance(found, wasmtime.FuncType):
        return tuple(map(value_view, found.params)), tuple(map(value_view, found.results))
    if isinstance(found, wasmtime.TableType):
        return TableType(value_view(found.element), found.limits.min, found.limits.max)
    if isinstance(found, wasmtime.MemoryType):
        return MemoryType(found.limits.min, found.limits.max)
    assert isinstance(found, wasmtime.GlobalType)
    return GlobalType(value_view(found.content), found.mutable)


def our_view(info: ModuleInfo, export: Export) -> object:
    if export.kind == FUNC:
        return info.signature(export.name)
    spaces: dict[str, list[object]] = {
        TABLE: list(info.tables),
        MEMORY: list(info.memories),
        GLOBAL: list(info.globals),
    }
    return spaces[export.kind][export.index]


# --- valid modules ----------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_agrees_with_the_engine(source: str, engine: wasmtime.Engine) -> None:
    encoded = bytes(wasmtime.wat2wasm(source))
    info, theirs = parse(encoded), wasmtime.Module(engine, encoded)
    assert [(i.module, i.name, i.descriptor) for i in info.imports] == [
        (i.module, i.name, engine_view(i.type)) for i in theirs.imports
    ]
    assert [(e.name, our_view(info, e)) for e in info.exports.values()] == [
        (e.name, engine_view(e.type)) for e in theirs.exports
    ]
    list(info.strings())
    compile_cost(info)


def test_reads_every_section() -> None:
    info = parse(gen.complete())
    assert (info.element_count, info.data_count, info.start) == (1, 1, 2)
    assert info.signature("main") == ((), ("i32",))
    assert info.signature("memory") is None and info.signature("other") is None
    assert info.imports_from("env") == info.imports and not info.imports_from("wasi")
    assert info.globals == [GlobalType("i32", False)]
    assert info.tables == [TableType("funcref", 1, None)]
    assert info.memories[0].min_bytes == 65_536
    assert binary.names(info.data) == info.custom_sections[0]
    assert list(info.strings()) == ["tcpip"]
    assert not info.features


def test_padded_numbers_are_legal() -> None:
    """Linkers write lengths as five bytes, to fill them in later."""
    types = b"\x01" + gen.uleb(4, 5) + b"\x01\x60\x00\x00"
    assert parse(gen.raw(types)).types == [((), ())]


def test_data_segments_say_where_they_go() -> None:
    info = parse(bytes(wasmtime.wat2wasm(SOURCES["passive_data"])))
    later, now = info.data_segments()
    assert (later.memory, later.offset) == (None, None)
    assert (now.memory, now.offset) == (0, 7)
    assert info.data[now.start : now.end] == b"now\0"


# --- hostile input ----------------------------------------------------------------------------


ANYTHING = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # how long an example takes is bounded by the tests of time below


def read_everything(data: bytes) -> ModuleInfo | None:
    """Everything this file can be asked about some bytes; only `BinaryError` may come of it."""
    try:
        info = parse(data)
        for export in info.exports:
            info.signature(export)
        titled = [each for each in info.custom_sections if each.name == "name"]
        assert binary.names(data) == (titled[0] if titled else None)
        info.without_names()
        list(info.strings())
        compile_cost(info)
    except BinaryError as error:
        assert 0 <= error.offset <= len(data)
        assert error.what in str(error) and len(str(error)) < 400
        return None
    return info


@ANYTHING
@given(st.binary(max_size=300))
@example(b"")
def test_random_bytes(data: bytes) -> None:
    read_everything(data)
    read_everything(gen.HEADER + data)


@ANYTHING
@given(st.lists(st.tuples(st.integers(0, 14), st.binary(max_size=40)), max_size=6))
def test_random_sections(sections: list[tuple[int, bytes]]) -> None:
    read_everything(gen.raw(*(gen.section(*section) for section in sections)))


CORPUS = [gen.complete(), *(bytes(wasmtime.wat2wasm(source)) for source in SOURCES.values())]


def mutate(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for at, drop, insert in edits:
        place = 8 + at % max(1, len(data) - 8)
        data = data[:place] + insert + data[place + drop :]
    return data


EDITS = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.integers(0, 3), st.binary(max_size=3)),
    min_size=1,
    max_size=4,
)


@ANYTHING
@given(st.sampled_from(CORPUS), EDITS)
def test_mutated_modules(original: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    read_everything(mutate(original, edits))


@ANYTHING
@given(st.sampled_from(CORPUS), EDITS)
def test_what_the_engine_accepts_was_understood(
    original: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    """A module that the engine takes and this reader doesn't is at worst an inconvenience, but one
    that both take has to be the same module to both."""
    data = mutate(original, edits)
    info = read_everything(data)
    if info is None or info.features:
        return
    engine = wasmtime.Engine()
    try:
        module = wasmtime.Module(engine, data)
    except wasmtime.WasmtimeError:
        return
    plain = NUMBERS | {"funcref", "externref"}
    for item in info.imports:
        if isinstance(item.descriptor, tuple) and not plain.issuperset(sum(item.descriptor, ())):
            return
    if any(value.value not in plain for value in info.globals):
        return
    if any(not plain.issuperset(sum(kind or ((), ()), ())) for kind in info.types):
        return
    assert [(i.module, i.name, engine_view(i.type)) for i in module.imports] == [
        (i.module, i.name, i.descriptor) for i in info.imports
    ]
    assert [(e.name, engine_view(e.type)) for e in module.exports] == [
        (e.name, our_view(info, e)) for e in info.exports.values()
    ]


@pytest.mark.parametrize("data", CORPUS)
def test_every_truncation(data: bytes) -> None:
    bounds = {8} | {end for _, _, end in gen.section_bounds(data)}
    for length in range(len(data)):
        info = read_everything(data[:length])
        assert info is None or length in bounds


@pytest.mark.parametrize("data", CORPUS[:3])
def test_every_byte_replaced(data: bytes) -> None:
    for place in range(len(data)):
        for value in (0x00, 0x01, 0x40, 0x7F, 0x80, 0xFF):
            read_everything(data[:place] + bytes([value]) + data[place + 1 :])


@pytest.mark.parametrize("entry", gen.HOSTILE.values(), ids=gen.HOSTILE)
def test_hostile_modules_are_read_or_refused(entry: bytes | Callable[[], bytes]) -> None:
    read_everything(gen.made(entry))


def test_errors_say_where_and_what() -> None:
    with pytest.raises(ModuleRefused, match="at byte 10: 2 types can't be in the 1 bytes") as seen:
        parse(gen.raw(gen.section(1, b"\x02\x60")))
    assert isinstance(seen.value, BinaryError) and seen.value.offset == 10


# --- time -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", gen.COMPILE_BOMBS.values(), ids=gen.COMPILE_BOMBS)
def test_bombs_cost_little_here(make: Callable[[], bytes]) -> None:
    """Measured 0.7 s for the worst, a million functions; the rest take milliseconds."""
    data = make()
    assert len(data) <= gen.MAX_BYTES
    before = time.process_time()
    read_everything(data)
    assert time.process_time() - before < 8


@pytest.mark.parametrize(
    "data",
    [
        gen.module(globals_=[gen.I32 + b"\x00" + b"\x41\x00" * 1_000 + b"\x0b"] * 2_000),
        gen.module(types=[gen.functype(gen.I32 * 40 + bytes([0x6F, 0x70]))] * 50_000),
        gen.module(types=[gen.NOTHING], functions=[0] * 1_000_000, code=[b"\x02\x00\x0b"] * 10**6),
        gen.module(memories=[gen.PAGE], datas=[gen.data(b"a\0" * (4 << 20))]),
        gen.module(memories=[gen.PAGE], datas=[gen.data(b"ab\0")] * 100_000),
        gen.module(
            types=[gen.NOTHING], functions=[0], code=[gen.body(b"", [(0, gen.I32)] * 50_000)]
        ),
    ],
    ids=["constants", "types", "functions", "short strings", "segments", "groups of locals"],
)
def test_slow_corners_are_bounded(data: bytes) -> None:
    before = time.process_time()
    read_everything(data)
    assert time.process_time() - before < 8


def test_a_large_ordinary_module_is_quick() -> None:
    body = gen.body(b"\x01" * 490, [(4, gen.I32)])
    data = gen.module(types=[gen.NOTHING], functions=[0] * 10_000, code=[body] * 10_000)
    assert len(data) > 4_900_000
    best = min(_seconds(data) for _ in range(5))
    assert best < 0.05


def _seconds(data: bytes) -> float:
    before = time.process_time()
    parse(data)
    return time.process_time() - before


def test_imports_nothing_heavy() -> None:
    """Every `import wasmos` pays for this module."""
    script = (
        "import sys, wasmos.engine; known = set(sys.modules); import wasmos.engine.binary;"
        "print(*sorted(set(sys.modules) - known))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    heavy = {"typing", "re", "dataclasses", "enum", "inspect", "wasmtime"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize("name", ["", "wasmos:calls", "x" * 200])
def test_a_name_section_is_read_back(name: str) -> None:
    module = b"\0asm\x01\0\0\0" + binary.name_section(name)
    section = binary.names(module)
    assert section is not None
    content = module[section.start : section.end]
    assert content[0] == 0 and content.endswith(name.encode())


def test_where_the_content_of_code_begins() -> None:
    """At the number of functions: debug information counts from there."""
    header = b"\0asm\x01\0\0\0" + bytes.fromhex("01 04 01 60 00 0003 02 01 00")
    padded = bytes.fromhex("0a 05 81 00 02 00 0b")
    assert binary.parse(header + padded).code_start == len(header) + 2
