"""Passive services: called in place or on a fibre, by guests and by Python, deep and nested."""

from __future__ import annotations

import itertools

import pytest

import wasmos
from tests.support import wat
from tests.support.wat import M, passive, program, repeat, settle
from wasmos import abi

BOTH_CLOCKS = True

ABORTED, INVALID_TASK, DEAD_LOCK = -21, -12, -24
BOTH = pytest.mark.parametrize("fibre", [False, True], ids=["in place", "fibre"])
DEEP = "(func $deep (result i32) (i32.add (call $deep) #1))"
# Calls itself `$n` times, then does what `$then` does.
DIVE = """(func $dive (param $n i32) (result i32)
  (if (result i32) (local.get $n)
    (then (i32.add (call $dive (i32.sub (local.get $n) #1)) #0))
    (else (call $then))))"""


def spawn(kernel: wasmos.Kernel, source: str, **options: object) -> wasmos.Task:
    return kernel.spawn(source, trusted=True, **({"allow": ["*"]} | options))  # type: ignore[arg-type]


def error_of(kernel: wasmos.Kernel, name: str = "s") -> int:
    with pytest.raises(wasmos.ServiceError) as seen:
        kernel.call(name, abi.Ping(1))
    return seen.value.code


# --- calls ------------------------------------------------------------------------------------


@BOTH
def test_it_keeps_its_state(kernel: wasmos.Kernel, fibre: bool) -> None:
    body = """(global.set $sum (i32.add (global.get $sum) (local.get $in)))
        (call $answer (global.get $sum))"""
    source = passive(body, fibre=fibre, fields="(global $sum (mut i32) #0)")
    task = spawn(kernel, source, service="s")
    assert [kernel.call("s", abi.Ping(n)).value for n in (1, 10, 100)] == [1, 11, 111]
    client = program(repeat(5, "(drop (call $ask @s #9 #1000))") + "(call $value)")
    assert kernel.wait(spawn(kernel, client)).code == 5111
    assert task.account()["served"] == 8
    assert task.account()["state"] == "idle"


@BOTH
def test_an_untouched_message_is_no_answer_of_a_kind(kernel: wasmos.Kernel, fibre: bool) -> None:
    """A handler that does nothing answers with the request itself: its type, stamped anew."""
    service = spawn(kernel, passive("", fibre=fibre), service="s")
    body = f"(drop (call $ask @s #9 #5)) (i32.add (i32.load #{M}) (i32.mul {wat.SRC} #100))"
    assert kernel.wait(spawn(kernel, program(body))).code == 9 + 100 * service.id


def test_a_handler_that_calls_others_answers_from_its_own_buffer(kernel: wasmos.Kernel) -> None:
    """Not from the buffer of its last call."""
    kernel.serve(wat.Plus())
    body = """(if (call $ask @plus #9 #7) (then (unreachable)))
        (call $answer (i32.add (local.get $in) #100))"""
    spawn(kernel, passive(body, fibre=True), service="s")
    for number in (1, 2, 3):
        assert kernel.call("s", abi.Ping(number)) == abi.PingReply(number + 100)


def test_passive_services_in_a_row(kernel: wasmos.Kernel) -> None:
    """Each adds 1 and asks the next; the last one is called in place."""
    spawn(kernel, wat.PASSIVE, service="chain_z")
    names = [f"chain_{letter}" for letter in "abcdefgh"] + ["chain_z"]
    for name, following in itertools.pairwise(names):
        body = f"""(drop (call $ask @{following} #9 (local.get $in)))
            (call $answer (i32.add (call $value) #1))"""
        spawn(kernel, passive(body, fibre=True), service=name)
    assert kernel.call(names[0], abi.Ping(0)) == abi.PingReply(9)
    client = program(f"(drop (call $ask @{names[0]} #9 #10)) (call $value)")
    assert kernel.wait(spawn(kernel, client)).code == 19


@pytest.mark.parametrize("length", [70, 200])
def test_a_row_longer_than_calls_are_handed_over(kernel: wasmos.Kernel, length: int) -> None:
    spawn(kernel, wat.PASSIVE, service="last")
    last = kernel.services["last"]
    for _ in range(length):
        body = f"""(drop (call $ask #{last} #9 (local.get $in)))
            (call $answer (i32.add (call $value) #1))"""
        last = spawn(kernel, passive(body, fibre=True)).id
    kernel.register(last, "first")
    spawn(kernel, wat.SPIN)
    client = program("(drop (call $ask @first #9 #0)) (call $value)")
    assert kernel.wait(spawn(kernel, client)).code == length + 1


def test_a_circle_of_passive_services(kernel: wasmos.Kernel) -> None:
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        body = f"""(local.set $i (call $ask @{other} #9 #0))
            (call $answer (select (local.get $i) (call $value) (local.get $i)))"""
        spawn(kernel, passive(body, fibre=True), service=name)
    assert kernel.call("a", abi.Ping(0)) == abi.PingReply(DEAD_LOCK)


