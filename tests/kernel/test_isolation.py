"""Kernels beside each other: in one thread, and in several."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable

import pytest

import wasmos
from tests.support import wat
from tests.support.wat import M, program, repeat
from wasmos import _core, abi


def test_kernels_share_nothing() -> None:
    """The same ids and names in each; a task of one isn't there for the other."""
    with wasmos.Kernel(virtual_clock=True) as one, wasmos.Kernel(virtual_clock=True) as two:
        one.serve(wat.Plus(1), name="s")
        two.serve(wat.Plus(100), name="s")
        one.spawn(wat.SLEEP, trusted=True)
        assert one.call("s", abi.Ping(1)) == abi.PingReply(2)
        assert two.call("s", abi.Ping(1)) == abi.PingReply(101)
        assert (one.live, two.live) == (3, 2)
        assert two.find(3) is None or two.find(3) is not one.find(3)
        one.close()
        assert two.call("s", abi.Ping(2)) == abi.PingReply(102)


def test_a_program_belongs_to_its_kernel() -> None:
    with wasmos.Kernel(virtual_clock=True) as one, wasmos.Kernel(virtual_clock=True) as two:
        program_of_one = one.load(wat.SLEEP, trusted=True)
        with pytest.raises(wasmos.UsageError, match="another kernel"):
            two.spawn(program_of_one)
        assert two.tasks == []


def test_a_kernel_in_a_service_of_another() -> None:
    class Outer(wasmos.Service):
        name = "outer"

        def ping(self, caller: wasmos.Caller, value: int) -> int:
            with wasmos.Kernel(virtual_clock=True) as inner:
                inner.serve(wat.Plus(1000), name="s")
                reply: abi.PingReply = inner.call("s", abi.Ping(value))
                return reply.value

    with wasmos.Kernel(virtual_clock=True) as kernel:
        kernel.serve(Outer())
        source = program("(drop (call $ask @outer #9 #1)) (call $value)")
        task = kernel.spawn(source, allow=["outer"], trusted=True)
        assert kernel.wait(task).code == 1001


