"""What tasks hold here: sockets, each with one owner.

Law: a socket's number is of no use to anybody but its owner, and isn't given to
another one while the old may be remembered. What an owner holds is counted, and
is all found again when its task ends; what was made by a grant, when that is
taken back, or anything that it came from.
"""

from __future__ import annotations

from wasmos import abi
from wasmos.errors import ServiceError
from wasmos.servers.tcpip.network import Door
from wasmos.servers.tcpip.rights import lineage

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable
    from typing import Protocol, TypeAlias

    from wasmos.kernel import Caller, Grant
    from wasmos.servers.tcpip.connection import Connection
    from wasmos.servers.tcpip.network import Listener, Stream

    Socket: TypeAlias = "Link | Port"

    class Timer(Protocol):
        def cancel(self) -> None: ...


MAX_NUMBER = 0x7FFF_FFFF


class Owner:
    """A task with sockets."""

    __slots__ = ("caller", "most", "sockets")

    def __init__(self, caller: Caller, most: int) -> None:
        self.caller = caller
        self.most = most
        self.sockets: dict[int, Socket] = {}

    @property
    def has_room(self) -> bool:
        return len(self.sockets) < self.most

    def open_doors(self) -> None:
        """There is room: those who wait outside may come in."""
        for socket in list(self.sockets.values()):
            if isinstance(socket, Port):
                socket.resume()


class Link:
    """A socket that is a connection. `grant`: by which it was made."""

    __slots__ = (
        "connection",
        "grant",
        "is_scheduled",
        "number",
        "owner",
        "silence",
        "under",
        "wake",
    )

    connection: Connection

    def __init__(self, number: int, owner: Owner, grant: Grant) -> None:
        self.number = number
        self.owner = owner
        self.grant = grant
        self.under = tuple(each.id for each in lineage(grant))
        self.is_scheduled = False  # something may be due, and will be looked at
        self.silence: asyncio.TimerHandle | None = None  # while the task doesn't know of it
        self.wake: Callable[[], object] | None = None  # of the request that waits for it


class Port(Door):
    """A socket that listens. `grant`: by which it was made, `is_mapped`: and not
    where that one says."""

    __slots__ = (
        "_entered",
        "grant",
        "guest_port",
        "is_mapped",
        "listeners",
        "number",
        "owner",
        "under",
    )

    def __init__(
        self,
        number: int,
        owner: Owner,
        grant: Grant,
        guest_port: int,
        entered: Callable[[Port, Stream], object],
    ) -> None:
        self.number = number
        self.owner = owner
        self.grant = grant
        self.under = tuple(each.id for each in lineage(grant))
        self.guest_port = guest_port
        self.is_mapped = False
        self.listeners: list[Listener] = []
        self._entered = entered

    def has_room(self) -> bool:
        return self.owner.has_room

    def entered(self, stream: Stream) -> None:
        self._entered(self, stream)

    def resume(self) -> None:
        for listener in self.listeners:
            listener.resume()

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()


class Sockets:
    """All of them, by number and by owner.

    most: that one owner may hold."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._sockets: dict[int, Socket] = {}
        self._owners: dict[int, Owner] = {}
        self._under: dict[int, set[Socket]] = {}  # grant → what depends on it
        self._last = 0

    def owner(self, caller: Caller) -> Owner:
        """The caller, with room for one more socket. Raises ServiceError (-2)."""
        # Kept only once it has one: whoever only asks leaves nothing behind.
        owner = self._owners.get(caller.id) or Owner(caller, self._most)
        if not owner.has_room:
            raise ServiceError(
                abi.ErrorCode.NO_RESOURCES, f"it has {self._most} sockets; destroy one first"
            )
        return owner

    def number(self) -> int:
        """A new number: the one not given for longest."""
        self._last = self._last % MAX_NUMBER + 1
        while self._last in self._sockets:
            self._last = self._last % MAX_NUMBER + 1
        return self._last

    def add(self, socket: Socket) -> None:
        self._sockets[socket.number] = socket
        self._owners[socket.owner.caller.id] = socket.owner
        socket.owner.sockets[socket.number] = socket
        for grant in socket.under:
            self._under.setdefault(grant, set()).add(socket)

    def get(self, caller: Caller, number: int) -> Socket:
        """The caller's own socket. Raises ServiceError (-11) for another's as for none."""
        socket = self._sockets.get(number)
        if socket is None or socket.owner.caller.id != caller.id:
            raise ServiceError(abi.ErrorCode.INVALID_ARG, f"socket {number}")
        return socket

    def link(self, caller: Caller, number: int) -> Link:
        """The caller's own connection. Raises ServiceError (-11)."""
        socket = self.get(caller, number)
        if not isinstance(socket, Link):
            raise ServiceError(abi.ErrorCode.INVALID_ARG, f"socket {number} listens")
        return socket

    def holds(self, socket: Socket) -> bool:
        """Whether it wasn't removed yet."""
        return self._sockets.get(socket.number) is socket

    def remove(self, socket: Socket) -> None:
        del self._sockets[socket.number]
        del socket.owner.sockets[socket.number]
        for grant in socket.under:
            self._under[grant].remove(socket)
            if not self._under[grant]:
                del self._under[grant]
        if not socket.owner.sockets:
            self._owners.pop(socket.owner.caller.id, None)
        else:
            socket.owner.open_doors()

    def of_task(self, task: int) -> list[Socket]:
        """All that a task holds, listening ones first: nobody comes in any more
        while the others are closed."""
        owner = self._owners.get(task)
        return _in_order(() if owner is None else owner.sockets.values())

    def under(self, grant: int) -> list[Socket]:
        """All that depend on a grant, in the same order."""
        return _in_order(self._under.get(grant, ()))

    def listens(self, caller: Caller, guest_port: int) -> bool:
        """Whether the caller listens on a port."""
        owner = self._owners.get(caller.id)
        return owner is not None and any(
            isinstance(socket, Port) and socket.guest_port == guest_port
            for socket in owner.sockets.values()
        )

    @property
    def tasks(self) -> list[int]:
        """The tasks that hold some."""
        return list(self._owners)


def _in_order(sockets: Iterable[Socket]) -> list[Socket]:
    return sorted(sockets, key=lambda socket: (isinstance(socket, Link), socket.number))
