"""A backtrace as people read it.

Law: a frame is one line, and nothing that a program named makes two of it, or more of a line than a
terminal has; what isn't printable is shown escaped.
"""

from __future__ import annotations

from itertools import groupby

from wasmos.servers.console.visible import plain
from wasmos.system.backtrace.frame import backtrace, build_id, has_debug_information

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wasmos.kernel import Exit
    from wasmos.system.backtrace.frame import Frame

MAX_LINES = 16  # unless all is asked for
MAX_NAME = 100
MAX_PATH = 200
MAX_COLUMN = 32  # of the column of names; a longer one pushes its place to the right
ENGINE_FRAMES = 20  # so many are kept
HINT = "for files and lines compile the program with -g, and don't strip it"


def trace(exit: Exit, frames: list[Frame] | None = None, *, details: bool = False) -> list[str]:
    """A line for each function that a task was in, and with `details` all that is known. `frames`:
    its backtrace, if that is there already."""
    if not exit.backtrace:
        return []
    if frames is None:
        frames = backtrace(exit)
    more = 0 if details else max(len(frames) - MAX_LINES, 0)
    shown = frames[: len(frames) - more]
    rows = [
        (row, len(list(same))) for row, same in groupby(_row(frame, details) for frame in shown)
    ]
    width = min(max(len(name) for (name, _), _ in rows), MAX_COLUMN)
    lines = [
        f"  at {name:<{width}}  {place}" + (f"   ({times} times)" if times > 1 else "")
        for (name, place), times in rows
    ]
    if more:
        lines.append(f"  … and {more} more; all of them: -g")
    elif len(exit.backtrace) >= ENGINE_FRAMES:
        lines.append(f"  … further out than the {ENGINE_FRAMES} functions that the engine keeps")
    if details:
        lines += _details(exit)
    return lines


def _details(exit: Exit) -> list[str]:
    lines = []
    if found := build_id(exit):
        lines.append(f"  build id {found}")
    if exit.module is not None and not has_debug_information(exit):
        lines.append(f"  hint: {HINT}")
    return lines


def _row(frame: Frame, details: bool) -> tuple[str, str]:
    """Who, and where."""
    number = f"function {frame.index}"
    name = _short(_one_line(frame.function)) if frame.function else number
    if frame.part:
        return name, f"(wasmos: {_one_line(frame.part)})"
    where = f"byte {frame.offset:#x}" if frame.offset is not None else "its entry"
    raw = where if name == number else f"{number}, {where}"
    if not frame.file:
        return name, f"{raw}   (inlined)" if frame.inlined else raw
    return name, _source(frame, raw if details else "")


def _source(frame: Frame, raw: str) -> str:
    """A file and a line, and with `raw` the whole path and that."""
    path = _one_line(frame.path if raw else _tidy(frame))
    # The end of a path says more than its beginning.
    text = path if len(path) <= MAX_PATH else f"…{path[1 - MAX_PATH :]}"
    if frame.line:
        text += f":{frame.line}" + (f":{frame.column}" if frame.column else "")
    if frame.inlined:
        return f"{text}   (inlined)"
    return f"{text}   {raw}" if raw else text


def _tidy(frame: Frame) -> str:
    """From where the compiler ran, if it is beneath that."""
    return frame.file.removeprefix(frame.directory.rstrip("/") + "/") or frame.file


def _one_line(text: str) -> str:
    line = plain(text)
    return line.replace("\r", "^M").replace("\n", "^J").replace("\t", "^I")


def _short(text: str) -> str:
    """Its beginning, which says whose it is, and its end, which often says what it does."""
    half = MAX_NAME // 2
    return text if len(text) <= MAX_NAME else f"{text[:half]}…{text[1 - half :]}"
