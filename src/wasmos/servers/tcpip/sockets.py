"""What tasks hold here: sockets, each with one owner.

Law: a socket's number is of no use to anybody but its owner, and isn't given to
another one while the old may be remembered. What an owner holds is counted, and
is all found again when its task ends.
"""

from __future__ import annotations

from wasmos import abi
from wasmos.errors import ServiceError
from wasmos.servers.tcpip.network import Door

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import TypeAlias

    from wasmos.kernel import Caller
    from wasmos.servers.tcpip.connection import Connection
    from wasmos.servers.tcpip.network import Listener, Stream

    Socket: TypeAlias = "Link | Port"

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
    """A socket that is a connection."""

    __slots__ = ("connection", "is_scheduled", "number", "owner", "silence", "wake")

    connection: Connection

    def __init__(self, number: int, owner: Owner) -> None:
        self.number = number
        self.owner = owner
        self.is_scheduled = False  # something may be due, and will be looked at
        self.silence: asyncio.TimerHandle | None = None  # while the task doesn't know of it
        self.wake: Callable[[], object] | None = None  # of the request that waits for it


class Port(Door):
    """A socket that listens."""

    __slots__ = ("_entered", "guest_port", "listeners", "number", "owner")

    def __init__(
        self,
        number: int,
        owner: Owner,
        guest_port: int,
        entered: Callable[[Port, Stream], object],
    ) -> None:
        self.number = number
        self.owner = owner
        self.guest_port = guest_port
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
        if not socket.owner.sockets:
            self._owners.pop(socket.owner.caller.id, None)
        else:
            socket.owner.open_doors()

    def of_task(self, task: int) -> list[Socket]:
        """All that a task holds, listening ones first: nobody comes in any more
        while the others are closed."""
        owner = self._owners.get(task)
        found = [] if owner is None else list(owner.sockets.values())
        return sorted(found, key=lambda socket: isinstance(socket, Link))

    @property
    def tasks(self) -> list[int]:
        """The tasks that hold some."""
        return list(self._owners)
