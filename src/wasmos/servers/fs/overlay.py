"""A tree over another one: changes stay in memory.

Law: what lies below is only read. A directory is listed when it is first looked at, and from then
on its names are the image's: what is deleted is gone without a mark, what is renamed still has its
bytes below. A file's bytes are read from below until they are changed; then all of them are copied,
and count. Who changes the tree below meanwhile changes what wasn't looked at yet.

Fifos, sockets and devices aren't shown. What lies below is followed by no link: links are
texts, and resolved in the image.
"""

from __future__ import annotations

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.servers.fs.image import Directory, File, Image, Link
from wasmos.servers.fs.sources import Bytes, Listing
from wasmos.servers.fs.world import (
    DIRECTORY,
    IS_DIRECTORY,
    NO_FOLLOW,
    REGULAR,
    SYMBOLIC_LINK,
    TO_READ,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wasmos.servers.fs.image import Node
    from wasmos.servers.fs.world import Opened, World

MAX_SHOWN = 262_144  # names that an overlay knows from below
CHUNK_BYTES = 1 << 20


def lay_over(lower: World, **limits: Any) -> Image:
    """An image that begins as what `lower` shows. Its limits are for what is changed."""
    image = Image(**limits)
    image.root.source = _Below(lower, ".", [MAX_SHOWN])
    return image


class _Below(Listing):
    """What a directory below has in it."""

    __slots__ = ("_left", "_lower", "_path")

    def __init__(self, lower: World, path: str, left: list[int]) -> None:
        self._lower = lower
        self._path = path
        self._left = left  # of all names, for the whole tree

    def fill(self, image: Image, directory: Directory) -> None:
        opened = self._lower.open_file(self._path, TO_READ | IS_DIRECTORY | NO_FOLLOW)
        try:
            found = self._found(opened)
        finally:
            opened.close()
        self._left[0] -= len(found)
        directory.source = None
        for name in sorted(found):
            node = found[name]
            directory.names.append(name)  # in order already
            directory.nodes[name] = node
            node.links += 1
            image.number(node)
            image.entries += 1
            image.max_entries += 1  # what was there takes no room from what will be made
            if isinstance(node, Directory):
                node.parent = directory

    def _found(self, opened: Opened) -> dict[str, Node]:
        entries = opened.entries()
        if len(entries) > self._left[0]:
            raise ServiceError(ErrorCode.NO_RESOURCES, f"more than {MAX_SHOWN:,} names below")
        found: dict[str, Node] = {}
        for raw, _, kind in entries:
            try:
                found[raw.decode("utf-8", "surrogateescape")] = self._node(opened, raw, kind)
            except ServiceError:  # it is gone already, or of another device
                continue
            except _NotShownError:
                continue
        return found

    def _node(self, opened: Opened, raw: bytes, kind: int) -> Node:
        """By its name in the open directory: a path would be walked for each of them."""
        if kind not in (DIRECTORY, SYMBOLIC_LINK, REGULAR):
            raise _NotShownError
        status = opened.look(raw)
        path = f"{self._path}/{raw.decode('utf-8', 'surrogateescape')}"
        node: Node
        if kind == DIRECTORY:
            node = Directory()
            node.source = _Below(self._lower, path, self._left)
        elif kind == SYMBOLIC_LINK:
            node = Link(opened.read_link(raw).decode("utf-8", "surrogateescape"))
        else:
            node = File()
            node.source = _Contents(self._lower, path, status[4])
        node.accessed_ns, node.modified_ns, node.changed_ns = status[5:]
        return node


class _NotShownError(Exception):
    """Neither a file, a directory nor a link."""


class _Contents(Bytes):
    """A file below."""

    __slots__ = ("_lower", "_opened", "_path", "size")

    def __init__(self, lower: World, path: str, size: int) -> None:
        self.size = size
        self._lower = lower
        self._path = path
        self._opened: Opened | None = None

    def _open(self) -> Opened:
        return self._lower.open_file(self._path, TO_READ | NO_FOLLOW)

    def open(self) -> None:
        self._opened = self._open()

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def read_into(self, offset: int, view: memoryview) -> int:
        assert self._opened is not None
        return self._opened.read_into(offset, view)

    def all(self, most: int) -> bytearray:
        opened = self._opened or self._open()
        try:
            _check_size(opened.status()[4], most)  # before a part of it is read for nothing
            return _all(opened.read_into, most)
        finally:
            if opened is not self._opened:
                opened.close()


def _all(read_into: Callable[[int, memoryview], int], most: int) -> bytearray:
    """All of a file, also of one that has grown meanwhile, but never more than `most`."""
    data = bytearray()
    chunk = bytearray(min(CHUNK_BYTES, most + 1))
    with memoryview(chunk) as view:
        while count := read_into(len(data), view):
            data += view[:count]
            _check_size(len(data), most)
    return data


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise ServiceError(ErrorCode.NO_SPACE, f"more than {most:,} bytes to copy")
