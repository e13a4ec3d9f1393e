"""Wasm exceptions: they end inside their task, and what they hold has a limit."""

from __future__ import annotations

import pytest

import wasmos
from tests.support.wat import program
from wasmos import Limits, abi

MEGABYTE = 1 << 20
# A chain of exceptions, each with the one before it: nothing of it can be collected.
HOARD = """(local $all exnref)
  (loop $more
    (block $caught (result exnref)
      (try_table (catch_all_ref $caught) (throw $link (i64.const 1) (local.get $all)))
      (unreachable))
    (local.set $all)
    (br $more))
  #0"""
LINK = "(tag $link (param i64 exnref))"
PASSIVE = """(module (memory (export "memory") 1) (tag $e (param i32))
  (func (export "ipc_buffer") (result i32) (i32.const 1024))
  (func (export "ipc_handle") (param i32)
    (i32.store (i32.const 1024) (i32.const 10))
    (i32.store (i32.const 1032)
      (block $caught (result i32)
        (try_table (result i32) (catch $e $caught) (throw $e (i32.const 7)))))
    %s))"""


def hoard(kernel: wasmos.Kernel, limits: Limits) -> wasmos.Exit:
    source = program(HOARD, fields=LINK)
    return kernel.wait(kernel.spawn(source, limits=limits, trusted=True))


def test_uncaught_ends_the_task_as_a_trap_does(kernel: wasmos.Kernel) -> None:
    source = program("(call $f) #0", fields="(tag $e) (func $f (throw $e))")
    exit = kernel.wait(kernel.spawn(source, trusted=True))
    assert (exit.cause, exit.message, exit.status) == ("trapped", "uncaught exception", 134)
    assert [frame[1] for frame in exit.backtrace][:1] == ["f"]


def test_a_trap_is_no_exception(kernel: wasmos.Kernel) -> None:
    source = program("(block $c (try_table (catch_all $c) (unreachable))) #0")
    exit = kernel.wait(kernel.spawn(source, trusted=True))
    assert exit.message == "unreachable executed"


def test_what_they_hold_is_bounded_as_memory_is(kernel: wasmos.Kernel) -> None:
    exit = hoard(kernel, Limits(memory_bytes=4 * MEGABYTE))
    assert exit.cause == "trapped"
    assert exit.message.startswith("GC heap out of memory")


def test_what_nobody_holds_is_given_back(kernel: wasmos.Kernel) -> None:
    """As many bytes of exceptions as would exceed the limit ten times over."""
    body = """(local $n i32)
      (loop $more
        (block $caught (try_table (catch_all $caught) (throw $link (i64.const 1) (ref.null exn))))
        (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) #1)) #300000)))
      (i32.shr_u (local.get $n) #10)"""
    source = program(body, fields=LINK)
    exit = kernel.wait(kernel.spawn(source, limits=Limits(memory_bytes=MEGABYTE), trusted=True))
    assert exit.code == 300_000 >> 10


def test_throwing_for_ever_is_preempted() -> None:
    """Also where time is counted and not measured."""
    body = """(loop $more
        (block $caught (try_table (catch_all $caught) (throw $link (i64.const 1) (ref.null exn))))
        (br $more)) #0"""
    with wasmos.Kernel(virtual_clock=True) as kernel:
        limits = Limits(cpu_seconds=0.01)
        task = kernel.spawn(program(body, fields=LINK), limits=limits, trusted=True)
        assert kernel.wait(task).cause == "cpu_limit"


def test_killed_with_exceptions_in_its_hands() -> None:
    """Wherever it happens to be."""
    with wasmos.Kernel(virtual_clock=True) as kernel:
        for moment in range(8):
            task = kernel.spawn(program(HOARD, fields=LINK), trusted=True)
            kernel.run(timeout=0.0001 * moment)
            assert task.exit is None
            kernel.kill(task)
            assert kernel.wait(task).cause == "killed"


def test_a_passive_service_catches_its_own(kernel: wasmos.Kernel) -> None:
    kernel.spawn(PASSIVE % "", service="s", trusted=True)
    for _ in range(3):
        assert kernel.call("s", abi.Ping(1)) == abi.PingReply(7)


def test_one_that_leaves_a_passive_service_doesnt_reach_its_client(kernel: wasmos.Kernel) -> None:
    """The client's own handler, which catches all, sees an error code instead."""
    kernel.spawn(PASSIVE % "(throw $e (i32.const 1))", service="pong", trusted=True)
    body = """(block $caught
        (try_table (catch_all $caught)
          (return (i32.sub #0 (call $ask @pong #9 #1))))) #99"""
    exit = kernel.wait(kernel.spawn(program(body), allow=["pong"], trusted=True))
    assert exit.code == -abi.ErrorCode.ABORTED
    with pytest.raises(LookupError):
        kernel.call("pong", abi.Ping(1))


def test_in_a_pool() -> None:
    with wasmos.Kernel(pool_tasks=4) as kernel:
        for _ in range(9):
            exit = hoard(kernel, Limits())
            assert exit.message.startswith("GC heap out of memory")
