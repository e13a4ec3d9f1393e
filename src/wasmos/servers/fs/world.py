"""What a grant shows: a tree of files, whatever it is kept in.

Law: every world answers alike; the suites in tests/servers/fs/test_world.py and test_worlds.py
are what that means, and a new kind has to pass them. A world knows no task, no grant and no
rights: who may ask, and whether changes are allowed, is decided before. Paths are as in an image.
All errors are ServiceError.

There are two generations of operations, as there are of messages. The first, up to `delete`, has
few codes and no links of its own making; the second has what POSIX has.
"""

# ruff: noqa: ARG002 - the parameters are what every world gets, whether used or not.

from __future__ import annotations

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    # kind, device, inode, links, size, and three times in nanoseconds: accessed, modified, changed
    Status: TypeAlias = tuple[int, int, int, int, int, int, int, int]
    # A name as bytes, an inode, a kind.
    Entry: TypeAlias = tuple[bytes, int, int]

# What a ServiceError says last of a path that isn't followed to its end.
LEADS_OUT = "leads out of what was granted"

# Kinds, by the numbers of WASI.
UNKNOWN, BLOCK_DEVICE, CHARACTER_DEVICE, DIRECTORY, REGULAR, STREAM, SYMBOLIC_LINK = (
    0, 1, 2, 3, 4, 6, 7,
)  # fmt: skip

# How to open, as in the message.
CREATE, IS_DIRECTORY, EXCLUSIVE, EMPTY, NO_FOLLOW = 1, 2, 4, 8, 16
TO_READ, TO_WRITE = 32, 64
APPEND, DATA_SYNC, SYNC, NO_WAIT = 128, 256, 512, 1024

# Instead of a time.
KEEP, NOW = -1, -2

# What the first generation says for what it has no code for.
_FIRST = {
    ErrorCode.NAME_TOO_LONG: ErrorCode.TOO_LARGE,
    ErrorCode.NO_SPACE: ErrorCode.NO_RESOURCES,
    ErrorCode.NO_MEMORY: ErrorCode.NO_RESOURCES,
    ErrorCode.NOT_PERMITTED: ErrorCode.NOT_ALLOWED,
    ErrorCode.READ_ONLY: ErrorCode.NOT_ALLOWED,
    ErrorCode.CROSS_DEVICE: ErrorCode.NOT_ALLOWED,
    ErrorCode.TOO_MANY_LINKS: ErrorCode.NOT_ALLOWED,
    ErrorCode.BUSY: ErrorCode.STILL_USED,
    ErrorCode.IO_ERROR: ErrorCode.UNEXPECTED,
    ErrorCode.BAD_FILE: ErrorCode.UNEXPECTED,
    ErrorCode.NOT_SUPPORTED: ErrorCode.UNEXPECTED,
    ErrorCode.ILLEGAL_SEQUENCE: ErrorCode.INVALID_ARG,
}


def first_code(code: ErrorCode) -> ErrorCode:
    """The same in the codes of the first generation."""
    return _FIRST.get(code, code)


def as_first(error: ServiceError) -> ServiceError:
    """An error in the codes of the first generation."""
    code = first_code(ErrorCode(error.code))
    return error if code == error.code else ServiceError(code, str(error))


class Opened:
    """Something open, and here: a directory of no world. It can only be closed."""

    __slots__ = ()
    writable = True  # False if the host only lets us read
    kind = DIRECTORY

    def read(self, offset: int, most: int) -> bytes:
        """At most `most` bytes; EOF at the end, also for no bytes."""
        raise ServiceError(ErrorCode.NOT_A_FILE)

    def write(self, offset: int, data: bytes) -> int:
        """How many of the bytes were written."""
        raise ServiceError(ErrorCode.NOT_A_FILE)

    def read_into(self, offset: int, view: memoryview) -> int:
        """How many bytes there are from `offset` on, up to the view's size; 0 at the end."""
        raise ServiceError(ErrorCode.NOT_A_FILE)

    def write_from(self, offset: int, view: memoryview) -> int:
        """How many of the bytes were written."""
        raise ServiceError(ErrorCode.NOT_A_FILE)

    def append(self, view: memoryview) -> tuple[int, int]:
        """How many of the bytes were written at the file's end, and where it is then."""
        raise ServiceError(ErrorCode.NOT_A_FILE)

    def resize(self, size: int) -> None:
        raise ServiceError(ErrorCode.NOT_A_FILE)

    def allocate(self, offset: int, size: int) -> None:
        raise ServiceError(ErrorCode.NOT_A_FILE)

    def advise(self, offset: int, size: int, advice: int) -> None:
        """Nothing has to come of it."""

    def sync(self, *, data_only: bool) -> None:
        """Return when it is on the disk."""

    def status(self) -> Status:
        return DIRECTORY, 0, 0, 1, 0, 0, 0, 0

    def set_times(self, accessed_ns: int, modified_ns: int) -> None:
        raise ServiceError(ErrorCode.NOT_ALLOWED)

    def entries(self) -> list[Entry]:
        """What is in a directory now, without `.` and `..`. NOT_A_DIR for a file."""
        return []

    def look(self, name: bytes) -> Status:
        """What a name in a directory is itself. NOT_FOUND if it is gone."""
        raise ServiceError(ErrorCode.NOT_FOUND)

    def read_link(self, name: bytes) -> bytes:
        """The text of a link in a directory."""
        raise ServiceError(ErrorCode.NOT_FOUND)

    def close(self) -> None:
        """Called once."""


class World:
    """A tree of files."""

    # --- the first generation ---

    def open(self, path: str, *, writable: bool) -> Opened:
        """A file or a directory. It stays what it is, even if its name is deleted."""
        raise NotImplementedError

    def names(self, path: str) -> Sequence[str]:
        """The names in a directory, in the order of their characters. Not to be changed."""
        raise NotImplementedError

    def entry(self, path: str, name: str) -> tuple[bool, int]:
        """Whether one of them is a directory, and a file's size."""
        raise NotImplementedError

    def make_file(self, path: str) -> None:
        raise NotImplementedError

    def make_directory(self, path: str) -> None:
        raise NotImplementedError

    def delete(self, path: str) -> None:
        raise NotImplementedError

    # --- the second ---

    def open_file(self, path: str, flags: int) -> Opened:
        """A file or a directory, as `flags` want it. It stays what it is."""
        raise NotImplementedError

    def status(self, path: str, *, follow: bool) -> Status:
        raise NotImplementedError

    def set_times(self, path: str, accessed_ns: int, modified_ns: int, *, follow: bool) -> None:
        raise NotImplementedError

    def add_directory(self, path: str) -> None:
        raise NotImplementedError

    def remove_directory(self, path: str) -> None:
        raise NotImplementedError

    def remove_file(self, path: str) -> None:
        """Of a link, the link."""
        raise NotImplementedError

    def rename(self, path: str, new_path: str) -> None:
        raise NotImplementedError

    def link(self, path: str, new_path: str, *, follow: bool) -> None:
        raise NotImplementedError

    def make_link(self, target: str, path: str) -> None:
        raise NotImplementedError

    def read_link(self, path: str) -> bytes:
        raise NotImplementedError

    def close(self) -> None:
        """What was opened in it stays open."""
