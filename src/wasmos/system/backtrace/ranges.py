"""Which addresses an entry is about.

Law: a range that belongs to code which the linker threw away is none. The linker leaves 0 or one of
the highest numbers in its place, where no function can be: what begins at 0 is a count.
"""

from __future__ import annotations

from wasmos.system.backtrace import dwarf
from wasmos.system.backtrace.cursor import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from wasmos.system.backtrace.cursor import Budget
    from wasmos.system.backtrace.dwarf import Entry, Unit

HIGHEST = 0xFFFF_FF00  # no module is that long


def of(unit: Unit, entry: Entry, budget: Budget) -> Iterator[tuple[int, int]]:
    """From each beginning to before each end. Raises Damaged."""
    for low, high in _stated(unit, entry, budget):
        if 0 < low < high and low < HIGHEST:
            yield low, high


def covers(unit: Unit, entry: Entry, addresses: list[int], budget: Budget) -> list[int]:
    """Those of the addresses that an entry is about."""
    found = []
    for low, high in of(unit, entry, budget):
        found += [address for address in addresses if low <= address < high]
    return found


def _stated(unit: Unit, entry: Entry, budget: Budget) -> Iterator[tuple[int, int]]:
    low, high = entry.get(dwarf.LOW_PC), entry.get(dwarf.HIGH_PC)
    if (ranges := entry.get(dwarf.RANGES)) is not None:
        yield from (_list_5 if unit.version >= 5 else _list_4)(unit, ranges, budget)
    elif low is not None and high is not None:
        begin = unit.address(low, budget)
        absolute = high[0] == dwarf.ADDR
        yield begin, unit.address(high, budget) if absolute else begin + high[1]


def _base(unit: Unit, budget: Budget) -> int:
    low = unit.root.get(dwarf.LOW_PC)
    return 0 if low is None else unit.address(low, budget)


def _list_4(unit: Unit, where: dwarf.Value, budget: Budget) -> Iterator[tuple[int, int]]:
    size = unit.address_size
    highest = (1 << 8 * size) - 1
    base = _base(unit, budget)
    cursor = unit.sections.at(".debug_ranges", where[1], budget)
    while True:
        budget.spend()
        low, high = cursor.unsigned(size), cursor.unsigned(size)
        if low == high == 0:
            return
        if low == highest:
            base = high
        elif low < highest - 1:  # the other one stands for what was thrown away
            yield base + low, base + high


def _list_5(unit: Unit, where: dwarf.Value, budget: Budget) -> Iterator[tuple[int, int]]:
    size = unit.address_size
    base = _base(unit, budget)
    cursor = unit.sections.at(".debug_rnglists", _place_5(unit, where, budget), budget)

    def indexed() -> int:
        return unit.indexed_address(cursor.uleb(), budget)

    while kind := cursor.byte():
        budget.spend()
        if kind == 1:
            base = indexed()
        elif kind == 2:
            low = indexed()
            yield low, indexed()
        elif kind == 3:
            low = indexed()
            yield low, low + cursor.uleb()
        elif kind == 4:
            low = base + cursor.uleb()
            yield low, base + cursor.uleb()
        elif kind == 5:
            base = cursor.unsigned(size)
        elif kind == 6:
            low = cursor.unsigned(size)
            yield low, cursor.unsigned(size)
        elif kind == 7:
            low = cursor.unsigned(size)
            yield low, low + cursor.uleb()
        else:
            raise Damaged(f"a range of kind {kind}")


def _place_5(unit: Unit, where: dwarf.Value, budget: Budget) -> int:
    form, number = where
    if form != dwarf.RNGLISTX:
        return number
    base = unit.root.get(dwarf.RNGLISTS_BASE, (0, 12 if unit.offset_size == 4 else 20))[1]
    cursor = unit.sections.at(".debug_rnglists", base + number * unit.offset_size, budget)
    return base + cursor.unsigned(unit.offset_size)
