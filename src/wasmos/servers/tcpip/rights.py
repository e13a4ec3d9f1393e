"""By which of its grants a task may do what it asks for.

Law: the kernel has checked the message; here is decided whether a grant that admitted it also means
it. A grant counts only while nothing that it came from was taken back, and no more often than it
can be used: the kernel counts a use of the grant by which it admitted the message, and when several
did, that needn't be the one that means it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

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
