"""What a grant shows: a tree of files, whatever it is kept in.

Law: every world answers alike; the suite in tests/servers/fs/test_world.py is what that means, and
a new kind has to pass it. A world knows no task, no grant and no rights: who may ask, and whether
changes are allowed, is decided before. Paths are as in an image. All errors are ServiceError.
"""

# ruff: noqa: ARG002 - the parameters are what every world gets, whether used or not.

from __future__ import annotations

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.servers.fs.image import Directory, File, Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Opened:
    """Something open, and here: a directory. It can only be closed."""

    __slots__ = ()
    writable = True  # False if the host only lets us read

    def read(self, offset: int, most: int) -> bytes:
        """At most `most` bytes; EOF at the end, also for no bytes."""
        raise ServiceError(ErrorCode.NOT_A_FILE)

    def write(self, offset: int, data: bytes) -> int:
        """How many of the bytes were written."""
        raise ServiceError(ErrorCode.NOT_A_FILE)

    def close(self) -> None:
        """Called once."""


class World:
    """A tree of files."""

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


class ImageWorld(World):
    """An image in memory."""

    def __init__(self, image: Image) -> None:
        self.image = image

    def open(self, path: str, *, writable: bool) -> Opened:
        return _Node(self.image, self.image.find(path))

    def names(self, path: str) -> Sequence[str]:
        return self.image.directory(path).names

    def entry(self, path: str, name: str) -> tuple[bool, int]:
        node = self.image.directory(path).nodes[name]
        return (True, 0) if isinstance(node, Directory) else (False, len(node.data))

    def make_file(self, path: str) -> None:
        self.image.make_file(path)

    def make_directory(self, path: str) -> None:
        self.image.make_directory(path)

    def delete(self, path: str) -> None:
        self.image.delete(path)


class _Node(Opened):
    """A node of an image, held as long as it is open."""

    __slots__ = ("_image", "_node")

    def __init__(self, image: Image, node: File | Directory) -> None:
        image.hold(node)
        self._image = image
        self._node = node

    @property
    def _file(self) -> File:
        if isinstance(self._node, Directory):
            raise ServiceError(ErrorCode.NOT_A_FILE)
        return self._node

    def read(self, offset: int, most: int) -> bytes:
        data = self._file.data
        if offset >= len(data):
            raise ServiceError(ErrorCode.EOF)
        return bytes(data[offset : offset + most])

    def write(self, offset: int, data: bytes) -> int:
        return self._image.write(self._file, offset, data)

    def close(self) -> None:
        self._image.release(self._node)
