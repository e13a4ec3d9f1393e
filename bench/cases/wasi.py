"""WASI: every function is a message to a server; its peer is the engine's own implementation.

Law: both sides run the same program in the same directory, and print into a file. What they wrote
is looked at after each measurement; what they read, listed and got, the program checks itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import wasmos
from bench import guests
from bench.harness import (
    Aim,
    Measure,
    Row,
    Settings,
    WrongResultError,
    check,
    interleave,
    one_core,
    timed,
)
from bench.peers import wheel
from wasmos.personalities import wasi
from wasmos.servers.clock import Clock
from wasmos.servers.console import Console
from wasmos.servers.fs import Fs
from wasmos.servers.random import Random

AIM = Aim("<=", 1.0)
NAME = "wasi"
KIB_64 = 64 << 10
ENTRIES = 1000
# A header of 24 bytes and a name for each entry, "." and ".." included.
LISTED_BYTES = 24 * (ENTRIES + 2) + len("f") + len("...") + (ENTRIES - 1) * len("entry0000")
AS_IT_IS, NEW, STDOUT = 0, 1 | 8, -1  # how the file is opened


A_BYTE = (
    "both hand the byte to the host at once, and that is most of the time. Ours goes through a "
    "method in Python, which costs half a microsecond, as much as all that the peer does besides"
)


@dataclass(frozen=True)
class Operation:
    """One row: a function of the guest's, how often, with how many bytes.

    note: said below the table if the aim is missed.
    """

    row: str
    function: str
    count: int
    size: int = 0
    opened: int = STDOUT
    note: str = ""

    def source(self, count: int) -> str:
        return guests.text(
            "wasi", operation=self.function, count=count, size=self.size, opened=self.opened
        )


OPERATIONS = (
    Operation("fd_write file 1B", "write", 5_000, 1, NEW),
    Operation("fd_write file 64KiB", "write", 500, KIB_64, NEW),
    Operation("fd_write stdout 1B", "write", 5_000, 1, note=A_BYTE),
    Operation("fd_write stdout 64KiB", "write", 500, KIB_64),
    Operation("fd_read file 1B", "read", 5_000, 1, AS_IT_IS),
    Operation("fd_read file 64KiB", "read", 500, KIB_64, AS_IT_IS),
    Operation("path_open + fd_close", "open_and_close", 2_000),
    Operation("fd_readdir 1,000 entries", "list", 5, LISTED_BYTES),
    Operation("clock_time_get", "time", 100_000),
    Operation("random_get 16B", "chance", 100_000, 16),
)


def functions(settings: Settings) -> list[Row]:
    """The functions that programs call most."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="wasmos-bench-") as folder, one_core(settings.core):
        for operation in OPERATIONS:
            rows.append(_row(operation, Path(folder), settings))
    return rows


def _row(operation: Operation, folder: Path, settings: Settings) -> Row:
    count = settings.count(operation.count)
    source = operation.source(count)
    files = Files(folder / operation.function, operation, count)
    with ExitStack() as stack:
        ours = stack.enter_context(Ours(source, files))
        theirs = wheel.wasi(source, str(files.directory), str(files.output))
        sides = [files.around(ours.start, count), files.around(theirs, count)]
        mine, peers = interleave(sides, settings.turns())
    row = Row(f"{NAME} {operation.row}", mine, "wheel's WASI", peers, AIM)
    if row.met is False:
        row.note = operation.note
    return row


class Files:
    """What the programs find, and what is to be there afterwards."""

    def __init__(self, folder: Path, operation: Operation, count: int) -> None:
        self.directory = folder / "files"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.output = folder / "output"
        self._file = self.directory / "f"
        self._operation = operation
        self._bytes = count * operation.size
        is_read = operation.function == "read"
        self._file.write_bytes(b"x" * (self._bytes if is_read else 1))
        if operation.function == "list":
            for number in range(1, ENTRIES):
                (self.directory / f"entry{number:04d}").touch()

    def around(self, start: Callable[[], Callable[[], object]], count: int) -> Measure:
        """`start` makes ready and returns what is timed."""

        def measure() -> float:
            self.output.write_bytes(b"")
            seconds = timed(start(), count)
            if self._operation.function == "write":
                written = self.output if self._operation.opened == STDOUT else self._file
                check(written.stat().st_size, self._bytes, self._operation.row)
            return seconds

        return measure


class Ours:
    """A kernel with the servers that the program uses, and the program."""

    def __init__(self, source: str, files: Files) -> None:
        self._output = files.output.open("wb", buffering=0)
        self._kernel = wasmos.Kernel(personalities=wasi.ALL)
        for service in (Fs(), Console(self._output), Clock(), Random()):
            self._kernel.serve(service)
        self._program = self._kernel.load(source, trusted=True)
        self._allow = [f'fs(dir="{files.directory}")', "console", "clock", "random"]

    def __enter__(self) -> Ours:
        return self

    def __exit__(self, *_: object) -> None:
        self._kernel.close()
        self._output.close()

    def start(self) -> Callable[[], object]:
        self._output.seek(0)  # it is empty again
        task = self._kernel.spawn(self._program, allow=self._allow)

        def work() -> None:
            exit = self._kernel.wait(task)
            if not exit.ok:
                raise WrongResultError(f"a program ended wrongly: {exit}")

        return work
