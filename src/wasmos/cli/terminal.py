"""The shell on a terminal: line editing, history, completion.

Law: what programs print appears above the line that is being typed, at once and
in order. Between two lines the terminal is an ordinary one, which edits, echoes
and interrupts by itself, and belongs to the program in the foreground.

`patch_stdout` of prompt_toolkit isn't used: it writes from a thread, later, so
that an answer can come after the next prompt.
"""

from __future__ import annotations

import io
import os
import sys
from typing import cast

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import FileHistory

from wasmos.system.commands import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import BinaryIO, TextIO

PROMPT = "shell> "


class Terminal:
    """A context in which lines are edited, and standard output and error go above them."""

    def __init__(self) -> None:
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            history=FileHistory(_history_file()),
            completer=WordCompleter(sorted(COMMANDS), sentence=False),
            complete_while_typing=False,
        )
        self._replaced = sys.stdout, sys.stderr
        self._above = _Above(sys.stdout, self._session)
        self.output = cast("BinaryIO", _Bytes(self._above))

    def __enter__(self) -> Terminal:
        sys.stdout = cast("TextIO", self._above)
        if sys.stderr.isatty():  # and not a file, where it shall stay
            sys.stderr = sys.stdout
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.stdout, sys.stderr = self._replaced

    async def read_line(self) -> str | None:
        """The next line; None for Ctrl-D; Ctrl-C begins a new one."""
        while True:
            self._above.begin_line()
            try:
                # Signals stay with the system: Ctrl-C ends a program in the foreground.
                return await self._session.prompt_async(handle_sigint=False)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return None
            finally:
                self._above.release()


class _Above(io.TextIOBase):
    """Text for the terminal, above the line that is being typed if there is one."""

    def __init__(self, stream: TextIO, session: PromptSession[str]) -> None:
        self._stream = stream
        self._session = session
        self._unfinished = ""  # the line that somebody has begun meanwhile
        self._at_start = True  # of a line, as far as we know

    def write(self, text: str) -> int:
        app = self._session.app
        if not app.is_running:
            self._print(text)
            return len(text)
        lines, newline, rest = text.rpartition("\n")
        if newline:
            app.renderer.erase()
            self._print(self._unfinished + lines + newline)
            self._unfinished = ""
            app.invalidate()
        self._unfinished += rest
        return len(text)

    def release(self) -> None:
        """Nothing is being typed any more."""
        text, self._unfinished = self._unfinished, ""
        self._at_start = True
        self._print(text)

    def begin_line(self) -> None:
        if not self._at_start:
            self._print("\n")

    def _print(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()
            self._at_start = text.endswith("\n")

    def isatty(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()


class _Bytes(io.RawIOBase):
    """The same for bytes. Says that it is a terminal, so that the console keeps
    guests' control characters away."""

    def __init__(self, above: _Above) -> None:
        self._above = above

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raw = bytes(data)  # type: ignore[call-overload]
        self._above.write(raw.decode("utf-8", "replace"))
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
