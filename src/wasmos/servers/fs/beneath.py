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
import functools
import os
import stat
import time

from wasmos.servers.fs.image import MAX_ENTRIES, MAX_PATH_BYTES
from wasmos.servers.fs.leaf import Leaf
from wasmos.servers.fs.resolve import DIRECTORY, MAX_LINKS, PATH, Resolver, best, failure
from wasmos.servers.fs.world import (
    CREATE,
    EMPTY,
    EXCLUSIVE,
    IS_DIRECTORY,
    NO_FOLLOW,
    TO_READ,
    TO_WRITE,
)
from wasmos.servers.reserve import is_short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

MAX_LISTED = MAX_ENTRIES  # names in one directory; a larger one can be used, but not listed
MAX_LISTINGS = 4
MAX_JOINED = 4096  # a path with a link's text in it
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

    @property
    def is_short(self) -> bool:
        """Whether this process needs the descriptors that are left itself."""
        return is_short(self._root)

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

    # --- the second generation ---

    def leaf(self, path: str) -> Leaf:
        """The last name of a path; a link stays a link."""
        return self._leaf(encode(path))

    def _leaf(self, raw: bytes) -> Leaf:
        bare = raw.rstrip(b"/")
        above, _, name = bare.rpartition(b"/")

        def find() -> os.stat_result:
            return self._look(raw, DIRECTORY)

        if name in (b"", b".", b".."):
            return Leaf(self._resolve(raw, DIRECTORY), raw, b".", name, False, find)
        directory = self._resolve(above or b".", DIRECTORY)
        return Leaf(directory, above, name, name, bare != raw, find)

    def followed(self, path: str) -> Leaf:
        """The last name of where a path leads in the end. Nothing may be there."""
        raw = encode(path)
        for _ in range(MAX_LINKS + 1):
            leaf = self._leaf(raw)
            try:
                target = _target(leaf)
            except BaseException:
                os.close(leaf.directory)
                raise
            if target is None:
                return leaf
            os.close(leaf.directory)
            raw = _joined(leaf, target)
        raise failure(errno.ELOOP)

    def look(self, path: str, *, follow: bool) -> os.stat_result:
        """What is known of a path."""
        raw = encode(path)
        if b"/" not in raw and raw != b"..":
            # One name in the root, as in `_mode`. What is mounted there is looked at below.
            found = os.stat(raw, dir_fd=self._root, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) or (stat.S_ISLNK(found.st_mode) and not follow):
                return found
        elif not follow:
            with self._leaf(raw) as leaf:
                if not leaf.slash and stat.S_ISLNK((found := leaf.look()).st_mode):
                    return found
        return self._look(raw)

    def read_link(self, path: str) -> bytes:
        """The text of a link."""
        raw = encode(path)
        with self._leaf(raw) as leaf:
            if leaf.slash:
                self._look(raw, DIRECTORY)  # not of the link any more
                raise failure(errno.EINVAL)
            return os.readlink(leaf.name, dir_fd=leaf.directory)

    def open_as(self, path: str, flags: int) -> tuple[int, os.stat_result]:
        """A descriptor for `flags`, which are the message's, and what it is of: a regular file
        or a directory."""
        raw = encode(path)
        if flags & CREATE and (flags & EXCLUSIVE or raw.endswith(b"/")):
            with self._leaf(raw) as leaf:
                if flags & EXCLUSIVE or leaf.slash:
                    return _with_status(leaf.create(_access(flags) | _OPEN))
        try:
            return self._open_old(raw, flags)
        except FileNotFoundError:
            if not flags & CREATE:
                raise
        return self._open_new(raw, flags)

    def _open_old(self, raw: bytes, flags: int) -> tuple[int, os.stat_result]:
        how = os.O_NOFOLLOW if flags & NO_FOLLOW else 0
        # Not opened at once: opening a device can do things, and a fifo wakes who waits for it.
        mode = self._mode(raw, how)
        if not stat.S_ISREG(mode):
            if flags & IS_DIRECTORY and not (stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                raise failure(errno.ENOTDIR)
            if stat.S_ISDIR(mode):
                if flags & (CREATE | EMPTY | TO_WRITE):
                    raise failure(errno.EISDIR)
                return _with_status(self._resolve(raw, _LIST | how))
            _check_openable(mode)
        elif flags & IS_DIRECTORY:
            raise failure(errno.ENOTDIR)
        descriptor = self._resolver.open(self._root, raw, _access(flags) | _OPEN | how)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                _check_openable(found.st_mode)  # it was exchanged
            if flags & EMPTY:
                os.ftruncate(descriptor, 0)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor, found

    def _mode(self, raw: bytes, how: int) -> int:
        """What a path leads to."""
        if b"/" not in raw and raw != b"..":
            # One name in the root: there is nothing to resolve, unless it is a link.
            mode = os.stat(raw, dir_fd=self._root, follow_symlinks=False).st_mode
            if not stat.S_ISLNK(mode) or how & os.O_NOFOLLOW:
                return mode
        return self._look(raw, PATH | how).st_mode

    def _open_new(self, raw: bytes, flags: int) -> tuple[int, os.stat_result]:
        """Create what isn't there, also at the end of a link that leads to nothing."""
        for _ in range(MAX_LINKS + 1):
            with self._leaf(raw) as leaf:
                try:
                    return _with_status(leaf.create(_access(flags) | _OPEN))
                except FileExistsError:
                    target = leaf.target()
                if target is None:  # it has come meanwhile
                    return self._open_old(raw, flags)
                if flags & NO_FOLLOW:
                    raise failure(errno.ELOOP)
            raw = _joined(leaf, target)
        raise failure(errno.ELOOP)

    def set_times(self, path: str, times: Callable[[os.stat_result], tuple[int, int]], *,
                  follow: bool) -> None:  # fmt: skip
        """`times` are made of what is known so far."""
        raw = encode(path)
        how = 0
        if not follow:
            with self._leaf(raw) as leaf:
                if not leaf.slash and stat.S_ISLNK((found := leaf.look()).st_mode):
                    leaf.set_times(*times(found))
                    return
            how = 0 if leaf.slash else os.O_NOFOLLOW
        mode = self._look(raw).st_mode
        if not stat.S_ISDIR(mode):
            _check_openable(mode)
        descriptor = self._open_to_stamp(raw, how)
        try:
            os.utime(descriptor, ns=times(os.fstat(descriptor)))
        finally:
            os.close(descriptor)

    def _open_to_stamp(self, raw: bytes, how: int) -> int:
        """Any descriptor will do, as long as it is of the file itself."""
        try:
            return self._resolve(raw, os.O_RDONLY | _OPEN | how)
        except PermissionError:
            return self._resolve(raw, os.O_WRONLY | _OPEN | how)

    @property
    def found(self) -> os.stat_result:
        """What the directory was when it was opened."""
        return self._found


def _with_status(descriptor: int) -> tuple[int, os.stat_result]:
    try:
        return descriptor, os.fstat(descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def _access(flags: int) -> int:
    """To empty a file is to write to it, whoever may do so afterwards."""
    if not flags & (TO_WRITE | EMPTY):
        return os.O_RDONLY
    return os.O_RDWR if flags & TO_READ else os.O_WRONLY


def _check_openable(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise failure(errno.EISDIR)
    if stat.S_ISLNK(mode):
        raise failure(errno.ELOOP)
    if not stat.S_ISREG(mode):
        raise failure(errno.EACCES)


def _target(leaf: Leaf) -> bytes | None:
    if not leaf.is_named:
        return None
    try:
        return leaf.target()
    except FileNotFoundError:
        return None


def _joined(leaf: Leaf, target: bytes) -> bytes:
    """Where a link leads, as a path from the root. It is resolved like any other."""
    if target.startswith(b"/"):
        raise failure(errno.EXDEV)
    raw = (leaf.above + b"/" if leaf.above else b"") + target + (b"/" if leaf.slash else b"")
    if len(raw) > MAX_JOINED:
        raise failure(errno.ENAMETOOLONG)
    return raw


def _encode(path: str) -> bytes:
    """As `encode`, of at most as much as fits an old message."""
    raw = encode(path)
    if len(raw) + len(path) - len(path.lstrip("/")) > MAX_PATH_BYTES:
        raise failure(errno.ENAMETOOLONG)
    return raw


def encode(path: str) -> bytes:
    """A path as the host's bytes, from where we are: a slash at the beginning means nothing."""
    try:
        raw = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise failure(errno.EINVAL) from None
    if not raw or b"\0" in raw:
        raise failure(errno.EINVAL)
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


def list_entries(descriptor: int, kinds: Mapping[int, int]) -> list[tuple[bytes, int, int]]:
    """What is in an open directory now: names, inodes and kinds, in the host's order."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    found: list[tuple[bytes, int, int]] = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            if len(found) >= MAX_LISTED:
                raise failure(errno.EFBIG)
            found.append((os.fsencode(entry.name), entry.inode(), _kind_of(entry, kinds)))
    return found


def look_in(descriptor: int, name: bytes) -> os.stat_result:
    """What a name in an open directory is itself. As everywhere, a directory of another file system
    isn't part of the tree."""
    found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode) and found.st_dev != os.fstat(descriptor).st_dev:
        raise failure(errno.EXDEV)
    return found


def _kind_of(entry: os.DirEntry[str], kinds: Mapping[int, int]) -> int:
    # The usual ones without asking the host again.
    if entry.is_file(follow_symlinks=False):
        return kinds[stat.S_IFREG]
    if entry.is_dir(follow_symlinks=False):
        return kinds[stat.S_IFDIR]
    if entry.is_symlink():
        return kinds[stat.S_IFLNK]
    try:
        return kinds.get(stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode), 0)
    except OSError:  # it is gone
        return 0


def allocate(descriptor: int, offset: int, size: int) -> None:
    """Room on the disk. Not by posix_fallocate, which some libraries make of many writes."""
    call = _fallocate()
    if call is None:
        raise failure(errno.EOPNOTSUPP)
    ctypes, function = call
    while function(descriptor, 0, offset, size):
        if (error := ctypes.get_errno()) != errno.EINTR:
            raise failure(error)


@functools.cache
def _fallocate() -> Any:
    import ctypes

    try:
        function = ctypes.CDLL(None, use_errno=True).fallocate64
    except AttributeError:
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return ctypes, function


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
