"""What a task may cost others by rules of its own, and by what it passes on.

Law: a bound counts steps, never time, and is asked before the work is done: by a message that was
refused, nothing has changed. What the host says itself has no such bounds.

Two kinds of work grow with what tasks say. A check of one message asks all that the sender holds,
in the core, where nothing is preempted: what a task holds from others is bounded by `effort`. And
passing on compares the rule with all that the giver holds, in Python: that is bounded by `Budget`.
"""

from __future__ import annotations

from wasmos.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wasmos.kernel.constraint import Test
    from wasmos.kernel.grant import Compiled

MAX_DEPTH = 32  # of delegation
MAX_PASSED_ON = 256  # live grants that one task has passed on
MAX_HELD = 256  # grants of one task, beyond which it gets none from others
MAX_TOKENS = 32  # of the patterns with wildcards in a rule of a task's
MAX_ALTERNATIVES = 64  # values, ranges and patterns in such a rule
MAX_EFFORT = 1 << 20  # of all that one task holds from others: a check takes a millisecond
MAX_COMPARED = 1 << 16  # steps of comparing rules for one message: some milliseconds
COMPARISON = 32  # steps that any two rules cost


def effort(compiled: Compiled) -> int:
    """How many bytes the core compares at most when it asks a capability about one message: its
    ancestors' tests are among its own, and some may be there twice in other words."""
    return max((sum(map(_steps, tests)) for tests in compiled[1].values()), default=0)


def _steps(test: Test) -> int:
    size = test[2]
    if test[0] != "text":
        return size
    return size + sum(len(tokens) * (size if kind == "like" else 1) for kind, tokens in test[4])


class Budget:
    """Of comparing rules for one message."""

    __slots__ = ("_left", "_was_short")

    def __init__(self) -> None:
        self._left = MAX_COMPARED
        self._was_short = False

    def allows(self, steps: int) -> bool:
        """Whether so much is left; then it is taken."""
        steps += COMPARISON
        if steps > self._left:
            self._was_short = True
            return False
        self._left -= steps
        return True

    def check(self) -> None:
        """Raises UsageError if something wasn't compared."""
        if self._was_short:
            raise UsageError("too much to compare with all that is held: ask for less at a time")
