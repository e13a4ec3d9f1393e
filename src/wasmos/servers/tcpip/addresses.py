"""Which addresses a task may connect to.

Law: "any" is any address of the public internet. What is private, local to a
link or to this host, reserved, or only a detour to one of these, has to be
named. The decision is about a number, never about a text: whatever form a name
had, it has been resolved by then, and what is checked is what is connected to.

A rule is one of

    any                 all public addresses
    93.184.216.34       an address, public or not
    10.1.0.0/16         a network, public or not
    any:443             each of them with a port: only that one
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from wasmos.abi.networks import NOT_PUBLIC
from wasmos.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    from wasmos.kernel import Caller

    Address: TypeAlias = IPv4Address | IPv6Address

ANY = "any"

NOT_PUBLIC_V4 = {IPv4Network(network): reason for network, reason in NOT_PUBLIC.items()}

# Of IPv6 only this is public, without what the table takes out of it. The table is ours for the
# same reasons as that of IPv4.
UNICAST_V6 = IPv6Network("2000::/3")
NOT_PUBLIC_V6 = {
    IPv6Network(network): reason
    for network, reason in {
        "2001::/23": "protocol assignments, with Teredo's tunnels",
        "2001:db8::/32": "documentation",
        "2002::/16": "6to4: a tunnel to whatever IPv4 address it carries",
        "3fff::/20": "documentation",
    }.items()
}
# Here the last 32 bits are the address that is really reached.
CARRY_V4 = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))


def is_public(address: Address | int | str) -> bool:
    """Whether an address is one of the public internet. A number is IPv4.
    Raises ValueError for what is no address in its usual form."""
    if isinstance(address, int):
        address = IPv4Address(address)
    elif isinstance(address, str):
        address = IPv6Address(address) if ":" in address else IPv4Address(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC_V4)
    if any(address in network for network in CARRY_V4):
        return is_public(int(address) & 0xFFFF_FFFF)
    return address in UNICAST_V6 and not any(address in network for network in NOT_PUBLIC_V6)


class Destinations:
    """What some rules allow: a `may_connect` to give to `Tcpip`.

    Raises UsageError for a rule that makes no sense."""

    def __init__(self, rules: Iterable[str]) -> None:
        self._rules = [_parse(rule) for rule in rules]

    def __call__(self, _caller: Caller, ip: IPv4Address, port: int) -> bool:
        return self.allow(ip, port)

    def allow(self, ip: IPv4Address, port: int) -> bool:
        """Whether some rule allows this address and port."""
        return any(
            only_port in (None, port) and (is_public(ip) if network is None else ip in network)
            for network, only_port in self._rules
        )


def port_of(destination: str, digits: str) -> int:
    """The port that these digits are. Raises UsageError, which names the destination."""
    is_short = digits.isascii() and digits.isdigit() and len(digits) <= 5
    if not (is_short and 0 < int(digits) <= 0xFFFF):
        raise UsageError(
            f"destination {destination!r}: {digits!r} is no port; a port is 1 to 65535"
        )
    return int(digits)


def _parse(rule: str) -> tuple[IPv4Network | None, int | None]:
    """A network, None for all public ones, and a port, None for all of them."""
    where, colon, digits = rule.partition(":")
    port = port_of(rule, digits) if colon else None
    if where == ANY:
        return None, port
    try:
        return IPv4Network(where), port
    except ValueError:
        raise UsageError(
            f'destination {rule!r}: write "any", an IPv4 address, or a network such as '
            '"10.1.0.0/16", each with or without ":PORT"'
        ) from None
