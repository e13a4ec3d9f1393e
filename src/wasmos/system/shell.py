"""The shell: a line, a command, an answer.

Law: the shell is a client like any other: what it does to files, sockets and
services it does by messages, as a task with capabilities. Only what is the
operator's own (ps, kill, services, start, shutdown) asks the kernel. A command
that fails says why and the shell goes on.
"""

from __future__ import annotations

import shlex

from wasmos.errors import WasmosError
from wasmos.system.commands import COMMANDS, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, TextIO

    from wasmos.abi import Message
    from wasmos.kernel import Task
    from wasmos.system.boot import System

MAX_LINE = 4096


class Shell:
    """A shell on a system.

    read_line: the next line without its end, or None at the end of input.
    output: where answers go; `errors`: where complaints go.
    """

    def __init__(
        self,
        system: System,
        read_line: Callable[[], Awaitable[str | None]],
        output: TextIO,
        errors: TextIO,
    ) -> None:
        self.system = system
        self.kernel = system.kernel
        self.client = self.kernel.client("shell")
        self.foreground: Task | None = None
        self.done = False
        self._read_line = read_line
        self._output = output
        self._errors = errors

    async def run(self) -> None:
        """Serve lines until `shutdown` or the end of input."""
        while not self.done:
            line = await self._read_line()
            if line is None:
                return
            await self.execute(line)

    async def execute(self, line: str) -> None:
        """Do what one line says."""
        try:
            words = shlex.split(line[:MAX_LINE], comments=True)
        except ValueError as error:
            self.complain(f"{error}: close the quotation")
            return
        if not words:
            return
        name, *arguments = words
        command = COMMANDS.get(name)
        if command is None:
            self.complain(f"unknown command {name!r}; help lists them")
            return
        try:
            await command.run(self, arguments)
        except Usage:
            self.complain(f"usage: {command.usage}")
        except (WasmosError, LookupError, OSError, TimeoutError, ValueError) as error:
            self.complain(f"{name}: {error}")

    async def call(self, service: str, message: Message, timeout: float = 30.0) -> Any:
        """Call a service as the shell's task. It gets a new one if the old
        one's call was given up."""
        if self.client.exit is not None:
            self.client = self.kernel.client("shell")
        return await self.system.aio.call(service, message, client=self.client, timeout=timeout)

    def say(self, text: str) -> None:
        self._output.write(text + "\n")
        self._output.flush()

    def complain(self, text: str) -> None:
        self._errors.write(text + "\n")
        self._errors.flush()

    def interrupt(self) -> bool:
        """Ctrl-C: end the program in the foreground. False if there is none."""
        if self.foreground is None:
            return False
        self.kernel.kill(self.foreground, "interrupted")
        return True

    async def follow(self, task: Task) -> None:
        """Wait for a program in the foreground, and say how it ended."""
        self.foreground = task
        try:
            exit = await self.system.aio.wait(task)
        finally:
            self.foreground = None
        if exit.code:
            self.complain(f"{exit.name}: exit code {exit.code}")
