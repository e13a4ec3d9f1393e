"""Traps of compiled programs: which function, file and line."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys

import pytest

import wasmos
from tests.support.compiled import compiled
from tests.system.backtrace.sources import CPP, C
from wasmos.kernel import Personality
from wasmos.system.backtrace import Frame, trace
from wasmos.system.backtrace.symbols import Symbols


def frames(source: bytes | str) -> list[Frame]:
    with wasmos.Kernel() as kernel:
        return wasmos.backtrace(kernel.wait(kernel.spawn(source, trusted=True)))


def told(source: bytes | str) -> list[tuple[str, str, int, bool]]:
    return [(f.function, f.file.split("/")[-1], f.line, f.inlined) for f in frames(source)]


@pytest.mark.parametrize("version", ["-gdwarf-4", "-gdwarf-5"])
@pytest.mark.parametrize(("level", "is_inlined"), [("-O0", False), ("-O2", True)])
def test_functions_files_and_lines(version: str, level: str, is_inlined: bool) -> None:
    assert told(compiled(C, "-g", version, level)) == [
        ("divide", "prog.c", 3, is_inlined),
        ("middle", "prog.c", 6, True),
        ("compute", "prog.c", 9, False),
        ("wasmos_main", "prog.c", 13, False),
    ]


def test_names_of_c_plus_plus() -> None:
    found = told(compiled(CPP, "-g", "-O1", name="prog.cpp", command="c++"))
    assert [(function, line) for function, _, line, _ in found] == [
        ("math::Ratio::value", 9),
        ("math::(anonymous namespace)::twice<int>", 12),
        ("wasmos_main", 18),
    ]


def test_without_debug_information() -> None:
    found = frames(compiled(C, "-O0", "-g0"))
    assert [frame.function for frame in found] == ["divide", "compute", "wasmos_main"]
    assert all((frame.file, frame.line) == ("", 0) and frame.offset for frame in found)


def test_without_names() -> None:
    """What is exported has a name all the same."""
    found = frames(compiled(C, "-O0", "-Wl,--strip-all"))
    assert [frame.function for frame in found] == ["", "", "main"]
    assert [frame.index for frame in found] == [2, 1, 0]


def test_a_start_function() -> None:
    found = frames(
        '(module (memory (export "memory") 1 1) (func $begin unreachable) (start $begin)'
        ' (func (export "main") (result i32) (i32.const 0)))'
    )
    assert [frame.function for frame in found] == ["begin"]


DEEP = """\
#include "wasmos.h"
__attribute__((noinline)) static int deep(volatile int *at) {
  volatile int here = *at;
  return deep(&here) + here;
}
int main(void) {
  volatile int zero = 0;
  return deep(&zero);
}
"""


def test_a_stack_overflow() -> None:
    """Of the innermost nothing is known but its name."""
    flags = "-g", "-O1", "-Wl,-z,stack-size=8000000", "-Wno-infinite-recursion"
    with wasmos.Kernel() as kernel:
        exit = kernel.wait(kernel.spawn(compiled(DEEP, *flags), trusted=True))
        found, short, long = wasmos.backtrace(exit), trace(exit), trace(exit, details=True)
    assert exit.message == "stack overflow"
    assert (found[0].function, found[0].offset) == ("deep", None)
    assert {(frame.function, frame.line) for frame in found[1:]} == {("deep", 4)}
    assert "its entry" in short[0] and short[1].endswith("times)")
    assert "the engine keeps" in long[-1]


def test_a_call_through_a_table() -> None:
    source = """\
#include "wasmos.h"
static int boom(int x) {
  return 10 / x;
}
static int (*volatile callback)(int) = boom;
int main(void) {
  return callback(0);
}
"""
    found = told(compiled(source, "-g", "-O2"))
    assert [(function, line) for function, _, line, _ in found] == [("boom", 3), ("wasmos_main", 7)]


def test_what_is_ours_is_not_looked_up_in_the_program() -> None:
    adapter = """(module (memory (export "memory") 1 1)
      (func $deep unreachable) (func $fd_write (export "fd_write") (call $deep)))"""
    toy = Personality("toy", lambda: wasmos._core.wat2wasm(adapter.encode()))
    program = """(module $liar (import "toy" "fd_write" (func $w)) (memory (export "memory") 1 1)
      (func $main (export "_start") (call $w)))"""
    with wasmos.Kernel(personalities=[toy]) as kernel:
        exit = kernel.wait(kernel.spawn(program, trusted=True))
        assert [frame.part for frame in wasmos.backtrace(exit)] == ["toy", "toy", ""]
        assert trace(exit)[:2] == ["  at deep      (wasmos: toy)", "  at fd_write  (wasmos: toy)"]
        # A program that takes our name for itself doesn't get its own frames to be ours.
        liar = kernel.spawn(program.replace("$liar", "$wasmos:toy"), trusted=True)
        parts = [frame.part for frame in wasmos.backtrace(kernel.wait(liar))]
        assert parts == ["toy", "toy", ""]


def test_the_same_as_the_engine_says() -> None:
    """Whose reader of DWARF is another."""
    module = compiled(CPP, "-g", "-O2", name="prog.cpp", command="c++")
    asked = """
import sys, wasmtime
engine = wasmtime.Engine(); store = wasmtime.Store(engine)
module = wasmtime.Module(engine, sys.stdin.buffer.read())
instance = wasmtime.Instance(store, module, [])
try:
    instance.exports(store)["main"](store)
except wasmtime.Trap as trap:
    print(trap.message)
"""
    done = subprocess.run(
        [sys.executable, "-c", asked], input=module, capture_output=True, check=True,
        env={**os.environ, "WASMTIME_BACKTRACE_DETAILS": "1"},
    )  # fmt: skip
    lines = [line.strip() for line in done.stdout.decode().splitlines()]
    theirs = [line.removeprefix("at ") for line in lines if line.startswith("at ")]
    ours = [f"{f.path}:{f.line}:{f.column}" for f in frames(module)]
    assert ours == theirs and len(ours) >= 2


def test_an_end_does_not_keep_the_module() -> None:
    completed = wasmos.run(compiled(C, "-g", "-O0"))
    gc.collect()
    assert completed.exit.module is None
    assert [frame.line for frame in completed.backtrace] == [3, 6, 9, 13]
    with pytest.raises(wasmos.GuestTrap) as caught:
        completed.check_returncode()
    assert "src/prog.c:3:12" in caught.value.__notes__[0]


def test_as_a_document() -> None:
    first, second = frames(compiled(C, "-g", "-O0"))[:2]
    assert json.loads(json.dumps(first.as_dict()))["line"] == 3
    assert "inlined" not in first.as_dict() and second.as_dict()["inlined"] is True


def test_answers_are_remembered() -> None:
    with wasmos.Kernel() as kernel:
        program = kernel.load(compiled(C, "-g", "-O0"), trusted=True)
        exit = kernel.wait(kernel.spawn(program))
        symbols = Symbols(program.info)
        offsets = [offset for _, _, offset, _ in exit.backtrace]
        first = symbols.places(offsets)
        left = symbols.steps_left
        assert symbols.places(offsets) == first and len(first) == 3
        assert symbols.steps_left == left
