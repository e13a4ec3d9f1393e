"""A name in an opened directory: what is created, removed and renamed.

Law: nothing here follows a link, and no path is put together: a call gets the directory's
descriptor and one name without a slash. Whoever makes a leaf has opened the directory beneath a
root.

Errors are the host's own, OSError.
"""

from __future__ import annotations

import errno
import os
import stat

from wasmos.servers.fs.resolve import failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Leaf:
    """directory: a descriptor, which is closed with this.
    name: b"." for what has no name of its own: the root, and what ends in `.` or `..`.
    above: the directory as it was written, to read a link's text from there.
    last: the name as it was written.
    slash: whether a slash came after it: then not the name is meant, but the directory that it
        leads to, as far as that makes sense. `find` looks for that, and raises what is wrong.
    """

    __slots__ = ("above", "directory", "find", "last", "name", "slash")

    def __init__(
        self,
        directory: int,
        above: bytes,
        name: bytes,
        last: bytes,
        slash: bool,
        find: Callable[[], os.stat_result],
    ) -> None:
        self.directory = directory
        self.above = above
        self.name = name
        self.last = last
        self.slash = slash
        self.find = find

    def __enter__(self) -> Leaf:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.directory)

    @property
    def is_named(self) -> bool:
        return self.name != b"."

    def look(self) -> os.stat_result:
        """What it is itself."""
        return os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)

    def look_through(self) -> os.stat_result:
        """What it is itself; with a slash, the directory that it leads to."""
        return self.find() if self.slash else self.look()

    def target(self) -> bytes | None:
        """The text of a link; None for anything else."""
        try:
            return os.readlink(self.name, dir_fd=self.directory)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return None
            raise

    def create(self, flags: int) -> int:
        """A new file's descriptor."""
        if self.slash:
            raise failure(errno.EISDIR)
        if not self.is_named:
            raise failure(errno.EEXIST)
        return os.open(self.name, flags | _NEW, 0o666, dir_fd=self.directory)

    def make_directory(self) -> None:
        if not self.is_named:
            raise failure(errno.EEXIST)
        os.mkdir(self.name, 0o777, dir_fd=self.directory)

    def make_link(self, target: bytes) -> None:
        self._check_new()
        os.symlink(target, self.name, dir_fd=self.directory)

    def link(self, new: Leaf) -> None:
        """Another name for what isn't a directory."""
        new._check_new()
        os.link(
            self.name,
            new.name,
            src_dir_fd=self.directory,
            dst_dir_fd=new.directory,
            follow_symlinks=False,
        )

    def _check_new(self) -> None:
        """Whether something that isn't a directory can get this name."""
        if not self.is_named:
            raise failure(errno.EEXIST)
        if self.slash:
            self.find()
            raise failure(errno.EEXIST)

    @property
    def exists(self) -> bool:
        try:
            self.look()
        except FileNotFoundError:
            return False
        return True

    def rename(self, new: Leaf) -> None:
        if not (self.is_named and new.is_named):
            raise failure(errno.EBUSY)
        if (self.slash or new.slash) and not stat.S_ISDIR(self.look().st_mode):
            raise failure(errno.ENOTDIR)
        os.rename(self.name, new.name, src_dir_fd=self.directory, dst_dir_fd=new.directory)

    def remove_file(self) -> None:
        """Of a link, the link."""
        if not self.is_named or self.slash:
            self.find()
            raise failure(errno.EISDIR)
        try:
            os.unlink(self.name, dir_fd=self.directory)
        except PermissionError:  # what some hosts say to a directory
            if stat.S_ISDIR(self.look().st_mode):
                raise failure(errno.EISDIR) from None
            raise

    def remove_directory(self, root: os.stat_result) -> None:
        if not self.is_named:
            is_root = self.last != b".." and os.path.samestat(self.look(), root)
            raise failure(errno.EBUSY if is_root else errno.EINVAL)
        if self.slash:
            self.find()
        os.rmdir(self.name, dir_fd=self.directory)

    def set_times(self, accessed_ns: int, modified_ns: int) -> None:
        """Of a link."""
        os.utime(
            self.name,
            ns=(accessed_ns, modified_ns),
            dir_fd=self.directory,
            follow_symlinks=False,
        )
