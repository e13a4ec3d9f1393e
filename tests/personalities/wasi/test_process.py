"""Arguments, environment, time, chance, and the end of a program."""

from __future__ import annotations

import struct

import pytest

from tests.personalities.wasi.calls import Calls
from tests.personalities.wasi.conftest import EVERYTHING, Machine

NOTCAPABLE = 76


def strings(result: object, pointers: int, count: int) -> list[bytes]:
    memory: bytes = result.memory  # type: ignore[attr-defined]
    found = []
    for (at,) in struct.iter_unpack("<I", memory[pointers : pointers + 4 * count]):
        found.append(memory[at : memory.index(b"\0", at)])
    return found


@pytest.mark.parametrize("what", ["args", "environ"])
def test_strings(machine: Machine, what: str) -> None:
    machine.arguments = ["program", "", "ünï"]
    machine.environment = {"B": "2", "A": "", "PATH": "x" * 1023}
    wanted = {
        "args": [b"program", b"", "ünï".encode()],
        "environ": [b"A=", b"B=2", b"PATH=" + b"x" * 1023],
    }[what]
    calls = Calls()
    calls.add(f"{what}_sizes_get", 0, 4)
    calls.add(f"{what}_get", 100, 200)
    result = machine.run(calls)
    assert result.errnos == [0, 0]
    assert (result.u32(0), result.u32(4)) == (3, sum(len(text) + 1 for text in wanted))
    assert strings(result, 100, 3) == wanted


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


def test_an_argument_that_is_too_large(machine: Machine) -> None:
    machine.arguments = ["program", "x" * 1024]
    calls = Calls()
    calls.add("args_sizes_get", 0, 4)
    assert machine.run(calls).errnos == [1]


def test_a_variable_that_is_too_large_is_left_out(machine: Machine) -> None:
    machine.environment = {"A": "x" * 1024, "B": "2"}
    calls = Calls()
    calls.add("environ_sizes_get", 0, 4)
    calls.add("environ_get", 100, 200)
    result = machine.run(calls)
    assert result.errnos == [0, 0]
    assert strings(result, 100, result.u32(0)) == [b"B=2"]


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


def test_signals_and_turns(machine: Machine) -> None:
    calls = Calls()
    calls.add("proc_raise", 6)
    calls.add("proc_raise", 31)
    calls.add("sched_yield")
    assert machine.run(calls).errnos == [58, 28, 0]
