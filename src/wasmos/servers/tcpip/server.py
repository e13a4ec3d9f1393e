"""`tcpip` with the host's network, or another one, behind it.

Law: a request ends with an answer, a peer with a notice, a task with everything
that was its own, and a capability with everything that was made by it. No peer
and no task can make this server hold more than `Bounds` says, or hold up anybody
but themselves.

What a capability means here, beyond what the kernel has checked, its badge says;
see `badges`. A socket belongs to one grant that admitted the message which made
it: of those that mean it, the one that the kernel counted; where a port is bound,
the oldest with a `bind`. When that grant is revoked or expires, or one that it
came from, the socket is closed at once, and so are the connections that came in
by it: peers see the end or a reset, the task `tcpip_closed`, and a write that
waits ends with -8 if nothing else admits it, with -21 otherwise; so does a connect
that is under way. One that is used up takes nothing with it, since its last use is
one; its time, if it had any, still counts. Whoever holds nothing for this service
any more can't be told of anything, and what it should have been told of is closed.

What a task that asks for connections and bytes, instead of being told, is answered: see `asked`.
For the others, where it isn't 0:

    -2   no resources     all of the task's sockets are in use, or the host's are
    -4   already used     somebody listens on that port, here or on the host
    -7   not found        connect: nobody is there, or no way leads there;
                          dns_resolve: no such host, or it has no IPv4 address
    -8   not allowed      listen: the port is nowhere on the host; connect,
                          dns_resolve: the destination isn't allowed
    -10  unexpected       the host said what is in no table; see `codes`
    -11  invalid argument no socket of the caller's, or not of the right sort;
                          port 0; a hostname that can't be one
    -20  try again        connect, dns_resolve: no answer in time; write: the peer
                          takes nothing, and nothing of this message was sent
    -21  aborted          the peer is gone, or what it was connected by

Of several addresses `dns_resolve` answers with the first public one, or else with
the first. Whether it may be connected to is decided when it is, not before: a name
that leads to a private address is answered, and of no use without a rule that names
the address.
"""

from __future__ import annotations

import errno
from collections import deque

from wasmos import abi
from wasmos.errors import ServiceError, UsageError
from wasmos.servers.tcpip import policy
from wasmos.servers.tcpip.asked import Asked
from wasmos.servers.tcpip.badges import endpoints_of, is_for
from wasmos.servers.tcpip.bounds import Bounds
from wasmos.servers.tcpip.codes import answer
from wasmos.servers.tcpip.connection import Connection
from wasmos.servers.tcpip.farewell import Farewell
from wasmos.servers.tcpip.names import Names, can_be_a_name, preferred
from wasmos.servers.tcpip.network import Endpoint
from wasmos.servers.tcpip.ports import PortMap
from wasmos.servers.tcpip.rights import SPENT, Rights, in_force
from wasmos.servers.tcpip.sockets import Link, Port, Sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Iterable
    from typing import TypeVar

    from wasmos.kernel import Caller, Grant
    from wasmos.servers.tcpip.network import Listener, Network, Stream
    from wasmos.servers.tcpip.policy import MayConnect
    from wasmos.servers.tcpip.sockets import Owner, Socket

    T = TypeVar("T")

READ_BYTES = 1024  # what an answer to tcpip_read has room for


