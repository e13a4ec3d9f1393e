"""The console server: prints what guests write, and reads what somebody types for them.

Law: output is never lost without an error, and input that was taken for a task which ended, or lost
its right to it, goes to the next one that asks. A task that prints waits for its reader, and nobody
else does.

Answers of the messages for streams of any length, where they aren't how many bytes:

    -2   no resources      what the task may print is used up
    -11  invalid argument  no such stream
    -17  too large         the file can't become longer
    -20  try again         the stream is full, and can't be waited for
    -33  no space          the disk is full
    -34  i/o error         the host said something else
    -38  broken pipe       nobody reads it any more, or the host has closed it

`console_write` and `console_read`, which are older, say -10 unexpected for the last four.
"""

from __future__ import annotations

import errno
import sys

from wasmos.abi import ConsoleReady, ErrorCode
from wasmos.errors import ServiceError
from wasmos.kernel import Caller, Lent, Service
from wasmos.servers.console.arrivals import Arrivals
from wasmos.servers.console.sink import Sink, descriptor_of, is_terminal
from wasmos.servers.console.visible import Visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from typing import Any

    from wasmos.servers.console.arrivals import Input
    from wasmos.servers.console.sink import Output, Write

OUTPUT, ERRORS = 1, 2
MAX_READ_BYTES = 1024  # what fits an answer to console_read
TAKE_BYTES = 64 << 10  # at most for one console_take
PUT_BYTES = 1 << 20  # at most of one console_put: a file takes all that it is given, at once
# Lent memory up to this size is copied: a view of it costs more to make.
COPY_BYTES = 1024
VISIBLE_BYTES = 4096  # made visible at once, and so at most six times as many unsent

CODES = {
    errno.EPIPE: ErrorCode.BROKEN_PIPE,
    errno.ECONNRESET: ErrorCode.BROKEN_PIPE,
    errno.ENOSPC: ErrorCode.NO_SPACE,
    errno.EDQUOT: ErrorCode.NO_SPACE,
    errno.EFBIG: ErrorCode.TOO_LARGE,
}


