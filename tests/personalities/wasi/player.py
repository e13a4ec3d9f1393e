"""A program that plays any calls of WASI, and all that comes of each.

Law: the program knows no call by itself. What it gets on its input is an image of its memory: a
header and a record for each call, with the arguments and what they point to. It makes the calls,
stores their errnos in the records, and what it prints in the end is its memory.

Descriptors are written as slots, since every implementation numbers them as it likes: an argument
that is a slot is loaded from there, and what opens something stores its number there.
"""

from __future__ import annotations

import functools
import os
import stat
import struct
from pathlib import Path

import wasmtime

from tests.personalities.wasi.signatures import SIGNATURES
from wasmos.engine import binary
from wasmos.personalities import wasi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from tests.personalities.wasi.conftest import Machine
    from wasmos.kernel import Personality

    Argument: TypeAlias = "int | bytes | Slot | Into | Out | Parts"

COUNT, SLOTS, RECORDS = 0, 8, 64  # where things are
ARGUMENTS, DATA, RECORD = 12, 88, 4096  # in a record: operation, errno, which are slots
MAX_CALLS = 126  # with which a program has half a mebibyte
SLOT_COUNT = 5
NOTHING_OPEN = 4000
NAMES = [name for name in SIGNATURES if name != "proc_exit"]
FORGET = len(NAMES)  # an operation of our own: nothing is open any more in a slot


class Slot(int):
    """An argument: the descriptor in this slot."""


class Out(int):
    """An argument: where so many bytes of results go."""


class Into(int):
    """An argument: the slot itself, where a descriptor goes."""


class Parts(tuple[bytes, ...]):
    """Two arguments: an array of parts of memory, for reading or writing, and how many."""


class Call:
    """One call: the function's name and its arguments. Bytes are an address and a size."""

    def __init__(self, name: str, *arguments: Argument) -> None:
        self.name = name
        self.arguments = arguments

    def __repr__(self) -> str:
        return f"{self.name}{self.arguments!r}"

    def record(self, at: int) -> bytes:
        """What the program reads, if that is at this address."""
        data = bytearray()
        numbers: list[int] = []
        slots = 0
        for argument in self.arguments:
            here = at + DATA + len(data)
            if isinstance(argument, bytes):
                numbers += [here, len(argument)]
                data += argument + bytes(-len(argument) % 8)
            elif isinstance(argument, Parts):
                numbers += [here, len(argument)]
                inner = here + 8 * len(argument)
                for part in argument:
                    data += struct.pack("<II", inner, len(part))
                    inner += len(part)
                data += b"".join(argument)
                data += bytes(-len(data) % 8)
            elif isinstance(argument, Out):
                numbers.append(here)
                data += bytes(argument + -argument % 8)
            elif isinstance(argument, Into):
                numbers.append(SLOTS + 4 * argument)
            elif isinstance(argument, Slot):
                slots |= 1 << len(numbers)
                numbers.append(SLOTS + 4 * argument)
            else:
                numbers.append(argument)
        assert len(data) <= RECORD - DATA
        operation = FORGET if self.name == "forget" else NAMES.index(self.name)
        words = [number & (1 << 64) - 1 for number in numbers]
        arguments = struct.pack(f"<{len(words)}Q", *words)
        return (struct.pack("<III", operation, 0, slots) + arguments).ljust(DATA, b"\0") + data


class Played:
    """The errno of each call, and what it left in its record."""

    def __init__(self, memory: bytes, count: int) -> None:
        begins = range(RECORDS, RECORDS + RECORD * count, RECORD)
        records = [memory[begin : begin + RECORD] for begin in begins]
        self.errnos = [struct.unpack_from("<I", record, 4)[0] for record in records]
        self.data = [record[DATA:] for record in records]


def image(calls: Sequence[Call]) -> bytes:
    """The program's input."""
    slots = [3, *[NOTHING_OPEN] * (SLOT_COUNT - 1)]
    header = struct.pack(f"<II{SLOT_COUNT}I", len(calls), 0, *slots)
    made = bytearray(header.ljust(RECORDS, b"\0"))
    for call in calls:
        made += call.record(len(made)).ljust(RECORD, b"\0")
    return bytes(made)


