"""What the badge of a grant for `tcpip` says.

Law: a badge narrows a grant. One that makes no sense is refused by `check_badge`, and one that was
never checked allows nothing.

    host    a pattern as in rules, "*.example.com": the grant is for looking up such names, and for
            connecting to the addresses that its holder was given for them
    bind    where on the host the guest's port is: "8080", "127.0.0.1:8080", "[::1]:8080", "0" for
            any free port, "8080-8089" for the first that is free
"""

from __future__ import annotations

from wasmos import abi
from wasmos.errors import RuleError, UsageError
from wasmos.kernel import Rule
from wasmos.servers.tcpip.names import impossible
from wasmos.servers.tcpip.ports import host_side

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmos.servers.tcpip.network import Endpoint

KEYS = ("host", "bind")
MAX_KNOWN = 256

_known: dict[str, Rule | None] = {}  # pattern → the rule with it, None if it is no pattern


def check_badge(badge: Mapping[str, str]) -> None:
    """Raises UsageError if a grant with this badge could allow nothing."""
    for key in badge:
        if key not in KEYS:
            raise UsageError(f"tcpip: no badge parameter {key!r}; there are {', '.join(KEYS)}")
    if "host" in badge:
        _check_host(badge["host"])
    if "bind" in badge:
        endpoints_of(badge["bind"])


def endpoints_of(bind: str) -> list[Endpoint]:
    """The host endpoints to choose from, the first free one. Raises UsageError."""
    return host_side(bind, f"tcpip: bind {bind!r}")


def is_for(pattern: str, name: str) -> bool:
    """Whether a `host` is for a name, as the constraint `hostname="…"` of a rule would be."""
    if pattern not in _known:
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        try:
            _known[pattern] = _rule(pattern)
        except RuleError:
            _known[pattern] = None
    rule = _known[pattern]
    return rule is not None and rule.admits(abi.TcpipDnsResolve(name))


def _rule(pattern: str) -> Rule:
    """Raises RuleError."""
    text = pattern.replace("\\", "\\\\").replace('"', '\\"')
    return Rule.parse(f'tcpip.dns_resolve(hostname="{text}")')


def _check_host(host: str) -> None:
    said = f"tcpip: host {host!r}"
    if not host.strip("."):
        raise UsageError(f'{said} is no name; any name is "*"')
    if "://" in host or "/" in host or host.replace(".", "").isdigit():
        raise UsageError(f"{said} is no name of a host; for an address or a network write dst_addr")
    if ":" in host:
        raise UsageError(f"{said} has a colon in it; for a port write dst_port")
    if any(character <= " " or character == "\x7f" for character in host):
        raise UsageError(f"{said} has a space or a control character in it")
    try:
        _rule(host)
    except RuleError as error:
        raise UsageError(f"{said}: {str(error).partition('hostname: ')[2] or error}") from None
    if why := impossible(host):
        raise UsageError(f"{said} can't be a name: {why}")
