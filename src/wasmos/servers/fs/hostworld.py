"""A host directory as a world.

Law: this is the seam where the host's errors become the system's, and where descriptors are
counted. Guests get codes, never the host's names: what a ServiceError says for people repeats
only the path that was asked for.

Where a host directory differs from an image: no limits of its own but the host's (no space left is
NO_RESOURCES); a link out, a fifo or a device is NOT_ALLOWED; and others may change what is there at
any time.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.servers.fs.beneath import Beneath, allocate, list_entries, look_in
from wasmos.servers.fs.hosterrors import code_of, first_code_of
from wasmos.servers.fs.leaf import Leaf
from wasmos.servers.fs.world import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    CREATE,
    DIRECTORY,
    EMPTY,
    KEEP,
    LEADS_OUT,
    NOW,
    REGULAR,
    STREAM,
    SYMBOLIC_LINK,
    UNKNOWN,
    Opened,
    World,
)
from wasmos.servers.reserve import is_reserved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from wasmos.servers.fs.world import Entry, Status

    Result = TypeVar("Result")

MAX_ALLOCATED = 1 << 30  # by one message: somebody waits for the disk
_MOST = (1 << 63) - 1
_KINDS = {
    stat.S_IFBLK: BLOCK_DEVICE,
    stat.S_IFCHR: CHARACTER_DEVICE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFREG: REGULAR,
    stat.S_IFSOCK: STREAM,
    stat.S_IFLNK: SYMBOLIC_LINK,
}
_ADVICE = [
    getattr(os, f"POSIX_FADV_{name}", None)
    for name in ("NORMAL", "SEQUENTIAL", "RANDOM", "WILLNEED", "DONTNEED", "NOREUSE")
]


class Budget:
    """How many descriptors of the host are open for guests, and how many may be."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0

    def take(self) -> None:
        if self.used >= self.most:
            raise ServiceError(ErrorCode.NO_RESOURCES, f"at most {self.most} files of the host")
        self.used += 1

    def give(self) -> None:
        self.used -= 1