@functools.cache
def program(personality: Personality = wasi.PREVIEW1, most: int = MAX_CALLS) -> bytes:
    """Plays at most so many calls. What the personality doesn't have is no call of its."""
    imports, cases = [], []
    pages = (RECORDS + RECORD * (most + 1)) // 65536 + 1
    last = pages * 65536 - 64  # where transfers are described
    there = binary.parse(personality.wasm).exports
    for number, name in enumerate(NAMES):
        if name not in there:
            continue
        types = SIGNATURES[name]
        parameters = f"(param {' '.join(types)})" if types else ""
        imports.append(
            f'(import "{personality.name}" "{name}" (func ${name} {parameters} (result i32)))'
        )
        arguments = " ".join(
            f"(call $argument (local.get $at) (i32.const {index}))"
            if type_ == "i64"
            else f"(i32.wrap_i64 (call $argument (local.get $at) (i32.const {index})))"
            for index, type_ in enumerate(types)
        )
        cases.append(
            f"(if (i32.eq (local.get $operation) (i32.const {number})) (then (i32.store offset=4 "
            f"(local.get $at) (call ${name} {arguments}))))"
        )
    return bytes(
        wasmtime.wat2wasm(f"""(module {" ".join(imports)}
      (memory (export "memory") {pages})
      (func $argument (param $at i32) (param $index i32) (result i64)
        (local $value i64)
        (local.set $value (i64.load offset={ARGUMENTS}
          (i32.add (local.get $at) (i32.shl (local.get $index) (i32.const 3)))))
        (if (i32.and (i32.load offset=8 (local.get $at))
              (i32.shl (i32.const 1) (local.get $index)))
          (then (local.set $value (i64.load32_u (i32.wrap_i64 (local.get $value))))))
        (local.get $value))
      (func $play (param $at i32) (local $operation i32)
        (local.set $operation (i32.load (local.get $at)))
        (if (i32.eq (local.get $operation) (i32.const {FORGET})) (then (i32.store
          (i32.wrap_i64 (i64.load offset={ARGUMENTS} (local.get $at)))
          (i32.const {NOTHING_OPEN}))))
        {" ".join(cases)})
      ;; All of the memory's first $end bytes, by a function that may do less at once. What is
      ;; described and told is on the last page.
      (func $all (param $reading i32) (param $end i32) (result i32) (local $done i32)
        (loop $more
          (i32.store (i32.const {last}) (local.get $done))
          (i32.store (i32.const {last + 4}) (i32.sub (local.get $end) (local.get $done)))
          (if (local.get $reading)
            (then (drop (call $fd_read (i32.const 0) (i32.const {last}) (i32.const 1)
              (i32.const {last + 8}))))
            (else (drop (call $fd_write (i32.const 1) (i32.const {last}) (i32.const 1)
              (i32.const {last + 8})))))
          (local.set $done (i32.add (local.get $done) (i32.load (i32.const {last + 8}))))
          (br_if $more (i32.and (i32.ne (i32.load (i32.const {last + 8})) (i32.const 0))
            (i32.lt_u (local.get $done) (local.get $end)))))
        (local.get $done))
      (func (export "_start") (local $at i32) (local $left i32) (local $end i32)
        (local.set $end (call $all (i32.const 1) (i32.const {last + 64 - RECORD})))
        (local.set $left (i32.load (i32.const {COUNT})))
        (local.set $at (i32.const {RECORDS}))
        (block $over (loop $next
          (br_if $over (i32.eqz (local.get $left)))
          (call $play (local.get $at))
          (local.set $at (i32.add (local.get $at) (i32.const {RECORD})))
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br $next)))
        (drop (call $all (i32.const 0) (local.get $end)))))""")
    )


class Player:
    """Plays calls here, in one system, one task after the other."""

    def __init__(
        self, machine: Machine, personality: Personality = wasi.PREVIEW1, most: int = MAX_CALLS
    ) -> None:
        self._machine = machine
        self._most = most
        machine.serve()
        self._program = machine.kernel.load(program(personality, most), trusted=True)

    def play(self, calls: Sequence[Call], root: Path, mode: str = "rw") -> Played:
        return self.play_with(calls, [f'fs(dir="{root}", at="/", mode="{mode}")'])

    def play_with(self, calls: Sequence[Call], files: Sequence[str]) -> Played:
        """With these rules for files."""
        assert len(calls) <= self._most
        console = self._machine.console
        console.input = image(calls)
        console.printed = {1: [], 2: []}
        rules = ["console", *files]
        task = self._machine.kernel.spawn(self._program, allow=rules)
        ended = self._machine.kernel.wait(task)
        assert ended.code == 0, ended
        return Played(b"".join(console.printed[1]), len(calls))


class EnginePlayer:
    """Plays calls under the engine's own WASI."""

    def __init__(self, folder: Path, most: int = MAX_CALLS) -> None:
        self._folder = folder
        self._most = most
        self._engine = wasmtime.Engine()
        self._linker = wasmtime.Linker(self._engine)
        self._linker.define_wasi()
        self._module = wasmtime.Module(self._engine, program(most=most))

    def play(self, calls: Sequence[Call], root: Path) -> Played:
        assert len(calls) <= self._most
        given, printed = self._folder / "in", self._folder / "out"
        given.write_bytes(image(calls))
        config = wasmtime.WasiConfig()
        config.preopen_dir(str(root), "/")
        config.stdin_file = str(given)
        config.stdout_file = str(printed)
        store = wasmtime.Store(self._engine)
        store.set_wasi(config)
        start = self._linker.instantiate(store, self._module).exports(store)["_start"]
        assert isinstance(start, wasmtime.Func)
        start(store)
        store.close()
        return Played(printed.read_bytes(), len(calls))


def remains(root: Path) -> dict[str, tuple[object, ...]]:
    """What is in a directory: what each entry is, and when it was said to be changed."""
    found: dict[str, tuple[object, ...]] = {}
    for above, directories, files in os.walk(root):
        for name in [*directories, *files]:
            path = Path(above, name)
            known = path.lstat()
            content: object = None
            if stat.S_ISLNK(known.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(known.st_mode):
                content = (known.st_size, path.read_bytes() if known.st_size < 1 << 20 else None)
            kind = stat.S_IFMT(known.st_mode)
            found[str(path.relative_to(root))] = (
                kind, content, known.st_nlink, said(known.st_mtime_ns)
            )  # fmt: skip
    return found


def said(ns: int) -> int | str:
    """A time that somebody chose, or just that it is now."""
    return ns if ns < LATELY else "now"


LATELY = 1_700_000_000 * 10**9
