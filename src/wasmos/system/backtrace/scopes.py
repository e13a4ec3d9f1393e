"""Which functions an address is in: the one that is there, and those that were inlined into it.

Law: two walks over a unit answer for all addresses that are asked for. The first finds the entries
that are about them, the second what their names stand in; so memory goes by the number of addresses
and not by the size of the unit.
"""

from __future__ import annotations

from wasmos.system.backtrace import dwarf, ranges
from wasmos.system.backtrace.cursor import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wasmos.system.backtrace.cursor import Budget
    from wasmos.system.backtrace.dwarf import Entry, Unit

MAX_INLINED = 64  # functions in one another at one address
MAX_HOPS = 8  # from an entry to the one that has its name
MAX_NAME = 400  # characters, with what it stands in
MAX_DEPTH = 1024  # of scopes in one another
_SCOPES = frozenset((
    dwarf.NAMESPACE, dwarf.MODULE, dwarf.CLASS, dwarf.STRUCTURE, dwarf.UNION, dwarf.ENUMERATION,
))  # fmt: skip


class Scope:
    """A function at an address: its entry, how deep that is, and whether it was inlined."""

    __slots__ = ("depth", "entry", "inlined", "offset")

    def __init__(self, entry: Entry, offset: int, depth: int, inlined: bool) -> None:
        self.entry = entry
        self.offset = offset
        self.depth = depth
        self.inlined = inlined


def chains(unit: Unit, addresses: list[int], budget: Budget) -> dict[int, list[Scope]]:
    """For each address the functions around it, the outermost first. Raises Damaged."""
    found: dict[int, list[Scope]] = {}
    beneath = -1  # the depth of a function that none of them is in, nor in what is beneath it
    for depth, offset, kind, cursor in unit.walk(budget):
        if beneath >= 0:
            if depth > beneath:
                continue
            beneath = -1
        inlined = kind.tag == dwarf.INLINED
        if not inlined and kind.tag != dwarf.SUBPROGRAM:
            continue
        entry = unit.read(kind, cursor)
        here = ranges.covers(unit, entry, addresses, budget)
        for address in here:
            _add(found.setdefault(address, []), Scope(entry, offset, depth, inlined))
        if not here and any(each in entry for each in (dwarf.LOW_PC, dwarf.RANGES)):
            beneath = depth
    return found


def _add(chain: list[Scope], scope: Scope) -> None:
    if not scope.inlined:
        chain[:] = [scope]
    elif chain and scope.depth > chain[-1].depth and len(chain) < MAX_INLINED:
        chain.append(scope)


class Names:
    """The names of functions."""

    def __init__(self, unit_at: Callable[[int], Unit | None], budget: Budget) -> None:
        self._unit_at = unit_at
        self._budget = budget

    def of(self, unit: Unit, scopes: Iterable[Scope]) -> dict[int, str]:
        """By the offsets of the scopes, each with what it stands in: `math::divide`."""
        places = {scope.offset: self._place(unit, scope) for scope in scopes}
        around: dict[int, str] = {}
        for owner in {id(place[0]): place[0] for place in places.values()}.values():
            wanted = {place[1] for place in places.values() if place[0] is owner}
            around.update(self._around(owner, wanted))
        found = {}
        for offset, (_, entry, name) in places.items():
            prefix = around.get(entry, "")
            found[offset] = f"{prefix}{name}" if name else ""
        return found

    def _place(self, unit: Unit, scope: Scope) -> tuple[Unit, int, str]:
        """The entry that a function is declared by, and its own name."""
        budget, entry, offset = self._budget, scope.entry, scope.offset
        name = linkage = ""
        for _ in range(MAX_HOPS):
            name = name or unit.text(entry.get(dwarf.NAME), budget)
            linkage = linkage or unit.text(
                entry.get(dwarf.LINKAGE_NAME) or entry.get(dwarf.MIPS_LINKAGE_NAME), budget
            )
            link = entry.get(dwarf.ABSTRACT_ORIGIN) or entry.get(dwarf.SPECIFICATION)
            target = None if link is None else unit.reference(link)
            if target is None:
                break
            owner = self._unit_at(target)
            if owner is None:
                break
            unit, offset = owner, target
            _, entry = unit.entry_at(offset, budget)
        return unit, offset, (name or linkage)[:MAX_NAME]

    def _around(self, unit: Unit, wanted: set[int]) -> dict[int, str]:
        found: dict[int, str] = {}
        stack: list[tuple[int, str]] = []  # scopes: depth, and the names until there
        for depth, offset, kind, cursor in unit.walk(self._budget):
            while stack and stack[-1][0] >= depth:
                stack.pop()
            prefix = stack[-1][1] if stack else ""
            if offset in wanted:
                found[offset] = prefix
                if len(found) == len(wanted):
                    break
            if kind.tag in _SCOPES and kind.has_children:
                if len(stack) >= MAX_DEPTH:
                    raise Damaged("scopes too deep")
                entry = unit.read(kind, cursor)
                name = unit.text(entry.get(dwarf.NAME), self._budget)
                if not name and kind.tag == dwarf.NAMESPACE:
                    name = "(anonymous namespace)"
                stack.append((depth, f"{prefix}{name}::"[:MAX_NAME] if name else prefix))
        return found
