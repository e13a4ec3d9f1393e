"""A bar on the terminal while something takes long: compiling a large program.

Law: it is shown only where somebody watches, and only after a second; when it is over nothing of it
is left. How far the compiler is nobody knows: the bar moves, and says how long it takes so far.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

AFTER_SECONDS = 1.0
WIDTH, BLOCK = 20, 5
ERASE = "\r\x1b[K"
MAX_NAME = 30


def progress(
    quiet: bool,
    is_free: Callable[[], bool] = lambda: True,
    *,
    stream: TextIO | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Callable[[str, int], Bar] | None:
    """What a kernel takes as `progress`, if somebody is there to see it. `is_free`: whether the
    terminal's line is nobody else's, such as a prompt's."""
    stream = stream or sys.stderr
    if quiet or environment.get("CI") or environment.get("TERM", "dumb") == "dumb":
        return None
    try:
        if not stream.isatty():
            return None
    except ValueError:  # closed
        return None
    return lambda name, size: Bar(name, size, stream, is_free)


class Bar:
    """In its context, call it with the seconds that have passed."""

    def __init__(
        self, name: str, size: int, stream: TextIO, is_free: Callable[[], bool] = lambda: True
    ) -> None:
        self._label = f"compiling {_plain(name)}, {_megabytes(size)}"
        self._stream = stream
        self._is_free = is_free
        self._is_shown = False

    def __enter__(self) -> Bar:
        return self

    def __call__(self, seconds: float) -> None:
        if seconds < AFTER_SECONDS or not self._is_free():
            return
        line = f"{self._label} [{_blocks(seconds)}] {seconds:.0f} s"
        self._is_shown = True  # first: Ctrl-C may come as soon as it shows
        self._write(ERASE + line[: _columns(self._stream) - 1])

    def __exit__(self, *_error: object) -> None:
        if self._is_shown:
            self._write(ERASE)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # nobody is there any more
            pass


def _blocks(seconds: float) -> str:
    """A block that goes to the right end and back in four seconds."""
    way = WIDTH - BLOCK
    at = int(seconds * way / 2) % (2 * way)
    left = min(at, 2 * way - at)
    return "-" * left + "#" * BLOCK + "-" * (way - left)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _plain(name: str) -> str:
    from wasmos.cli import shown

    return shown(name[:MAX_NAME])


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
