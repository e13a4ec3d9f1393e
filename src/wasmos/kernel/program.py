"""From a file, bytes or text to a program that can be spawned.

Law: a module is judged before the engine sees it, and compiled in a child
process unless its owner vouches for it. The same bytes are compiled once per
kernel.
"""

from __future__ import annotations

import os

from wasmos import _core
from wasmos.engine import policy
from wasmos.engine.compiler import Compilation, CompileLimits
from wasmos.errors import ModuleRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from wasmos.engine.binary import ModuleInfo
    from wasmos.kernel.limits import Limits

    Source: TypeAlias = str | bytes | os.PathLike[str]

_I32 = "i32"
# The four calls: (module, name) → (parameters, results).
FOUR_CALLS = {
    ("env", "ipc_lookup"): ((_I32,), (_I32,)),
    ("env", "ipc_call"): ((_I32, _I32), (_I32,)),
    ("env", "ipc_recv"): ((_I32, _I32), (_I32,)),
    ("env", "ipc_reply"): ((_I32, _I32), ()),
}

MAX_MODULE_BYTES = policy.DEFAULT_MODULE_BYTES


class Program:
    """A module that was admitted and compiled; spawn it as often as you like."""

    __slots__ = ("info", "module", "name", "shape", "size")

    def __init__(
        self, name: str, module: _core.Module, info: ModuleInfo, shape: policy.Shape
    ) -> None:
        self.name = name
        self.module = module
        self.info = info
        self.shape = shape

    def __repr__(self) -> str:
        return f"<Program {self.name!r} {self.shape.kind}>"


def read(source: Source) -> tuple[str, bytes]:
    """Name and binary of a module given as a path, as its bytes, or as text
    in the WebAssembly text format (which begins with a parenthesis)."""
    if isinstance(source, bytes):
        name, data = "module", source
    elif isinstance(source, str) and source.lstrip()[:1] in ("(", ";"):
        name, data = "module", source.encode()
    else:
        path = os.fspath(source)
        name, data = os.path.splitext(os.path.basename(path))[0], _read_file(path)
    if data[:4] != b"\0asm" and data.lstrip()[:1] in (b"(", b";"):
        try:
            data = _core.wat2wasm(data)
        except ValueError as error:
            raise ModuleRefused(f"{name}: {error}") from None
    return name, data


def _read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        data = file.read(MAX_MODULE_BYTES + 1)
    if len(data) > MAX_MODULE_BYTES:
        raise ModuleRefused(f"{path}: larger than {MAX_MODULE_BYTES:,} bytes")
    return data


def admit(name: str, data: bytes, limits: Limits) -> tuple[ModuleInfo, policy.Shape]:
    """Judge a module. Raises ModuleRefused, which names it and the reason."""
    try:
        return policy.admit(
            data,
            imports=FOUR_CALLS,
            memory_bytes=limits.memory_bytes,
            table_elements=limits.table_elements,
        )
    except ModuleRefused as error:
        raise type(error)(f"{name}: {error}") if type(error) is ModuleRefused else error


def engine_options(engine: _core.Engine) -> dict[str, object]:
    """What the compiler's child needs to configure an equal engine."""
    return {"stack_bytes": engine.stack_bytes, "tick_ns": engine.tick_ns}


__all__ = ["Compilation", "CompileLimits", "Program", "admit", "engine_options", "read"]
