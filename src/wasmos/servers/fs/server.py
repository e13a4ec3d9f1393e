"""The fs server: files, opened by number, in the tree that a task's grants make.

Law: a number means something to the task that opened it and to nobody else; it is used only while
the grant that it was opened under admits the very message; and nothing of a task is left when it
has ended, nor of a grant when it is gone.
"""

# ruff: noqa: ARG002 - the fields are parameters, whether used or not.

from __future__ import annotations

from bisect import bisect_left

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.kernel import Caller, Service
from wasmos.servers.fs.image import Image
from wasmos.servers.fs.imageworld import ImageWorld
from wasmos.servers.fs.mounts import Mount, Place, Tree, mounts
from wasmos.servers.fs.world import Opened, World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmos.servers.fs.hostworld import Roots
    from wasmos.servers.fs.resolve import Resolver

MAX_OPEN_FILES = 64
MAX_HOST_FILES = 512
MAX_READ_BYTES = 1024  # what fits an answer
MAX_SIZE = (1 << 32) - 1  # what an answer can tell
TYPE_FILE = 255
TYPE_DIRECTORY = 221


class _Handle:
    """An open file or directory, where in it the next read or write happens, the grant that it
    was opened under, and whose world it is of. Without a file: that grant is
    gone, and the number waits to be closed, so that it doesn't come to mean another file
    meanwhile."""

    __slots__ = ("file", "grant", "offset", "world", "writable")

    def __init__(self, file: Opened, grant: int, writable: bool, world: object) -> None:
        self.file: Opened | None = file
        self.grant = grant
        self.writable = writable
        self.world = world
        self.offset = 0

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None


