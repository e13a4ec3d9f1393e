"""Every address that a program gives, at the edge of its memory and past it: EFAULT, nothing
written, and nothing done."""

from __future__ import annotations

import stat
import struct

import pytest

from tests.personalities.wasi.calls import DUMP, END, ERRNOS
from tests.personalities.wasi.conftest import Machine
from tests.personalities.wasi.fakes import FakeTcpip
from tests.personalities.wasi.valid import NAME, PART, VALID, P, prepared

FAULT = 21
POINTERS = [
    (name, arguments, number)
    for name, arguments in VALID
    for number, argument in enumerate(arguments)
    if isinstance(argument, P)
]


@pytest.fixture
def target(machine: Machine) -> Machine:
    machine.plant({"f": b"0123", "l": "f", "d": None})
    machine.tcpip = FakeTcpip([80], [b"hello", b"again"])
    machine.arguments = ["program"]
    machine.environment = {"A": "1"}
    machine.console.input = b"input"
    return machine


def state(machine: Machine) -> object:
    """What a call could have changed outside."""

    tree = {
        path.name: (stat.S_IFMT(found.st_mode), found.st_mtime_ns, found.st_nlink, found.st_size)
        for path in machine.root.iterdir()
        for found in [path.lstat()]
        if not path.is_dir()
    }
    directories = [path.name for path in machine.root.iterdir() if path.is_dir()]
    changed = machine.root.stat().st_mtime_ns
    return (tree, changed, directories, machine.fs.left_open, machine.console.input,
            machine.console.printed[1], machine.tcpip.sent, machine.tcpip.received)  # fmt: skip


UNCHANGED = (
    {"f": (stat.S_IFREG, 2000, 1, 4), "l": (stat.S_IFLNK, 2000, 1, 1)},
    2000, ["d"], 1, b"input", [], {5000: b""}, {5000: b"hello"},
)  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "number"), POINTERS)
def test_past_the_edge(target: Machine, name: str, arguments: tuple[int, ...], number: int) -> None:
    pointer = arguments[number]
    assert isinstance(pointer, P)
    calls, _ = prepared()
    for bad in (END - pointer.size + 1, END, -1, -pointer.size):
        calls.add(name, *(bad if n == number else int(a) for n, a in enumerate(arguments)))
    result = target.run(calls)
    assert result.errnos == [0, 0] + [FAULT] * 4
    assert state(target) == UNCHANGED
    assert result.bytes(1000, 8) == struct.pack("<II", 5, 6)
    untouched = bytearray(END)
    for at, data in calls._data:
        untouched[at : at + len(data)] = data
    if name.endswith("_get") and name[:4] in ("args", "envi"):
        return  # the two results of which the first fits
    assert result.bytes(0, 1000) == untouched[:1000]
    assert result.bytes(1008, ERRNOS - 1008) == untouched[1008:ERRNOS]
    assert result.bytes(DUMP + 16, END - DUMP - 16) == bytes(END - DUMP - 16)


@pytest.mark.parametrize(("name", "arguments", "number"), POINTERS)
def test_at_the_edge(target: Machine, name: str, arguments: tuple[int, ...], number: int) -> None:
    """The last bytes of the memory are as good as any."""
    pointer = arguments[number]
    assert isinstance(pointer, P)
    calls, _ = prepared()
    edge = END - pointer.size
    original = bytearray(END)
    for at, data in calls._data:
        original[at : at + len(data)] = data
    calls.put(edge, bytes(original[pointer : pointer + pointer.size]))
    calls.add(name, *(edge if n == number else int(a) for n, a in enumerate(arguments)))
    assert target.run(calls).errnos == [0, 0, 0]


@pytest.mark.parametrize("name", ["fd_read", "fd_write", "fd_pread", "fd_pwrite"])
@pytest.mark.parametrize("where", [0, 1])
def test_what_a_part_points_to(target: Machine, name: str, where: int) -> None:
    """Of several parts, a bad one is seen before the first is used."""
    more = (0,) if name.startswith("fd_p") else ()
    calls, _ = prepared()
    good, bad = (NAME, 1), (END - 3, 4)
    one = calls.parts(bad)
    two = calls.parts(*((bad, good) if where == 0 else (good, bad)))
    long = calls.parts((0, 0xFFFFFFFF))
    for parts in (one, two, long, (PART, 0x7FFFFFFF)):
        calls.add(name, 5, *parts, *more, 0)
    result = target.run(calls)
    assert result.errnos == [0, 0] + [FAULT] * 4
    assert state(target) == UNCHANGED
    assert result.u32(0) == 0
