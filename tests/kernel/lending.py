"""Programs that lend their memory, and services that take what they are lent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import wasmos
from tests.support.wat import M, program
from wasmos import abi

NOT_FOUND, NOT_ALLOWED, UADDR, ABORTED = -7, -8, -15, -21
PAGE = 1 << 16

# The number in the answer, or the error that there was instead.
RESULT = f"""(func $result (param i32) (result i32)
  (if (local.get 0) (then (return (local.get 0))))
  (if (i32.lt_s (i32.load #{M}) #0) (then (return (i32.load #{M}))))
  (i32.load offset=8 #{M}))"""
TEXT = '(data (i32.const 100) "from the program")'


def lend(at: int, size: int, to: str = "taker") -> str:
    return f"""(i32.store #{M} #{abi.ConsolePut.TYPE}) (i32.store #{M + 8} #1)
      (i32.store #{M + 12} #{at}) (i32.store #{M + 16} #{size})
      (call $result (call $call @{to} #{M}))"""


def fill(at: int, size: int, to: str = "taker") -> str:
    return f"""(i32.store #{M} #{abi.ConsoleTake.TYPE})
      (i32.store #{M + 8} #{at}) (i32.store #{M + 12} #{size})
      (call $result (call $call @{to} #{M}))"""


def lender(body: str) -> str:
    return program(body, fields=RESULT + TEXT, pages="1 3")


def spawn(kernel: wasmos.Kernel, source: str, *allow: str, **options: Any) -> wasmos.Task:
    return kernel.spawn(source, allow=allow or ["taker"], trusted=True, **options)


def code(kernel: wasmos.Kernel, source: str, *allow: str) -> int | None:
    return kernel.wait(spawn(kernel, source, *allow)).code


def uses(lent: wasmos.Lent) -> list[Callable[[], object]]:
    return [lent.read, lent.view, lambda: memoryview(lent), lambda: lent.write(b"x")]


def assert_over(lent: wasmos.Lent) -> None:
    assert lent.over
    for use in uses(lent):
        with pytest.raises(BufferError, match="gone with its answer"):
            use()


class Taker(wasmos.Service):
    """Takes what it is lent, and keeps the Lent."""

    name = "taker"

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.lents: list[wasmos.Lent] = []

    def console_put(self, caller: wasmos.Caller, stream: int, data: wasmos.Lent) -> int:
        self.lents.append(data)
        self.got.append(data.read())
        return len(data)

    def console_take(self, caller: wasmos.Caller, into: wasmos.Lent) -> int:
        self.lents.append(into)
        return into.write(b"from the service")

    def ping(self, caller: wasmos.Caller, value: int) -> int:
        return value


class Slow(Taker):
    """Keeps the memory for as long as it isn't told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = False
        self.view: memoryview | None = None
        self.cancelled: list[wasmos.Lent] = []

    async def console_take(self, caller: wasmos.Caller, into: wasmos.Lent) -> int:
        self.lents.append(into)
        self.view = into.view()
        try:
            while not self.go_on:
                await self.kernel.sleep(0.001)
        except BaseException:
            assert_over(into)
            self.cancelled.append(into)
            raise
        return into.write(b"from the service")

    @property
    def lent(self) -> wasmos.Lent:
        return self.lents[-1]


def lending(kernel: wasmos.Kernel, slow: Slow) -> wasmos.Task:
    """A task that waits for `slow` to fill 16 of its bytes, and ends with what it was told."""
    task = spawn(kernel, lender(fill(100, 16)))
    kernel.run(lambda: slow.view is not None)
    assert task.account()["state"] == "awaiting reply"
    return task
