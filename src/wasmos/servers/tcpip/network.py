"""The seam: what `tcpip` needs of a network, whichever it is.

Law: nothing above this file knows a file descriptor, and nothing below knows a
task. All calls and all events happen on the event loop's thread; no call waits,
except `resolve`.

    Network ── listen ──▶ Listener ── entered ──▶ Door       (ours)
            ── connect ─▶ Stream ──── received … ─▶ Events   (ours)

`host` does it with the host's sockets, `fake` in memory.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

# Abstract by convention: `abc` and `typing` take longer to import than all of this.


class Endpoint:
    """A numeric address, IPv4 or IPv6, and a port. Port 0 means any free one."""

    __slots__ = ("host", "port")

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"<Endpoint {self}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Endpoint) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


class Events:
    """What a stream tells whoever holds it. After `broken` it tells no more."""

    def room(self) -> int:
        """How many bytes `received` may bring now. 0 stops the stream until it
        is told to `resume`."""
        raise NotImplementedError

    def opened(self) -> None:
        """The connection that was begun is there."""

    def received(self, data: bytes) -> None:
        """Some bytes, at least one and no more than there is room for."""

    def ended(self) -> None:
        """The peer will send no more. It may still receive."""

    def drained(self) -> None:
        """The stream was full and no longer is."""

    def finished(self) -> None:
        """All was sent, and the peer was told that no more will come."""

    def broken(self, error: OSError) -> None:
        """The connection is gone, or could not be made. Nothing is held any more."""


class Stream:
    """One connection. It delivers nothing before the first `resume`, and says
    nothing more after `close`."""

    events: Events
    send_bytes: int = 64 << 10  # so many that wait to be sent make it full

    @property
    def full(self) -> bool:
        """Whether as much waits to be sent as should, or more."""
        raise NotImplementedError

    def send(self, data: bytes) -> None:
        """Send, or keep what can't be sent now, whatever its size."""
        raise NotImplementedError

    def resume(self) -> None:
        """There is room for received bytes."""
        raise NotImplementedError

    def finish(self) -> None:
        """Send no more, and tell the peer so when all is sent."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go at once; what isn't sent yet never is. Idempotent."""
        raise NotImplementedError


class Door:
    """What a listener tells whoever holds it."""

    def has_room(self) -> bool:
        """Whether one more may come in. False stops the listener until it is
        told to `resume`; who comes meanwhile waits outside."""
        raise NotImplementedError

    def entered(self, stream: Stream) -> None:
        """Somebody has connected. The stream needs its `events` and a `resume`."""
        raise NotImplementedError


class Listener:
    """A port that is open."""

    endpoint: Endpoint  # as it came to be: the port is never 0

    def resume(self) -> None:
        """The door has room."""
        raise NotImplementedError

    def close(self) -> None:
        """Free the port at once. Idempotent."""
        raise NotImplementedError


class Network:
    """Somewhere to listen and to connect to. All of it raises OSError."""

    def listen(self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint, door: Door) -> Listener:
        """Open a port."""
        raise NotImplementedError

    def connect(
        self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint, events: Events
    ) -> Stream:
        """Begin to connect to an IPv4 address; `opened` or `broken` tells, later."""
        raise NotImplementedError

    async def resolve(self, hostname: str) -> list[str]:
        """The IPv4 addresses of a host, in order of preference; none if there is
        no such host. Raises UnicodeError for what can't be a host's name."""
        raise NotImplementedError
