"""Clock: what time it is, and when it will be.

Law: the kernel itself answers what a clock reads, without a Python method; under a badge, and for
clients in Python, this does. Whoever waits is woken by the kernel's clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from wasmos.abi import ClockAlarm, ErrorCode
from wasmos.errors import ServiceError, UsageError
from wasmos.kernel import Caller, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmos.kernel import Timer

REALTIME, MONOTONIC, PROCESS_CPU, THREAD_CPU = range(4)
MAX_ALARMS = 256  # that one task may have set
NS = 1_000_000_000


def check_badge(badge: Mapping[str, str]) -> None:
    """Raises UsageError for a badge that makes no sense."""
    for key in badge:
        if key != "at":
            raise UsageError(f"clock: no badge parameter {key!r}; there is at")
    if "at" in badge:
        fixed_ns(badge["at"])


def fixed_ns(text: str) -> int:
    """Nanoseconds since 1970 from a date and time of ISO 8601, UTC if it doesn't say otherwise, or
    from a number of seconds. Raises UsageError."""
    try:
        if text.replace(".", "", 1).isdecimal():
            whole, _, part = text.partition(".")
            return int(whole) * NS + int(part[:9].ljust(9, "0"))
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f'clock: at {text!r} is no time; write at="2026-01-02T03:04:05", or seconds since 1970'
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * NS + since.microseconds * 1000


class Clock(Service):
    """Serves clocks and alarms. A capability with the badge `at` has clocks that stand still."""

    name = "clock"
    native = ("clock_get", "clock_resolution")

    def __init__(self) -> None:
        self._alarms: dict[int, dict[int, Timer]] = {}  # task → token → alarm

    def clock_get(self, caller: Caller, id: int) -> int:
        _check(id)
        if "at" in caller.badge:
            return fixed_ns(caller.badge["at"]) if id == REALTIME else 0
        if id == REALTIME:
            return self._realtime_ns()
        if id == MONOTONIC:
            return self.kernel.now_ns
        return int(self.kernel.account(caller.id)["cpu_ns"])

    def clock_resolution(self, caller: Caller, id: int) -> int:  # noqa: ARG002
        _check(id)
        return 1

    async def clock_wait(self, caller: Caller, id: int, until_ns: int) -> None:
        await self.kernel.sleep(self._seconds(caller, id, until_ns))

    def clock_set_alarm(self, caller: Caller, token: int, id: int, until_ns: int) -> None:
        alarms = self._alarms.setdefault(caller.id, {})
        if token not in alarms and len(alarms) >= MAX_ALARMS:
            raise ServiceError(ErrorCode.NO_RESOURCES)
        seconds = self._seconds(caller, id, until_ns)
        self.clock_clear_alarm(caller, token)
        alarms[token] = self.kernel.call_later(seconds, lambda: self._ring(caller.id, token))

    def clock_clear_alarm(self, caller: Caller, token: int) -> None:
        alarm = self._alarms.get(caller.id, {}).pop(token, None)
        if alarm is not None:
            alarm.cancel()

    def task_ended(self, task: int) -> None:
        for alarm in self._alarms.pop(task, {}).values():
            alarm.cancel()

    def _ring(self, task: int, token: int) -> None:
        """A full mailbox is no reason to forget it: it rings again when there is room."""
        if not self.kernel.notify(self.task, task, ClockAlarm(token)):
            self.kernel.when_room(lambda: self._ring_late(task, token))
            return
        self._alarms.get(task, {}).pop(token, None)

    def _ring_late(self, task: int, token: int) -> None:
        if token in self._alarms.get(task, {}):
            self._ring(task, token)

    def _seconds(self, caller: Caller, id: int, until_ns: int) -> float:
        """How long it is until then. A clock that stands still is never waited for: what is to
        come comes at once, or a program that sleeps would never go on."""
        if id not in (REALTIME, MONOTONIC):
            raise ServiceError(ErrorCode.INVALID_ARG, "a clock that can't be waited for")
        if "at" in caller.badge:
            return 0.0
        now_ns = self._realtime_ns() if id == REALTIME else self.kernel.now_ns
        return max(0, until_ns - now_ns) / NS

    def _realtime_ns(self) -> int:
        return self.kernel.now_ns if self.kernel.engine.deterministic else time.time_ns()


def _check(id: int) -> None:
    if not REALTIME <= id <= THREAD_CPU:
        raise ServiceError(ErrorCode.INVALID_ARG, "no such clock")
