"""A tree of directories, files and links in memory.

Law: no I/O and no callers, only paths in and nodes or errors out. A change that would break a
limit changes nothing.

A path is names with slashes between them; one at the beginning means nothing. `.` is where one
is and `..` the directory above, but a path that leaves the root is an error: silently staying
there would hide that somebody tried. A name is a str whose surrogate escapes are the bytes that
aren't UTF-8, so that every name a host can have survives.

A link is a text, and may lead anywhere; it is followed within the tree only.

What a directory has in it may be told later, when it is first looked at, and so may a file's
bytes: of those, an image only holds what was changed. See sources.py.
"""

from __future__ import annotations

import time
from bisect import bisect_left, insort

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError, WasmosError
from wasmos.servers.fs.world import LEADS_OUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn, TypeAlias

    from wasmos.servers.fs.sources import Bytes, Listing

    Node: TypeAlias = "File | Directory | Link"

MAX_BYTES = 64 << 20
MAX_ENTRIES = 16_384
# What fits an old message; and how deep a tree can be.
MAX_PATH_BYTES = 255
MAX_DEPTH = 128
MAX_NAME_BYTES = 255
MAX_LINKS = 40
# What the size of a directory's entry can tell.
MAX_FILE_BYTES = (1 << 32) - 1


class ImageError(WasmosError):
    """An image can't be loaded or saved; the message names the entry and the reason."""


class _Inode:
    """What files, directories and links have in common."""

    __slots__ = ("accessed_ns", "changed_ns", "holders", "inode", "links", "modified_ns")

    def __init__(self) -> None:
        self.inode = 0  # given by the image
        self.links = 0  # how many names it has
        self.holders = 0
        self.accessed_ns = self.modified_ns = self.changed_ns = 0


class File(_Inode):
    """Bytes. They change only through their image, which counts them."""

    __slots__ = ("data", "source")

    def __init__(self) -> None:
        super().__init__()
        self.data = bytearray()
        self.source: Bytes | None = None  # has the bytes as long as nobody changes them

    @property
    def size(self) -> int:
        return len(self.data) if self.source is None else self.source.size


class Link(_Inode):
    """The text of a symbolic link."""

    __slots__ = ("target",)

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target

    @property
    def size(self) -> int:
        return _size(self.target)


class Directory(_Inode):
    """Names, in the order of their characters, and what they name."""

    __slots__ = ("names", "nodes", "parent", "source")

    def __init__(self) -> None:
        super().__init__()
        # Kept sorted: to sort them anew for every answer would be a guest's cheapest weapon.
        self.names: list[str] = []
        self.nodes: dict[str, Node] = {}
        self.parent: Directory | None = None  # None for the root, and when it is deleted
        self.source: Listing | None = None  # has the names as long as nobody asks for one

    def add(self, name: str, node: Node) -> None:
        insort(self.names, name)
        self.nodes[name] = node
        node.links += 1
        if isinstance(node, Directory):
            node.parent = self

    def remove(self, name: str) -> None:
        del self.names[bisect_left(self.names, name)]
        node = self.nodes.pop(name)
        node.links -= 1
        if isinstance(node, Directory):
            node.parent = None

    @property
    def size(self) -> int:
        return 0

    @property
    def depth(self) -> int:
        above, depth = self.parent, 0
        while above is not None:
            above, depth = above.parent, depth + 1
        return depth


class Found:
    """Where a path leads: the directory that has its last name, that name, and what is there,
    None if only that is missing. The root is in itself, without a name.

    slash: whether more than the name was asked for: that it is a directory.
    """

    __slots__ = ("name", "node", "parent", "slash")

    def __init__(self, parent: Directory, name: str, node: Node | None, slash: bool) -> None:
        self.parent = parent
        self.name = name
        self.node = node
        self.slash = slash


