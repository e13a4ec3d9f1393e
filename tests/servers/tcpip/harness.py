"""What the tests of `tcpip` share: a task in Python, and peers on either network.

Law: nothing here uses the code under test, except the fake network, which is
the network of half of the tests. The peers of the other half are plain sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

import wasmos
from wasmos import abi
from wasmos.servers.tcpip import Tcpip
from wasmos.servers.tcpip.fake import FakeNetwork, FakeStream
from wasmos.servers.tcpip.host import HostNetwork
from wasmos.servers.tcpip.network import Endpoint, Events, Network, Stream

T = TypeVar("T")
SECONDS = 30.0  # far more than anything here takes: the net below a hang
READ = 1024


class Peer(Protocol):
    """The other side of a connection."""

    async def send(self, data: bytes) -> None: ...
    async def receive(self, most: int = ...) -> bytes: ...
    async def finish(self) -> None: ...
    async def reset(self) -> None: ...


class Offer(Protocol):
    """A peer that waits to be connected to."""

    async def accept(self) -> Peer: ...
    def close(self) -> None: ...


class HostPeer:
    """A peer that is a socket of the host's. It reads only when told to."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def receive(self, most: int = 64 << 10) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.sock, most)

    async def finish(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    async def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class HostOffer:
    def __init__(self, side: HostSide, sock: socket.socket) -> None:
        self._side = side
        self._sock = sock

    async def accept(self) -> Peer:
        sock, _ = await asyncio.get_running_loop().sock_accept(self._sock)
        return self._side.keep(sock)

    def close(self) -> None:
        self._sock.close()


class HostSide:
    """The world outside, on the host's loopback."""

    def __init__(self) -> None:
        self.network: Network = HostNetwork()
        self._sockets: list[socket.socket] = []

    def keep(self, sock: socket.socket) -> HostPeer:
        self._sockets.append(sock)
        sock.setblocking(False)
        return HostPeer(sock)

    async def dial(self, host: str, port: int) -> Peer:
        peer = self.keep(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
        await asyncio.get_running_loop().sock_connect(peer.sock, (host, port))
        return peer

    def offer(self) -> tuple[Offer, int]:
        sock = socket.create_server(("127.0.0.1", 0))
        self.keep(sock)
        return HostOffer(self, sock), sock.getsockname()[1]

    def closed_port(self) -> int:
        """A port where nobody listens."""
        with socket.create_server(("127.0.0.1", 0)) as sock:
            return int(sock.getsockname()[1])

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()


class FakeSide:
    """The world outside, in memory."""

    def __init__(self) -> None:
        self.fake = FakeNetwork()
        self.network: Network = self.fake

    async def dial(self, host: str, port: int) -> Peer:
        return await self.fake.dial(host, port)

    def offer(self) -> tuple[Offer, int]:
        return self.fake.offer("127.0.0.1", 7000), 7000

    def closed_port(self) -> int:
        return 1

    def close(self) -> None:
        pass


class Void(FakeNetwork):
    """Whatever is sent there disappears."""

    def connect(
        self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint, events: Events
    ) -> Stream:
        stream, _ = FakeStream.pair(loop)
        stream.events = events
        return stream

    async def resolve(self, hostname: str) -> list[str]:
        await asyncio.Event().wait()
        return []


Side = HostSide | FakeSide


class World:
    """A kernel with a `tcpip`, and the world outside."""

    def __init__(self, kernel: wasmos.Kernel, side: Side) -> None:
        self.kernel = kernel
        self.side = side
        self.tcpip: Tcpip

    def serve(self, **options: Any) -> Tcpip:
        self.tcpip = Tcpip(network=self.side.network, **options)
        self.kernel.serve(self.tcpip)
        return self.tcpip

    def guest(self, name: str = "guest", **options: Any) -> Guest:
        return Guest(self, self.kernel.client(name, **options))

    def until(self, over: Callable[[], bool]) -> None:
        """Run until it is so. Asked over and over: what happens outside doesn't
        wake the kernel."""

        async def watch() -> None:
            while not over():
                await asyncio.sleep(0)

        self._run(self.start(watch()))

    def _run(self, task: asyncio.Task[Any]) -> None:
        if not self.kernel.run(task.done, timeout=SECONDS):
            task.cancel()
            raise AssertionError("it never came to that")
        task.result()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Something that happens outside, while the kernel runs."""
        return self.kernel.start(work)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """The same, until it is done."""
        task = self.start(work)
        self._run(task)
        return task.result()

    def dial(self, guest_port: int = 80) -> Peer:
        endpoint = self.tcpip.bound[guest_port][0]
        return self.do(self.side.dial(endpoint.host, endpoint.port))


class Guest:
    """A task in Python that uses `tcpip` as a guest would."""

    def __init__(self, world: World, client: wasmos.Client) -> None:
        self.world = world
        self.client = client

    def ask(self, message: abi.Message) -> Any:
        return self.client.call("tcpip", message, timeout=SECONDS)

    def listen(self, port: int = 80) -> int:
        return int(self.ask(abi.TcpipListen(port)).sock)

    def connect(self, port: int, address: int = 0x7F000001) -> int:
        return int(self.ask(abi.TcpipConnect(address, port)).sock)

    def resolve(self, hostname: str) -> int:
        return int(self.ask(abi.TcpipDnsResolve(hostname)).addr)

    def read(self, sock: int) -> bytes:
        return bytes(self.ask(abi.TcpipRead(sock)).data)

    def read_all(self, sock: int) -> bytes:
        found = b""
        while data := self.read(sock):
            found += data
        return found

    def write(self, sock: int, data: bytes) -> None:
        for start in range(0, len(data), READ):
            self.ask(abi.TcpipWrite(sock, data[start : start + READ]))

    def destroy(self, sock: int) -> None:
        self.ask(abi.TcpipDestroy(sock))

    def error(self, action: Callable[..., Any], *args: Any) -> int:
        """The code that something is answered with; 0 if it works."""
        try:
            action(*args)
        except wasmos.ServiceError as error:
            return error.code
        return 0

    def notices(self) -> list[tuple[str, int]]:
        """All that have come, as ("data" or "closed", socket)."""
        found = []
        while (mail := self.client.receive()) is not None:
            message = mail[1]
            assert isinstance(message, abi.TcpipData | abi.TcpipClosed)
            found.append((message.NAME.removeprefix("tcpip_"), message.sock))
        return found

    def notice(self, enough: Callable[[], bool] = lambda: False) -> tuple[str, int] | None:
        """The next one; None if it was `enough` before any came."""
        mail: list[tuple[int, abi.Message]] = []

        def came() -> bool:
            if (received := self.client.receive()) is not None:
                mail.append(received)
            return bool(mail) or enough()

        self.world.until(came)
        if not mail:
            return None
        message = mail[0][1]
        assert isinstance(message, abi.TcpipData | abi.TcpipClosed)
        return message.NAME.removeprefix("tcpip_"), message.sock

    def settle(self, rounds: int = 50) -> list[tuple[str, int]]:
        """What has come after everything had its turn a few times. The kernel
        has no word for "nothing more will come"; this is enough for the fake
        network, and for bytes that loopback has already."""

        async def pause() -> None:
            for _ in range(rounds):
                await asyncio.sleep(0)

        self.world.do(pause())
        return self.notices()

    def accept(self) -> int:
        """The socket of the next connection, after its first notice."""
        notice = self.notice()
        assert notice is not None
        assert notice[0] == "data"
        return notice[1]

    def echo(self, enough: Callable[[], bool]) -> None:
        """Serve the way the original's web server does, one read a notice: what
        comes goes back; destroy on closed."""
        while (notice := self.notice(enough)) is not None:
            kind, sock = notice
            if kind == "data":
                self.write(sock, self.read(sock))
            else:
                self.destroy(sock)


async def receive_all(peer: Peer) -> bytes:
    """Everything up to the end, or to a reset."""
    found = bytearray()
    with contextlib.suppress(ConnectionError):
        while data := await peer.receive():
            found += data
    return bytes(found)


async def receive_exactly(peer: Peer, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        data = await peer.receive(size - len(found))
        assert data, f"the end came after {len(found)} of {size} bytes"
        found += data
    return bytes(found)
