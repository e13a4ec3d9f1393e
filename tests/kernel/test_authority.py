"""Authority: nothing by default, nothing by guessing, and gone the moment it is revoked."""

from __future__ import annotations

import pytest

import wasmos
from tests.support import wat
from tests.support.wat import M, forever, passive, program, repeat, settle
from wasmos import abi

BOTH_CLOCKS = True

NOT_ALLOWED = -8
SORTS = {"active": wat.SERVER, "passive": wat.PASSIVE, "fibre": wat.PASSIVE_FIBRE}


class Sink(wasmos.Service):
    """Notes everything that reaches it."""

    name = "sink"

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def ping(self, caller: wasmos.Caller, value: int) -> int:
        self.seen.append((caller.id, value))
        return value

    def task_destroyed(self, caller: wasmos.Caller, task: int) -> None:
        self.seen.append((caller.id, task))


def services(kernel: wasmos.Kernel) -> Sink:
    """One service of each sort."""
    sink = Sink()
    kernel.serve(sink)
    for name, source in SORTS.items():
        kernel.spawn(source, service=name, trusted=True)
    settle(kernel)
    return sink


def denials(kernel: wasmos.Kernel) -> list[tuple[int, int]]:
    return [(event.task, event.peer) for event in kernel.events() if event.kind == "denial"]


def test_a_lookup_that_a_rule_hides(kernel: wasmos.Kernel) -> None:
    services(kernel)
    task = kernel.spawn(program("(drop @plus) @nobody"), allow=["*"], deny=["plus"], trusted=True)
    kernel.grant(task, "sink")
    kernel.deny(task, "nobody.ping")  # not all there is of it
    deny = task.grants[0]
    kernel.run(timeout=1)
    assert task.denied == {"plus"}
    assert task.denied_by == {"plus": deny}


# --- by default -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SORTS, "sink", "nobody"])
def test_lookup_is_denied_by_default(kernel: wasmos.Kernel, name: str) -> None:
    """Also of a name that nobody has: a denial doesn't tell."""
    services(kernel)
    task = kernel.spawn(program(f"@{name}"), trusted=True)
    assert kernel.wait(task).code == NOT_ALLOWED
    assert task.denied == {name}
    assert denials(kernel) == [(task.id, 0)]


def test_calls_to_every_id_are_denied_by_default(kernel: wasmos.Kernel) -> None:
    """A guest may guess every integer there is and gain nothing: no message arrives, no service
    notices, no answer but an error comes back."""
    sink = services(kernel)
    before = {task.id: task.account() for task in kernel.tasks}
    body = "".join(
        f"""(call $put #{M} #9 #666) (local.set $i (call $call #{id} #{M}))
        (if (i32.ge_s (local.get $i) #0) (then (return #{1000 + id})))
        (call $put #{M} #9 #666) (call $reply #{id} #{M})
        (if (i32.ne (i32.load #{M}) #9) (then (return #{2000 + id})))"""
        for id in range(-5, 201)
    )
    task = kernel.spawn(program(body + "#0"), trusted=True)
    assert kernel.wait(task).code == 0
    assert sink.seen == []
    assert {other.id: other.account() for other in kernel.tasks} == before
    # A call and a one-way message to each of the four.
    assert sorted(denials(kernel)) == sorted([(task.id, id) for id in before] * 2)


def test_kernels_clients_are_no_servers(kernel: wasmos.Kernel) -> None:
    client = kernel.client()
    task = kernel.spawn(program(f"(call $ask #{client.id} #9 #1)"), allow=["*"], trusted=True)
    assert kernel.wait(task).code == -9
    assert client.receive() is None


def test_a_client_of_python_has_what_it_was_given(kernel: wasmos.Kernel) -> None:
    kernel.serve(wat.Plus())
    client = kernel.client("poor", allow=[])
    with pytest.raises(wasmos.CapabilityDenied):
        client.call("plus", abi.Ping(1))
    kernel.grant(client, "plus")
    assert client.call("plus", abi.Ping(1)) == abi.PingReply(2)


