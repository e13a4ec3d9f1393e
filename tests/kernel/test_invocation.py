"""Functions that a task is spawned to call: their types, their results, and every other end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import pytest

import wasmos
from tests.support import wat
from wasmos import _core
from wasmos.personalities import wasi

LIBRARY = """(module
  (memory (export "memory") 1)
  (global $ready (mut i32) (i32.const 0))
  (func (export "_initialize") (global.set $ready (i32.const 7)))
  (func (export "ready") (result i32) (global.get $ready))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "i32") (param i32) (result i32) (local.get 0))
  (func (export "i64") (param i64) (result i64) (local.get 0))
  (func (export "f32") (param f32) (result f32) (local.get 0))
  (func (export "f64") (param f64) (result f64) (local.get 0))
  (func (export "turn") (param i32 i64 f32 f64) (result f64 f32 i64 i32)
    (local.get 3) (local.get 2) (local.get 1) (local.get 0))
  (func (export "nothing"))
  (func $deep (export "traps") (param i32) (result i32) (unreachable))
  (func (export "spins") (result i32) (loop (br 0)) (unreachable)))"""


@pytest.fixture(scope="module")
def library() -> Any:
    with wasmos.Kernel() as kernel:
        yield kernel, kernel.load(LIBRARY, library=True)


def called(library: Any, entry: str, *arguments: float, **options: Any) -> wasmos.Exit:
    kernel, program = library
    task = kernel.spawn(program, entry=entry, arguments=arguments, **options)
    return kernel.wait(task)  # type: ignore[no-any-return]


INT, LONG = 1 << 31, 1 << 63


@pytest.mark.parametrize(
    ("entry", "value", "result"),
    [
        ("i32", 0, 0), ("i32", -1, -1), ("i32", INT - 1, INT - 1), ("i32", -INT, -INT),
        ("i32", INT, -INT), ("i32", 2 * INT - 1, -1),
        ("i64", 0, 0), ("i64", -1, -1), ("i64", LONG - 1, LONG - 1), ("i64", -LONG, -LONG),
        ("i64", LONG, -LONG), ("i64", 2 * LONG - 1, -1),
        ("f32", 1.5, 1.5), ("f32", -2, -2.0), ("f32", math.inf, math.inf),
        ("f32", 0.1, 0.10000000149011612),
        ("f64", 0.1, 0.1), ("f64", 3, 3.0), ("f64", -math.inf, -math.inf), ("f64", 5e-324, 5e-324),
    ],
)  # fmt: skip
def test_a_value_of_each_type(library: Any, entry: str, value: float, result: float) -> None:
    ended = called(library, entry, value)
    assert (ended.cause, ended.code, ended.results) == ("returned", 0, (result,))
    assert ended.ok
    assert ended.results is not None and type(ended.results[0]) is type(result)


def test_what_is_no_number_stays_so(library: Any) -> None:
    for entry in ("f32", "f64"):
        results = called(library, entry, math.nan).results
        assert results is not None and math.isnan(results[0])


def test_several_arguments_and_results(library: Any) -> None:
    ended = called(library, "turn", -1, -2, 0.5, 0.25)
    assert ended.results == (0.25, 0.5, -2, -1)
    assert called(library, "nothing").results == ()
    assert called(library, "add", 2, 3).results == (5,)


def test_it_is_initialized_before(library: Any) -> None:
    assert called(library, "ready").results == (7,)


@pytest.mark.parametrize(
    ("entry", "arguments", "error"),
    [
        ("ad", (), "module exports no function 'ad'; did you mean 'add'?"),
        ("zzz", (), "there are: 'ready', 'add', "),
        ("memory", (), "module exports no function 'memory'; that is a memory"),
        ("", (), "no function ''"),
        ("\udcff", (), "no function"),
        ("add", (1,), r"'add' takes \(i32, i32\), and was given 1"),
        ("add", (1, 2, 3), r"'add' takes \(i32, i32\), and was given 3"),
        ("add", (), r"'add' takes \(i32, i32\), and was given none"),
        ("nothing", (1,), "'nothing' takes no arguments, and was given 1"),
        ("add", (1, 2 * INT), "argument 2 of 'add': 4294967296 is no i32"),
        ("add", (-INT - 1, 1), "argument 1 of 'add': -2147483649 is no i32"),
        ("add", (1, 2.0), "argument 2 of 'add': 2.0 is no i32"),
        ("i64", (2 * LONG,), "is no i64"),
        ("i64", ("1",), "argument 1 of 'i64': '1' is no i64"),
        ("f32", (1e39,), r"argument 1 of 'f32': 1e\+39 is no f32"),
        ("f64", (10**400,), "is no f64"),
        ("f64", ("x",), "'x' is no f64"),
    ],
)
def test_what_cannot_be_called(
    library: Any, entry: str, arguments: Sequence[float], error: str
) -> None:
    kernel, _ = library
    before = _core.live_objects()
    with pytest.raises(wasmos.UsageError, match=error):
        called(library, entry, *arguments)
    assert _core.live_objects() == before
    assert kernel.tasks == []


def test_a_misspelt_name_is_compared_with_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing takes its time, and a guest says with how many, and how much they look alike."""
    compared: list[int] = []
    monkeypatch.setattr(
        "difflib.get_close_matches", lambda _, names, count: compared.append(len(names)) or []
    )
    names = "".join(f'(export "f{number:04}" (func 0))' for number in range(2000))
    with wasmos.Kernel() as kernel, pytest.raises(wasmos.UsageError, match=r"and 1988 more$"):
        kernel.spawn(f"(module (func) {names})", entry="g", trusted=True)
    assert compared == [1000]


