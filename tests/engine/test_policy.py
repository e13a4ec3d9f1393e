"""Which modules may run: a test for each rule, and one hostile module for each way to break it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import wasmtime

from tests.support import wasmgen as gen
from wasmos.engine import policy
from wasmos.engine.info import GlobalType, MemoryType, TableType
from wasmos.engine.reader import (
    _HEAP,
    GC,
    MEMORY64,
    PAGE_SIZES,
    SHARED_MEMORY,
    STACK_SWITCHING,
    TYPED_REFS,
)
from wasmos.errors import CompileLimitExceeded, ModuleRefused

I32 = ("i32",)
ENV: dict[tuple[str, str], Any] = {
    ("env", "ipc_lookup"): (I32, I32),
    ("env", "ipc_call"): (I32 * 2, I32),
    ("env", "ipc_recv"): (I32 * 2, I32),
    ("env", "ipc_reply"): (I32 * 2, ()),
}
CALL = '(import "env" "ipc_call" (func (param i32 i32) (result i32)))'
MAIN = '(func (export "main") (result i32) (i32.const 0))'
MEMORY = '(memory (export "memory") 1)'
HANDLE = '(func (export "ipc_handle") (param i32))'
BUFFER = '(func (export "ipc_buffer") (result i32) (i32.const 0))'


def admit(source: str | bytes, **changes: Any) -> policy.Shape:
    """`source` is a whole binary, or the fields of a module in the text format."""
    if isinstance(source, str):
        source = bytes(wasmtime.wat2wasm(f"(module {source})"))
    return policy.admit(source, **({"imports": ENV} | changes))[1]


def importing(*imports: tuple[str, str], item: str = "(func)") -> str:
    """The fields of a module that imports things of no use to it."""
    return "".join(
        CALL if name == "ipc_call" else f'(import "{module}" "{name}" {item})'
        for module, name in imports
    )


def refused(source: str | bytes, **changes: Any) -> str:
    with pytest.raises(ModuleRefused) as seen:
        admit(source, **changes)
    return str(seen.value)


# --- shapes -----------------------------------------------------------------------------------


def test_program() -> None:
    shape = admit(CALL + MEMORY + MAIN)
    assert (shape.kind, shape.entry) == (policy.ACTIVE, "main")
    assert shape.returns_code and shape.has_memory and not shape.direct


def test_program_without_result_or_memory() -> None:
    shape = admit('(func (export "main"))')
    assert shape.kind == policy.ACTIVE and not shape.returns_code and not shape.has_memory


def test_complete_module_is_a_program() -> None:
    assert admit(gen.complete()).kind == policy.ACTIVE


def test_passive_service_that_imports_nothing_is_called_directly() -> None:
    shape = admit(MEMORY + HANDLE + BUFFER)
    assert (shape.kind, shape.entry, shape.direct) == (policy.PASSIVE, "ipc_handle", True)


def test_passive_service_that_may_block() -> None:
    assert not admit(CALL + MEMORY + HANDLE + BUFFER).direct


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (MEMORY, "nothing to run"),
        (MEMORY + '(func (export "_start"))', "it exports '_start'"),
        (MAIN + HANDLE + MEMORY, "both 'main' and 'ipc_handle'"),
        (MAIN + BUFFER + MEMORY, "both 'main' and 'ipc_buffer'"),
        (
            '(func (export "main") (param i32 i32) (result i32) (i32.const 0))',
            "'main' is of type (i32, i32) -> i32",
        ),
        ('(func (export "main") (result i64) (i64.const 0))', "'main' is of type () -> i64"),
        ('(global (export "main") i32 (i32.const 0))', "'main' is a global"),
        (CALL + MAIN, "imports 'env'.'ipc_call' but exports no memory"),
        (CALL + MAIN + '(func (export "memory"))', "'memory' is a function"),
        (MEMORY + HANDLE, "'ipc_buffer' is missing"),
        (MEMORY + BUFFER, "'ipc_handle' is missing"),
        (HANDLE + BUFFER, "without a memory"),
        (MEMORY + BUFFER + '(func (export "ipc_handle"))', "'ipc_handle' is of type () -> ()"),
        (MEMORY + HANDLE + '(func (export "ipc_buffer"))', "function 'ipc_buffer' of type () ->"),
    ],
)
def test_wrong_shapes(fields: str, said: str) -> None:
    assert said in refused(fields)


# --- dialects: what else a program may be written for -------------------------------------------

# Two interfaces, one with a function of the same name as the other's.
DIALECTS: dict[str, Any] = {
    "toy": SimpleNamespace(offer={("toy", "say"): (I32, I32), ("toy", "leave"): (I32, ())}),
    "game": SimpleNamespace(offer={("game", "say"): ((), ())}),
}
SAY = '(import "toy" "say" (func (param i32) (result i32)))'
GAME_SAY = '(import "game" "say" (func))'
START = '(func (export "_start"))'
INITIALIZE = '(func (export "_initialize"))'


@pytest.mark.parametrize(
    ("fields", "entry", "dialect", "has_memory"),
    [
        (SAY + MEMORY + START, "_start", "toy", True),
        (GAME_SAY + MEMORY + START, "_start", "game", True),
        (SAY + START, "_start", "toy", False),
        (SAY + MEMORY + INITIALIZE, "_initialize", "toy", True),  # a reactor
        (SAY + MEMORY + INITIALIZE + START, "_start", "toy", True),
        # What it exports beside that is nobody's business: `main` is never called.
        (SAY + MEMORY + START + MAIN, "_start", "toy", True),
        (SAY + MEMORY + START + HANDLE + BUFFER, "_start", "toy", True),
    ],
)
def test_a_program_of_a_dialect(fields: str, entry: str, dialect: str, has_memory: bool) -> None:
    shape = admit(fields, dialects=DIALECTS)
    assert (shape.kind, shape.entry, shape.dialect) == (policy.ACTIVE, entry, dialect)
    assert shape.has_memory is has_memory
    assert not shape.direct and not shape.returns_code


def test_a_command_that_imports_nothing_is_of_the_first_dialect() -> None:
    assert admit(MEMORY + START, dialects=DIALECTS).dialect == "toy"
    assert admit(START, dialects={"game": DIALECTS["game"]}).dialect == "game"


@pytest.mark.parametrize(
    "fields", [CALL + MEMORY + MAIN, MAIN, MAIN + START, MAIN + MEMORY + INITIALIZE]
)
def test_a_program_of_no_dialect(fields: str) -> None:
    """It has the four calls or nothing, and a `main`."""
    shape = admit(fields, dialects=DIALECTS)
    assert (shape.entry, shape.dialect) == ("main", None)


ADD = '(func (export "add"))'
CALLED = (
    "functions others call: 'add'; to call one: wasmos run --invoke add; for a program export '{}'"
)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("wasi:http/handler@0.2#handle", "'wasi:http/handler@0.2#handle'"),
        ("it's$(reboot)", "'it'\"'\"'s$(reboot)'"),
        ("a" * 60, "a" * 60),
        *((name, "NAME") for name in ("a" * 61, "-A", "a\n", "a\x1b", "\u00e4", "\u202ea")),
    ],
)
def test_a_command_to_copy_runs_nothing_of_a_guests(name: str, written: str) -> None:
    option = policy.calling(name)
    assert option == f"--invoke {written}"
    assert shlex.split(option)[1] in (name, "NAME")
    said = refused(gen.program(exports=[gen.exported(name, gen.FUNC, 0)]))
    assert f"; to call one: wasmos run {option}; " in said


@pytest.mark.parametrize(
    ("fields", "what", "entry"),
    [
        (ADD, "library", "main"),
        (ADD + INITIALIZE, "reactor", "main"),
        (SAY + MEMORY + ADD, "library", "_start"),
        (CALL + MEMORY + ADD + INITIALIZE, "reactor", "main"),
    ],
)
def test_what_only_has_functions_is_told_what_it_is(fields: str, what: str, entry: str) -> None:
    said = refused(fields, dialects=DIALECTS).replace(", '_initialize'", "")
    assert f"nothing to run by itself: it is a {what}, whose {CALLED.format(entry)}" in said
    shape = admit(fields, dialects=DIALECTS, library=True)
    assert (shape.kind, shape.entry) == (policy.LIBRARY, "")
    assert shape.dialect == ("toy" if SAY in fields else None)


def test_a_passive_service_is_of_no_dialect() -> None:
    shape = admit(MEMORY + HANDLE + BUFFER, dialects=DIALECTS)
    assert (shape.kind, shape.dialect, shape.direct) == (policy.PASSIVE, None, True)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        # Of its own kind, `_start` and `_initialize` are () -> ().
        (
            SAY + MEMORY,
            "nothing to run: export '_start' (a command) or '_initialize' (a reactor), as",
        ),
        (SAY + MEMORY + MAIN, "as it imports 'toy'; it exports 'main'"),
        (SAY + '(func (export "_start") (param i32))', "'_start' is of type (i32) -> ()"),
        (
            SAY + '(func (export "_start") (result i32) (i32.const 0))',
            "'_start' is of type () -> i",
        ),
        (SAY + '(global (export "_start") i32 (i32.const 0))', "'_start' is a global"),
        (
            SAY + START + '(func (export "_initialize") (param i32))',
            "'_initialize' is of type (i32)",
        ),
        (SAY + '(func (export "_initialize") (result i64) (i64.const 0))', "'_initialize' is of"),
        (SAY + START + '(func (export "memory"))', "'memory' is a function"),
        # The whole offer is one dialect's: neither another one's nor the four calls.
        (SAY + GAME_SAY + MEMORY + START, "import 'game'.'say', function () -> (), is provided by"),
        (GAME_SAY + SAY + MEMORY + START, "import 'toy'.'say', function (i32) -> i32, is provided"),
        (SAY + CALL + MEMORY + START, "import 'env'.'ipc_call'"),
        (CALL + SAY + MEMORY + MAIN, "import 'env'.'ipc_call'"),
        (
            '(import "toy" "fly" (func))' + START,
            "'toy'.'fly', function () -> (), is provided by nob",
        ),
        ('(import "toy" "say" (func))' + START, "wanted as function () -> (), but provided as"),
        ('(import "toy" "say" (global i32))' + START, "'toy'.'say'"),
        ('(import "toy" "memory" (memory 1))' + START, "'toy'.'memory'"),
    ],
)
def test_what_is_no_program_of_a_dialect(fields: str, said: str) -> None:
    assert said in refused(fields, dialects=DIALECTS)


def test_without_dialects_there_is_none() -> None:
    assert "'toy'.'say'" in refused(SAY + MEMORY + START)
    assert "nothing to run" in refused(START)
    assert "nothing to run" in refused(START, dialects={})


# --- imports ----------------------------------------------------------------------------------


def test_unknown_import_names_what_there_is() -> None:
    said = refused('(import "env" "ipc_send" (func (param i32)))' + MEMORY + MAIN)
    assert "'env'.'ipc_send', function (i32) -> ()" in said
    assert "env.ipc_reply: (i32, i32) -> ()" in said


def test_import_from_the_wrong_module_names_the_right_one() -> None:
    said = refused('(import "kernel" "ipc_call" (func (param i32 i32) (result i32)))' + MAIN)
    assert said.endswith("there is env.ipc_call: (i32, i32) -> i32")


def test_import_of_the_wrong_type_names_both() -> None:
    said = refused('(import "env" "ipc_reply" (func (param i32 i64)))' + MEMORY + MAIN)
    assert "wanted as function (i32, i64) -> (), but provided as function (i32, i32) -> ()" in said


def test_nothing_offered() -> None:
    assert "offered no imports at all" in refused(CALL + MEMORY + MAIN, imports={})


LONG = {("host", f"number_{n}"): ((), ()) for n in range(40)}


@pytest.mark.parametrize(
    ("imports", "told"),
    [
        ([("host", "number_07")], "there is host.number_0: () -> (), host.number_7: () -> ()"),
        ([("env", "number_7")], "there is host.number_7: () -> ()"),
        ([("host", "quite")], "'host' has 40 functions here, none with such a name"),
        ([("host", "x" * 100_000)], "'host' has 40 functions here, none with such a name"),
        ([("gojs", "run")], "programs here import 'host'"),
    ],
)
def test_of_a_long_offer_only_the_nearest_is_told(
    imports: list[tuple[str, str]], told: str
) -> None:
    said = refused(importing(*imports), imports=LONG)
    assert "provided by nobody" in said
    if told.endswith("-> ()"):
        names = sorted(told.removeprefix("there is ").split(", "))
        listed = said.rpartition("there is ")[2].split(", ")
        assert len(listed) <= 3 and {*names} <= {*listed}
    else:
        assert said.endswith(f"; {told}")


def test_all_missing_imports_are_told() -> None:
    said = refused(importing(("b", "one"), ("env", "ipc_call"), ("a", "two"), ("b", "three")))
    assert said == (
        "it imports 3 functions that are provided by nobody: 'a'.'two', 'b'.'one', 'b'.'three'; "
        "there is env.ipc_call: (i32, i32) -> i32, env.ipc_lookup: (i32) -> i32, "
        "env.ipc_recv: (i32, i32) -> i32, env.ipc_reply: (i32, i32) -> ()"
    )


def test_many_missing_imports_are_some_and_a_count() -> None:
    wanted = [(f"m{n // 10}", f"f{n}") for n in range(30)]
    said = refused(importing(*wanted, ("m0", "f0"), item="(global i32)"))
    names = ", ".join(f"'m0'.'f{n}'" for n in range(8))
    assert f"it imports 30 things that are provided by nobody: {names} and 22 more of " in said
    assert "more of 'm0', 'm1', 'm2'; there is env.ipc_call" in said


@pytest.mark.parametrize("count", [1, 2, 500])
def test_missing_imports_with_long_names(count: int) -> None:
    long = "\U0001f600" * 1_000
    said = refused(importing(*((f"{n}{long}", f"{n}{long}") for n in range(count))), imports=LONG)
    assert len(said) < 2_000 and said.isprintable()


def test_a_program_for_nobody_here_is_told_what_programs_import() -> None:
    said = refused(importing(("gojs", "run")), dialects=DIALECTS)
    assert said.endswith("; programs here import 'toy', 'game' or the four calls of 'env'")
    said = refused(SAY + importing(("gojs", "run"), ("env", "now")) + START, dialects=DIALECTS)
    assert "2 functions that are provided by nobody: 'env'.'now', 'gojs'.'run'; programs" in said
    said = refused(importing(("env", "now"), ("gojs", "run")), dialects=DIALECTS)
    assert said.endswith("; programs here import 'toy', 'game' or the four calls of 'env'")
    said = refused(importing(("env", "fork")), dialects=DIALECTS)
    assert "there is env.ipc_call" in said


def test_an_interface_that_is_only_elsewhere() -> None:
    elsewhere = {"toy": "it is for toys", "game": "it is for games"}
    assert refused(SAY + START, elsewhere=elsewhere) == "it is for toys"
    assert admit(SAY + START, elsewhere=elsewhere, dialects=DIALECTS).dialect == "toy"
    said = refused(SAY + GAME_SAY + START, elsewhere=elsewhere, dialects=DIALECTS)
    assert "import 'game'.'say', function () -> (), is provided by nobody" in said


@pytest.mark.parametrize(
    ("field", "offer"),
    [
        ("(global i32)", GlobalType("i32", False)),
        ("(memory 1)", MemoryType(1, None)),
        ("(table 1 funcref)", TableType("funcref", 1, None)),
    ],
)
def test_other_imports_have_to_be_offered(field: str, offer: Any) -> None:
    source = f'(import "env" "it" {field})(func (export "main"))(export "memory" (memory 0))'
    if "memory" not in field:
        source = f'(import "env" "it" {field}) {MEMORY}' + MAIN
    assert "provided by nobody" in refused(source)
    assert admit(source, imports={("env", "it"): offer}).kind == policy.ACTIVE
    other = GlobalType("i64", True)
    assert "is wanted as" in refused(source, imports={("env", "it"): other})


def test_a_hazardous_import_is_refused_even_if_offered() -> None:
    offer = {("env", "ipc_call"): (("v128",), ())}
    assert "v128" in refused(gen.made(gen.HOSTILE["v128_import"]), imports=offer)


# --- limits -----------------------------------------------------------------------------------


def test_module_size() -> None:
    data = gen.program()
    assert admit(data, module_bytes_limit=len(data))
    assert "bytes, the limit is" in refused(data, module_bytes_limit=len(data) - 1)


def test_size_comes_before_reading() -> None:
    assert "the limit is 10" in refused(b"\xff" * 11, module_bytes_limit=10)


def test_memory_size() -> None:
    source = '(memory (export "memory") 4 100)' + MAIN
    assert admit(source, memory_bytes=4 * 65_536)
    said = refused(source, memory_bytes=4 * 65_536 - 1)
    assert "begins with 262,144 bytes" in said
    assert said.endswith("raise the task's memory limit (--max-memory, or Limits.memory_bytes)")


def test_table_size_is_of_all_tables() -> None:
    source = "(table 6 funcref) (table 5 funcref)" + MAIN
    assert admit(source, table_elements=11)
    said = refused(source, table_elements=10)
    assert "begin with 11 elements" in said
    assert said.endswith("raise the task's table limit (Limits.table_elements)")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("big_jump_table", "largest body"),
        ("many_locals", "locals total"),
        ("wide_blocks", "widest type"),
    ],
)
def test_cost(name: str, said: str) -> None:
    data = gen.COMPILE_BOMBS[name]()
    with pytest.raises(CompileLimitExceeded, match=said):
        policy.admit(data, imports=ENV)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("many_functions", "functions", 1_000_000),
        ("huge_element", "element_bytes", 7_000_000),
        ("live_locals", "largest_body", 120_249),
    ],
)
def test_cost_that_real_programs_have(name: str, field: str, value: int) -> None:
    """As much as there can be, or as little less as a real one has. The compiler's child has the
    limits for what that costs."""
    data = gen.COMPILE_BOMBS[name]()
    policy.admit(data, imports=ENV)
    with pytest.raises(CompileLimitExceeded, match=field.replace("_", " ")):
        policy.admit(data, imports=ENV, cost_limits={field: value - 1})


def test_as_many_segments_as_a_linker_makes() -> None:
    """Go's makes 100,000 of a large program's data, as many as the engine takes, and one of its
    functions."""
    functions = b"\x00" + gen.i32_const(0) + b"\x0b" + gen.vec([gen.uleb(0)])
    policy.admit(
        gen.program(
            tables=[gen.FUNCREF + gen.limits(1)],
            elements=[functions],
            datas=[gen.data(b"x")] * 100_000,
        ),
        imports=ENV,
    )


def test_a_function_as_it_is_without_optimizing() -> None:
    """The loop of an interpreter in C: a local for each value that is ever computed."""
    step = b"".join(b"\x41\x00\x21" + gen.uleb(n) for n in range(15_000))
    module = gen.module(
        types=[gen.CODE],
        functions=[0],
        exports=[gen.exported("main", gen.FUNC, 0)],
        code=[gen.body(step * 2 + gen.i32_const(0), [(15_000, gen.I32)])],
    )
    policy.admit(module, imports=ENV)


def test_cost_may_be_allowed() -> None:
    assert admit(gen.COMPILE_BOMBS["big_jump_table"](), cost_limits={})


# --- hazards and features ---------------------------------------------------------------------

SAID = {
    "v128_import": "import 'env'.'ipc_call' is a function with v128",
    "v128_import_result": "v128",
    "v128_export": "export 'other' is a function with v128",
    "v128_export_result": "v128",
    "v128_global_import": "import 'env'.'g' is a global with v128",
    "v128_global_export": "export 'g' is a global with v128",
    "anyref_import": "garbage collection",
    "concrete_ref_export": "typed function references",
    "exnref_import": "function with exnref",
    "externref_import": "externref",
    "externref_export": "externref",
    "funcref_export": "funcref",
    "externref_table": "table of externref",
    "externref_table_import": "table of externref",
    "externref_global_export": "externref",
    "memory64": "memory64",
    "memory64_import": "memory64",
    "table64": "memory64",
    "multi_memory": "multi-memory",
    "imported_and_own_memory": "multi-memory",
    "shared_memory": "shared memory",
    "shared_memory_import": "shared memory",
    "custom_page_size": "custom page sizes",
    "gc_struct": "garbage collection",
    "gc_array": "garbage collection",
    "gc_rec": "garbage collection",
    "gc_empty_rec": "garbage collection",
    "gc_sub": "garbage collection",
    "gc_sub_final": "garbage collection",
    "continuation_type": "stack switching",
    "typed_reference": "typed function references",
    "exnref_tag_export": "export 'e' is a tag with exnref",
    "tag_import": "provided by nobody",
    "tag_import_as_a_call": "provided by nobody",
    "v128_tag_export": "export 't' is a tag with v128",
    "component": "component",
    "text": "wat2wasm",
    "empty": "empty",
}


@pytest.mark.parametrize("name", gen.HOSTILE)
def test_hostile_modules_are_refused(name: str) -> None:
    message = refused(gen.made(gen.HOSTILE[name]))
    assert SAID.get(name, "") in message
    assert len(message) < 600 and message.isprintable()


def test_every_feature_has_its_advice() -> None:
    names = {
        GC, TYPED_REFS, STACK_SWITCHING,
        MEMORY64, SHARED_MEMORY, PAGE_SIZES,
    }  # fmt: skip
    assert set(policy._ADVICE) == names
    assert {kind[1] for kind in _HEAP.values()} <= {*names, ""}


def test_vectors_and_references_are_welcome_inside() -> None:
    source = """
        (global v128 (v128.const i64x2 1 2))
        (func $inner (param v128 externref funcref) (result v128) (local.get 0))
        (table funcref (elem $inner))"""
    assert admit(source + MAIN).kind == policy.ACTIVE


def test_exported_function_table_is_welcome() -> None:
    assert admit('(table (export "t") 1 funcref)' + MEMORY + MAIN)


@pytest.mark.parametrize("make", gen.COMPILE_BOMBS.values(), ids=gen.COMPILE_BOMBS)
def test_bombs_are_admitted_or_refused(make: Callable[[], bytes]) -> None:
    """They are all valid; which ones pass here is left to the compiler's limits."""
    try:
        admit(make())
    except ModuleRefused as error:
        assert len(str(error)) < 600


@pytest.mark.parametrize("rest", [MAIN, MEMORY + HANDLE + BUFFER])
@pytest.mark.parametrize("kind", ["(param i64)", "(param i32 i32)", "(result i32)"])
def test_initialize_takes_and_gives_nothing(kind: str, rest: str) -> None:
    assert "_initialize" in refused(rest + f'(func (export "_initialize") {kind} unreachable)')
    assert admit(rest + '(func (export "_initialize"))')
