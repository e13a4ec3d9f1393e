"""What each task sees: the tree of the grants that admit its message, and what it has open.

Law: nothing is used by a right that doesn't admit the very message; and nothing of a task is left
when it has ended, nor of a grant when it is gone.
"""

from __future__ import annotations

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.kernel import Caller, Service
from wasmos.servers.fs.image import MAX_BYTES, Image
from wasmos.servers.fs.imageworld import ImageWorld
from wasmos.servers.fs.mounts import Mount, Tree, mounts
from wasmos.servers.fs.world import Opened, World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from wasmos.servers.fs.resolve import Resolver
    from wasmos.servers.fs.roots import Roots

    Held = TypeVar("Held", bound="Handle")

MAX_OPEN_FILES = 64
MAX_HOST_FILES = 512
READ_ONLY = 'it is for reading: mode="ro"'


def read_only(grant: int) -> ServiceError:
    """What a grant that is only for reading says to a change: by which one, so that advice can
    speak of that."""
    return ServiceError(ErrorCode.NOT_ALLOWED, READ_ONLY, grant=grant)


class Handle:
    """An open file or directory, the grant that it was opened under, whether that is for writing,
    and whose world it is of. Without a file: that grant is gone, and the number waits to be
    closed, so that it doesn't come to mean another file meanwhile."""

    __slots__ = ("file", "grant", "world", "writable")

    def __init__(self, file: Opened, grant: int, writable: bool, world: object) -> None:
        self.file: Opened | None = file
        self.grant = grant
        self.writable = writable
        self.world = world

    @property
    def grants(self) -> tuple[int, ...]:
        """Without any of these it isn't open any more."""
        return (self.grant,)

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None


class Views(Service):
    """The part of the server that knows tasks and grants, and no message."""

    def __init__(
        self,
        image: Image | None = None,
        *,
        max_open_files: int = MAX_OPEN_FILES,
        max_host_files: int = MAX_HOST_FILES,
        max_overlay_bytes: int = MAX_BYTES,
        resolver: Resolver | None = None,
    ) -> None:
        self.image = Image() if image is None else image
        self._max_open_files = max_open_files
        self._max_host_files = max_host_files
        self._max_overlay_bytes = max_overlay_bytes
        self._resolver = resolver
        self._image_world = ImageWorld(self.image)
        self._host_roots: Roots | None = None
        self._trees: dict[int, tuple[list[int], Tree]] = {}  # task → its last grants' tree
        self._numbers: dict[int, int] = {}  # task → how many it has open
        self._under: dict[int, set[Handle]] = {}  # grant → what was opened under it

    # --- what a task sees ---

    def _worlds(self, caller: Caller) -> Tree:
        """The tree of the grants that admit the message at hand."""
        ids = self._admitting(caller)
        known = self._trees.get(caller.id)
        if known is not None and known[0] == ids:
            return known[1]
        tree = Tree(mounts(caller.grants()))
        self._trees[caller.id] = ids, tree
        return tree

    def _admitting(self, caller: Caller) -> list[int]:
        kernel = getattr(self, "kernel", None)
        if kernel is None:
            return [grant.id for grant in caller.grants()]
        # The numbers alone: what is known of the grants doesn't change.
        found: list[int] = kernel.admitting(caller.id)
        return found

    def _world(self, caller: Caller, mount: Mount) -> World:
        """Of a mount that something is done in: by the grant that it is of."""
        if caller.grant != mount.grant:
            caller.act_by(mount.grant)
        if mount.is_image:
            return self._image_world
        return self._roots.world(mount)

    @property
    def _roots(self) -> Roots:
        if self._host_roots is None:
            # Not for those who only have images: it takes a while to import.
            from wasmos.servers.fs.hostworld import Budget
            from wasmos.servers.fs.roots import Roots

            self._host_roots = Roots(
                Budget(self._max_host_files), self._resolver, self._max_overlay_bytes
            )
        return self._host_roots

    def _act_for(self, caller: Caller, handle: Handle, *, writing: bool) -> None:
        """By which grant something open is used, if the kernel admitted the message by another
        than it was opened under. One that is for other files doesn't help."""
        tree = self._worlds(caller)
        usable = [
            grant
            for grant, world in tree.worlds.items()
            if world == handle.world and (grant in tree.writable or not writing)
        ]
        if not usable:
            raise ServiceError(ErrorCode.NOT_ALLOWED, "no grant for this file")
        caller.act_by(caller.grant if caller.grant in usable else usable[0])

    # --- what is open ---

    def _check_room(self, caller: Caller) -> None:
        """Whether one more may be open: before something is created or emptied for it."""
        if self._numbers.get(caller.id, 0) >= self._max_open_files:
            raise ServiceError(ErrorCode.NO_RESOURCES, f"at most {self._max_open_files} files")

    def _keep(self, caller: Caller, handles: dict[int, Held], handle: Held) -> int:
        """A number for what was opened."""
        self._numbers[caller.id] = self._numbers.get(caller.id, 0) + 1
        fd = 1
        while fd in handles:
            fd += 1
        handles[fd] = handle
        for grant in handle.grants:
            under = self._under.get(grant)
            if under is None:
                self._under[grant] = {handle}
            else:
                under.add(handle)
        return fd

    def _forget(self, task: int, handle: Handle) -> None:
        handle.close()
        self._numbers[task] -= 1
        for grant in handle.grants:
            under = self._under.get(grant)
            if under is not None:
                under.discard(handle)
                if not under:
                    del self._under[grant]

    # --- ends ---

    def task_ended(self, task: int) -> None:
        self._trees.pop(task, None)
        self._numbers.pop(task, None)
        self._release_what_is_over()

    def _release_what_is_over(self) -> None:
        """Nobody says so of a grant that was not taken back: its holder has ended, and all those
        that it was passed on to."""
        kernel = getattr(self, "kernel", None)
        if kernel is None or self._host_roots is None:
            return
        for grant in self._host_roots.grants():
            known = kernel.find_grant(grant)
            if known is None or known.is_over:
                self._host_roots.release(grant)

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
        self._trees.clear()
        if self._host_roots is not None:
            self._host_roots.close()