class Tcpip(Asked):
    """The service `tcpip`.

    ports: which host address a guest's port is where no grant's `bind` says it:
        a PortMap, or texts such as "8080:80" for one that refuses the rest.
    connect: a bound on what capabilities allow. "granted": no bound; "none"; a
        rule of `addresses` such as "any", which is the public internet, or
        several; or a function of the caller, the address and the port. Names
        can be looked up unless it is "none".
    network: the host's own, unless another one is given, such as FakeNetwork.
    on_bound: called with the guest's port and the endpoint whenever one opens.

    `bound` says which guest ports are open, and where on the host.
    """

    name = "tcpip"
    hears_outside = True

    def __init__(
        self,
        *,
        ports: PortMap | Iterable[str] = (),
        connect: str | Iterable[str] | MayConnect = policy.GRANTED,
        network: Network | None = None,
        bounds: Bounds | None = None,
        on_bound: Callable[[int, Endpoint], object] | None = None,
    ) -> None:
        self.bound: dict[int, list[Endpoint]] = {}
        self._ports = ports if isinstance(ports, PortMap) else PortMap(ports)
        self._may_connect = policy.bound(connect)
        self._chosen_network = network
        self._bounds = bounds or Bounds()
        self._on_bound = on_bound
        self._sockets = Sockets(self._bounds.sockets)
        self._rights = Rights()
        self._names = Names(self._bounds.names, self._bounds.name_seconds)
        # Guest port → the tasks that have it where `ports` says.
        self._mapped_ports: dict[int, set[int]] = {}
        self._told = {}
        # Mailbox full: who is to be told, the oldest first; and of which listeners that are gone.
        self._unsaid: dict[Socket, None] = {}
        self._gone: dict[int, tuple[Caller, deque[int]]] = {}  # by task: their numbers
        self._farewells: dict[int, dict[Farewell, asyncio.TimerHandle]] = {}  # by task
        self._is_stopped = False

    @property
    def _network(self) -> Network:
        if self._chosen_network is None:
            from wasmos.servers.tcpip.host import HostNetwork

            self._chosen_network = HostNetwork()
        return self._chosen_network

    # --- listening ---

    def tcpip_listen(self, caller: Caller, listen_port: int) -> int:
        if listen_port == 0:
            raise ServiceError(abi.ErrorCode.INVALID_ARG, "port 0")
        if self._sockets.listens(caller, listen_port):
            raise ServiceError(abi.ErrorCode.ALREADY_USED, f"port {listen_port}")
        grant = self._right_to_listen(caller)
        port = Port(
            self._sockets.number(), self._sockets.owner(caller), grant, listen_port, self._accept
        )
        port.is_asked = listen_port in self._told.get(caller.id, ())
        self._open(port, self._places(port))
        self._rights.use(grant)
        self._sockets.add(port)
        self._announce(port)
        return port.number

    def _right_to_listen(self, caller: Caller) -> Grant:
        """The oldest grant that says where; any one if none does."""
        fitting = self._rights.fitting(caller, lambda _: True)
        bound = [grant for grant in fitting if "bind" in grant.badge]
        if bound:
            return min(bound, key=lambda grant: grant.id)
        if fitting:
            return fitting[0]
        raise ServiceError(abi.ErrorCode.NOT_ALLOWED, "what would allow it is gone or used up")

    def _places(self, port: Port) -> list[list[Endpoint]]:
        """Where on the host a port is. Raises ServiceError (-4, -8)."""
        bind = port.grant.badge.get("bind")
        if bind is not None:
            try:
                return [endpoints_of(bind)]
            except UsageError as error:
                raise ServiceError(abi.ErrorCode.NOT_ALLOWED, str(error)) from None
        guest_port = port.guest_port
        choices = self._ports.choices(guest_port)
        if not choices:
            raise ServiceError(abi.ErrorCode.NOT_ALLOWED, f"port {guest_port} isn't mapped")
        # A second task can have the port only where a range leaves room for it.
        if guest_port in self._mapped_ports and max(map(len, choices)) == 1:
            raise ServiceError(abi.ErrorCode.ALREADY_USED, f"port {guest_port}")
        port.is_mapped = True
        return choices

    def _announce(self, port: Port) -> None:
        if port.is_mapped:
            tasks = self._mapped_ports.setdefault(port.guest_port, set())
            tasks.add(port.owner.caller.id)
        endpoints = [listener.endpoint for listener in port.listeners]
        self.bound.setdefault(port.guest_port, []).extend(endpoints)
        if self._on_bound is not None:
            for endpoint in endpoints:
                self._on_bound(port.guest_port, endpoint)

    def _open(self, port: Port, choices: list[list[Endpoint]]) -> None:
        """One of each choice, or nothing."""
        try:
            for choice in choices:
                port.listeners.append(self._first_free(port, choice))
        except OSError as error:
            port.close()
            raise answer(error) from error

    def _first_free(self, port: Port, choice: list[Endpoint]) -> Listener:
        for endpoint in choice[:-1]:
            try:
                return self._network.listen(self.kernel.loop, endpoint, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        return self._network.listen(self.kernel.loop, choice[-1], port)

    def _accept(self, port: Port, stream: Stream) -> None:
        link = self._new_link(port.owner, port.grant, known=False)
        stream.events = link.connection
        link.door = port
        self._join(link, stream)
        if port.is_asked:
            port.arrivals.append(link)
            self._changed(port)
            return
        self._sockets.add(link)
        # Its task hears of it with its first bytes; if they never come, nobody
        # else would ever let go of it.
        link.silence = self.kernel.loop.call_later(self._bounds.silent_seconds, self._drop, link)
        stream.resume()

    # --- connecting ---

    async def tcpip_connect(self, caller: Caller, dst_addr: int, dst_port: int) -> int:
        self._check_running()
        if dst_port == 0:
            raise ServiceError(abi.ErrorCode.INVALID_ARG, "port 0")
        endpoint = self._checked(caller, dst_addr, dst_port)
        owner = self._sockets.owner(caller)
        grant = self._right_to_reach(caller, self._names_of(caller, dst_addr))
        self._rights.use(grant)
        link = self._new_link(owner, grant, known=True)
        try:
            stream = self._network.connect(self.kernel.loop, endpoint, link.connection)
            self._join(link, stream)
            self._sockets.add(link)
            await self._opened(link)
        except OSError as error:
            raise answer(error) from error
        stream.resume()
        return link.number

    async def _opened(self, link: Link) -> None:
        """Until it is, or else it is dropped."""
        connection = link.connection
        try:
            await self._wait(
                link,
                lambda: connection.is_open or connection.error is not None,
                self._bounds.connect_seconds,
            )
            if connection.error is not None:
                raise connection.error
        except BaseException:
            self._drop(link)
            raise

    def _checked(self, caller: Caller, address: int, port: int) -> Endpoint:
        """The destination, if it is allowed. Raises ServiceError (-8)."""
        if self._may_connect is not None:
            from ipaddress import IPv4Address

            ip = IPv4Address(address)
            if self._may_connect(caller, ip, port):
                return Endpoint(str(ip), port)
        raise ServiceError(abi.ErrorCode.NOT_ALLOWED, "this destination isn't allowed")

    def _names_of(self, caller: Caller, address: int) -> list[str]:
        return self._names.of(caller.id, address, self.kernel.loop.time())

    def _right_to_reach(self, caller: Caller, names: list[str]) -> Grant:
        """A grant that is for any host, or for one of these names. Raises ServiceError (-8)."""

        def fits(grant: Grant) -> bool:
            host = grant.badge.get("host")
            return host is None or any(is_for(host, name) for name in names)

        fitting = self._rights.fitting(caller, fits)
        if fitting:
            return fitting[0]
        hosts = {grant.badge["host"] for grant in caller.grants() if "host" in grant.badge}
        raise ServiceError(
            abi.ErrorCode.NOT_ALLOWED,
            f"only for {', '.join(sorted(hosts))}, as this task has looked it up"
            if hosts
            else "what would allow it is gone or used up",
        )

    async def tcpip_dns_resolve(self, caller: Caller, hostname: str) -> int:
        self._check_running()
        if self._may_connect is None:
            raise ServiceError(abi.ErrorCode.NOT_ALLOWED, "connecting is switched off")
        if not can_be_a_name(hostname):
            raise ServiceError(abi.ErrorCode.INVALID_ARG, "not a hostname")
        grant = self._right_to_reach(caller, [hostname])
        self._rights.use(grant)
        try:
            found = await self._in_time(self._network.resolve(hostname))
        except UnicodeError:
            raise ServiceError(abi.ErrorCode.INVALID_ARG, "not a hostname") from None
        except OSError as error:
            raise answer(error) from error
        if not found:
            raise ServiceError(abi.ErrorCode.NOT_FOUND, hostname)
        if not in_force(grant):  # another one keeps the call going, for other names
            raise ServiceError(abi.ErrorCode.NOT_ALLOWED, "what allowed it is gone")
        address = preferred(found)
        self._names.learn(caller.id, hostname, address, self.kernel.loop.time())
        return address

    async def _in_time(self, work: Awaitable[T]) -> T:
        import asyncio

        try:
            async with asyncio.timeout(self._bounds.connect_seconds):
                return await work
        except TimeoutError:
            raise ServiceError(abi.ErrorCode.TRY_AGAIN, "no answer in time") from None

    # --- reading and writing ---

    def tcpip_read(self, caller: Caller, sock: int) -> bytes:
        return self._sockets.link(caller, sock).connection.take(READ_BYTES)

    async def tcpip_write(self, caller: Caller, sock: int, data: bytes) -> None:
        self._check_running()
        link = self._sockets.link(caller, sock)
        connection = link.connection
        if not connection.can_send:
            await self._wait(link, lambda: connection.can_send, self._bounds.write_seconds)
        if connection.is_mute:
            raise ServiceError(abi.ErrorCode.ABORTED, "it was shut down")
        if connection.error is None and data:
            connection.stream.send(data)
        if connection.error is not None:  # also if it broke by sending
            raise ServiceError(abi.ErrorCode.ABORTED, "the peer is gone")

    async def _wait(
        self, socket: Socket, over: Callable[[], object], seconds: float | None
    ) -> None:
        """Until `over()` is true of a socket. Raises ServiceError (-20).

        One at a time per socket: only its owner waits for it, and it is
        held up by doing so."""
        import asyncio

        try:
            async with asyncio.timeout(seconds):
                while not over():
                    turned = asyncio.Event()
                    socket.wake = turned.set
                    await turned.wait()
        except TimeoutError:
            raise ServiceError(abi.ErrorCode.TRY_AGAIN, "no answer in time") from None
        finally:
            socket.wake = None

    # --- the life of a connection ---

    def _new_link(self, owner: Owner, grant: Grant, *, known: bool) -> Link:
        link = Link(self._sockets.number(), owner, grant)
        link.connection = Connection(
            self._bounds.receive_bytes, known=known, changed=lambda: self._changed(link)
        )
        return link

    def _join(self, link: Link, stream: Stream) -> None:
        stream.send_bytes = self._bounds.send_bytes
        link.connection.stream = stream

    def _changed(self, socket: Socket) -> None:
        if socket.wake is not None:
            socket.wake()
        if not socket.is_scheduled:
            # Not on the spot: a task that reads all there is in one go isn't
            # told after each of its reads that there is more.
            socket.is_scheduled = True
            self.kernel.loop.call_soon(self._look, socket)

    def _look(self, socket: Socket) -> None:
        """Tell the owner what is due."""
        socket.is_scheduled = False
        if not self._sockets.holds(socket):
            return
        if isinstance(socket, Link) and socket.connection.is_stillborn:
            self._drop(socket)
        elif socket not in self._unsaid and not self._tell(socket):
            self._keep(socket)

    def _tell(self, socket: Socket) -> bool:
        """False if the owner's mailbox is full."""
        while (notice := socket.due()) is not None:
            if not self._is_heard(socket.owner):
                self._drop(socket)  # the notice would be denied, this time and every other
                return True
            if not socket.owner.caller.notify(self, notice(socket.number)):
                return False
            socket.said(notice)
            if isinstance(socket, Link):
                self._end_silence(socket)
        return True

    def _is_heard(self, owner: Owner) -> bool:
        """Whether messages reach it: it holds something for one of our names."""
        server = self.kernel.find(self.task)
        names = () if server is None else server.services
        return any(self.kernel.may_look_up(owner.caller.id, name) for name in names)

    def _keep(self, socket: Socket) -> None:
        """Try again when there is room in some mailbox."""
        self._unsaid[socket] = None
        self.kernel.when_room(self._tell_again)

    def _tell_again(self) -> None:
        unsaid, self._unsaid = self._unsaid, {}
        full: set[Owner] = set()
        for socket in unsaid:
            if socket.owner in full or not self._tell(socket):
                full.add(socket.owner)
                self._keep(socket)
        gone, self._gone = self._gone, {}
        for caller, numbers in gone.values():
            for number in numbers:
                self._say_gone(caller, number)

    def _say_gone(self, caller: Caller, number: int) -> None:
        """Its task waits to hear of it: let it look again, and find that it is gone. While it reads
        nothing, so many of them are kept as it can have had at once: the last ones."""
        if not caller.notify(self, abi.TcpipReady(number)):
            most = self._bounds.sockets
            self._gone.setdefault(caller.id, (caller, deque(maxlen=most)))[1].append(number)
            self.kernel.when_room(self._tell_again)

    # --- ends ---

    def tcpip_destroy(self, caller: Caller, sock: int) -> None:
        self._end(self._sockets.get(caller, sock))

    def task_ended(self, task: int) -> None:
        # As when a process ends: nothing is its own any more, but what it has
        # sent is under way.
        for socket in self._sockets.of_task(task):
            self._end(socket)
        self._told.pop(task, None)
        self._gone.pop(task, None)
        self._names.forget(task)
        self._rights.tidy()

    def holds(self, grant: int) -> bool:
        return bool(self._sockets.under(grant)) or any(
            grant in farewell.under for said in self._farewells.values() for farewell in said
        )

    def revoked(self, grant: int) -> None:
        found = self.kernel.find_grant(grant)
        if found is not None and found.state == SPENT:
            # Later: its last use may be a coroutine that hasn't begun.
            self.kernel.loop.call_soon(self._rights.forget, found)
            return
        if found is not None:
            self._rights.forget(found)
        for socket in self._sockets.under(grant):
            self._cut(socket)
        for farewell in [each for said in self._farewells.values() for each in said]:
            if grant in farewell.under:
                farewell.cut()

    def stopped(self) -> None:
        self._is_stopped = True
        for task in self._sockets.tasks:
            for socket in self._sockets.of_task(task):
                self._drop(socket)
        for farewell in [each for said in self._farewells.values() for each in said]:
            farewell.cut()

    def _end(self, socket: Socket) -> None:
        """Free it; what was written is still sent."""
        if isinstance(socket, Port) or not socket.connection.is_open:
            self._drop(socket)
            return
        self._forget(socket)
        connection = socket.connection
        if connection.error is None:
            self._see_off(socket)

    def _cut(self, socket: Socket) -> None:
        """What it was made by is gone: free what it is outside, at once, and let its task
        know, if that knows of it."""
        if not self._sockets.holds(socket):
            return
        if isinstance(socket, Port):
            self._drop(socket)
            if socket.wanted:
                self._say_gone(socket.owner.caller, socket.number)
        elif not (socket.connection.is_open and socket.connection.known):
            self._drop(socket)
        elif socket.connection.error is None:
            socket.connection.cut(_gone("what it was made by is gone"))

    def _drop(self, socket: Socket) -> None:
        """Free it at once. Nothing happens if it is already."""
        if not self._sockets.holds(socket):
            return
        self._forget(socket)
        if isinstance(socket, Port):
            socket.close()
            self._unbind(socket)
        else:
            socket.connection.stream.close()
            socket.connection.error = _gone("dropped")
        if socket.wake is not None:
            socket.wake()  # whoever waits for it has waited long enough

    def _unbind(self, port: Port) -> None:
        for listener in port.listeners:
            self.bound[port.guest_port].remove(listener.endpoint)
        if not self.bound[port.guest_port]:
            del self.bound[port.guest_port]
        if port.is_mapped:
            tasks = self._mapped_ports[port.guest_port]
            tasks.remove(port.owner.caller.id)
            if not tasks:
                del self._mapped_ports[port.guest_port]

    def _forget(self, socket: Socket) -> None:
        self._sockets.remove(socket)
        self._unsaid.pop(socket, None)
        if isinstance(socket, Link):
            self._end_silence(socket)

    def _end_silence(self, link: Link) -> None:
        if link.silence is not None:
            link.silence.cancel()
            link.silence = None

    def _see_off(self, link: Link) -> None:
        task, connection = link.owner.caller.id, link.connection
        farewell = Farewell(
            connection.stream,
            link.under,
            heard_end=connection.heard_end,
            sent_end=connection.sent_end,
            over=lambda it: self._seen_off(task, it),
        )
        said = self._farewells.setdefault(task, {})
        said[farewell] = self.kernel.loop.call_later(self._bounds.linger_seconds, farewell.cut)
        farewell.begin()
        if len(said) > self._bounds.lingering:
            next(iter(said)).cut()

    def _seen_off(self, task: int, farewell: Farewell) -> None:
        said = self._farewells.get(task, {})
        if (timer := said.pop(farewell, None)) is not None:
            timer.cancel()
        if not said:
            self._farewells.pop(task, None)

    def _check_running(self) -> None:
        """An `async def` method begins later than it was called."""
        if self._is_stopped:
            raise ServiceError(abi.ErrorCode.ABORTED)


def _gone(why: str) -> OSError:
    return ConnectionAbortedError(errno.ECONNABORTED, why)
