"""What a kernel keeps of programs beyond its own life: machine code, and what was judged.

Law: code is found again only if nothing that it depends on has changed: the module, the engine, how
the engine is set, the compiler's own files. A verdict is found only if it would be the same again:
by the same judges, the same imports, and a task's limits that leave room for what it needs. A
refusal is never kept: it is worked out again, and says why.
"""

from __future__ import annotations

import os

from wasmos import _core
from wasmos.engine import binary, cost, info, library, policy, reader
from wasmos.engine.cache import Cache, digest, key
from wasmos.engine.policy import Shape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TypeAlias

    from wasmos.kernel.limits import Limits
    from wasmos.kernel.personality import Personality

    # How to run it, and the memory and table elements that it begins with.
    Verdict: TypeAlias = tuple[Shape, tuple[int, ...]]

# Their files say what code and verdicts are worth, so code that older ones made isn't found.
_JUDGES = (_core, binary, cost, info, policy, reader)
_NEEDS = ("memory_bytes", "table_elements")  # as `policy.needs`
_FLAGS = ("direct", "has_memory", "returns_code")


class Kept:
    """The cache as one kernel uses it."""

    def __init__(
        self,
        cache: Cache,
        library_path: str,
        options: Mapping[str, int],
        offers: object,
        personalities: Iterable[Personality],
    ) -> None:
        self._cache = cache
        self._library = library_path
        self._options = options
        self._offers = offers
        self._personalities = personalities
        self._engine: str | None = None
        self._judges: str | None = None

    def program(self, data: bytes, library: bool = False) -> str:
        """The key of a program. As a library it was judged otherwise."""
        judged_as = ("library",) if library else ()
        return key(self._engine_key(), self._judges_key(), digest(data), *judged_as)

    def adapter(self, data: bytes) -> str:
        """The key of what nobody judges."""
        return key(self._engine_key(), digest(data))

    def verdict(self, key: str, limits: Limits) -> Verdict | None:
        """On a program that was admitted before and fits the limits."""
        facts = self._cache.find(key)
        if facts is None or facts.get("kind") not in policy.KINDS:
            return None
        memory_bytes, table_elements = needs = tuple(int(facts[need]) for need in _NEEDS)
        if memory_bytes > limits.memory_bytes or table_elements > limits.table_elements:
            return None  # judging says so in words
        direct, has_memory, returns_code = (facts[flag] == "1" for flag in _FLAGS)
        shape = Shape(
            facts["kind"],
            facts["entry"],
            direct=direct,
            has_memory=has_memory,
            returns_code=returns_code,
            dialect=facts["dialect"] or None,
        )
        return shape, needs

    def module(self, key: str, engine: _core.Engine, most: int) -> _core.Module | None:
        """Code for an engine, at most so many bytes of it."""
        code = self._cache.code(key, most)
        if code is None:
            return None
        try:
            return _core.Module.load(engine, code)
        except ValueError:
            # Made on a processor that can more than this one. What is compiled instead takes its
            # place, and that runs on both.
            return None

    def keep(self, key: str, name: str, code: bytes, verdict: Verdict | None = None) -> None:
        """Keep code, and how it was judged."""
        version = library.wheel_version(library.wheel_folder())
        facts = {"name": name, "engine": f"wasmtime {version}", "kind": "adapter"}
        if verdict is not None:
            shape, needs = verdict
            facts |= {"kind": shape.kind, "entry": shape.entry, "dialect": shape.dialect or ""}
            facts |= {flag: str(int(getattr(shape, flag))) for flag in _FLAGS}
            facts |= zip(_NEEDS, map(str, needs), strict=True)
        self._cache.store(key, facts, code)

    def _engine_key(self) -> str:
        if self._engine is None:
            paths = [self._library, *(module.__file__ or "" for module in _JUDGES)]
            options = sorted(self._options.items())
            self._engine = key(os.uname().machine, options, *map(_state, paths))
        return self._engine

    def _judges_key(self) -> str:
        if self._judges is None:
            dialects = [(each.name, digest(each.wasm)) for each in self._personalities]
            self._judges = key(self._offers, dialects)
        return self._judges


def _state(path: str) -> tuple[str, int, int]:
    """What tells a file from one that replaced it. Its content would, too, but the engine's is
    thirty megabytes; and code says itself which version of the engine it is for."""
    found = os.stat(path)
    return os.path.realpath(path), found.st_size, found.st_mtime_ns
