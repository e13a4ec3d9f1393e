"""A caller with grants, as the kernel hands one to a service: without a kernel."""

from __future__ import annotations

from typing import Any

from wasmos.servers.fs import Fs


class Grant:
    def __init__(
        self, id: int, badge: dict[str, str], by: int = 0, parent: Grant | None = None
    ) -> None:
        self.id = id
        self.badge = badge
        self.by = by
        self.parent = parent


class Caller:
    """`admitting`: of which grants the next messages are; all, if None."""

    def __init__(self, id: int, *grants: Grant) -> None:
        self.id = id
        self.name = f"task{id}"
        self.held = list(grants)
        self.admitting: set[int] | None = None

    @property
    def grant(self) -> int:
        return next((grant.id for grant in self.grants()), 0)

    def act_by(self, _grant: int) -> None:
        """Grants here have no number of uses."""

    def grants(self) -> list[Grant]:
        return [g for g in self.held if self.admitting is None or g.id in self.admitting]


class User:
    """The server's messages, sent as somebody; errors are raised."""

    def __init__(self, fs: Fs, caller: Caller) -> None:
        self.fs = fs
        self.caller: Any = caller

    def open(self, path: str) -> int:
        return self.fs.fs_open(self.caller, path, 0)

    def close(self, fd: int) -> None:
        self.fs.fs_close(self.caller, fd)

    def read(self, fd: int, length: int = 1024) -> bytes:
        return self.fs.fs_read(self.caller, fd, length)

    def write(self, fd: int, data: bytes) -> int:
        return self.fs.fs_write(self.caller, fd, data)

    def readdir(self, path: str, index: int) -> tuple[str, int, int]:
        return self.fs.fs_readdir(self.caller, path, index)

    def mkfile(self, path: str) -> None:
        self.fs.fs_mkfile(self.caller, path)

    def mkdir(self, path: str) -> None:
        self.fs.fs_mkdir(self.caller, path)

    def delete(self, path: str) -> None:
        self.fs.fs_delete(self.caller, path)

    def get(self, path: str) -> bytes:
        """A file's contents, up to a message."""
        fd = self.open(path)
        try:
            return self.read(fd)
        finally:
            self.close(fd)
