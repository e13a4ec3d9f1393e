"""An image as a world.

Law: here paths become nodes, and what POSIX says about each call is decided; what an image may
become, and what fits in it, the image decides.
"""

from __future__ import annotations

import itertools

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.servers.fs.image import (
    MAX_ENTRIES,
    MAX_NAME_BYTES,
    Directory,
    File,
    Found,
    Image,
    Link,
)
from wasmos.servers.fs.world import (
    APPEND,
    CREATE,
    DIRECTORY,
    EMPTY,
    EXCLUSIVE,
    IS_DIRECTORY,
    KEEP,
    NO_FOLLOW,
    NOW,
    REGULAR,
    SYMBOLIC_LINK,
    TO_WRITE,
    Opened,
    World,
    as_first,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmos.servers.fs.image import Node
    from wasmos.servers.fs.world import Entry, Status

# Names in one directory, as of the host's: an archive can have more, and they can be used, but to
# list them all would take too long for one message.
MAX_LISTED = MAX_ENTRIES

# Numbers that no host's device has: they are negative there.
_devices = itertools.count(1)


class ImageWorld(World):
    """An image in memory.

    read_only: whether it stays as it is.
    """

    def __init__(self, image: Image, *, read_only: bool = False) -> None:
        self.image = image
        self.read_only = read_only
        self.device = -next(_devices)

    # --- the first generation ---

    def open(self, path: str, *, writable: bool) -> Opened:  # noqa: ARG002
        try:
            return self._opened(self.image.find(path))
        except ServiceError as error:
            raise as_first(error) from None

    def names(self, path: str) -> Sequence[str]:
        try:
            return self.image.directory(path).names
        except ServiceError as error:
            raise as_first(error) from None

    def entry(self, path: str, name: str) -> tuple[bool, int]:
        node = self.image.directory(path).nodes[name]
        if isinstance(node, Link):
            try:
                node = self.image.find(f"{path}/{name}")
            except ServiceError:  # it leads nowhere: opening it says why
                return False, 0
        return (True, 0) if isinstance(node, Directory) else (False, node.size)

    def make_file(self, path: str) -> None:
        self._first(self.image.make_file, path)

    def make_directory(self, path: str) -> None:
        self._first(self.image.make_directory, path)

    def delete(self, path: str) -> None:
        self._first(self.image.delete, path)

    def _first(self, change: object, path: str) -> None:
        try:
            self._changing()
            change(path)  # type: ignore[operator]
        except ServiceError as error:
            raise as_first(error) from None

    # --- the second ---

    def _changing(self) -> None:
        if self.read_only:
            raise ServiceError(ErrorCode.READ_ONLY)

    def _opened(self, node: Node) -> _Node:
        return _Node(self, node)

    def _resolve(self, path: str, *, follow: bool) -> Found:
        if len(path) * 4 > MAX_NAME_BYTES:
            _check_names(path)
        try:
            return self.image.resolve(path, follow=follow)
        except ServiceError as error:
            # To want to leave is what one has no right to; to the first generation it was an
            # error in the path.
            if error.code == ErrorCode.INVALID_ARG and path and "\0" not in path:
                raise ServiceError(ErrorCode.NOT_ALLOWED, error.detail) from None
            raise

    def _leaf(self, path: str) -> Found:
        """The last name of a path; a link stays a link, also with a slash after it."""
        bare = path.rstrip("/")
        found = self._resolve(bare or path, follow=False)
        found.slash = bare != path and last_name(path) not in ("", ".", "..")
        return found

    def _find(self, path: str, *, follow: bool) -> Node:
        node = self._resolve(path, follow=follow).node
        if node is None:
            raise ServiceError(ErrorCode.NOT_FOUND, path)
        return node

    def open_file(self, path: str, flags: int) -> Opened:
        exclusive = flags & (CREATE | EXCLUSIVE) == CREATE | EXCLUSIVE
        follow = not flags & NO_FOLLOW
        if flags & CREATE and path.endswith("/") and self._leaf(path).slash:
            raise ServiceError(ErrorCode.NOT_A_FILE, path)
        found = self._leaf(path) if exclusive else self._resolve(path, follow=follow)
        node = found.node
        if node is None:
            if not flags & CREATE:
                raise ServiceError(ErrorCode.NOT_FOUND, path)
            node = self._create(found)
        elif exclusive:
            raise ServiceError(ErrorCode.ALREADY_EXISTS, path)
        else:
            _check_kind(node, flags)
            if flags & (EMPTY | TO_WRITE):
                self._changing()
        opened = self._opened(node)
        if flags & EMPTY and isinstance(node, File):
            self.image.resize(node, 0)
        return opened

    def _create(self, found: Found) -> File:
        self._changing()
        if found.slash:  # of a link's text
            raise ServiceError(ErrorCode.NOT_A_FILE)
        file = File()
        self.image.add(found, file)
        return file

    def status(self, path: str, *, follow: bool) -> Status:
        return self._status(self._find(path, follow=follow))

    def _status(self, node: Node) -> Status:
        return (
            _kind(node),
            self.device,
            node.inode,
            node.links,
            node.size,
            node.accessed_ns,
            node.modified_ns,
            node.changed_ns,
        )

    def set_times(self, path: str, accessed_ns: int, modified_ns: int, *, follow: bool) -> None:
        node = self._find(path, follow=follow)
        self._changing()
        self._set_times(node, accessed_ns, modified_ns)

    def _set_times(self, node: Node, accessed_ns: int, modified_ns: int) -> None:
        now = self.image.now_ns()
        if accessed_ns != KEEP:
            node.accessed_ns = now if accessed_ns == NOW else accessed_ns
        if modified_ns != KEEP:
            node.modified_ns = now if modified_ns == NOW else modified_ns
        if accessed_ns != KEEP or modified_ns != KEEP:
            node.changed_ns = now

    def add_directory(self, path: str) -> None:
        self.image.add(self._new(path), Directory())

    def _new(self, path: str) -> Found:
        """A name that nothing has yet, for a directory."""
        found = self._leaf(path)
        if found.node is not None:
            raise ServiceError(ErrorCode.ALREADY_EXISTS, path)
        self._changing()
        return found

    def _new_name(self, path: str) -> Found:
        """A name that nothing has yet, for what isn't a directory."""
        found = self._leaf(path)
        if found.slash:
            self._find(path, follow=True)
        return self._new(path)

    def remove_directory(self, path: str) -> None:
        found = self._old(path)
        if found.slash:
            self._find(path, follow=True)
        if not isinstance(found.node, Directory):
            raise ServiceError(ErrorCode.NOT_A_DIR, path)
        last = last_name(path)
        if found.node is self.image.root and last != "..":
            raise ServiceError(ErrorCode.BUSY, path)
        if last in (".", ".."):
            raise ServiceError(ErrorCode.INVALID_ARG, path)
        self.image.remove(found)

    def _old(self, path: str) -> Found:
        """A name that something has, to be changed."""
        found = self._leaf(path)
        if found.node is None:
            raise ServiceError(ErrorCode.NOT_FOUND, path)
        self._changing()
        return found

    def remove_file(self, path: str) -> None:
        found = self._old(path)
        node = self._find(path, follow=True) if found.slash else found.node
        if isinstance(node, Directory):
            raise ServiceError(ErrorCode.NOT_A_FILE, path)
        self.image.remove(found)

    def rename(self, path: str, new_path: str) -> None:
        old = self._leaf(path)
        new = self._leaf(new_path)
        if last_name(path) in ("", ".", "..") or last_name(new_path) in ("", ".", ".."):
            raise ServiceError(ErrorCode.BUSY)
        if old.node is None:
            raise ServiceError(ErrorCode.NOT_FOUND, path)
        self._changing()
        self.image.rename(old, new)

    def link(self, path: str, new_path: str, *, follow: bool) -> None:
        node = self._find(path, follow=follow)
        if isinstance(node, Directory):
            self._new(new_path)
            raise ServiceError(ErrorCode.NOT_ALLOWED, path)
        new = self._new_name(new_path)
        self.image.add(new, node)

    def make_link(self, target: str, path: str) -> None:
        new = self._new_name(path)
        if not target:
            raise ServiceError(ErrorCode.NOT_FOUND, path)
        if "\0" in target:
            raise ServiceError(ErrorCode.INVALID_ARG)
        self.image.add(new, Link(target))

    def read_link(self, path: str) -> bytes:
        return _text(self._find(path, follow=False))


def last_name(path: str) -> str:
    """As it is written, without slashes after it."""
    return path.rstrip("/").rpartition("/")[2]


def _check_names(path: str) -> None:
    for name in path.split("/"):
        if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
            raise ServiceError(ErrorCode.NAME_TOO_LONG)


def _text(node: Node) -> bytes:
    if not isinstance(node, Link):
        raise ServiceError(ErrorCode.INVALID_ARG)
    return node.target.encode("utf-8", "surrogateescape")


def _kind(node: Node) -> int:
    if isinstance(node, File):
        return REGULAR
    return DIRECTORY if isinstance(node, Directory) else SYMBOLIC_LINK


def _check_kind(node: Node, flags: int) -> None:
    """Whether what is there can be opened like that."""
    if isinstance(node, Directory):
        if flags & (CREATE | EMPTY | TO_WRITE | APPEND):
            raise ServiceError(ErrorCode.NOT_A_FILE)
    elif isinstance(node, Link):
        raise ServiceError(ErrorCode.TOO_MANY_LINKS)
    elif flags & IS_DIRECTORY:
        raise ServiceError(ErrorCode.NOT_A_DIR)


class _Node(Opened):
    """A node of an image, held as long as it is open."""

    __slots__ = ("_image", "_node", "_world", "kind")

    def __init__(self, world: ImageWorld, node: Node) -> None:
        world.image.hold(node)
        self._world = world
        self._image = world.image
        self._node = node
        self.kind = _kind(node)

    @property
    def _file(self) -> File:
        if not isinstance(self._node, File):
            raise ServiceError(ErrorCode.NOT_A_FILE)
        return self._node

    @property
    def _changing(self) -> File:
        file = self._file
        if self._world.read_only:
            raise ServiceError(ErrorCode.READ_ONLY)
        return file

    def read(self, offset: int, most: int) -> bytes:
        file = self._file
        if offset >= file.size:
            raise ServiceError(ErrorCode.EOF)
        if file.source is None:
            return bytes(file.data[offset : offset + most])
        data = bytearray(min(most, file.size - offset))
        return bytes(data[: file.source.read_into(offset, memoryview(data))])

    def write(self, offset: int, data: bytes) -> int:
        try:
            return self._image.write(self._changing, offset, data)
        except ServiceError as error:
            raise as_first(error) from None

    def read_into(self, offset: int, view: memoryview) -> int:
        file = self._file
        if file.source is not None:
            return file.source.read_into(offset, view)
        found = memoryview(file.data)[offset : offset + len(view)]
        try:
            count = len(found)
            view[:count] = found
        finally:
            found.release()
        return count

    def write_from(self, offset: int, view: memoryview) -> int:
        return self._image.write(self._changing, offset, view)

    def append(self, view: memoryview) -> tuple[int, int]:
        file = self._changing
        count = self._image.write(file, file.size, view)
        return count, file.size

    def resize(self, size: int) -> None:
        self._image.resize(self._changing, size)

    def allocate(self, offset: int, size: int) -> None:
        file = self._changing
        if offset + size > file.size:
            self._image.resize(file, offset + size)

    def status(self) -> Status:
        return self._world._status(self._node)

    def set_times(self, accessed_ns: int, modified_ns: int) -> None:
        if self._world.read_only:
            raise ServiceError(ErrorCode.READ_ONLY)
        self._world._set_times(self._node, accessed_ns, modified_ns)

    def entries(self) -> list[Entry]:
        node = self._node
        if not isinstance(node, Directory):
            raise ServiceError(ErrorCode.NOT_A_DIR)
        self._image.enter(node)
        if len(node.names) > MAX_LISTED:
            raise ServiceError(ErrorCode.TOO_LARGE, f"more than {MAX_LISTED:,} names")
        return [
            (name.encode("utf-8", "surrogateescape"), inner.inode, _kind(inner))
            for name in node.names
            for inner in (node.nodes[name],)
        ]

    def _inner(self, name: bytes) -> Node:
        node = self._node
        if isinstance(node, Directory):
            self._image.enter(node)
            inner = node.nodes.get(name.decode("utf-8", "surrogateescape"))
            if inner is not None:
                return inner
        raise ServiceError(ErrorCode.NOT_FOUND)

    def look(self, name: bytes) -> Status:
        return self._world._status(self._inner(name))

    def read_link(self, name: bytes) -> bytes:
        return _text(self._inner(name))

    def close(self) -> None:
        self._image.release(self._node)