class Console(Service):
    """Serves standard streams.

    output: where guests' bytes go: a binary stream, anything with `write`, or a function
        of the bytes; by default this process's output.
    input: where they come from: a binary stream, bytes, a function that returns the next
        bytes and none at the end, or an iterable of bytes; without one, reading meets the
        end at once.
    errors: where bytes for the errors go; by default this process's errors if `output` is its
        output, and where `output` goes otherwise.
    terminal: whether control characters are to be shown instead of sent; by default if the
        stream is a terminal.
    output_limit: how many bytes each task may write; then it gets "no resources". When those are
        written and there are more, `on_cut` is called once with its number, and may end it.

    Bytes are out when the call returns. What the host has printed to this process's streams, or
    to a buffered stream that it gives, comes before a guest's: it is flushed before the first
    of them, and before the first after the end of any task. A host that prints at other times
    flushes its streams itself.
    """

    name = "console"

    def __init__(
        self,
        output: Output | None = None,
        input: Input | None = None,  # noqa: A002 - what it is
        *,
        errors: Output | None = None,
        terminal: bool | None = None,
        output_limit: int | None = None,
        on_cut: Callable[[int], object] = lambda _: None,
    ) -> None:
        output = sys.stdout.buffer if output is None else output
        errors = _errors_beside(output) if errors is None else errors
        self._input = None if input is None else Arrivals(input)
        self._limit = output_limit
        self._on_cut = on_cut
        sink = Sink(output, terminal)
        self._sinks = {
            OUTPUT: sink,
            ERRORS: sink if _is_same(output, errors) else Sink(errors, terminal),
        }
        self._terminals = is_terminal(input) | sum(
            each.is_terminal << number for number, each in self._sinks.items()
        )
        # Streams to which bytes go as they are, with nothing before them: how to write to each.
        self._straight: dict[int, Write] = {}
        # By task, until it ends.
        self._written: dict[int, int] = {}
        self._cut: dict[int, bool] = {}  # whose output isn't all there, and whether that was said
        self._visible: dict[tuple[int, int], Visible] = {}  # and stream
        self._undelivered: dict[int, bytes] = {}
        self._pollers: dict[int, Caller] = {}
        self._watch: asyncio.Task[None] | None = None

    # --- output ---

    def console_put(
        self, caller: Caller, stream: int, data: Lent
    ) -> int | Coroutine[Any, Any, int]:
        write = self._straight.get(stream)
        if write is not None:
            try:
                taken = write(data.read() if len(data) <= COPY_BYTES else _part(data, PUT_BYTES))
            except (OSError, ValueError) as error:
                raise _failure(error) from None
            if taken is not None:
                return taken
        return self._put(caller.id, stream, data)

    def _put(self, task: int, stream: int, data: Lent | _Held) -> int | Coroutine[Any, Any, int]:
        sink = self._sinks.get(stream)
        if sink is None:
            raise ServiceError(ErrorCode.INVALID_ARG, f"stream {stream}")
        most = self._within_limit(task, min(len(data), PUT_BYTES))
        if most == 0:
            return 0
        if sink.waiting:
            return self._put_later(task, stream, data, most)
        taken = self._put_now(task, stream, data, most)
        if taken is None or sink.unsent:
            return self._put_later(task, stream, data, most, taken)
        if sink.is_raw and not sink.terminal and self._limit is None:
            self._straight[stream] = sink.write
        return taken

    def _put_now(self, task: int, stream: int, data: Lent | _Held, most: int) -> int | None:
        """How many bytes were taken; None if none could be, because the stream is full."""
        sink = self._sinks[stream]
        try:
            if not sink.send():
                return None
            if sink.terminal:
                taken: int | None = self._put_visibly(task, stream, data, most)
            else:
                taken = sink.write(_part(data, most))
        except (OSError, ValueError) as error:
            raise _failure(error) from None
        if taken is not None:
            self._count(task, taken)
        return taken

    def _put_visibly(self, task: int, stream: int, data: Lent | _Held, most: int) -> int:
        """How many bytes were taken; the last of them may be unsent."""
        sink = self._sinks[stream]
        visible = self._visible_of(task, stream)
        taken = 0
        while taken < most and sink.send():
            piece = data.read(min(VISIBLE_BYTES, most - taken), taken)
            sink.unsent = visible.text(piece)
            taken += len(piece)
        sink.send()
        return taken

    async def _put_later(
        self, task: int, stream: int, data: Lent | _Held, most: int, taken: int | None = None
    ) -> int:
        """Wait until the stream takes something. Nobody goes straight to it meanwhile."""
        sink = self._sinks[stream]
        sink.waiting += 1
        self._straight.clear()
        try:
            async with sink.turn():
                while taken is None and (taken := self._put_now(task, stream, data, most)) is None:
                    await sink.room()
                await self._send_all(sink)
        finally:
            sink.waiting -= 1
        return taken

    async def _send_all(self, sink: Sink) -> None:
        try:
            while not sink.send():
                await sink.room()
        except ServiceError:
            # It can't be waited for. The caller was taken at its word all the same, and told to try
            # again it would say it twice: the rest goes before what is next.
            return
        except (OSError, ValueError) as error:
            raise _failure(error) from None

    def console_write(self, caller: Caller, data: bytes) -> int | Coroutine[Any, Any, int]:
        sink = self._sinks[OUTPUT]
        data = data[: self._within_limit(caller.id, len(data))]
        if not data:
            return 0
        taken = None
        try:
            if not sink.waiting:
                taken = self._put_now(caller.id, OUTPUT, _Held(data), len(data))
        except ServiceError as error:
            raise _as_older(error) from None
        if taken == len(data) and not sink.unsent:
            return taken
        return self._write_all(caller.id, data, taken)

    async def _write_all(self, task: int, data: bytes, taken: int | None) -> int:
        """Wait until everything is written: who uses the older message rarely looks at how much
        was."""
        written = 0
        try:
            while more := await self._put_later(
                task, OUTPUT, _Held(data[written:]), len(data) - written, taken
            ):
                written += more
                if written == len(data):
                    break
                taken = None
        except ServiceError as error:
            raise _as_older(error) from None
        return written

    def _within_limit(self, task: int, size: int) -> int:
        """How many of so many bytes a task may still write. Raises ServiceError (-2)."""
        if self._limit is None:
            return size
        written = self._written.get(task, 0)
        if written + size > self._limit:
            self._cut.setdefault(task, False)
        if size and written >= self._limit:
            self._say_cut(task)
            raise ServiceError(ErrorCode.NO_RESOURCES)
        return min(size, self._limit - written)

    def _count(self, task: int, taken: int) -> None:
        if self._limit is not None:
            written = self._written[task] = self._written.get(task, 0) + taken
            if written >= self._limit and task in self._cut:
                self._say_cut(task)

    def _say_cut(self, task: int) -> None:
        """What it may write is written by now. It may be ended, and its memory with it."""
        if not self._cut[task]:
            self._cut[task] = True
            self._on_cut(task)

    def _visible_of(self, task: int, stream: int) -> Visible:
        found = self._visible.get((task, stream))
        if found is None:
            found = self._visible[task, stream] = Visible()
        return found

    def console_terminals(self, caller: Caller) -> int:  # noqa: ARG002
        return self._terminals

    # --- input ---

    def console_take(self, caller: Caller, into: Lent) -> int | Coroutine[Any, Any, int]:
        if self._input is None or not len(into):
            return 0
        if self._input.is_ready:
            try:
                return into.write(self._input.take(min(len(into), TAKE_BYTES)))
            except BlockingIOError:
                pass  # somebody outside was faster
            except OSError as error:
                raise _failure(error) from None
        return self._take_later(caller, into)

    async def _take_later(self, caller: Caller, into: Lent) -> int:
        assert self._input is not None
        try:
            data = await self._input.read(min(len(into), TAKE_BYTES))
        except OSError as error:
            raise _failure(error) from None
        self._remember(caller.id, data)
        return into.write(data)

    async def console_read(self, caller: Caller, len: int) -> bytes:  # noqa: A002
        if len == 0:
            return b""
        if self._input is None:
            raise ServiceError(ErrorCode.EOF)
        try:
            data = await self._input.read(min(len, MAX_READ_BYTES))
        except OSError as error:
            raise ServiceError(ErrorCode.UNEXPECTED, str(error)) from None
        if not data:
            raise ServiceError(ErrorCode.EOF)
        self._remember(caller.id, data)
        return data

    def _remember(self, task: int, data: bytes) -> None:
        """Until the kernel has taken the answer, the task can still end without it, or lose its
        right. The kernel hears of the answer just before the callback here does."""
        import asyncio

        answer = asyncio.current_task()
        assert answer is not None
        self._undelivered[task] = data
        answer.add_done_callback(lambda _: self._undelivered.pop(task, None))

    # --- waiting for input ---

    def console_poll(self, caller: Caller) -> int:
        if self._input is None or self._input.is_ready:
            return 1
        self._pollers[caller.id] = caller
        if self._watch is None:
            self._watch = self.kernel.start(self._watch_input(self._input))
        return 0

    async def _watch_input(self, source: Arrivals) -> None:
        try:  # noqa: SIM105 - contextlib takes longer to import than all of this
            await source.arrival()
        except OSError:
            pass  # reading says what is wrong
        self._watch = None
        pollers, self._pollers = self._pollers, {}
        for caller in pollers.values():
            self._say_ready(caller)

    def _say_ready(self, caller: Caller) -> None:
        if not caller.notify(self, ConsoleReady()):
            self.kernel.when_room(lambda: self._say_ready(caller))

    def _forget_poller(self, task: int) -> None:
        """A watch for nobody would keep the kernel waiting. Who asks next gets another one: this
        one may not even have begun, and then nothing in it runs any more."""
        self._pollers.pop(task, None)
        if not self._pollers and self._watch is not None:
            self._watch.cancel()
            self._watch = None

    # --- lives ---

    def revoked(self, grant: int) -> None:
        for task, caller in list(self._pollers.items()):
            if caller.grant == grant:
                self._forget_poller(task)

    def holds(self, grant: int) -> bool:
        return any(caller.grant == grant for caller in self._pollers.values())

    def task_ended(self, task: int) -> None:
        self._straight.clear()
        for stream, sink in self._sinks.items():
            sink.refresh()
            self._visible.pop((task, stream), None)
        self._written.pop(task, None)
        self._cut.pop(task, None)
        self._forget_poller(task)
        self.unheard(task)

    def unheard(self, task: int) -> None:
        data = self._undelivered.pop(task, None)
        if data is not None and self._input is not None:
            self._input.give_back(data)

    def stopped(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        for sink in self._sinks.values():
            try:  # noqa: SIM105 - contextlib takes longer to import than all of this
                sink.send()
            except (OSError, ValueError):
                pass  # nobody is left to be told
            sink.close()


class _Held:
    """The bytes of a message, to be had like lent ones."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def read(self, size: int, offset: int) -> bytes:
        return self._data[offset : offset + size]

    def view(self) -> memoryview:
        return memoryview(self._data)


def _errors_beside(output: Output) -> Output:
    """Where errors go if it wasn't said."""
    if output is not getattr(sys.stdout, "buffer", None):
        return output
    return getattr(sys.stderr, "buffer", output)


def _part(data: Lent | _Held, most: int) -> memoryview:
    """The beginning of lent memory, without a copy."""
    return data.view() if len(data) <= most else data.view()[:most]


def _is_same(one: Output, other: Output) -> bool:
    """One stream that is waited for in two places would be waited for in one only."""
    descriptor = descriptor_of(one)
    return one is other or (descriptor is not None and descriptor == descriptor_of(other))


def _as_older(error: ServiceError) -> ServiceError:
    """What those who use the older messages know."""
    if error.code in (ErrorCode.NO_RESOURCES, ErrorCode.TRY_AGAIN):
        return error
    return ServiceError(ErrorCode.UNEXPECTED, str(error))


def _failure(error: OSError | ValueError) -> ServiceError:
    """What a stream says, as an answer. A ValueError is what a closed one raises."""
    if isinstance(error, ValueError):
        return ServiceError(ErrorCode.BROKEN_PIPE, str(error))
    code = CODES.get(error.errno or 0, ErrorCode.IO_ERROR)
    return ServiceError(code, error.strerror or str(error))
