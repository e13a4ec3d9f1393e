"""One stream that guests' bytes go to.

Law: bytes go on in the order in which they were taken, none twice, and at most one short piece is
held here. Where there is a raw stream, it is written to directly, past the buffer before it. A
reader that doesn't read must not keep everybody, and every limit on time, waiting: nothing here
waits for a pipe, a socket or a terminal. They stay as they are, for others have them, too.

Why past the buffer: a guest's bytes have to be out when its call returns, so the buffer would be
flushed each time, which costs as much as a small write does. What the host itself has printed goes
first all the same: its buffers are flushed before the first write, and again before the first one
after `refresh`. Between these, a host that prints to the same stream flushes it.
"""

from __future__ import annotations

import errno
import io
import os
import sys

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any, BinaryIO, TypeAlias

    # A binary stream, or anything with `write`, or a function of the bytes.
    Output: TypeAlias = BinaryIO | Callable[[bytes], object] | Any
    Write: TypeAlias = Callable[[Any], int | None]


# What older systems say to a flag that they don't know, or not for pipes.
_UNKNOWN = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ESPIPE)

_OWN = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Sink:
    """A stream, and what it hasn't taken yet.

    write: hand it bytes: how many it took, None if it is full.
    close: let go of what was opened to write; what the host gave stays open.
    is_raw: whether `write` takes a view of memory, which it doesn't keep.
    is_terminal: whether guests are to be told that it is one.
    terminal: whether control characters are to be shown instead of sent.
    unsent: what was taken from guests and not yet by the stream.
    waiting: how many calls wait for it.
    """

    def __init__(self, output: Output, terminal: bool | None = None) -> None:
        self.output = output
        self.is_terminal = is_terminal(output) or bool(terminal)
        self.terminal = self.is_terminal if terminal is None else terminal
        self.unsent = b""
        self.waiting = 0
        self.write, self.is_raw, self.close = _writer(output)
        self._is_fresh = False
        self._turn: asyncio.Lock | None = None

    def refresh(self) -> None:
        """The host may have printed: see that it comes before what is written next."""
        self._is_fresh = False

    def send(self) -> bool:
        """Hand on what is unsent. False if the stream is full. Raises OSError, or ValueError if
        it is closed; then nothing is unsent any more."""
        try:
            if not self._is_fresh:
                _flush_host(self.output)
                self._is_fresh = True
            while self.unsent:
                taken = self.write(self.unsent)
                if taken is None:
                    return False
                self.unsent = self.unsent[taken:]
        except BlockingIOError:  # the host's own buffers are full
            return False
        except (OSError, ValueError):
            self.unsent = b""
            raise
        return True

    def turn(self) -> asyncio.Lock:
        """Held by the one that waits for the stream; the others wait for their turn."""
        if self._turn is None:
            import asyncio

            self._turn = asyncio.Lock()
        return self._turn

    async def room(self) -> None:
        """Until a full stream may take something. Raises ServiceError (-20) if it can't be told
        when."""
        import asyncio

        loop = asyncio.get_running_loop()
        descriptor = descriptor_of(self.output)
        if descriptor is None:
            raise ServiceError(ErrorCode.TRY_AGAIN, "the stream is full")
        try:
            await woken_by(loop.add_writer, loop.remove_writer, descriptor)
        except (OSError, NotImplementedError):
            raise ServiceError(ErrorCode.TRY_AGAIN, "the stream is full") from None


def is_terminal(stream: object) -> bool:
    """Whether it says so."""
    isatty = getattr(stream, "isatty", None)
    return isatty is not None and bool(isatty())


def descriptor_of(stream: Any) -> int | None:
    """The host's number for a stream, if it has one."""
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return None


def wake(woken: asyncio.Future[None]) -> None:
    """End a wait, which may have been given up meanwhile."""
    if not woken.done():
        woken.set_result(None)


async def woken_by(
    add: Callable[..., object], remove: Callable[[int], object], descriptor: int
) -> None:
    """Wait as a loop's `add_reader` or `add_writer` tells. A loop knows of one who waits for a
    number, and others may wait for the same stream: another task, another kernel, a log, or the
    host. So the number is one of its own. Raises OSError if there is none, or it can't be waited
    for."""
    import asyncio

    woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    own = os.dup(descriptor)
    try:
        add(own, wake, woken)
        await woken
    finally:
        remove(own)
        os.close(own)


