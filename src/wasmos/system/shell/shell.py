"""The shell: a line, a command, an answer.

Law: the shell is a client like any other: what it does to files, sockets and
services it does by messages, as a task with capabilities. Only what is the
operator's own (ps, kill, services, start, shutdown) asks the kernel. A command
that fails says why and the shell goes on.
"""

from __future__ import annotations

import asyncio
import shlex

from wasmos.errors import ServiceError, WasmosError
from wasmos.servers.console.visible import Visible, plain
from wasmos.system import units
from wasmos.system.shell.commands import COMMANDS, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, TextIO

    from wasmos.abi import Message
    from wasmos.kernel import Task
    from wasmos.system.boot import System

MAX_LINE = 4096
# What people type out of habit.
HABITS = {"exit": "shutdown", "quit": "shutdown", "rm": "delete", "rmdir": "delete", "run": "start",
          "touch": "write", "curl": "http", "wget": "http", "top": "ps"}  # fmt: skip


class Shell:
    """A shell on a system.

    read_line: the next line without its end, or None at the end of input.
    output: where answers go; `errors`: where complaints go.
    terminal: whether these obey control characters, which a file, a web page or
        a task's name may hold: they are shown then.
    """

    def __init__(
        self,
        system: System,
        read_line: Callable[[], Awaitable[str | None]],
        output: TextIO,
        errors: TextIO,
        *,
        terminal: bool = False,
    ) -> None:
        self.system = system
        self.kernel = system.kernel
        self.client = self.system.operator("shell")
        self.done = False
        self._command: asyncio.Task[None] | None = None
        self._is_interrupted = False
        self._terminal = terminal
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
        if len(line) > MAX_LINE:
            self.complain(f"a line has at most {MAX_LINE:,} characters")
            return
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            self.complain("a quotation is not closed, or a backslash ends the line")
            return
        if not words:
            return
        name, *arguments = words
        command = COMMANDS.get(name)
        if command is None:
            known = [*COMMANDS, HABITS.get(name, "help")]
            hint = units.nearest(HABITS.get(name, name), known)
            hint = hint if hint.startswith("did") else "help lists them"
            self.complain(f"unknown command {_short(name)!r}; {hint}")
            return
        self._command = asyncio.ensure_future(command.run(self, arguments))
        self._is_interrupted = False
        try:
            await self._command
        except Usage:
            self.complain(f"usage: {command.usage}")
        except ServiceError as error:  # most say what, and not of whom
            self.complain(f"{_short(' '.join(words))}: {error}")
        except TimeoutError as error:
            self.complain(f"{name}: {str(error) or 'no answer in time'}")
        except OSError as error:
            self.complain(f"{name}: {(error.strerror or str(error)).lower()}")
        except (WasmosError, LookupError, OverflowError, ValueError) as error:
            self.complain(f"{name}: {error}")
        except asyncio.CancelledError:
            if not self._is_interrupted:
                raise
            self.complain(f"{name}: interrupted")
        finally:
            self._command = None

    async def call(self, service: str, message: Message, timeout: float = 30.0) -> Any:
        """Call a service as the shell's task. It gets a new one if the old
        one's call was given up."""
        if self.client.exit is not None:
            self.client = self.system.operator("shell")
        return await self.system.aio.call(service, message, client=self.client, timeout=timeout)

    def say(self, text: str) -> None:
        """A line of the shell's own, perhaps with guests' names in it."""
        self._print(plain(text) if self._terminal else text)

    def show(self, text: str) -> None:
        """What stands in a file, or came over the network."""
        if self._terminal:
            text = Visible().text(text.encode("utf-8", "replace")).decode()
        self._print(text)

    def _print(self, text: str) -> None:
        self._output.write(text + "\n")
        self._output.flush()

    def complain(self, text: str) -> None:
        text = plain(text)
        try:
            self._errors.write(text + "\n")
            self._errors.flush()
        except OSError:
            pass  # nobody listens: no reason to bring the system down

    def interrupt(self) -> bool:
        """Ctrl-C: end the program in the foreground, or the command. False if
        there is neither."""
        if self.system.foreground is not None:
            self.kernel.kill(self.system.foreground, "interrupted")
        elif self._command is not None:
            self._is_interrupted = True
            self._command.cancel()
        else:
            return False
        return True

    async def follow(self, task: Task) -> None:
        """Wait for a program in the foreground, and say how it ended if that
        isn't well."""
        exit = await self.system.follow(task)
        if exit is None:
            self.say(f"task {task.id} is the service {', '.join(task.services)}")
        elif not exit.ok:
            self.complain(str(exit))
            if exit.backtrace:
                for line in await self.system.trace(exit):
                    self.complain(line)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"
