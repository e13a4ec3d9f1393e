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

    __slots__ = ("_timers", "action", "serial", "when_ns")

    def __init__(
        self, timers: Timers, when_ns: int, serial: int, action: Callable[[], object]
    ) -> None:
        self._timers = timers
        self.when_ns = when_ns
        self.serial = serial
        self.action: Callable[[], object] | None = action

    def cancel(self) -> None:
        if self.action is not None:
            self.action = None
            self._timers.cancelled(self)

    def __lt__(self, other: Timer) -> bool:
        return (self.when_ns, self.serial) < (other.when_ns, other.serial)


class Timers:
    """The timers of one kernel."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._cancelled = 0  # of those in the heap, more or less
        self._serial = 0

    def add(self, when_ns: int, action: Callable[[], object]) -> Timer:
        self._serial += 1
        timer = Timer(self, when_ns, self._serial, action)
        heapq.heappush(self._heap, timer)
        return timer

    def cancelled(self, _timer: Timer) -> None:
        """One in the heap is void. When most are, they are swept out: deadlines
        that were not reached must not pile up until they would have been."""
        self._cancelled += 1
        if self._cancelled > max(64, len(self._heap) // 2):
            self._heap = [timer for timer in self._heap if timer.action is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def next_ns(self) -> int | None:
        """When the next timer is due."""
        while self._heap and self._heap[0].action is None:
            heapq.heappop(self._heap)
        return self._heap[0].when_ns if self._heap else None

    def fire(self, now_ns: int) -> None:
        """Run what is due. Timers made meanwhile wait for the next time, and so do those after one
        that raises."""
        due: list[Timer] = []
        while (when := self.next_ns()) is not None and when <= now_ns:
            due.append(heapq.heappop(self._heap))
        due.reverse()
        try:
            while due:
                timer = due.pop()
                if (action := timer.action) is not None:
                    timer.action = None  # it is out of the heap: cancelling it is of no matter
                    action()
        finally:
            for timer in due:
                heapq.heappush(self._heap, timer)
