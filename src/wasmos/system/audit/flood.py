"""What of many denials is written.

Law: in one window a task, with all that it has spawned, adds no more lines than there is room for,
and every denial is in the count of one of them. The first of its kind is written at once. A flood
of one message hides no other message of the system.

A window belongs to whoever spawned: otherwise a flood would only need a new child now and then.
The cost of a denial is a look into two tables, whatever was denied before.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeAlias

    from wasmos.system.audit.schema import Record

    Kind: TypeAlias = tuple[Any, ...]

WINDOW_NS = 60_000_000_000
MAX_KINDS = 128  # different denials in a window
_SAME = ("task", "service", "message", "cause")  # and `fields`
_LEFT_OUT: Kind = ("dropped",)
REASON = f"more than {MAX_KINDS} different denials in a minute"


class _Window:
    """The denials of a task and its children, for a while."""

    __slots__ = ("end_ns", "held", "kinds", "messages")

    def __init__(self, end_ns: int) -> None:
        self.end_ns = end_ns
        self.kinds: set[Kind] = set()  # that were written
        self.messages: set[object] = set()  # of these
        self.held: dict[Kind, Record] = {}  # they came again: lines that are still to be written

    def has_room(self, record: Record) -> bool:
        """For a denial that isn't among them. Messages with fields are defined by a system, so
        that there are not many; numbers and names to look up a guest invents."""
        if len(self.kinds) < MAX_KINDS:
            return True
        return bool(record.get("fields")) and record.get("message") not in self.messages


class Flood:
    """A dam. Times are of the kernel's clock, and come with the records."""

    def __init__(self) -> None:
        self._windows: dict[int, _Window] = {}  # by who pays for them; the oldest first
        self._payers: dict[int, int] = {}  # of tasks that were spawned by others
        self._now_ns = 0

    def lines(self, records: Iterable[Record]) -> list[Record]:
        """What is to be written for a batch; what it holds stays as it is."""
        found: list[Record] = []
        fresh: dict[Kind, Record] = {}  # lines of this batch, which can still be for more
        for record in records:
            self._now_ns = max(self._now_ns, record.get("time_ns", 0))
            self._end_windows(found)
            if record["event"] == "denial":
                self._denied(record, found, fresh)
            else:
                if record["event"] != "call":
                    self._happened(record, found)
                    fresh.clear()
                found.append(record)
        return found

    def rest(self) -> list[Record]:
        """What came again, and isn't written yet."""
        found: list[Record] = []
        for window in self._windows.values():
            _let_go(window, found)
        return found

    def _denied(self, record: Record, found: list[Record], fresh: dict[Kind, Record]) -> None:
        task: int = record.get("task", 0)
        window = self._window(self._payers.get(task, task))
        kind = _kind(record)
        if kind not in window.kinds and not window.has_room(record):
            kind, record = _LEFT_OUT, _left_out(record)
        if (line := fresh.get(kind) or window.held.get(kind)) is not None:
            line["count"] = line.get("count", 1) + record.get("count", 1)
        elif kind in window.kinds:
            window.held[kind] = dict(record)
        else:
            window.kinds.add(kind)
            window.messages.add(record.get("message"))
            fresh[kind] = line = dict(record)
            found.append(line)

    def _happened(self, record: Record, found: list[Record]) -> None:
        """What was denied before something happened to a task is written before it."""
        task: int = record.get("task", 0)
        if record["event"] == "spawn" and "by" in record:
            by: int = record["by"]
            self._payers[task] = self._payers.get(by, by)
        if window := self._windows.get(self._payers.get(task, task)):
            _let_go(window, found)
        if record["event"] == "exit":
            self._payers.pop(task, None)

    def _window(self, payer: int) -> _Window:
        window = self._windows.get(payer)
        if window is None:
            window = self._windows[payer] = _Window(self._now_ns + WINDOW_NS)
        return window

    def _end_windows(self, found: list[Record]) -> None:
        while self._windows:
            payer, oldest = next(iter(self._windows.items()))
            if oldest.end_ns > self._now_ns:
                return
            _let_go(oldest, found)
            del self._windows[payer]


def _kind(record: Record) -> Kind:
    return (*(record.get(key) for key in _SAME), repr(record.get("fields")))


def _left_out(record: Record) -> Record:
    kept: Record = {
        key: record[key] for key in ("time_ns", "task", "name", "count") if key in record
    }
    return {"event": "dropped", **kept, "decision": "denied", "reason": REASON}


def _let_go(window: _Window, found: list[Record]) -> None:
    found += window.held.values()
    window.held.clear()
