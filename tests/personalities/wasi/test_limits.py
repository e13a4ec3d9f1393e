"""Limits: programs that try to get beyond one by every road there is.

What stopped a program, and why, is in its exit status, its message and the audit log.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

import wasmos
from tests.personalities.wasi.conftest import Machine
from tests.personalities.wasi.fakes import FakeTcpip
from wasmos import Limits
from wasmos.engine import binary
from wasmos.personalities import wasi

BADF, MFILE, NOSPC = 8, 33, 51
KIB = 1024
# What programs below find in their memory: a result goes to 8, ONE names a byte and MANY 64 KiB,
# CLOCK and INPUT are subscriptions: to an hour from now, and to bytes on standard input.
ONE, MANY, CLOCK, INPUT, NAME = 16, 24, 64, 112, 200
DATA = f"""
  (data (i32.const {ONE}) "\\00\\04\\00\\00\\01\\00\\00\\00")
  (data (i32.const {MANY}) "\\00\\04\\00\\00\\00\\00\\01\\00")
  (data (i32.const {CLOCK + 16}) "\\01\\00\\00\\00\\00\\00\\00\\00\\00\\a0\\b8\\30\\46\\03\\00\\00")
  (data (i32.const {INPUT + 8}) "\\01")
  (data (i32.const {NAME}) "file")
