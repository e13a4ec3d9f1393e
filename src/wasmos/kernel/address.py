"""Sets of numbers, and of IPv4 addresses as numbers.

Law: a set is intervals with both ends in them, in order and apart. An address has one form of text,
four decimal numbers; whatever else somebody might read as one is refused.
"""

from __future__ import annotations

from wasmos.abi.networks import LAST_ADDRESS, PUBLIC, dotted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeAlias

    Intervals: TypeAlias = tuple[tuple[int, int], ...]

# An interval of addresses that is more networks than this is written as a range of numbers.
_FEW_NETWORKS = 4


def merged(intervals: Iterable[tuple[int, int]]) -> Intervals:
    found: list[tuple[int, int]] = []
    for low, high in sorted(intervals):
        if found and low <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(high, found[-1][1])
        else:
            found.append((low, high))
    return tuple(found)


def show_interval(low: int, high: int, least: int, most: int) -> str:
    if low == high:
        return str(low)
    if low == least and high != most:
        return f"..{high}"
    return f"{low}.." if high == most else f"{low}..{high}"


def parse(text: str) -> Intervals:
    """ "any" (a public address), "all", an address or a network. Raises ValueError, which says what
    is wrong with it."""
    if text == "any":
        return PUBLIC
    if text == "all":
        return ((0, LAST_ADDRESS),)
    network, slash, prefix = text.partition("/")
    first = _number(network)
    bits = _decimal(prefix, 32) if slash else 32
    if first is None or bits is None:
        advice = 'write "any", "all", an address, or a network such as "10.0.0.0/8"'
        raise ValueError(f"is no network; {advice}")
    behind = (1 << (32 - bits)) - 1
    if first & behind:
        right = f'"{dotted(first & ~behind)}/{bits}"'
        raise ValueError(f"has bits behind the first {bits}; did you mean {right}?")
    return ((first, first | behind),)


def show(intervals: Intervals) -> list[str]:
    """As they stand in a rule."""
    return list(_shown(intervals))


def _number(text: str) -> int | None:
    """Four decimal numbers, and no other form that somebody might read as one."""
    numbers = [_decimal(part, 255) for part in text.split(".")]
    if len(numbers) != 4:
        return None
    address = 0
    for number in numbers:
        if number is None:
            return None
        address = address << 8 | number
    return address


def _decimal(text: str, most: int) -> int | None:
    if not (text.isascii() and text.isdigit()) or len(text) > 3 or text != str(int(text)):
        return None
    return int(text) if int(text) <= most else None


def _shown(intervals: Intervals) -> Iterator[str]:
    if intervals == ((0, LAST_ADDRESS),):
        yield '"all"'
        return
    if all(any(low <= a and b <= high for low, high in intervals) for a, b in PUBLIC):
        yield '"any"'
        intervals = _without_public(intervals)
    for low, high in intervals:
        networks = _networks(low, high)
        if len(networks) > _FEW_NETWORKS:
            yield show_interval(low, high, 0, LAST_ADDRESS)
        else:
            yield from (f'"{network}"' for network in networks)


def _without_public(intervals: Intervals) -> Intervals:
    rest = []
    for low, high in intervals:
        for first, last in PUBLIC:
            if low <= first and last <= high:
                if low < first:
                    rest.append((low, first - 1))
                low = last + 1
        if low <= high:
            rest.append((low, high))
    return tuple(rest)


def _networks(low: int, high: int) -> list[str]:
    """The fewest networks that are an interval."""
    found = []
    while low <= high:
        bits = min((low & -low or 1 << 32).bit_length(), (high - low + 1).bit_length()) - 1
        found.append(dotted(low) if bits == 0 else f"{dotted(low)}/{32 - bits}")
        low += 1 << bits
    return found
