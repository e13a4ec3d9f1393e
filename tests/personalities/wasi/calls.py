"""Programs for WASI that are a list of calls, and all that came of them.

calls = Calls()
at, size = calls.text("file")
calls.add("path_open", 3, 0, at, size, 0, RIGHTS, RIGHTS, 0, 8)
calls.add("fd_close", Loaded(8))
result = machine.run(calls)
result.errnos, result.u32(8)
"""

from __future__ import annotations

import functools
import struct

import wasmos
from wasmos.engine import binary
from wasmos.kernel import Personality
from wasmos.personalities import wasi

# The program's one page: results below TEXTS, what calls need from there on, then errnos.
TEXTS, ERRNOS, DUMP, END = 8192, 60000, 65000, 65536
RIGHTS = (1 << 29) - 1


class Loaded:
    """An argument that stands in the memory when the call is made."""

    def __init__(self, at: int) -> None:
        self.at = at


class Calls:
    def __init__(self, personality: Personality = wasi.PREVIEW1) -> None:
        self.personality = personality
        self._calls: list[tuple[str, tuple[int | Loaded, ...]]] = []
        self._data: list[tuple[int, bytes]] = []
        self._next = TEXTS

    def put(self, at: int, data: bytes) -> None:
        self._data.append((at, data))

    def text(self, text: str | bytes) -> tuple[int, int]:
        """Where a string is, and how long."""
        data = text.encode() if isinstance(text, str) else text
        at, self._next = self._next, self._next + len(data)
        self.put(at, data)
        return at, len(data)

    def parts(self, *parts: tuple[int, int]) -> tuple[int, int]:
        """Where an array of addresses and sizes is, and how many."""
        self._next = (self._next + 7) & ~7
        at, _ = self.text(struct.pack(f"<{2 * len(parts)}I", *(n for part in parts for n in part)))
        return at, len(parts)

    def add(self, name: str, *arguments: int | Loaded) -> int:
        """The number of the call among those whose errno is kept."""
        self._calls.append((name, arguments))
        return len(self._calls) - 1

    @functools.cached_property
    def source(self) -> str:
        imports, lines = [], []
        for name in {name for name, _ in self._calls} | {"fd_write", "proc_exit"}:
            parameters, results = _signatures(self.personality)[name]
            imports.append(
                f'(import "{self.personality.name}" "{name}" (func ${name} '
                f"(param {' '.join(parameters)}) (result {' '.join(results)})))".replace(
                    " (result )", ""
                ).replace(" (param )", "")
            )
        for index, (name, arguments) in enumerate(self._calls):
            parameters, results = _signatures(self.personality)[name]
            assert len(arguments) == len(parameters), name
            pushed = " ".join(map(_push, parameters, arguments))
            call = f"(call ${name} {pushed})"
            at = f"(i32.const {ERRNOS + 4 * index})"
            lines.append(f"(i32.store {at} {call})" if results else call)
        data = "".join(f'(data (i32.const {at}) "{_escaped(some)}")' for at, some in self._data)
        # All of the memory is what it prints last.
        dump = struct.pack("<II", 0, END)
        return f"""(module {" ".join(imports)} (memory (export "memory") 1 1) {data}
          (data (i32.const {DUMP}) "{_escaped(dump)}")
          (func (export "_start") {" ".join(lines)}
            (drop (call $fd_write (i32.const 2) (i32.const {DUMP}) (i32.const 1)
              (i32.const {DUMP + 8})))))"""

    def __len__(self) -> int:
        return len(self._calls)


class Result:
    def __init__(self, calls: Calls, ended: wasmos.Exit, memory: bytes) -> None:
        self.exit = ended
        self.memory = memory
        self.errnos = [
            int.from_bytes(memory[at : at + 4], "little")
            for at in range(ERRNOS, ERRNOS + 4 * len(calls), 4)
        ]

    def u8(self, at: int) -> int:
        return self.memory[at]

    def u16(self, at: int) -> int:
        return int.from_bytes(self.memory[at : at + 2], "little")

    def u32(self, at: int) -> int:
        return int.from_bytes(self.memory[at : at + 4], "little")

    def u64(self, at: int) -> int:
        return int.from_bytes(self.memory[at : at + 8], "little")

    def bytes(self, at: int, size: int) -> bytes:
        return self.memory[at : at + size]


@functools.cache
def _signatures(personality: Personality) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    info = binary.parse(personality.wasm)
    found = {name: info.signature(name) for name in info.exports}
    return {name: signature for name, signature in found.items() if signature is not None}


def _push(type_: str, argument: int | Loaded) -> str:
    if isinstance(argument, Loaded):
        return f"({type_}.load (i32.const {argument.at}))"
    return f"({type_}.const {argument})"


def _escaped(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)
