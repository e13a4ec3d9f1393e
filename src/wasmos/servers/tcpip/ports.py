"""Which host address a guest's port is.

Law: a guest names a port of its own world; where that is on the host, and
whether anywhere, is the operator's decision. Loopback, unless another address
is named.

    8080:80             host port 8080 on 127.0.0.1 is the guest's port 80
    0.0.0.0:8080:80     on every IPv4 address of the host
    [::1]:8080:80       on an IPv6 address, in brackets
    0:80                on any free port; `Tcpip.bound` tells which
    8080-8089:80        on the first of these that is free: ten tasks can each
                        have the guest's port 80
"""

from __future__ import annotations

from wasmos.errors import UsageError
from wasmos.servers.tcpip.network import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

LOOPBACK = "127.0.0.1"
MAX_PORT = 0xFFFF
MAX_RANGE = 1000


class PortMap:
    """Guest ports and the host endpoints that each is; several may be one port.

    ports: texts as above. Raises UsageError for one that makes no sense.
    unmapped: what becomes of a guest port that isn't among them: "refuse",
        "loopback" to give it the same port of 127.0.0.1, or "any" to give it any
        free one of 127.0.0.1.
    """

    def __init__(self, ports: Iterable[str] = (), *, unmapped: str = "refuse") -> None:
        if unmapped not in ("refuse", "loopback", "any"):
            raise UsageError(f'unmapped is "refuse", "loopback" or "any", not {unmapped!r}')
        if isinstance(ports, str):
            ports = (ports,)
        self._unmapped = unmapped
        self._choices: dict[int, list[list[Endpoint]]] = {}
        self._taken: dict[Endpoint, str] = {}
        for text in ports:
            self._add(text)

    def choices(self, guest_port: int) -> list[list[Endpoint]]:
        """Where this guest port is, with what else each can be if it is taken; empty: nowhere."""
        if guest_port in self._choices:
            return self._choices[guest_port]
        if self._unmapped == "refuse":
            return []
        return [[Endpoint(LOOPBACK, 0 if self._unmapped == "any" else guest_port)]]

    @property
    def guest_ports(self) -> list[int]:
        """All mapped guest ports, ascending."""
        return sorted(self._choices)

    def _add(self, text: str) -> None:
        choice, guest_port = parse(text)
        for endpoint in choice:
            if endpoint in self._taken:
                raise UsageError(
                    f"port {text!r}: {endpoint} is taken by {self._taken[endpoint]!r} already; "
                    "give it another host port"
                )
            if endpoint.port:
                self._taken[endpoint] = text
        self._choices.setdefault(guest_port, []).append(choice)


def parse(text: str) -> tuple[list[Endpoint], int]:
    """`[ADDRESS:]HOST[-LAST]:GUEST` as endpoints to choose from, and a guest port."""
    host, _, guest = text.rpartition(":")
    said = f"port {text!r}"
    if not host.rpartition(":")[2]:
        raise UsageError(f'{said}: write HOST:GUEST, for example "8080:{guest or 80}"')
    guest_port = _port(said, guest)
    if guest_port == 0:
        raise UsageError(f"{said}: a guest's port is 1 to {MAX_PORT}")
    return host_side(host, said, guest=":80"), guest_port


def host_side(text: str, said: str, guest: str = "") -> list[Endpoint]:
    """`[ADDRESS:]HOST[-LAST]` as endpoints to choose from. Raises UsageError, which begins with
    what was `said`; `guest` is what follows in its examples."""
    address, colon, host = text.rpartition(":")
    if colon and not address:
        raise UsageError(f"{said}: nothing stands before the first colon")
    ip = _address(said, address, guest) if colon else LOOPBACK
    first, dash, last = host.partition("-")
    if not dash:
        return [Endpoint(ip, _port(said, host))]
    ports = range(_port(said, first), _port(said, last) + 1)
    if not 0 < len(ports) <= MAX_RANGE or 0 in ports:
        raise UsageError(f"{said}: a range has 1 to {MAX_RANGE} ports, upwards from 1")
    return [Endpoint(ip, port) for port in ports]


def _port(said: str, digits: str) -> int:
    # Not int() alone, which takes " 8_0 " and digits of every script.
    if digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= MAX_PORT:
        return int(digits)
    raise UsageError(f"{said}: {digits!r} is no port; a port is 0 to {MAX_PORT}")


def _address(said: str, address: str, guest: str) -> str:
    import ipaddress

    in_brackets = address.startswith("[") and address.endswith("]")
    kind = ipaddress.IPv6Address if in_brackets else ipaddress.IPv4Address
    try:
        if "%" in address:
            raise ValueError("a scope")
        return str(kind(address[1:-1] if in_brackets else address))
    except ValueError:
        raise UsageError(
            f"{said}: {address!r} is no numeric address; write an IPv4 address, "
            f'or an IPv6 address in brackets, as in "[::1]:8080{guest}"'
        ) from None
