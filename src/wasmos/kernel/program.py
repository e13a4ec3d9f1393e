"""From a file, bytes or text to a program that can be spawned.

Law: a module is judged before the engine sees it, and compiled in a child
process unless its owner vouches for it. The same bytes are compiled once per
kernel, and once at all if there is a cache.
"""

from __future__ import annotations

import os
from stat import S_ISREG

from wasmos import _core
from wasmos.engine import binary, policy
from wasmos.engine.compiler import Compilation, CompileLimits, reason
from wasmos.engine.info import FUNC, quote, show_type
from wasmos.engine.library import open_library
from wasmos.errors import InternalError, ModuleRefused, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeAlias

    from wasmos.engine.info import FuncType, ModuleInfo
    from wasmos.engine.policy import Shape
    from wasmos.kernel.kept import Verdict
    from wasmos.kernel.kernel import Kernel
    from wasmos.kernel.limits import Limits
    from wasmos.kernel.personality import Personality

    Source: TypeAlias = str | bytes | os.PathLike[str]
    # Gets the seconds that it takes so far.
    Check: TypeAlias = Callable[[float], object]
    # What makes two programs the same: the bytes, the limits they were judged by, and whether that
    # was as a library.
    Key: TypeAlias = tuple[bytes, int, int, bool]

_I32 = "i32"
# The four calls: (module, name) → (parameters, results).
FOUR_CALLS = {
    ("env", "ipc_lookup"): ((_I32,), (_I32,)),
    ("env", "ipc_call"): ((_I32, _I32), (_I32,)),
    ("env", "ipc_recv"): ((_I32, _I32), (_I32,)),
    ("env", "ipc_reply"): ((_I32, _I32), ()),
}

_FOR_WASI = (
    "it is a program for WASI, and this kernel is made without: run it with wasmos.run, "
    "or give its kernel personalities=wasmos.personalities.wasi.ALL (docs/personalities.md)"
)
# Interfaces that wasmos has and a kernel is only given: what to tell who imports one. They are
# nothing but names here, so that a kernel without them needn't import what provides them.
ELSEWHERE = {"wasi_snapshot_preview1": _FOR_WASI, "wasi_unstable": _FOR_WASI}

MAX_MODULE_BYTES = policy.DEFAULT_MODULE_BYTES
MAX_TEXT_BYTES = 1 << 20
MAX_NAMES = 12  # of functions, in an error
MAX_COMPARED = 1000  # of them, with one that isn't there: a tenth of a second if they look alike


