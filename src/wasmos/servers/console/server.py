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
from wasmos.servers.console.outlet import Outlet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from wasmos.kernel import Lent

MAX_READ_BYTES = 1024  # what fits an answer
# What one call moves at most, so that no task keeps the others waiting.
MAX_PUT_BYTES = 1 << 20
MAX_TAKE_BYTES = 1 << 16

OUTPUT, ERRORS = 1, 2  # the numbers of streams


class Console(Service):
    """Serves streams of bytes.

    output: where guests' bytes go, flushed each time; by default this process's output.
    errors: where what they write as errors goes; by default where the output goes, and this
        process's errors if that is this process's output.
    input: where they come from; without one, reading meets the end at once.
    terminal: whether control characters are to be shown instead of sent; by default for each that
        is a terminal.
    output_limit: how many bytes each task may write; then it gets "no resources".
    """

    name = "console"

    def __init__(
        self,
        output: BinaryIO | None = None,
        input: BinaryIO | None = None,  # noqa: A002 - what it is
        *,
        errors: BinaryIO | None = None,
        terminal: bool | None = None,
        output_limit: int | None = None,
    ) -> None:
        self._output = Outlet(sys.stdout.buffer if output is None else output, terminal)
        if errors is not None:
            self._errors = Outlet(errors, terminal)
        else:
            self._errors = Outlet(sys.stderr.buffer, terminal) if output is None else self._output
        self._input = None if input is None else Arrivals(input)
        self._limit = output_limit
        # By task, until it ends.
        self._written: dict[int, int] = {}
        self._undelivered: dict[int, bytes] = {}

    # --- output ---

    def console_write(self, caller: Caller, data: bytes) -> int:
        return self._write(self._output, caller.id, data)

    def console_put(self, caller: Caller, stream: int, data: Lent) -> int:
        if stream not in (OUTPUT, ERRORS):
            raise ServiceError(ErrorCode.INVALID_ARG, "no such stream")
        outlet = self._output if stream == OUTPUT else self._errors
        return self._write(outlet, caller.id, data.read(MAX_PUT_BYTES))

    def _write(self, outlet: Outlet, task: int, data: bytes) -> int:
        if self._limit is None:
            outlet.write(task, data)
            return len(data)
        written = self._written.get(task, 0)
        if data and written >= self._limit:
            raise ServiceError(ErrorCode.NO_RESOURCES)
        data = data[: self._limit - written]
        outlet.write(task, data)
        self._written[task] = written + len(data)
        return len(data)

    # --- input ---

    async def console_read(self, caller: Caller, len: int) -> bytes:  # noqa: A002
        if len == 0:
            return b""
        data = await self._read(caller.id, min(len, MAX_READ_BYTES))
        if not data:
            raise ServiceError(ErrorCode.EOF)
        return data

    async def console_take(self, caller: Caller, into: Lent) -> int:
        if into.size == 0:
            return 0
        return into.write(await self._read(caller.id, min(into.size, MAX_TAKE_BYTES)))

    async def _read(self, task: int, most: int) -> bytes:
        """At least one byte, unless it is the end."""
        if self._input is None:
            return b""
        try:
            data = await self._input.read(most)
        except OSError as error:
            raise ServiceError(ErrorCode.UNEXPECTED, str(error)) from None
        if data:
            self._remember(task, data)
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
        self._output.task_ended(task)
        self._errors.task_ended(task)
        data = self._undelivered.pop(task, None)
        if data is not None and self._input is not None:
            self._input.give_back(data)

    def stopped(self) -> None:
        for outlet in (self._output, self._errors):
            try:  # noqa: SIM105 - contextlib takes longer to import than all of this
                outlet.send()
            except ServiceError:
                pass  # nobody is left to be told
