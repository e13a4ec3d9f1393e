"""Foreign interfaces: programs that speak something else than the four calls.

Law: a personality is an adapter, a guest that turns calls into messages, and knows nothing that
its program might not know. It is instantiated in the program's own store, with a memory of its
own, and sees the program's through functions of `env`: `program_read(from, to, size)`,
`program_write(to, from, size)`, both 0 or -15, and `program_exit(code)`. `program_lookup(name)` is
`ipc_lookup` for what the program may do without: that it wasn't granted is no denial. Everything
else that an adapter does is the four calls. docs/personalities.md shows how to write one.
"""

from __future__ import annotations

from wasmos import _core
from wasmos.engine import binary
from wasmos.engine.compiler import CODE_BYTES
from wasmos.errors import UsageError
from wasmos.kernel.exit import OURS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmos.engine.info import Descriptor
    from wasmos.kernel.kept import Kept


class Personality:
    """An interface that programs can be written for.

    name: the module that they import. adapter: a function that returns the adapter's binary; it
    is called when the first such program comes.
    """

    def __init__(self, name: str, adapter: Callable[[], bytes]) -> None:
        self.name = name
        self._adapter = adapter
        self._wasm: bytes | None = None
        self._offer: dict[tuple[str, str], Descriptor] | None = None

    @property
    def wasm(self) -> bytes:
        if self._wasm is None:
            self._wasm = self._adapter()
        return self._wasm

    @property
    def offer(self) -> dict[tuple[str, str], Descriptor]:
        """What its programs may import: the functions that the adapter exports."""
        if self._offer is None:
            info = binary.parse(self.wasm)
            offer: dict[tuple[str, str], Descriptor] = {}
            for export in info.exports.values():
                signature = info.signature(export.name)
                if signature is not None:
                    offer[self.name, export.name] = signature
            self._offer = offer  # all of it at once: programs are judged in threads
        return self._offer

    def load(self, engine: _core.Engine, kept: Kept | None = None) -> _core.Adapter:
        """For one kernel's engine, from its cache if it is there. Raises UsageError if it is no
        adapter."""
        try:
            return _core.Adapter(self._module(engine, kept), self.name)
        except ValueError as error:
            raise UsageError(f"the adapter of {self.name}: {error}") from None

    def _module(self, engine: _core.Engine, kept: Kept | None) -> _core.Module:
        # So that a backtrace tells its functions from the program's.
        named = self.wasm + binary.name_section(f"{OURS}{self.name}")
        if kept is None:
            return _core.Module.compile(engine, named)
        key = kept.adapter(named)
        module = kept.module(key, engine, CODE_BYTES)
        if module is None:
            module = _core.Module.compile(engine, named)
            kept.keep(key, self.name, module.serialize())
        return module

    def __repr__(self) -> str:
        return f"<Personality {self.name!r}>"
