"""Sockets as programs of other systems want them: they ask, and wait if they like.

Law: a socket is told of (`tcpip_data`, `tcpip_closed`) or asked, never both. It is asked from the
first `tcpip_accept`, `tcpip_receive` or `tcpip_poll` on; one that listens also if its task was told
its port by `tcpip_listener` before it opened it, and then no connection is announced, however early
it comes. A connection that `tcpip_accept` gave is asked from the start. Who has asked for something
in vain with `tcpip_poll` gets one `tcpip_ready`; it is worked out from the state, so it can't be
lost, and a socket that is taken away counts as a change.

A listener that is asked takes in a few connections and leaves the rest to the host's backlog. They
are no sockets of its task's before it accepts them, and nothing is read from them.

A request waits as long as its task does: it ends with the task, with the socket, and with the grant
by which the socket was made. Answers beside those of `server`:

    -2   no resources       accept: all of the task's sockets are in use; the connection waits
    -11  invalid argument   flags that there aren't; accept: a connection
    -19  would block        it was not to wait
    -21  aborted            it is gone, by our own hand or the network's
    -27  end of file        listener: there are no more
    -38  broken pipe        send: after a shutdown, or the peer reads no more
    -39  not connected      a socket that listens; shutdown: the peer is gone
    -40  connection reset   the peer broke it off
"""

from __future__ import annotations

from wasmos import abi
from wasmos.errors import ServiceError
from wasmos.kernel import Service
from wasmos.servers.tcpip.codes import broken
from wasmos.servers.tcpip.connection import CLOSED, READ, SEND
from wasmos.servers.tcpip.rights import named_ports
from wasmos.servers.tcpip.sockets import Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from wasmos.kernel import Caller, Lent
    from wasmos.servers.tcpip.bounds import Bounds
    from wasmos.servers.tcpip.connection import Connection
    from wasmos.servers.tcpip.rights import Rights
    from wasmos.servers.tcpip.sockets import Link, Socket, Sockets

DONT_WAIT, PEEK, WHOLE = 1, 2, 4  # of tcpip_receive; the first of all


