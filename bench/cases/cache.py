"""A large program's second start, in a kernel that has never seen it."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.guests import large
from bench.harness import Aim, Row, Settings, check, interleave, timed
from wasmos import CompileLimits, Kernel
from wasmos.kernel import Cache

AIM = Aim(">=", 50)
LIMITS = CompileLimits(seconds=600, memory_bytes=4 << 30)


def second_start(settings: Settings) -> list[Row]:
    """Read, recognised, loaded, spawned and run to its end; and the first start, once: it judges,
    compiles and keeps it besides."""
    megabytes = 2 if settings.quick else 30
    with tempfile.TemporaryDirectory(prefix="wasmos-bench-") as folder:
        path = Path(folder) / "large.wasm"
        path.write_bytes(large.binary(megabytes << 20))
        cache = Cache(f"{folder}/cache", f"{folder}/secrets")
        begun = time.perf_counter()
        _start(path, cache)
        first = time.perf_counter() - begun
        (second,) = interleave([lambda: timed(lambda: _start(path, cache))], settings.turns(3))
    return [Row(f"second start {megabytes} MB", second, "the first start", first, AIM)]


def _start(path: Path, cache: Cache) -> None:
    with Kernel(cache=cache) as kernel:
        program = kernel.load(path, compile_limits=LIMITS)
        check(kernel.wait(kernel.spawn(program)).code, 7, "a large program")
