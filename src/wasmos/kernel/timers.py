"""Timers by the kernel's clock, real or virtual.

Law: timers fire in the order of their time, then of their making, and only
when the kernel's driver asks: no thread, no signal.
"""

from __future__ import annotations

import heapq

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Timer:
    """One timer; `cancel` makes it never fire."""

    __slots__ = ("action", "serial", "when_ns")

    def __init__(self, when_ns: int, serial: int, action: Callable[[], object]) -> None:
        self.when_ns = when_ns
        self.serial = serial
        self.action: Callable[[], object] | None = action

    def cancel(self) -> None:
        self.action = None

    def __lt__(self, other: Timer) -> bool:
        return (self.when_ns, self.serial) < (other.when_ns, other.serial)


class Timers:
    """The timers of one kernel."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._serial = 0

    def add(self, when_ns: int, action: Callable[[], object]) -> Timer:
        self._serial += 1
        timer = Timer(when_ns, self._serial, action)
        heapq.heappush(self._heap, timer)
        return timer

    def next_ns(self) -> int | None:
        """When the next timer is due."""
        while self._heap and self._heap[0].action is None:
            heapq.heappop(self._heap)
        return self._heap[0].when_ns if self._heap else None

    def fire(self, now_ns: int) -> None:
        """Run what is due. Timers made meanwhile wait for the next time."""
        due: list[Timer] = []
        while (when := self.next_ns()) is not None and when <= now_ns:
            due.append(heapq.heappop(self._heap))
        for timer in due:
            if (action := timer.action) is not None:
                action()
