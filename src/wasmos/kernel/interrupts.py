"""Signals that end a run, while a kernel runs alone.

Law: what such a signal raises is raised between two slices, where nothing is half done, and not
in a server that has just taken a socket from the host. It doesn't wait for what never returns, a
write to a pipe that nobody reads: it is raised there after a second, or when the signal comes
again. (asyncio.Runner puts off Ctrl-C in this way, without the second.)
"""

from __future__ import annotations

# What `signal` is made of, whose enumerations cost more than a short run.
import _signal  # type: ignore[import-not-found]
import _thread  # and `threading` has a lock that a handler may find taken
import signal
import time
from contextlib import contextmanager
from types import MethodType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType
    from typing import Any

PATIENCE_SECONDS = 1.0
EXIT_BY_SIGNAL = 128  # and the signal's number, as a shell has it

# Those that can be waited with; Windows has no SIGHUP.
NUMBERS = [
    int(getattr(signal, name)) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


def exit_on_signal(number: int, _frame: FrameType | None) -> None:
    """A handler for `signal.signal`: end the program in good order. A kernel that runs puts it
    off as it does Ctrl-C. Raises SystemExit."""
    raise SystemExit(EXIT_BY_SIGNAL + number)


RAISING = (signal.default_int_handler, exit_on_signal)


class Interrupts:
    """Puts signals off as long as it is entered: those with a handler that is known to raise.

    wake: called in a signal handler, so that whoever waits comes to `check`.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._pending = 0  # a signal's number
        self._at_once = False
        self._waits = _thread.allocate_lock()  # for what says whether it is pending still
        self._replaced: list[tuple[int, Any]] = []

    def __enter__(self) -> None:
        for number in NUMBERS:
            handler = _signal.getsignal(number)
            if handler in RAISING or _is_ours(handler):
                try:
                    _signal.signal(number, self.note)
                except ValueError:
                    break  # only the main thread hears of signals
                self._replaced.append((number, handler))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        number = 0
        try:
            number = self._taken()  # from here on nobody is reminded
        finally:  # a second signal may be raised there
            for each, handler in self._replaced:
                _signal.signal(each, handler)
            self._replaced.clear()
            number = self._taken() or number  # it may have come just now
        if number and not isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise _error(number)  # one that came after the last look isn't lost

    def _taken(self) -> int:
        if not self._pending:
            return 0
        with self._waits:
            number, self._pending = self._pending, 0
        return number

    @property
    def entered(self) -> bool:
        """Whether any is put off now."""
        return bool(self._replaced)

    def note(self, number: int, _frame: FrameType | None) -> None:
        """The handler."""
        if self._at_once or self._pending:
            raise _error(number)
        self._pending = number
        self._wake()
        _thread.start_new_thread(self._remind, (number, _thread.get_ident()))

    def _remind(self, number: int, thread: int) -> None:
        """The signal once more, when it was put off for long; to the thread itself, which may be
        in a system call that would otherwise go on."""
        time.sleep(PATIENCE_SECONDS)
        with self._waits:
            if self._pending == number:
                signal.pthread_kill(thread, number)

    def check(self) -> None:
        """Raise what was put off, if anything: KeyboardInterrupt or SystemExit."""
        if self._pending:
            raise _error(self._pending)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Nothing is put off here."""
        before = self._at_once
        self._at_once = True
        try:
            self.check()
            yield
        finally:
            self._at_once = before

    def sleep(self, seconds: float) -> None:
        """As `time.sleep`, which goes on after a signal whose handler doesn't raise."""
        with self.at_once():
            time.sleep(seconds)


def _is_ours(handler: object) -> bool:
    """Of another kernel, one of whose services runs this one: it hears of it as its error."""
    return type(handler) is MethodType and isinstance(handler.__self__, Interrupts)


def _error(number: int) -> BaseException:
    if number == signal.SIGINT:
        return KeyboardInterrupt()
    return SystemExit(EXIT_BY_SIGNAL + number)
