"""A system in this process that is booted, worked with, and shut down."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from pathlib import Path

from wasmos import Task
from wasmos.kernel.aio import AsyncKernel
from wasmos.system.boot import System
from wasmos.system.manifest.manifest import load
from wasmos.system.shell.shell import Shell


class Booted:
    def __init__(self, manifest: Path, *, virtual: bool = False, **options: object) -> None:
        self.output = io.BytesIO()
        self.log: list[str] = []
        self.said, self.complained = io.StringIO(), io.StringIO()
        self.system = System(
            load(str(manifest)), output=self.output, log=self.log.append, **options
        )  # type: ignore[arg-type]
        if virtual:  # time passes as fast as it can
            self.system.aio = AsyncKernel(virtual_clock=True)

    async def __aenter__(self) -> Booted:
        await self.system.boot()

        async def nothing() -> None:
            return None

        self.shell = Shell(self.system, nothing, self.said, self.complained)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.system.shutdown()

    async def logged(self, wanted: str) -> str:
        """Wait for a line of the log, and take it and those before it out."""
        turns = 0
        while not (found := [n for n, line in enumerate(self.log) if wanted in line]):
            await asyncio.sleep(0)
            turns += 1
            assert turns < 10_000, f"no {wanted!r} in {self.log}"
        line = self.log[found[0]]
        del self.log[: found[0] + 1]
        return line

    def task(self, name: str) -> Task:
        return next(task for task in self.system.kernel.tasks if task.name == name)

    async def do(self, *lines: str) -> str:
        """What the shell says to these lines; complaints come after a "!"."""
        for line in lines:
            await self.shell.execute(line)
        complaints = "".join(f"!{line}\n" for line in self.complained.getvalue().splitlines())
        text = self.said.getvalue() + complaints
        self.said.truncate(self.said.seek(0))
        self.complained.truncate(self.complained.seek(0))
        return text


def drive(manifest: Path, work: Callable[[Booted], Awaitable[None]], **options: object) -> Booted:
    """Boot, do something, shut down."""
    booted = Booted(manifest, **options)

    async def main() -> None:
        async with booted:
            await work(booted)

    asyncio.run(main())
    return booted


async def nothing(_: Booted) -> None:
    pass


def held(task: Task) -> list[tuple[str, str]]:
    return [(f"{'not ' * g.deny}{g.rule}", g.origin) for g in task.grants]
