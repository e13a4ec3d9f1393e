"""Commands from a file or a pipe.

Law: reading never blocks the system, and leaves nothing behind: no thread
waits on standard input when the system goes down.
"""

from __future__ import annotations

import asyncio
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

CHUNK = 64 << 10
MAX_LINE = 1 << 20


class Pipe:
    """The lines of a stream, one at a time."""

    def __init__(self, stream: TextIO) -> None:
        self._fd = stream.fileno()
        self._buffer = b""
        self._ended = False

    async def read_line(self) -> str | None:
        """The next line without its end, or None at the end of input."""
        while b"\n" not in self._buffer and not self._ended and len(self._buffer) < MAX_LINE:
            await self._readable()
            data = os.read(self._fd, CHUNK)
            self._ended = not data
            self._buffer += data
        if not self._buffer:
            return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r").decode("utf-8", "replace")

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        try:
            loop.add_reader(self._fd, ready.set)
        except PermissionError:
            return  # a regular file: always readable
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._fd)