class Image:
    """A tree, and how large it may become.

    max_bytes: of all files together, deleted ones that are still held included.
    max_file_bytes: of one file.
    max_entries: names of files, directories and links, likewise.
    now_ns: the clock that they are stamped by.
    """

    def __init__(
        self,
        *,
        max_bytes: int = MAX_BYTES,
        max_file_bytes: int = MAX_FILE_BYTES,
        max_entries: int = MAX_ENTRIES,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.max_bytes = max_bytes
        self.max_file_bytes = min(max_file_bytes, MAX_FILE_BYTES)
        self.max_entries = max_entries
        self.now_ns = now_ns
        self.used_bytes = 0
        self.entries = 0
        self._inodes = 0
        self.root = Directory()
        self.root.links = 1
        self.stamp(self.root)

    def stamp(self, node: Node) -> None:
        """A new node's number and times."""
        self.number(node)
        node.accessed_ns = node.modified_ns = node.changed_ns = self.now_ns()

    def number(self, node: Node) -> None:
        self._inodes += 1
        node.inode = self._inodes

    # --- looking ---

    def find(self, path: str) -> Node:
        """What `path` names. Raises ServiceError: not found, not a directory, invalid."""
        node = self.resolve(path, follow=True).node
        if node is None:
            raise ServiceError(ErrorCode.NOT_FOUND, path)
        return node

    def directory(self, path: str) -> Directory:
        """The directory that `path` names."""
        node = self.find(path)
        if not isinstance(node, Directory):
            raise ServiceError(ErrorCode.NOT_A_DIR, path)
        self.enter(node)
        return node

    def file(self, path: str) -> File:
        """The file that `path` names."""
        node = self.find(path)
        if not isinstance(node, File):
            raise ServiceError(ErrorCode.NOT_A_FILE, path)
        return node

    def walk(self) -> Iterator[tuple[str, Node]]:
        """Every path below the root and what it names, a directory before what is in it."""
        return _walk("", self.root)

    def enter(self, directory: Directory) -> None:
        """Let a directory know what is in it."""
        if directory.source is not None:
            directory.source.fill(self, directory)

    def resolve(self, path: str, *, follow: bool = True) -> Found:
        """Where a path leads. A link at its end is followed, or is what was found; what leaves
        the root is INVALID_ARG in a path and NOT_ALLOWED in a link."""
        if not path or "\0" in path:
            raise ServiceError(ErrorCode.INVALID_ARG, "a path is text")
        pending = path.split("/")[::-1]
        trail: list[tuple[Directory, str, Node]] = [(self.root, "", self.root)]
        links = 0
        while pending:
            name = pending.pop()
            here = trail[-1][2]
            if not isinstance(here, Directory):
                raise ServiceError(ErrorCode.NOT_A_DIR, path)
            if name in ("", "."):
                continue
            if name == "..":
                trail.pop()
                if not trail:
                    _left(path, links)
                continue
            self.enter(here)
            node = here.nodes.get(name)
            if node is None:
                if any(pending):
                    raise ServiceError(ErrorCode.NOT_FOUND, path)
                return Found(here, name, None, bool(pending))
            if isinstance(node, Link) and (follow or pending):
                links += 1
                pending += _steps(node, links, path)
            else:
                trail.append((here, name, node))
        return Found(*trail[-1], path.endswith("/"))

    # --- changing ---

    def make_file(self, path: str) -> File:
        """A new empty file."""
        file = File()
        self._make(path, file)
        return file

    def make_directory(self, path: str) -> Directory:
        """A new empty directory."""
        directory = Directory()
        self._make(path, directory)
        return directory

    def _make(self, path: str, node: File | Directory) -> None:
        found = self.resolve(path, follow=False)
        if found.node is not None:
            raise ServiceError(ErrorCode.ALREADY_EXISTS, path)
        if isinstance(node, File) and path.endswith("/"):
            raise ServiceError(ErrorCode.INVALID_ARG, f"{path} would be a directory")
        if _size(path) > MAX_PATH_BYTES:
            raise ServiceError(ErrorCode.TOO_LARGE, f"a path has at most {MAX_PATH_BYTES} bytes")
        self.add(found, node)

    def add(self, found: Found, node: Node) -> None:
        """Give a node, a new one or another name of one, the name that nothing has yet."""
        if _size(found.name) > MAX_NAME_BYTES or found.parent.depth >= MAX_DEPTH:
            raise ServiceError(
                ErrorCode.NAME_TOO_LONG, f"{MAX_NAME_BYTES} bytes, {MAX_DEPTH} directories"
            )
        if found.parent.links == 0:  # it was deleted, and somebody is still there
            raise ServiceError(ErrorCode.NOT_FOUND)
        if self.entries >= self.max_entries:
            raise ServiceError(
                ErrorCode.NO_SPACE, f"an image has at most {self.max_entries:,} entries"
            )
        if not node.inode:
            if isinstance(node, Link):
                self._grow(node.size)
            self.stamp(node)
        else:
            node.changed_ns = self.now_ns()
        found.parent.add(found.name, node)
        self.touch(found.parent)
        self.entries += 1

    def touch(self, node: Node) -> None:
        """Something in it has changed just now."""
        node.modified_ns = node.changed_ns = self.now_ns()

    def write(self, file: File, offset: int, data: bytes | memoryview) -> int:
        """Put `data` at `offset`; all of it or nothing. What is between the end and there is
        zeros. No data changes nothing."""
        end = offset + len(data)
        self.own(file)
        size = len(file.data)
        if data and end > size:
            self.resize(file, end) if offset > size else self._extend(file, end)
        file.data[offset:end] = data
        if data:
            self.touch(file)
        return len(data)

    def _extend(self, file: File, end: int) -> None:
        """Whether a file may be so long, and then it counts so."""
        if end > self.max_file_bytes:
            raise ServiceError(
                ErrorCode.TOO_LARGE, f"a file has at most {self.max_file_bytes:,} bytes"
            )
        self._grow(end - len(file.data))

    def _grow(self, growth: int) -> None:
        if self.used_bytes + growth > self.max_bytes:
            raise ServiceError(
                ErrorCode.NO_SPACE, f"all files have at most {self.max_bytes:,} bytes"
            )
        self.used_bytes += growth

    def resize(self, file: File, size: int) -> None:
        """Cut a file, or make it longer with zeros."""
        if size == 0:
            self._disown(file)
        self.own(file)
        growth = size - len(file.data)
        if growth > 0:
            self._extend(file, size)
            file.data.extend(bytes(growth))
        else:
            self.used_bytes += growth
            del file.data[size:]
        self.touch(file)

    def own(self, file: File) -> None:
        """Have the bytes of a file here, to change them."""
        source = file.source
        if source is None:
            return
        data = source.all(min(self.max_bytes - self.used_bytes, self.max_file_bytes))
        self.used_bytes += len(data)
        file.data = data
        self._disown(file)

    def _disown(self, file: File) -> None:
        if file.source is not None:
            if file.holders:
                file.source.close()
            file.source = None

    def delete(self, path: str) -> None:
        """Take away a file or an empty directory. Who holds it can still use it."""
        found = self.resolve(path, follow=False)
        if found.node is None:
            raise ServiceError(ErrorCode.NOT_FOUND, path)
        if found.node is self.root:
            raise ServiceError(ErrorCode.NOT_ALLOWED, "the root stays")
        self.remove(found)

    def remove(self, found: Found) -> None:
        """Take away a name, of a directory only if nothing is in it."""
        node = found.node
        assert node is not None
        if isinstance(node, Directory):
            self.enter(node)
            if node.names:
                raise ServiceError(ErrorCode.NOT_EMPTY)
        found.parent.remove(found.name)
        self.touch(found.parent)
        node.changed_ns = self.now_ns()
        if node.links == 0:
            self._reclaim(node)
        else:
            self.entries -= 1

    def rename(self, old: Found, new: Found) -> None:
        """Move a name, instead of what has the new one."""
        node = old.node
        assert node is not None
        if (old.slash or new.slash) and not isinstance(node, Directory):
            raise ServiceError(ErrorCode.NOT_A_DIR)
        if node is new.node:
            return  # the same file: POSIX wants both names to stay
        if isinstance(node, Directory):
            self._check_move(node, new)
        elif isinstance(new.node, Directory):
            # As Linux has it: instead of a directory that it is in, it would empty that first.
            is_below = new.node in _above(old.parent)
            raise ServiceError(ErrorCode.NOT_EMPTY if is_below else ErrorCode.NOT_A_FILE)
        if _size(new.name) > MAX_NAME_BYTES or new.parent.depth >= MAX_DEPTH:
            raise ServiceError(ErrorCode.NAME_TOO_LONG)
        if new.node is not None:
            self.remove(new)
        old.parent.remove(old.name)
        new.parent.add(new.name, node)
        self.touch(old.parent)
        self.touch(new.parent)
        node.changed_ns = self.now_ns()

    def _check_move(self, node: Directory, new: Found) -> None:
        if node in _above(new.parent):
            raise ServiceError(ErrorCode.INVALID_ARG, "into itself")
        if new.node is not None and not isinstance(new.node, Directory):
            raise ServiceError(ErrorCode.NOT_A_DIR)
        if new.parent.depth + _height(node) > MAX_DEPTH:
            raise ServiceError(ErrorCode.NAME_TOO_LONG, f"at most {MAX_DEPTH} directories")

    def hold(self, node: Node) -> None:
        """Keep a node, and count it, until `release`, even if it is deleted meanwhile."""
        if isinstance(node, File) and node.source is not None and not node.holders:
            node.source.open()
        node.holders += 1

    def release(self, node: Node) -> None:
        """End what `hold` began."""
        node.holders -= 1
        if isinstance(node, File) and node.source is not None and not node.holders:
            node.source.close()
        if node.links == 0:
            self._reclaim(node)

    def _reclaim(self, node: Node) -> None:
        if node.holders:
            return
        self.entries -= 1
        if isinstance(node, File):
            self.used_bytes -= len(node.data)
        elif isinstance(node, Link):
            self.used_bytes -= node.size

    # --- whole files, for the host ---

    def make_directories(self, path: str) -> None:
        """A directory and those above it, as far as they are missing."""
        names = path.split("/")
        for depth in range(1, len(names) + 1):
            if names[depth - 1]:
                self._ensure_directory("/".join(names[:depth]))

    def _ensure_directory(self, path: str) -> None:
        try:
            self.directory(path)
        except ServiceError as error:
            if error.code != ErrorCode.NOT_FOUND:
                raise
            self.make_directory(path)

    def put(self, path: str, data: bytes) -> None:
        """A new file with its contents, and the directories above it."""
        self.make_directories(path.rpartition("/")[0])
        file = self.make_file(path)
        try:
            self.write(file, 0, data)
        except ServiceError:
            self.delete(path)
            raise

    def get(self, path: str) -> bytes:
        """A file's contents."""
        return bytes(self.file(path).data)


def _left(path: str, links: int) -> NoReturn:
    code = ErrorCode.NOT_ALLOWED if links else ErrorCode.INVALID_ARG
    raise ServiceError(code, f"{path} {LEADS_OUT}")


def _steps(link: Link, links: int, path: str) -> list[str]:
    """What a link puts in its place, the first name last."""
    if links > MAX_LINKS:
        raise ServiceError(ErrorCode.TOO_MANY_LINKS, path)
    if link.target.startswith("/"):
        raise ServiceError(ErrorCode.NOT_ALLOWED, f"{path} {LEADS_OUT}")
    return link.target.split("/")[::-1]


def _above(directory: Directory) -> Iterator[Directory]:
    """A directory, and all that it is in."""
    above: Directory | None = directory
    while above is not None:
        yield above
        above = above.parent


def _height(directory: Directory) -> int:
    """How many levels there are, this one included. What nobody has looked at is one."""
    height, level = 0, [directory]
    while level:
        height += 1
        level = [
            node for above in level for node in above.nodes.values() if isinstance(node, Directory)
        ]
    return height


def _walk(prefix: str, directory: Directory) -> Iterator[tuple[str, Node]]:
    for name in directory.names:
        node = directory.nodes[name]
        yield prefix + name, node
        if isinstance(node, Directory):
            yield from _walk(f"{prefix}{name}/", node)


def _size(path: str) -> int:
    try:
        return len(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise ServiceError(ErrorCode.INVALID_ARG, "not a name that has bytes") from None
