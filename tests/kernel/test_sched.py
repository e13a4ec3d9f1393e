"""Who runs when: priorities, turns, preemption, limits on time, and orders drawn from a seed."""

from __future__ import annotations

from functools import partial

import pytest

import wasmos
from tests.support import wat
from tests.support.wat import M, forever, passive, program, repeat
from wasmos import abi

ABORTED = -21
LIMIT = 0.001  # seconds of the virtual clock: a million instructions


def say(count: int, number: int) -> str:
    return program(repeat(count, f"(call $report #{number})") + "#0")


def spawn(kernel: wasmos.Kernel, source: str, **options: object) -> wasmos.Task:
    return kernel.spawn(source, trusted=True, **({"allow": ["*"]} | options))  # type: ignore[arg-type]


# --- order ------------------------------------------------------------------------------------


def test_higher_priorities_run_first(kernel: wasmos.Kernel, report: wat.Reporter) -> None:
    tasks = [spawn(kernel, program(f"(call $report #{p}) #0"), priority=p) for p in (3, 15, 0, 8)]
    for task in tasks:
        kernel.wait(task)
    assert report.numbers == [15, 8, 3, 0]


def test_a_loop_of_low_priority_never_delays_a_higher_one(
    kernel: wasmos.Kernel, report: wat.Reporter
) -> None:
    spawn(kernel, wat.SPIN, priority=1)
    high = spawn(kernel, say(50, 7), priority=2)
    assert kernel.wait(high).code == 0
    assert report.numbers == [7] * 50


def test_equal_priorities_take_turns(kernel: wasmos.Kernel) -> None:
    """Loops of one priority share the time to within one preemption."""
    tasks = [spawn(kernel, wat.SPIN) for _ in range(5)]
    for _ in range(20):
        kernel.step(5_000_000)
    turns = [task.account()["preemptions"] for task in tasks]
    assert max(turns) - min(turns) <= 1
    assert min(turns) > 100


@pytest.mark.parametrize("priority", [-1, 16, 255, 256])
def test_priorities_out_of_range(kernel: wasmos.Kernel, priority: int) -> None:
    with pytest.raises((ValueError, OverflowError)):
        spawn(kernel, wat.SPIN, priority=priority)
    assert kernel.live == 0


def test_a_flooder_leaves_others_their_turns(kernel: wasmos.Kernel) -> None:
    """A hundred clients of a service are all served while one calls it without end."""
    kernel.serve(wat.Plus())
    spawn(
        kernel, program("(local.set $j @plus)" + forever("(drop (call $ask (local.get $j) #9 #0))"))
    )
    served = spawn(kernel, wat.SERVER, service="guest")
    spawn(
        kernel,
        program("(local.set $j @guest)" + forever("(drop (call $ask (local.get $j) #9 #0))")),
    )
    clients = [
        spawn(kernel, program(f"(local.set $j @{name})" + repeat(
            10, "(if (call $ask (local.get $j) #9 (local.get $i)) (then (return #1)))") + "#0"))
        for name in ("plus", "guest") for _ in range(50)
    ]  # fmt: skip
    kernel.run(lambda: all(client.exit is not None for client in clients), timeout=1)
    assert [client.exit and client.exit.code for client in clients] == [0] * 100
    assert served.exit is None


# --- seeds ------------------------------------------------------------------------------------


def story(seed: int) -> list[tuple[object, ...]]:
    """Every event of a small system: clients, an active, a passive and a Python service."""
    with wasmos.Kernel(virtual_clock=True, seed=seed) as kernel:
        kernel.set_trace(True)
        kernel.serve(wat.Plus())
        spawn(kernel, wat.SERVER, service="active")
        spawn(kernel, wat.PASSIVE_FIBRE, service="passive")
        body = "".join(f"(drop (call $ask @{n} #9 #1))" for n in ("plus", "active", "passive"))
        tasks = [spawn(kernel, program(body + "#0")) for _ in range(4)]
        kernel.run(lambda: all(task.exit is not None for task in tasks))
        return [(e.seq, e.time_ns, e.kind, e.task, e.peer, e.type, e.code) for e in kernel.events()]


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_a_seed_repeats_the_whole_story(seed: int) -> None:
    assert story(seed) == story(seed)


def test_seeds_give_different_orders() -> None:
    orders = {tuple(e[2:5] for e in story(seed)) for seed in range(1, 11)}
    assert len(orders) >= 9


# --- preemption -------------------------------------------------------------------------------

_JUMPS = """(func $jumps (local $n i32)
  (loop $top (block $c (block $b (block $a
    (br_table $a $b $c $top (i32.and (local.tee $n (i32.add (local.get $n) #1)) #3)))
    (br $top)) (br $top)) (br $top)))"""
