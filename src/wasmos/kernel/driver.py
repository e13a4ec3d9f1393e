"""What makes a kernel go: alone, or as a citizen of an asyncio loop.

Law: guests run in slices, and between two of them timers, sockets and
coroutines get their turn. When nothing can ever happen again and somebody
waits, that is said, not waited out. Without a coroutine asyncio is not even
imported.
"""

from __future__ import annotations

from contextlib import suppress

from wasmos.errors import Deadlock, UsageError
from wasmos.kernel.interrupts import Interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from typing import Any

    from wasmos.kernel.kernel import Kernel

SLICE_NS = 4_000_000  # how long guests run before everything else gets a turn
TURNS = 20  # of the loop, for coroutines to take before virtual time passes


def resolve(future: asyncio.Future[None]) -> None:
    """End the wait for `future`, which may have been given up meanwhile."""
    if not future.done():
        future.set_result(None)


class Driver:
    """Runs one kernel, by its clock."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._loop: asyncio.AbstractEventLoop | None = None
        self._own_loop = False
        self._kick: asyncio.Event | None = None
        self.interrupts = Interrupts(self._wake)

    # --- alone ---

    def run(self, until: Callable[[], bool], deadline_ns: int | None) -> bool:
        """See `Kernel.run`."""
        if until():
            return True
        if self.interrupts.entered:
            return self._run(until, deadline_ns)  # a run within a run: the core refuses it
        with self.interrupts:
            return self._run(until, deadline_ns)

    def _run(self, until: Callable[[], bool], deadline_ns: int | None) -> bool:
        while not until():
            if self._loop is not None:
                return self._run_in_loop(until, deadline_ns)
            if self._passed(deadline_ns):
                return False
            if self._step() or until() or self._loop is not None:
                continue
            when_ns = self._next_ns(deadline_ns)
            if when_ns is None:
                self._check_deadlock()
                return True
            if self._kernel.engine.deterministic:
                self._kernel.advance(self._sooner(when_ns))
            else:
                self.interrupts.sleep(self._seconds(when_ns) or 0)
        return True

    def _step(self) -> bool:
        """One slice and the timers that are due. True if there is more."""
        self.interrupts.check()
        kernel = self._kernel
        more = kernel.step(SLICE_NS)
        kernel.timers.fire(kernel.now_ns)
        kernel.quiet_timers.fire(kernel.now_ns)
        return more or kernel.busy

    def _passed(self, deadline_ns: int | None) -> bool:
        return deadline_ns is not None and self._kernel.now_ns >= deadline_ns

    def _next_ns(self, deadline_ns: int | None) -> int | None:
        """When something is due whatever happens."""
        times = [t for t in (self._kernel.timers.next_ns(), deadline_ns) if t is not None]
        return min(times, default=None)

    def _sooner(self, when_ns: int) -> int:
        """By then, or when a quiet timer is due before that."""
        quiet_ns = self._kernel.quiet_timers.next_ns()
        return when_ns if quiet_ns is None else min(when_ns, quiet_ns)

    def _seconds(self, when_ns: int | None) -> float | None:
        """How long to wait until something is due."""
        when_ns = self._kernel.quiet_timers.next_ns() if when_ns is None else self._sooner(when_ns)
        return None if when_ns is None else max(0, when_ns - self._kernel.now_ns) / 1e9

    def _check_deadlock(self) -> None:
        """Nothing is left to do. Raises Deadlock if somebody waits for it."""
        blocked = [task.predicament() for task in self._kernel.tasks if task.blocked]
        if blocked:
            raise Deadlock(f"nothing can happen any more: {'; '.join(blocked)}")

    # --- in a loop ---

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """See `Kernel.loop`."""
        if self._loop is None:
            import asyncio

            try:
                self._loop = asyncio.get_running_loop()
            except RuntimeError:
                self._loop = asyncio.new_event_loop()
                self._own_loop = True
            self._kick = asyncio.Event()
        return self._loop

    def kick(self) -> None:
        """See `Kernel.kick`."""
        if self._kick is not None:
            self._kick.set()

    def _wake(self) -> None:
        """Kick it from a signal handler, which may have come just before the loop waits."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it is closed: nobody waits
                self._loop.call_soon_threadsafe(self.kick)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """See `Kernel.start`."""
        task = self.loop.create_task(work)
        task.add_done_callback(lambda _: self.kick())
        return task

    def _run_in_loop(self, until: Callable[[], bool], deadline_ns: int | None) -> bool:
        if not self._own_loop:
            raise UsageError("in a coroutine, await it: use wasmos.AsyncKernel")
        try:
            return self.loop.run_until_complete(self.drive(until, deadline_ns))
        finally:
            if self._kernel.closed:
                self.close()

    async def drive(self, until: Callable[[], bool], deadline_ns: int | None = None) -> bool:
        """`run` as a coroutine: takes turns with everything else on the loop."""
        import asyncio

        assert self._kick is not None
        while not until():
            if self._passed(deadline_ns):
                return False
            self._kick.clear()
            if self._step():
                await asyncio.sleep(0)
            elif not until() and not await self._idle(self._next_ns(deadline_ns)):
                return True
        return True

    async def _idle(self, when_ns: int | None) -> bool:
        """Wait for a kick, at most until `when_ns`. False if there is nothing
        to wait for."""
        import asyncio

        assert self._kick is not None
        if when_ns is not None and self._kernel.engine.deterministic:
            await self._virtual_idle(when_ns)
            return True
        if when_ns is None and self._own_loop and not self._outside():
            await asyncio.sleep(0)  # what has just ended may have a word yet
            if self._kick.is_set() or self._kernel.busy:
                return True
            self._check_deadlock()
            return False
        try:
            async with asyncio.timeout(self._seconds(when_ns)):
                await self._kick.wait()
        except TimeoutError:
            pass
        return True

    async def _virtual_idle(self, when_ns: int) -> None:
        """Coroutines first: only when none can go on does virtual time pass."""
        import asyncio

        assert self._kick is not None
        for _ in range(TURNS):
            await asyncio.sleep(0)
            if self._kick.is_set():
                return
        self._kernel.advance(self._sooner(when_ns))

    def _outside(self) -> bool:
        """Whether anything but guests and timers can make something happen."""
        import asyncio

        if self._kernel.waits_for_outside():
            return True
        driver = asyncio.current_task()
        return any(not t.done() and t is not driver for t in asyncio.all_tasks(self.loop))

    # --- the end ---

    def close(self) -> None:
        """End what runs on the kernel's own loop, and the loop; if it runs now, after that."""
        if self._loop is None or not self._own_loop or self._loop.is_running():
            return
        import asyncio

        loop = self._loop
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
