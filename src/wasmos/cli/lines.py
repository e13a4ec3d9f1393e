"""Lines that hold up nobody: the log of a running system.

Law: who logs goes on at once. Guests cause lines, as many as they like, and the other end may be a
pipe that nobody reads, or a terminal that was stopped. So what there is no room for is kept, up to
`MAX_KEPT` lines; the rest is counted, and that is said when there is room again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from wasmos.cli import shown
from wasmos.errors import ServiceError
from wasmos.servers.console.sink import Sink, descriptor_of, has_room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

MAX_KEPT = 1000
CLOSING_SECONDS = 2.0


class Lines:
    """Lines to a stream, each put there without waiting."""

    def __init__(self, stream: BinaryIO) -> None:
        self._sink = Sink(stream, terminal=False)
        self._kept: deque[str] = deque()
        self._left_out = 0
        self._waiting: asyncio.Task[None] | None = None

    def put(self, line: str) -> None:
        if len(self._kept) < MAX_KEPT:
            self._kept.append(f"{shown(line)}\n")
        else:
            self._left_out += 1
        if self._waiting is None and not self._send():
            self._waiting = asyncio.ensure_future(self._send_later())

    def close(self) -> None:
        """Everybody has ended: now a reader who is slow has a little time for what is kept."""
        if self._waiting is not None:
            self._waiting.cancel()
        descriptor = descriptor_of(self._sink.output)
        until = time.monotonic() + CLOSING_SECONDS
        while not self._send() and descriptor is not None:
            if not has_room(descriptor, max(0, until - time.monotonic())):
                break
        self._sink.close()

    def _send(self) -> bool:
        """Whether all is written, or nobody is there to read it."""
        try:
            while self._sink.send():
                if self._kept:
                    line = self._kept.popleft()
                elif self._left_out:
                    line = f"{self._left_out:,} lines left out: nobody read them\n"
                    self._left_out = 0
                else:
                    return True
                self._sink.unsent = line.encode(errors="backslashreplace")
        except (OSError, ValueError):
            self._kept.clear()
            return True
        return False

    async def _send_later(self) -> None:
        try:
            while not self._send():
                await self._sink.room()
        except ServiceError:
            pass  # it can't be told when there is room: with the next line
        finally:
            self._waiting = None
