"""The kernel in an asyncio program: at once, given up, failing, closed in the middle."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import wasmos
from tests.support import wat
from wasmos import _core, abi
from wasmos.engine import compiler
from wasmos.kernel import kernel as kernel_module
from wasmos.kernel.aio import JUDGED_AT_ONCE_BYTES
from wasmos.servers.pong import Pong


class Slow(wasmos.Service):
    """Answers when it is let go, and remembers what was given up."""

    name = "slow"

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun = 0
        self.given_up = 0

    async def ping(self, caller: wasmos.Caller, value: int) -> int:
        self.begun += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return value + 1


class Failing(wasmos.Service):
    name = "failing"

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def ping(self, caller: wasmos.Caller, value: int) -> int:
        raise self.error


class FailingLater(wasmos.Service):
    name = "failing"

    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def ping(self, caller: wasmos.Caller, value: int) -> int:
        await asyncio.sleep(0)
        raise self.error


def drive(work: Callable[[wasmos.AsyncKernel], Awaitable[None]]) -> None:
    async def main() -> None:
        async with wasmos.AsyncKernel() as kernel:
            await work(kernel)

    asyncio.run(main())


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0)


CALLS_SLOW = wat.program("(drop (call $ask @slow #9 #41)) (call $value)")


def test_a_hundred_calls_at_once() -> None:
    async def work(kernel: wasmos.AsyncKernel) -> None:
        slow = Slow()
        kernel.serve(slow)
        calls = [asyncio.create_task(kernel.call("slow", abi.Ping(n))) for n in range(100)]
        await until(lambda: slow.begun == 100)
        slow.gate.set()
        assert [reply.value for reply in await asyncio.gather(*calls)] == list(range(1, 101))
        # The clients are used again.
        tasks = len(kernel.sync.tasks)
        await asyncio.gather(*[kernel.call("slow", abi.Ping(n)) for n in range(100)])
        assert len(kernel.sync.tasks) == tasks

    drive(work)


def test_guests_and_the_loop_take_turns() -> None:
    async def work(kernel: wasmos.AsyncKernel) -> None:
        spins = [await kernel.spawn(wat.SPIN) for _ in range(3)]
        for _ in range(20):
            await asyncio.sleep(0)
        kernel.serve(wat.Plus())
        assert (await kernel.call("plus", abi.Ping(1))).value == 2
        for task in spins:
            task.kill()
            assert (await kernel.wait(task)).cause == "killed"

    drive(work)


def test_programs_are_loaded_and_waited_for_at_once() -> None:
    async def work(kernel: wasmos.AsyncKernel) -> None:
        async def one(code: int) -> int | None:
            task = await kernel.spawn(wat.program(f"#{code}"))
            return (await kernel.wait(task)).code

        assert await asyncio.gather(*map(one, range(8))) == list(range(8))

    drive(work)


def test_many_wait_for_one_and_after_its_end_too() -> None:
    async def work(kernel: wasmos.AsyncKernel) -> None:
        task = await kernel.spawn(wat.program("#5"))
        exits = await asyncio.gather(*[kernel.wait(task) for _ in range(10)])
        assert {exit.code for exit in exits} == {5}
        assert (await kernel.wait(task)).code == 5

    drive(work)


def test_a_call_that_is_cancelled_ends_its_work() -> None:
    async def work(kernel: wasmos.AsyncKernel) -> None:
        slow = Slow()
        kernel.serve(slow)
        call = asyncio.create_task(kernel.call("slow", abi.Ping(1)))
        await until(lambda: slow.begun == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: slow.given_up == 1)
        slow.gate.set()
        assert (await kernel.call("slow", abi.Ping(1))).value == 2

    drive(work)


def test_a_call_that_is_cancelled_before_it_began() -> None:
    async def work(kernel: wasmos.AsyncKernel) -> None:
        kernel.serve(wat.Plus())
        call = asyncio.create_task(kernel.call("plus", abi.Ping(1)))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await kernel.call("plus", abi.Ping(1))).value == 2

    drive(work)


def test_a_call_whose_client_is_killed() -> None:
    async def work(kernel: wasmos.AsyncKernel) -> None:
        slow = Slow()
        kernel.serve(slow)
        client = kernel.sync.client("mine")
        call = asyncio.create_task(kernel.call("slow", abi.Ping(1), client=client))
        await until(lambda: slow.begun == 1)
        client.kill()
        with pytest.raises(wasmos.ServiceError, match="aborted"):
            await call
        assert slow.given_up == 1

    drive(work)


def test_a_client_calls_once_at_a_time() -> None:
    """The second call is refused, and the first one is answered all the same."""

    async def work(kernel: wasmos.AsyncKernel) -> None:
        slow = Slow()
        kernel.serve(slow)
        kernel.serve(wat.Plus())
        client = kernel.sync.client("mine")
        call = asyncio.create_task(kernel.call("slow", abi.Ping(1), client=client))
        await until(lambda: slow.begun == 1)
        with pytest.raises(wasmos.ServiceError, match="in a call already"):
            await kernel.call("plus", abi.Ping(1), client=client)
        slow.gate.set()
        assert await call == abi.PingReply(2)

    drive(work)


def test_whose_client_it_is() -> None:
    """One that was given is its owner's, before and afterwards; others are used again."""

    async def work(kernel: wasmos.AsyncKernel) -> None:
        kernel.serve(wat.Plus())
        kernel.serve(Slow())
        client = kernel.sync.client("mine", allow=["plus"])
        assert await kernel.call("plus", abi.Ping(1), client=client) == abi.PingReply(2)
        slow = asyncio.create_task(kernel.call("slow", abi.Ping(1)))
        await asyncio.sleep(0)
        assert not client.busy
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        live = kernel.sync.live
        for _ in range(3):
            with pytest.raises(LookupError):
                await kernel.call("nobody", abi.Ping(1))
            assert await kernel.call("plus", abi.Ping(1)) == abi.PingReply(2)
        assert kernel.sync.live == live + 1

    drive(work)


