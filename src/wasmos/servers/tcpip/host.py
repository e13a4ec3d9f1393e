"""The host's sockets as a `Network`.

Law: every socket is closed in the moment it is let go of, by the one call that
does so, and none is ever held by a coroutine alone.

Why readiness callbacks, and not asyncio's transports: a transport reads as much
as it likes before it is asked to pause, a server of asyncio's can't stop
accepting, and a coroutine that is cancelled just after its socket came to be
loses it. With callbacks all three are one line each. It needs a loop that has
`add_reader`: every one but that of Windows' proactor.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress

from wasmos.servers.reserve import is_reserved, is_short
from wasmos.servers.tcpip.network import Door, Endpoint, Events, Listener, Network, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

BACKLOG = 1024  # connections that the host holds for us; it has a limit of its own
ACCEPTS = 64  # at most, before others get a turn
CHUNK_BYTES = 64 << 10  # moved at most per call
STARVED_SECONDS = 1.0  # until accepting is tried again when the host has run out

NOT_NOW = (BlockingIOError, InterruptedError)


class HostStream(Stream):
    """A connection through one non-blocking socket."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, events: Events | None = None
    ) -> None:
        self._loop = loop
        self._socket = sock
        if events is not None:
            self.events = events
        # Messages of 1,024 bytes each: none of them shall wait for the peer to
        # acknowledge the one before.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._outgoing = bytearray()
        self._was_full = False
        self._open = True
        self._connecting = False
        self._reading = False
        self._heard_end = False
        self._finishing = False

    # --- connecting ---

    def connect(self, endpoint: Endpoint) -> None:
        """Begin; the socket becomes writable when it is decided."""
        code = self._socket.connect_ex((endpoint.host, endpoint.port))
        if code not in (0, errno.EINPROGRESS, errno.EINTR):
            raise OSError(code, "connect")
        self._connecting = True
        self._loop.add_writer(self._socket, self._connected)

    def _connected(self) -> None:
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._break(OSError(code, "connect"))
            return
        self._connecting = False
        self._loop.remove_writer(self._socket)
        self.events.opened()

    # --- receiving ---

    def resume(self) -> None:
        if self._open and not (self._reading or self._heard_end or self._connecting):
            self._reading = True
            self._loop.add_reader(self._socket, self._readable)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._socket)

    def _readable(self) -> None:
        room = self.events.room()
        if room <= 0:
            self._pause()
            return
        try:
            data = self._socket.recv(min(room, CHUNK_BYTES))
        except NOT_NOW:
            return
        except OSError as error:
            self._break(error)
            return
        if data:
            self.events.received(data)
            return
        self._heard_end = True
        self._pause()
        self.events.ended()

    # --- sending ---

    @property
    def full(self) -> bool:
        return len(self._outgoing) >= self.send_bytes

    def send(self, data: bytes) -> None:
        if not self._open:
            return
        if not self._outgoing:
            data = data[self._send_now(data) :]
        if data and self._open:
            if not self._outgoing:
                self._loop.add_writer(self._socket, self._writable)
            self._outgoing += data
            self._was_full |= self.full

    def _send_now(self, data: bytes) -> int:
        """How many bytes the host took."""
        try:
            return self._socket.send(data)
        except NOT_NOW:
            return 0
        except OSError as error:
            self._break(error)
            return 0

    def _writable(self) -> None:
        del self._outgoing[: self._send_now(bytes(self._outgoing[:CHUNK_BYTES]))]
        if not self._open:
            return
        if not self._outgoing:
            self._loop.remove_writer(self._socket)
            if self._finishing:
                self._send_end()
        # At half, not just below full: a writer that waited then gets on for a
        # while before it waits again.
        if self._was_full and len(self._outgoing) <= self.send_bytes // 2:
            self._was_full = False
            self.events.drained()

    # --- ending ---

    def finish(self) -> None:
        if self._open and not self._finishing:
            self._finishing = True
            if not self._outgoing:
                self._send_end()

    def _send_end(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._break(error)
            return
        self.events.finished()

    def _break(self, error: OSError) -> None:
        self.close()
        self.events.broken(error)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._outgoing.clear()
            self._socket.close()


class HostListener(Listener):
    """An open port of the host's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint, door: Door) -> None:
        self._loop = loop
        self._door = door
        self._retry: asyncio.TimerHandle | None = None
        self._accepting = False
        self._open = True
        self._socket = _bound(endpoint)
        host, port = self._socket.getsockname()[:2]
        self.endpoint = Endpoint(host, port)
        self.resume()

    def resume(self) -> None:
        if self._open and not self._accepting:
            self._accepting = True
            self._loop.add_reader(self._socket, self._acceptable)

    def _pause(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._socket)

    def _acceptable(self) -> None:
        for _ in range(ACCEPTS):
            if not self._open:
                return
            if not self._door.has_room():
                self._pause()
                return
            if is_short(self._socket.fileno()):  # who connects waits, and isn't turned away
                self._starve()
                return
            try:
                sock, _ = self._socket.accept()
            except NOT_NOW:
                return
            except ConnectionError:
                continue  # it left before we opened
            except OSError:
                self._starve()
                return
            sock.setblocking(False)
            self._door.entered(HostStream(self._loop, sock))

    def _starve(self) -> None:
        """The host is out of descriptors or memory. The port stays readable, so
        waiting for it would be a busy loop."""
        self._pause()
        self._retry = self._loop.call_later(STARVED_SECONDS, self.resume)

    def close(self) -> None:
        if self._open:
            self._pause()
            self._open = False
            if self._retry is not None:
                self._retry.cancel()
            self._socket.close()


def _socket(family: int) -> socket.socket:
    """A new one. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    if is_reserved(sock.fileno()):
        sock.close()
        raise OSError(errno.EMFILE, "this process has few descriptors left")
    return sock


def _bound(endpoint: Endpoint) -> socket.socket:
    """A socket that listens there. Raises OSError, and then nothing is open."""
    is_v6 = ":" in endpoint.host
    sock = _socket(socket.AF_INET6 if is_v6 else socket.AF_INET)
    try:
        sock.setblocking(False)
        # A port whose last connections the host still remembers can be had again.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_v6:
            # What is mapped is what is open: [::] doesn't open IPv4 as well.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((endpoint.host, endpoint.port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


MAX_LOOKUPS = 16  # threads at once


class HostNetwork(Network):
    """The network that this host is on."""

    def __init__(self) -> None:
        self._lookups = 0  # names that are being looked up, each in a thread

    def listen(self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint, door: Door) -> Listener:
        return HostListener(loop, endpoint, door)

    def connect(
        self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint, events: Events
    ) -> Stream:
        sock = _socket(socket.AF_INET)
        stream = HostStream(loop, sock, events)
        try:
            sock.setblocking(False)
            stream.connect(endpoint)
        except BaseException:
            stream.close()
            raise
        return stream

    async def resolve(self, hostname: str) -> list[str]:
        # Not the loop's own threads: those are few, others need them, and who closes the loop
        # waits for them, for as long as a guest's chosen name server keeps silent.
        if self._lookups >= MAX_LOOKUPS:
            raise TimeoutError(errno.ETIMEDOUT, "too many names are being looked up")
        import asyncio
        import threading

        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()

        def done(found: list[str] | Exception) -> None:
            self._lookups -= 1
            if answer.done():
                return
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        def work() -> None:
            found = _look_up(hostname)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done, found)

        try:
            threading.Thread(target=work, name="wasmos-resolve", daemon=True).start()
        except RuntimeError:  # the host's limit, as the one above is ours
            raise TimeoutError(errno.ETIMEDOUT, "no thread is left to look names up") from None
        self._lookups += 1
        return await answer


def _look_up(hostname: str) -> list[str] | Exception:
    try:
        found = socket.getaddrinfo(hostname, None, socket.AF_INET, socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            return TimeoutError(errno.ETIMEDOUT, "no name server answers")
        return []
    except (OSError, UnicodeError) as error:
        return error
    return [str(address[0]) for *_, address in found]
