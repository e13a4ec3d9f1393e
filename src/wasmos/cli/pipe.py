"""Commands from a file or a pipe.

Law: reading never blocks the system, and leaves nothing behind: no thread
waits on standard input when the system goes down. A line costs memory up to a
limit; of a longer one only the beginning is kept, which is still too long for
the shell.
"""

from __future__ import annotations

import asyncio
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

CHUNK = 64 << 10
MAX_LINE = 64 << 10


class Pipe:
    """The lines of a stream, one at a time."""

    def __init__(self, stream: TextIO) -> None:
        self._fd = stream.fileno()
        self._buffer = b""
        self._ended = False

    async def read_line(self) -> str | None:
        """The next line without its end, or None at the end of input."""
        parts: list[bytes] = []
        length = 0
        while True:
            part, newline, rest = self._buffer.partition(b"\n")
            if length < MAX_LINE:
                parts.append(part)
                length += len(part)
            self._buffer = rest
            if newline:
                break
            if self._ended:
                if not length:
                    return None
                break
            await self._fill()
        return b"".join(parts).rstrip(b"\r").decode("utf-8", "replace")

    async def _fill(self) -> None:
        await self._readable()
        try:
            self._buffer = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        self._ended = not self._buffer

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        try:
            loop.add_reader(self._fd, ready.set)
        except OSError:
            return  # a regular file or the like: always readable
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._fd)
