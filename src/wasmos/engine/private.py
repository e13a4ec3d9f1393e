"""Directories and files that are their owner's alone.

Law: what a file says is believed only if nobody else could have written it: it and the directory
that it is in belong to us, and nobody else may write to either. That is asked of what was opened,
never of a path, so there is no moment in between. Which directories lie above doesn't matter: who
could rename those could put only another directory in place of ours, and it would not be ours.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_OTHERS_WRITE = 0o022
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW
NEW = ".new"  # how a file's name ends until it is whole


class NotPrivate(OSError):
    """Somebody else could have written this."""


def open_folder(path: str, *, make: bool = False) -> int:
    """A descriptor of a directory of ours. Raises NotPrivate, other OSErrors."""
    if make:
        _make(path)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _OPEN)
    try:
        _check(os.fstat(folder), path)
    except OSError:
        os.close(folder)
        raise
    return folder


def _make(path: str) -> None:
    """Make a directory, and those above that are missing, nobody else's. Not in another user's
    home, where `sudo` may have left us: what we made there its owner couldn't use."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        parent = os.path.dirname(path)
        if parent == path:
            break
        path = parent
    if missing and os.stat(path).st_uid not in (0, os.geteuid()):
        raise NotPrivate(f"{path} belongs to another user")
    for each in reversed(missing):
        try:
            os.mkdir(each, 0o700)
        except FileExistsError:  # another process was quicker
            continue


def open_file(folder: int, name: str) -> tuple[int, os.stat_result]:
    """A descriptor of a file of ours in such a directory, and what there is to know of it.
    Raises NotPrivate, other OSErrors."""
    # A pipe that nobody writes to mustn't hold us up.
    file = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _OPEN, dir_fd=folder)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise NotPrivate(f"{name} is not a regular file")
        if found.st_nlink > 1:  # none is fine: it was replaced a moment ago
            raise NotPrivate(f"{name} has another name somewhere")
        _check(found, name)
    except OSError:
        os.close(file)
        raise
    return file, found


def _check(found: os.stat_result, what: str) -> None:
    if found.st_uid != os.geteuid():
        raise NotPrivate(f"{what} belongs to another user")
    if found.st_mode & _OTHERS_WRITE:
        mode = stat.S_IMODE(found.st_mode)
        raise NotPrivate(f"{what} can be written by others (mode {mode:o})")


def replace(folder: int, name: str, parts: Iterable[bytes]) -> None:
    """Write a file, whole or not at all, for whoever reads it meanwhile. Raises OSError.

    Not synced: what a crash of the machine leaves of it has to be recognised by who reads it, and
    waiting for the disk takes longer than compiling a small program."""
    new = f"{name[:32]}-{os.urandom(8).hex()}{NEW}"
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, 0o600, dir_fd=folder)
    try:
        for part in parts:
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(file, rest) :]
        os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        try:  # noqa: SIM105 - nothing else here needs contextlib
            os.unlink(new, dir_fd=folder)
        except FileNotFoundError:
            pass  # Ctrl-C came when it had its name
        raise
    finally:
        os.close(file)
