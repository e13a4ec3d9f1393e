"""Servers that the operator's shell shares with the guests.

Law: what is typed reaches only the program in the foreground; the operator's own hand,
the shell, is not held by the rules that the operator made for guests.
"""

from __future__ import annotations

from wasmos.abi import ErrorCode
from wasmos.errors import CapabilityDenied, ServiceError
from wasmos.kernel import Caller, Lent
from wasmos.servers.console import Console
from wasmos.servers.tcpip import Tcpip
from wasmos.servers.vm import Vm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from ipaddress import IPv4Address
    from typing import Any, BinaryIO, Literal

    from wasmos.servers.console.sink import Output
    from wasmos.servers.tcpip.addresses import Destinations


class SharedConsole(Console):
    """A console whose input `may_read` gives to one task and not to another:
    who may not is at the end of its input at once."""

    def __init__(
        self, output: Output | None, source: BinaryIO | None, may_read: Callable[[int], bool]
    ) -> None:
        super().__init__(output, source)
        self._may_read = may_read

    async def console_read(self, caller: Caller, len: int) -> bytes:  # noqa: A002
        if not self._may_read(caller.id):
            raise ServiceError(ErrorCode.EOF)
        return await super().console_read(caller, len)

    def console_take(self, caller: Caller, into: Lent) -> int | Coroutine[Any, Any, int]:
        return super().console_take(caller, into) if self._may_read(caller.id) else 0

    def console_poll(self, caller: Caller) -> int:
        return super().console_poll(caller) if self._may_read(caller.id) else 1


class SharedVm(Vm):
    """The server behind task 1, which tells `given_up` what a task gave up itself: that isn't
    what the operator took back from it."""

    def __init__(self, *options: Any, given_up: Callable[[int], object], **more: Any) -> None:
        super().__init__(*options, **more)
        self._given_up = given_up

    def cap_revoke(self, caller: Caller, cap: int) -> None:
        grant = self.kernel.find_grant(cap)
        own = grant is not None and grant.holder == caller.id
        super().cap_revoke(caller, cap)  # raises for what is over: that, nobody can give up
        if own:
            self._given_up(cap)


class SharedTcpip(Tcpip):
    """Sockets where `rules` say where guests may connect to at most ("granted": wherever
    their capabilities allow; None: nowhere), and the operator may connect anywhere and
    look up any name."""

    def __init__(
        self,
        rules: Destinations | Literal["granted"] | None,
        is_operator: Callable[[int], bool],
        **options: Any,
    ) -> None:
        super().__init__(connect=self._may_go, **options)
        self._rules = rules
        self._is_operator = is_operator

    def _may_go(self, caller: Caller, ip: IPv4Address, port: int) -> bool:
        if isinstance(self._rules, str) or self._is_operator(caller.id):
            return True
        return self._rules is not None and self._rules.allow(ip, port)

    async def tcpip_dns_resolve(self, caller: Caller, hostname: str) -> int:
        # A question to a name server is a message to the outside, too.
        if self._rules is None and not self._is_operator(caller.id):
            raise CapabilityDenied("connecting is switched off")
        return await super().tcpip_dns_resolve(caller, hostname)
