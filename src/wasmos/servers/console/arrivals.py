"""Bytes that arrive sooner or later, for many readers.

Law: readers get them in the order in which they asked, each byte goes to one reader, and nothing
is taken before there is somebody to have it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import BinaryIO


class Arrivals:
    """Reads from a stream without holding anybody up.

    A stream with a file descriptor is read through that alone: what is in the stream's own
    buffer stays there. One without is in memory, and always ready.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._descriptor = _descriptor(source)
        self._returned = b""
        self._turn: asyncio.Lock | None = None

    async def read(self, most: int) -> bytes:
        """At least one byte and at most `most`; none at the end. Raises OSError."""
        import asyncio

        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            while True:
                if self._returned:
                    data, self._returned = self._returned[:most], self._returned[most:]
                    return data
                if self._descriptor is None:
                    return self._source.read(most) or b""
                await _readable(self._descriptor)
                try:
                    return os.read(self._descriptor, most)
                except BlockingIOError:
                    continue

    def give_back(self, data: bytes) -> None:
        """What was read but reached nobody is the next to be read."""
        self._returned = data + self._returned


def _descriptor(source: BinaryIO) -> int | None:
    try:
        return source.fileno()
    except (AttributeError, OSError):
        return None


async def _readable(descriptor: int) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    try:
        loop.add_reader(descriptor, _wake, ready)
    except OSError:
        return  # a plain file or the like: it can't be waited for, and never has to be
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
