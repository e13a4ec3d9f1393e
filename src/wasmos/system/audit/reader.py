"""Reading a log, also while it is written: all of it, or what is new.

Law: every line of every file is met once, oldest first, whatever the writer does meanwhile, and
none is left out in silence: where a follower was too slow for the files that are kept, the numbers
of the records jump. A last line without an end is one that is still being written, or that a crash
tore.
"""

from __future__ import annotations

import os

from wasmos.system.audit import files
from wasmos.system.audit.schema import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO, TypeAlias

    from wasmos.system.audit.schema import Record

    Path: TypeAlias = str | os.PathLike[str]
    Damaged: TypeAlias = Callable[["Line"], None]


class Line:
    """A line with its place. `is_torn`: it has no end; `is_newest`: of the newest file."""

    __slots__ = ("data", "file", "is_newest", "is_torn", "number")

    def __init__(self, file: str, number: int, data: bytes, is_newest: bool) -> None:
        self.file = file
        self.number = number
        self.is_torn = not data.endswith(b"\n")
        self.data = data.removesuffix(b"\n")
        self.is_newest = is_newest

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


def lines(path: Path) -> Iterator[Line]:
    """All lines of a log and its older files. Raises FileNotFoundError, AuditError."""
    opened = files.open_all(os.fspath(path))
    try:
        for at, (name, file) in enumerate(opened, 1):
            for number, data in _numbered(file):
                yield Line(name, number, data, at == len(opened))
            if not file.tell() and at < len(opened):  # emptied: no file becomes an older one so
                yield Line(name, 1, b"", False)
    finally:
        files.close_all(opened)


def read(path: Path, damaged: Damaged | None = None) -> Iterator[Record]:
    """All records. `damaged` gets the lines that aren't one."""
    for line in lines(path):
        yield from _records(line, damaged)


class Follower:
    """A place in a log that is being written: each `records` goes on where the last one ended.
    With `history` it begins with the oldest file, otherwise at the end."""

    def __init__(self, path: Path, *, history: bool) -> None:
        self._path = os.fspath(path)
        opened = files.open_all(self._path)
        wanted = 0 if history else len(opened) - 1
        self._name, self._file = opened.pop(wanted)
        files.close_all(opened)
        self._at, self._number = (0, 0) if history else _whole(self._file)

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def records(self, damaged: Damaged | None = None) -> Iterator[Record]:
        """What is new, up to now."""
        for line in self._lines():
            yield from _records(line, damaged)

    def _lines(self) -> Iterator[Line]:
        yield from self._rest()
        while newer := self._newer():
            # It may have been written to between the last look and the rotation.
            yield from self._rest()
            self._file.close()
            self._name, self._file = newer
            self._at = self._number = 0
            yield from self._rest()

    def close(self) -> None:
        self._file.close()

    def _rest(self) -> Iterator[Line]:
        """The whole lines after where we are."""
        size = os.fstat(self._file.fileno()).st_size
        self._at = min(self._at, size)  # somebody cut it: `verify` tells
        self._file.seek(self._at)
        while data := self._file.readline(files.MAX_LINE):
            if not data.endswith(b"\n") and len(data) < files.MAX_LINE:
                return  # it is being written
            self._at += len(data)
            self._number += 1
            yield Line(self._name, self._number, data, True)

    def _newer(self) -> tuple[str, BinaryIO] | None:
        """The file that was begun after ours, if there is one: more than one rotation may have
        happened since."""
        here = files.identity_of(self._file)
        try:
            if files.identity_at(self._path) in (here, None):  # None: right between two files
                return None
            opened = files.open_all(self._path)
        except FileNotFoundError:
            return None
        same = [at for at, (_, file) in enumerate(opened) if files.identity_of(file) == here]
        wanted = same[0] + 1 if same else 0  # or ours is gone already: all there is is newer
        found = opened.pop(wanted) if wanted < len(opened) else None
        files.close_all(opened)
        return found


def _numbered(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers. One that is too long comes in pieces, none of which is a record."""
    number = 1
    while data := file.readline(files.MAX_LINE):
        yield number, data
        number += 1


def _whole(file: BinaryIO) -> tuple[int, int]:
    """Where the last whole line ends, and how many there are."""
    size = end = number = 0
    while block := file.read(files.BLOCK):
        number += block.count(b"\n")
        end = size + block.rfind(b"\n") + 1 if b"\n" in block else end
        size += len(block)
    return end, number


def _records(line: Line, damaged: Damaged | None) -> Iterator[Record]:
    record = parse(line.data) if len(line.data) < files.MAX_LINE else None
    if record is not None and not line.is_torn:
        yield record
    elif damaged is not None:
        damaged(line)