class Fs(Service):
    """Serves an image, and the host directories that badges name.

    image: what is in it at first; later, what the guests made of it.
    max_open_files: how many files one task may have open.
    max_host_files: how many of the host's files may be open for all tasks together, the
        directories of grants included.
    resolver: how paths of the host are resolved; by default the best that this machine has.

    A file that is deleted while it is open goes on for those who have it open, and its bytes
    count until the last of them closes it. When a grant is gone, what was opened under it is
    closed at once, and its numbers answer NOT_ALLOWED until they are closed.
    """

    name = "fs"

    def __init__(
        self,
        image: Image | None = None,
        *,
        max_open_files: int = MAX_OPEN_FILES,
        max_host_files: int = MAX_HOST_FILES,
        resolver: Resolver | None = None,
    ) -> None:
        self.image = Image() if image is None else image
        self._max_open_files = max_open_files
        self._max_host_files = max_host_files
        self._resolver = resolver
        self._image_world = ImageWorld(self.image)
        self._host_roots: Roots | None = None
        self._trees: dict[int, tuple[tuple[int, ...], Tree]] = {}  # task → its last grants' tree
        self._open: dict[int, dict[int, _Handle]] = {}  # task → number → handle
        self._under: dict[int, set[_Handle]] = {}  # grant → what was opened under it

    # --- what a task sees ---

    def _worlds(self, caller: Caller) -> Tree:
        """The tree of the grants that admit the message at hand."""
        admitting = caller.grants()
        ids = tuple(grant.id for grant in admitting)
        known, tree = self._trees.get(caller.id, ((), None))
        if tree is None or known != ids:
            tree = Tree(mounts(admitting))
            self._trees[caller.id] = ids, tree
        return tree

    def _world(self, caller: Caller, mount: Mount) -> World:
        """Of a mount that something is done in: by the grant that it is of."""
        caller.act_by(mount.grant)
        if not mount.directory:
            return self._image_world
        return self._roots.world(mount.grant, mount.directory)

    @property
    def _roots(self) -> Roots:
        if self._host_roots is None:
            from wasmos.servers.fs.hostworld import Budget, Roots

            self._host_roots = Roots(Budget(self._max_host_files), self._resolver)
        return self._host_roots

    def _handle(self, caller: Caller, fd: int) -> _Handle:
        handle = self._open.get(caller.id, {}).get(fd)
        if handle is None:
            raise ServiceError(ErrorCode.INVALID_ARG)
        return handle

    def _usable(self, caller: Caller, fd: int, *, writing: bool = False) -> tuple[_Handle, Opened]:
        """A handle and its file. A grant that admits the message and is for other files doesn't
        help."""
        handle = self._handle(caller, fd)
        if handle.file is None:
            raise ServiceError(ErrorCode.NOT_ALLOWED, "the grant that it was opened under")
        if caller.grant != handle.grant:
            tree = self._worlds(caller)
            usable = [
                grant
                for grant, world in tree.worlds.items()
                if world == handle.world and (grant in tree.writable or not writing)
            ]
            if not usable:
                raise ServiceError(ErrorCode.NOT_ALLOWED, "no grant for this file")
            caller.act_by(caller.grant if caller.grant in usable else usable[0])
        return handle, handle.file

    # --- open files ---

    def fs_open(self, caller: Caller, path: str, flags: int) -> int:
        handle = self._opened(caller, self._worlds(caller), path)
        handles = self._open.setdefault(caller.id, {})
        if len(handles) >= self._max_open_files:
            handle.close()
            raise ServiceError(ErrorCode.NO_RESOURCES)
        fd = next(number for number in range(1, len(handles) + 2) if number not in handles)
        handles[fd] = handle
        self._under.setdefault(handle.grant, set()).add(handle)
        return fd

    def _opened(self, caller: Caller, tree: Tree, path: str) -> _Handle:
        place = tree.find(path)
        if place.below:
            return _Handle(Opened(), place.owner, True, tree.worlds[place.owner])
        if place.mount is None:
            raise ServiceError(ErrorCode.NOT_FOUND)
        writable = place.mount.writable
        file = self._world(caller, place.mount).open(place.path, writable=writable)
        return _Handle(file, place.mount.grant, writable, place.mount.world)

    def fs_close(self, caller: Caller, fd: int) -> None:
        handle = self._handle(caller, fd)
        del self._open[caller.id][fd]
        self._forget(handle)

    def _forget(self, handle: _Handle) -> None:
        handle.close()
        under = self._under.get(handle.grant)
        if under is not None:
            under.discard(handle)
            if not under:
                del self._under[handle.grant]

    def fs_read(self, caller: Caller, fd: int, len: int) -> bytes:  # noqa: A002
        handle, file = self._usable(caller, fd)
        data = file.read(handle.offset, min(len, MAX_READ_BYTES))
        handle.offset += data.__len__()
        return data

    def fs_write(self, caller: Caller, fd: int, data: bytes) -> int:
        # A directory on the way to other grants' places is nobody's to write: it is no file.
        is_on_the_way = type(self._handle(caller, fd).file) is Opened
        handle, file = self._usable(caller, fd, writing=not is_on_the_way)
        if not handle.writable:
            raise ServiceError(ErrorCode.NOT_ALLOWED)
        written = file.write(handle.offset, data)
        handle.offset += written
        return written

    # --- the tree ---

    def fs_readdir(self, caller: Caller, path: str, index: int) -> tuple[str, int, int]:
        place = self._worlds(caller).find(path)
        world, names = self._listed(caller, place)
        if index < 0:
            raise ServiceError(ErrorCode.INVALID_ARG)
        name, is_added = _nth(names, place.below, index)
        is_directory, size = (True, 0) if is_added else world.entry(place.path, name)
        if is_directory:
            return name, TYPE_DIRECTORY, 0
        return name, TYPE_FILE, min(size, MAX_SIZE)

    def _listed(self, caller: Caller, place: Place) -> tuple[World, Sequence[str]]:
        """The names that the world itself has in a directory."""
        if place.mount is None:
            if place.below:
                return _NOTHING, ()
            raise ServiceError(ErrorCode.NOT_FOUND)
        try:
            world = self._world(caller, place.mount)
            return world, world.names(place.path)
        except ServiceError as error:
            if place.below and error.code in _NO_DIRECTORY:
                return _NOTHING, ()
            raise

    def fs_mkfile(self, caller: Caller, path: str) -> None:
        place = self._worlds(caller).find(path)
        self._changeable(caller, place).make_file(place.path)

    def fs_mkdir(self, caller: Caller, path: str) -> None:
        place = self._worlds(caller).find(path)
        self._changeable(caller, place).make_directory(place.path)

    def _changeable(self, caller: Caller, place: Place) -> World:
        """The world in which something new may get this name."""
        if place.below:
            raise ServiceError(ErrorCode.ALREADY_EXISTS)
        return self._writable(caller, place)

    def fs_delete(self, caller: Caller, path: str) -> None:
        place = self._worlds(caller).find(path)
        if place.below:
            raise ServiceError(ErrorCode.NOT_ALLOWED if place.is_root else ErrorCode.NOT_EMPTY)
        self._writable(caller, place).delete(place.path)

    def _writable(self, caller: Caller, place: Place) -> World:
        if place.mount is None or not place.mount.writable:
            raise ServiceError(ErrorCode.NOT_ALLOWED)
        return self._world(caller, place.mount)

    # --- ends ---

    def task_ended(self, task: int) -> None:
        self._trees.pop(task, None)
        for handle in self._open.pop(task, {}).values():
            self._forget(handle)

    def revoked(self, grant: int) -> None:
        """A grant is gone: close what was opened under it, and its directory. (It isn't gone by
        being used up, while something is open.)"""
        for handle in self._under.pop(grant, ()):
            handle.close()
        if self._host_roots is not None:
            self._host_roots.release(grant)

    def holds(self, grant: int) -> bool:
        return grant in self._under

    def stopped(self) -> None:
        for task in list(self._open):
            self.task_ended(task)
        self._trees.clear()
        if self._host_roots is not None:
            self._host_roots.close()


_NOTHING = World()
_NO_DIRECTORY = (ErrorCode.NOT_FOUND, ErrorCode.NOT_A_DIR, ErrorCode.NOT_ALLOWED)


def _nth(names: Sequence[str], added: Sequence[str], index: int) -> tuple[str, bool]:
    """An entry of a directory, and whether other grants made it one: both lists are in order,
    and what is in both is there once. The long one isn't copied."""
    before = 0  # of the added ones, those that aren't in `names` as well
    for name in added:
        at = bisect_left(names, name)
        if at + before == index:
            return name, True
        if at + before > index:
            break
        before += not (at < len(names) and names[at] == name)
    if index - before >= len(names):
        raise ServiceError(ErrorCode.EOF)
    return names[index - before], False
