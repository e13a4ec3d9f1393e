"""`--prompt`: questions on the terminal, before a program is denied something.

Law: nobody is asked without a terminal to ask on, both to read from and to show on. What was typed
before a question was shown is no answer to it. Ctrl-C is a no, and ends the run; the end of input
is a no to all.

While a question of `wasmos run` waits, the program and all that the kernel does stand still. In
the shell of `wasmos boot` everything else goes on: a question takes the place of the line that is
being typed. While a program has the terminal, only questions about that one are asked.
"""

from __future__ import annotations

import os
import sys

from wasmos.cli import say, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from typing import TypeAlias

    from wasmos.cli.terminal import Terminal
    from wasmos.kernel import Kernel, Rule, Task
    from wasmos.system.boot import System
    from wasmos.system.prompt import LaterPrompter, Prompter

    Ask: TypeAlias = Callable[[Kernel, Task], Prompter]

MAX_ANSWER = 4096  # bytes, more than any terminal gives in one line
NO_TERMINAL = "note: --prompt asks on a terminal, and there is none: nothing is asked"


def asking(module: str, policy: str | None, *, keeps: bool = True) -> Ask | None:
    """What to give to `run` as `ask`; None: there is no terminal. `policy` is where "always" is
    written to, NAME.policy.toml if that is None; unless it `keeps` nothing."""
    if not is_terminal():
        say(NO_TERMINAL)
        return None

    def ask(kernel: Kernel, task: Task) -> Prompter:
        from wasmos.system.prompt import Prompter

        class InRun(Prompter):
            directory = "--dir HOST::GUEST"

            def amended(self, rule: Rule) -> Rule:
                """A port of the program's needs one of the host's: any free one."""
                if (rule.service, rule.message) != ("tcpip", "listen"):
                    return rule
                return kernel.parse_rule(str(rule).replace("(", '(bind="0", ', 1))

        path = (policy or f"{file_name(task.name)}.policy.toml") if keeps else None
        if path is not None and policy is None and os.path.exists(path):
            _note_unused(path)
        return InRun(kernel, ask_line, say, policy=path, modules=lambda _: module)

    return ask


def _note_unused(path: str) -> None:
    """What stands in it isn't granted because it lies there: whose file it is, is for whoever
    starts the program to know."""
    from shlex import quote

    say(f"note: {path} is there, and isn't used; --policy {quote(path)} uses it")


def prompt_in_shell(
    system: System, tty: Terminal, policy: str | None, interrupt: Callable[[], object]
) -> LaterPrompter:
    """For a system whose shell is on a terminal. `interrupt` is what Ctrl-C does there."""
    from wasmos.system.manifest.manifest import DEMO
    from wasmos.system.policy.policy import beside
    from wasmos.system.prompt import LaterPrompter

    manifest = system.manifest

    class InShell(LaterPrompter):
        alone = False

        def policy_of(self, task: Task) -> str | None:
            """A section is for a task of the manifest, and the demonstration's isn't ours."""
            if manifest.path == DEMO or task.name not in manifest.tasks:
                return None
            return policy or manifest.policy or beside(manifest.path)

        def misses(self, task: Task, service: str) -> bool:
            return system.has_for(task, service)

        def turn(self) -> AbstractAsyncContextManager[None]:
            return tty.question()

        def printed(self) -> int:
            return tty.printed

    async def ask(words: str) -> str | None:
        try:
            return await tty.ask(words)
        except KeyboardInterrupt:
            interrupt()
            raise

    def may_ask(task: int) -> bool:
        foreground = system.foreground
        return tty.is_editing if foreground is None else foreground.id == task

    prompter = InShell(system.kernel, ask, say, may_ask=may_ask)
    tty.at_line = prompter.look
    return prompter


def is_terminal() -> bool:
    """Whether there is one to ask on."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def file_name(task: str) -> str:
    """A task's name as a file's: a slash in it leads nowhere."""
    return task.replace("/", "_").replace("\0", "_").lstrip(".") or "program"


def ask_line(prompt: str) -> str | None:
    """Show a prompt and wait for a line; None at the end of input, or without the terminal, which
    may be gone by now: that is nothing that a program could be the reason of."""
    import termios

    try:
        return _asked(prompt)
    except (OSError, termios.error):
        return None


def _asked(prompt: str) -> str | None:
    import select
    import termios

    descriptor = sys.stdin.fileno()
    termios.tcflush(descriptor, termios.TCIFLUSH)
    sys.stderr.write(shown(prompt))
    sys.stderr.flush()
    # Not sys.stdin, which may take more than this line away from the program.
    select.select([descriptor], [], [])  # it may not block by itself
    line = os.read(descriptor, MAX_ANSWER)
    if not line:
        sys.stderr.write("\n")
        return None
    return line.decode("utf-8", "replace").rstrip("\r\n")