class Program:
    """A module that was admitted; once compiled, spawn it as often as you like."""

    __slots__ = (
        "__weakref__",
        "_info",
        "_kept_as",
        "_kernel",
        "compile_limits",
        "data",
        "key",
        "module",
        "name",
        "verdict",
    )

    def __init__(
        self, kernel: Kernel, key: Key, name: str, verdict: Verdict, kept_as: str | None
    ) -> None:
        self._kernel = kernel
        self._kept_as = kept_as  # its key in the cache on disk
        self.key = key
        self.name = name
        self.data = key[0]
        self.verdict = verdict
        self.compile_limits: CompileLimits | None = None
        self.module: _core.Module | None = None
        self._info: ModuleInfo | None = None

    @property
    def shape(self) -> Shape:
        """How it is to be run."""
        return self.verdict[0]

    @property
    def info(self) -> ModuleInfo:
        """What it declares: read when somebody wants it, which a program from the cache needs
        not."""
        if self._info is None:
            self._info = binary.parse(self.data)
        return self._info

    @property
    def _unnamed(self) -> bytes:
        """What the engine gets; `whose` has the reason."""
        return self.info.without_names()

    @property
    def is_reactor(self) -> bool:
        """Whether it is initialized and then over, as whose functions others call."""
        return self.shape.entry == policy.INITIALIZE

    @property
    def functions(self) -> list[str]:
        """The names of those that it exports, but for what is called anyway."""
        exports = self.info.exports.values()
        names = [item.name for item in exports if item.kind == FUNC]
        return [name for name in names if name != policy.INITIALIZE]

    @property
    def calling(self) -> str:
        """The option of a command that calls the first of them."""
        return policy.calling(self.functions[0])

    def signature(self, name: str, count: int) -> FuncType:
        """The types of the parameters and of the results of a function that it exports and that
        takes `count` arguments. Raises UsageError."""
        found = self.info.signature(name)
        if found is None:
            raise UsageError(f"{self.name} exports no function {quote(name)}; {self._near(name)}")
        if len(found[0]) != count:
            takes = f"({', '.join(found[0])})" if found[0] else "no arguments"
            raise UsageError(f"{quote(name)} takes {takes}, and was given {count or 'none'}")
        return found

    def _near(self, name: str) -> str:
        """What there is instead of a function of this name."""
        import difflib

        if name in self.info.exports:
            return f"that is a {self.info.exports[name].kind}"
        names = self.functions
        if near := difflib.get_close_matches(name, names[:MAX_COMPARED], 1):
            return f"did you mean {quote(near[0])}?"
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        shown = ", ".join(map(quote, names[:MAX_NAMES]))
        return f"there are: {shown}{more}" if names else "it exports none"

    def compile(self, trusted: bool = False, check: Check | None = None) -> None:
        """Turn it into machine code, in a child process unless `trusted`; or find it in the cache.
        Any thread may do this. `check` is called now and then while the child is at work, and ends
        it by raising. Raises ModuleRefused, CompileLimitExceeded."""
        if not trusted:
            self.finish(self.begin(), check)
        elif not self._find():
            try:
                self.module = _core.Module.compile(self._kernel.engine, self._unnamed)
            except ValueError as error:
                raise ModuleRefused(f"{self.name}: {reason(str(error))}") from None
            if self._kept_as is not None:
                self._keep(self.module.serialize())

    def begin(self) -> Compilation | None:
        """The compiler's child, at work, for `finish`; None if it was compiled before."""
        if self._find():
            return None
        kernel = self._kernel
        options = kernel.engine_options
        return Compilation(self._unnamed, options, kernel.library, self.compile_limits)

    def finish(self, compilation: Compilation | None, check: Check | None = None) -> None:
        """Wait for the compiler's child, and load what it made."""
        if compilation is None:
            return
        try:
            code = self._wait(compilation, check)
        except ModuleRefused as error:
            error.args = (f"{self.name}: {error}",)
            raise
        try:
            self.module = _core.Module.load(self._kernel.engine, code)
        except ValueError as error:
            if self._kernel.pooled:  # which the compiler knew nothing of
                why = reason(str(error))
                raise ModuleRefused(f"{self.name}: it doesn't fit the pool: {why}") from None
            raise InternalError(f"{self.name}: the compiler's answer is broken: {error}") from None
        self._keep(code)

    def _wait(self, compilation: Compilation, check: Check | None) -> bytes:
        progress = self._kernel.progress
        if progress is None:
            return compilation.code(check)
        with progress(self.name, len(self.data)) as waiting:
            if check is None:
                return compilation.code(waiting)
            return compilation.code(lambda seconds: (waiting(seconds), check(seconds)))

    def _find(self) -> bool:
        """Whether it is in the cache; then it is loaded."""
        kept = self._kernel.kept
        if kept is None or self._kept_as is None:
            return False
        most = (self.compile_limits or CompileLimits()).code_for(len(self.data))
        self.module = kept.module(self._kept_as, self._kernel.engine, most)
        return self.module is not None

    def _keep(self, code: bytes) -> None:
        kept = self._kernel.kept
        if kept is not None and self._kept_as is not None:
            kept.keep(self._kept_as, self.name, code, self.verdict)

    def __repr__(self) -> str:
        return f"<Program {self.name!r} {self.shape.kind}>"