def in_thread(action: Callable[[], object]) -> list[BaseException]:
    """What `action` raised in a thread of its own."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised


USES: dict[str, Callable[[wasmos.Kernel], object]] = {
    "step": lambda kernel: kernel.step(1),
    "spawn": lambda kernel: kernel.spawn(wat.SLEEP, trusted=True),
    "client": lambda kernel: kernel.client(),
    "serve": lambda kernel: kernel.serve(wat.Plus(), name="other"),
    "call": lambda kernel: kernel.call("plus", abi.Ping(1)),
    "kill": lambda kernel: kernel.kill(2),
    "grant": lambda kernel: kernel.grant(kernel.tasks[0], "plus"),
    "account": lambda kernel: kernel.account(2),
    "notify": lambda kernel: kernel.notify(2, 2, abi.TaskDestroyed(1)),
    "run": lambda kernel: kernel.run(),
    "close": lambda kernel: kernel.close(),
}


@pytest.mark.parametrize("use", USES)
def test_the_wrong_thread(kernel: wasmos.Kernel, use: str) -> None:
    """Refused, and nothing happened: the kernel works on in its own thread."""
    kernel.serve(wat.Plus())
    before = (kernel.live, kernel.services, kernel.account(2))
    [error] = in_thread(lambda: USES[use](kernel))
    assert isinstance(error, wasmos.UsageError) and "another thread" in str(error)
    assert (kernel.live, kernel.services, kernel.account(2)) == before
    assert kernel.call("plus", abi.Ping(1)) == abi.PingReply(2)


def test_the_wrong_process(kernel: wasmos.Kernel) -> None:
    """A forked one: nothing preempts guests there, and what is random would be so twice. It can
    have a kernel of its own."""
    kernel.serve(wat.Plus())
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for use in USES.values():
                with pytest.raises(wasmos.UsageError, match="before the fork"):
                    use(kernel)
            with wasmos.Kernel() as own:
                spin = own.spawn(wat.SPIN, trusted=True, limits=wasmos.Limits(cpu_seconds=0.01))
                assert own.wait(spin).cause == "cpu_limit"
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0) == (child, 0)
    assert kernel.call("plus", abi.Ping(1)) == abi.PingReply(2)


@pytest.mark.parametrize("virtual", [True, False])
def test_kernels_in_several_threads(virtual: bool) -> None:
    """At the same time, each with preempted guests, services and deaths."""
    codes: dict[int, list[int | None]] = {}

    def work(number: int) -> None:
        with wasmos.Kernel(virtual_clock=virtual) as kernel:
            kernel.serve(wat.Plus(number))
            kernel.spawn(wat.PASSIVE, service="passive", trusted=True)
            spin = kernel.spawn(wat.SPIN, trusted=True)
            body = repeat(
                50,
                """(drop (call $ask @plus #9 (local.get $i)))
                (local.set $j (i32.add (local.get $j) (call $value)))
                (drop (call $ask @passive #9 #1))""",
            )
            tasks = [
                kernel.spawn(program(body + "(local.get $j)"), allow=["*"], trusted=True)
                for _ in range(4)
            ]
            codes[number] = [kernel.wait(task).code for task in tasks]
            assert spin.exit is None

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == {n: [1225 + 50 * n] * 4 for n in range(6)}


def test_a_kernel_made_and_closed_in_a_thread() -> None:
    def work() -> None:
        with wasmos.Kernel(virtual_clock=True) as kernel:
            kernel.spawn(wat.PASSIVE, service="s", trusted=True)
            assert kernel.call("s", abi.Ping(1)) == abi.PingReply(2)

    assert in_thread(work) == []


@pytest.mark.parametrize("virtual", [True, False])
def test_a_forgotten_kernel_is_collected(virtual: bool) -> None:
    """Without `close`: its tasks, stores and fibres go with it, the ticker's thread too."""

    def forget() -> None:
        kernel = wasmos.Kernel(virtual_clock=virtual)
        kernel.serve(wat.Plus())
        kernel.spawn(wat.SLEEP, trusted=True)
        kernel.spawn(wat.PASSIVE, service="s", trusted=True)
        body = f"(drop (call $ask @plus #9 #1)) {wat.RECEIVE} #0"
        kernel.spawn(program(body), allow=["plus"], trusted=True)
        kernel.step(1_000_000)
        source = kernel.services["plus"]
        kernel.notify(source, 5, abi.TaskDestroyed(1))
        assert kernel.call("plus", abi.Ping(1)) == abi.PingReply(2)

    before = _core.live_objects()
    forget()
    gc.collect()
    assert _core.live_objects() == before


def test_used_after_its_end() -> None:
    kernel = wasmos.Kernel(virtual_clock=True)
    kernel.serve(wat.Plus())
    kernel.close()
    for use in (
        lambda: kernel.call("plus", abi.Ping(1)),
        lambda: kernel.spawn(wat.SLEEP, trusted=True),
        lambda: kernel.serve(wat.Plus()),
        kernel.client,
    ):
        with pytest.raises((LookupError, wasmos.UsageError)):
            use()
    assert kernel.step(1_000) is False
    assert kernel.tasks == [] and kernel.services == {}
    kernel.close()


def test_a_message_never_crosses() -> None:
    """Two kernels with tasks of the same ids: a one-way message stays where it was sent."""
    with wasmos.Kernel(virtual_clock=True) as one, wasmos.Kernel(virtual_clock=True) as two:
        sleepers = [kernel.spawn(wat.SLEEP, service="s", trusted=True) for kernel in (one, two)]
        for kernel in (one, two):
            kernel.step(1_000_000)
        sender = program(f"(call $put #{M} #9 #1) (call $reply @s #{M}) #0")
        one.wait(one.spawn(sender, allow=["s"], trusted=True))
        assert one.wait(sleepers[0]).code == 0
        two.step(1_000_000)
        assert sleepers[1].exit is None
