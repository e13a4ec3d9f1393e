"""A module's debug information, asked about offsets in the module.

Law: `places` answers, and raises nothing, whatever the module holds; what can't be told is not in
its answer. One answer takes `STEPS` steps at most and all of them together `ALL_STEPS`: a task that
traps again and again, each time elsewhere, gets no more of the host's time than that.
"""

from __future__ import annotations

from bisect import bisect_right

from wasmos.system.backtrace import dwarf, ranges
from wasmos.system.backtrace.cursor import Budget, Damaged
from wasmos.system.backtrace.lines import Lines
from wasmos.system.backtrace.scopes import Names, chains

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from wasmos.kernel import ModuleInfo
    from wasmos.system.backtrace.scopes import Scope

STEPS = 2_000_000  # about a second
ALL_STEPS = 20_000_000
MAX_UNITS = 20_000
MAX_RANGES = 200_000
COMPARED = 8  # ranges that a step compares with an address
MAX_KNOWN = 4096  # addresses whose answer is remembered


class Place:
    """A function's name, "" if unknown, and where in its source it is; line 0: unknown.

    `directory` is where the compiler ran, from which `file` goes if it is relative."""

    __slots__ = ("column", "directory", "file", "function", "inlined", "line")

    def __init__(
        self,
        function: str = "",
        file: str = "",
        line: int = 0,
        column: int = 0,
        directory: str = "",
        inlined: bool = False,
    ) -> None:
        self.function = function
        self.file = file
        self.line = line
        self.column = column
        self.directory = directory
        self.inlined = inlined

    def __repr__(self) -> str:
        mark = " (inlined)" if self.inlined else ""
        return f"<Place {self.function!r} {self.file}:{self.line}:{self.column}{mark}>"


