"""What the tests of the console share: its messages as functions, and calls that have begun."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import pytest

import wasmos
from wasmos import abi


def write(client: wasmos.Client, data: bytes) -> int:
    written: int = client.call("console", abi.ConsoleWrite(data)).written_len
    return written


def read(client: wasmos.Client, length: int = 1024) -> bytes:
    data: bytes = client.call("console", abi.ConsoleRead(length)).data
    return data


def put(client: wasmos.Client, data: bytes, stream: int = 1) -> int:
    return int(client.call("console", abi.ConsolePut(stream, data)).len)


def take(client: wasmos.Client, size: int) -> bytes:
    room = bytearray(size)
    taken: int = client.call("console", abi.ConsoleTake(room)).len
    return bytes(room[:taken])


def poll(client: wasmos.Client) -> bool:
    return bool(client.call("console", abi.ConsolePoll()).is_ready)


def code(call: Any, *arguments: object) -> int:
    with pytest.raises(wasmos.ServiceError) as refused:
        call(*arguments)
    return refused.value.code


class Reading:
    """A read that has begun."""

    def __init__(self, kernel: wasmos.Kernel, length: int = 1024) -> None:
        self.kernel = kernel
        self.client = kernel.client()
        self.done = False
        self.client.begin("console", abi.ConsoleRead(length), self._over)
        # Let it get as far as it can.
        settle(kernel)

    def _over(self) -> None:
        self.done = True

    def finish(self) -> bytes:
        self.kernel.run(lambda: self.done)
        data: bytes = self.client.finish().data
        return data


class Taking(Reading):
    """A `console_take` that has begun."""

    def __init__(self, kernel: wasmos.Kernel, size: int = 1024) -> None:
        self.kernel = kernel
        self.client = kernel.client()
        self.done = False
        self.room = bytearray(size)
        self.client.begin("console", abi.ConsoleTake(self.room), self._over)
        settle(kernel)

    def finish(self) -> bytes:
        self.kernel.run(lambda: self.done)
        taken: int = self.client.finish().len
        return bytes(self.room[:taken])


class Printing:
    """A `console_put` that has begun, or a `console_write`."""

    def __init__(self, kernel: wasmos.Kernel, data: bytes, *, older: bool = False) -> None:
        self.kernel = kernel
        self.client = kernel.client()
        self.done = False
        message = abi.ConsoleWrite(data) if older else abi.ConsolePut(1, data)
        self.client.begin("console", message, self._over)
        settle(kernel)

    def _over(self) -> None:
        self.done = True

    def finish(self) -> int:
        self.kernel.run(lambda: self.done)
        answer = self.client.finish()
        return int(answer.written_len if isinstance(answer, abi.ConsoleWriteReply) else answer.len)


def settle(kernel: wasmos.Kernel) -> None:
    """Everything happens that can happen by now."""
    for _ in range(5):
        kernel.call("pong", abi.Ping(0))
        kernel.loop.run_until_complete(nothing())


async def nothing() -> None:
    return


def mail(kernel: wasmos.Kernel, client: wasmos.Client) -> list[str]:
    settle(kernel)
    found = []
    while (received := client.receive()) is not None:
        found.append(received[1].NAME)
    return found


def drain(source: BinaryIO) -> bytes:
    found = bytearray()
    try:
        while data := os.read(source.fileno(), 1 << 16):
            found += data
    except BlockingIOError:
        pass
    return bytes(found)
