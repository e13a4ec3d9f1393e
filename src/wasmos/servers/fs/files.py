"""Files as programs of other systems know them: read and written by offset, listed by cookie.

Law: the second generation of messages. A number is used only while the grant that it was opened
under admits the very message, or another one for the same files; what a grant that is only to
read could change by any flag is refused before the world is asked. What one message moves is
bounded, as nobody else is served meanwhile: short counts are what POSIX has for that.

What may not be changed by this task is NOT_ALLOWED; READ_ONLY is what nobody could change.
"""

from __future__ import annotations

import struct

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.kernel import Caller
from wasmos.servers.fs.views import Handle, Views, read_only
from wasmos.servers.fs.world import (
    APPEND,
    CREATE,
    DATA_SYNC,
    DIRECTORY,
    EMPTY,
    EXCLUSIVE,
    IS_DIRECTORY,
    KEEP,
    NO_WAIT,
    NOW,
    SYNC,
    TO_READ,
    TO_WRITE,
    Opened,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from wasmos.servers.fs.mounts import Mount, Place
    from wasmos.servers.fs.world import Entry, Status, World

    class Lent(Protocol):
        """Memory that a message lends: what is used of the kernel's."""

        size: int

        def view(self) -> memoryview: ...

        def write(self, data: bytes) -> int: ...


MAX_MOVED = 1 << 20  # bytes by one message
MAX_LISTED_BYTES = 16 << 20  # of listings that are kept, for all tasks together
_FLAGS = 2047
_CHANGING = CREATE | EMPTY | TO_WRITE
_HOW = APPEND | DATA_SYNC | SYNC | NO_WAIT
_MOST = (1 << 63) - 1
_ENTRY = struct.Struct("<QQII")
_64_BITS = (1 << 64) - 1
FOLLOW = 1
DATA_ONLY = 1


class _File(Handle):
    """Something open. Of a directory, what was in it when it was last read from its beginning: an
    entry's place stays what it is while entries come and go.

    shows: of a directory on the way to other grants' places, the grant of what its world has there.
    """

    __slots__ = ("flags", "listing", "places", "shows")

    def __init__(
        self, file: Opened, grant: int, writable: bool, world: object, flags: int, shows: int = 0
    ) -> None:
        super().__init__(file, grant, writable, world)
        self.flags = flags
        self.shows = shows
        self.listing = b""
        self.places: list[int] = []  # where each entry begins; and where the last one ends

    @property
    def grants(self) -> tuple[int, ...]:
        return (self.grant, self.shows) if self.shows else (self.grant,)

    def close(self) -> None:
        super().close()
        self.listing, self.places = b"", []


class Files(Views):
    """The part of the server for the second generation of messages."""

    def __init__(self, *arguments, **options) -> None:  # type: ignore[no-untyped-def]
        super().__init__(*arguments, **options)
        self._files: dict[int, dict[int, _File]] = {}  # task → number → file
        self._listings: dict[_File, int] = {}  # whose listings are kept, and their bytes
        self._listed_bytes = 0

    # --- open files ---

    def _file(self, caller: Caller, fd: int) -> _File:
        try:
            return self._files[caller.id][fd]
        except KeyError:
            raise ServiceError(ErrorCode.BAD_FILE) from None

    def _used(self, caller: Caller, fd: int) -> tuple[_File, Opened]:
        """A file, to be looked at."""
        file = self._file(caller, fd)
        opened = file.file
        if opened is None:
            raise ServiceError(ErrorCode.NOT_ALLOWED, "the grant that it was opened under")
        if caller.grant != file.grant:
            self._act_for(caller, file, writing=False)
        return file, opened

    def _changed(self, caller: Caller, fd: int) -> tuple[_File, Opened]:
        """A file, to be changed."""
        file = self._file(caller, fd)
        opened = file.file
        if opened is None:
            raise ServiceError(ErrorCode.NOT_ALLOWED, "the grant that it was opened under")
        if not file.writable:
            raise read_only(file.grant)
        if caller.grant != file.grant:
            self._act_for(caller, file, writing=True)
        return file, opened

    def _written(self, caller: Caller, fd: int) -> tuple[_File, Opened]:
        """A file that was opened to be written."""
        if not self._file(caller, fd).flags & TO_WRITE:
            raise ServiceError(ErrorCode.BAD_FILE)
        return self._changed(caller, fd)

    def fs_open_file(self, caller: Caller, path: str, flags: int) -> tuple[int, int]:
        if flags & ~_FLAGS or (flags & IS_DIRECTORY and flags & (CREATE | EXCLUSIVE | EMPTY)):
            raise ServiceError(ErrorCode.INVALID_ARG)
        place = self._place(caller, path)
        mount = place.mount
        self._check_room(caller)
        if place.below:
            file = self._open_way(caller, place, flags)
        elif mount is None:
            raise ServiceError(ErrorCode.NOT_ALLOWED if flags & CREATE else ErrorCode.NOT_FOUND)
        elif flags & _CHANGING and not mount.writable:
            raise read_only(mount.grant)
        else:
            opened = self._world(caller, mount).open_file(place.path, flags)
            file = _File(opened, mount.grant, mount.writable, mount.world, flags)
        kind = file.file.kind if file.file is not None else DIRECTORY
        return self._keep(caller, self._files.setdefault(caller.id, {}), file), kind

    def _open_way(self, caller: Caller, place: Place, flags: int) -> _File:
        """A directory on the way to other grants: nobody's to be changed."""
        if flags & _CHANGING:
            exclusive = flags & (CREATE | EXCLUSIVE) == CREATE | EXCLUSIVE
            raise ServiceError(ErrorCode.ALREADY_EXISTS if exclusive else ErrorCode.NOT_A_FILE)
        tree = self._worlds(caller)
        own, shows = None, 0
        if place.mount is not None:
            try:
                own = self._world(caller, place.mount).open_file(place.path, flags | IS_DIRECTORY)
                shows = place.mount.grant
            except ServiceError as error:
                if error.code not in _NO_DIRECTORY:
                    raise
        world = tree.worlds[place.owner]
        return _File(_Way(place, own), place.owner, False, world, flags, shows)

    def fs_close_file(self, caller: Caller, fd: int) -> None:
        file = self._file(caller, fd)
        del self._files[caller.id][fd]
        self._forget_file(caller.id, file)

    def _forget_file(self, task: int, file: _File) -> None:
        if file in self._listings:
            self._listed_bytes -= self._listings.pop(file)
        self._forget(task, file)

    def fs_read_at(self, caller: Caller, fd: int, offset: int, into: Lent) -> int:
        file, opened = self._used(caller, fd)
        if offset < 0:
            raise ServiceError(ErrorCode.INVALID_ARG)
        if not file.flags & TO_READ:
            raise ServiceError(ErrorCode.BAD_FILE)
        with into.view() as view:
            if into.size <= MAX_MOVED:
                return opened.read_into(offset, view)
            with view[:MAX_MOVED] as part:
                return opened.read_into(offset, part)

    def fs_write_at(self, caller: Caller, fd: int, offset: int, data: Lent) -> tuple[int, int]:
        file, opened = self._written(caller, fd)
        if offset < 0:
            raise ServiceError(ErrorCode.INVALID_ARG)
        with data.view() as view:
            if data.size > MAX_MOVED:
                with view[:MAX_MOVED] as part:
                    return _write(file, opened, offset, part)
            return _write(file, opened, offset, view)

    def fs_stat_file(self, caller: Caller, fd: int) -> Status:
        return self._used(caller, fd)[1].status()

    def fs_set_file_times(
        self, caller: Caller, fd: int, accessed_ns: int, modified_ns: int
    ) -> None:
        _check_times(accessed_ns, modified_ns)
        self._changed(caller, fd)[1].set_times(accessed_ns, modified_ns)

    def fs_resize(self, caller: Caller, fd: int, size: int) -> None:
        # Of what isn't open to be written POSIX has either error; systems have chosen this one.
        if size < 0 or not self._file(caller, fd).flags & TO_WRITE:
            raise ServiceError(ErrorCode.INVALID_ARG)
        self._written(caller, fd)[1].resize(size)

    def fs_allocate(self, caller: Caller, fd: int, offset: int, size: int) -> None:
        opened = self._written(caller, fd)[1]
        if offset < 0 or size <= 0:
            raise ServiceError(ErrorCode.INVALID_ARG)
        if offset + size > _MOST:
            raise ServiceError(ErrorCode.TOO_LARGE)
        opened.allocate(offset, size)

    def fs_advise(self, caller: Caller, fd: int, offset: int, size: int, advice: int) -> None:
        opened = self._used(caller, fd)[1]
        if offset < 0 or size < 0 or not 0 <= advice <= 5:
            raise ServiceError(ErrorCode.INVALID_ARG)
        opened.advise(offset, size, advice)

    def fs_sync(self, caller: Caller, fd: int, flags: int) -> None:
        opened = self._used(caller, fd)[1]
        if flags & ~DATA_ONLY:
            raise ServiceError(ErrorCode.INVALID_ARG)
        opened.sync(data_only=bool(flags & DATA_ONLY))

    def fs_set_flags(self, caller: Caller, fd: int, flags: int) -> None:
        file = self._used(caller, fd)[0]
        if flags & ~_HOW:
            raise ServiceError(ErrorCode.INVALID_ARG)
        file.flags = file.flags & ~_HOW | flags

    def fs_list(self, caller: Caller, fd: int, cookie: int, into: Lent) -> int:
        file, opened = self._used(caller, fd)
        if cookie < 0:
            raise ServiceError(ErrorCode.INVALID_ARG)
        if cookie == 0 or not file.places:
            self._list(file, opened)
        places = file.places
        if cookie >= len(places) - 1:
            return 0
        start = places[cookie]
        return into.write(file.listing[start : start + min(into.size, MAX_MOVED)])

    def _list(self, file: _File, opened: Opened) -> None:
        """Keep what is in a directory now, and of all that is kept not too much."""
        file.listing, file.places = _packed(opened.status()[2], opened.entries())
        self._listed_bytes += len(file.listing) - self._listings.pop(file, 0)
        self._listings[file] = len(file.listing)
        while self._listed_bytes > MAX_LISTED_BYTES and len(self._listings) > 1:
            oldest = next(iter(self._listings))
            self._listed_bytes -= self._listings.pop(oldest)
            oldest.listing, oldest.places = b"", []

    # --- the tree ---

    def fs_root(self, caller: Caller, index: int) -> str:
        roots = self._worlds(caller).roots
        if index < 0:
            raise ServiceError(ErrorCode.INVALID_ARG)
        if index >= len(roots):
            raise ServiceError(ErrorCode.EOF)
        return "/" + "/".join(roots[index])

    def _place(self, caller: Caller, path: str) -> Place:
        return self._worlds(caller).find(path)

    def _there(self, caller: Caller, path: str) -> tuple[World, str]:
        """Where something is looked at."""
        place = self._place(caller, path)
        if place.mount is None:
            raise ServiceError(ErrorCode.NOT_FOUND, path)
        return self._world(caller, place.mount), place.path

    def _changeable_place(
        self, caller: Caller, path: str, way: ErrorCode = ErrorCode.BUSY
    ) -> tuple[World, str, Mount]:
        """Where something may be changed. `way` is what is said of a directory on the way to
        other grants."""
        place = self._place(caller, path)
        if place.below:
            raise ServiceError(way, path)
        if place.mount is None:
            raise ServiceError(ErrorCode.NOT_ALLOWED, path)
        if not place.mount.writable:
            raise read_only(place.mount.grant)
        return self._world(caller, place.mount), place.path, place.mount

    def fs_stat(self, caller: Caller, path: str, flags: int) -> Status:
        _check_follow(flags)
        place = self._place(caller, path)
        if place.below:
            return self._way_status(caller, place)
        if place.mount is None:
            raise ServiceError(ErrorCode.NOT_FOUND, path)
        world = self._world(caller, place.mount)
        return world.status(place.path, follow=flags == FOLLOW)

    def _way_status(self, caller: Caller, place: Place) -> Status:
        """A directory on the way to other grants: what its world has there, if that is one."""
        if place.mount is not None:
            try:
                found = self._world(caller, place.mount).status(place.path, follow=True)
            except ServiceError as error:
                if error.code not in _NO_DIRECTORY:
                    raise
            else:
                if found[0] == DIRECTORY:
                    return found
        return _bare(place)

    def fs_set_times(
        self, caller: Caller, path: str, flags: int, accessed_ns: int, modified_ns: int
    ) -> None:
        _check_follow(flags)
        _check_times(accessed_ns, modified_ns)
        world, inner, _ = self._changeable_place(caller, path, ErrorCode.NOT_ALLOWED)
        world.set_times(inner, accessed_ns, modified_ns, follow=flags == FOLLOW)

    def fs_make_directory(self, caller: Caller, path: str) -> None:
        world, inner, _ = self._changeable_place(caller, path, ErrorCode.ALREADY_EXISTS)
        world.add_directory(inner)

    def fs_remove_directory(self, caller: Caller, path: str) -> None:
        world, inner, _ = self._changeable_place(caller, path)
        world.remove_directory(inner)

    def fs_remove_file(self, caller: Caller, path: str) -> None:
        world, inner, _ = self._changeable_place(caller, path, ErrorCode.NOT_A_FILE)
        world.remove_file(inner)

    def fs_rename(self, caller: Caller, path: str, new_path: str) -> None:
        world, old, new = self._both(caller, path, new_path)
        world.rename(old, new)

    def fs_link(self, caller: Caller, path: str, new_path: str, flags: int) -> None:
        _check_follow(flags)
        world, old, new = self._both(caller, path, new_path)
        world.link(old, new, follow=flags == FOLLOW)

    def _both(self, caller: Caller, path: str, new_path: str) -> tuple[World, str, str]:
        """Two places of one grant. Between two, nothing is moved, whatever their rights are and
        even if they show the same directory."""
        tree = self._worlds(caller)
        old, new = tree.find(path), tree.find(new_path)
        if old.below or new.below:
            raise ServiceError(ErrorCode.BUSY)
        if old.mount is None:
            raise ServiceError(ErrorCode.NOT_FOUND, path)
        if new.mount is None:
            raise ServiceError(ErrorCode.NOT_ALLOWED, new_path)
        if old.mount is not new.mount:
            raise ServiceError(ErrorCode.CROSS_DEVICE)
        if not old.mount.writable:
            raise read_only(old.mount.grant)
        return self._world(caller, old.mount), old.path, new.path

    def fs_make_link(self, caller: Caller, target: str, path: str) -> None:
        world, inner, _ = self._changeable_place(caller, path, ErrorCode.ALREADY_EXISTS)
        world.make_link(target, inner)

    def fs_read_link(self, caller: Caller, path: str, into: Lent) -> int:
        place = self._place(caller, path)
        if place.below:
            raise ServiceError(ErrorCode.INVALID_ARG, path)
        world, inner = self._there(caller, path)
        return into.write(world.read_link(inner))

    # --- ends ---

    def task_ended(self, task: int) -> None:
        for file in self._files.pop(task, {}).values():
            self._forget_file(task, file)
        super().task_ended(task)

    def stopped(self) -> None:
        for task in list(self._files):
            self.task_ended(task)
        super().stopped()


_NO_DIRECTORY = (
    ErrorCode.NOT_FOUND,
    ErrorCode.NOT_A_DIR,
    ErrorCode.NOT_ALLOWED,
    ErrorCode.NOT_PERMITTED,
    ErrorCode.TOO_MANY_LINKS,
)


def _bare(place: Place) -> Status:
    """Of a directory on the way to other grants that is in no world."""
    return DIRECTORY, 0, place.number, 1, 0, 0, 0, 0


class _Way(Opened):
    """A directory on the way to other grants' places: what its world has there, and them."""

    __slots__ = ("_own", "_place")

    def __init__(self, place: Place, own: Opened | None) -> None:
        self._place = place
        self._own = own

    def status(self) -> Status:
        return _bare(self._place) if self._own is None else self._own.status()

    def entries(self) -> list[Entry]:
        added = [name.encode("utf-8", "surrogateescape") for name in self._place.below]
        own = [] if self._own is None else self._own.entries()
        return [
            *[(name, 0, DIRECTORY) for name in added],
            *[entry for entry in own if entry[0] not in added],
        ]

    def close(self) -> None:
        if self._own is not None:
            self._own.close()


def _write(file: _File, opened: Opened, offset: int, view: memoryview) -> tuple[int, int]:
    flags = file.flags
    if flags & APPEND:
        count, end = opened.append(view)
    else:
        count = opened.write_from(offset, view)
        end = offset + count
    if flags & (DATA_SYNC | SYNC):
        opened.sync(data_only=not flags & SYNC)
    return count, end


def _packed(inode: int, entries: list[Entry]) -> tuple[bytes, list[int]]:
    """Entries as in WASI, and where each begins. `..` has no inode: that of a grant's place is
    nobody's business, and 0 is what programs are told then."""
    parts: list[bytes] = []
    places = [0]
    at = 0
    for number, (name, inner, kind) in enumerate(
        [(b".", inode, DIRECTORY), (b"..", 0, DIRECTORY), *entries], 1
    ):
        parts += (_ENTRY.pack(number, inner & _64_BITS, len(name), kind), name)
        at += 24 + len(name)
        places.append(at)
    return b"".join(parts), places


def _check_follow(flags: int) -> None:
    if flags & ~FOLLOW:
        raise ServiceError(ErrorCode.INVALID_ARG)


def _check_times(*times: int) -> None:
    for ns in times:
        if ns < 0 and ns not in (KEEP, NOW):
            raise ServiceError(ErrorCode.INVALID_ARG)
