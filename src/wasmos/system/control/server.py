"""The sockets of a system that can be spoken to.

Law: everything here happens in short callbacks on the kernel's loop: no thread, and no asyncio
task, which would count as something that could still wake a guest. Who is slow is waited for by
nobody: a client's next request is read when its last answer is gone, and when too many come, the
one that was silent for the longest goes.
"""

from __future__ import annotations

import os
from contextlib import suppress

from wasmos.errors import UsageError, WasmosError
from wasmos.system.control import place, verbs, wire
from wasmos.system.control.peer import peer
from wasmos.system.control.stream import AuditStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

    from wasmos.kernel import Kernel
    from wasmos.system.offer import Offer

MAX_CLIENTS = 16
MAX_STREAMS = 8  # of these, so that there is always one that can go
CHUNK = 64 << 10
TURN = 8  # requests of one client before everybody else has a turn
STARVED_SECONDS = 1.0  # without a file descriptor for a new client


class Control:
    """Lets the owner of this process speak to a kernel that runs in it. `offer`: what may be
    granted and denied; without one, rules about any service."""

    def __init__(self, kernel: Kernel, name: str, offer: Offer | None = None) -> None:
        self.kernel = kernel
        self.offer = offer
        self.name = name
        self.path = ""
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop
        self._inode = 0
        self._clients: dict[_Client, None] = {}  # who spoke last comes last

    def start(self) -> None:
        """Listen. Raises ControlError if the place for it isn't safe, OSError."""
        self._socket, self.path = place.listen(self.name)
        self._inode = os.lstat(self.path).st_ino
        self._loop = self.kernel.loop
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """Drop everybody and remove the socket, if it can be: who finds a dead one removes it, and
        whoever closes has more to do. Idempotent."""
        if self._socket is None:
            return
        for client in list(self._clients):
            client.close()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._socket = None
        with suppress(OSError):
            if os.lstat(self.path).st_ino == self._inode:
                os.unlink(self.path)

    def _accept(self) -> None:
        if self._socket is None:
            return
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # no descriptor is left: it would be tried again at once, for ever
            self._loop.remove_reader(self._socket.fileno())
            self._loop.call_later(STARVED_SECONDS, self._resume)
            return
        connection.setblocking(False)
        self._admit(connection)

    def _resume(self) -> None:
        if self._socket is not None:
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def _admit(self, connection: socket.socket) -> None:
        try:
            uid, pid = peer(connection)
        except OSError:
            connection.close()
            return
        if uid != os.geteuid():
            _turn_away(connection, f"this system belongs to user {os.geteuid()}, not to {uid}")
            return
        if len(self._clients) >= MAX_CLIENTS:
            next(client for client in self._clients if client.stream is None).close()
        by = f"control (pid {pid})" if pid else "control"
        client = _Client(self, connection, verbs.Desk(self.kernel, self.name, by, self.offer))
        self._clients[client] = None
        client.begin(self._loop)

    # --- what clients say ---

    def heard(self, client: _Client) -> None:
        """It is not silent."""
        self._clients[client] = self._clients.pop(client)

    def gone(self, client: _Client) -> None:
        self._clients.pop(client, None)

    def open_stream(self, calls: bool, wake: Callable[[], object]) -> AuditStream:
        """Raises UsageError."""
        if sum(client.stream is not None for client in self._clients) >= MAX_STREAMS:
            raise UsageError(f"{MAX_STREAMS} clients follow the audit already")
        return AuditStream(self.kernel, calls, wake)


def _turn_away(connection: socket.socket, problem: str) -> None:
    with suppress(OSError):
        connection.send(wire.error(problem))
    connection.close()


class _Client:
    """Somebody who speaks to the system: asks and is answered, or listens to the audit."""

    def __init__(self, control: Control, connection: socket.socket, desk: verbs.Desk) -> None:
        self.stream: AuditStream | None = None
        self._control = control
        self._socket = connection
        self._desk = desk
        self._lines = wire.Lines()
        self._out = memoryview(b"")
        self._is_last = False  # answer, and then the end
        self._is_closed = False

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._control.gone(self)
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        if self.stream is not None:
            self.stream.close()

    def _readable(self) -> None:
        try:
            data = self._socket.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        elif self.stream is None:  # of a listener nothing is wanted any more
            self._control.heard(self)
            self._lines.add(data)
            self._work()

    def _work(self) -> None:
        """Do what was asked, some of it if it is much. Nothing more is read meanwhile."""
        for _ in range(TURN):
            if self._is_closed or self._is_last or self.stream is not None:
                return
            if len(self._out):
                self._loop.remove_reader(self._socket.fileno())
                return  # `_writable` goes on
            if not self._next():
                self._loop.add_reader(self._socket.fileno(), self._readable)
                return
        if not self._is_closed and not len(self._out):
            self._loop.remove_reader(self._socket.fileno())
            self._loop.call_soon(self._work)

    def _next(self) -> bool:
        """Answer one line. False if there is none."""
        try:
            line = self._lines.next()
        except wire.WireError as error:
            self._is_last = True
            self._send(wire.error(str(error)))
            return True
        if line is None:
            return False
        self._send(self._answer(line))
        return True

    def _answer(self, line: bytes) -> bytes:
        try:
            words = wire.parse(line)
            verb = verbs.check(words)
            if verb.run is None:
                calls = words.get("calls", False)
                self.stream = self._control.open_stream(calls, self._wake)
                return wire.answer({"stream": "audit"})
            result = wire.answer(verb.run(self._desk, words))
            self._desk.kernel.kick()
            return result
        except (WasmosError, LookupError, ValueError, OverflowError) as error:
            return wire.error(str(error))
        except Exception:
            import logging

            logging.getLogger("wasmos").exception("a request over the control socket failed")
            return wire.error("this failed for a reason of ours: see the system's log")

    # --- writing ---

    def _wake(self) -> None:
        """The stream has something."""
        if not self._is_closed:
            self._loop.add_writer(self._socket.fileno(), self._writable)

    def _send(self, data: bytes) -> None:
        self._out = memoryview(data)
        self._write()
        if len(self._out) and not self._is_closed:
            self._loop.add_writer(self._socket.fileno(), self._writable)

    def _write(self) -> None:
        """As much as there is room for."""
        try:
            while len(self._out):
                self._out = self._out[self._socket.send(self._out) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if self._is_last:
            self.close()

    def _writable(self) -> None:
        if self.stream is not None and not len(self._out):
            self._out = memoryview(self.stream.fetch())
        self._write()
        if self._is_closed or len(self._out):
            return
        self._loop.remove_writer(self._socket.fileno())
        if self.stream is None:
            self._work()