# --- what a capability gives ------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SORTS, "sink"])
def test_a_capability_is_for_one_service(kernel: wasmos.Kernel, name: str) -> None:
    services(kernel)
    others = [other for other in [*SORTS, "sink"] if other != name]
    ids = kernel.services
    body = f"(if (call $ask @{name} #9 #1) (then (return #1)))" + "".join(
        f"""(if (i32.ne @{other} #-8) (then (return #2)))
        (if (i32.ne (call $ask #{ids[other]} #9 #1) #-8) (then (return #3)))"""
        for other in others
    )
    task = kernel.spawn(program(body + "#0"), allow=[name], trusted=True)
    assert kernel.wait(task).code == 0
    assert task.denied == set(others)


def test_a_capability_outlives_the_service(kernel: wasmos.Kernel) -> None:
    """It is for the name: a service that was restarted is reached with it."""
    first = kernel.serve(Sink())
    body = repeat(2, "(drop @go) (if (call $ask @sink #9 #1) (then (return #1)))")
    task = kernel.spawn(program(body + "#0"), allow=["sink", "go"], trusted=True)
    settle(kernel)
    first.kill()
    second = Sink()
    kernel.serve(second)
    kernel.serve(wat.Plus(), name="go")
    assert kernel.wait(task).code == 0
    assert [value for _, value in second.seen] == [1, 1]


def test_a_task_may_be_several_services(kernel: wasmos.Kernel) -> None:
    server = kernel.spawn(wat.SERVER, service="one", trusted=True)
    kernel.register(server, "two")
    for name in ("one", "two"):
        client = kernel.spawn(program(f"(call $ask @{name} #9 #1)"), allow=[name], trusted=True)
        assert kernel.wait(client).code == 0


def test_many_services_and_many_capabilities(kernel: wasmos.Kernel) -> None:
    """Across the words of the bit set: each opens exactly its own door."""
    tasks = {n: kernel.spawn(wat.PASSIVE, service=f"s{n}", trusted=True) for n in range(130)}
    for n in (0, 1, 62, 63, 64, 65, 127, 128, 129):
        body = "".join(
            f"(if (i32.eqz (call $ask #{task.id} #9 #1)) (then"
            " (local.set $j (i32.add (local.get $j) #1))))"
            for task in tasks.values()
        )
        client = kernel.spawn(
            program(f"{body} (if (call $ask #{tasks[n].id} #9 #1) (then (return #-1)))"
                    "(local.get $j)"),
            allow=[f"s{n}"], trusted=True,
        )  # fmt: skip
        assert kernel.wait(client).code == 1


@pytest.mark.parametrize("name", ["", "x" * 64, "ü" * 32])
def test_names_that_are_none(kernel: wasmos.Kernel, name: str) -> None:
    with pytest.raises(wasmos.UsageError):
        kernel.spawn(wat.SLEEP, allow=[name], trusted=True)
    with pytest.raises(wasmos.UsageError):
        kernel.spawn(wat.SLEEP, service=name, trusted=True)
    assert kernel.tasks == []


def test_a_taken_name_is_refused(kernel: wasmos.Kernel) -> None:
    kernel.serve(Sink())
    with pytest.raises(wasmos.ServiceError) as seen:
        kernel.spawn(wat.SERVER, service="sink", trusted=True)
    assert seen.value.code == -3
    assert list(kernel.services) == ["sink"] and kernel.live == 1


# --- revoking ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SORTS, "sink"])
def test_revoking_counts_at_once(kernel: wasmos.Kernel, report: wat.Reporter, name: str) -> None:
    """Between two calls: the id that was looked up is worth nothing any more."""
    services(kernel)
    body = f"(local.set $j @{name})" + repeat(
        4, "(call $report (call $ask (local.get $j) #9 #1)) (drop @gate)"
    )
    task = kernel.spawn(program(body + "#0"), allow=[name, "report", "gate"], trusted=True)
    settle(kernel)
    kernel.revoke(task, name)
    kernel.serve(wat.Plus(), name="gate")
    assert kernel.wait(task).code == 0
    assert report.numbers == [0, NOT_ALLOWED, NOT_ALLOWED, NOT_ALLOWED]


def test_revoking_everything(kernel: wasmos.Kernel) -> None:
    sink = services(kernel)
    body = f"(drop (call $recv @gate #{M})) (call $ask #{kernel.services['sink']} #9 #1)"
    gate = kernel.serve(wat.Plus(), name="gate")
    task = kernel.spawn(program(body), allow=["*", "gate"], trusted=True)
    settle(kernel)
    kernel.revoke(task, "*")
    kernel.notify(gate.id, task.id, abi.TaskDestroyed(1))
    assert kernel.wait(task).code == NOT_ALLOWED
    assert sink.seen == []