def test_timeouts_of_calls_and_waits() -> None:
    async def work(kernel: wasmos.AsyncKernel) -> None:
        slow = Slow()
        kernel.serve(slow)
        with pytest.raises(TimeoutError):
            await kernel.call("slow", abi.Ping(1), timeout=0.001)
        await until(lambda: slow.given_up == 1)
        for source in (wat.SPIN, wat.SLEEP):
            task = await kernel.spawn(source)
            with pytest.raises(TimeoutError):
                await kernel.wait(task, timeout=0.001)
            assert task.exit is None  # it goes on
            task.kill()
            assert (await kernel.wait(task, timeout=10)).cause == "killed"

    drive(work)


def test_a_wait_that_is_over_leaves_nothing() -> None:
    """A task can be waited for again and again, for as long as it lives."""

    async def work(kernel: wasmos.AsyncKernel) -> None:
        task = await kernel.spawn(wat.SLEEP, trusted=True)
        told = len(task._on_end)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await kernel.wait(task, timeout=0)
        assert len(task._on_end) == told

    drive(work)


def test_a_wait_that_is_cancelled_leaves_the_task_alone() -> None:
    async def work(kernel: wasmos.AsyncKernel) -> None:
        task = await kernel.spawn(wat.SLEEP)
        waiting = asyncio.create_task(kernel.wait(task))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert task.exit is None
        task.kill()
        assert (await kernel.wait(task)).cause == "killed"

    drive(work)


def test_a_load_that_is_cancelled() -> None:
    async def work(kernel: wasmos.AsyncKernel) -> None:
        loading = asyncio.create_task(kernel.load(wat.program("#1")))
        await asyncio.sleep(0)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        task = await kernel.spawn(wat.program("#1"))
        assert (await kernel.wait(task)).code == 1

    drive(work)


def test_a_load_that_is_cancelled_while_it_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child is ended, and not waited for: the thread would keep the whole program."""
    begun = tmp_path / "begun"
    child = tmp_path / "child.py"
    child.write_text(f"import signal; open({str(begun)!r}, 'w').close(); signal.pause()")
    monkeypatch.setattr(compiler, "_CHILD", str(child))
    monkeypatch.setattr(compiler, "COMPILE_SECONDS", 1e6)

    async def work(kernel: wasmos.AsyncKernel) -> None:
        loading = asyncio.create_task(kernel.load(wat.program("#987654321")))  # never kept
        while not begun.exists():
            await asyncio.sleep(0)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading

    drive(work)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_nobody_there_and_not_allowed() -> None:
    async def work(kernel: wasmos.AsyncKernel) -> None:
        with pytest.raises(LookupError, match="nobody is the service 'plus'"):
            await kernel.call("plus", abi.Ping(1))
        kernel.serve(wat.Plus())
        client = kernel.sync.client("poor", allow=())
        with pytest.raises(wasmos.CapabilityDenied):
            await kernel.call("plus", abi.Ping(1), client=client)

    drive(work)


@pytest.mark.parametrize("kind", [Failing, FailingLater])
def test_errors_of_a_service_are_its_clients_answers(
    kind: type[Failing], caplog: pytest.LogCaptureFixture
) -> None:
    async def work(kernel: wasmos.AsyncKernel) -> None:
        service = kind(wasmos.ServiceError(abi.ErrorCode.NOT_EMPTY))
        kernel.serve(service)
        with pytest.raises(wasmos.ServiceError, match="not empty"):
            await kernel.call("failing", abi.Ping(1))
        assert not caplog.records
        service.error = ZeroDivisionError("a bug")
        with caplog.at_level(logging.CRITICAL + 1, "wasmos"):
            with pytest.raises(wasmos.ServiceError, match="unexpected"):
                await kernel.call("failing", abi.Ping(1))
            guest = await kernel.spawn(
                wat.program("(drop (call $ask @failing #9 #1)) (i32.load #1024)"), allow=["failing"]
            )
            assert (await kernel.wait(guest)).code == -10

    drive(work)


class Stop(BaseException):
    """Like KeyboardInterrupt: not for those to catch who run other people's code."""