def test_a_trap_has_its_backtrace(library: Any) -> None:
    ended = called(library, "traps", 1)
    assert (ended.cause, ended.code, ended.results, ended.status) == ("trapped", None, None, 134)
    assert "unreachable" in ended.message
    assert [name for _, name, _, _ in ended.backtrace] == ["deep"]


def test_its_time_is_limited(library: Any) -> None:
    limits = wasmos.Limits(cpu_seconds=0.01)
    ended = called(library, "spins", limits=limits)
    assert (ended.cause, ended.results, ended.status) == ("cpu_limit", None, 124)
    limits = wasmos.Limits(deadline_seconds=0.01)
    ended = called(library, "spins", limits=limits)
    assert (ended.cause, ended.results, ended.status) == ("deadline", None, 124)


def test_its_memory_is_limited() -> None:
    grows = '(module (memory 1) (func (export "f") (result i32) (memory.grow (i32.const 1))))'
    with wasmos.Kernel() as kernel:
        for size, result in ((1 << 16, -1), (2 << 16, 1)):
            task = kernel.spawn(grows, entry="f", limits=wasmos.Limits(memory_bytes=size))
            assert kernel.wait(task).results == (result,)


def test_it_may_use_what_it_is_granted() -> None:
    """A function of a program that waits for answers."""
    guest = wat.program("#0", fields='(func (export "ask") (result i32) (drop (call $ask @plus #9 #41)) (call $value))')  # fmt: skip # noqa: E501
    with wasmos.Kernel() as kernel:
        kernel.serve(wat.Plus())
        assert kernel.wait(kernel.spawn(guest, entry="ask", allow=["plus"])).results == (42,)
        assert kernel.wait(kernel.spawn(guest, entry="ask")).results == (41,)


def test_a_function_of_a_program_or_a_service_is_called_as_one_of_a_library() -> None:
    """`main` is a function too: its value is a result then, and no exit code."""
    with wasmos.Kernel() as kernel:
        program = kernel.load(wat.program("#3"))
        ended = kernel.wait(kernel.spawn(program, entry="main"))
        assert (ended.code, ended.results) == (0, (3,))
        ended = kernel.wait(kernel.spawn(program))
        assert (ended.code, ended.results) == (3, None)
        for service in (wat.PASSIVE, wat.PASSIVE_FIBRE):
            for source in (service, kernel.load(service)):
                task = kernel.spawn(source, entry="ipc_buffer")
                assert kernel.wait(task).results == (wat.INBOX,)


