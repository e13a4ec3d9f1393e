"""A file system in memory, with the messages that the adapter sends: as simple as can be.

It stands in for `wasmos.servers.fs` as long as that doesn't answer them.
"""

from __future__ import annotations

import struct
from itertools import count

import wasmos
from wasmos.abi import ErrorCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmos.kernel import Lent

CREATE, DIRECTORY, NEW, EMPTY, NO_LINK, READ, WRITE, TO_END = (1 << n for n in range(8))
DIR_KIND, FILE_KIND, LINK_KIND = 3, 4, 7
MAX_LINKS = 40


class Node:
    _inodes = count(10)

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.inode = next(self._inodes)
        self.links = 1
        self.data = bytearray()
        self.target = ""
        self.entries: dict[str, Node] = {}
        self.times = [1_000, 2_000, 3_000]

    @property
    def stat(self) -> tuple[int, ...]:
        size = len(self.target) if self.kind == LINK_KIND else len(self.data)
        return (self.kind, 1, self.inode, self.links, size, *self.times)

    def set_times(self, *new: int) -> None:
        for at, time in enumerate(new):
            if time != -1:
                self.times[at] = 99 if time == -2 else time


class Open:
    def __init__(self, node: Node, flags: int) -> None:
        self.node = node
        self.flags = flags


def fail(code: ErrorCode) -> wasmos.ServiceError:
    return wasmos.ServiceError(code)


