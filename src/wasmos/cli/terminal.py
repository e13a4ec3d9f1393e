"""The shell on a terminal: line editing, history, completion.

Law: what programs print appears above the line that is being typed.
"""

from __future__ import annotations

import io
import os
import sys
from typing import cast

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import FileHistory
from prompt_toolkit.patch_stdout import patch_stdout

from wasmos.system.commands import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import BinaryIO

PROMPT = "shell> "


class Terminal:
    """A context in which lines are edited and output goes above them."""

    def __init__(self) -> None:
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            history=FileHistory(_history_file()),
            completer=WordCompleter(sorted(COMMANDS), sentence=False),
            complete_while_typing=False,
        )
        self._patch = patch_stdout()
        self.output = cast("BinaryIO", _Above())

    def __enter__(self) -> Terminal:
        self._patch.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._patch.__exit__(kind, error, trace)

    async def read_line(self) -> str | None:
        """The next line; None for Ctrl-D; Ctrl-C begins a new one."""
        while True:
            try:
                # Signals stay with the system: Ctrl-C ends a program in the foreground.
                return await self._session.prompt_async(handle_sigint=False)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return None


class _Above(io.RawIOBase):
    """Bytes for standard output as the prompt shows it. Says that it is a
    terminal, so that the console keeps guests' control characters away."""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raw = bytes(data)  # type: ignore[call-overload]
        sys.stdout.write(raw.decode("utf-8", "replace"))
        sys.stdout.flush()
        return len(raw)


def _history_file() -> str:
    """Where XDG wants it: private, kept from one session to the next."""
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    folder = os.path.join(home, "wasmos")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        path = os.path.join(folder, "history")
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600))
    except OSError:
        return os.devnull
    return path
