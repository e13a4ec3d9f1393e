"""Timers: they fire in time. Quiet ones are nothing to wait for."""

from __future__ import annotations

import asyncio

import pytest

import wasmos
from tests.support import wat
from wasmos import abi


def test_a_quiet_timer_fires_while_something_else_goes_on(kernel: wasmos.Kernel) -> None:
    fired: list[float] = []
    kernel.call_later(0.25, lambda: fired.append(kernel.uptime), quiet=True)
    kernel.call_later(0.1, lambda: fired.append(0), quiet=True).cancel()
    kernel.spawn(wat.SPIN)
    kernel.run(lambda: bool(fired), timeout=1)
    assert len(fired) == 1 and 0.25 <= fired[0] < 0.27


def test_it_is_nothing_to_wait_for(kernel: wasmos.Kernel) -> None:
    fired: list[int] = []
    kernel.call_later(0.25, lambda: fired.append(1), quiet=True)
    kernel.run()
    assert (fired, kernel.uptime) == ([], 0)
    task = kernel.spawn(wat.SLEEP, name="sleeper")
    with pytest.raises(wasmos.Deadlock, match="'sleeper' is receiving"):
        kernel.wait(task)
    assert fired == []


def test_nor_in_a_loop(kernel: wasmos.Kernel) -> None:
    fired: list[int] = []
    assert kernel.loop is not None
    kernel.call_later(0.25, lambda: fired.append(1), quiet=True)
    with pytest.raises(wasmos.Deadlock, match="'sleeper' is receiving"):
        kernel.wait(kernel.spawn(wat.SLEEP, name="sleeper"))
    assert fired == []


def test_one_that_raises_takes_no_other_with_it(kernel: wasmos.Kernel) -> None:
    """Whoever runs the kernel hears of it, and may go on: others' deadlines are none of that."""
    spin = kernel.spawn(wat.SPIN, limits=wasmos.Limits(deadline_seconds=0.1))
    assert spin.deadline is not None

    def fail() -> None:
        raise ValueError("mine")

    kernel.call_at(spin.deadline.when_ns - 1, fail)
    kernel.call_at(spin.deadline.when_ns - 1, fail).cancel()
    for _ in range(2):
        kernel.call_at(spin.deadline.when_ns - 1, fail)
    for _ in range(3):
        with pytest.raises(ValueError, match="mine"):
            kernel.wait(spin, timeout=1)
    assert kernel.wait(spin, timeout=1).cause == "deadline"


def test_by_the_machines_clock_it_wakes_who_sleeps_for_longer(real_kernel: wasmos.Kernel) -> None:
    """Before anything else would: alone, and in a loop that waits for a coroutine."""
    kernel = real_kernel
    fired: list[str] = []
    kernel.call_later(0.01, lambda: fired.append("alone"), quiet=True)
    far = kernel.call_later(3600, lambda: None)
    kernel.run(lambda: bool(fired))
    far.cancel()

    class Slow(wasmos.Service):
        name = "slow"

        async def ping(self, caller: wasmos.Caller, value: int) -> int:
            await asyncio.get_running_loop().create_future()
            return value

    kernel.serve(Slow())
    client = kernel.client("asks")
    client.begin("slow", abi.Ping(1), lambda: None)
    kernel.call_later(0.01, lambda: fired.append("in a loop"), quiet=True)
    kernel.run(lambda: len(fired) == 2)
    assert fired == ["alone", "in a loop"]
    client.kill()