def test_revoking_one_of_two_keeps_the_other(kernel: wasmos.Kernel) -> None:
    server = kernel.spawn(wat.SERVER, service="one", trusted=True)
    kernel.register(server, "two")
    task = kernel.spawn(program(f"(call $ask #{server.id} #9 #1)"), allow=["one", "two"],
                        trusted=True)  # fmt: skip
    kernel.revoke(task, "one")
    assert kernel.wait(task).code == 0


def test_revoking_while_a_lookup_waits(kernel: wasmos.Kernel) -> None:
    """The lookup was allowed when it began, but its answer isn't any more."""
    task = kernel.spawn(program("@late"), allow=["late"], trusted=True)
    settle(kernel)
    kernel.revoke(task, "late")
    kernel.serve(wat.Plus(), name="late")
    assert kernel.wait(task).code == NOT_ALLOWED


@pytest.mark.parametrize("rule", ["late", "*"])
def test_denying_while_a_lookup_waits(kernel: wasmos.Kernel, rule: str) -> None:
    """It ends at once, and not when there is such a service."""
    task, other = (kernel.spawn(program("@late"), allow=["late"], trusted=True) for _ in range(2))
    settle(kernel)
    kernel.deny(task, "late.ping")  # there is more that it may send
    settle(kernel)
    assert task.exit is None
    kernel.deny(task, rule)
    assert kernel.wait(task).code == NOT_ALLOWED
    late = kernel.serve(wat.Plus(), name="late")
    assert kernel.wait(other).code == late.id


def test_revoking_while_a_call_is_under_way(kernel: wasmos.Kernel) -> None:
    """It ends at once, with its message unchanged, and the next one is refused. What its service
    answers later reaches nobody."""
    server = program(wat.RECEIVE + f"(local.set $i {wat.SRC}) (drop (call $recv @gate #{M}))"
                     f"(call $put #{M} #10 #5) (call $reply (local.get $i) #{M})"
                     + forever(wat.RECEIVE))  # fmt: skip
    gate = kernel.serve(wat.Plus(), name="gate")
    service = kernel.spawn(server, service="s", allow=["gate"], trusted=True)
    body = "(local.set $j @s) (drop (call $ask (local.get $j) #9 #1)) (local.set $i (call $value))"
    task = kernel.spawn(
        program(body + "(i32.add (local.get $i) (call $ask (local.get $j) #9 #1))"),
        allow=["s"], trusted=True,
    )  # fmt: skip
    settle(kernel)
    kernel.revoke(task, "s")
    kernel.notify(gate.id, service.id, abi.TaskDestroyed(0))
    assert kernel.wait(task).code == 1 + NOT_ALLOWED
    settle(kernel)
    assert [e.task for e in kernel.events() if e.kind == "lost"] == [service.id]


def test_granting_while_it_runs(kernel: wasmos.Kernel) -> None:
    services(kernel)
    body = f"""(if (i32.ne @sink #-8) (then (return #1))) (drop (call $recv @gate #{M}))
        (call $ask @sink #9 #1)"""
    gate = kernel.serve(wat.Plus(), name="gate")
    task = kernel.spawn(program(body), allow=["gate"], trusted=True)
    settle(kernel)
    kernel.grant(task, "sink")
    kernel.notify(gate.id, task.id, abi.TaskDestroyed(0))
    assert kernel.wait(task).code == 0


def test_grants_and_revocations_are_events(kernel: wasmos.Kernel) -> None:
    task = kernel.spawn(wat.SLEEP, trusted=True)
    kernel.grant(task, "a")
    kernel.revoke(task, "a")
    kernel.grant(task, "*")
    kernel.revoke(task, "*")
    rows = [(e.task, e.type, e.code) for e in kernel.events() if e.kind == "grant"]
    assert rows == [(task.id, 0, 1), (task.id, 0, 0), (task.id, -1, 1), (task.id, -1, 0)]
    assert task.grants == []


# --- one-way messages -------------------------------------------------------------------------


