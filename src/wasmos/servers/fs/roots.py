"""What grants lead to on the host: each thing opened once, and closed with its last grant.

Law: it is opened when a grant is first used. Grants that name the same, by whatever name, share
it; and what it is doesn't change if something else takes its name. Only overlays belong to
somebody: to the task that was granted one, and to those that it passed it on to.
"""

from __future__ import annotations

import os

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.servers.fs.beneath import Beneath
from wasmos.servers.fs.hosterrors import code_of, first_code_of
from wasmos.servers.fs.hostworld import Budget, HostWorld
from wasmos.servers.fs.image import MAX_BYTES
from wasmos.servers.fs.imageworld import ImageWorld

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from wasmos.servers.fs.mounts import Mount
    from wasmos.servers.fs.resolve import Resolver
    from wasmos.servers.fs.world import World

    Identity: TypeAlias = tuple[object, ...]


class Roots:
    """The worlds of the host that grants lead to."""

    def __init__(
        self,
        budget: Budget,
        resolver: Resolver | None = None,
        overlay_bytes: int = MAX_BYTES,
    ) -> None:
        self._budget = budget
        self._overlay_bytes = overlay_bytes  # of the files changed in each
        self._resolver = resolver
        self._of_grant: dict[int, list[Identity]] = {}  # what it shows, and what lies below that
        self._worlds: dict[Identity, World] = {}
        self._grants: dict[Identity, set[int]] = {}

    def world(self, mount: Mount) -> World:
        known = self._of_grant.get(mount.grant)
        if known:
            return self._worlds[known[0]]
        try:
            return self._use(mount)
        except BaseException:
            self.release(mount.grant)
            raise

    def _use(self, mount: Mount) -> World:
        lower = self._archive(mount) if mount.archive else self._directory(mount)
        if not mount.is_overlay:
            return lower
        from wasmos.servers.fs.overlay import lay_over

        below = self._of_grant[mount.grant][0]
        identity = ("overlay", mount.holder, below)
        return self._share(
            identity,
            mount.grant,
            lambda: ImageWorld(lay_over(lower, max_bytes=self._overlay_bytes)),
        )

    def _directory(self, mount: Mount) -> World:
        try:
            beneath = Beneath(mount.directory, resolver=self._resolver)
        except OSError as error:
            raise ServiceError(first_code_of(error), "the directory of the grant") from None
        if beneath.identity in self._worlds:
            beneath.close()
        return self._share(
            beneath.identity, mount.grant, lambda: self._counted(HostWorld(beneath, self._budget))
        )

    def _archive(self, mount: Mount) -> World:
        from wasmos.servers.fs.archive import Archive, ArchiveWorld
        from wasmos.servers.fs.image import ImageError

        archive = None
        try:
            found = os.stat(mount.archive)
            identity = "archive", found.st_dev, found.st_ino
            if identity not in self._worlds:  # what is open isn't read again: that takes its time
                archive = Archive(mount.archive)
                identity = "archive", *archive.identity
        except OSError as error:
            raise ServiceError(code_of(error), "the archive of the grant") from None
        except ImageError as error:
            raise ServiceError(ErrorCode.IO_ERROR, f"the archive of the grant: {error}") from None
        if archive is not None and identity in self._worlds:
            archive.close()  # it has taken the name in between

        def make() -> World:
            assert archive is not None
            return self._counted(ArchiveWorld(archive))

        return self._share(identity, mount.grant, make)

    def _counted(self, world: World) -> World:
        try:
            self._budget.take()
        except BaseException:
            world.close()
            raise
        return world

    def _share(self, identity: Identity, grant: int, make: Callable[[], World]) -> World:
        if identity not in self._worlds:
            self._worlds[identity] = make()
        self._of_grant.setdefault(grant, []).insert(0, identity)
        self._grants.setdefault(identity, set()).add(grant)
        return self._worlds[identity]

    def grants(self) -> list[int]:
        """Those that led to something."""
        return list(self._of_grant)

    def release(self, grant: int) -> None:
        """A grant is gone; nothing if it was never used."""
        for identity in self._of_grant.pop(grant, ()):
            self._grants[identity].remove(grant)
            if not self._grants[identity]:
                del self._grants[identity]
                self._worlds.pop(identity).close()
                if identity[0] != "overlay":
                    self._budget.give()

    def close(self) -> None:
        for grant in list(self._of_grant):
            self.release(grant)
