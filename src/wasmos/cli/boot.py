"""`wasmos boot`: a system and its shell, on a terminal or without one."""

from __future__ import annotations

import asyncio
import signal
import sys
import time

from wasmos.cli import EXIT_INTERRUPTED, say
from wasmos.cli.progress import progress
from wasmos.system.boot import System
from wasmos.system.control.later import is_off, start
from wasmos.system.manifest.manifest import load
from wasmos.system.shell.shell import Shell

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable
    from typing import BinaryIO, TypeAlias

    from wasmos.cli.terminal import Terminal
    from wasmos.kernel import Task
    from wasmos.system.control.server import Control

    Log: TypeAlias = Callable[[str], None]
    ReadLine: TypeAlias = Callable[[], Awaitable[str | None]]


def main(options: argparse.Namespace) -> int:
    return asyncio.run(_main(options))


async def _main(options: argparse.Namespace) -> int:
    begun = time.monotonic()

    def stamped(log: Log) -> Log:
        def stamp(line: str) -> None:
            if not options.quiet:
                log(f"[{time.monotonic() - begun:8.3f}] {line}")

        return stamp

    if not options.no_shell and sys.stdin.isatty() and sys.stdout.isatty():
        from wasmos.cli.terminal import Terminal

        with Terminal() as tty:
            session = _Session(options, stamped(say), tty.output, sys.stdin.buffer)
            tty.complete = session.complete
            if options.prompt and sys.stderr.isatty():
                session.ask_on(tty)
            return await session.serve(tty.read_line)
    from wasmos.cli.lines import Lines
    from wasmos.cli.pipe import Pipe

    read_line = None if options.no_shell else Pipe(sys.stdin).read_line
    lines = Lines(sys.stderr.buffer)
    try:
        return await _Session(options, stamped(lines.put), sys.stdout.buffer).serve(read_line)
    finally:
        lines.close()


class _Session:
    """From boot to shutdown. With `input` it is one on a terminal."""

    def __init__(
        self,
        options: argparse.Namespace,
        log: Log,
        output: BinaryIO,
        input: BinaryIO | None = None,  # noqa: A002 - as in subprocess
    ) -> None:
        self.system = System(
            load(options.manifest, options.policy),
            output=output,
            input=input,
            log=log,
            audit=options.audit,
            audit_calls=options.audit_calls,
            cache=not options.no_cache,
            progress=progress(options.quiet, lambda: self._shell is None),
        )
        self._options = options
        self._log = log
        self._terminal = input is not None
        self._may_control = not (options.no_control or is_off())
        self._control: Control | None = None
        self._shell: Shell | None = None
        self._asking: asyncio.Task[None] | None = None
        self._status: int | None = None
        self._serving: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._broken: Exception | None = None

    def ask_on(self, tty: Terminal) -> None:
        """Ask on this terminal before a program is denied something."""
        from wasmos.cli.prompt import prompt_in_shell

        def begin(task: Task) -> None:
            if self._asking is None:
                prompter = prompt_in_shell(self.system, tty, self._options.policy, self._interrupt)
                self._asking = asyncio.ensure_future(prompter.serve())
                self.system.on_task = lambda task: task.kernel.ask(task, prompter)
                self.system.on_task(task)

        self.system.on_task = begin  # there is no kernel yet

    async def complete(self, line: str) -> tuple[int, list[str]]:
        """What Tab puts at the end of a line."""
        from wasmos.system.shell.complete import words

        assert self._shell is not None  # it asks for lines
        return await words(self._shell, line)

    async def serve(self, read_line: ReadLine | None) -> int:
        """Boot, let the shell run, shut down. Signals end it in good order, also one that comes
        while it goes down: who closes a terminal may send two. Only Ctrl-C, pressed then, is from a
        person who doesn't want to wait."""
        loop = asyncio.get_running_loop()
        self._serving = loop.create_task(self._serve(read_line))
        signals = {
            signal.SIGTERM: lambda: self._end(0),
            signal.SIGHUP: lambda: self._end(0),
            signal.SIGINT: self._interrupt,
        }
        for number, action in signals.items():
            loop.add_signal_handler(number, action)
        try:
            await self._serving
            if self._broken is not None:
                raise self._broken
        except asyncio.CancelledError:
            if self._broken is not None:
                raise self._broken from None
            if self._status is None:
                raise
        finally:
            loop.remove_signal_handler(signal.SIGINT)  # the others go with the loop
            if self._control is not None:
                self._control.close()
            if self._asking is not None:
                self._asking.cancel()
            if self.system.is_up:
                self._log("shutting down")
                await self.system.shutdown()
        return self._status or 0

    async def _watch(self) -> None:
        """A live shell on a dead kernel would be the worst of both."""
        try:
            await self.system.aio.running()
        except Exception as error:
            self._broken = error
            if self._serving is not None:
                self._serving.cancel()

    async def _serve(self, read_line: ReadLine | None) -> None:
        await self.system.boot()
        if self._may_control:
            system = self.system
            self._control = start(system.kernel, system.manifest.name, self._log, system.offer)
        self._watching = asyncio.ensure_future(self._watch())
        if read_line is None:
            await asyncio.get_running_loop().create_future()  # until a signal
            return
        self._shell = Shell(self.system, read_line, sys.stdout, sys.stderr, terminal=self._terminal)
        await self._shell.run()

    def _interrupt(self) -> None:
        """Ctrl-C: on a terminal it is meant for what runs there, if anything."""
        if self._terminal and self._shell is not None:
            self._shell.interrupt()
        else:
            self._end(EXIT_INTERRUPTED)

    def _end(self, status: int) -> None:
        assert self._serving is not None
        if self._status is None:  # the first one says how it ends
            self._status = status
        self._serving.cancel()
