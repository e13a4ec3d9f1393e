"""Messages of exactly the sizes that are measured, and the two sides of a call.

The kernel copies as many bytes as a message's definition says, header
included. None of WasmOS's own has 32, so these are added to the kernel.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import wasmos
from bench import guests
from bench.harness import Measure, WrongResultError, timed
from wasmos import abi
from wasmos.abi.message import UINT8_ARRAY, UINT32, Field

SERVICE = "svc"


class _Numbered(abi.Message):
    """A number, a mark that is always 0, and bytes up to the size."""

    __slots__ = ("filling", "mark", "value")

    def __init__(self, value: int, mark: int, filling: bytes) -> None:
        self.value = value
        self.mark = mark
        self.filling = filling


def _fields(size: int) -> tuple[Field, ...]:
    return (
        Field("value", UINT32, 8, 4),
        Field("mark", UINT32, 12, 4),
        Field("filling", UINT8_ARRAY, 16, size - 16),
    )


class Request32(_Numbered):
    TYPE: ClassVar[int] = 1000
    NAME: ClassVar[str] = "bench_32"
    SIZE: ClassVar[int] = 32
    FIELDS: ClassVar[tuple[Field, ...]] = _fields(32)


class Reply32(Request32):
    TYPE: ClassVar[int] = 1001
    NAME: ClassVar[str] = "bench_32_reply"


class Request1040(_Numbered):
    TYPE: ClassVar[int] = 1002
    NAME: ClassVar[str] = "bench_1040"
    SIZE: ClassVar[int] = 1040
    FIELDS: ClassVar[tuple[Field, ...]] = _fields(1040)


class Reply1040(Request1040):
    TYPE: ClassVar[int] = 1003
    NAME: ClassVar[str] = "bench_1040_reply"


INTERFACE = SimpleNamespace(
    MESSAGES={cls.TYPE: cls for cls in (Request32, Reply32, Request1040, Reply1040)},
    RPCS={
        request.NAME: abi.Rpc(request.NAME, request, reply)
        for request, reply in ((Request32, Reply32), (Request1040, Reply1040))
    },
    ONEWAYS={},
    EVENTS={},
    SERVICES={SERVICE: (Request32.NAME, Request1040.NAME)},
    KERNEL_ONLY=frozenset(),
)


def kernel(**options: Any) -> wasmos.Kernel:
    """A kernel that knows the messages above."""
    made = wasmos.Kernel(**options)
    made.define(INTERFACE)
    return made


class Caller:
    """A Wasm program that calls the service "svc" `count` times and checks
    every answer.

    `measure` runs it as a fresh task and returns the seconds of each call; the
    spawn is outside the time, the start of the program inside. `measure_own`
    is what the task was billed instead: for calls in place, where that is all,
    and what a task with many grants takes to end is no part of it.
    """

    def __init__(
        self, kernel: wasmos.Kernel, count: int, request: type[abi.Message] = Request32
    ) -> None:
        text = guests.text("call", count=count, type=request.TYPE, reply=request.TYPE + 1)
        self._kernel = kernel
        self._program = kernel.load(text)
        self._count = count

    def measure(self, allow: tuple[str, ...] = (SERVICE,)) -> float:
        task = self._kernel.spawn(self._program, allow=allow)
        seconds = timed(lambda: self._kernel.wait(task), self._count)
        self._check(task)
        return seconds

    def measure_own(self, allow: tuple[str, ...]) -> float:
        task = self._kernel.spawn(self._program, allow=allow)
        exit = self._kernel.wait(task)
        self._check(task)
        return exit.cpu_seconds / self._count

    def allowed(self, allow: tuple[str, ...]) -> Measure:
        return lambda: self.measure_own(allow)

    def _check(self, task: wasmos.Task) -> None:
        if task.exit is None or not task.exit.ok:
            raise WrongResultError(f"a client ended wrongly: {task.exit}")
