"""A process that runs out of descriptors."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from wasmos.servers.reserve import RESERVED


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """The collector doesn't run: what an earlier test left to it gives no descriptor back."""
    ran = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if ran:
            gc.enable()


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[int]:
    """This process can open so many more. Gives the first number that it can't have, which is high
    enough for the whole reserve, however few this process has open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with uncollected():
        highest = max(int(each.name) for each in Path("/dev/fd").iterdir())
        fillers = [os.dup(0)]
        while fillers[-1] <= max(highest, 4 * RESERVED):
            fillers.append(os.dup(0))
        limit = fillers[-1] + 1 + count
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            yield limit
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for filler in fillers:
                os.close(filler)


def highest_of(path: Path) -> int:
    """The highest descriptor by which this process has a file open."""
    wanted = path.stat()
    return max(n for n in map(int, os.listdir("/dev/fd")) if _is_of(n, wanted))


def _is_of(descriptor: int, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), wanted)
    except OSError:  # the listing's own
        return False