_LOOPS = {
    "loop": wat.SPIN,
    "br_table": program("(call $jumps) #0", fields=_JUMPS),
    "start function": program("#0", fields=f"(func $s {forever()}) (start $s)"),
    "_initialize": program("#0", fields=f'(func (export "_initialize") {forever()})'),
    "tail calls": program("(call $t) #0", fields="(func $t (return_call $t))"),
    "calls that fail": program(forever(f"(drop (call $call #0 #{M}))")),
    "replies to nobody": program(forever(f"(call $reply #99 #{M})")),
    "memory.fill": program(forever("(memory.fill #32768 #1 #32768)")),
    "memory.copy": program(forever("(memory.copy #32768 #0 #32768)")),
    "memory.grow": program(forever("(drop (memory.grow #1))")),
}


@pytest.mark.parametrize("what", _LOOPS)
def test_loops_are_preempted_and_end_at_the_cpu_limit(kernel: wasmos.Kernel, what: str) -> None:
    order: list[int] = []
    kernel.watch(lambda ended: order.append(ended.task))
    task = spawn(kernel, _LOOPS[what], limits=wasmos.Limits(cpu_seconds=LIMIT))
    other = spawn(kernel, program(repeat(1000, "") + "#5"))
    assert kernel.wait(other).code == 5
    ended = kernel.wait(task)
    assert order == [other.id, task.id]
    assert (ended.cause, ended.status) == ("cpu_limit", 124)
    assert LIMIT <= ended.cpu_seconds < 2 * LIMIT


@pytest.mark.parametrize("what", ["loop", "br_table", "start function", "memory.fill"])
def test_loops_are_preempted_by_the_clock(real_kernel: wasmos.Kernel, what: str) -> None:
    """The ticker's way of doing it. The other task ends although the loop runs for ever."""
    task = spawn(real_kernel, _LOOPS[what], limits=wasmos.Limits(cpu_seconds=0.02))
    other = spawn(real_kernel, program(repeat(1000, "") + "#5"))
    assert real_kernel.wait(other).code == 5
    assert real_kernel.wait(task).cause == "cpu_limit"


def test_a_parked_ticker_wakes_up(real_kernel: wasmos.Kernel) -> None:
    """Between two loops nothing runs, so that the preempting thread goes to sleep."""
    for _ in range(20):
        task = spawn(real_kernel, wat.SPIN, limits=wasmos.Limits(cpu_seconds=0.002))
        assert real_kernel.wait(task).cause == "cpu_limit"
        assert real_kernel.run(lambda: False, timeout=0.002) in (False, True)


HANDLERS = {
    "in place": passive(forever()),
    "in place, grows": passive(forever("(drop (memory.grow #1))")),
    "on a fibre": passive(forever(), fibre=True),
    "on a fibre, calls": passive(forever("(drop (call $ask @plus #9 #1))"), fibre=True),
}


@pytest.mark.parametrize("how", HANDLERS)
def test_a_handler_that_never_returns(how: str) -> None:
    """A passive service has its own limit: it ends, and its caller hears -21."""
    with wasmos.Kernel(virtual_clock=True, handler_seconds=LIMIT) as kernel:
        kernel.serve(wat.Plus())
        service = spawn(kernel, HANDLERS[how], service="s")
        waiting = spawn(kernel, program("(call $ask @s #9 #1)"))
        client = spawn(kernel, program("(call $ask @s #9 #1)"))
        assert kernel.wait(client).code in (ABORTED, -12)
        assert kernel.wait(waiting).code == ABORTED
        assert service.exit is not None and service.exit.cause == "cpu_limit"


@pytest.mark.parametrize("how", ["in place", "on a fibre"])
def test_a_handler_that_never_returns_to_python(how: str) -> None:
    with wasmos.Kernel(virtual_clock=True, handler_seconds=LIMIT) as kernel:
        spawn(kernel, HANDLERS[how], service="s")
        with pytest.raises(wasmos.ServiceError) as seen:
            kernel.call("s", abi.Ping(1), timeout=1)
        assert seen.value.code == ABORTED


def test_a_handler_that_never_returns_by_the_clock() -> None:
    with wasmos.Kernel(handler_seconds=0.01) as kernel:
        for name, source in (("place", HANDLERS["in place"]), ("fibre", HANDLERS["on a fibre"])):
            spawn(kernel, source, service=name)
            with pytest.raises(wasmos.ServiceError) as seen:
                kernel.call(name, abi.Ping(1), timeout=30)
            assert seen.value.code == ABORTED


