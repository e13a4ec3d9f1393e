"""Which IPv4 addresses are public: a field `as ipv4` that no rule constrains is one of these.

Law: a table of numbers, here once for all who judge addresses. It is ours, and not `is_global` of
the standard library, because that one calls multicast global, and answers otherwise from version
to version. From the IANA special-purpose registries.
"""

from __future__ import annotations

LAST_ADDRESS = 0xFFFF_FFFF

# In order, and apart from each other.
NOT_PUBLIC = {
    "0.0.0.0/8": "this host",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by a provider's customers",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local, and where clouds keep their secrets",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "protocol assignments",
    "192.0.2.0/24": "documentation",
    "192.88.99.0/24": "relays to 6to4",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "benchmarks",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved, and broadcast",
}


def _interval(network: str) -> tuple[int, int]:
    quad, _, prefix = network.partition("/")
    first = 0
    for part in quad.split("."):
        first = first << 8 | int(part)
    return first, first + (1 << (32 - int(prefix))) - 1


def _between(networks: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """What the networks leave over: intervals with both ends in them, in order."""
    starts = [0, *(last + 1 for _, last in networks)]
    ends = [*(first - 1 for first, _ in networks), LAST_ADDRESS]
    return tuple((low, high) for low, high in zip(starts, ends, strict=True) if low <= high)


PUBLIC = _between([_interval(network) for network in NOT_PUBLIC])


def dotted(address: int) -> str:
    """An address as people write it."""
    return ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))
