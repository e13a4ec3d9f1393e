"""The end of a connection that its task has let go of.

Law: what was written is sent, and a peer that still talks is heard out. Closing
a socket while there are bytes to be read makes the host reset the connection,
and a reset can overtake the answer that was just written: so first we end, then
the peer does, and only then is the socket closed. Whoever holds a farewell ends
it when that takes too long.
"""

from __future__ import annotations

from wasmos.servers.tcpip.network import Events, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DISCARD_BYTES = 64 << 10


class Farewell(Events):
    """Ends a stream politely. `over` is called when it is closed.

    under: the numbers of the grants that it depends on.
    heard_end, sent_end: whether the peer has ended already, and whether it was told that we do."""

    def __init__(
        self,
        stream: Stream,
        under: tuple[int, ...] = (),
        *,
        heard_end: bool,
        sent_end: bool = False,
        over: Callable[[Farewell], object],
    ) -> None:
        self._stream = stream
        self.under = under
        self._heard_end = heard_end
        self._sent_end = sent_end
        self._over = over

    def begin(self) -> None:
        self._stream.events = self
        self._stream.finish()
        self._stream.resume()
        self._check()

    def room(self) -> int:
        return DISCARD_BYTES

    def ended(self) -> None:
        self._heard_end = True
        self._check()

    def finished(self) -> None:
        self._sent_end = True
        self._check()

    def broken(self, _error: OSError) -> None:
        self.cut()

    def _check(self) -> None:
        if self._heard_end and self._sent_end:
            self.cut()

    def cut(self) -> None:
        """Close now, whatever isn't sent."""
        self._stream.close()
        self._over(self)
