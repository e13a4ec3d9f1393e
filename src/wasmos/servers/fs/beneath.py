"""A host directory, opened once, and what can be done to the files below it.

Law: the directory is known by its descriptor and never by its name again; every path is resolved
beneath it by a resolver, and whatever creates or deletes takes one name in an opened directory,
where nothing is followed. Only regular files and directories are opened; a fifo, a device or a
socket is looked at, refused (EPERM), and never waited for.

Names are str as in an image: surrogate escapes are the bytes that aren't UTF-8. A host that takes
`A` and `a` for the same does so here, too: nothing is decided by comparing names.

Errors are the host's own, OSError.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from wasmos.servers.fs.image import MAX_ENTRIES, MAX_PATH_BYTES
from wasmos.servers.fs.resolve import DIRECTORY, PATH, Resolver, best, failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LISTED = MAX_ENTRIES  # names in one directory; a larger one can be used, but not listed
MAX_LISTINGS = 4
# A change within a clock tick of the last one leaves no trace in a directory's times. The longest
# tick is that of FAT: two seconds.
SETTLED_NS = 3_000_000_000

_OPEN = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | _OPEN
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | _OPEN
# Why a file that can't be written may still be read.
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ETXTBSY)


class Beneath:
    """What is below a host directory.

    resolver: the way paths are resolved; by default the best that this machine has.
    now_ns: the clock that files are stamped by.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        resolver: Resolver | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._resolver = best() if resolver is None else resolver
        self._now_ns = now_ns
        self._listings: dict[tuple[int, ...], list[str]] = {}
        self._root = os.open(directory, DIRECTORY)
        self._found = os.fstat(self._root)

    @property
    def identity(self) -> tuple[int, int]:
        """The same for two names of one directory."""
        return self._found.st_dev, self._found.st_ino

    def close(self) -> None:
        os.close(self._root)
        self._root = -1
        self._listings.clear()

    def _resolve(self, path: bytes, flags: int) -> int:
        return self._resolver.open(self._root, path, flags)

    def _look(self, path: bytes, flags: int = PATH) -> os.stat_result:
        descriptor = self._resolve(path, flags)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    # --- files ---

    def open_file(self, path: str, *, writable: bool) -> tuple[int, bool]:
        """A regular file's descriptor, and whether it can be written: not if the host doesn't
        let us. IsADirectoryError for a directory."""
        raw = _encode(path)
        _check_regular(self._look(raw))  # opening a device can do things
        descriptor, writable = self._open(raw, writable)
        try:
            _check_regular(os.fstat(descriptor))  # it may have been exchanged
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor, writable

    def _open(self, raw: bytes, writable: bool) -> tuple[int, bool]:
        if writable:
            try:
                return self._resolve(raw, os.O_RDWR | _OPEN), True
            except OSError as error:
                if error.errno not in _READ_ONLY:
                    raise
        return self._resolve(raw, os.O_RDONLY | _OPEN), False

    # --- directories ---

    def names(self, path: str) -> list[str]:
        """The names in a directory, in order. Not to be changed."""
        descriptor = self._resolve(_encode(path), _LIST)
        try:
            return self._names(descriptor)
        finally:
            os.close(descriptor)

    def _names(self, descriptor: int) -> list[str]:
        """Guests ask for one entry at a time: to list and sort a directory for each would be
        their cheapest weapon, so what hasn't changed is remembered."""
        found = os.fstat(descriptor)
        key = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
        if key in self._listings:
            return self._listings[key]
        # The clock first: what changes while we read must not look settled.
        settled = max(found.st_mtime_ns, found.st_ctime_ns) + SETTLED_NS < self._now_ns()
        names = _list(descriptor)
        if settled:
            while len(self._listings) >= MAX_LISTINGS:
                del self._listings[next(iter(self._listings))]
            self._listings[key] = names
        return names

    def entry(self, path: str, name: str) -> tuple[bool, int]:
        """Whether a name in a directory is a directory, and how large it is if not.

        A link is what it leads to. What can't be opened, such as a fifo, a link out or one to
        nowhere, looks like an empty file: opening it says why not.
        """
        raw, leaf = _encode(path), name.encode("utf-8", "surrogateescape")
        directory = self._resolve(raw, DIRECTORY)
        try:
            found = os.stat(leaf, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                found = self._look(raw + b"/" + leaf)
        except OSError:
            return False, 0
        finally:
            os.close(directory)
        if stat.S_ISDIR(found.st_mode):
            return True, 0
        return False, found.st_size if stat.S_ISREG(found.st_mode) else 0

    # --- changing ---

    def make_file(self, path: str) -> None:
        """A new empty file, never through a link."""
        self._make(_encode(path), _create)

    def make_directory(self, path: str) -> None:
        """A new empty directory."""
        self._make(_encode(path), _make_directory)

    def _make(self, raw: bytes, make: Callable[[bytes, int, bool], None]) -> None:
        bare = raw.rstrip(b"/")
        above, _, name = bare.rpartition(b"/")
        if name in (b".", b".."):  # not a name: it is there, or the path is wrong
            self._look(raw, DIRECTORY)
            raise failure(errno.EEXIST)
        directory = self._resolve(above or b".", DIRECTORY)
        try:
            make(name, directory, bare != raw)
        except FileExistsError:
            if bare != raw:
                self._look(raw, DIRECTORY)  # a file with a slash after it
            raise
        finally:
            os.close(directory)

    def delete(self, path: str) -> None:
        """Take away a file or an empty directory; of a link, the link."""
        raw = _encode(path)
        bare = raw
        while bare.endswith((b"/", b"/.")):
            bare = bare.rstrip(b"/").removesuffix(b"/.")
        above, _, name = bare.rpartition(b"/")
        if name in (b".", b".."):
            root = os.path.samestat(self._look(bare, DIRECTORY), self._found)
            # What is above something isn't empty.
            raise failure(errno.EPERM if root else errno.ENOTEMPTY)
        directory = self._resolve(above or b".", DIRECTORY)
        try:
            _delete(name, directory, bare != raw)
        finally:
            os.close(directory)


def _encode(path: str) -> bytes:
    """A path as the host's bytes, from where we are: a slash at the beginning means nothing."""
    try:
        raw = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise failure(errno.EINVAL) from None
    if not raw or b"\0" in raw:
        raise failure(errno.EINVAL)
    if len(raw) > MAX_PATH_BYTES:
        raise failure(errno.ENAMETOOLONG)
    return raw.lstrip(b"/") or b"."


def _check_regular(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise failure(errno.EISDIR)
    if not stat.S_ISREG(found.st_mode):
        raise failure(errno.EPERM)


def _list(descriptor: int) -> list[str]:
    found: list[str] = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            if len(found) >= MAX_LISTED:
                raise failure(errno.EFBIG)
            found.append(os.fsencode(entry.name).decode("utf-8", "surrogateescape"))
    return sorted(found)


# --- one name in an opened directory ---


def _create(name: bytes, directory: int, slash: bool) -> None:
    if slash:
        try:
            os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            raise failure(errno.EINVAL) from None
        raise failure(errno.EEXIST)
    os.close(os.open(name, _CREATE, 0o666, dir_fd=directory))


def _make_directory(name: bytes, directory: int, slash: bool) -> None:  # noqa: ARG001
    os.mkdir(name, 0o777, dir_fd=directory)


def _delete(name: bytes, directory: int, slash: bool) -> None:
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    # Neither call follows a link; if the name was exchanged since, the host refuses.
    if stat.S_ISDIR(found.st_mode):
        os.rmdir(name, dir_fd=directory)
    elif slash:
        raise failure(errno.ENOTDIR)
    else:
        os.unlink(name, dir_fd=directory)