@pytest.mark.parametrize("kind", [Failing, FailingLater])
@pytest.mark.parametrize("by_guest", [False, True])
def test_what_is_no_exception_surfaces(
    kind: type[Failing], by_guest: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with wasmos.AsyncKernel() as kernel:
            kernel.serve(kind(Stop()))
            if by_guest:
                guest = await kernel.spawn(
                    wat.program("(drop (call $ask @failing #9 #1)) #0"), allow=["failing"]
                )
                await kernel.wait(guest)
            else:
                await kernel.call("failing", abi.Ping(1))

    before = _core.live_objects()
    with caplog.at_level(logging.CRITICAL + 1, "wasmos"), pytest.raises(Stop):
        asyncio.run(main())
    assert _core.live_objects() == before


def test_what_waits_when_it_is_closed_hears_of_it() -> None:
    async def main() -> None:
        kernel = wasmos.AsyncKernel()
        async with kernel:
            slow = Slow()
            kernel.serve(slow)
            guest = await kernel.spawn(CALLS_SLOW, allow=["slow"])
            spins = await kernel.spawn(wat.SPIN)
            waits = [asyncio.create_task(kernel.wait(task)) for task in (guest, spins)]
            call = asyncio.create_task(kernel.call("slow", abi.Ping(1)))
            await until(lambda: slow.begun == 2)
        ended = await asyncio.gather(*waits, call, return_exceptions=True)
        assert [exit.cause for exit in ended[:2] if isinstance(exit, wasmos.Exit)] == ["killed"] * 2
        assert isinstance(ended[2], wasmos.ServiceError | wasmos.UsageError)
        assert slow.given_up == 2

    before = _core.live_objects()
    asyncio.run(main())
    assert _core.live_objects() == before


def test_an_error_in_the_block_closes_it_and_goes_on() -> None:
    async def main() -> None:
        async with wasmos.AsyncKernel() as kernel:
            await kernel.spawn(wat.SPIN)
            raise ZeroDivisionError

    before = _core.live_objects()
    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())
    assert _core.live_objects() == before


def test_closing_twice_and_using_it_afterwards() -> None:
    async def main() -> None:
        async with wasmos.AsyncKernel() as kernel:
            kernel.serve(wat.Plus())
            await kernel.close()
            await kernel.close()
            with pytest.raises((RuntimeError, LookupError, wasmos.UsageError)):
                await kernel.call("plus", abi.Ping(1))
            with pytest.raises(wasmos.UsageError):
                await kernel.spawn(wat.program("#0"))

    asyncio.run(main())


def test_several_kernels_on_one_loop() -> None:
    async def main() -> None:
        async with wasmos.AsyncKernel() as one, wasmos.AsyncKernel() as two:
            one.serve(wat.Plus(1))
            two.serve(wat.Plus(2))
            replies = await asyncio.gather(
                *[kernel.call("plus", abi.Ping(n)) for n in range(10) for kernel in (one, two)]
            )
            expected = [n + step for n in range(10) for step in (1, 2)]
            assert [reply.value for reply in replies] == expected

    asyncio.run(main())


def test_several_in_a_row_leave_nothing() -> None:
    before = _core.live_objects()
    for _ in range(5):

        async def work(kernel: wasmos.AsyncKernel) -> None:
            kernel.serve(wat.Plus())
            await kernel.spawn(wat.SLEEP)
            await kernel.call("plus", abi.Ping(1))

        drive(work)
        assert _core.live_objects() == before


def test_the_synchronous_calls_say_what_to_use_instead() -> None:
    async def work(kernel: wasmos.AsyncKernel) -> None:
        slow = Slow()
        kernel.serve(slow)
        task = await kernel.spawn(wat.SLEEP)
        with pytest.raises(wasmos.UsageError, match="AsyncKernel"):
            kernel.sync.wait(task)
        with pytest.raises(wasmos.UsageError, match="AsyncKernel"):
            kernel.sync.call("slow", abi.Ping(1))

    drive(work)


def test_others_go_on_while_a_program_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its author may have seen to it that this takes seconds."""
    goes_on, saw = threading.Event(), []
    read = kernel_module.read

    def slow_read(source: str) -> tuple[str, bytes]:
        saw.append(goes_on.wait(10))
        return read(source)

    async def work(kernel: wasmos.AsyncKernel) -> None:
        monkeypatch.setattr(kernel_module, "read", slow_read)
        large = wat.program("#7") + " " * JUDGED_AT_ONCE_BYTES
        loading = asyncio.ensure_future(kernel.load(large))
        kernel.serve(Pong())
        assert (await kernel.call("pong", abi.Ping(1))).value == 42
        goes_on.set()
        assert (await kernel.wait(await kernel.spawn(await loading))).code == 7

    drive(work)
    assert saw == [True]