"""
RIGHTS = f"(i64.const {(1 << 29) - 1})"
OPEN = f"""(call $path_open (i32.const 3) (i32.const 0) (i32.const {NAME}) (i32.const 4)
  (i32.const 1) {RIGHTS} {RIGHTS} (i32.const 0) (i32.const 8))"""


def program(body: str, pages: int = 2) -> str:
    """All functions are imported; `body` is `_start`."""
    info = binary.parse(wasi.PREVIEW1.wasm)
    imports = []
    for name in info.exports:
        signature = info.signature(name)
        if signature is not None and name != "_initialize":
            parameters, results = (" ".join(types) for types in signature)
            result = f"(result {results})" if results else ""
            imports.append(
                f'(import "{wasi.PREVIEW1.name}" "{name}" '
                f"(func ${name} (param {parameters}) {result}))"
            )
    return f"""(module {" ".join(imports)} (memory (export "memory") {pages}) {DATA}
      (func (export "_start") (local $n i32) (local $errno i32) {body}))"""


def call(name: str, *arguments: int | str) -> str:
    """Numbers are i32; others are written as they are."""
    written = " ".join(a if isinstance(a, str) else f"(i32.const {a})" for a in arguments)
    return f"(call ${name} {written})"


def for_ever(expression: str) -> str:
    return f"(loop $again (drop {expression}) (br $again))"


def until_it_fails(expression: str) -> str:
    """Exits with the errno, having counted in $n how often it went well."""
    return f"""(loop $again
      (local.set $errno {expression})
      (if (i32.eqz (local.get $errno))
        (then (local.set $n (i32.add (local.get $n) (i32.const 1))) (br $again))))
      (call $proc_exit (local.get $errno))"""


def end_of(task: int, log: Path) -> str:
    """Why it ended, by an audit log."""
    records = [json.loads(line) for line in log.read_text().splitlines()]
    (end,) = [each for each in records if each["event"] == "exit" and each["task"] == task]
    return str(end["reason"])


# --- time ---------------------------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[BinaryIO]:
    """A standard input on which nothing ever comes."""
    reader, writer = os.pipe()
    with open(reader, "rb") as stream:
        yield stream
    os.close(writer)


WAITS = {
    "computes": for_ever("(i32.const 0)"),
    "yields": for_ever(call("sched_yield")),
    "asks what time it is": for_ever(call("clock_time_get", 1, "(i64.const 1)", 8)),
    "sleeps": f"(drop {call('poll_oneoff', CLOCK, 256, 1, 8)})",
    "sleeps shortly": f"(i64.store (i32.const {CLOCK + 24}) (i64.const 1000))"
    + for_ever(call("poll_oneoff", CLOCK, 256, 1, 8)),
    "waits for input or time": f"(drop {call('poll_oneoff', CLOCK, 256, 2, 8)})",
    "waits for input": f"(drop {call('poll_oneoff', INPUT, 256, 1, 8)})",
    "reads": f"(drop {call('fd_read', 0, ONE, 1, 8)})",
    "polls": for_ever(call("poll_oneoff", INPUT, 256, 1, 8)),
    "lists": for_ever(call("fd_readdir", 3, 1024, 4096, "(i64.const 0)", 8)),
}


@pytest.mark.parametrize("road", WAITS)
def test_time(road: str, silent: BinaryIO, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    done = wasmos.run(
        program(WAITS[road]), dirs=f"{tmp_path}::/", input=silent, timeout=0.05, audit=log
    )
    assert (done.exit.cause, done.returncode) == ("deadline", 124)
    assert str(done.exit).endswith("reached its deadline: after 0.05 s")
    assert end_of(done.exit.task, log) == str(done.exit)


@pytest.mark.parametrize("blocks", [False, True])
def test_time_of_printing_to_nobody(blocks: bool) -> None:
    """Nobody reads what it prints, whether the pipe says so or not."""
    reader, writer = os.pipe()
    os.set_blocking(writer, blocks)
    with open(reader, "rb"), open(writer, "wb") as output:
        done = wasmos.run(program(PRINTS["much"]), output=output, timeout=0.05)
    assert done.exit.cause == "deadline"


class SilentTcpip(FakeTcpip):
    """Nobody connects, or whoever does says nothing."""

    hears_outside = True

    async def tcpip_accept(self, caller: wasmos.Caller, sock: int, flags: int) -> int:
        if self.waiting:
            return super().tcpip_accept(caller, sock, flags)
        return await asyncio.Future[int]()

    async def tcpip_receive(
        self, caller: wasmos.Caller, sock: int, flags: int, into: wasmos.Lent
    ) -> int:
        return await asyncio.Future[int]()


NETWORK = {
    "sock_accept": call("sock_accept", 4, 0, 8),
    "sock_recv": call("sock_recv", "(i32.load (i32.const 8))", ONE, 1, 0, 4, 12),
    "fd_read": call("fd_read", "(i32.load (i32.const 8))", ONE, 1, 4),
}


@pytest.mark.parametrize("road", NETWORK)
def test_time_of_waiting_for_the_network(machine: Machine, road: str) -> None:
    machine.tcpip = SilentTcpip([80], [] if road == "sock_accept" else [b""])
    machine.serve()
    first = "" if road == "sock_accept" else f"(drop {NETWORK['sock_accept']})"
    task = machine.kernel.spawn(
        program(f"{first} (drop {NETWORK[road]})"), allow=["tcpip", "fs"], trusted=True,
        limits=Limits(deadline_seconds=5),
    )  # fmt: skip
    assert machine.kernel.wait(task).cause == "deadline"


COMPUTES = {
    "computes": WAITS["computes"],
    "yields": WAITS["yields"],
    "asks what time it is": WAITS["asks what time it is"],
    "wants randomness": for_ever(call("random_get", 0, 128 * KIB)),
    "calls what fails at once": for_ever(call("fd_close", 99)),
    "prints": for_ever(call("fd_write", 1, ONE, 1, 8)),
}


@pytest.mark.parametrize("road", COMPUTES)
def test_processor_time(road: str, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    with open(os.devnull, "wb", buffering=0) as output:
        done = wasmos.run(
            program(COMPUTES[road]), limits=Limits(cpu_seconds=0.02), output=output, audit=log
        )
    assert (done.exit.cause, done.returncode) == ("cpu_limit", 124)
    assert str(done.exit).endswith("used up its processor time")
    assert end_of(done.exit.task, log) == str(done.exit)


# --- memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pages", [1, 3, 1000])
def test_memory(pages: int) -> None:
    """It can't grow beyond, in steps or at once, and ends as it likes."""
    body = f"""(loop $again
      (br_if $again (i32.ge_s (memory.grow (i32.const {pages})) (i32.const 0))))
      (call $proc_exit (memory.size))"""
    done = wasmos.run(program(body), limits=Limits(memory_bytes=16 * 64 * KIB))
    assert done.exit.code == {1: 16, 3: 14, 1000: 2}[pages]


def test_memory_that_is_there_from_the_beginning(tmp_path: Path) -> None:
    with pytest.raises(wasmos.WasmosError, match="memory"):
        wasmos.run(program("", pages=17), limits=Limits(memory_bytes=16 * 64 * KIB))


# --- output -------------------------------------------------------------------------------------

