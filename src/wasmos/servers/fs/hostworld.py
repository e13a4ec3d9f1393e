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

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.servers.fs.beneath import Beneath
from wasmos.servers.fs.world import Opened, World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from wasmos.servers.fs.resolve import Resolver

    Result = TypeVar("Result")

CODES = {
    errno.ENOENT: ErrorCode.NOT_FOUND,
    errno.EEXIST: ErrorCode.ALREADY_EXISTS,
    errno.ENOTDIR: ErrorCode.NOT_A_DIR,
    errno.EISDIR: ErrorCode.NOT_A_FILE,
    errno.ENOTEMPTY: ErrorCode.NOT_EMPTY,
    errno.EACCES: ErrorCode.NOT_ALLOWED,
    errno.EPERM: ErrorCode.NOT_ALLOWED,
    errno.EROFS: ErrorCode.NOT_ALLOWED,
    errno.EXDEV: ErrorCode.NOT_ALLOWED,  # out of the directory, see resolve.py
    errno.ELOOP: ErrorCode.NOT_ALLOWED,
    errno.ENXIO: ErrorCode.NOT_ALLOWED,  # a socket, or a device that isn't there
    errno.ENODEV: ErrorCode.NOT_ALLOWED,
    errno.ENOSPC: ErrorCode.NO_RESOURCES,
    errno.EDQUOT: ErrorCode.NO_RESOURCES,
    errno.EMFILE: ErrorCode.NO_RESOURCES,
    errno.ENFILE: ErrorCode.NO_RESOURCES,
    errno.EMLINK: ErrorCode.NO_RESOURCES,
    errno.ENOMEM: ErrorCode.NO_RESOURCES,
    errno.ENAMETOOLONG: ErrorCode.TOO_LARGE,
    errno.EFBIG: ErrorCode.TOO_LARGE,
    errno.EINVAL: ErrorCode.INVALID_ARG,
    errno.EILSEQ: ErrorCode.INVALID_ARG,
    errno.EBUSY: ErrorCode.STILL_USED,
    errno.EAGAIN: ErrorCode.TRY_AGAIN,
}


def code_of(error: OSError) -> ErrorCode:
    """What a guest is told of a host's error."""
    return CODES.get(error.errno or 0, ErrorCode.UNEXPECTED)


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
            code = code_of(error)
            # The wording of the refusal only: `..` above the root in plain sight is an error in
            # the path, as in an image, and no attempt on what a link leads to.
            if error.errno == errno.EXDEV and _leaves(path):
                code = ErrorCode.INVALID_ARG
            raise ServiceError(code, path) from None

    def open(self, path: str, *, writable: bool) -> Opened:
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
            raise ServiceError(code_of(error)) from None
        if not data:
            raise ServiceError(ErrorCode.EOF)
        return data[:most]

    def write(self, offset: int, data: bytes) -> int:
        if not self.writable:
            raise ServiceError(ErrorCode.NOT_ALLOWED)
        try:
            return os.pwrite(self._descriptor, data, offset)
        except OSError as error:
            raise ServiceError(code_of(error)) from None

    def close(self) -> None:
        os.close(self._descriptor)
        self._budget.give()


class Roots:
    """The host directories that grants lead to, each opened once and closed with the last grant.

    One is opened when a grant is first used. Grants that name the same directory, by whatever
    name, share it; and what it is doesn't change if something else takes its name.
    """

    def __init__(self, budget: Budget, resolver: Resolver | None = None) -> None:
        self._budget = budget
        self._resolver = resolver
        self._of_grant: dict[int, tuple[int, int]] = {}  # grant → identity
        self._worlds: dict[tuple[int, int], HostWorld] = {}
        self._grants: dict[tuple[int, int], set[int]] = {}

    def world(self, grant: int, directory: str) -> HostWorld:
        if grant not in self._of_grant:
            self._use(grant, directory)
        return self._worlds[self._of_grant[grant]]

    def _use(self, grant: int, directory: str) -> None:
        try:
            beneath = Beneath(directory, resolver=self._resolver)
        except OSError as error:
            raise ServiceError(code_of(error), "the directory of the grant") from None
        identity = beneath.identity
        if identity in self._worlds:
            beneath.close()
        else:
            self._keep(beneath)
        self._of_grant[grant] = identity
        self._grants.setdefault(identity, set()).add(grant)

    def _keep(self, beneath: Beneath) -> None:
        try:
            self._budget.take()
        except BaseException:
            beneath.close()
            raise
        self._worlds[beneath.identity] = HostWorld(beneath, self._budget)

    def release(self, grant: int) -> None:
        """A grant is gone; nothing if it was never used."""
        identity = self._of_grant.pop(grant, None)
        if identity is None:
            return
        self._grants[identity].remove(grant)
        if not self._grants[identity]:
            del self._grants[identity]
            self._worlds.pop(identity).close()
            self._budget.give()

    def close(self) -> None:
        for grant in list(self._of_grant):
            self.release(grant)