def test_a_handler_that_calls_its_caller(kernel: wasmos.Kernel) -> None:
    body = f"(call $answer (call $ask (i32.load offset=4 #{wat.INBOX}) #9 #0))"
    spawn(kernel, passive(body, fibre=True), service="s")
    client = program("(drop (call $ask @s #9 #0)) (call $value)")
    assert kernel.wait(spawn(kernel, client, service="client")).code == DEAD_LOCK


def test_a_handler_that_answers_before_it_returns(kernel: wasmos.Kernel) -> None:
    """By `ipc_reply`: that is the answer, and what its buffer holds at the end is nobody's."""
    body = """(local.set $i (i32.load offset=4 (local.get $m)))
        (call $answer #5) (call $reply (local.get $i) (local.get $m)) (call $answer #6)"""
    spawn(kernel, passive(body, fibre=True), service="s")
    client = program(
        repeat(
            5, "(drop (call $ask @s #9 #0)) (local.set $j (i32.add (local.get $j) (call $value)))"
        )
        + "(local.get $j)"
    )
    assert kernel.wait(spawn(kernel, client)).code == 25


def test_callers_queue_for_a_handler_that_waits(
    kernel: wasmos.Kernel, report: wat.Reporter, clock: str
) -> None:
    """One after the other, in the order they came, each with its own answer."""
    body = "(call $report (local.get $in)) (call $answer (i32.add (local.get $in) #100))"
    spawn(kernel, passive(body, fibre=True), service="s")
    clients = [
        spawn(kernel, program(f"(drop (call $ask @s #9 #{n})) (call $value)")) for n in range(10)
    ]
    assert [kernel.wait(client).code for client in clients] == [100 + n for n in range(10)]
    # By the machine's clock one can be preempted on its way to the service.
    numbers = report.numbers if clock == "virtual" else sorted(report.numbers)
    assert numbers == list(range(10))


def test_clients_that_end_while_they_queue(kernel: wasmos.Kernel) -> None:
    """The one being served, and one that waits: the others are served all the same."""

    class Gate(wasmos.Service):
        name = "gate"

        async def ping(self, caller: wasmos.Caller, value: int) -> int:
            await self.kernel.sleep(0.01)
            return value

    kernel.serve(Gate())
    body = "(drop (call $ask @gate #9 #0)) (call $answer (local.get $in))"
    spawn(kernel, passive(body, fibre=True), service="s")
    clients = [
        spawn(kernel, program(f"(drop (call $ask @s #9 #{n})) (call $value)")) for n in range(4)
    ]
    kernel.run(lambda: False, timeout=0.005)
    clients[0].kill()
    clients[2].kill()
    assert [kernel.wait(clients[n]).code for n in (1, 3)] == [1, 3]


# --- traps ------------------------------------------------------------------------------------


@BOTH
def test_a_trap_ends_the_service_not_the_caller(kernel: wasmos.Kernel, fibre: bool) -> None:
    service = spawn(kernel, passive("unreachable", fibre=fibre), service="s", name="bad")
    settle(kernel)
    body = """(local.set $i (call $ask @s #9 #41))
        (if (i32.ne (call $value) #41) (then (return #1)))
        (i32.add (i32.mul (local.get $i) #100) (call $ask #2 #9 #0))"""
    assert service.id == 2
    assert kernel.wait(spawn(kernel, program(body))).code == ABORTED * 100 + INVALID_TASK
    assert service.exit is not None
    assert "unreachable" in str(service.exit) and "'bad'" in str(service.exit)
    assert kernel.services == {}


@BOTH
def test_a_trap_seen_from_python(kernel: wasmos.Kernel, fibre: bool) -> None:
    spawn(kernel, passive("(drop (i32.load #65536))", fibre=fibre), service="s")
    assert error_of(kernel) == ABORTED
    settle(kernel)
    with pytest.raises(LookupError):
        kernel.call("s", abi.Ping(1))
    spawn(kernel, wat.PASSIVE, service="s")
    assert kernel.call("s", abi.Ping(1)) == abi.PingReply(2)


@BOTH
@pytest.mark.parametrize("where", ["start", "_initialize"])
def test_a_trap_before_it_serves(kernel: wasmos.Kernel, fibre: bool, where: str) -> None:
    """Spawning works, and how the task ended tells what happened."""
    fields = {
        "start": "(func $s unreachable) (start $s)",
        "_initialize": '(func (export "_initialize") unreachable)',
    }[where]
    task = spawn(kernel, passive("", fibre=fibre, fields=fields), service="s")
    ended = kernel.wait(task)
    assert ended.cause == "trapped" and "unreachable" in ended.message
    assert kernel.services == {}


