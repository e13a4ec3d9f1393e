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
from wasmos.kernel import Caller
from wasmos.servers.fs.files import Files
from wasmos.servers.fs.image import MAX_BYTES, Image
from wasmos.servers.fs.mounts import Place, Tree
from wasmos.servers.fs.views import MAX_HOST_FILES, MAX_OPEN_FILES, Handle, read_only
from wasmos.servers.fs.world import Opened, World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmos.servers.fs.resolve import Resolver

MAX_READ_BYTES = 1024  # what fits an answer
MAX_SIZE = (1 << 32) - 1  # what an answer can tell
TYPE_FILE = 255
TYPE_DIRECTORY = 221


class _Handle(Handle):
    """Something open, and where in it the next read or write happens."""

    __slots__ = ("offset",)

    def __init__(self, file: Opened, grant: int, writable: bool, world: object) -> None:
        super().__init__(file, grant, writable, world)
        self.offset = 0


class Fs(Files):
    """Serves an image, and the host directories that badges name.

    image: what is in it at first; later, what the guests made of it.
    max_open_files: how many files one task may have open.
    max_host_files: how many of the host's files may be open for all tasks together, the
        directories of grants included.
    max_overlay_bytes: how large the files that were changed in one overlay may be together.
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
        max_overlay_bytes: int = MAX_BYTES,
        resolver: Resolver | None = None,
    ) -> None:
        super().__init__(
            image,
            max_open_files=max_open_files,
            max_host_files=max_host_files,
            max_overlay_bytes=max_overlay_bytes,
            resolver=resolver,
        )
        self._open: dict[int, dict[int, _Handle]] = {}  # task → number → handle

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
            self._act_for(caller, handle, writing=writing)
        return handle, handle.file

    # --- open files ---

    def fs_open(self, caller: Caller, path: str, flags: int) -> int:
        handle = self._opened(caller, self._worlds(caller), path)
        try:
            self._check_room(caller)
        except BaseException:
            handle.close()
            raise
        return self._keep(caller, self._open.setdefault(caller.id, {}), handle)

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
        self._forget(caller.id, handle)

    def fs_read(self, caller: Caller, fd: int, len: int) -> bytes:  # noqa: A002
        handle, file = self._usable(caller, fd)
        data = file.read(handle.offset, min(len, MAX_READ_BYTES))
        handle.offset += data.__len__()
        return data

    def fs_write(self, caller: Caller, fd: int, data: bytes) -> int:
        # A directory on the way to other grants' places is nobody's to write: it is no file.
        is_on_the_way = type(self._handle(caller, fd).file) is Opened
        handle = self._handle(caller, fd)
        if handle.file is not None and not handle.writable:
            raise read_only(handle.grant)
        handle, file = self._usable(caller, fd, writing=not is_on_the_way)
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
        if place.mount is None:
            raise ServiceError(ErrorCode.NOT_ALLOWED)
        if not place.mount.writable:
            raise read_only(place.mount.grant)
        return self._world(caller, place.mount)

    # --- ends ---

    def task_ended(self, task: int) -> None:
        for handle in self._open.pop(task, {}).values():
            self._forget(task, handle)
        super().task_ended(task)

    def stopped(self) -> None:
        for task in list(self._open):
            self.task_ended(task)
        super().stopped()


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
