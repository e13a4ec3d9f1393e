"""The shell on a terminal: line editing, history, completion.

Law: what programs print appears above the line that is being typed, at once and
in order. Between two lines the terminal is an ordinary one, which edits, echoes
and interrupts by itself, and belongs to the program in the foreground. A question
takes the place of the line that is being typed, which comes back after it as it was; until it
is answered, what is typed is an answer, and never a command.

`patch_stdout` of prompt_toolkit isn't used: it writes from a thread, later, so
that an answer can come after the next prompt.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import cast

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.history import FileHistory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from typing import BinaryIO, TextIO

    from prompt_toolkit.document import Document

PROMPT = "shell> "
FIRST = "press Enter to answer; your line is kept "


class Terminal:
    """A context in which lines are edited, and standard output and error go above them."""

    def __init__(self) -> None:
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            history=FileHistory(_history_file()),
            completer=_Words(self),
            complete_while_typing=False,
        )
        self._questions: PromptSession[str] = PromptSession()
        self._turn = asyncio.Lock()  # who has the keyboard: a line, or a question
        self._editing = False
        self._kept = ""  # what was typed of the line before a question came
        self._is_typing = False  # somebody was, when it came
        self.at_line: Callable[[], object] = lambda: None  # called when a line begins
        # Of a line: how much of its end Tab replaces, and what by.
        self.complete: Callable[[str], Awaitable[tuple[int, list[str]]]] | None = None
        self._replaced = sys.stdout, sys.stderr
        self._above = _Above(sys.stdout, self._session)
        self.output = cast("BinaryIO", _Bytes(self._above))

    def __enter__(self) -> Terminal:
        sys.stdout = cast("TextIO", self._above)
        if sys.stderr.isatty():  # and not a file, where it shall stay
            sys.stderr = sys.stdout
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout, sys.stderr = self._replaced

    async def read_line(self) -> str | None:
        """The next line; None for Ctrl-D; Ctrl-C begins a new one."""
        while True:
            async with self._turn:
                self._above.begin_line()
                self._editing = True
                kept, self._kept = self._kept, ""
                self.at_line()
                try:
                    # Signals stay with the system: Ctrl-C ends a program in the foreground.
                    return await self._session.prompt_async(default=kept, handle_sigint=False)
                except (KeyboardInterrupt, _Interrupted):
                    continue
                except EOFError:
                    return None
                finally:
                    self._editing = False
                    self._session.app.erase_when_done = False
                    self._above.release()

    @property
    def is_editing(self) -> bool:
        """Whether the shell waits for a line."""
        return self._editing

    @asynccontextmanager
    async def question(self) -> AsyncIterator[None]:
        """The keyboard is a question's, from when it is shown until it is answered."""
        await self._interrupt_line()
        async with self._turn:
            self._is_typing = bool(self._kept)
            self._above.begin_line()
            with self._above.under(self._questions):
                yield

    async def ask(self, prompt: str) -> str | None:
        """A line, within `question`; None for Ctrl-D. Raises KeyboardInterrupt."""
        self._above.begin_line()
        try:
            if self._is_typing:  # of something else than this
                self._is_typing = False
                await self._questions.prompt_async(FIRST, handle_sigint=False)
            return await self._questions.prompt_async(prompt, handle_sigint=False)
        except EOFError:
            return None
        finally:
            self._above.release()

    @property
    def printed(self) -> int:
        """How many times somebody has printed something."""
        return self._above.printed

    async def _interrupt_line(self) -> None:
        """Let the line that is being typed go; it is kept."""
        app = self._session.app
        while self._editing:
            if app.is_running and not app.is_done:
                self._kept = self._session.default_buffer.text
                app.erase_when_done = True
                app.exit(exception=_Interrupted())
                return
            await asyncio.sleep(0)  # it is just beginning, or just over


class _Words(Completer):
    """Asks whoever reads the lines."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def get_completions(self, *_: object) -> Iterator[Completion]:
        raise NotImplementedError  # it takes messages, and so waits

    async def get_completions_async(
        self, document: Document, _event: object
    ) -> AsyncGenerator[Completion]:
        if self._terminal.complete is not None:
            length, found = await self._terminal.complete(document.text_before_cursor)
            for word in found:
                yield Completion(word, start_position=-length)


class _Interrupted(Exception):
    """A question comes in between."""


class _Above(io.TextIOBase):
    """Text for the terminal, above the line that is being typed if there is one."""

    def __init__(self, stream: TextIO, session: PromptSession[str]) -> None:
        self._stream = stream
        self._session = session
        self._unfinished = ""  # the line that somebody has begun meanwhile
        self._at_start = True  # of a line, as far as we know
        self.printed = 0

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

    @contextmanager
    def under(self, session: PromptSession[str]) -> Iterator[None]:
        """Meanwhile the line that is typed is that of another session."""
        own, self._session = self._session, session
        try:
            yield
        finally:
            self._session = own

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
            self.printed += 1
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
