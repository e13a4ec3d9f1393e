"""Descriptors 0 to 2: input, output, errors."""

from __future__ import annotations

import struct

import pytest

from tests.personalities.wasi.calls import ERRNOS, Calls, Loaded
from tests.personalities.wasi.conftest import Machine

BADF, SPIPE, AGAIN = 8, 70, 6


def test_output(machine: Machine) -> None:
    calls = Calls()
    calls.add("fd_write", 1, *calls.parts(calls.text("hello")), 0)
    calls.add("fd_write", 1, *calls.parts((0, 0), calls.text(" wor"), calls.text("ld")), 4)
    calls.add("fd_write", 1, 0, 0, 8)
    calls.add("fd_write", 2, *calls.parts(calls.text("error")), 12)
    result = machine.run(calls)
    assert result.errnos == [0] * 4
    assert [result.u32(at) for at in (0, 4, 8, 12)] == [5, 6, 0, 5]
    assert machine.console.printed[1] == [b"hello", b" wor", b"ld"]
    assert machine.console.printed[2][0] == b"error"


def test_less_was_taken(machine: Machine) -> None:
    machine.console.most = 3
    calls = Calls()
    calls.add("fd_write", 1, *calls.parts(calls.text("hello"), calls.text("!")), 0)
    machine.serve()
    machine.kernel.wait(machine.kernel.spawn(calls.source, allow=["console"], trusted=True))
    assert machine.console.printed[1] == [b"hel"]


def test_input(machine: Machine) -> None:
    machine.console.input = b"from the user"
    calls = Calls()
    calls.add("fd_read", 0, *calls.parts((100, 0), (100, 4), (200, 4)), 0)
    calls.add("fd_read", 0, *calls.parts((300, 50)), 4)
    calls.add("fd_read", 0, *calls.parts((400, 50)), 8)
    calls.add("fd_read", 0, *calls.parts((400, 0)), 12)
    result = machine.run(calls)
    assert result.errnos == [0] * 4
    assert [result.u32(at) for at in (0, 4, 8, 12)] == [4, 9, 0, 0]
    assert (result.bytes(100, 4), result.bytes(300, 9)) == (b"from", b" the user")
    assert result.bytes(200, 4) == bytes(4)  # the first is what is there


def test_input_that_does_not_wait(machine: Machine) -> None:
    machine.console.arrives_after = 1e9
    calls = Calls()
    calls.add("fd_fdstat_set_flags", 0, 4)
    calls.add("fd_read", 0, *calls.parts((100, 4)), 0)
    calls.add("fd_fdstat_get", 0, 16)
    result = machine.run(calls)
    assert result.errnos == [0, AGAIN, 0]
    assert result.u16(18) == 4


def test_the_wrong_way(machine: Machine) -> None:
    calls = Calls()
    calls.add("fd_read", 1, *calls.parts((100, 4)), 0)
    calls.add("fd_write", 0, *calls.parts((100, 4)), 0)
    calls.add("fd_pread", 0, *calls.parts((100, 4)), 0, 0)
    calls.add("fd_pwrite", 1, *calls.parts((100, 4)), 0, 0)
    calls.add("fd_seek", 1, 0, 1, 0)
    calls.add("fd_tell", 0, 0)
    for name, more in {
        "fd_sync": (), "fd_datasync": (), "fd_allocate": (0, 1), "fd_advise": (0, 1, 0),
        "fd_filestat_set_size": (0,), "fd_filestat_set_times": (0, 0, 0),
        "fd_readdir": (0, 0, 0, 0), "fd_prestat_get": (0,), "path_unlink_file": (0, 1),
    }.items():  # fmt: skip
        calls.add(name, 1, *more)
    calls.add("fd_prestat_dir_name", 1, 0, 9)
    calls.add("sock_shutdown", 1, 1)
    calls.add("sock_recv", 0, 0, 0, 0, 0, 0)
    calls.add("sock_accept", 1, 0, 0)
    result = machine.run(calls)
    assert result.errnos == [BADF, BADF, SPIPE, SPIPE, SPIPE, SPIPE, *[BADF] * 9, 54, 57, 57, 57]


@pytest.mark.parametrize("terminals", [0, 1, 2, 4, 7])
def test_what_is_known(machine: Machine, terminals: int) -> None:
    machine.console.terminals = terminals
    calls = Calls()
    for fd in range(3):
        calls.add("fd_fdstat_get", fd, 100 * fd)
        calls.add("fd_filestat_get", fd, 100 * fd + 24)
    result = machine.run(calls)
    assert result.errnos == [0] * 6
    for fd in range(3):
        kind = 2 if terminals >> fd & 1 else 0
        right = 1 << 6 if fd else 1 << 1
        assert result.u8(100 * fd) == kind
        assert (result.u64(100 * fd + 8), result.u64(100 * fd + 16)) == (right, right)
        assert result.bytes(100 * fd + 24, 64) == bytes(16) + bytes([kind]) + bytes(47)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("fd_write", (1, 16, 1, 0)),
        ("fd_read", (0, 16, 1, 0)),
        ("fd_fdstat_get", (1, 0)),
        ("fd_filestat_get", (0, 0)),
    ],
)
def test_without_a_console_they_are_as_closed(
    machine: Machine, name: str, arguments: tuple[int, ...]
) -> None:
    """Nothing can be printed, so the errno is the exit code."""
    calls = Calls()
    calls.put(16, struct.pack("<II", 100, 4))
    calls.add(name, *arguments)
    calls.add("proc_exit", Loaded(ERRNOS))
    assert machine.start(calls.source, ["clock"]).code == BADF


def test_closed_and_moved(machine: Machine) -> None:
    calls = Calls()
    calls.add("fd_close", 0)
    calls.add("fd_close", 0)
    calls.add("fd_renumber", 1, 0)
    calls.add("fd_renumber", 1, 2)
    calls.add("fd_renumber", 2, 1)
    calls.add("fd_write", 1, *calls.parts(calls.text("hello")), 0)
    machine.start(calls.source)
    (memory,) = machine.console.printed[1]  # 2 is what 1 was
    assert [*struct.unpack_from("<6I", memory, ERRNOS)] == [0, BADF, BADF, 0, BADF, BADF]
