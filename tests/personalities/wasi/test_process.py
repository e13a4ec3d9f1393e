"""Arguments, environment, time, chance, and the end of a program."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

import wasmos
from tests.personalities.wasi.calls import Calls, Result
from tests.personalities.wasi.conftest import EVERYTHING, Machine
from tests.personalities.wasi.fakes import FakeConsole

NOTCAPABLE = 76


def strings(result: object, pointers: int, count: int) -> list[bytes]:
    memory: bytes = result.memory  # type: ignore[attr-defined]
    found = []
    for (at,) in struct.iter_unpack("<I", memory[pointers : pointers + 4 * count]):
        found.append(memory[at : memory.index(b"\0", at)])
    return found


def assert_told(machine: Machine, what: str, wanted: list[bytes]) -> None:
    """That these, and their number and size, are what a program is told."""
    calls = Calls()
    calls.add(f"{what}_sizes_get", 0, 4)
    calls.add(f"{what}_get", 100, 200)
    result = machine.run(calls)
    assert result.errnos == [0, 0]
    assert (result.u32(0), result.u32(4)) == (len(wanted), sum(len(text) + 1 for text in wanted))
    assert strings(result, 100, len(wanted)) == wanted


@pytest.mark.parametrize("what", ["args", "environ"])
def test_strings(machine: Machine, what: str) -> None:
    machine.arguments = ["program", "", "ünï"]
    machine.environment = {"B": "2", "A": "", "PATH": "x" * 1023}
    wanted = {
        "args": [b"program", b"", "ünï".encode()],
        "environ": [b"A=", b"B=2", b"PATH=" + b"x" * 1023],
    }[what]
    assert_told(machine, what, wanted)


@pytest.mark.parametrize("what", ["args", "environ"])
def test_who_was_not_granted_them_has_none(machine: Machine, what: str) -> None:
    machine.arguments, machine.environment = ["program"], {"A": "1"}
    calls = Calls()
    calls.put(0, b"\xff" * 8)
    calls.add(f"{what}_sizes_get", 0, 4)
    calls.add(f"{what}_get", 100, 200)
    result = machine.run(calls, ["console"])
    assert result.errnos == [0, 0]
    assert (result.u32(0), result.u32(4), result.u32(100)) == (0, 0, 0)


@pytest.mark.parametrize("what", ["args", "environ"])
def test_long_strings(machine: Machine, what: str) -> None:
    """They stand in the program's memory, which is all that bounds them here. One ends where a
    part that the adapter looks through does."""
    long, short = "x" * 1023, "y" * 40_000
    machine.arguments = [long, short, ""]
    machine.environment = {"A": long[2:], "B": short, "C": ""}
    wanted = {
        "args": [long.encode(), short.encode(), b""],
        "environ": [b"A=" + long[2:].encode(), b"B=" + short.encode(), b"C="],
    }[what]
    assert_told(machine, what, wanted)


def test_strings_whose_sizes_nobody_has_asked_for(machine: Machine) -> None:
    machine.arguments, machine.environment = ["program", "x"], {"A": "1"}
    calls = Calls()
    calls.add("args_get", 100, 200)
    calls.add("environ_get", 300, 400)
    result = machine.run(calls)
    assert result.errnos == [0, 0]
    assert strings(result, 100, 2) == [b"program", b"x"]
    assert strings(result, 300, 1) == [b"A=1"]


@pytest.mark.parametrize("arguments", [["x" * (128 << 10)], ["x" * 65535] * 17])
def test_arguments_that_are_too_large(machine: Machine, arguments: list[str]) -> None:
    machine.arguments = arguments
    machine.environment = {f"A{i}": text[3:] for i, text in enumerate(arguments)}
    calls = Calls()
    calls.add("args_sizes_get", 0, 4)
    calls.add("args_get", 100, 200)
    calls.add("environ_sizes_get", 0, 4)
    # Of variables a longer one is left out.
    assert machine.run(calls).errnos == [1, 1, 0 if len(arguments) == 1 else 1]


def test_a_variable_that_is_too_large_is_left_out(machine: Machine) -> None:
    machine.environment = {"A": "x" * (128 << 10), "B": "2"}
    calls = Calls()
    calls.add("environ_sizes_get", 0, 4)
    calls.add("environ_get", 100, 200)
    result = machine.run(calls)
    assert result.errnos == [0, 0]
    assert strings(result, 100, result.u32(0)) == [b"B=2"]


def changing(machine: Machine, calls: Calls, change: Callable[[wasmos.Task], object]) -> Result:
    """What came of calls, where `change` is done when the program prints."""

    def put(caller: wasmos.Caller, stream: int, data: wasmos.Lent) -> int:
        if stream == 1:
            task = machine.kernel.find(caller.id)
            assert task is not None
            change(task)
        return FakeConsole.console_put(machine.console, caller, stream, data)

    machine.console.console_put = put  # type: ignore[method-assign]
    return machine.run(calls, ["console", "env.list", 'env.get(name="A")', 'env.get(name="B")'])


def test_rules_that_change_show_in_the_next_call(machine: Machine) -> None:
    machine.environment = {"A": "1", "B": "2", "C": "3", "D": "long"}

    def change(task: wasmos.Task) -> None:
        machine.kernel.revoke(task, 'env.get(name="B")')
        machine.kernel.grant(task, 'env.get(name=["C", "D"])')

    calls = Calls()
    calls.add("environ_sizes_get", 0, 4)
    calls.add("environ_get", 100, 200)
    at, count = calls.parts(calls.text("x"))
    calls.add("fd_write", 1, at, count, 8)
    calls.add("environ_get", 1100, 1200)
    calls.add("environ_sizes_get", 12, 16)
    calls.add("environ_get", 2100, 2200)
    result = changing(machine, calls, change)
    assert result.errnos == [0] * 6
    assert (result.u32(0), result.u32(4)) == (2, 8)
    assert strings(result, 100, 2) == [b"A=1", b"B=2"]
    # It has room for as much as it was told that there is.
    assert strings(result, 1100, 2) == [b"A=1", b"C=3"]
    assert (result.u32(1108), result.u32(1208)) == (0, 0)
    assert (result.u32(12), result.u32(16)) == (3, 15)
    assert strings(result, 2100, 3) == [b"A=1", b"C=3", b"D=long"]


def test_no_more_pointers_than_a_program_was_told_of(machine: Machine) -> None:
    """Shorter strings can be more of them in the same room."""
    machine.environment = {"A": "1" * 20}

    def change(task: wasmos.Task) -> None:
        machine.environment = {"A": "", "B": ""}

    calls = Calls()
    calls.add("environ_sizes_get", 0, 4)
    at, count = calls.parts(calls.text("x"))
    calls.add("fd_write", 1, at, count, 8)
    calls.add("environ_get", 1100, 1200)
    result = changing(machine, calls, change)
    assert result.errnos == [0, 0, 0]
    assert strings(result, 1100, 1) == [b"A="]
    assert result.bytes(1104, 4) == bytes(4)


@pytest.mark.parametrize("id", [0, 1, 2, 3])
def test_clocks(machine: Machine, id: int) -> None:
    calls = Calls()
    calls.add("clock_res_get", id, 0)
    calls.add("clock_time_get", id, 1, 8)
    calls.add("clock_time_get", id, 0, 16)
    result = machine.run(calls)
    assert result.errnos == [0, 0, 0]
    assert result.u64(0) == 1
    assert result.u64(8) <= result.u64(16)


def test_clocks_that_are_not_there(machine: Machine) -> None:
    calls = Calls()
    for id in (4, -1):
        calls.add("clock_res_get", id, 0)
        calls.add("clock_time_get", id, 0, 0)
    result = machine.run(calls)
    assert result.errnos == [28] * 4
    assert result.u64(0) == 0


def test_randomness(machine: Machine) -> None:
    calls = Calls()
    calls.add("random_get", 0, 16)
    calls.add("random_get", 16, 16)
    calls.add("random_get", 100, 0)
    result = machine.run(calls)
    assert result.errnos == [0, 0, 0]
    assert len({result.bytes(0, 16), result.bytes(16, 16), bytes(16)}) == 3


@pytest.mark.parametrize("module", ["wasi_snapshot_preview1", "wasi_unstable"])
def test_much_randomness_at_once(module: str) -> None:
    """More than one message fills: all of it is there, or none if there is no room for all."""
    size = 5 << 19
    text = f"""(module
        (import "{module}" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 64 64)
        (func $is_empty (param $at i32) (result i32)
            (i64.eqz (i64.load (local.get $at))))
        (func (export "look") (result i32 i32 i32 i32 i32 i32 i32)
            (call $random (i32.const 64) (i32.const {4 << 20}))
            (call $is_empty (i32.const 64))
            (call $random (i32.const 64) (i32.const {size}))
            (call $is_empty (i32.const {64 + (1 << 20)}))
            (call $is_empty (i32.const {64 + (2 << 20)}))
            (call $is_empty (i32.const {64 + size - 8}))
            (call $is_empty (i32.const {64 + size}))))"""
    done = wasmos.run(text, allow=["random"], invoke="look")
    assert done.exit.results == (21, 1, 0, 0, 0, 0, 1)


def test_what_was_not_granted(machine: Machine) -> None:
    calls = Calls()
    calls.add("random_get", 0, 16)
    calls.add("clock_time_get", 0, 0, 0)
    calls.add("clock_res_get", 0, 0)
    result = machine.run(calls, ["console"])
    assert result.errnos == [NOTCAPABLE] * 3
    assert result.bytes(0, 16) == bytes(16)


@pytest.mark.parametrize("code", [0, 1, 42, 125, 126, 255, 256])
def test_exit(machine: Machine, code: int) -> None:
    calls = Calls()
    calls.add("proc_exit", code)
    ended = machine.start(calls.source, EVERYTHING)
    assert (ended.cause, ended.code) == ("returned", code)


def test_the_memory_that_a_program_had(machine: Machine) -> None:
    """And not its adapter's, which is larger than this one."""
    assert machine.run(Calls()).exit.memory_bytes == 65536
    without = """(module (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
        (func (export "_start") unreachable))"""
    ended = machine.start(without)
    assert (ended.cause, ended.memory_bytes) == ("trapped", 0)


def test_signals_and_turns(machine: Machine) -> None:
    calls = Calls()
    calls.add("proc_raise", 6)
    calls.add("proc_raise", 31)
    calls.add("sched_yield")
    assert machine.run(calls).errnos == [58, 28, 0]
