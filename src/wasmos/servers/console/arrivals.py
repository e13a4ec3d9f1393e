"""Bytes that arrive sooner or later, for many readers.

Law: readers get them in the order in which they asked, each byte goes to one reader, and nothing
is taken before there is somebody to have it.
"""

from __future__ import annotations

import io
import os

from wasmos.errors import UsageError
from wasmos.servers.console.sink import descriptor_of, woken_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, BinaryIO, Protocol, TypeAlias

    class Readable(Protocol):
        def read(self, most: int, /) -> bytes | None: ...

    # A function is called for each piece; an empty one is the end.
    Input: TypeAlias = (
        BinaryIO | Readable | bytes | bytearray | Callable[[], bytes] | Iterable[bytes]
    )


class Arrivals:
    """Reads from a source without holding anybody up.

    A stream with a file descriptor is read through that alone: what is in the stream's own
    buffer stays there. One without is in memory, and always ready; so are functions and
    iterators: whoever waits for one of them holds everybody up.
    """

    def __init__(self, source: Input) -> None:
        self._source = _readable(source)
        self._descriptor = descriptor_of(source)
        self._look = None if self._descriptor is None else _look_at(self._descriptor)
        self._returned = b""
        self._readers = 0  # that wait, or are about to
        self._turn: asyncio.Lock | None = None

    @property
    def is_ready(self) -> bool:
        """Whether `take` has something, or the end, and nobody asked before."""
        return not self._readers and self._is_there()

    def _is_there(self) -> bool:
        return bool(self._returned) or self._look is None or self._look()

    def take(self, most: int) -> bytes:
        """What is there, at most so many bytes; none at the end. Raises OSError, which is a
        BlockingIOError if somebody outside was faster."""
        if self._returned:
            data, self._returned = self._returned[:most], self._returned[most:]
            return data
        if self._descriptor is None:
            return self._source.read(most) or b""
        return os.read(self._descriptor, most)

    async def read(self, most: int) -> bytes:
        """As `take`, once it is this reader's turn and something is there. Raises OSError."""
        import asyncio

        if self._turn is None:
            self._turn = asyncio.Lock()
        self._readers += 1
        try:
            async with self._turn:
                while True:
                    while not self._is_there():  # others who waited for it may have been faster
                        await self.arrival()
                    try:
                        return self.take(most)
                    except BlockingIOError:
                        continue
        finally:
            self._readers -= 1

    def give_back(self, data: bytes) -> None:
        """What was read but reached nobody is the next to be read."""
        self._returned = data + self._returned

    async def arrival(self) -> None:
        """Until something has arrived, for whomever. Raises OSError if that can't be waited for."""
        import asyncio

        assert self._descriptor is not None
        loop = asyncio.get_running_loop()
        try:
            await woken_by(loop.add_reader, loop.remove_reader, self._descriptor)
        except PermissionError:
            return  # a plain file or the like: it can't be waited for, and never has to be


def _look_at(descriptor: int) -> Callable[[], bool]:
    """A way to ask whether reading from it would return at once."""
    import select

    if not hasattr(select, "poll"):
        return lambda: bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return lambda: bool(poll.poll(0))


def _readable(source: Any) -> Readable:
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if hasattr(source, "read"):
        readable: Readable = source
        return readable
    if callable(source):
        return _Pieces(iter(source, b""))
    if hasattr(source, "__iter__") and not isinstance(source, str):
        return _Pieces(iter(source))
    raise UsageError(f"an input is a binary stream, bytes, a function or pieces, not {source!r}")


class _Pieces:
    """Bytes that come in pieces of any size."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def read(self, most: int, /) -> bytes:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._left = bytes(piece)
        data, self._left = self._left[:most], self._left[most:]
        return data
