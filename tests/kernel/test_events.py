"""The event ring: what happened, in order, bounded."""

from __future__ import annotations

import pytest

import wasmos
from tests.support import wat
from tests.support.wat import M, passive, program, repeat
from wasmos import abi

Row = tuple[str, int, int, int, int]


def rows(kernel: wasmos.Kernel, since: int = 0) -> list[Row]:
    return [(e.kind, e.task, e.peer, e.type, e.code) for e in kernel.events(since)]


@pytest.mark.parametrize("sort", ["active", "passive", "fibre", "python"])
def test_the_life_of_a_client(kernel: wasmos.Kernel, sort: str) -> None:
    """With tracing on, every call and reply; the same whatever the service is made of."""
    if sort == "python":
        kernel.serve(wat.Plus(), name="s")
    else:
        source = {"active": wat.SERVER, "passive": wat.PASSIVE, "fibre": wat.PASSIVE_FIBRE}[sort]
        kernel.spawn(source, service="s", trusted=True)
    kernel.step(1_000_000)
    begun = len(kernel.events())
    kernel.set_trace(True)
    task = kernel.spawn(program("(drop (call $ask @s #9 #1)) #5"), allow=["s"], trusted=True)
    kernel.wait(task)
    assert rows(kernel, begun) == [
        ("spawn", 3, 0, 0, 0),
        ("grant", 3, 0, 0, 1),
        ("lookup", 3, 2, 0, 0),
        ("call", 3, 2, 9, 0),
        ("reply", 2, 3, 10, 0),
        ("exit", 3, 0, 0, 5),
    ]


def test_calls_are_not_recorded_without_tracing(kernel: wasmos.Kernel) -> None:
    kernel.serve(wat.Plus())
    task = kernel.spawn(program("(call $ask @plus #9 #1)"), allow=["plus"], trusted=True)
    kernel.wait(task)
    assert {e.kind for e in kernel.events()} == {"spawn", "register", "grant", "lookup", "exit"}


def test_one_way_messages(kernel: wasmos.Kernel) -> None:
    source = kernel.serve(wat.Plus())
    task = kernel.spawn(wat.SLEEP, allow=["plus"], trusted=True)
    kernel.step(1_000_000)
    kernel.set_trace(True)
    begun = kernel.events()[-1].seq + 1
    kernel.notify(source.id, task.id, abi.TaskDestroyed(1))
    assert rows(kernel, begun) == [("oneway", source.id, task.id, 21, 0)]


def test_everything_the_kernel_refuses(kernel: wasmos.Kernel) -> None:
    body = f"""(drop (call $ask #0 #9 #1)) (drop (call $ask #2 #9 #1)) (drop (call $ask #9 #9 #1))
        (drop (call $call #1 #-1)) (drop (call $recv #99 #{M})) (call $reply #99 #{M})
        (drop (call $lookup #-1)) #0"""
    kernel.wait(kernel.spawn(program(body), trusted=True))
    refused = [(e.peer, e.code) for e in kernel.events() if e.kind == "refused"]
    assert refused == [(0, -11), (2, -11), (9, -12), (1, -15), (99, -11), (99, -11), (0, -15)]


@pytest.mark.parametrize(
    ("source", "cause"),
    [(program("#7"), "returned"), (wat.TRAP, "trapped"), (wat.SPIN, "cpu_limit")],
)
def test_ends_are_events_and_watched(kernel: wasmos.Kernel, source: str, cause: str) -> None:
    ends: list[wasmos.Exit] = []
    kernel.watch(ends.append)
    limits = wasmos.Limits(cpu_seconds=0.001)
    task = kernel.spawn(source, limits=limits, trusted=True)
    ended = kernel.wait(task)
    assert ends == [ended] and ended.cause == cause
    assert [e.task for e in kernel.events() if e.kind == "exit"] == [task.id]
    kernel.unwatch(ends.append)
    kernel.wait(kernel.spawn(source, limits=limits, trusted=True))
    assert len(ends) == 1


def test_names_of_tasks_that_are_gone(kernel: wasmos.Kernel) -> None:
    task = kernel.spawn(program("#0"), name="short", trusted=True)
    kernel.wait(task)
    assert {e.name for e in kernel.events()} == {"short"}
    assert kernel.name_of(task.id) == "short" and kernel.find(task.id) is None


@pytest.mark.parametrize("size", [1, 2, 8, 64])
def test_the_ring_keeps_the_newest(size: int) -> None:
    with wasmos.Kernel(virtual_clock=True, events=size) as kernel:
        task = kernel.spawn(
            program(repeat(100, "(drop (call $ask #0 #9 #1))") + "#0"), trusted=True
        )
        kernel.wait(task)
        seqs = [e.seq for e in kernel.events()]
        assert seqs == list(range(102 - size, 102))
        assert [e.seq for e in kernel.events(100)] == [s for s in seqs if s >= 100]
        assert kernel.events(200) == []
        assert kernel.events()[-1].kind == "exit"


@pytest.mark.parametrize("size", [0, 3, 100])
def test_sizes_that_are_no_power_of_two(size: int) -> None:
    with pytest.raises(ValueError):
        wasmos.Kernel(virtual_clock=True, events=size)


def test_times_are_the_kernels_and_never_go_back(kernel: wasmos.Kernel) -> None:
    kernel.spawn(passive("(call $answer #1)"), service="s", trusted=True)
    body = repeat(50, "(drop (call $ask @s #9 #1)) (drop (call $ask #0 #9 #1))")
    kernel.wait(kernel.spawn(program(body + "#0"), allow=["s"], trusted=True))
    times = [e.time_ns for e in kernel.events()]
    assert times == sorted(times)
    assert times[0] >= kernel.started_ns and times[-1] <= kernel.now_ns
    assert len(set(times)) > 40
