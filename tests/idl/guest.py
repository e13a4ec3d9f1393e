"""A C compiler for guests, and a kernel small enough to be seen through.

Law: nothing of the kernel or the engine is used here. What the header promises is tested against
a second implementation of the four calls, written for that.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import wasmtime

INCLUDE = Path(__file__).parents[2] / "guests" / "include"

# Whatever a guest's author may have switched on, the header mustn't be what fails.
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Werror"]
TARGET = ["-target", "wasm32-freestanding", "-nostdlib", "-Wl,--no-entry"]

# Called with the destination and the message; returns the answer's bytes, or an error code.
Answer = Callable[[int, bytes], bytes | int]


class CompileError(Exception):
    """The compiler's own words."""


def compile_guest(source: str, folder: Path, *options: str, include: Path = INCLUDE) -> Path:
    """Compile C text into a guest; options are added to the usual ones."""
    text, made = folder / "guest.c", folder / "guest.wasm"
    text.write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "ziglang", "cc", *TARGET, *WARNINGS, "-O2", "-std=c11"]
    command += [*options, "-I", str(include), "-o", str(made), str(text)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise CompileError(run.stderr)
    return made


class Guest:
    """A guest whose calls go to a function; what it sends otherwise is kept."""

    def __init__(self, path: Path, answer: Answer) -> None:
        engine = wasmtime.Engine()
        self.module = wasmtime.Module.from_file(engine, str(path))
        self.store = wasmtime.Store(engine)
        self.answer = answer
        self.names: list[str] = []
        self.inbox: list[bytes] = []
        self.replies: list[tuple[int, bytes]] = []
        linker = wasmtime.Linker(engine)
        i32 = wasmtime.ValType.i32()
        for name, parameters, results, call in [
            ("ipc_lookup", [i32], [i32], self._lookup),
            ("ipc_call", [i32, i32], [i32], self._call),
            ("ipc_recv", [i32, i32], [i32], self._recv),
            ("ipc_reply", [i32, i32], [], self._reply),
        ]:
            type_ = wasmtime.FuncType(parameters, results)
            linker.define_func("env", name, type_, call, access_caller=True)
        self.exports = linker.instantiate(self.store, self.module).exports(self.store)

    def call(self, name: str, *arguments: int) -> int:
        function = self.exports[name]
        assert isinstance(function, wasmtime.Func)
        result: int = function(self.store, *arguments)
        return result

    def memory(self) -> wasmtime.Memory:
        memory = self.exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        return memory

    def read(self, address: int) -> bytes:
        """The message at an address."""
        return bytes(self.memory().read(self.store, address, address + 1512))

    def write(self, address: int, message: bytes) -> None:
        self.memory().write(self.store, message, address)

    def _lookup(self, caller: wasmtime.Caller, address: int) -> int:
        memory = bytes(self.memory().read(self.store, address, address + 64))
        self.names.append(memory.split(b"\0")[0].decode())
        return 40 + len(self.names)

    def _call(self, caller: wasmtime.Caller, dst: int, address: int) -> int:
        answer = self.answer(dst, self.read(address))
        if isinstance(answer, int):
            return answer
        self.write(address, answer)
        return 0

    def _recv(self, caller: wasmtime.Caller, src: int, address: int) -> int:
        if not self.inbox:
            return -21
        self.write(address, self.inbox.pop(0))
        return 0

    def _reply(self, caller: wasmtime.Caller, dst: int, address: int) -> None:
        self.replies.append((dst, self.read(address)))


def message(type_: int, payload: bytes = b"", src: int = 0) -> bytes:
    """A message's bytes."""
    return struct.pack("<ii", type_, src) + payload
