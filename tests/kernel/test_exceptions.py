"""Guests that throw: what is thrown stays in the guest, and what it costs is bounded."""

from __future__ import annotations

import pytest

import wasmos
from tests.support import wat
from wasmos import abi

BOTH_CLOCKS = True
FIELDS = """(tag $tag (param i32)) (tag $linked (param exnref i64 i64 i64 i64))
    (global $last (mut exnref) (ref.null exn))
    (func $deep (param $n i32)
        (if (i32.eqz (local.get $n)) (then (throw $tag #42)))
        (call $deep (i32.sub (local.get $n) #1)))"""
CATCH = "(block $caught (result i32) (try_table (result i32) (catch $tag $caught) {} #0))"
# Each one refers to the one before.
HOARD = """(loop $more
    (global.set $last (block $caught (result exnref)
        (try_table (catch_all_ref $caught)
            (throw $linked (global.get $last)
                (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)))
        (unreachable)))
    (br $more)) #0"""


def throws(body: str) -> str:
    return wat.program(body, fields=FIELDS)


def test_caught_from_far_below(kernel: wasmos.Kernel) -> None:
    task = kernel.spawn(throws(CATCH.format("(call $deep #1000)")), trusted=True)
    assert kernel.wait(task).code == 42


def test_not_caught(kernel: wasmos.Kernel) -> None:
    task = kernel.spawn(throws("(call $deep #3) #0"), trusted=True)
    ended = kernel.wait(task)
    assert (ended.cause, ended.message, ended.status) == ("trapped", "uncaught exception", 134)
    assert [name for _, name, _, _ in ended.backtrace] == ["deep"] * 4 + [None]


def test_not_caught_where_it_starts(kernel: wasmos.Kernel) -> None:
    """It was running: that isn't as if it couldn't have been started."""
    fields = "(tag $tag) (func $begin (throw $tag)) (start $begin)"
    ended = kernel.wait(kernel.spawn(wat.program("#0", fields=fields), trusted=True))
    assert (ended.cause, ended.message, ended.status) == ("trapped", "uncaught exception", 134)
    assert [name for _, name, _, _ in ended.backtrace] == ["begin"]


def test_not_caught_by_a_service(kernel: wasmos.Kernel) -> None:
    """It ends, as by a trap, and its client hears so."""
    source = wat.passive("(throw $tag #1)", fields="(tag $tag (param i32))")
    service = kernel.spawn(source, service="s", trusted=True)
    with pytest.raises(wasmos.ServiceError) as seen:
        kernel.call("s", abi.Ping(1))
    assert seen.value.code == abi.ErrorCode.ABORTED
    assert kernel.wait(service).message == "uncaught exception"


def test_thrown_across_calls(kernel: wasmos.Kernel, report: wat.Reporter) -> None:
    """What is referred to lives on while its task waits, and other tasks throw meanwhile."""
    body = """(local.set $i #5)
        (loop $more
            (global.set $last (block $caught (result exnref)
                (try_table (catch_all_ref $caught) (throw $tag (local.get $i))) (unreachable)))
            (call $report (local.get $i))
            (call $report (block $again (result i32)
                (try_table (catch $tag $again) (throw_ref (global.get $last))) (unreachable)))
            (local.set $i (i32.sub (local.get $i) #1))
            (br_if $more (local.get $i)))
        #0"""
    tasks = [kernel.spawn(throws(body), allow=["report"], trusted=True) for _ in range(3)]
    assert [kernel.wait(task).code for task in tasks] == [0] * 3
    expected = [number for number in (5, 4, 3, 2, 1) for _ in range(2)]
    for task in tasks:
        assert [number for who, number in report.rows if who == task.id] == expected


@pytest.mark.parametrize("pool", [None, 2])
def test_what_is_kept_is_bounded(no_leaks: None, clock: str, pool: int | None) -> None:
    """By the limit on memory, again: in a pool, too."""
    with wasmos.Kernel(virtual_clock=clock == "virtual", pool_tasks=pool) as kernel:
        limits = wasmos.Limits(memory_bytes=1 << 20)
        ended = kernel.wait(kernel.spawn(throws(HOARD), limits=limits, trusted=True))
        assert ended.cause == "trapped"
        assert ended.message.startswith("GC heap out of memory")
        # It is given back.
        ended = kernel.wait(kernel.spawn(throws(CATCH.format("(throw $tag #7)")), trusted=True))
        assert ended.code == 7


def test_throwing_is_preempted(kernel: wasmos.Kernel) -> None:
    body = f"(loop $more (drop {CATCH.format('(throw $tag #1)')}) (br $more)) #0"
    spins = kernel.spawn(throws(body), trusted=True)
    other = kernel.spawn(wat.program("#3"), trusted=True)
    assert kernel.wait(other).code == 3
    assert spins.exit is None


def test_what_nobody_refers_to_is_given_back(kernel: wasmos.Kernel) -> None:
    """Ten times as many bytes of exceptions as it may have at once."""
    body = f"""(local $n i32)
        (loop $more
            (drop {CATCH.format("(throw $tag #1)")})
            (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) #1)) #400000)))
        (i32.shr_u (local.get $n) #10)"""
    limits = wasmos.Limits(memory_bytes=1 << 20)
    task = kernel.spawn(throws(body), limits=limits, trusted=True)
    assert kernel.wait(task).code == 400_000 >> 10


def test_killed_while_it_throws() -> None:
    """Wherever it happens to be."""
    with wasmos.Kernel(virtual_clock=True) as kernel:
        for moment in range(8):
            task = kernel.spawn(throws(HOARD), trusted=True)
            kernel.run(timeout=0.0001 * moment)
            assert task.exit is None
            kernel.kill(task)
            assert kernel.wait(task).cause == "killed"


def test_what_leaves_a_passive_service_doesnt_reach_its_client(kernel: wasmos.Kernel) -> None:
    """The client's own handler, which catches all, sees an error code instead."""
    source = wat.passive("(throw $tag #1)", fields="(tag $tag (param i32))")
    kernel.spawn(source, service="pong", trusted=True)
    body = """(block $caught
        (try_table (catch_all $caught) (return (i32.sub #0 (call $ask @pong #9 #1))))) #99"""
    task = kernel.spawn(wat.program(body), allow=["pong"], trusted=True)
    assert kernel.wait(task).code == -abi.ErrorCode.ABORTED
