"""A network in memory: the peers of a test, without a host.

Law: what a host's network does, this does, and always in the same order. It
never waits, knows no time, and asks nobody outside.

    network = FakeNetwork(names={"example.org": "93.184.215.14"})
    kernel.serve(Tcpip(ports=["8080:80"], network=network))

    async def visitor() -> bytes:                    # run it with kernel.start
        peer = await network.dial("127.0.0.1", 8080)
        await peer.send(b"GET / HTTP/1.1\\r\\n\\r\\n")
        return await peer.receive()

    offer = network.offer("93.184.215.14", 80)       # for tasks that connect
    peer = await offer.accept()

    network.answers("flips.example", "93.184.215.14", ["10.0.0.1", "10.0.0.2"])
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque

from wasmos.servers.tcpip.network import Door, Endpoint, Events, Listener, Network, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FIRST_FREE_PORT = 49152
PEER_BYTES = 64 << 10  # what a peer has room for, in each direction
EVERYWHERE = "0.0.0.0"


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class FakeStream(Stream):
    """One end of a connection. Bytes go over in `_pump`, never inside of `send`:
    so nobody is called back while still calling."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._other: FakeStream
        self.events = Events()  # until somebody takes this end
        self._outgoing = bytearray()
        self._was_full = False
        self._is_scheduled = False
        self.is_open = True
        self._reads = False
        self._finishing = False
        self._finished = False

    @classmethod
    def pair(cls, loop: asyncio.AbstractEventLoop) -> tuple[FakeStream, FakeStream]:
        """Both ends of one connection."""
        one, two = cls(loop), cls(loop)
        one._other, two._other = two, one
        return one, two

    @property
    def full(self) -> bool:
        return len(self._outgoing) >= self.send_bytes

    def send(self, data: bytes) -> None:
        if self.is_open and not self._finishing:
            self._outgoing += data
            self._was_full |= self.full
            self._soon()

    def resume(self) -> None:
        self._reads = True
        self._other._soon()

    def finish(self) -> None:
        self._finishing = True
        self._soon()

    def close(self) -> None:
        if not self.is_open:
            return
        self.is_open = False
        self._outgoing.clear()
        if not (self._finished and self._other._finished):
            self._loop.call_soon(self._other.snap, errno.ECONNRESET)

    def snap(self, code: int) -> None:
        """The connection is gone, for a reason that isn't this end's."""
        if self.is_open:
            self.is_open = False
            self._outgoing.clear()
            self.events.broken(_error(code))

    def _soon(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """What is to be done for the other end."""
        self._is_scheduled = False
        for step in (self._move, self._say_drained, self._end):
            if self.is_open:  # each may end in a callback that closes it
                step()

    def _move(self) -> None:
        """Bytes go over as long as there is room."""
        while self._outgoing and self._other._takes():
            chunk = bytes(self._outgoing[: self._other.events.room()])
            del self._outgoing[: len(chunk)]
            self._other.events.received(chunk)

    def _say_drained(self) -> None:
        if self._was_full and len(self._outgoing) <= self.send_bytes // 2:
            self._was_full = False
            self.events.drained()

    def _end(self) -> None:
        """The other end hears of it when it has all, and reads on."""
        if not self._finishing or self._finished or self._outgoing or not self._other._reads:
            return
        self._finished = True
        self.events.finished()
        if self._other.is_open:
            self._other.events.ended()

    def _takes(self) -> bool:
        """Whether bytes may come. False until the next `resume`."""
        self._reads = self._reads and self.is_open and self.events.room() > 0
        return self._reads


class FakeListener(Listener):
    """A port that is open, and who stands before it."""

    def __init__(self, network: FakeNetwork, endpoint: Endpoint, door: Door) -> None:
        self.endpoint = endpoint
        self._network = network
        self._door = door
        self._outside: deque[FakeStream] = deque()

    def knock(self, stream: FakeStream) -> None:
        """Somebody has connected, and comes in when there is room."""
        self._outside.append(stream)
        self.resume()

    def resume(self) -> None:
        while self._outside and self._door.has_room():
            stream = self._outside.popleft()
            if stream.is_open:
                self._door.entered(stream)

    def close(self) -> None:
        self._network.free(self)
        while self._outside:
            self._outside.popleft().close()


class FakeNetwork(Network):
    """A network in memory.

    names: the address of each host, or several. Everything else is not found.
    asked: the names that were looked up.
    """

    def __init__(self, names: Mapping[str, str | list[str]] | None = None) -> None:
        self.names: dict[str, str | list[str]] = {"localhost": "127.0.0.1", **(names or {})}
        self.asked: list[str] = []
        self._answers: dict[str, deque[str | list[str]]] = {}
        self._listeners: dict[Endpoint, FakeListener] = {}

    def listen(self, _loop: asyncio.AbstractEventLoop, endpoint: Endpoint, door: Door) -> Listener:
        return self.open(endpoint, door)

    def open(self, endpoint: Endpoint, door: Door) -> FakeListener:
        """Open a port. It needs no loop: nothing happens before somebody comes."""
        if endpoint.port == 0:
            endpoint = self._free_port(endpoint.host)
        if endpoint in self._listeners:
            raise _error(errno.EADDRINUSE)
        listener = self._listeners[endpoint] = FakeListener(self, endpoint, door)
        return listener

    def connect(
        self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint, events: Events
    ) -> Stream:
        ours, theirs = FakeStream.pair(loop)
        ours.events = events
        loop.call_soon(self._arrive, endpoint, ours, theirs)
        return ours

    async def resolve(self, hostname: str) -> list[str]:
        self.asked.append(hostname)
        name = hostname.lower().removesuffix(".")
        coming = self._answers.get(name)
        if coming:
            self.names[name] = coming.popleft()
        found = self.names.get(name, [])
        return [found] if isinstance(found, str) else list(found)

    def free(self, listener: FakeListener) -> None:
        """A port is open no more."""
        if self._listeners.get(listener.endpoint) is listener:
            del self._listeners[listener.endpoint]

    def _free_port(self, host: str) -> Endpoint:
        port = FIRST_FREE_PORT
        while Endpoint(host, port) in self._listeners:
            port += 1
        return Endpoint(host, port)

    def _arrive(self, endpoint: Endpoint, ours: FakeStream, theirs: FakeStream) -> None:
        everywhere = Endpoint(EVERYWHERE, endpoint.port)
        listener = self._listeners.get(endpoint) or self._listeners.get(everywhere)
        if not ours.is_open:
            return
        if listener is None:
            ours.snap(errno.ECONNREFUSED)
        else:
            ours.events.opened()
            listener.knock(theirs)

    # --- for tests: what a name server says, and the peers ---

    def answers(self, hostname: str, *answers: str | list[str]) -> None:
        """What is found with each of the next lookups of a name; the last is found ever after."""
        self._answers[hostname] = deque(answers)

    async def dial(self, host: str, port: int) -> FakePeer:
        """Connect as a peer. Raises ConnectionError."""
        peer = FakePeer()
        loop = asyncio.get_running_loop()
        peer.hold(self.connect(loop, Endpoint(host, port), peer))
        await peer.connected()
        return peer

    def offer(self, host: str, port: int) -> FakeOffer:
        """Listen as a peer."""
        return FakeOffer(self, Endpoint(host, port))


class FakePeer(Events):
    """The other side of a connection, in a test's hands. It takes up to 64 KiB
    that nobody receives, and then holds its sender up."""

    def __init__(self) -> None:
        self._stream: Stream
        self._inbox = bytearray()
        self._is_open = False
        self._heard_end = False
        self._error: OSError | None = None
        self._turned = asyncio.Event()

    def hold(self, stream: Stream) -> None:
        """This is the stream."""
        self._stream = stream

    async def connected(self) -> None:
        """Until it is. Raises ConnectionError."""
        await self._until(lambda: self._is_open)
        self._stream.resume()

    async def send(self, data: bytes) -> None:
        """Send all of it. Raises ConnectionError."""
        for start in range(0, len(data), PEER_BYTES):
            await self._until(lambda: not self._stream.full)
            self._stream.send(data[start : start + PEER_BYTES])

    async def receive(self, most: int = PEER_BYTES) -> bytes:
        """Some bytes; b"" at the end. Raises ConnectionError."""
        await self._until(lambda: bool(self._inbox) or self._heard_end)
        data = bytes(self._inbox[:most])
        del self._inbox[:most]
        self._stream.resume()
        return data

    async def finish(self) -> None:
        """Send no more; receiving goes on."""
        self._stream.finish()

    async def reset(self) -> None:
        """Let go without a word."""
        self._stream.close()

    async def _until(self, over: Callable[[], bool]) -> None:
        while not over():
            if self._error is not None:
                raise self._error
            self._turned.clear()
            await self._turned.wait()

    # --- events ---

    def room(self) -> int:
        return PEER_BYTES - len(self._inbox)

    def opened(self) -> None:
        self._is_open = True
        self._turned.set()

    def received(self, data: bytes) -> None:
        self._inbox += data
        self._turned.set()

    def ended(self) -> None:
        self._heard_end = True
        self._turned.set()

    def drained(self) -> None:
        self._turned.set()

    def broken(self, error: OSError) -> None:
        self._error = error
        self._turned.set()


class FakeOffer(Door):
    """A peer that waits to be connected to."""

    def __init__(self, network: FakeNetwork, endpoint: Endpoint) -> None:
        self._peers: deque[FakePeer] = deque()
        self._came = asyncio.Event()
        self._listener = network.open(endpoint, self)
        self.endpoint = self._listener.endpoint

    def has_room(self) -> bool:
        return True

    def entered(self, stream: Stream) -> None:
        peer = FakePeer()
        stream.events = peer
        peer.hold(stream)
        peer.opened()
        stream.resume()
        self._peers.append(peer)
        self._came.set()

    async def accept(self) -> FakePeer:
        """The next that connects."""
        while not self._peers:
            self._came.clear()
            await self._came.wait()
        return self._peers.popleft()

    def close(self) -> None:
        """Be there no more."""
        self._listener.close()
