"""Signals that end a run: raised where nothing is half done, and never lost."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import wasmos
from tests.support.wat import forever, program
from wasmos import abi
from wasmos.kernel import interrupts
from wasmos.kernel.interrupts import exit_on_signal

NUMBERS = [signal.SIGINT, signal.SIGTERM]
RAISED = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: SystemExit}


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, exit_on_signal)
    yield
    signal.signal(signal.SIGTERM, before)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def hit(number: signal.Signals) -> None:
    """A signal to this process, as a shell sends it."""
    ident = threading.main_thread().ident
    assert ident is not None
    signal.pthread_kill(ident, number)


class Worker(wasmos.Service):
    """Hears a signal in the middle of what it does."""

    name = "s"

    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work
        self.done = False

    def ping(self, caller: wasmos.Caller, value: int) -> int:
        self.work()
        self.done = True
        return value + 1


ASKS = program("(drop (call $ask @s #9 #1)) #7")


def asks(kernel: wasmos.Kernel, worker: Worker) -> wasmos.Task:
    kernel.serve(worker)
    return kernel.spawn(ASKS, allow=["s"], trusted=True)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_service_is_not_stopped_halfway(kernel: wasmos.Kernel, number: signal.Signals) -> None:
    worker = Worker(lambda: hit(number))
    task = asks(kernel, worker)
    with pytest.raises(RAISED[number]) as raised:
        kernel.wait(task)
    assert worker.done
    if isinstance(raised.value, SystemExit):
        assert raised.value.code == 128 + number
    assert kernel.wait(task).code == 7  # and the kernel can run on


def test_a_callback_of_the_loop_is_not_stopped_halfway(kernel: wasmos.Kernel) -> None:
    done = []

    def callback() -> None:
        hit(signal.SIGINT)
        done.append(True)

    kernel.loop.call_soon(callback)
    task = kernel.spawn(program(forever()), trusted=True)
    with pytest.raises(KeyboardInterrupt):
        kernel.wait(task)
    assert done


def test_the_second_signal_does_not_wait(kernel: wasmos.Kernel) -> None:
    def work() -> None:
        hit(signal.SIGINT)
        hit(signal.SIGINT)

    worker = Worker(work)
    with pytest.raises(KeyboardInterrupt):
        kernel.wait(asks(kernel, worker))
    assert not worker.done


def test_who_never_returns_is_reminded(
    kernel: wasmos.Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write to a pipe that nobody reads."""
    monkeypatch.setattr(interrupts, "PATIENCE_SECONDS", 0.01)
    read_end, write_end = os.pipe()

    def work() -> None:
        hit(signal.SIGINT)
        while True:
            os.write(write_end, bytes(65536))

    try:
        with pytest.raises(KeyboardInterrupt):
            kernel.wait(asks(kernel, Worker(work)))
    finally:
        os.close(read_end)
        os.close(write_end)


def test_where_a_person_is_waited_for_it_is_raised_at_once(kernel: wasmos.Kernel) -> None:
    class Asker(Worker):
        def ping(self, caller: wasmos.Caller, value: int) -> int:
            with kernel.interruptible():
                return super().ping(caller, value)

    worker = Asker(lambda: hit(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        kernel.wait(asks(kernel, worker))
    assert not worker.done


def test_what_came_before_is_raised_where_a_person_would_be_asked(kernel: wasmos.Kernel) -> None:
    worker = Worker(lambda: hit(signal.SIGINT))

    def work() -> None:
        hit(signal.SIGINT)
        with kernel.interruptible():
            worker.done = True

    worker.work = work
    with pytest.raises(KeyboardInterrupt):
        kernel.wait(asks(kernel, worker))
    assert not worker.done


def test_outside_of_a_run_nothing_is_put_off(kernel: wasmos.Kernel) -> None:
    with kernel.interruptible(), pytest.raises(KeyboardInterrupt):
        hit(signal.SIGINT)


@pytest.mark.parametrize("in_loop", [False, True])
def test_a_kernel_that_waits_for_time_wakes(in_loop: bool) -> None:
    with wasmos.Kernel() as kernel:
        kernel.call_later(3600, lambda: None)
        if in_loop:
            kernel.loop.call_soon(int)
        sender = threading.Thread(target=hit, args=[signal.SIGINT])
        kernel.call_later(0, sender.start)
        with pytest.raises(KeyboardInterrupt):
            kernel.run()
        sender.join()


def test_one_that_comes_last_is_not_lost(kernel: wasmos.Kernel) -> None:
    over = []

    def until() -> bool:
        over.append(True)
        if len(over) == 2:
            hit(signal.SIGINT)
        return len(over) == 2

    with pytest.raises(KeyboardInterrupt):
        kernel.run(until)


class Impatient:
    """A lock that is waited for until somebody hits Ctrl-C again."""

    def __init__(self) -> None:
        self.hits = 1

    def __enter__(self) -> None:
        if self.hits and signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            self.hits -= 1
            hit(signal.SIGINT)

    def __exit__(self, *_: object) -> None:
        pass


def test_one_that_comes_while_a_run_is_left(
    kernel: wasmos.Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handlers of before are put back all the same, and the next run is not interrupted."""
    worker = Worker(lambda: hit(signal.SIGINT))
    task = asks(kernel, worker)
    lock = Impatient()
    monkeypatch.setattr(kernel.driver.interrupts, "_waits", lock)
    with pytest.raises(KeyboardInterrupt):
        kernel.wait(task)
    assert lock.hits == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert kernel.wait(task).code == 7


def test_a_kernel_in_a_service_of_another(kernel: wasmos.Kernel) -> None:
    """The inner one ends by it, then the outer one."""
    with wasmos.Kernel() as inner:
        endless = inner.spawn(program(forever()), trusted=True)
        inner.call_later(0, lambda: hit(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            kernel.wait(asks(kernel, Worker(lambda: inner.wait(endless))))


def test_a_handler_of_the_programs_own_is_left_alone(kernel: wasmos.Kernel) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        worker = Worker(lambda: hit(signal.SIGINT))
        assert kernel.wait(asks(kernel, worker)).code == 7
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT]


def test_another_thread_hears_of_none() -> None:
    codes: list[int | None] = []

    def work() -> None:
        with wasmos.Kernel() as kernel:
            codes.append(kernel.wait(asks(kernel, Worker(lambda: None))).code)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert codes == [7]


def test_an_async_kernel_leaves_signals_to_its_loop() -> None:
    async def main() -> Any:
        async with wasmos.AsyncKernel() as kernel:
            kernel.serve(Worker(lambda: None))
            asyncio.get_running_loop().call_soon(hit, signal.SIGINT)
            while True:
                await kernel.call("s", abi.Ping(1))

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
