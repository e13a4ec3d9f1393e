"""A client of the server, through a kernel, that speaks the second generation of messages."""

from __future__ import annotations

from typing import Any

import pytest

import wasmos
from wasmos import abi
from wasmos.errors import ServiceError
from wasmos.servers.fs.world import TO_READ


class User:
    """A client that speaks to the server."""

    def __init__(self, kernel: wasmos.Kernel, *allow: str) -> None:
        self.client = kernel.client("user", allow=allow)

    def ask(self, message: abi.Message) -> Any:
        return self.client.call("fs", message)

    def code(self, message: abi.Message) -> int:
        with pytest.raises(ServiceError) as refused:
            self.ask(message)
        return refused.value.code

    def open(self, path: str, flags: int = TO_READ) -> int:
        fd: int = self.ask(abi.FsOpenFile(path, flags)).fd
        return fd

    def read(self, fd: int, size: int = 100, offset: int = 0) -> bytes:
        data = bytearray(size)
        return bytes(data[: self.ask(abi.FsReadAt(fd, offset, data)).len])

    def get(self, path: str) -> bytes:
        fd = self.open(path)
        try:
            return self.read(fd)
        finally:
            self.ask(abi.FsCloseFile(fd))

    def listed(self, fd: int, cookie: int = 0, size: int = 4096) -> bytes:
        data = bytearray(size)
        return bytes(data[: self.ask(abi.FsList(fd, cookie, data)).len])


def entries(data: bytes) -> list[tuple[int, int, int, str]]:
    """The whole entries: next place, inode, kind, name."""
    found = []
    while len(data) >= 24:
        size = int.from_bytes(data[16:20], "little")
        if len(data) < 24 + size:
            break
        found.append(
            (
                int.from_bytes(data[:8], "little"),
                int.from_bytes(data[8:16], "little"),
                int.from_bytes(data[20:24], "little"),
                data[24 : 24 + size].decode(),
            )
        )
        data = data[24 + size :]
    return found