def test_one_way_messages_need_a_capability(kernel: wasmos.Kernel) -> None:
    sink = services(kernel)
    source = program(f"(call $put #{M} #21 #5) (call $reply #{kernel.services['sink']} #{M}) #0")
    kernel.wait(kernel.spawn(source, trusted=True))
    settle(kernel)
    assert sink.seen == []
    allowed = kernel.spawn(source, allow=["sink"], trusted=True)
    kernel.wait(allowed)
    # The sender may be gone by the time it is read; then nobody handles it.
    settle(kernel)
    assert sink.seen in ([], [(allowed.id, 5)])


@pytest.mark.parametrize("granted", [False, True])
def test_a_service_may_write_to_those_who_may_call_it(kernel: wasmos.Kernel, granted: bool) -> None:
    service = Sink()
    id = kernel.serve(service).id
    task = kernel.spawn(
        program(wat.RECEIVE + "(call $value)"), allow=["sink"] if granted else [], trusted=True
    )
    settle(kernel)
    assert kernel.notify(id, task.id, abi.TaskDestroyed(5))
    settle(kernel)
    assert (task.exit.code if task.exit else None) == (5 if granted else None)
    assert denials(kernel) == ([] if granted else [(id, task.id)])


def test_tasks_without_a_capability_between_them(kernel: wasmos.Kernel) -> None:
    receiver = kernel.spawn(wat.SLEEP, trusted=True)
    settle(kernel)
    source = program(f"(call $put #{M} #9 #5) (call $reply #{receiver.id} #{M}) #0")
    sender = kernel.spawn(source, allow=["other"], trusted=True)
    assert kernel.wait(sender).code == 0
    assert receiver.exit is None
    assert denials(kernel) == [(sender.id, receiver.id)]


@pytest.mark.parametrize(
    ("deny", "arrives"),
    [
        ([], True), (["other"], True), (["victim.echo", "victim.ping(value=..4)"], True),
        (["*"], False), (["victim"], False), (["victim.ping"], False),
        (["other", "victim.ping(value=5)"], False),
    ],
)  # fmt: skip
def test_who_is_denied_a_receiver_may_not_write_to_it(
    kernel: wasmos.Kernel, deny: list[str], arrives: bool
) -> None:
    """Also if the receiver may use the sender, which else is enough for a message to arrive."""
    victim = kernel.spawn(
        program(wat.RECEIVE + "(call $value)"), allow=["friend"], service="victim", trusted=True
    )
    settle(kernel)
    source = program(f"(call $put #{M} #9 #5) (call $reply #{victim.id} #{M}) #0")
    friend = kernel.spawn(source, service="friend", deny=deny, trusted=True)
    assert kernel.wait(friend).code == 0
    settle(kernel)
    assert (victim.exit.code if victim.exit else None) == (5 if arrives else None)
    assert denials(kernel) == ([] if arrives else [(friend.id, victim.id)])


# --- what an unauthorised guest costs ---------------------------------------------------------


def test_looking_up_countless_names_costs_nothing(kernel: wasmos.Kernel) -> None:
    """No table of the kernel grows with the names that a guest makes up."""
    body = repeat(
        5_000,
        f"""(i32.store #{M} (i32.or #0x01010101 (i32.or (i32.shl (i32.and (local.get $i) #63) #1)
            (i32.shl (i32.shr_u (local.get $i) #6) #9)))) (i32.store8 #{M + 3} #0)
        (if (i32.ne (call $lookup #{M}) #-8) (then (return #1)))""",
    )
    task = kernel.spawn(program(body + "#0"), allow=["plus"], trusted=True)
    assert kernel.wait(task).code == 0
    assert len(kernel.names._numbers) < 10
    assert len(task.denied) <= 100


def test_passive_services_hold_nothing_either(kernel: wasmos.Kernel) -> None:
    """A handler acts with its own authority, not with its caller's."""
    sink = services(kernel)
    body = f"(call $answer (call $ask #{kernel.services['sink']} #9 #1))"
    kernel.spawn(passive(body, fibre=True), service="deputy", trusted=True)
    client = kernel.client(allow=["deputy", "sink"])
    assert client.call("deputy", abi.Ping(1)) == abi.PingReply(NOT_ALLOWED)
    assert sink.seen == []