@pytest.mark.parametrize("export", ["start", "_initialize", "ipc_buffer"])
def test_a_passive_service_that_never_starts(export: str) -> None:
    fields = {
        "start": f"(func $s {forever()}) (start $s)",
        "_initialize": f'(func (export "_initialize") {forever()})',
        "ipc_buffer": "",
    }[export]
    source = passive("", fields=fields)
    if export == "ipc_buffer":
        source = source.replace(
            f'"ipc_buffer") (result i32) (i32.const {wat.INBOX})',
            f'"ipc_buffer") (result i32) {forever()}',
        )
    with wasmos.Kernel(virtual_clock=True, handler_seconds=LIMIT) as kernel:
        task = spawn(kernel, source, service="s")
        assert kernel.wait(task).cause == "cpu_limit"
        assert kernel.services == {}


def test_a_passive_services_time_is_its_callers(kernel: wasmos.Kernel) -> None:
    """A client can't have others compute for it beyond its own limit."""
    for name, fibre in (("place", False), ("fibre", True)):
        spawn(kernel, passive(repeat(10_000, ""), fibre=fibre), service=name)
        body = f"(local.set $j @{name})" + forever("(drop (call $ask (local.get $j) #9 #1))")
        client = spawn(kernel, program(body), limits=wasmos.Limits(cpu_seconds=LIMIT))
        ended = kernel.wait(client, timeout=10 * LIMIT)
        assert ended.cause == "cpu_limit"


# --- deadlines --------------------------------------------------------------------------------

BLOCKED = {
    "call to an active service": "(call $ask @never #9 #1)",
    "call to a busy service": "(call $ask @busy #9 #1)",
    "call to a Python service": "(call $ask @slow #9 #1)",
    "receive": f"(call $recv #0 #{M})",
    "closed receive": f"(call $recv @never #{M})",
    "lookup": "@nobody",
    "nothing, it computes": forever(),
}


@pytest.mark.parametrize("where", BLOCKED)
def test_deadline(kernel: wasmos.Kernel, where: str) -> None:
    """It fires whatever the task waits for, and what it waited for goes on."""

    class Slow(wasmos.Service):
        name = "slow"

        async def ping(self, caller: wasmos.Caller, value: int) -> int:
            await self.kernel.sleep(1000)
            return value

    kernel.serve(Slow())
    spawn(kernel, program(wat.RECEIVE + f"(call $recv #0 #{M})"), service="never", allow=[])
    spawn(kernel, program(f"(call $recv @gate #{M})"), service="busy")
    kernel.serve(wat.Plus(), name="gate")
    task = spawn(kernel, program(BLOCKED[where]), limits=wasmos.Limits(deadline_seconds=0.5))
    ended = kernel.wait(task)
    assert (ended.cause, ended.status) == ("deadline", 124)
    assert "0.5 s" in str(ended)
    assert kernel.uptime < 1
    assert {"busy", "gate", "never", "slow"} == set(kernel.services)


def test_a_deadline_that_is_met_leaves_no_trace(kernel: wasmos.Kernel) -> None:
    task = spawn(kernel, program("#3"), limits=wasmos.Limits(deadline_seconds=0.5))
    assert kernel.wait(task).code == 3
    other = spawn(kernel, program("#4"))
    kernel.run(lambda: False, timeout=1)
    assert (task.exit and task.exit.cause, other.exit and other.exit.code) == ("returned", 4)


# --- waiting ----------------------------------------------------------------------------------


def test_waiting_for_what_can_never_happen(kernel: wasmos.Kernel) -> None:
    task = spawn(kernel, wat.SLEEP, name="sleeper")
    with pytest.raises(wasmos.Deadlock, match="'sleeper' is receiving"):
        kernel.wait(task)


def test_the_same_after_a_coroutine_ran(kernel: wasmos.Kernel) -> None:
    class Quick(wasmos.Service):
        name = "quick"

        async def ping(self, caller: wasmos.Caller, value: int) -> int:
            return value

    kernel.serve(Quick())
    assert kernel.call("quick", abi.Ping(3)) == abi.PingReply(3)
    kernel.run()
    task = spawn(kernel, wat.SLEEP, name="sleeper")
    with pytest.raises(wasmos.Deadlock, match="'sleeper' is receiving"):
        kernel.wait(task)


def test_timeout_of_wait(kernel: wasmos.Kernel) -> None:
    task = spawn(kernel, wat.SPIN)
    with pytest.raises(TimeoutError):
        kernel.wait(task, timeout=0.01)
    assert task.exit is None
    assert 0.01 <= kernel.uptime < 0.02


def test_timers_fire_in_order(kernel: wasmos.Kernel) -> None:
    fired: list[str] = []
    for name, seconds in (("c", 3), ("a", 1), ("b", 1), ("z", 0)):
        kernel.call_later(seconds, partial(fired.append, name))
    kernel.call_later(2, lambda: fired.append("never")).cancel()
    kernel.run(lambda: len(fired) == 4)
    assert fired == ["z", "a", "b", "c"]
    assert kernel.uptime == 3
