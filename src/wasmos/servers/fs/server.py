"""The fs server: files in an image, opened by number.

Law: a number means something to the task that opened it and to nobody else, and nothing of a
task is left when it has ended.
"""

# ruff: noqa: ARG002 - the fields are parameters, whether used or not.

from __future__ import annotations

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.kernel import Caller, Service
from wasmos.servers.fs.image import Directory, File, Image

MAX_OPEN_FILES = 64
MAX_READ_BYTES = 1024  # what fits an answer
TYPE_FILE = 255
TYPE_DIRECTORY = 221


class _Handle:
    """An open file or directory, and where in it the next read or write happens."""

    __slots__ = ("node", "offset")

    def __init__(self, node: File | Directory) -> None:
        self.node = node
        self.offset = 0

    @property
    def file(self) -> File:
        if isinstance(self.node, Directory):
            raise ServiceError(ErrorCode.NOT_A_FILE)
        return self.node

    def read(self, most: int) -> bytes:
        data = self.file.data
        if self.offset >= len(data):
            raise ServiceError(ErrorCode.EOF)
        part = bytes(data[self.offset : self.offset + most])
        self.offset += len(part)
        return part


class Fs(Service):
    """Serves an image.

    image: what is in it at first; later, what the guests made of it.
    max_open_files: how many files one task may have open.

    A file that is deleted while it is open goes on for those who have it open, and its bytes
    count until the last of them closes it.
    """

    name = "fs"

    def __init__(self, image: Image | None = None, *, max_open_files: int = MAX_OPEN_FILES) -> None:
        self.image = Image() if image is None else image
        self._max_open_files = max_open_files
        self._open: dict[int, dict[int, _Handle]] = {}  # task → number → handle

    def _handle(self, caller: Caller, fd: int) -> _Handle:
        handle = self._open.get(caller.id, {}).get(fd)
        if handle is None:
            raise ServiceError(ErrorCode.INVALID_ARG)
        return handle

    # --- open files ---

    def fs_open(self, caller: Caller, path: str, flags: int) -> int:
        node = self.image.find(path)
        handles = self._open.setdefault(caller.id, {})
        if len(handles) >= self._max_open_files:
            raise ServiceError(ErrorCode.NO_RESOURCES)
        fd = next(number for number in range(1, len(handles) + 2) if number not in handles)
        self.image.hold(node)
        handles[fd] = _Handle(node)
        return fd

    def fs_close(self, caller: Caller, fd: int) -> None:
        handle = self._handle(caller, fd)
        del self._open[caller.id][fd]
        self.image.release(handle.node)

    def fs_read(self, caller: Caller, fd: int, len: int) -> bytes:  # noqa: A002
        return self._handle(caller, fd).read(min(len, MAX_READ_BYTES))

    def fs_write(self, caller: Caller, fd: int, data: bytes) -> int:
        handle = self._handle(caller, fd)
        written = self.image.write(handle.file, handle.offset, data)
        handle.offset += written
        return written

    # --- the tree ---

    def fs_readdir(self, caller: Caller, path: str, index: int) -> tuple[str, int, int]:
        directory = self.image.directory(path)
        if index < 0:
            raise ServiceError(ErrorCode.INVALID_ARG)
        if index >= len(directory.names):
            raise ServiceError(ErrorCode.EOF)
        name = directory.names[index]
        node = directory.nodes[name]
        if isinstance(node, Directory):
            return name, TYPE_DIRECTORY, 0
        return name, TYPE_FILE, len(node.data)

    def fs_mkfile(self, caller: Caller, path: str) -> None:
        self.image.make_file(path)

    def fs_mkdir(self, caller: Caller, path: str) -> None:
        self.image.make_directory(path)

    def fs_delete(self, caller: Caller, path: str) -> None:
        self.image.delete(path)

    def task_ended(self, task: int) -> None:
        for handle in self._open.pop(task, {}).values():
            self.image.release(handle.node)
