"""What tasks are billed for."""

from __future__ import annotations

import pytest

import wasmos
from tests.support import wat
from tests.support.wat import M, forever, passive, program, repeat
from wasmos import abi
from wasmos.servers.clock import Clock

PING = 12  # bytes of a ping and of its reply


def serve(kernel: wasmos.Kernel, sort: str) -> wasmos.Task:
    if sort == "python":
        return kernel.serve(wat.Plus(), name="s")
    source = {"active": wat.SERVER, "passive": wat.PASSIVE, "fibre": wat.PASSIVE_FIBRE}[sort]
    return kernel.spawn(source, service="s", trusted=True)


@pytest.mark.parametrize("sort", ["active", "passive", "fibre", "python"])
def test_messages_and_bytes(kernel: wasmos.Kernel, sort: str) -> None:
    """Counted alike for every sort of service, on both sides."""
    service = serve(kernel, sort)
    body = repeat(7, "(drop (call $ask @s #9 #1))") + wat.RECEIVE + "#0"
    task = kernel.spawn(program(body), allow=["s"], trusted=True)
    while kernel.step(1_000_000):
        pass
    client, server = task.account(), service.account()
    assert (client["calls"], client["served"], client["oneways"]) == (7, 0, 0)
    assert (server["calls"], server["served"], server["oneways"]) == (0, 7, 0)
    assert (client["bytes_sent"], client["bytes_received"]) == (7 * PING, 7 * PING)
    assert (server["bytes_sent"], server["bytes_received"]) == (7 * PING, 7 * PING)


def test_what_the_core_answers_is_counted_and_traced(kernel: wasmos.Kernel) -> None:
    """As if its service had."""
    service = kernel.serve(Clock())
    ask = f"(drop (call $ask @clock #{abi.ClockGet.TYPE} #{{}}))"
    body = ask.format(0) + ask.format(99) + wat.RECEIVE + "#0"
    task = kernel.spawn(program(body), allow=["clock"], trusted=True)
    kernel.set_trace(True)
    wat.settle(kernel)
    client, server = task.account(), service.account()
    assert (client["calls"], server["served"]) == (2, 2)
    sent, received = 2 * abi.ClockGet.SIZE, abi.ClockGetReply.SIZE + 8  # one is an error
    assert (client["bytes_sent"], client["bytes_received"]) == (sent, received)
    assert (server["bytes_sent"], server["bytes_received"]) == (received, sent)
    traced = [(event.kind, event.task) for event in kernel.events() if event.type != 0]
    assert traced[-4:] == [("call", task.id), ("reply", service.id)] * 2


def test_error_answers_are_a_header(kernel: wasmos.Kernel) -> None:
    kernel.spawn(passive(f"(call $put #{wat.INBOX} #-7 #0)"), service="s", trusted=True)
    body = "(drop (call $ask @s #9 #1))" + wat.RECEIVE + "#0"
    task = kernel.spawn(program(body), allow=["s"], trusted=True)
    kernel.step(1_000_000)
    assert (task.account()["bytes_sent"], task.account()["bytes_received"]) == (PING, 8)


def test_refused_calls_are_not_counted(kernel: wasmos.Kernel) -> None:
    service = serve(kernel, "active")
    body = f"""(drop (call $ask #{service.id} #9 #1)) (drop (call $ask #0 #9 #1))
        (drop (call $call #{service.id} #-1)) {wat.RECEIVE} #0"""
    task = kernel.spawn(program(body), trusted=True)
    kernel.step(1_000_000)
    account = task.account()
    assert (account["calls"], account["bytes_sent"]) == (0, 0)
    assert service.account()["served"] == 0


def test_one_way_messages(kernel: wasmos.Kernel) -> None:
    source = kernel.serve(wat.Plus())
    task = kernel.spawn(wat.SLEEP, allow=["plus"], trusted=True)
    kernel.notify(source.id, task.id, abi.TaskDestroyed(1))
    assert source.account()["oneways"] == 1
    assert source.account()["bytes_sent"] == task.account()["bytes_received"] == 12
    assert task.account()["mailbox"] == 1