class Asked(Service):
    """What `Tcpip` is made of, beside that which tells."""

    _bounds: Bounds
    _sockets: Sockets
    _rights: Rights
    _told: dict[int, set[int]]  # task → the ports that `tcpip_listener` told it

    def _forget(self, socket: Socket) -> None:
        raise NotImplementedError

    async def _wait(
        self, socket: Socket, over: Callable[[], object], seconds: float | None
    ) -> None:
        raise NotImplementedError

    # --- listening ---

    def tcpip_listener(self, caller: Caller, index: int) -> int:
        denials = [each for each in self._grants_of(caller) if each.deny]
        ports = named_ports(caller, self._rights.fitting(caller, lambda _: True), denials)
        if index < 0:
            raise ServiceError(abi.ErrorCode.INVALID_ARG, f"listener {index}")
        if index >= len(ports):
            raise ServiceError(abi.ErrorCode.EOF)
        self._told.setdefault(caller.id, set()).add(ports[index])
        return ports[index]

    def _grants_of(self, caller: Caller) -> list[Any]:
        task = self.kernel.find(caller.id)
        return [] if task is None else list(task.grants)

    def tcpip_accept(self, caller: Caller, sock: int, flags: int) -> int | Coroutine[Any, Any, int]:
        port = self._sockets.port(caller, sock)
        _check(flags, DONT_WAIT)
        self._ask(port)
        number = self._next(port)
        if number is not None:
            return number
        if flags & DONT_WAIT:
            raise ServiceError(abi.ErrorCode.WOULD_BLOCK)
        return self._accept_later(port)

    async def _accept_later(self, port: Port) -> int:
        def over() -> bool:
            return bool(port.ready()) or not self._sockets.holds(port)

        while True:
            await self._wait(port, over, None)
            if not self._sockets.holds(port):
                raise ServiceError(abi.ErrorCode.ABORTED, "the listener is gone")
            number = self._next(port)
            if number is not None:
                return number

    def _next(self, port: Port) -> int | None:
        """The number of the next connection. Raises ServiceError (-2)."""
        while port.arrivals:
            link = port.arrivals[0]
            if not link.connection.is_stillborn:
                self._sockets.owner(port.owner.caller)  # with room for it
                port.arrivals.popleft()
                link.number = self._sockets.number()
                link.connection.accepted()
                self._sockets.add(link)
                link.connection.stream.resume()
                port.owner.open_doors()
                return link.number
            port.arrivals.popleft().connection.stream.close()
        port.owner.open_doors()
        return None

    def _ask(self, socket: Socket) -> None:
        """From now on it is asked."""
        if not isinstance(socket, Port):
            socket.connection.is_asked = True
            return
        if socket.is_asked:
            return
        socket.is_asked = True
        # Those that came in and have said nothing yet: their task doesn't know of them.
        early = [link for link in socket.owner.links() if link.door is socket]
        early = [link for link in early if not link.connection.known]
        socket.arrivals.extend(early)
        for link in early:
            self._forget(link)

    # --- receiving ---

    def tcpip_receive(
        self, caller: Caller, sock: int, flags: int, into: Lent
    ) -> int | Coroutine[Any, Any, int]:
        link = self._connected(caller, sock)
        _check(flags, DONT_WAIT | PEEK | WHOLE)
        self._ask(link)
        connection = link.connection
        if not len(into):
            return 0
        if not connection.is_over and connection.available < self._enough(flags, len(into)):
            if not flags & DONT_WAIT:
                return self._receive_later(link, flags, into)
            if not connection.available:
                raise ServiceError(abi.ErrorCode.WOULD_BLOCK)
        return self._end_receiving(connection, _move(connection, flags, into))

    async def _receive_later(self, link: Link, flags: int, into: Lent) -> int:
        """Memory that is to be filled can be larger than what may wait to be read: it is filled
        as the bytes come. Not one by one: half of what may wait is there before it is taken."""
        connection = link.connection
        most = self._bounds.receive_bytes if flags & PEEK else (self._bounds.receive_bytes + 1) // 2
        done = 0

        def over() -> bool:
            enough = min(most, self._enough(flags, len(into) - done))
            return connection.is_over or connection.available >= enough

        while True:
            await self._wait(link, over, None)
            done += _move(connection, flags, into, done)
            if not flags & WHOLE or flags & PEEK or done == len(into) or connection.is_over:
                return self._end_receiving(connection, done)

    def _enough(self, flags: int, size: int) -> int:
        """How many bytes have to be there for so much room, so that nothing is left to wait for."""
        if not flags & WHOLE:
            return 1
        return min(size, self._bounds.receive_bytes) if flags & PEEK else size

    def _end_receiving(self, connection: Connection, size: int) -> int:
        if size == 0 and connection.error is not None and not connection.is_deaf:
            raise broken(connection.error)
        return size

    # --- sending ---

    def tcpip_send(
        self, caller: Caller, sock: int, flags: int, data: Lent
    ) -> int | Coroutine[Any, Any, int]:
        link = self._connected(caller, sock)
        _check(flags, DONT_WAIT)
        if link.connection.ready() & SEND:
            return self._send(link.connection, data)
        if flags & DONT_WAIT:
            raise ServiceError(abi.ErrorCode.WOULD_BLOCK)
        return self._send_later(link, data)

    async def _send_later(self, link: Link, data: Lent) -> int:
        await self._wait(link, lambda: link.connection.ready() & SEND, None)
        return self._send(link.connection, data)

    def _send(self, connection: Connection, data: Lent) -> int:
        if connection.is_mute:
            raise ServiceError(abi.ErrorCode.BROKEN_PIPE, "it was shut down")
        piece = data.read(self._bounds.send_bytes)
        if connection.error is None and piece:
            connection.stream.send(piece)
        if connection.error is not None:  # also if it broke by sending
            raise broken(connection.error)
        return len(piece)

    def tcpip_shutdown(self, caller: Caller, sock: int, how: int) -> None:
        connection = self._connected(caller, sock).connection
        if not 1 <= how <= READ | SEND:
            raise ServiceError(abi.ErrorCode.INVALID_ARG, f"how {how}")
        if connection.error is not None:
            raise ServiceError(abi.ErrorCode.NOT_CONNECTED, "the peer is gone")
        if how & READ:
            connection.deafen()
        if how & SEND:
            connection.mute()

    # --- polling ---

    def tcpip_poll(self, caller: Caller, sock: int, wanted: int) -> tuple[int, int]:
        socket = self._sockets.get(caller, sock)
        _check(wanted, READ | SEND | CLOSED)
        self._ask(socket)
        ready = socket.ready()
        socket.want(0 if ready & wanted else wanted)
        return ready, socket.available

    def _connected(self, caller: Caller, sock: int) -> Link:
        """The caller's own connection. Raises ServiceError (-11, -39)."""
        socket = self._sockets.get(caller, sock)
        if isinstance(socket, Port):
            raise ServiceError(abi.ErrorCode.NOT_CONNECTED, f"socket {sock} listens")
        return socket


def _check(flags: int, known: int) -> None:
    if flags & ~known:
        raise ServiceError(abi.ErrorCode.INVALID_ARG, f"flags {flags:#x}")


def _move(connection: Connection, flags: int, into: Lent, at: int = 0) -> int:
    """How many bytes went from the connection to memory."""
    room = len(into) - at
    return into.write(connection.peek(room) if flags & PEEK else connection.take(room), at)
