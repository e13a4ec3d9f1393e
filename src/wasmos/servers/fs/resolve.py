"""From a path to a descriptor, without ever leaving the directory where it starts.

Law: two ways, one answer. `Openat2` leaves it to the operating system; `Walk` goes name by name
from opened directories, for where there is no openat2. Neither compares text with a root's name,
and neither follows:

- `..` above the root, an absolute link, a link out (EXDEV): whether the path would come back in
  doesn't matter;
- a directory of another file system (EXDEV): what is mounted inside of a directory, /proc above
  all, isn't what somebody named when they named the directory. Grant that one by itself;
- links that aren't links, as /proc has them (ELOOP);
- more than forty links (ELOOP).

Links that stay inside are followed, the last one too unless O_NOFOLLOW is asked for: then it is
ELOOP, as it is to the host. A path that changes on its way is tried
again, a bounded number of times, and is then EAGAIN.

What differs: the walk doesn't see a mount point by what is mounted, only by its device's number,
and of directories only (a file of an overlay has its layer's number). It takes /proc's links by
what they say, an absolute path as a rule. And it goes at most `MAX_DEPTH` directories down, as it
holds each of them open.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import struct
import sys

PATH = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK) | os.O_CLOEXEC  # to look, not to open
DIRECTORY = PATH | os.O_DIRECTORY
MAX_LINKS = 40
MAX_DEPTH = 128
ATTEMPTS = 64

_OPENAT2 = 437  # on every architecture
_NO_XDEV, _NO_MAGICLINKS, _BENEATH = 0x01, 0x02, 0x08
_RESOLVE = _NO_XDEV | _NO_MAGICLINKS | _BENEATH
_HERE = -100  # AT_FDCWD


def failure(code: int) -> OSError:
    """The error that the host would have given."""
    return OSError(code, os.strerror(code))


class Resolver:
    """A way from a root's descriptor and a relative path to a new descriptor."""

    def open(self, root: int, path: bytes, flags: int) -> int:
        """Raises OSError. `flags` create nothing."""
        raise NotImplementedError


@functools.cache
def best() -> Resolver:
    """What this machine has."""
    if not sys.platform.startswith("linux"):
        return Walk()  # there, the number would be some other call
    resolver = Openat2()
    try:
        os.close(resolver.open(_HERE, b".", DIRECTORY))
    except OSError:  # an old kernel, or a filter that forbids what it doesn't know
        return Walk()
    return resolver


# --- by the operating system ---


class Openat2(Resolver):
    """openat2(2), which no library has a function for."""

    def __init__(self) -> None:
        import ctypes

        self._errno = ctypes.get_errno
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long
        # Declared, because to make objects of C's types takes longer than the call.
        self._syscall.argtypes = (
            ctypes.c_long,
            ctypes.c_long,
            ctypes.c_char_p,
            ctypes.c_char_p,
            ctypes.c_size_t,
        )
        self._how: dict[int, bytes] = {}  # by flags

    def open(self, root: int, path: bytes, flags: int) -> int:
        assert b"\0" not in path  # C would see another path
        how = self._how.get(flags)
        if how is None:
            how = self._how[flags] = struct.pack("QQQ", flags, 0, _RESOLVE)
        for _ in range(ATTEMPTS):
            try:
                return self._call(root, path, how)
            except (BlockingIOError, InterruptedError):
                continue  # EAGAIN: something was renamed, and `..` may not be what it was
        raise failure(errno.EAGAIN)

    def _call(self, root: int, path: bytes, how: bytes) -> int:
        descriptor: int = self._syscall(_OPENAT2, root, path, how, len(how))
        if descriptor < 0:
            raise failure(self._errno())
        return descriptor


# --- by descriptors ---


class _Moved(Exception):
    """What was found is no longer what it was."""


class Walk(Resolver):
    """Name by name. Every step starts at an opened directory and follows nothing by itself."""

    def open(self, root: int, path: bytes, flags: int) -> int:
        for _ in range(ATTEMPTS):
            trail = _Trail(root)
            try:
                return trail.follow(path, flags)
            except _Moved:
                continue
            finally:
                trail.close()
        raise failure(errno.EAGAIN)


class _Trail:
    """The directories from the root to where the walk is, all of them open: `..` is the one
    before, whatever the host has made of the tree meanwhile."""

    __slots__ = ("_device", "_root", "_steps")

    def __init__(self, root: int) -> None:
        self._root = root
        self._device = os.fstat(root).st_dev
        self._steps: list[tuple[bytes, int]] = []  # name → descriptor

    def close(self) -> None:
        for _, descriptor in self._steps:
            os.close(descriptor)

    @property
    def _here(self) -> int:
        return self._steps[-1][1] if self._steps else self._root

    def follow(self, path: bytes, flags: int) -> int:
        descriptor = self._follow(path, flags)
        try:
            self._check()
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _follow(self, path: bytes, flags: int) -> int:
        pending = path.split(b"/")[::-1]
        links = 0
        while pending:
            name = pending.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                self._leave()
                continue
            target = _link(name, self._here)
            if target is not None and not pending and flags & os.O_NOFOLLOW:
                if flags & os.O_DIRECTORY:
                    raise failure(errno.ENOTDIR)
                raise failure(errno.ELOOP)
            if target is not None:
                links += 1
                pending += _names(target, links)
            elif pending:
                self._enter(name)
            else:
                return self._step(name, flags)
        return os.open(b".", flags, dir_fd=self._here)

    def _leave(self) -> None:
        if not self._steps:
            raise failure(errno.EXDEV)
        os.close(self._steps.pop()[1])

    def _enter(self, name: bytes) -> None:
        if len(self._steps) >= MAX_DEPTH:
            raise failure(errno.ENAMETOOLONG)
        self._steps.append((name, self._step(name, DIRECTORY)))

    def _step(self, name: bytes, flags: int) -> int:
        """Open what was no link a moment ago."""
        try:
            descriptor = os.open(name, flags | os.O_NOFOLLOW, dir_fd=self._here)
        except OSError as error:
            is_link = error.errno in (errno.ELOOP, errno.ENOTDIR)
            if is_link and _link(name, self._here) is not None:
                raise _Moved from None
            raise
        found = os.fstat(descriptor)
        if stat.S_ISLNK(found.st_mode):  # O_PATH opens the link itself
            os.close(descriptor)
            raise _Moved
        if stat.S_ISDIR(found.st_mode) and found.st_dev != self._device:
            os.close(descriptor)
            raise failure(errno.EXDEV)
        return descriptor

    def _check(self) -> None:
        """Whether each directory is still where it was found: one that was moved out of the tree
        took the rest of the path with it."""
        parent = self._root
        for name, descriptor in self._steps:
            try:
                found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                raise _Moved from None
            if not os.path.samestat(found, os.fstat(descriptor)):
                raise _Moved
            parent = descriptor


def _link(name: bytes, directory: int) -> bytes | None:
    """Where a link leads, None if it isn't one."""
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise


def _names(target: bytes, links: int) -> list[bytes]:
    """What a link puts in its place, the first name last."""
    if links > MAX_LINKS:
        raise failure(errno.ELOOP)
    if target.startswith(b"/"):
        raise failure(errno.EXDEV)
    return target.split(b"/")[::-1]
