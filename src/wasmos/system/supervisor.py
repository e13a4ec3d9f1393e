"""When a task that ended is started again.

Law: this file starts nothing and reads no clock. It is told of beginnings and ends, with the time,
and says when the next life begins, if there is one. Whoever ends all the time is waited for longer
and longer, and then given up.

    never        it stays down
    on-failure   after a trap, a limit, or an exit code other than 0; not after being killed, which
                 somebody meant
    always       whatever ended it, being killed included
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wasmos.kernel import Exit

MODES = ("never", "on-failure", "always")
BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 10.0
MAX_RESTARTS = 5
# Who lives that long has recovered: the waiting begins anew. Also the time in which
# `max_restarts` are counted.
WINDOW_SECONDS = 60.0


class Restart:
    """How a task is restarted. Immutable."""

    __slots__ = ("backoff_seconds", "max_restarts", "mode")

    def __init__(
        self,
        mode: str = "never",
        backoff_seconds: float = BACKOFF_SECONDS,
        max_restarts: int = MAX_RESTARTS,
    ) -> None:
        self.mode = mode
        self.backoff_seconds = backoff_seconds
        self.max_restarts = max_restarts

    def replace(self, **changes: Any) -> Restart:
        return Restart(**{name: getattr(self, name) for name in self.__slots__} | changes)

    def applies(self, exit: Exit | None) -> bool:
        """Whether this end is one to go on from; None: it could not even be started."""
        if self.mode == "always":
            return True
        if self.mode == "never":
            return False
        return exit is None or not (exit.ok or exit.cause == "killed")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Restart) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    def __hash__(self) -> int:
        return hash((self.mode, self.backoff_seconds, self.max_restarts))

    def __repr__(self) -> str:
        return f"<Restart {self.mode}, {self.backoff_seconds:g} s, {self.max_restarts} times>"


class Lives:
    """The lives of one task, one after the other. Times are seconds of any clock."""

    def __init__(self, restart: Restart) -> None:
        self.restart = restart
        self.restarts: list[float] = []  # when, within the window
        self.given_up = False
        self._began: float | None = None
        self._delay = restart.backoff_seconds

    def began(self, now: float) -> None:
        """A life begins."""
        self._began = now
        self.given_up = False

    def ended(self, now: float, exit: Exit | None = None) -> float | None:
        """A life is over, or could not begin (None). Seconds until the next one; None: there is
        none, and `given_up` says whether that is because there were too many."""
        began, self._began = self._began, None
        if not self.restart.applies(exit):
            return None
        if began is not None and now - began >= WINDOW_SECONDS:
            self._delay = self.restart.backoff_seconds
        self.restarts = [time for time in self.restarts if now - time < WINDOW_SECONDS]
        if len(self.restarts) >= self.restart.max_restarts:
            self.given_up = True
            return None
        self.restarts.append(now)
        delay = self._delay
        self._delay = min(2 * delay, max(MAX_BACKOFF_SECONDS, self.restart.backoff_seconds))
        return delay