class FakeFs(wasmos.Service):
    """`roots`: what `fs_root` tells; `tree`: path → the bytes of a file, None for a directory, or
    a string for a link."""

    name = "fs"

    def __init__(
        self,
        tree: dict[str, bytes | str | None] | None = None,
        roots: Sequence[str] = ("/",),
    ) -> None:
        self.root = Node(DIR_KIND)
        self.roots = list(roots)
        self.open: dict[int, Open] = {}
        self.asked: list[tuple[object, ...]] = []  # what came in, for tests that want to know
        self._numbers = count(100)
        self.limit = 1 << 20  # of what is open
        for path, content in (tree or {}).items():
            parent, name = self._parent(path)
            kind = {str: LINK_KIND, bytes: FILE_KIND}.get(type(content), DIR_KIND)
            node = parent.entries[name] = Node(kind)
            if isinstance(content, str):
                node.target = content
            elif content is not None:
                node.data[:] = content

    # --- finding ---

    def _walk(self, path: str, follow: bool) -> tuple[list[Node], str, Node | None]:
        """Where a path leads: the directories down to it, the last name, what is there."""
        names = path.split("/")
        stack, links = [self.root], 0
        slash = path.endswith("/") and path.strip("/") != ""
        todo = [name for name in names if name not in ("", ".")]
        while todo:
            name = todo.pop(0)
            if name == "..":
                if len(stack) == 1:
                    raise fail(ErrorCode.NOT_ALLOWED)
                stack.pop()
                continue
            node = stack[-1].entries.get(name)
            last = not todo
            if node is not None and node.kind == LINK_KIND and (not last or follow or slash):
                links += 1
                if links > MAX_LINKS:
                    raise fail(ErrorCode.TOO_MANY_LINKS)
                if node.target.startswith("/"):
                    raise fail(ErrorCode.NOT_ALLOWED)
                todo[:0] = [part for part in node.target.split("/") if part not in ("", ".")]
                continue
            if last:
                if node is not None and slash and node.kind != DIR_KIND:
                    raise fail(ErrorCode.NOT_A_DIR)
                return stack, name, node
            if node is None:
                raise fail(ErrorCode.NOT_FOUND)
            if node.kind != DIR_KIND:
                raise fail(ErrorCode.NOT_A_DIR)
            stack.append(node)
        return stack[:-1], "", stack[-1]

    def _find(self, path: str, follow: bool = True) -> Node:
        node = self._walk(path, follow)[2]
        if node is None:
            raise fail(ErrorCode.NOT_FOUND)
        return node

    def _parent(self, path: str) -> tuple[Node, str]:
        """Where a new name is to be put; not "already exists"."""
        stack, name, node = self._walk(path, False)
        if node is not None:
            raise fail(ErrorCode.ALREADY_EXISTS)
        return stack[-1], name

    def _of(self, fd: int) -> Open:
        found = self.open.get(fd)
        if found is None:
            raise fail(ErrorCode.BAD_FILE)
        return found

    # --- messages ---

    def fs_root(self, caller: wasmos.Caller, index: int) -> str:
        if index >= len(self.roots):
            raise fail(ErrorCode.EOF)
        return self.roots[index]

    def fs_open_file(self, caller: wasmos.Caller, path: str, flags: int) -> tuple[int, int]:
        self.asked.append(("open", path, flags))
        if len(self.open) >= self.limit:
            raise fail(ErrorCode.NO_RESOURCES)
        stack, name, node = self._walk(path, not flags & NO_LINK)
        if node is None:
            if not flags & CREATE or path.endswith("/"):
                raise fail(ErrorCode.NOT_FOUND)
            node = stack[-1].entries[name] = Node(FILE_KIND)
        elif flags & CREATE and flags & NEW:
            raise fail(ErrorCode.ALREADY_EXISTS)
        if node.kind == LINK_KIND:
            raise fail(ErrorCode.TOO_MANY_LINKS)
        if flags & DIRECTORY and node.kind != DIR_KIND:
            raise fail(ErrorCode.NOT_A_DIR)
        if node.kind == DIR_KIND and flags & (WRITE | EMPTY | CREATE):
            raise fail(ErrorCode.NOT_A_FILE)
        if flags & EMPTY:
            node.data.clear()
        fd = next(self._numbers)
        self.open[fd] = Open(node, flags)
        return fd, node.kind

    def fs_close_file(self, caller: wasmos.Caller, fd: int) -> None:
        self._of(fd)
        del self.open[fd]

    def fs_read_at(self, caller: wasmos.Caller, fd: int, offset: int, into: Lent) -> int:
        return into.write(bytes(self._of(fd).node.data[offset : offset + into.size]))

    def fs_write_at(
        self, caller: wasmos.Caller, fd: int, offset: int, data: Lent
    ) -> tuple[int, int]:
        found = self._of(fd)
        if found.flags & TO_END:
            offset = len(found.node.data)
        found.node.data.extend(bytes(max(0, offset - len(found.node.data))))
        found.node.data[offset : offset + len(data)] = data.read()
        return len(data), offset + len(data)

    def fs_stat(self, caller: wasmos.Caller, path: str, flags: int) -> tuple[int, ...]:
        self.asked.append(("stat", path, flags))
        return self._find(path, bool(flags & 1)).stat

    def fs_stat_file(self, caller: wasmos.Caller, fd: int) -> tuple[int, ...]:
        return self._of(fd).node.stat

    def fs_set_times(
        self, caller: wasmos.Caller, path: str, flags: int, accessed_ns: int, modified_ns: int
    ) -> None:
        self._find(path, bool(flags & 1)).set_times(accessed_ns, modified_ns)

    def fs_set_file_times(
        self, caller: wasmos.Caller, fd: int, accessed_ns: int, modified_ns: int
    ) -> None:
        self._of(fd).node.set_times(accessed_ns, modified_ns)

    def fs_resize(self, caller: wasmos.Caller, fd: int, size: int) -> None:
        data = self._of(fd).node.data
        del data[size:]
        data.extend(bytes(size - len(data)))

    def fs_allocate(self, caller: wasmos.Caller, fd: int, offset: int, size: int) -> None:
        data = self._of(fd).node.data
        data.extend(bytes(max(0, offset + size - len(data))))

    def fs_advise(
        self, caller: wasmos.Caller, fd: int, offset: int, size: int, advice: int
    ) -> None:
        self._of(fd)
        self.asked.append(("advise", offset, size, advice))

    def fs_sync(self, caller: wasmos.Caller, fd: int, flags: int) -> None:
        self._of(fd)
        self.asked.append(("sync", flags))

    def fs_set_flags(self, caller: wasmos.Caller, fd: int, flags: int) -> None:
        found = self._of(fd)
        found.flags = found.flags & 127 | flags

    def fs_list(self, caller: wasmos.Caller, fd: int, cookie: int, into: Lent) -> int:
        found = self._of(fd).node
        if found.kind != DIR_KIND:
            raise fail(ErrorCode.NOT_A_DIR)
        entries = [(".", found), ("..", found), *sorted(found.entries.items())]
        packed = b"".join(
            struct.pack("<QQII", place, node.inode, len(name.encode()), node.kind) + name.encode()
            for place, (name, node) in enumerate(entries, 1)
            if place > cookie
        )
        return into.write(packed[: into.size])

    def fs_make_directory(self, caller: wasmos.Caller, path: str) -> None:
        self.asked.append(("mkdir", path))
        parent, name = self._parent(path)
        parent.entries[name] = Node(DIR_KIND)

    def fs_remove_directory(self, caller: wasmos.Caller, path: str) -> None:
        stack, name, node = self._walk(path, False)
        if node is None:
            raise fail(ErrorCode.NOT_FOUND)
        if node.kind != DIR_KIND:
            raise fail(ErrorCode.NOT_A_DIR)
        if not name:
            raise fail(ErrorCode.BUSY)
        if node.entries:
            raise fail(ErrorCode.NOT_EMPTY)
        del stack[-1].entries[name]

    def fs_remove_file(self, caller: wasmos.Caller, path: str) -> None:
        stack, name, node = self._walk(path, False)
        if node is None:
            raise fail(ErrorCode.NOT_FOUND)
        if node.kind == DIR_KIND:
            raise fail(ErrorCode.NOT_A_FILE)
        node.links -= 1
        del stack[-1].entries[name]

    def fs_rename(self, caller: wasmos.Caller, path: str, new_path: str) -> None:
        stack, name, node = self._walk(path, False)
        if node is None:
            raise fail(ErrorCode.NOT_FOUND)
        new_stack, new_name, _ = self._walk(new_path, False)
        new_stack[-1].entries[new_name] = node
        del stack[-1].entries[name]

    def fs_link(self, caller: wasmos.Caller, path: str, new_path: str, flags: int) -> None:
        node = self._find(path, bool(flags & 1))
        if node.kind == DIR_KIND:
            raise fail(ErrorCode.NOT_ALLOWED)
        parent, name = self._parent(new_path)
        parent.entries[name] = node
        node.links += 1

    def fs_make_link(self, caller: wasmos.Caller, target: str, path: str) -> None:
        parent, name = self._parent(path)
        parent.entries[name] = link = Node(LINK_KIND)
        link.target = target

    def fs_read_link(self, caller: wasmos.Caller, path: str, into: Lent) -> int:
        node = self._find(path, False)
        if node.kind != LINK_KIND:
            raise fail(ErrorCode.INVALID_ARG)
        return into.write(node.target.encode()[: into.size])
