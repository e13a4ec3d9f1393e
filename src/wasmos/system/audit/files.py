"""The log's files: opened so that nothing else can be meant, locked, rotated, their ends read.

Law: a file of ours is a regular file of ours that nobody else may write; it is never reached
through a symbolic link, and it has one writer. `audit.jsonl` is the newest, `audit.jsonl.1` the
one before it. A file only ever moves to a higher number.
"""

from __future__ import annotations

import os
import stat

from wasmos.errors import AuditError
from wasmos.system.audit.schema import BEGINNING, digest, parse, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_SAFE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not hold us up
QUIET = ".quiet"  # what the name of the small log beside another one ends in
BLOCK = 1 << 16
MAX_LINE = 1 << 20  # of ours none is nearly as long
ATTEMPTS = 100  # a rotation takes 16 MiB of lines, opening a few files doesn't


class End:
    """Where a file ends: the last line's number and hash, and what was torn off."""

    def __init__(self, size: int) -> None:
        self.size = size  # up to the last whole line
        self.seq = 0
        self.hash = BEGINNING
        self.torn = b""


# --- opening ----------------------------------------------------------------------------------


def open_own(path: str, flags: int = 0) -> int:
    """A descriptor for appending, for a file that is made if need be. Raises AuditError, and
    OSError for what isn't about what stands there."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _SAFE | flags, 0o600)
    except OSError as error:
        if not os.path.islink(path):
            raise
        raise AuditError(f"{path} is a symbolic link; name the file itself") from error
    if problem := _problem(os.fstat(descriptor)):
        os.close(descriptor)
        raise AuditError(f"{path} {problem}")
    return descriptor


def _problem(found: os.stat_result) -> str | None:
    if not stat.S_ISREG(found.st_mode):
        return "is no regular file; an audit log has to be one"
    if found.st_uid != os.geteuid():
        return f"belongs to user {found.st_uid}; choose a file of your own"
    if found.st_mode & 0o022:
        return "can be written by others; to go on: chmod go-w"
    return None


def lock(path: str) -> int:
    """Be the only writer, until the descriptor is closed. The lock is a file beside the log,
    because the log itself is renamed. It stays there: removing it would race."""
    import fcntl

    descriptor = open_own(f"{path}.lock")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).strip()
        os.close(descriptor)
        who = f"process {int(holder)}" if holder.isdigit() else "another process"
        raise AuditError(
            f"{path}: {who} writes to it already; give each system a log of its own"
        ) from None
    except OSError:
        os.close(descriptor)
        raise
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


# --- rotating ---------------------------------------------------------------------------------


def shift(path: str, keep: int) -> None:
    """Give each file the next number, as far as it takes to make number 1 free; of `keep` old
    files the oldest goes. Where a number is free already no file has to move, so that failing
    in between and trying again loses nothing."""
    for old in numbered(path):
        if int(old.rpartition(".")[2]) > keep:  # it was more, once: the chain would have a hole
            os.unlink(old)
    last = 1
    while last < keep and os.path.lexists(f"{path}.{last}"):
        last += 1
    for number in range(last, 1, -1):
        os.rename(f"{path}.{number - 1}", f"{path}.{number}")
    os.rename(path, f"{path}.1")


def numbered(path: str) -> list[str]:
    """The older files, newest first."""
    folder, name = os.path.split(path)
    try:
        found = os.listdir(folder or ".")
    except OSError:
        return []
    ends = [entry[len(name) + 1 :] for entry in found if entry.startswith(f"{name}.")]
    numbers = sorted(int(end) for end in ends if end.isascii() and end.isdigit() and len(end) <= 4)
    return [f"{path}.{number}" for number in numbers if f"{number}" in ends and number]


def open_all(path: str) -> list[tuple[str, BinaryIO]]:
    """All files for reading, oldest first. Raises FileNotFoundError if there is none."""
    for _ in range(ATTEMPTS):
        names = [path, *numbered(path)]
        opened = _open_named(names)
        newest = opened[-1:] if opened and opened[-1][0] == path else []
        newest_is = identity_of(newest[0][1]) if newest else None
        if newest_is == identity_at(path) and names == [path, *numbered(path)]:
            break
        # A writer has begun a new file meanwhile, so that names and files don't match.
        close_all(opened)
    else:
        raise AuditError(f"{path}: files come and go faster than they can be opened; try again")
    if not opened:
        raise FileNotFoundError(2, "No such file or directory", path)
    return opened


def _open_named(names: list[str]) -> list[tuple[str, BinaryIO]]:
    """Those that exist, in the opposite order."""
    opened: list[tuple[str, BinaryIO]] = []
    try:
        for name in names:
            if (file := open_one(name)) is not None:
                opened.append((name, file))
    except BaseException:
        close_all(opened)
        raise
    return opened[::-1]


def close_all(opened: list[tuple[str, BinaryIO]]) -> None:
    for _, file in opened:
        file.close()


def open_one(path: str) -> BinaryIO | None:
    """A file for reading; None if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise AuditError(f"{path} is no regular file; an audit log is one")
    return os.fdopen(descriptor, "rb", BLOCK)


def identity_at(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def identity_of(file: BinaryIO) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino


# --- the end of a file ------------------------------------------------------------------------


def end_of(descriptor: int, path: str) -> End:
    """The end of a file, checked: its last line has to follow from the one before. Raises
    AuditError."""
    size = os.fstat(descriptor).st_size
    tail, is_whole = _tail(descriptor, size)
    lines = tail.split(b"\n")
    end = End(size - len(lines[-1]))
    end.torn = lines.pop()
    if not lines:
        return end
    if len(lines) == 1 and not is_whole:
        raise AuditError(f"{path} is no audit log: its last line is too long")
    record, parts = parse(lines[-1]), split(lines[-1])
    if record is None or parts is None or type(record.get("seq")) is not int:
        raise _damaged(path, "its last line is no record")
    if digest(_before(lines, record), parts[0]) != parts[1]:
        raise _damaged(path, "its last line doesn't follow from the one before")
    end.seq, end.hash = record["seq"], parts[1]
    return end


def _damaged(path: str, what: str) -> AuditError:
    return AuditError(f"{path} is damaged, or no audit log: {what}; to go on, move it away")


def _before(lines: list[bytes], record: dict[str, object]) -> str:
    """The hash that the last line follows from."""
    if len(lines) == 1:
        return str(record.get("prev", BEGINNING))
    parts = split(lines[-2])
    return parts[1] if parts else ""


def _tail(descriptor: int, size: int) -> tuple[bytes, bool]:
    """The last two lines at least, if there are so many; and whether that is the whole file."""
    at = size
    tail = b""
    while at and tail.count(b"\n") < 3 and len(tail) < 3 * MAX_LINE:
        step = min(at, BLOCK)
        at -= step
        tail = os.pread(descriptor, step, at) + tail
    return tail, at == 0
