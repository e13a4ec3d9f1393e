"""Random: bytes that nobody can guess, or the same ones in each run.

Law: without a badge they are the host's, and the kernel itself gives them; this does so for clients
in Python. With the badge `seed` they are a stream that is decided by the seed alone, on every
machine and in every version: runs from years ago have to repeat. Each task has its own from the
beginning, and it doesn't matter in which pieces it takes it.
"""

from __future__ import annotations

import hashlib
import os

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError, UsageError
from wasmos.kernel import Caller, Lent, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


MAX_BYTES = 1 << 20  # at once, as in the core


def check_badge(badge: Mapping[str, str]) -> None:
    """Raises UsageError for a badge that makes no sense."""
    for key in badge:
        if key != "seed":
            raise UsageError(f"random: no badge parameter {key!r}; there is seed")


class Random(Service):
    """Serves random bytes."""

    name = "random"
    native = ("random_get",)

    def __init__(self) -> None:
        self._streams: dict[tuple[int, str], _Stream] = {}  # task and seed

    def random_get(self, caller: Caller, into: Lent) -> None:
        if into.size > MAX_BYTES:
            raise ServiceError(ErrorCode.TOO_LARGE)
        seed = caller.badge.get("seed")
        if seed is None:
            into.write(os.urandom(into.size))
            return
        stream = self._streams.get((caller.id, seed))
        if stream is None:
            stream = self._streams[caller.id, seed] = _Stream(seed)
        into.write(stream.take(into.size))

    def task_ended(self, task: int) -> None:
        for key in [key for key in self._streams if key[0] == task]:
            del self._streams[key]


class _Stream:
    """Block n of 32 bytes is SHA-256(SHA-256(seed) + n as 8 bytes, the lowest first)."""

    __slots__ = ("_block", "_left", "_seed")

    def __init__(self, seed: str) -> None:
        self._seed = hashlib.sha256(seed.encode("utf-8", "surrogateescape")).digest()
        self._block = 0
        self._left = b""

    def take(self, size: int) -> bytes:
        blocks = [self._left]
        have = len(self._left)
        while have < size:
            blocks.append(hashlib.sha256(self._seed + self._block.to_bytes(8, "little")).digest())
            self._block += 1
            have += 32
        data = b"".join(blocks)
        self._left = data[size:]
        return data[:size]