def test_one_way_messages_to_who_calls_somebody_else(kernel: wasmos.Kernel) -> None:
    source = kernel.serve(wat.Plus())
    kernel.spawn(program(forever(wat.RECEIVE)), service="silent", trusted=True)
    body = "(call $ask @silent #9 #1)"
    task = kernel.spawn(program(body), allow=["silent", "plus"], trusted=True)
    wat.settle(kernel)
    assert task.account()["state"] == "awaiting reply"
    kernel.notify(source.id, task.id, abi.TaskDestroyed(1))
    assert source.account()["oneways"] == task.account()["mailbox"] == 1


def test_time_is_instructions(kernel: wasmos.Kernel) -> None:
    """Twice the rounds, twice the time, exactly reproducible."""
    used = [
        kernel.wait(kernel.spawn(program(repeat(n, "") + "#0"), trusted=True)).cpu_seconds
        for n in (10_000, 20_000, 10_000)
    ]
    assert used[0] == used[2]
    assert 1.9 < used[1] / used[0] < 2.1


def test_time_is_billed_to_who_used_it(kernel: wasmos.Kernel) -> None:
    """The one who computes pays, the one who waits doesn't; together they are the clock."""
    busy = kernel.spawn(wat.SPIN, trusted=True)
    idle = kernel.spawn(wat.SLEEP, trusted=True)
    kernel.run(timeout=0.1)
    spent = {task.id: task.account()["cpu_ns"] for task in (busy, idle)}
    assert spent[idle.id] < 1_000
    assert sum(spent.values()) == kernel.now_ns


@pytest.mark.parametrize("sort", ["active", "python"])
def test_a_servers_time_is_not_its_clients(kernel: wasmos.Kernel, sort: str) -> None:
    """An active server computes on its own account."""
    if sort == "python":
        kernel.serve(wat.Plus(), name="s")
    else:
        slow = forever(wat.RECEIVE + repeat(50_000, "") + wat.answer("#1"))
        kernel.spawn(program(slow), service="s", trusted=True)
    task = kernel.spawn(program("(call $ask @s #9 #1)"), allow=["s"], trusted=True)
    assert kernel.wait(task).cpu_seconds < 0.00001


@pytest.mark.parametrize("fibre", [False, True])
def test_a_passive_services_time_is_its_clients(kernel: wasmos.Kernel, fibre: bool) -> None:
    source = passive(repeat(50_000, "") + "(call $answer #1)", fibre=fibre)
    kernel.spawn(source, service="s", trusted=True)
    task = kernel.spawn(program("(call $ask @s #9 #1)"), allow=["s"], trusted=True)
    assert kernel.wait(task).cpu_seconds > 0.0001


def test_states(kernel: wasmos.Kernel) -> None:
    service = kernel.serve(wat.Plus())
    sleeper = kernel.spawn(wat.SLEEP, trusted=True, name="sleeper")
    closed = kernel.spawn(
        program(f"(call $recv #{sleeper.id} #{M})"), service="closed", trusted=True
    )
    sender = kernel.spawn(program("(call $ask @closed #9 #1)"), allow=["closed"], trusted=True)
    looking = kernel.spawn(program("@nobody"), allow=["nobody"], trusted=True)
    passive_one = kernel.spawn(wat.PASSIVE, trusted=True)
    client = kernel.client()
    kernel.step(1_000_000)
    kernel.step(1_000_000)
    states = {task.id: (task.account()["state"], task.account()["peer"]) for task in kernel.tasks}
    assert states == {
        service.id: ("idle", None),
        sleeper.id: ("receiving", 0),
        closed.id: ("receiving", sleeper.id),
        sender.id: ("sending", closed.id),
        looking.id: ("looking up", None),
        passive_one.id: ("idle", None),
        client.id: ("idle", None),
    }
    assert sender.predicament() == f"task {sender.id} 'module' is sending {closed.id} 'module'"
    assert [task.id for task in kernel.tasks if task.blocked] == [
        sleeper.id, closed.id, sender.id, looking.id,
    ]  # fmt: skip


def test_the_account_of_a_task_that_is_gone(kernel: wasmos.Kernel) -> None:
    task = kernel.spawn(program("#0"), trusted=True)
    kernel.wait(task)
    with pytest.raises(LookupError):
        task.account()
