"""One connection, as its task sees it: what has arrived, and what the task must
be told of it.

Law: no I/O, no loop, no kernel. Events come in from a stream, requests from the
task, and `due` says which message the task should get next. It is worked out
from the state each time, never queued: so nothing is lost when a mailbox is
full, nothing is said twice, and nothing outdated is said at all.

What is due, in this order:

    tcpip_data     there are bytes, and the task has read since the last one; or
                   the peer left without any, and the task doesn't know of it yet
    tcpip_closed   once: the peer sends no more and all is read, or it broke

or, if the task asks instead of being told,

    tcpip_ready    once: what it has asked for in vain could be done now
"""

from __future__ import annotations

from wasmos import abi
from wasmos.servers.tcpip.network import Events, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Notice: TypeAlias = type[abi.TcpipData] | type[abi.TcpipClosed] | type[abi.TcpipReady]

READ, SEND, CLOSED = 1, 2, 4  # of tcpip_poll


class Connection(Events):
    """The state of a connection.

    receive_bytes: how much may wait to be read.
    known: whether the task knows its number: it does if it connected itself.
    changed: called when something may have become due, or a wait be over.
    """

    __slots__ = (
        "_changed",
        "_closed_said",
        "_data_said",
        "_inbox",
        "_receive_bytes",
        "error",
        "heard_end",
        "is_asked",
        "is_deaf",
        "is_mute",
        "is_open",
        "known",
        "sent_end",
        "stream",
        "wanted",
    )

    stream: Stream

    def __init__(self, receive_bytes: int, *, known: bool, changed: Callable[[], object]) -> None:
        self._receive_bytes = receive_bytes
        self._changed = changed
        self._inbox = bytearray()
        self._data_said = False  # and nothing read since
        self._closed_said = False
        self.known = known
        self.is_open = not known  # one that came to us is open from the start
        self.heard_end = False
        self.sent_end = False
        self.error: OSError | None = None  # why it is gone
        self.is_asked = False  # its task asks for what it would otherwise be told
        self.wanted = 0  # in vain so far
        self.is_deaf = False  # nothing is read any more
        self.is_mute = False  # nothing is sent any more

    # --- what the stream tells ---

    def room(self) -> int:
        return self._receive_bytes - len(self._inbox)  # all of it, if it is deaf

    def opened(self) -> None:
        self.is_open = True
        self._changed()

    def received(self, data: bytes) -> None:
        if not self.is_deaf:
            self._inbox += data
            self._changed()

    def ended(self) -> None:
        self.heard_end = True
        self._changed()

    def drained(self) -> None:
        self._changed()

    def finished(self) -> None:
        self.sent_end = True

    def broken(self, error: OSError) -> None:
        self.error = error
        self._changed()

    # --- what the task does ---

    @property
    def can_send(self) -> bool:
        """Whether a write would be accepted now, or refused now."""
        return self.error is not None or not self.stream.full

    @property
    def available(self) -> int:
        """How many bytes wait to be read."""
        return len(self._inbox)

    @property
    def is_over(self) -> bool:
        """Whether no more bytes will come than wait already."""
        return self.heard_end or self.error is not None or self.is_deaf

    def ready(self) -> int:
        """What could be done now: bits of READ, SEND and CLOSED."""
        gone = self.heard_end or self.error is not None
        return (
            (READ if self._inbox or self.is_over else 0)
            | (SEND if self.is_mute or self.can_send else 0)
            | (CLOSED if gone else 0)
        )

    def accepted(self) -> None:
        """Its task has asked for it."""
        self.known = self.is_asked = True

    def peek(self, most: int) -> bytes:
        """The oldest bytes that wait to be read, which stay."""
        return bytes(self._inbox[:most])

    def take(self, most: int) -> bytes:
        """The oldest bytes that wait to be read."""
        data = bytes(self._inbox[:most])
        del self._inbox[:most]
        self._data_said = False
        # At half, not at the first free byte: the host is then asked for many
        # bytes at once instead of for few, many times.
        if self.error is None and 2 * len(self._inbox) <= self._receive_bytes:
            self.stream.resume()
        if self._inbox or self.heard_end:
            self._changed()
        return data

    def deafen(self) -> None:
        """Read no more; what comes is dropped, so that the peer isn't held up."""
        self.is_deaf = True
        self._inbox.clear()
        self.stream.resume()
        self._changed()

    def mute(self) -> None:
        """Send no more, and tell the peer so."""
        self.is_mute = True
        self.stream.finish()
        self._changed()

    def cut(self, error: OSError) -> None:
        """It ends by our own hand: for the task as if the peer had left, and nothing more of
        that."""
        self.stream.close()
        self._inbox.clear()
        self.error = error
        self._changed()

    # --- what the task is told ---

    @property
    def is_stillborn(self) -> bool:
        """It broke before it brought anything, and the task need never know."""
        return not self.known and self.error is not None and not self._inbox

    def due(self) -> Notice | None:
        """The message that the task should get now."""
        if self.is_asked:
            return abi.TcpipReady if self.wanted & self.ready() else None
        if self._closed_said:
            return None
        over = self.heard_end or self.error is not None
        if not self._data_said and (self._inbox or (over and not self.known)):
            return abi.TcpipData
        if over and (self.error is not None or not self._inbox):
            return abi.TcpipClosed
        return None

    def said(self, notice: Notice) -> None:
        """The task was told."""
        self.known = True
        if notice is abi.TcpipReady:
            self.wanted = 0
        elif notice is abi.TcpipData:
            self._data_said = True
        else:
            self._closed_said = True
