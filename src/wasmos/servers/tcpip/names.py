"""Which addresses names have had, by task.

Law: a name counts as an address's for the task that has looked it up and was given just this
address, and for no other, for as long as `seconds`. What is remembered is bounded: of each task the
latest `most` answers. Knows no network and no clock: `now` is a parameter.

So a capability for a host is one for the addresses that the task was told of. What the name says a
moment later changes nothing, in neither direction: nobody looks it up again to connect.
"""

from __future__ import annotations

MAX_NAME = 253
MAX_LABEL = 63  # between two dots
_OF_NAMES = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."


def can_be_a_name(text: str) -> bool:
    """Whether to ask for it: letters, digits, "-", "_" and "." of ASCII, as names are on the wire.
    What a resolver would fold, cut off or take for the end would be another name than the one
    that rules were asked about; who means an international name writes it as `xn--`."""
    return 0 < len(text) <= MAX_NAME and text.isascii() and not text.strip(_OF_NAMES)


def impossible(pattern: str) -> str:
    """Why no name fits a pattern, in which `*` and `?` stand for others; "" if one may."""
    if pattern.strip(_OF_NAMES + "*?"):
        return "names are letters, digits, - and _ of ASCII (others are written as xn--), and dots"
    if len(pattern.replace("*", "").removesuffix(".")) > MAX_NAME:
        return f"it is longer than {MAX_NAME} characters"
    parts = [part.replace("*", "") for part in pattern.removesuffix(".").split(".") if part != "*"]
    if "" in parts:
        return "a part of it is empty"
    if max(map(len, parts), default=0) > MAX_LABEL:
        return f"a part of it is longer than {MAX_LABEL} characters"
    return ""


def preferred(addresses: list[str]) -> int:
    """Of the addresses that were found for a name the one to answer with: the first public one,
    or else the first."""
    from ipaddress import IPv4Address

    from wasmos.servers.tcpip.addresses import is_public

    found = [int(IPv4Address(address)) for address in addresses]
    return next((address for address in found if is_public(address)), found[0])


class Names:
    """Pinned answers of the name servers."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        # Task → address and name → when; the oldest first.
        self._answers: dict[int, dict[tuple[int, str], float]] = {}

    def learn(self, task: int, name: str, address: int, now: float) -> None:
        """A task was told that a name has an address."""
        answers = self._answers.setdefault(task, {})
        answers.pop((address, name), None)  # it is the latest now
        answers[address, name] = now
        if len(answers) > self._most:
            del answers[next(iter(answers))]

    def of(self, task: int, address: int, now: float) -> list[str]:
        """The names that an address has for a task, as the task wrote them."""
        return [
            name
            for (known, name), learned in self._answers.get(task, {}).items()
            if known == address and now - learned < self._seconds
        ]

    def forget(self, task: int) -> None:
        """A task is gone."""
        self._answers.pop(task, None)