def test_a_function_of_a_program_for_wasi() -> None:
    guest = """(module
      (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1)
      (func (export "_start") (unreachable))
      (func (export "yield") (result i32) (call $yield))
      (func (export "leave") (result i32) (call $exit (i32.const 5)) (unreachable)))"""
    with wasmos.Kernel(personalities=wasi.ALL) as kernel:
        ended = kernel.wait(kernel.spawn(guest, entry="yield"))
        assert (ended.code, ended.results) == (0, (0,))
        ended = kernel.wait(kernel.spawn(guest, entry="leave"))
        assert (ended.cause, ended.code, ended.results) == ("returned", 5, None)


@pytest.mark.parametrize("wrong", [
    '(func (export "_start") (param i32))', '(func (export "main") (param i32))',
    '(func (export "main")) (func (export "ipc_handle"))',
])  # fmt: skip
def test_what_could_not_be_run_is_no_matter(wrong: str) -> None:
    with wasmos.Kernel() as kernel:
        module = f'(module (func (export "f") (result i32) (i32.const 1)) {wrong})'
        with pytest.raises(wasmos.ModuleRefused):
            kernel.load(module)
        assert kernel.wait(kernel.spawn(module, entry="f")).results == (1,)
        with pytest.raises(wasmos.ModuleRefused):
            kernel.load(module)  # still: that it is known as a library is no reason


@pytest.mark.parametrize(("module", "error"), [
    ('(import "env" "other" (func))', "env"),
    ('(func (export "_initialize") (param i32))', "_initialize"),
    ('(import "env" "ipc_lookup" (func (param i32) (result i32)))', "exports no memory"),
    ('(memory (export "memory") 2000)', "the limit"),
    ('(func (export "v") (result v128) (v128.const i64x2 0 0))', "v128"),
])  # fmt: skip
def test_libraries_that_are_refused(module: str, error: str) -> None:
    with wasmos.Kernel() as kernel, pytest.raises(wasmos.ModuleRefused, match=error):
        kernel.load(f'(module {module} (func (export "f")))', library=True)


def test_a_library_by_itself_does_nothing() -> None:
    with wasmos.Kernel() as kernel:
        with pytest.raises(wasmos.ModuleRefused, match="it is a reactor"):
            kernel.spawn(LIBRARY)
        program = kernel.load(LIBRARY, library=True)
        with pytest.raises(wasmos.UsageError, match="say what to call, as entry"):
            kernel.spawn(program)
        with pytest.raises(wasmos.UsageError, match="say which, as entry"):
            kernel.spawn(wat.program("#0"), arguments=[1])


def test_a_library_is_kept_as_one(tmp_path: Any) -> None:
    """What was judged as a library isn't found as a program, nor the other way round."""
    cache = wasmos.kernel.Cache(str(tmp_path / "cache"), str(tmp_path / "secrets"))
    guest = wat.program("#3", fields='(func (export "f") (result i32) #4)')
    for _ in range(2):
        with wasmos.Kernel(cache=cache) as kernel:
            assert kernel.wait(kernel.spawn(guest, entry="f")).results == (4,)
            assert kernel.wait(kernel.spawn(guest)).code == 3
            with pytest.raises(wasmos.ModuleRefused):
                kernel.spawn(LIBRARY)
            assert kernel.wait(kernel.spawn(LIBRARY, entry="ready")).results == (7,)


def test_beside_an_event_loop() -> None:
    async def main() -> object:
        async with wasmos.AsyncKernel() as kernel:
            task = await kernel.spawn(LIBRARY, entry="add", arguments=[2, 3])
            return (await kernel.wait(task)).results

    assert asyncio.run(main()) == (5,)


def test_many_leave_nothing(library: Any) -> None:
    before = _core.live_objects()
    for number in range(50):
        assert called(library, "add", number, 1).results == (number + 1,)
        assert called(library, "traps", number).results is None
    assert _core.live_objects() == before
