"""What tasks hold here: sockets, each with one owner.

Law: a socket's number is of no use to anybody but its owner, and isn't given to
another one while the old may be remembered. What an owner holds is counted, and
is all found again when its task ends; what was made by a grant, when that is
taken back, or anything that it came from.
"""

from __future__ import annotations

from collections import deque

from wasmos import abi
from wasmos.errors import ServiceError
from wasmos.servers.tcpip.connection import READ
from wasmos.servers.tcpip.network import Door
from wasmos.servers.tcpip.rights import lineage

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable
    from typing import Protocol, TypeAlias

    from wasmos.kernel import Caller, Grant
    from wasmos.servers.tcpip.connection import Connection, Notice
    from wasmos.servers.tcpip.network import Listener, Stream

    Socket: TypeAlias = "Link | Port"

    class Timer(Protocol):
        def cancel(self) -> None: ...


MAX_NUMBER = 0x7FFF_FFFF
AHEAD = 16  # connections that a listener which is asked takes in before its task does


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

    @property
    def arrived(self) -> int:
        """How many connections wait to be accepted."""
        ports = (socket for socket in self.sockets.values() if isinstance(socket, Port))
        return sum(len(port.arrivals) for port in ports)

    def links(self) -> list[Link]:
        return [socket for socket in self.sockets.values() if isinstance(socket, Link)]

    def open_doors(self) -> None:
        """There is room: those who wait outside may come in."""
        for socket in list(self.sockets.values()):
            if isinstance(socket, Port):
                socket.resume()


class Link:
    """A socket that is a connection. `grant`: by which it was made, `door`: by which it came in,
    if it did."""

    __slots__ = (
        "connection",
        "door",
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
        self.door: Port | None = None

    def ready(self) -> int:
        """What could be done now, as bits of `tcpip_poll`."""
        return self.connection.ready()

    @property
    def available(self) -> int:
        """How many bytes are there."""
        return self.connection.available

    def want(self, bits: int) -> None:
        """Its owner is to be told when one of these can be done."""
        self.connection.wanted = bits

    def due(self) -> Notice | None:
        """The message that its owner should get now."""
        return self.connection.due()

    def said(self, notice: Notice) -> None:
        """Its owner was told."""
        self.connection.said(notice)


class Port(Door):
    """A socket that listens. `grant`: by which it was made, `is_mapped`: and not
    where that one says. `is_asked`: whether its task asks for connections, and not
    all of them come in at once; `arrivals`: those that have, and are no sockets yet."""

    __slots__ = (
        "_entered",
        "arrivals",
        "grant",
        "guest_port",
        "is_asked",
        "is_mapped",
        "is_scheduled",
        "listeners",
        "number",
        "owner",
        "under",
        "wake",
        "wanted",
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
        self.is_asked = False
        self.arrivals: deque[Link] = deque()
        self.is_scheduled = False  # as of a Link
        self.wake: Callable[[], object] | None = None
        self.wanted = 0
        self._entered = entered

    def has_room(self) -> bool:
        if not self.is_asked:
            return self.owner.has_room
        return len(self.arrivals) < AHEAD and self.owner.arrived < self.owner.most

    def ready(self) -> int:
        """As of a Link: there is a connection to be accepted."""
        return READ if self.available else 0

    @property
    def available(self) -> int:
        """How many connections are there."""
        return sum(not link.connection.is_stillborn for link in self.arrivals)

    def want(self, bits: int) -> None:
        """As of a Link."""
        self.wanted = bits

    def due(self) -> Notice | None:
        """As of a Link."""
        return abi.TcpipReady if self.wanted & self.ready() else None

    def said(self, _notice: Notice) -> None:
        """As of a Link."""
        self.wanted = 0

    def entered(self, stream: Stream) -> None:
        self._entered(self, stream)

    def resume(self) -> None:
        for listener in self.listeners:
            listener.resume()

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()
        while self.arrivals:
            self.arrivals.popleft().connection.stream.close()


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

    def port(self, caller: Caller, number: int) -> Port:
        """The caller's own listener. Raises ServiceError (-11)."""
        socket = self.get(caller, number)
        if not isinstance(socket, Port):
            raise ServiceError(abi.ErrorCode.INVALID_ARG, f"socket {number} is a connection")
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