class HostWorld(World):
    """What is below a host directory."""

    def __init__(self, beneath: Beneath, budget: Budget) -> None:
        self._beneath = beneath
        self._budget = budget

    def _ask(self, path: str, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except OSError as error:
            code = first_code_of(error)
            # The wording of the refusal only: `..` above the root in plain sight is an error in
            # the path, as in an image, and no attempt on what a link leads to.
            if error.errno == errno.EXDEV and _leaves(path):
                code = ErrorCode.INVALID_ARG
            raise ServiceError(code, _said(error, path)) from None

    def open(self, path: str, *, writable: bool) -> Opened:
        if self._beneath.is_short:
            raise _few_left()
        self._budget.take()
        try:
            found = self._ask(path, lambda: self._beneath.open_file(path, writable=writable))
        except BaseException as error:
            self._budget.give()
            if isinstance(error, ServiceError) and error.code == ErrorCode.NOT_A_FILE:
                return Opened()
            raise
        return _HostFile(*found, self._budget)

    def names(self, path: str) -> Sequence[str]:
        return self._ask(path, lambda: self._beneath.names(path))

    def entry(self, path: str, name: str) -> tuple[bool, int]:
        return self._ask(path, lambda: self._beneath.entry(path, name))

    def make_file(self, path: str) -> None:
        self._ask(path, lambda: self._beneath.make_file(path))

    def make_directory(self, path: str) -> None:
        self._ask(path, lambda: self._beneath.make_directory(path))

    def delete(self, path: str) -> None:
        self._ask(path, lambda: self._beneath.delete(path))

    def close(self) -> None:
        """The files opened in it stay open."""
        self._beneath.close()

    # --- the second generation ---

    def open_file(self, path: str, flags: int) -> Opened:
        # Nothing is created or emptied for a descriptor that can't be had. Otherwise its number
        # says the same, for less.
        if flags & (CREATE | EMPTY) and self._beneath.is_short:
            raise _few_left()
        self._budget.take()
        try:
            descriptor, found = self._beneath.open_as(path, flags)
        except OSError as error:
            self._budget.give()
            raise _refused(error, path) from None
        except BaseException:
            self._budget.give()
            raise
        if is_reserved(descriptor):
            os.close(descriptor)
            self._budget.give()
            raise _few_left()
        kind = DIRECTORY if stat.S_ISDIR(found.st_mode) else REGULAR
        return _Descriptor(descriptor, kind, self._budget)

    def status(self, path: str, *, follow: bool) -> Status:
        try:
            return _status(self._beneath.look(path, follow=follow))
        except OSError as error:
            raise _refused(error, path) from None

    def set_times(self, path: str, accessed_ns: int, modified_ns: int, *, follow: bool) -> None:
        def times(found: os.stat_result) -> tuple[int, int]:
            return _times(found, accessed_ns, modified_ns)

        try:
            self._beneath.set_times(path, times, follow=follow)
        except OSError as error:
            raise _refused(error, path) from None

    def add_directory(self, path: str) -> None:
        self._change(path, Leaf.make_directory)

    def remove_directory(self, path: str) -> None:
        self._change(path, lambda leaf: leaf.remove_directory(self._beneath.found))

    def remove_file(self, path: str) -> None:
        self._change(path, Leaf.remove_file)

    def make_link(self, target: str, path: str) -> None:
        text = target.encode("utf-8", "surrogateescape")
        if b"\0" in text:
            raise ServiceError(ErrorCode.INVALID_ARG)
        self._change(path, lambda leaf: leaf.make_link(text))

    def read_link(self, path: str) -> bytes:
        try:
            return self._beneath.read_link(path)
        except OSError as error:
            raise _refused(error, path) from None

    def _change(self, path: str, change: Callable[[Leaf], Result]) -> Result:
        try:
            with self._beneath.leaf(path) as leaf:
                return change(leaf)
        except OSError as error:
            raise _refused(error, path) from None

    def rename(self, path: str, new_path: str) -> None:
        try:
            with self._beneath.leaf(path) as old, self._beneath.leaf(new_path) as new:
                _across(lambda: old.rename(new))
        except OSError as error:
            raise _refused(error, f"{path} or {new_path}") from None

    def link(self, path: str, new_path: str, *, follow: bool) -> None:
        find = self._beneath.followed if follow else self._beneath.leaf
        try:
            with find(path) as old:
                found = old.look_through()
                with self._beneath.leaf(new_path) as new:
                    if stat.S_ISDIR(found.st_mode):
                        code = ErrorCode.ALREADY_EXISTS if new.exists else ErrorCode.NOT_ALLOWED
                        raise ServiceError(code, path)
                    _across(lambda: old.link(new))
        except OSError as error:
            raise _refused(error, f"{path} or {new_path}") from None


def _few_left() -> ServiceError:
    return ServiceError(ErrorCode.NO_RESOURCES, "this process has few descriptors left")


def _said(error: OSError, path: str) -> str:
    return f"{path} {LEADS_OUT}" if error.errno == errno.EXDEV else path


def _refused(error: OSError, path: str) -> ServiceError:
    return ServiceError(code_of(error), _said(error, path))


def _across(change: Callable[[], None]) -> None:
    """Both places are in the tree: they are on two devices, and nobody wanted to leave."""
    try:
        change()
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise ServiceError(ErrorCode.CROSS_DEVICE) from None
        raise


def _signed(number: int) -> int:
    """The 64 bits of a number, as a message has them."""
    return number - (1 << 64) if number > _MOST else number


def _status(found: os.stat_result) -> Status:
    return (
        _KINDS.get(stat.S_IFMT(found.st_mode), UNKNOWN),
        _signed(found.st_dev),
        _signed(found.st_ino),
        found.st_nlink,
        found.st_size,
        _time(found.st_atime_ns),
        _time(found.st_mtime_ns),
        _time(found.st_ctime_ns),
    )


def _time(ns: int) -> int:
    return min(max(ns, -_MOST), _MOST)


def _times(found: os.stat_result, accessed_ns: int, modified_ns: int) -> tuple[int, int]:
    now = time.time_ns() if NOW in (accessed_ns, modified_ns) else 0
    accessed = {KEEP: found.st_atime_ns, NOW: now}.get(accessed_ns, accessed_ns)
    return accessed, {KEEP: found.st_mtime_ns, NOW: now}.get(modified_ns, modified_ns)


def _leaves(path: str) -> bool:
    depth = 0
    for name in path.split("/"):
        depth += -1 if name == ".." else name not in ("", ".")
        if depth < 0:
            return True
    return False


class _HostFile(Opened):
    """A regular file of the host."""

    __slots__ = ("_budget", "_descriptor", "writable")

    def __init__(self, descriptor: int, writable: bool, budget: Budget) -> None:
        self._descriptor = descriptor
        self.writable = writable
        self._budget = budget

    def read(self, offset: int, most: int) -> bytes:
        try:
            data = os.pread(self._descriptor, max(most, 1), offset)
        except OSError as error:
            raise ServiceError(first_code_of(error)) from None
        if not data:
            raise ServiceError(ErrorCode.EOF)
        return data[:most]

    def write(self, offset: int, data: bytes) -> int:
        if not self.writable:
            raise ServiceError(ErrorCode.NOT_ALLOWED)
        try:
            return os.pwrite(self._descriptor, data, offset)
        except OSError as error:
            raise ServiceError(first_code_of(error)) from None

    def close(self) -> None:
        os.close(self._descriptor)
        self._budget.give()


class _Descriptor(Opened):
    """A regular file or a directory of the host, as the second generation opens it."""

    __slots__ = ("_budget", "_descriptor", "kind")

    def __init__(self, descriptor: int, kind: int, budget: Budget) -> None:
        self._descriptor = descriptor
        self.kind = kind
        self._budget = budget

    def read_into(self, offset: int, view: memoryview) -> int:
        try:
            return os.preadv(self._descriptor, (view,), offset)
        except OSError as error:
            raise ServiceError(code_of(error)) from None

    def write_from(self, offset: int, view: memoryview) -> int:
        try:
            return os.pwrite(self._descriptor, view, offset)
        except OSError as error:
            raise ServiceError(code_of(error)) from None

    def append(self, view: memoryview) -> tuple[int, int]:
        import fcntl

        # What others append at the same time must not be lost: the host has to find the end.
        descriptor = self._descriptor
        try:
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            if not flags & os.O_APPEND:
                fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)
            try:
                count = os.write(descriptor, view)
                return count, os.lseek(descriptor, 0, os.SEEK_CUR)
            finally:
                # With it, Linux lets `pwrite` append as well.
                fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_APPEND)
        except OSError as error:
            raise ServiceError(code_of(error)) from None

    def resize(self, size: int) -> None:
        self._ask(lambda: os.ftruncate(self._descriptor, size))

    def allocate(self, offset: int, size: int) -> None:
        if size > MAX_ALLOCATED:
            raise ServiceError(ErrorCode.TOO_LARGE, f"at most {MAX_ALLOCATED:,} bytes at a time")
        self._ask(lambda: allocate(self._descriptor, offset, size))

    def advise(self, offset: int, size: int, advice: int) -> None:
        how = _ADVICE[advice]
        if how is not None and self.kind == REGULAR:
            self._ask(lambda: os.posix_fadvise(self._descriptor, offset, size, how))

    def sync(self, *, data_only: bool) -> None:
        sync = getattr(os, "fdatasync", os.fsync) if data_only else os.fsync
        self._ask(lambda: sync(self._descriptor))

    def status(self) -> Status:
        return _status(os.fstat(self._descriptor))

    def set_times(self, accessed_ns: int, modified_ns: int) -> None:
        times = _times(os.fstat(self._descriptor), accessed_ns, modified_ns)
        self._ask(lambda: os.utime(self._descriptor, ns=times))

    def look(self, name: bytes) -> Status:
        return _status(self._ask(lambda: look_in(self._descriptor, name)))

    def read_link(self, name: bytes) -> bytes:
        return self._ask(lambda: os.readlink(name, dir_fd=self._descriptor))

    def entries(self) -> list[Entry]:
        if self.kind != DIRECTORY:
            raise ServiceError(ErrorCode.NOT_A_DIR)
        return self._ask(lambda: list_entries(self._descriptor, _KINDS))

    def _ask(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except OSError as error:
            raise ServiceError(code_of(error)) from None

    def close(self) -> None:
        os.close(self._descriptor)
        self._budget.give()
