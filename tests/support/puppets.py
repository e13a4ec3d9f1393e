"""Puppets: guests that do what a test tells them, one call after another.

They run guests/hostile/puppet.c and take their commands from the Python service `director`; the
protocol is in guests/hostile/puppet.h. `Stage` is a kernel with a director: `tell` a puppet what
to do, `settle`, and read in `reports` what came of it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from unittest import mock

import wasmos
from wasmos import abi

LOOKUP, CALL, RECV, REPLY, EXIT, TRAP = 1, 2, 3, 4, 6, 7
PUPPET = Path(__file__).parents[2] / "build" / "guests" / "hostile" / "puppet.wasm"

Scratch = tuple[int, int, int]  # type, src and value of the message in a puppet's memory
Report = tuple[int, Scratch]  # what a call returned, and the message after it
Command = tuple[int, int, int, int, str]  # op, target, type, value, name


def _numbers(*names: str) -> tuple[abi.Field, ...]:
    return tuple(abi.Field(name, abi.INT32, 8 + 4 * n, 4) for n, name in enumerate(names))


class Next(abi.Message):
    TYPE, NAME, SIZE = 2000, "puppet_next", 28
    FIELDS = _numbers("code", "type", "src", "value", "step")


class Do(abi.Message):
    TYPE, NAME, SIZE = 2001, "puppet_do", 88
    FIELDS = (*_numbers("op", "target", "type", "value"), abi.Field("name", abi.CSTR, 24, 64))


# As if an IDL had defined them, where the service is made.
_DEFINED = mock.patch.dict(abi.RPCS, {"puppet_next": abi.Rpc("puppet_next", Next, Do)})

with _DEFINED:

    class Director(wasmos.Service):
        """Answers a puppet when there is a command for it."""

        name = "director"

        def __init__(self) -> None:
            self.reports: dict[int, list[Report]] = {}
            self.idle: dict[int, asyncio.Future[Command]] = {}

        async def puppet_next(
            self, caller: wasmos.Caller, code: int, type: int, src: int, value: int, step: int
        ) -> Command:
            reports = self.reports.setdefault(caller.id, [])
            if step:
                reports.append((code, (type, src, value)))
            assert len(reports) == step, "a puppet's report was lost, or came twice"
            self.idle[caller.id] = asyncio.get_running_loop().create_future()
            return await self.idle[caller.id]


class Stage:
    """A kernel with a director, and the puppets on it."""

    def __init__(self, seed: int = 0) -> None:
        assert PUPPET.exists(), f"{PUPPET} isn't built: run `make test`, which compiles the guests"
        self.kernel = wasmos.Kernel(virtual_clock=True, seed=seed)
        self.kernel.define_messages([Next, Do], [])
        self.director = Director()
        with _DEFINED:
            self.kernel.serve(self.director)
        self.program = self.kernel.load(PUPPET, trusted=True)

    def spawn(self, name: str) -> wasmos.Task:
        """A puppet that is the service `name`, and waits for its first command."""
        task = self.kernel.spawn(self.program, name=name, service=name, allow=["director"])
        self.settle()
        return task

    def tell(
        self, id: int, op: int, target: int = 0, type: int = 0, value: int = 0, name: str = ""
    ) -> None:
        self.director.idle.pop(id).set_result((op, target, type, value, name))
        self.settle()

    def reports(self, id: int) -> list[Report]:
        return self.director.reports.get(id, [])

    def settle(self) -> None:
        """Until nothing happens any more: then the virtual clock runs to the timeout at once."""
        for _ in range(4):
            self.kernel.run(timeout=0.001)