class Symbols:
    """What a module says about its code."""

    def __init__(self, info: ModuleInfo, *, steps: int = STEPS, all_steps: int = ALL_STEPS) -> None:
        places: dict[str, tuple[int, int]] = {}
        for section in info.custom_sections:
            if section.name.startswith(".debug_"):
                places.setdefault(section.name, (section.start, section.end))
        self._sections = dwarf.Sections(info.data, places)
        self._code_start = info.code_start
        self._steps = steps
        self._all = Budget(all_steps)
        self._units: list[dwarf.Unit] | None = None
        self._spans: list[tuple[int, int, dwarf.Unit]] = []
        self._known: dict[int, list[Place]] = {}

    @property
    def is_there(self) -> bool:
        """Whether it has debug information at all."""
        return ".debug_info" in self._sections

    @property
    def steps_left(self) -> int:
        return self._all.left

    def places(self, offsets: Iterable[int]) -> dict[int, list[Place]]:
        """For offsets in the module the functions around each, the innermost first. Raises
        nothing."""
        wanted = [each for each in dict.fromkeys(offsets) if each not in self._known]
        if wanted and self.is_there and self._code_start is not None:
            budget = Budget(min(self._steps, self._all.left))
            before = budget.left
            try:
                self._look_up([each - self._code_start for each in wanted], budget)
            except Damaged:
                pass
            except Exception:
                # Ours to repair, but a trap is told all the same.
                import logging

                logging.getLogger("wasmos").debug("debug information", exc_info=True)
            self._all.left -= before - max(budget.left, 0)
        return {each: self._known[each] for each in offsets if each in self._known}

    def _look_up(self, addresses: list[int], budget: Budget) -> None:
        by_unit: dict[int, tuple[dwarf.Unit, list[int]]] = {}
        spans = self._code(budget)
        budget.spend(len(spans) * len(addresses) // COMPARED)
        for low, high, unit in spans:
            for address in addresses:
                if low <= address < high:
                    by_unit.setdefault(unit.start, (unit, []))[1].append(address)
        for unit, here in by_unit.values():
            try:
                self._ask(unit, list(dict.fromkeys(here)), budget)
            except Damaged:
                if budget.left < 0:
                    raise
            finally:
                unit.unload()

    def _code(self, budget: Budget) -> list[tuple[int, int, dwarf.Unit]]:
        """What is whose, of all units."""
        if self._units is None:
            self._units = []
            start, size = 0, self._size(".debug_info")
            while start < size and len(self._units) < MAX_UNITS:
                budget.spend(8)
                try:
                    unit = dwarf.Unit(self._sections, start, budget)
                except Damaged:
                    break  # nobody knows where the next one begins
                self._units.append(unit)
                start = unit.end
                try:
                    self._add(unit, budget)
                except Damaged:
                    if budget.left < 0:
                        raise
                finally:
                    unit.unload()
        return self._spans

    def _add(self, unit: dwarf.Unit, budget: Budget) -> None:
        if not unit.has_code:
            return
        unit.read_root(budget)
        for low, high in ranges.of(unit, unit.root, budget):
            if len(self._spans) >= MAX_RANGES:
                raise Damaged("too many ranges")
            self._spans.append((low, high, unit))

    def _size(self, section: str) -> int:
        start, end = self._sections.places[section]
        return end - start

    def _ask(self, unit: dwarf.Unit, addresses: list[int], budget: Budget) -> None:
        try:
            around = chains(unit, addresses, budget)
            everybody = {scope.offset: scope for chain in around.values() for scope in chain}
            names = Names(self._unit_at, budget).of(unit, everybody.values())
        except Damaged:
            around, names = {}, {}
        lines, rows = self._lines(unit, addresses, budget)
        directory = unit.text(unit.root.get(dwarf.DIRECTORY), budget)
        for address in addresses:
            places = self._stack(around.get(address, []), names, lines, rows.get(address))
            if places:
                for place in places:
                    place.directory = directory
                self._remember(address, places)

    @staticmethod
    def _lines(
        unit: dwarf.Unit, addresses: list[int], budget: Budget
    ) -> tuple[Lines | None, dict[int, tuple[int, int, int]]]:
        if (where := unit.root.get(dwarf.STATEMENTS)) is None:
            return None, {}
        lines = None
        try:
            lines = Lines(unit, where[1], budget)
            return lines, lines.rows(addresses)
        except Damaged:
            return lines, getattr(lines, "found", {})

    @staticmethod
    def _stack(
        chain: list[Scope],
        names: dict[int, str],
        lines: Lines | None,
        row: tuple[int, int, int] | None,
    ) -> list[Place]:
        """The innermost is where the row says, each other where it calls the one before it."""
        found = []
        for scope in reversed(chain):
            place = Place(names.get(scope.offset, ""), inlined=scope.inlined)
            _put(place, lines, row)
            found.append(place)
            entry = scope.entry
            row = tuple(  # type: ignore[assignment]
                entry.get(each, (0, 0))[1]
                for each in (dwarf.CALL_FILE, dwarf.CALL_LINE, dwarf.CALL_COLUMN)
            )
        if not found and row is not None:
            found.append(Place())
            _put(found[0], lines, row)
        return found

    def _unit_at(self, offset: int) -> dwarf.Unit | None:
        units = self._units or []  # in the order of the file
        at = bisect_right(units, offset, key=lambda unit: unit.start) - 1
        return units[at] if at >= 0 and units[at].first <= offset < units[at].end else None

    def _remember(self, address: int, places: list[Place]) -> None:
        assert self._code_start is not None
        if len(self._known) >= MAX_KNOWN:
            self._known.pop(next(iter(self._known)))
        self._known[address + self._code_start] = places


def _put(place: Place, lines: Lines | None, row: tuple[int, int, int] | None) -> None:
    if lines is None or row is None:
        return
    file, line, column = row
    place.file = lines.file(file)
    if place.file and 0 < line < 1 << 31:
        place.line = line
        place.column = column if 0 <= column < 1 << 31 else 0
