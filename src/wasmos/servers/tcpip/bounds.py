"""How much of everything `tcpip` gives away, and how long it waits for a peer.

Law: nothing here is unlimited, and every number has a test that meets it.

The seconds are the event loop's, never the kernel's: a peer lives outside, in
real time, and virtual time leaps whenever the kernel has nothing to do.
"""

from __future__ import annotations


class Bounds:
    """sockets: that one task may hold, listening ones included. With all of them
        in use, new connections wait in the host's backlog, and asking for a
        socket is answered -2. As many again may wait to be accepted.
    receive_bytes: that may wait to be read by the task, per connection; the
        peer is held up after that.
    send_bytes: that may wait to be taken by the host, per connection; a write
        waits after that. It can be exceeded by one message.
    connect_seconds: until connecting, or looking up a name, is given up: -20.
    write_seconds: until a write that waits for the peer is given up: -20.
    silent_seconds: until an accepted connection is dropped that has sent
        nothing. Its task hasn't heard of it, so nobody else can.
    lingering: connections of one task that may still be sending after they
        were destroyed; the oldest is cut when there are more.
    linger_seconds: for which one of them may.
    names: answers of name servers that are remembered for one task, the latest.
    name_seconds: for how long one counts, where a capability is for a host.
    """

    __slots__ = (
        "connect_seconds",
        "linger_seconds",
        "lingering",
        "name_seconds",
        "names",
        "receive_bytes",
        "send_bytes",
        "silent_seconds",
        "sockets",
        "write_seconds",
    )

    def __init__(
        self,
        *,
        sockets: int = 256,
        receive_bytes: int = 64 << 10,
        send_bytes: int = 64 << 10,
        connect_seconds: float = 30.0,
        write_seconds: float = 60.0,
        silent_seconds: float = 30.0,
        lingering: int = 256,
        linger_seconds: float = 30.0,
        names: int = 1024,
        name_seconds: float = 600.0,
    ) -> None:
        for size in (sockets, receive_bytes, send_bytes, names):
            if size < 1:
                raise ValueError(f"a bound below 1 lets nothing through: {size}")
        self.sockets = sockets
        self.receive_bytes = receive_bytes
        self.send_bytes = send_bytes
        self.connect_seconds = connect_seconds
        self.write_seconds = write_seconds
        self.silent_seconds = silent_seconds
        self.lingering = lingering
        self.linger_seconds = linger_seconds
        self.names = names
        self.name_seconds = name_seconds
