"""From a task's grants to its tree: what a badge says, and which grant a path belongs to.

Law: nobody's later grant hides what an earlier one shows, except the host's.

A badge is a mapping: `dir`, a host directory, or `archive`, a zip or tar file (without them: the
image), `at`, where it is seen, and `mode`: ro, rw, or overlay, where the directory or archive stays
as it is and changes are kept in memory. An archive is never rw, and ro by default.

Each place in the tree belongs to the grant with the longest `at` above it. Of two grants with the
same `at` the older counts. A younger grant deeper in an older one's world
would hide a part of it, so it counts only if the host gave it, or whoever gave the older one:
everybody may rearrange what he gave himself. Else it isn't seen there at all, however little the
older one has at that place: what a task sees must not depend on who makes which file when.

Where a grant is seen is a matter of names, as the task writes them: a link in a world leads within
that world, never to another grant's. `..` takes back the name before; above a grant's root that is
the place it is seen at. Names that are taken back so aren't looked up.

The directories on the way to a grant's place are there, and are directories, whatever the worlds
have under these names.
"""

from __future__ import annotations

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError, UsageError
from wasmos.servers.fs.image import MAX_PATH_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Protocol, TypeAlias

    Names: TypeAlias = tuple[str, ...]
    World: TypeAlias = tuple[str, str, Names, int]  # which sort, of what, its place, and whose

    class Granted(Protocol):
        """What is asked of a grant."""

        id: int
        badge: dict[str, str]
        by: int  # the task that gave it, 0 for the host

        @property
        def parent(self) -> Granted | None: ...


KEYS = ("dir", "at", "mode", "archive")
MODES = ("ro", "rw", "overlay")
HOST = 0
MAX_FOUND = 256  # paths whose place is remembered: programs ask for the same ones again


def check_badge(badge: Mapping[str, str]) -> None:
    """Raises UsageError if a grant with this badge could show nothing."""
    Mount(0, badge)
    directory = badge.get("dir")
    if directory is not None:
        _check_directory(directory)
    archive = badge.get("archive")
    if archive is not None:
        from wasmos.servers.fs.archive import check_archive

        check_archive(archive)


