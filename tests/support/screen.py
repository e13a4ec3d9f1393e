"""A terminal with a person before it: a pty, and what its screen shows.

Only the part of a terminal that line editing uses; whatever it doesn't know is ignored.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.command import SECONDS, environment

ROWS, COLUMNS = 50, 100
UP, TAB, CTRL_C, CTRL_D, ENTER = "\x1b[A", "\t", "\x03", "\x04", "\r"
# Makes the pty the terminal that Ctrl-C comes from, then becomes the command.
LAUNCH = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.executable, [sys.executable, '-m', 'wasmos', *sys.argv[1:]])"
)
_SEQUENCE = re.compile(
    r"\x1b\[([?>]?)([\d;]*)([ -/]*[@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[=>()78]\w?"
)
_UNFINISHED = re.compile(r"\x1b(\[[?>]?[\d;]*|\][^\x07\x1b]*)?$")


class Screen:
    """What a terminal shows of the characters that it was sent."""

    def __init__(self) -> None:
        self.rows = [""]
        self.row = self.column = 0
        self._rest = ""

    def feed(self, text: str) -> None:
        text, self._rest = self._rest + text, ""
        at = 0
        while at < len(text):
            if text[at] != "\x1b":
                self._put(text[at])
                at += 1
            elif match := _SEQUENCE.match(text, at):
                if match[3] and not match[1]:
                    self._control(match[3], [int(n) for n in match[2].split(";") if n])
                at = match.end()
            elif _UNFINISHED.match(text, at):
                self._rest = text[at:]
                return
            else:
                at += 1

    def _put(self, char: str) -> None:
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self._go(self.row + 1)
        elif char == "\b":
            self.column = max(0, self.column - 1)
        elif char.isprintable():
            line = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = line[: self.column] + char + line[self.column + 1 :]
            self.column += 1

    def _go(self, row: int) -> None:
        self.row = max(0, row)
        while len(self.rows) <= self.row:
            self.rows.append("")

    def _control(self, kind: str, numbers: list[int]) -> None:
        count = numbers[0] if numbers else 1
        if kind in "AB":
            self._go(self.row + (count if kind == "B" else -count))
        elif kind == "C":
            self.column += count
        elif kind == "D":
            self.column = max(0, self.column - count)
        elif kind == "K":
            self.rows[self.row] = self.rows[self.row][: self.column]
        elif kind == "J":
            self.rows[self.row] = self.rows[self.row][: self.column]
            del self.rows[self.row + 1 :]

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.rows]

    def __str__(self) -> str:
        return "\n".join(self.lines)


class Person:
    """Types, and waits for what the screen shows."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        self.process = process
        self.screen = Screen()
        self.raw = ""  # all that the terminal was sent
        self._terminal = terminal

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def enter(self, line: str) -> None:
        self.type(line + ENTER)

    def see(self, *patterns: str) -> None:
        """Wait until these show, one line after the other, as whole lines."""
        deadline = time.monotonic() + SECONDS
        while not self._shows(patterns):
            if not self._read(deadline):
                raise AssertionError(f"{patterns} didn't show:\n{self.screen}\n{self.raw!r}")

    def prompt(self) -> None:
        """Wait until the last line is an empty prompt."""
        deadline = time.monotonic() + SECONDS
        while [line for line in self.screen.lines if line][-1:] != ["shell>"]:
            if not self._read(deadline):
                raise AssertionError(f"no prompt:\n{self.screen}\n{self.raw!r}")

    def _shows(self, patterns: tuple[str, ...]) -> bool:
        lines = iter(self.screen.lines)
        return all(any(re.fullmatch(pattern, line) for line in lines) for pattern in patterns)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._terminal], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._terminal, 65536)
        except OSError:  # how Linux says that nobody has the other end any more
            return False
        # Characters that arrive in halves aren't worth the trouble here.
        text = data.decode("utf-8", "replace")
        self.raw += text
        self.screen.feed(text)
        return bool(data)

    def status(self) -> int:
        """Read to the end; the exit status."""
        while self._read(time.monotonic() + SECONDS):
            pass
        assert "Traceback" not in self.raw, self.screen
        return self.process.wait(timeout=SECONDS)


@contextmanager
def person(*arguments: object, **env: str) -> Iterator[Person]:
    """Somebody who has started `wasmos` on a terminal."""
    terminal, other_end = pty.openpty()
    fcntl.ioctl(other_end, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *map(str, arguments)],
        stdin=other_end, stdout=other_end, stderr=other_end, start_new_session=True,
        # The screen here doesn't answer questions.
        env=environment(**{"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **env}),
    )  # fmt: skip
    os.close(other_end)
    try:
        yield Person(process, terminal)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(terminal)