def read(source: Source) -> tuple[str, bytes]:
    """Name and binary of a module given as a path, as its bytes, or as text
    in the WebAssembly text format (which begins with a parenthesis)."""
    name = path = "module"
    if isinstance(source, bytes):
        data = source
    elif isinstance(source, str) and _is_text(source):
        data = source.encode()
    else:
        path = os.fspath(source)
        name, data = os.path.splitext(os.path.basename(path))[0], _read_file(path)
    if data[:4] != b"\0asm" and data[:MAX_TEXT_BYTES].lstrip()[:1] in (b"(", b";"):
        # Translating takes the engine, here, a hundred times the text's size.
        if len(data) > MAX_TEXT_BYTES:
            raise ModuleRefused(
                f"{name}: {len(data):,} bytes of text, the limit is {MAX_TEXT_BYTES:,}; "
                "translate it to a binary first"
            )
        open_library()
        try:
            data = _core.wat2wasm(data)
        except ValueError as error:
            raise ModuleRefused(_placed(path, str(error))) from None
    return name, data


def file_name(source: Source) -> str:
    """The name of the file that a module is read from; "" if it is given as bytes or text."""
    if isinstance(source, bytes) or (isinstance(source, str) and _is_text(source)):
        return ""
    return os.path.basename(os.fspath(source))


def size_of(source: Source) -> int | None:
    """How many bytes there will be to judge; None if that isn't known."""
    if isinstance(source, bytes) or (isinstance(source, str) and _is_text(source)):
        return len(source)
    try:
        found = os.stat(source)
    except OSError:
        return 0
    return found.st_size if S_ISREG(found.st_mode) else None


def _is_text(source: str) -> bool:
    """Whether it is a module, and no path."""
    return source[:MAX_TEXT_BYTES].lstrip()[:1] in ("(", ";")


def _placed(path: str, error: str) -> str:
    """What is wrong with a text, and where, in the one line that editors know. The translator
    shows the line below it, with an arrow."""
    import re

    what = error.partition("\n")[0].replace("`", "'")
    place = re.search(r"^ *--> .*(:\d+:\d+)$", error, re.MULTILINE)
    return f"{path}{place[1] if place else ''}: {what}"


def _read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        data = file.read(MAX_MODULE_BYTES + 1)
    if len(data) > MAX_MODULE_BYTES:
        raise ModuleRefused(f"{path}: larger than {MAX_MODULE_BYTES:,} bytes")
    return data


def admit(
    name: str,
    data: bytes,
    limits: Limits,
    personalities: Iterable[Personality] = (),
    *,
    library: bool = False,
) -> tuple[ModuleInfo, policy.Shape]:
    """Judge a module. Raises ModuleRefused, which names it and the reason."""
    try:
        return policy.admit(
            data,
            imports=FOUR_CALLS,
            dialects={each.name: each for each in personalities},
            elsewhere=ELSEWHERE,
            memory_bytes=limits.memory_bytes,
            table_elements=limits.table_elements,
            library=library,
        )
    except ModuleRefused as error:
        error.args = (f"{name}: {error}",)
        raise


def inspect(data: bytes) -> dict[str, Any]:
    """What a module declares, whether it may run or not: `imports`, `exports`
    and the `strings` in its data. Raises ModuleRefused for what isn't one."""
    info = binary.parse(data)
    imports = [
        {"name": f"{item.module}.{item.name}", "type": show_type(item.descriptor)}
        for item in info.imports
    ]
    exports = []
    for item in info.exports.values():
        signature = info.signature(item.name)
        kind = item.kind if signature is None else show_type(signature)
        exports.append({"name": item.name, "type": kind})
    return {"imports": imports, "exports": exports, "strings": list(info.strings())}


__all__ = [
    "Compilation",
    "CompileLimits",
    "Program",
    "admit",
    "file_name",
    "inspect",
    "read",
    "size_of",
]
