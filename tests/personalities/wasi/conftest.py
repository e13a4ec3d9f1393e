"""A machine for programs that speak WASI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest

import wasmos
from tests.personalities.wasi.calls import Calls, Result
from tests.personalities.wasi.fake_fs import FakeFs
from tests.personalities.wasi.fakes import FakeConsole, FakeTcpip
from wasmos.personalities import wasi
from wasmos.servers.args import Args
from wasmos.servers.clock import Clock
from wasmos.servers.env import Env
from wasmos.servers.random import Random

EVERYTHING = ("args", "clock", "console", "env", "fs", "random", "tcpip")


class Machine:
    """A kernel with all services; those of the outside are fakes."""

    def __init__(self, *, virtual_clock: bool = True) -> None:
        self.kernel = wasmos.Kernel(virtual_clock=virtual_clock, personalities=wasi.ALL)
        self.arguments: Sequence[str] = ()
        self.environment: Mapping[str, str] = {}
        self.console = FakeConsole()
        self.fs = FakeFs()
        self.tcpip = FakeTcpip()

    def serve(self) -> None:
        if not self.kernel.services:
            for service in (
                Args(lambda _: self.arguments),
                Clock(),
                self.console,
                Env(lambda _: self.environment),
                self.fs,
                Random(),
                self.tcpip,
            ):
                self.kernel.serve(service)

    def run(self, calls: Calls, allow: Sequence[str] = EVERYTHING) -> Result:
        """Needs the console: what is in the memory in the end comes over it."""
        ended = self.start(calls.source, allow)
        *_, memory = self.console.printed[2] or [b"\xff" * 65536]
        return Result(calls, ended, b"".join(self.console.printed[1]), memory)

    def start(self, source: str | bytes, allow: Sequence[str] = EVERYTHING) -> wasmos.Exit:
        self.serve()
        task = self.kernel.spawn(source, allow=allow, trusted=True)
        return self.kernel.wait(task)

    def denials(self, service: str) -> int:
        return sum(
            event.kind == "denial" and service in str(event) for event in self.kernel.events()
        )


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    with machine.kernel:
        yield machine