def has_room(descriptor: int, seconds: float = 0) -> bool:
    """Whether writing would do something at once, after so long at most."""
    import select

    poll = select.poll()  # not select(): that can't watch descriptors above 1,023
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))


def _flush_host(output: Any) -> None:
    for text in (sys.stdout, sys.stderr):
        if text is not None and getattr(text, "buffer", None) is output:
            text.flush()
    if isinstance(output, io.BufferedWriter):
        output.flush()


def _writer(output: Any) -> tuple[Write, bool, Callable[[], None]]:
    """See `Sink.write`, `Sink.is_raw` and `Sink.close`."""
    raw = output.raw if isinstance(output, io.BufferedWriter) else output
    if isinstance(raw, io.TextIOBase):
        raise UsageError(
            f"an output takes bytes, and {raw!r} takes text; most such have a `buffer`"
        )
    if isinstance(raw, io.FileIO):
        if raw.isatty():
            terminal = _Terminal(raw)
            return terminal.write, True, terminal.close
        return (_Patient(raw).write if _has_readers(raw) else raw.write), True, _nothing
    if isinstance(raw, io.BytesIO):
        return raw.write, True, _nothing
    write = getattr(raw, "write", raw)
    if not callable(write):
        raise UsageError(f"an output is a binary stream or a function, not {output!r}")
    if isinstance(raw, io.RawIOBase):
        # They say None for full. Their code is Python: it gets bytes that it may keep.
        return lambda data: write(bytes(data)), False, _nothing
    return _Flushed(write, getattr(output, "flush", None)).write, False, _nothing


def _nothing() -> None:
    return


class _Terminal:
    """A terminal, opened once more by its name: whether that blocks is nobody else's business.
    One that has no name here is written to as it is, and may block."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self._found: os.stat_result | None = None
        self._again: io.FileIO | None = None

    def write(self, data: Any) -> int | None:
        descriptor = self._raw.fileno()  # a ValueError if it is closed
        found = os.fstat(descriptor)
        if self._found is None or not os.path.samestat(found, self._found):
            self._open_again(descriptor, found)  # a descriptor can be led elsewhere meanwhile
        return (self._again or self._raw).write(data)

    def _open_again(self, descriptor: int, found: os.stat_result) -> None:
        self.close()
        try:
            self._again = _opened_again(descriptor, found)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                return  # it has a name: with the next write
        self._found = found

    def close(self) -> None:
        if self._again is not None:
            self._again.close()
        self._found = self._again = None


def _opened_again(descriptor: int, found: os.stat_result) -> io.FileIO | None:
    """None if its name is another's here. Raises OSError."""
    again = os.open(os.ttyname(descriptor), _OWN)
    if not os.path.samestat(os.fstat(again), found):
        os.close(again)
        return None
    return io.FileIO(again, "wb")


def _has_readers(raw: io.FileIO) -> bool:
    """Whether it is a pipe or a socket."""
    import stat

    mode = os.fstat(raw.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


class _Patient:
    """A pipe or a socket that may block: it is given only what it has room for."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self._flag: int = getattr(os, "RWF_NOWAIT", 0)

    def write(self, data: Any) -> int | None:
        descriptor = self._raw.fileno()  # a ValueError if it is closed
        if self._flag:
            try:
                return os.pwritev(descriptor, (data,), -1, self._flag)
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno not in _UNKNOWN:
                    raise
                self._flag = 0
        return self._write_if_ready(descriptor, data)

    def _write_if_ready(self, descriptor: int, data: Any) -> int | None:
        import select

        if not has_room(descriptor):
            return None
        # There is room for as much as that, if there is any.
        return self._raw.write(data[: select.PIPE_BUF])


class _Flushed:
    """Anything that takes bytes: a stream with a buffer of its own, or a function."""

    def __init__(self, write: Callable[[bytes], Any], flush: Callable[[], Any] | None) -> None:
        self._write = write
        self._flush = flush

    def write(self, data: object) -> int | None:
        raw = bytes(data)  # type: ignore[call-overload]
        try:
            taken = self._write(raw)
        except BlockingIOError as error:
            return error.characters_written or None
        if self._flush is not None:
            try:  # noqa: SIM105 - contextlib takes longer to import than all of this
                self._flush()
            except BlockingIOError:
                pass  # it keeps what it took, and takes no more
        # A function may return anything: that it took a part, only a part's size says.
        return taken if type(taken) is int and 0 <= taken <= len(raw) else len(raw)
