"""Clock: what time it is, and when it will be.

Law: the kernel itself answers what a clock reads, without a Python method; under a badge, and for
clients in Python, this does. Whoever waits is woken by the kernel's clock, and never too early. An
alarm is there as long as the grant that it was set by.

Under the badge `at` time is still, and only waiting moves it: whoever waits goes on at once, and
its clocks read what it has waited for. Were they to stay where they were, a program that sleeps
until a clock reads something, as schedulers do, would do so for ever. The clocks are a task's own.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from wasmos.abi import ClockAlarm, ErrorCode
from wasmos.errors import ServiceError, UsageError
from wasmos.kernel import Caller, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine, Mapping
    from typing import Any

    from wasmos.kernel import Timer

REALTIME, MONOTONIC, PROCESS_CPU, THREAD_CPU = range(4)
MAX_ALARMS = 256  # that one task may have set
NS = 1_000_000_000
MAX_NS = (1 << 63) - 1  # the last that a message has room for, in the year 2262
# Nobody waits for the kernel's clock to read more, which is about 146 years: a virtual one goes
# there at once, and has to go on from there.
FAR_NS = 1 << 62
# What a monotonic clock that stands still reads at first. Not 0: Go takes that for a clock which
# doesn't work, and ends the program.
FIRST_NS = 1
MAX_KNOWN = 256

_known: dict[str, int] = {}  # `at` → nanoseconds


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
    if text not in _known:
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        _known[text] = _read(text)
    return _known[text]


def _read(text: str) -> int:
    ns = _parse(text)
    if not 0 <= ns <= MAX_NS:
        raise UsageError(f"clock: at {text!r} is out of range; there are the years 1970 to 2262")
    return ns


def _parse(text: str) -> int:
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


class _Alarm:
    """One that is set. `timer`: until it rings, `until_ns`: what its clock reads then."""

    __slots__ = ("caller", "id", "timer", "token", "until_ns")

    def __init__(self, caller: Caller, token: int, id: int, until_ns: int) -> None:
        self.caller = caller
        self.token = token
        self.id = id
        self.until_ns = until_ns
        self.timer: Timer | None = None

    def cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


class Clock(Service):
    """Serves clocks and alarms. Under a capability with the badge `at` clocks begin there, the
    monotonic one at 1 ns, and stand still except for who waits."""

    name = "clock"
    native = ("clock_get", "clock_resolution")

    def __init__(self) -> None:
        self._alarms: dict[int, dict[int, _Alarm]] = {}  # task → token → alarm
        self._unheard: dict[_Alarm, None] = {}  # that rang, and the mailbox was full
        self._under: dict[int, set[_Alarm]] = {}  # grant → what was set by it
        self._waited: dict[int, dict[str, int]] = {}  # task → `at` → nanoseconds that have passed

    # --- reading ---

    def clock_get(self, caller: Caller, id: int) -> int:
        _check(id)
        if id in (REALTIME, MONOTONIC):
            return min(self._now_ns(caller, id), MAX_NS)
        return 0 if "at" in caller.badge else int(self.kernel.account(caller.id)["cpu_ns"])

    def clock_resolution(self, caller: Caller, id: int) -> int:  # noqa: ARG002
        _check(id)
        return 1

    def _now_ns(self, caller: Caller, id: int) -> int:
        """Raises ServiceError (-8) for a badge that was never checked, and makes no sense."""
        at = caller.badge.get("at")
        if at is not None:
            waited_ns = self._waited.get(caller.id, {}).get(at, 0)
            return waited_ns + (_fixed_ns(at) if id == REALTIME else FIRST_NS)
        if id == REALTIME and not self.kernel.engine.deterministic:
            return time.time_ns()
        return self.kernel.now_ns

    # --- waiting ---

    def clock_wait(
        self, caller: Caller, id: int, until_ns: int
    ) -> Coroutine[Any, Any, None] | None:
        left_ns = self._left_ns(caller, id, until_ns)
        if left_ns == 0:
            return None
        if "at" in caller.badge:
            self._let_pass(caller, left_ns)
            return None
        return self._wait(self._when_ns(left_ns))

    async def _wait(self, when_ns: int) -> None:
        import asyncio

        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.kernel.call_at(when_ns, lambda: _wake(woken))
        try:
            await woken
        finally:
            timer.cancel()

    def clock_set_alarm(self, caller: Caller, token: int, id: int, until_ns: int) -> None:
        left_ns = self._left_ns(caller, id, until_ns)
        alarms = self._alarms.get(caller.id, {})
        if token not in alarms and len(alarms) >= MAX_ALARMS:
            raise ServiceError(ErrorCode.NO_RESOURCES, f"it has set {MAX_ALARMS} alarms")
        self.clock_clear_alarm(caller, token)
        alarm = _Alarm(caller, token, id, until_ns)
        self._alarms.setdefault(caller.id, {})[token] = alarm
        self._under.setdefault(caller.grant, set()).add(alarm)
        if "at" in caller.badge:
            left_ns = 0
        alarm.timer = self.kernel.call_at(self._when_ns(left_ns), lambda: self._ring(alarm))

    def clock_clear_alarm(self, caller: Caller, token: int) -> None:
        alarm = self._alarms.get(caller.id, {}).get(token)
        if alarm is not None:
            self._drop(alarm)

    def _drop(self, alarm: _Alarm) -> None:
        """It is set no longer."""
        alarm.cancel()
        self._unheard.pop(alarm, None)
        caller = alarm.caller
        del self._alarms[caller.id][alarm.token]
        under = self._under[caller.grant]
        under.remove(alarm)
        if not under:
            del self._under[caller.grant]

    def _ring(self, alarm: _Alarm) -> None:
        """A full mailbox is no reason to forget it: it rings again when there is room."""
        caller = alarm.caller
        if not caller.notify(self, ClockAlarm(alarm.token)):
            self._keep(alarm)
            return
        self._drop(alarm)
        if "at" in caller.badge:
            self._let_pass(caller, self._left_ns(caller, alarm.id, alarm.until_ns))

    def _keep(self, alarm: _Alarm) -> None:
        """No more than are set: a task can replace one that nobody hears any number of times."""
        self._unheard[alarm] = None
        self.kernel.when_room(self._ring_again)

    def _ring_again(self) -> None:
        unheard, self._unheard = self._unheard, {}
        for alarm in unheard:
            self._ring(alarm)

    def _left_ns(self, caller: Caller, id: int, until_ns: int) -> int:
        """How long it is until then, 0 if it is over. Raises ServiceError (-11)."""
        if id not in (REALTIME, MONOTONIC):
            raise ServiceError(ErrorCode.INVALID_ARG, "a clock that can't be waited for")
        return max(0, until_ns - self._now_ns(caller, id))

    def _when_ns(self, left_ns: int) -> int:
        """By the kernel's clock."""
        now_ns = self.kernel.now_ns
        return max(now_ns, min(now_ns + left_ns, FAR_NS))

    def _let_pass(self, caller: Caller, ns: int) -> None:
        """Time that was waited for has passed, under the badge `at`."""
        waited = self._waited.setdefault(caller.id, {})
        at = caller.badge["at"]
        waited[at] = waited.get(at, 0) + ns

    # --- lives ---

    def revoked(self, grant: int) -> None:
        for alarm in list(self._under.get(grant, ())):
            self._drop(alarm)

    def holds(self, grant: int) -> bool:
        return grant in self._under

    def task_ended(self, task: int) -> None:
        for alarm in list(self._alarms.get(task, {}).values()):
            self._drop(alarm)
        self._alarms.pop(task, None)
        self._waited.pop(task, None)

    def stopped(self) -> None:
        for task in list(self._alarms):
            self.task_ended(task)


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def _check(id: int) -> None:
    if not REALTIME <= id <= THREAD_CPU:
        raise ServiceError(ErrorCode.INVALID_ARG, "no such clock")


def _fixed_ns(at: str) -> int:
    try:
        return fixed_ns(at)
    except UsageError as error:
        raise ServiceError(ErrorCode.NOT_ALLOWED, str(error)) from None
