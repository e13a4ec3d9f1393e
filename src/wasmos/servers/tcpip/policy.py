"""The server's own bound on where tasks may connect to.

Law: a bound only takes away: what capabilities don't allow never comes as far as this.
"""

from __future__ import annotations

from wasmos.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from ipaddress import IPv4Address
    from typing import TypeAlias

    from wasmos.kernel import Caller

    MayConnect: TypeAlias = Callable[[Caller, IPv4Address, int], bool]

NONE = "none"
GRANTED = "granted"


def bound(connect: str | Iterable[str] | MayConnect) -> MayConnect | None:
    """What decides about destinations; None allows none and no names. Raises UsageError."""
    if callable(connect):
        return connect
    rules = [connect] if isinstance(connect, str) else list(connect)
    for alone, meaning in ((NONE, None), (GRANTED, _anywhere)):
        if alone in rules:
            if len(rules) > 1:
                raise UsageError(f'connect: "{alone}" stands alone')
            return meaning
    from wasmos.servers.tcpip.addresses import Destinations

    return Destinations(rules)


def _anywhere(_caller: Caller, _ip: IPv4Address, _port: int) -> bool:
    """Whatever capabilities allow."""
    return True