@BOTH
def test_callers_of_one_that_traps_at_its_start(kernel: wasmos.Kernel, fibre: bool) -> None:
    source = passive("", fibre=fibre, fields="(func $s unreachable) (start $s)")
    task = spawn(kernel, source, service="s")
    client = spawn(kernel, program(f"(call $ask #{task.id} #9 #0)"), priority=15)
    assert kernel.wait(client).code in (ABORTED, INVALID_TASK)


# --- stacks -----------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("stack_kib", [64, 512, 4096])
def test_endless_recursion_on_top_of_a_deep_client(fibre: bool, stack_kib: int) -> None:
    """The client has used up its own stack but for a rest; the service still has all of its own,
    runs out of it, and nothing but the service ends."""
    frames = stack_kib * 1024 // 64
    with wasmos.Kernel(virtual_clock=True, stack_bytes=stack_kib << 10) as kernel:
        spawn(kernel, passive("(drop (call $deep))", fibre=fibre, fields=DEEP), service="s")
        then = "(func $then (result i32) (call $ask @s #9 #1))"
        body = f"""(local.set $i #{frames})
            (local.set $j (call $dive (local.get $i))) (local.get $j)"""
        outcomes = set()
        for depth in range(0, frames, frames // 16):
            source = program(body.replace(f"#{frames}", f"#{depth}"), fields=DIVE + then)
            if "s" not in kernel.services:
                spawn(kernel, passive("(drop (call $deep))", fibre=fibre, fields=DEEP), service="s")
            client = spawn(kernel, source)
            ended = kernel.wait(client)
            outcomes.add((ended.cause, ended.code))
            if ended.cause == "trapped":
                assert "stack overflow" in ended.message
        assert ("returned", ABORTED) in outcomes
        assert outcomes <= {("returned", ABORTED), ("trapped", None)}


@BOTH
def test_a_service_has_a_whole_stack_under_a_deep_client(fibre: bool) -> None:
    """As deep as it may go when Python calls it, it may go under a guest at its own limit."""
    with wasmos.Kernel(virtual_clock=True) as kernel:
        then = "(func $then (result i32) #7)"
        source = passive("(call $answer (call $dive (local.get $in)))", fibre=fibre,
                         fields=DIVE + then)  # fmt: skip
        deepest = 0
        for depth in range(1000, 40_000, 1000):
            if "s" not in kernel.services:
                spawn(kernel, source, service="s")
            try:
                kernel.call("s", abi.Ping(depth))
            except wasmos.ServiceError:
                break
            deepest = depth
        assert deepest >= 1000
        settle(kernel)
        spawn(kernel, source, service="s")
        ask = f"(func $then (result i32) (drop (call $ask @s #9 #{deepest})) (call $value))"
        client = program(f"(call $dive #{deepest // 2})", fields=DIVE + ask)
        assert kernel.wait(spawn(kernel, client)).code == 7


def test_recursion_through_services(kernel: wasmos.Kernel) -> None:
    """Guest, fibre, in place: each level deep in its own stack."""
    spawn(kernel, passive("(drop (call $deep))", fields=DEEP), service="bottom")
    middle = "(func $then (result i32) (call $ask @bottom #9 #1))"
    source = passive("(call $answer (call $dive #4000))", fibre=True, fields=DIVE + middle)
    spawn(kernel, source, service="middle")
    top = "(func $then (result i32) (drop (call $ask @middle #9 #1)) (call $value))"
    client = spawn(kernel, program("(call $dive #4000)", fields=DIVE + top))
    assert kernel.wait(client).code == ABORTED
    assert set(kernel.services) == {"middle"}


def test_endless_recursion_called_from_deep_python(kernel: wasmos.Kernel) -> None:
    """On the thread's own stack, below many Python frames."""
    source = passive("(drop (call $deep))", fields=DEEP)

    def call(depth: int) -> int:
        if depth:
            return call(depth - 1)
        return error_of(kernel)

    for depth in (0, 500):
        settle(kernel)
        spawn(kernel, source, service="s")
        assert call(depth) == ABORTED


def test_python_services_below_passive_ones(kernel: wasmos.Kernel) -> None:
    """A method runs on the thread's stack however deep the guests above it are: Python's own
    recursion limit is what it meets."""

    class Deep(wasmos.Service):
        name = "deep"

        def ping(self, caller: wasmos.Caller, value: int) -> int:
            return self.down(value)

        def down(self, value: int) -> int:
            return self.down(value - 1) + 1 if value else 0

    kernel.serve(Deep())
    then = "(func $then (result i32) (drop (call $ask @deep #9 #500)) (call $value))"
    source = passive("(call $answer (call $dive #5000))", fibre=True, fields=DIVE + then)
    spawn(kernel, source, service="s")
    assert kernel.call("s", abi.Ping(1)) == abi.PingReply(500)
