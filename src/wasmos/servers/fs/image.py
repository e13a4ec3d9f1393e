"""A tree of directories and files in memory.

Law: no I/O and no callers, only paths in and nodes or errors out. A change that would break a
limit changes nothing.

A path is names with slashes between them; one at the beginning means nothing. `.` is where one
is and `..` the directory above, but a path that leaves the root is an error: silently staying
there would hide that somebody tried. A name is a str whose surrogate escapes are the bytes that
aren't UTF-8, so that every name a host can have survives.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError, WasmosError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 64 << 20
MAX_ENTRIES = 16_384
# What fits a message. It bounds names, and how deep a tree can be: 128 levels.
MAX_PATH_BYTES = 255
# What the size of a directory's entry can tell.
MAX_FILE_BYTES = (1 << 32) - 1


class ImageError(WasmosError):
    """An image can't be loaded or saved; the message names the entry and the reason."""


class File:
    """Bytes. They change only through their image, which counts them."""

    __slots__ = ("data", "holders", "linked")

    def __init__(self) -> None:
        self.data = bytearray()
        self.linked = True  # whether a directory has it
        self.holders = 0


class Directory:
    """Names, in the order of their characters, and what they name."""

    __slots__ = ("holders", "linked", "names", "nodes")

    def __init__(self) -> None:
        # Kept sorted: to sort them anew for every answer would be a guest's cheapest weapon.
        self.names: list[str] = []
        self.nodes: dict[str, File | Directory] = {}
        self.linked = True
        self.holders = 0

    def add(self, name: str, node: File | Directory) -> None:
        insort(self.names, name)
        self.nodes[name] = node

    def remove(self, name: str) -> None:
        del self.names[bisect_left(self.names, name)]
        del self.nodes[name]


class Image:
    """A tree, and how large it may become.

    max_bytes: of all files together, deleted ones that are still held included.
    max_file_bytes: of one file.
    max_entries: files and directories, likewise.
    """

    def __init__(
        self,
        *,
        max_bytes: int = MAX_BYTES,
        max_file_bytes: int = MAX_FILE_BYTES,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self.max_bytes = max_bytes
        self.max_file_bytes = min(max_file_bytes, MAX_FILE_BYTES)
        self.max_entries = max_entries
        self.used_bytes = 0
        self.entries = 0
        self.root = Directory()

    # --- looking ---

    def find(self, path: str) -> File | Directory:
        """What `path` names. Raises ServiceError: not found, not a directory, invalid."""
        _, _, node = self._resolve(path)
        if node is None:
            raise ServiceError(ErrorCode.NOT_FOUND, path)
        return node

    def directory(self, path: str) -> Directory:
        """The directory that `path` names."""
        node = self.find(path)
        if isinstance(node, File):
            raise ServiceError(ErrorCode.NOT_A_DIR, path)
        return node

    def file(self, path: str) -> File:
        """The file that `path` names."""
        node = self.find(path)
        if isinstance(node, Directory):
            raise ServiceError(ErrorCode.NOT_A_FILE, path)
        return node

    def walk(self) -> Iterator[tuple[str, File | Directory]]:
        """Every path below the root and what it names, a directory before what is in it."""
        return _walk("", self.root)

    def _resolve(self, path: str) -> tuple[Directory, str, File | Directory | None]:
        """The directory that has the path's last name, that name, and what is there: None if
        only that last name is missing. The root is in itself, without a name."""
        if not path or "\0" in path:
            raise ServiceError(ErrorCode.INVALID_ARG, "a path is text")
        names = path.split("/")
        trail: list[tuple[Directory, str, File | Directory]] = [(self.root, "", self.root)]
        for at, name in enumerate(names):
            here = trail[-1][2]
            if isinstance(here, File):
                raise ServiceError(ErrorCode.NOT_A_DIR, path)
            if name in ("", "."):
                continue
            if name == "..":
                trail.pop()
                if not trail:
                    raise ServiceError(ErrorCode.INVALID_ARG, f"{path} leaves the root")
                continue
            node = here.nodes.get(name)
            if node is None:
                if any(names[at + 1 :]):
                    raise ServiceError(ErrorCode.NOT_FOUND, path)
                return here, name, None
            trail.append((here, name, node))
        return trail[-1]

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
        parent, name, existing = self._resolve(path)
        if existing is not None:
            raise ServiceError(ErrorCode.ALREADY_EXISTS, path)
        if isinstance(node, File) and path.endswith("/"):
            raise ServiceError(ErrorCode.INVALID_ARG, f"{path} would be a directory")
        if _size(path) > MAX_PATH_BYTES:
            raise ServiceError(ErrorCode.TOO_LARGE, f"a path has at most {MAX_PATH_BYTES} bytes")
        if self.entries >= self.max_entries:
            raise ServiceError(
                ErrorCode.NO_RESOURCES, f"an image has at most {self.max_entries:,} entries"
            )
        parent.add(name, node)
        self.entries += 1

    def write(self, file: File, offset: int, data: bytes) -> int:
        """Put `data` at `offset`, at most the file's end; all of it or nothing."""
        end = offset + len(data)
        growth = end - len(file.data)
        if growth > 0:
            if end > self.max_file_bytes:
                raise ServiceError(
                    ErrorCode.TOO_LARGE, f"a file has at most {self.max_file_bytes:,} bytes"
                )
            if self.used_bytes + growth > self.max_bytes:
                raise ServiceError(
                    ErrorCode.NO_RESOURCES, f"all files have at most {self.max_bytes:,} bytes"
                )
            self.used_bytes += growth
        file.data[offset:end] = data
        return len(data)

    def delete(self, path: str) -> None:
        """Take away a file or an empty directory. Who holds it can still use it."""
        parent, name, node = self._resolve(path)
        if node is None:
            raise ServiceError(ErrorCode.NOT_FOUND, path)
        if node is self.root:
            raise ServiceError(ErrorCode.NOT_ALLOWED, "the root stays")
        if isinstance(node, Directory) and node.names:
            raise ServiceError(ErrorCode.NOT_EMPTY, path)
        parent.remove(name)
        node.linked = False
        self._reclaim(node)

    def hold(self, node: File | Directory) -> None:
        """Keep a node, and count it, until `release`, even if it is deleted meanwhile."""
        node.holders += 1

    def release(self, node: File | Directory) -> None:
        """End what `hold` began."""
        node.holders -= 1
        self._reclaim(node)

    def _reclaim(self, node: File | Directory) -> None:
        if node.linked or node.holders:
            return
        self.entries -= 1
        if isinstance(node, File):
            self.used_bytes -= len(node.data)

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


def _walk(prefix: str, directory: Directory) -> Iterator[tuple[str, File | Directory]]:
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