PRINTS = {
    "a byte at a time": for_ever(call("fd_write", 1, ONE, 1, 8)),
    "as an error": for_ever(call("fd_write", 2, ONE, 1, 8)),
    "much": for_ever(call("fd_write", 1, MANY, 1, 8)),
    "once": f"(drop {call('fd_write', 1, MANY, 1, 8)}) {WAITS['sleeps']}",
    "in parts": for_ever(call("fd_write", 1, ONE, 2, 8)),
    "both ways": for_ever(
        f"(i32.add {call('fd_write', 1, ONE, 1, 8)} {call('fd_write', 2, ONE, 1, 8)})"
    ),
    "by another number": f"(drop {call('fd_renumber', 1, 3)})"
    + for_ever(call("fd_write", 3, ONE, 1, 8)),
}


@pytest.mark.parametrize("road", PRINTS)
def test_output(road: str, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    done = wasmos.run(
        program(PRINTS[road]), dirs=f"{tmp_path}::/", capture_output=True, output_limit=1001,
        audit=log,
    )  # fmt: skip
    assert (done.exit.cause, done.returncode) == ("output_limit", 137)
    assert "printed more than it may: 1,001 bytes; to allow more: --max-output" in str(done.exit)
    assert len((done.stdout or b"") + (done.stderr or b"")) == 1001
    assert end_of(done.exit.task, log) == str(done.exit)
    with pytest.raises(wasmos.TaskKilled, match="printed more than it may"):
        done.check_returncode()


def test_output_that_is_just_enough() -> None:
    done = wasmos.run(
        program(f"(drop {call('fd_write', 1, MANY, 1, 8)})"), capture_output=True,
        output_limit=64 * KIB,
    )  # fmt: skip
    assert (done.exit.code, len(done.stdout or b"")) == (0, 64 * KIB)


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["directory", "overlay", "memory"])
def test_open_files(kind: str, tmp_path: Path) -> None:
    """As many as there may be, again and again."""
    count = "(if (i32.ne (local.get $n) (i32.const 64)) (then unreachable))"
    body = until_it_fails(OPEN).replace("(call $proc_exit", f"{count} (call $proc_exit")
    done = wasmos.run(program(body), allow=fs_rule(kind, tmp_path), max_open_files=64)
    assert done.exit.code == MFILE, done.exit


GROWS = {
    "writes": call("fd_write", "(local.get $fd)", MANY, 1, 8),
    "writes at the end": call("fd_pwrite", "(local.get $fd)", MANY, 1, "(i64.const 1_000_000)", 8),
    "makes it longer": call("fd_filestat_set_size", "(local.get $fd)", "(i64.const 1_048_577)"),
    "makes room": call("fd_allocate", "(local.get $fd)", "(i64.const 0)", "(i64.const 1_048_577)"),
}


@pytest.mark.parametrize("kind", ["overlay", "memory"])
@pytest.mark.parametrize("road", GROWS)
def test_bytes_of_files_in_memory(road: str, kind: str, tmp_path: Path) -> None:
    body = f"""(local $fd i32) (if {OPEN} (then unreachable))
      (local.set $fd (i32.load (i32.const 8))) {until_it_fails(GROWS[road])}"""
    done = wasmos.run(program(body), allow=fs_rule(kind, tmp_path), files_limit=1000 * KIB)
    assert done.exit.code == NOSPC, done.exit
    assert list(tmp_path.iterdir()) == []


def test_names_in_memory() -> None:
    """Names take room as well."""
    letters = " ".join(
        f"(i32.store8 (i32.const {NAME + at}) (i32.add (i32.const 65) (i32.and (i32.const 15) "
        f"(i32.shr_u (local.get $n) (i32.const {4 * at})))))"
        for at in range(4)
    )
    close = "(call $fd_close (i32.load (i32.const 8)))"
    body = until_it_fails(f"(block (result i32) {letters} (i32.or {OPEN} {close}))")
    # What can't be opened can't be closed: errnos of both.
    done = wasmos.run(program(body), allow="fs")
    assert done.exit.code == NOSPC | BADF, done.exit


def fs_rule(kind: str, directory: Path) -> str:
    if kind == "memory":
        return "fs"
    mode = "rw" if kind == "directory" else "overlay"
    return f'fs(dir="{directory}", mode="{mode}")'
