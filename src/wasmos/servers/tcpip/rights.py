"""By which of its grants a task may do what it asks for.

Law: the kernel has checked the message; here is decided whether a grant that admitted it also means
it. A grant counts only while nothing that it came from was taken back, and no more often than it
can be used: the kernel counts a use of the grant by which it admitted the message, and when several
did, that needn't be the one that means it.
"""

from __future__ import annotations

from wasmos import abi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wasmos.kernel import Caller, Grant

SPENT = "spent"
GONE = ("revoked", "expired")


def lineage(grant: Grant) -> list[Grant]:
    """A grant and all that it was derived from."""
    found = [grant]
    while (parent := found[-1].parent) is not None:
        found.append(parent)
    return found


def in_force(grant: Grant) -> bool:
    """Whether neither it nor what it came from was taken back. Used up is not taken back: its last
    use is one."""
    return all(each.state not in GONE for each in lineage(grant))


MAX_NAMED = 16  # ports in one rule: a rule with more leaves the choice, and names none


def named_ports(caller: Caller, grants: Iterable[Grant], denials: Iterable[Grant]) -> list[int]:
    """The ports that some grants name for listening, in order, and no rule denies."""
    found = {port for grant in grants for port in _named(grant)}
    return sorted(
        port
        for port in found
        if not any(_is_for(each, port, caller.name, deny=True) for each in denials)
    )


def _named(grant: Grant) -> list[int]:
    line = lineage(grant)
    denied = [each for above in line for each in above.excepts]
    # Intervals, because it is a number; without a constraint there are none.
    named = getattr(grant.rule.constraints.get("listen_port"), "intervals", ())
    ports = [port for low, high in named for port in range(low, min(high, low + MAX_NAMED) + 1)]
    if len(ports) > MAX_NAMED:
        return []
    return [
        port
        for port in ports
        if port
        and all(_is_for(each, port, each.holder_name) for each in line)
        and not any(_is_for(each, port, each.holder_name, deny=True) for each in denied)
    ]


def _is_for(grant: Grant, port: int, holder: str, *, deny: bool = False) -> bool:
    rule = grant.rule
    return rule.service in ("*", "tcpip") and rule.admits(abi.TcpipListen(port), holder, deny=deny)


class Rights:
    """Chooses grants, and counts what can be used up."""

    def __init__(self) -> None:
        self._used: dict[Grant, int] = {}

    def fitting(self, caller: Caller, fits: Callable[[Grant], bool]) -> list[Grant]:
        """The grants that admit the message at hand and fit: first the one that the kernel has
        admitted it by, then the oldest. To be asked before the first `await`."""
        found = [
            grant
            for grant in caller.grants()
            if in_force(grant) and self._has_uses(grant) and fits(grant)
        ]
        return sorted(found, key=lambda grant: (grant.id != caller.grant, grant.id))

    def _has_uses(self, grant: Grant) -> bool:
        return all(
            each.uses is None or self._used.get(each, 0) < each.uses for each in lineage(grant)
        )

    def use(self, grant: Grant) -> None:
        """Something is done by it."""
        for each in lineage(grant):
            if each.uses is not None:
                self._used[each] = self._used.get(each, 0) + 1

    def forget(self, grant: Grant) -> None:
        """It is gone for good."""
        self._used.pop(grant, None)

    def tidy(self) -> None:
        """A task has ended: forget what nobody can use any more."""
        if self._used:
            self._used = {
                grant: count
                for grant, count in self._used.items()
                if grant.state == "live" or grant.children
            }
