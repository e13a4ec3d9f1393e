"""Where the nodes of an image come from, if not from those who use it.

Law: what has a source is only looked at. A directory asks its source once, for all of its names,
and a file for its bytes until they are changed; then the image has them itself. So a tree can lie
over another one without marks for what was deleted: a name that is gone is just not there.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wasmos.servers.fs.image import Directory, Image


class Bytes:
    """A file's contents, somewhere else."""

    __slots__ = ()

    size: int

    def open(self) -> None:
        """Somebody opens the file; others may have it open only after that."""

    def close(self) -> None:
        """Nobody has it open any more."""

    def read_into(self, offset: int, view: memoryview) -> int:
        """Only while it is open."""
        raise NotImplementedError

    def all(self, most: int) -> bytearray:
        """At any time. NO_SPACE if there are more than `most` bytes."""
        raise NotImplementedError


class Listing:
    """What is in a directory, somewhere else."""

    __slots__ = ()

    def fill(self, image: Image, directory: Directory) -> None:
        """Put it there, and take yourself away."""
        raise NotImplementedError
