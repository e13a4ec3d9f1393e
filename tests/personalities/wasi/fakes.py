"""A terminal and a network that do what a test says."""

from __future__ import annotations

import wasmos
from wasmos.abi import ConsoleReady, ErrorCode, TcpipReady

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wasmos.kernel import Lent


class FakeConsole(wasmos.Service):
    """`arrives_after`: how many seconds it takes, from the first time that somebody asks in vain,
    until there is input."""

    name = "console"

    def __init__(self) -> None:
        self.printed: dict[int, list[bytes]] = {1: [], 2: []}
        self.input = b""
        self.arrives_after: float | None = None
        self.terminals = 0
        self.most = 1 << 20  # bytes that are taken at once
        self.polls = 0

    def console_put(self, caller: wasmos.Caller, stream: int, data: Lent) -> int:
        taken = data.read(self.most)
        self.printed[stream].append(taken)
        return len(taken)

    def console_take(self, caller: wasmos.Caller, into: Lent) -> int:
        taken = into.write(self.input)
        self.input = self.input[taken:]
        return taken

    def console_poll(self, caller: wasmos.Caller) -> int:
        self.polls += 1
        if self.arrives_after is None:
            return 1
        if self.polls == 1:
            self.kernel.call_later(self.arrives_after, lambda: self._arrive(caller))
        return 0

    def _arrive(self, caller: wasmos.Caller) -> None:
        self.arrives_after = None
        caller.notify(self, ConsoleReady())

    def console_terminals(self, caller: wasmos.Caller) -> int:
        return self.terminals


class FakeTcpip(wasmos.Service):
    """Listens on `ports`; each has one connection after the other from `waiting`, the bytes that
    its other side sends."""

    name = "tcpip"

    def __init__(self, ports: list[int] | None = None, waiting: list[bytes] | None = None) -> None:
        self.ports = ports or []
        self.waiting = list(waiting or [])
        self.received: dict[int, bytes] = {}
        self.sent: dict[int, bytes] = {}
        self.asked: list[tuple[object, ...]] = []
        self.arrives_after: float | None = None

    def tcpip_listener(self, caller: wasmos.Caller, index: int) -> int:
        if index >= len(self.ports):
            raise wasmos.ServiceError(ErrorCode.EOF)
        return self.ports[index]

    def tcpip_listen(self, caller: wasmos.Caller, listen_port: int) -> int:
        if listen_port == 1:
            raise wasmos.ServiceError(ErrorCode.ALREADY_USED)
        return 1000 + listen_port

    def tcpip_accept(self, caller: wasmos.Caller, sock: int, flags: int) -> int:
        self.asked.append(("accept", sock, flags))
        if not self.waiting:
            raise wasmos.ServiceError(ErrorCode.WOULD_BLOCK)
        new = 5000 + len(self.received)
        self.received[new] = self.waiting.pop(0)
        self.sent[new] = b""
        return new

    def tcpip_receive(self, caller: wasmos.Caller, sock: int, flags: int, into: Lent) -> int:
        self.asked.append(("receive", sock, flags))
        taken = into.write(self.received[sock])
        if not flags & 2:
            self.received[sock] = self.received[sock][taken:]
        return taken

    def tcpip_send(self, caller: wasmos.Caller, sock: int, flags: int, data: Lent) -> int:
        self.sent[sock] += data.read()
        return len(data)

    def tcpip_shutdown(self, caller: wasmos.Caller, sock: int, how: int) -> None:
        self.asked.append(("shutdown", sock, how))

    def tcpip_destroy(self, caller: wasmos.Caller, sock: int) -> None:
        self.asked.append(("destroy", sock))

    def tcpip_poll(self, caller: wasmos.Caller, sock: int, wanted: int) -> tuple[int, int]:
        if self.arrives_after is not None:
            after, self.arrives_after = self.arrives_after, None
            self.kernel.call_later(after, lambda: caller.notify(self, TcpipReady(sock)))
            return 0, 0
        return wanted, 7
