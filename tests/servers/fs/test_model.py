"""The server against a model made of dicts: any two tasks, any operations, the same answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

import wasmos
from wasmos import abi
from wasmos.servers.fs import File, Fs, Image

MAX_BYTES, MAX_FILE_BYTES, MAX_ENTRIES, MAX_OPEN = 40, 20, 7, 3


@dataclass
class Node:
    data: bytes | None = None  # None: a directory
    gone: bool = False


@dataclass
class Model:
    """What an image with files open is, written as plainly as possible: every path and its node,
    and every number of every task."""

    paths: dict[tuple[str, ...], Node] = field(default_factory=lambda: {(): Node()})
    handles: dict[tuple[int, int], list[Any]] = field(default_factory=dict)

    def resolve(self, path: str) -> tuple[str, ...] | int:
        """The names of a path whose directories all exist, or an error."""
        if not path:
            return -11
        found: tuple[str, ...] = ()
        names = path.split("/")
        for at, name in enumerate(names):
            if found not in self.paths:
                # Only slashes may come after a name that is missing.
                return -7 if any(names[at:]) else found
            if self.paths[found].data is not None:
                return -26
            if name == "..":
                if not found:
                    return -11
                found = found[:-1]
            elif name not in ("", "."):
                found = (*found, name)
        return found

    def nodes(self) -> list[Node]:
        """All that count: those with a path, and those that somebody holds."""
        found = {id(node): node for path, node in self.paths.items() if path}
        found |= {id(node): node for node, _ in self.handles.values() if node.gone}
        return list(found.values())

    def used(self) -> int:
        return sum(len(node.data or b"") for node in self.nodes())

    def find(self, path: str) -> Node | int:
        names = self.resolve(path)
        if isinstance(names, int):
            return names
        return self.paths.get(names, -7)

    def make(self, path: str, data: bytes | None) -> int:
        names = self.resolve(path)
        if isinstance(names, int):
            return names
        if names in self.paths:
            return -3
        if data is not None and path.endswith("/"):
            return -11
        if len(self.nodes()) >= MAX_ENTRIES:
            return -2
        self.paths[names] = Node(data)
        return 0

    def delete(self, path: str) -> int:
        names = self.resolve(path)
        if isinstance(names, int):
            return names
        if names not in self.paths:
            return -7
        if not names:
            return -8
        if any(other[:-1] == names for other in self.paths if other):
            return -23
        self.paths.pop(names).gone = True
        return 0

    def open(self, task: int, path: str) -> int:
        node = self.find(path)
        if isinstance(node, int):
            return node
        mine = {fd for owner, fd in self.handles if owner == task}
        if len(mine) >= MAX_OPEN:
            return -2
        fd = min(set(range(1, MAX_OPEN + 1)) - mine)
        self.handles[task, fd] = [node, 0]
        return fd

    def read(self, task: int, fd: int, length: int) -> bytes | int:
        if (task, fd) not in self.handles:
            return -11
        handle = self.handles[task, fd]
        node, offset = handle
        if node.data is None:
            return -25
        if offset >= len(node.data):
            return -27
        part: bytes = node.data[offset:][: min(length, 1024)]
        handle[1] += len(part)
        return part

    def write(self, task: int, fd: int, data: bytes) -> int:
        if (task, fd) not in self.handles:
            return -11
        handle = self.handles[task, fd]
        node, offset = handle
        if node.data is None:
            return -25
        changed = node.data[:offset] + data + node.data[offset + len(data) :]
        if len(changed) > len(node.data):
            if len(changed) > MAX_FILE_BYTES:
                return -17
            if self.used() + len(changed) - len(node.data) > MAX_BYTES:
                return -2
        node.data = changed
        handle[1] += len(data)
        return len(data)

    def readdir(self, path: str, index: int) -> tuple[str, int, int] | int:
        node, names = self.find(path), self.resolve(path)
        if isinstance(node, int):
            return node
        if node.data is not None:
            return -26
        if index < 0:
            return -11
        inside = sorted(other[-1] for other in self.paths if other and other[:-1] == names)
        if index >= len(inside):
            return -27
        assert not isinstance(names, int)
        data = self.paths[*names, inside[index]].data
        return inside[index], 221 if data is None else 255, len(data or b"")


PATHS = st.lists(st.sampled_from(["a", "b", "a", "b", "c", "", ".", ".."]), max_size=4).map(
    "/".join
)
NUMBERS = st.integers(0, MAX_OPEN + 1)
TASKS = st.integers(0, 1)


class FsMachine(RuleBasedStateMachine):
    @initialize()
    def boot(self) -> None:
        self.kernel = wasmos.Kernel(virtual_clock=True)
        limits = {"max_file_bytes": MAX_FILE_BYTES, "max_entries": MAX_ENTRIES}
        self.image = Image(max_bytes=MAX_BYTES, **limits)
        self.kernel.serve(Fs(self.image, max_open_files=MAX_OPEN))
        self.clients = [self.kernel.client(), self.kernel.client()]
        self.model = Model()

    def teardown(self) -> None:
        if hasattr(self, "kernel"):
            self.kernel.close()

    def ask(self, task: int, message: abi.Message) -> Any:
        """An answer, or its error code."""
        try:
            return self.clients[task].call("fs", message)
        except wasmos.ServiceError as error:
            return error.code

    @rule(task=TASKS, path=PATHS)
    def mkfile(self, task: int, path: str) -> None:
        expected = self.model.make(path, b"")
        found = self.ask(task, abi.FsMkfile(path))
        assert found == (expected or abi.FsMkfileReply())

    @rule(task=TASKS, path=PATHS)
    def mkdir(self, task: int, path: str) -> None:
        expected = self.model.make(path, None)
        found = self.ask(task, abi.FsMkdir(path))
        assert found == (expected or abi.FsMkdirReply())

    @rule(task=TASKS, path=PATHS)
    def delete(self, task: int, path: str) -> None:
        expected = self.model.delete(path)
        found = self.ask(task, abi.FsDelete(path))
        assert found == (expected or abi.FsDeleteReply())

    @rule(task=TASKS, path=PATHS)
    def open(self, task: int, path: str) -> None:
        expected = self.model.open(task, path)
        found = self.ask(task, abi.FsOpen(path))
        assert found == (expected if expected < 0 else abi.FsOpenReply(expected))

    @rule(task=TASKS, fd=NUMBERS)
    def close(self, task: int, fd: int) -> None:
        known = self.model.handles.pop((task, fd), None)
        found = self.ask(task, abi.FsClose(fd))
        assert found == (-11 if known is None else abi.FsCloseReply())

    @rule(task=TASKS, fd=NUMBERS, length=st.integers(0, 12))
    def read(self, task: int, fd: int, length: int) -> None:
        expected = self.model.read(task, fd, length)
        found = self.ask(task, abi.FsRead(fd, length))
        assert found == (expected if isinstance(expected, int) else abi.FsReadReply(expected))

    @rule(task=TASKS, fd=NUMBERS, data=st.binary(max_size=12))
    def write(self, task: int, fd: int, data: bytes) -> None:
        expected = self.model.write(task, fd, data)
        found = self.ask(task, abi.FsWrite(fd, data))
        assert found == (expected if expected < 0 else abi.FsWriteReply(expected))

    @rule(task=TASKS, path=PATHS, index=st.integers(-1, 4))
    def readdir(self, task: int, path: str, index: int) -> None:
        expected = self.model.readdir(path, index)
        found = self.ask(task, abi.FsReaddir(path, index))
        assert found == (expected if isinstance(expected, int) else abi.FsReaddirReply(*expected))

    @precondition(lambda self: self.model.handles)
    @rule(task=TASKS)
    def end(self, task: int) -> None:
        self.clients[task].kill()
        self.clients[task] = self.kernel.client()
        for owner, fd in list(self.model.handles):
            if owner == task:
                del self.model.handles[owner, fd]

    @invariant()
    def same_tree(self) -> None:
        if not hasattr(self, "model"):
            return
        tree = {
            tuple(path.split("/")): bytes(node.data) if isinstance(node, File) else None
            for path, node in self.image.walk()
        }
        assert tree == {path: node.data for path, node in self.model.paths.items() if path}
        assert self.image.used_bytes == self.model.used()
        assert self.image.entries == len(self.model.nodes())


FsMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_server_is_its_model = FsMachine.TestCase