def _check_directory(directory: str) -> None:
    """By opening it: to be found and not to be entered isn't enough."""
    import os

    try:
        os.close(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        reason = _no_directory(directory) or (error.strerror or str(error)).lower()
        raise UsageError(f"fs: dir {directory!r}: {reason}; name a directory") from None


def _no_directory(path: str) -> str:
    """What is there instead; "" if that is nothing."""
    import os

    from wasmos.servers.fs.host import kind_of

    try:
        mode = os.stat(path).st_mode
    except OSError:
        return ""
    found = kind_of(mode)
    return "" if found == "a directory" else f"{found} and no directory"


class Mount:
    """A grant as a place in a tree. Raises UsageError for a badge that makes no sense.

    directory: the host's; empty for the image and for archives.
    archive: a file of the host's; empty for all others.
    is_overlay: whether changes stay in memory.
    holder: the task whose overlay it is; those that it passed the grant on to share it.
    """

    __slots__ = (
        "archive", "at", "by", "directory", "grant", "holder", "is_overlay", "world", "writable",
    )  # fmt: skip

    def __init__(self, grant: int, badge: Mapping[str, str], by: int = HOST) -> None:
        for key in badge:
            if key not in KEYS:
                raise UsageError(f"fs: no badge parameter {key!r}; there are {', '.join(KEYS)}")
        self.grant = grant
        self.by = by
        self.at = _place(badge.get("at", "/"))
        self.directory = _directory("dir", badge["dir"]) if "dir" in badge else ""
        self.archive = _directory("archive", badge["archive"]) if "archive" in badge else ""
        mode = _mode(badge.get("mode", "ro" if self.archive else "rw"))
        _check_combination(self, mode)
        # Whether an archive may be changed is no question of rights.
        self.writable = mode != "ro" or bool(self.archive)
        self.is_overlay = mode == "overlay"
        self.holder = 0
        self.world = self.shown_there

    @property
    def shown_there(self) -> World:
        """What it shows, and where. Two grants of the same are for the same files; of an overlay,
        if it is the same task's."""
        return *self.shown, self.at, self.holder if self.is_overlay else 0

    @property
    def is_image(self) -> bool:
        return not (self.directory or self.archive)

    @property
    def shown(self) -> tuple[str, str]:
        """What it shows: which sort of world, and of what."""
        if self.is_image:
            return "image", ""
        sort = "archive" if self.archive else "directory"
        return f"overlay {sort}" if self.is_overlay else sort, self.archive or self.directory


def mounts(grants: Iterable[Granted]) -> list[Mount]:
    """The places of those that show something. A badge that makes no sense grants nothing:
    whoever gave it was told, by `check_badge`."""
    found = []
    for grant in grants:
        try:
            found.append(_derived(grant))
        except UsageError:
            continue
    return found


def _derived(grant: Granted) -> Mount:
    """A grant's place, which is no more than those have that it was derived from. The kernel sees
    to that; but a host directory is too much to lose by a mistake made elsewhere."""
    mount = Mount(grant.id, grant.badge, grant.by)
    mount.holder = getattr(grant, "holder", 0)
    above = grant.parent
    while above is not None:
        mount.holder = getattr(above, "holder", 0)
        parent = Mount(above.id, above.badge)
        if parent.shown != mount.shown:
            raise UsageError(f"fs: {mount.shown} is not what it was derived from")
        mount.writable = mount.writable and parent.writable
        above = above.parent
    mount.world = mount.shown_there
    return mount


def _place(at: str) -> Names:
    if not at.startswith("/"):
        raise UsageError(f'fs: at {at!r} is no absolute path; write at="/{at}"')
    names = tuple(name for name in at.split("/") if name not in ("", "."))
    if ".." in names or "\0" in at:
        raise UsageError(
            f"fs: at {at!r} has {'..' if '..' in names else 'a NUL'} in it; name the place itself"
        )
    if len(at.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        raise UsageError(f"fs: at {at[:20]!r}… is longer than a path, {MAX_PATH_BYTES} bytes")
    return names


def _mode(mode: str) -> str:
    if mode not in MODES:
        raise UsageError(
            f"fs: mode {mode!r} is neither ro (to read) nor rw (to write, too); and there is "
            "overlay (changes stay in memory)"
        )
    return mode


def _directory(key: str, path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise UsageError(f"fs: {key} {path!r} is no absolute path of the host; write all of it")
    return path


def _check_combination(mount: Mount, mode: str) -> None:
    if mount.archive and mount.directory:
        raise UsageError("fs: dir and archive are two places; write two rules")
    if mount.archive and mode == "rw":
        raise UsageError('fs: an archive stays as it is; write mode="ro", or mode="overlay"')
    if mode == "overlay" and mount.is_image:
        raise UsageError("fs: mode overlay is for a dir or an archive; name one")


class Place:
    """Where a path leads: to `path` in the world of `mount`, or to no world if that is None.

    below: on the way to other grants, what these add to the directory, in order. Then it is a
        directory whatever the world says, `owner` is the oldest of these grants, and `number` one
        that no other directory on a way has.
    """

    __slots__ = ("below", "is_root", "mount", "number", "owner", "path")

    def __init__(
        self,
        mount: Mount | None,
        path: str,
        *,
        below: tuple[str, ...] = (),
        owner: int = 0,
        is_root: bool = False,
        number: int = 0,
    ) -> None:
        self.mount = mount
        self.path = path
        self.below = below
        self.owner = owner
        self.is_root = is_root
        self.number = number


class Tree:
    """What a task sees by the grants that admit a message.

    worlds: by grant, what it shows, and where, whether that is seen or not; `writable`: the
        grants that are also for writing.
    """

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self._mounts: dict[Names, Mount] = {}
        self.worlds: dict[int, World] = {}
        self.writable: set[int] = set()
        for mount in sorted(mounts, key=lambda mount: mount.grant):
            self.worlds[mount.grant] = mount.world
            if mount.writable:
                self.writable.add(mount.grant)
            if self._counts(mount):
                self._mounts[mount.at] = mount
        self.roots = list(self._mounts)  # by the age of the grants
        self._ways = _ways(self._mounts.values())
        self._found: dict[str, Place] = {}
        self._root = self._mounts.get(())

    def _counts(self, mount: Mount) -> bool:
        """All that count so far are older."""
        above = [mount.at[:depth] for depth in range(len(mount.at))]
        return mount.at not in self._mounts and all(
            mount.by in (HOST, self._mounts[at].by) for at in above if at in self._mounts
        )

    def find(self, path: str) -> Place:
        """Raises ServiceError for what can't be a path."""
        found = self._found.get(path)
        if found is None:
            if not path or "\0" in path:
                raise ServiceError(ErrorCode.INVALID_ARG, "a path is text")
            if len(self._found) >= MAX_FOUND:
                self._found.clear()
            found = self._found[path] = self._find(path)
        return found

    def _find(self, path: str) -> Place:
        if not self._ways and self._root is not None:
            return Place(self._root, path)  # nothing to decide
        here: list[str] = []  # where we are, in names
        mount = self._root
        rest: list[str] = []  # what its world is asked for, as it was written
        left = path.split("/")[::-1]
        while left:
            name = left.pop()
            rest.append(name)
            if name in ("", "."):
                continue
            if name != "..":
                here.append(name)
                if tuple(here) in self._mounts:
                    mount, rest = self._mounts[tuple(here)], []
            elif not here:
                return self._above(path, rest + left[::-1])
            else:
                is_way = tuple(here) in self._ways
                here.pop()
                if mount is not None and len(here) < len(mount.at):
                    mount, is_way = self._covering(here), True
                if is_way:  # whether its world has it or not
                    rest = here[len(mount.at) :] if mount else []
        below, owner, number = self._ways.get(tuple(here), ((), 0, 0))
        rest_path = "/".join(rest) or "."
        return Place(mount, rest_path, below=below, owner=owner, is_root=not here, number=number)

    def _above(self, path: str, rest: list[str]) -> Place:
        """Above the root: it is for the world there to refuse the path, in its own words."""
        if self._root is None:
            raise ServiceError(ErrorCode.INVALID_ARG, f"{path} leaves the root")
        return Place(self._root, "/".join(rest))

    def _covering(self, here: list[str]) -> Mount | None:
        for depth in range(len(here), -1, -1):
            if (mount := self._mounts.get(tuple(here[:depth]))) is not None:
                return mount
        return None


def _ways(mounts: Iterable[Mount]) -> dict[Names, tuple[tuple[str, ...], int, int]]:
    """The directories on the way to grants: what these add to each, the oldest of them, and a
    number."""
    found: dict[Names, dict[str, None]] = {}
    owners: dict[Names, int] = {}
    for mount in sorted(mounts, key=lambda mount: (mount.at, mount.grant)):
        for depth, name in enumerate(mount.at):
            way = mount.at[:depth]
            found.setdefault(way, {})[name] = None
            owners[way] = min(owners.get(way, mount.grant), mount.grant)
    return {
        way: (tuple(names), owners[way], number)
        for number, (way, names) in enumerate(found.items(), 1)
    }
