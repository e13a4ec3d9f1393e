"""How things are measured and compared.

Law: whatever is compared is measured in the same run, in turns, and every
measurement checks the result of the work it timed. A figure is a median; an
absolute one is never judged while its peer is there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

MIN_ROUNDS = 5

# Seconds that one operation took, measured over many. It raises WrongResultError if what it timed
# did not do its work.
Measure = Callable[[], float]


class WrongResultError(AssertionError):
    """The work that was timed gave a wrong result: its time means nothing."""


class MissingError(Exception):
    """Something to compare with is not on this machine; `install` gets it."""

    def __init__(self, what: str, install: str) -> None:
        super().__init__(f"{what} is missing; to install it: {install}")
        self.install = install


@dataclass(frozen=True)
class Aim:
    """What a row is for: `<=` compares ours to the peer, `>=` the peer to ours.

    value: what that ratio is to be; None: it is information and nothing to meet.
    alone: what ours is to be at most, in the row's unit, where the peer is missing.
    """

    sign: str
    value: float | None
    alone: float | None = None

    def ratio(self, ours: float, peer: float) -> float:
        return ours / peer if self.sign == "<=" else peer / ours

    def met(self, ratio: float) -> bool | None:
        if self.value is None:
            return None
        return ratio <= self.value if self.sign == "<=" else ratio >= self.value


TIMES_FASTER = Aim(">=", None)
TIMES_OURS = Aim("<=", None)


@dataclass
class Row:
    """One line of the table. `ours` is None where it could not be measured, and `note` says why."""

    row: str
    ours: float | None
    peer: str
    peer_value: float | None
    aim: Aim = TIMES_FASTER
    unit: str = "s"
    install: str | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        if not self.ours or not self.peer_value:
            return None
        return self.aim.ratio(self.ours, self.peer_value)

    @property
    def met(self) -> bool | None:
        if self.ratio is not None:
            return self.aim.met(self.ratio)
        if self.ours is None or self.aim.alone is None:
            return None
        return self.ours <= self.aim.alone

    @property
    def aim_text(self) -> str | None:
        """The aim that this row is held to."""
        if self.aim.value is None:
            return None
        if self.peer_value is None and self.aim.alone is not None:
            return f"<= {self.aim.alone:g} {self.unit}"
        return f"{self.aim.sign} {self.aim.value:g}"


@dataclass(frozen=True)
class Settings:
    """How much is done. Less work makes results rougher, not wrong, and there
    are never fewer than MIN_ROUNDS rounds.

    core: where to pin what is to be on one core, if the system can.
    """

    quick: bool = False
    full: bool = False
    rounds: int = 7
    core: int | None = None

    def count(self, usual: int) -> int:
        """How often to repeat what is usually repeated so often."""
        return max(usual // 50, 1) if self.quick else usual

    def turns(self, factor: int = 1) -> int:
        """Rounds; `factor` times as many where small differences matter."""
        return MIN_ROUNDS if self.quick else factor * max(self.rounds, MIN_ROUNDS)


def interleave(sides: Sequence[Measure], rounds: int) -> list[float]:
    """The median of each, measured in turns: A B C C B A A B C. The first round
    only warms up; every other one goes backwards, so that nobody always comes
    after the same other."""
    times: list[list[float]] = [[] for _ in sides]
    for turn in range(rounds + 1):
        order = range(len(sides))
        for index in order if turn % 2 else reversed(order):
            seconds = sides[index]()
            if turn:
                times[index].append(seconds)
    return [median(each) for each in times]


def timed(work: Callable[[], object], count: int = 1) -> float:
    """Seconds for each of `count` things that `work` does."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / count


def check(found: object, expected: object, what: str) -> None:
    if found != expected:
        raise WrongResultError(f"{what}: {found!r} instead of {expected!r}")


@contextmanager
def one_core(core: int | None) -> Iterator[None]:
    """Everything in here, and whatever it starts, on one core; where the
    system can't do that, wherever it likes."""
    if core is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def last_core() -> int | None:
    """The core to pin to: the last allowed one, as the first serves interrupts."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
