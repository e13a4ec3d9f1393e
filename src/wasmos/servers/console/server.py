"""The console server: prints what guests write, and reads what somebody types for them.

Law: output is never lost without an error, and input that was taken for a task which ended goes
to the next one that asks.
"""

from __future__ import annotations

import sys

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.kernel import Caller, Service
from wasmos.servers.console.arrivals import Arrivals
from wasmos.servers.console.visible import Visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

MAX_READ_BYTES = 1024  # what fits an answer


class Console(Service):
    """Serves two streams of bytes.

    output: where guests' bytes go, flushed each time; by default this process's output.
    input: where they come from; without one, reading meets the end at once.
    terminal: whether control characters are to be shown instead of sent; by default if `output`
        is a terminal.
    output_limit: how many bytes each task may write; then it gets "no resources", and `on_cut` is
        called once with its number.
    """

    name = "console"

    def __init__(
        self,
        output: BinaryIO | None = None,
        input: BinaryIO | None = None,  # noqa: A002 - what it is
        *,
        terminal: bool | None = None,
        output_limit: int | None = None,
        on_cut: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._output = sys.stdout.buffer if output is None else output
        self._input = None if input is None else Arrivals(input)
        self._terminal = self._output.isatty() if terminal is None else terminal
        self._limit = output_limit
        self._on_cut = on_cut
        self._unsent = b""
        # By task, until it ends.
        self._written: dict[int, int] = {}
        self._cut: set[int] = set()  # whose output isn't all there
        self._visible: dict[int, Visible] = {}
        self._undelivered: dict[int, bytes] = {}

    # --- output ---

    def console_write(self, caller: Caller, data: bytes) -> int:
        if self._unsent and not self._send():
            raise ServiceError(ErrorCode.TRY_AGAIN)
        data = self._within_limit(caller.id, data)
        if self._terminal:
            self._unsent = self._visible.setdefault(caller.id, Visible()).text(data)
        else:
            self._unsent = data
        self._send()
        return len(data)

    def _within_limit(self, task: int, data: bytes) -> bytes:
        if self._limit is None:
            return data
        written = self._written.get(task, 0)
        if written + len(data) > self._limit and task not in self._cut:
            self._cut.add(task)
            self._on_cut(task)
        if data and written >= self._limit:
            raise ServiceError(ErrorCode.NO_RESOURCES)
        data = data[: self._limit - written]
        self._written[task] = written + len(data)
        return data

    def _send(self) -> bool:
        """Hand `_unsent` to the stream. False if some is left, because a stream that doesn't
        block is full; a stream that is broken or closed is an error."""
        try:
            while self._unsent:
                taken = self._output.write(self._unsent)
                if taken is None:  # how raw streams say that they would block
                    return False
                self._unsent = self._unsent[taken:]
            self._output.flush()
        except BlockingIOError as error:
            self._unsent = self._unsent[error.characters_written :]
            return not self._unsent
        except (OSError, ValueError) as error:
            self._unsent = b""
            raise ServiceError(ErrorCode.UNEXPECTED, str(error)) from None
        return True

    # --- input ---

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
        """Until the kernel has taken the answer, the task can still end without it. The kernel
        hears of the answer just before the callback here does."""
        import asyncio

        answer = asyncio.current_task()
        assert answer is not None
        self._undelivered[task] = data
        answer.add_done_callback(lambda _: self._undelivered.pop(task, None))

    # --- lives ---

    def task_ended(self, task: int) -> None:
        self._written.pop(task, None)
        self._cut.discard(task)
        self._visible.pop(task, None)
        data = self._undelivered.pop(task, None)
        if data is not None and self._input is not None:
            self._input.give_back(data)

    def stopped(self) -> None:
        try:  # noqa: SIM105 - contextlib takes longer to import than all of this
            self._send()
        except ServiceError:
            pass  # nobody is left to be told
