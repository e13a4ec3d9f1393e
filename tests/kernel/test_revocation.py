"""What ends with a capability: calls that are under way; and what those do who hear of it."""

from __future__ import annotations

from typing import Any

import pytest

import wasmos
from tests.support.services import (
    ABORTED,
    CALLER,
    NOT_ALLOWED,
    Slow,
    Who,
    begin,
    cause,
    heirs,
    ping,
)
from tests.support.wat import RECEIVE, SRC, M, Plus, answer, forever, passive, program, settle
from wasmos import abi

# --- revocation of a call that is under way ------------------------------------------------------


def caught(kernel: wasmos.Kernel, state: str) -> wasmos.Task:
    """A task whose call to `s` waits in this state."""
    task = kernel.spawn(CALLER, allow=["s"], trusted=True)
    kernel.run(timeout=0.001)
    assert task.account()["state"] == state
    return task


def is_refused(kernel: wasmos.Kernel, task: wasmos.Task) -> bool:
    """Its call ends with "not allowed", and its message is as it wrote it."""
    kernel.run(timeout=0.001)
    return task.exit is not None and task.exit.code == NOT_ALLOWED


def test_revoked_while_it_waits_for_an_active_server(kernel: wasmos.Kernel) -> None:
    """In the queue, from the middle: the others stay in theirs."""
    gate = kernel.serve(Plus(), name="gate")
    body = f"(drop (call $recv @gate #{M}))" + forever(RECEIVE + answer("(call $value)"))
    service = kernel.spawn(program(body), service="s", allow=["gate"], trusted=True)
    settle(kernel)
    first, task, last = (caught(kernel, "sending") for _ in range(3))
    kernel.revoke(task, "s")
    assert is_refused(kernel, task)
    kernel.notify(gate.id, service.id, abi.TaskDestroyed(0))
    kernel.run(timeout=0.001)
    assert first.exit is not None
    assert last.exit is not None
    assert service.account()["served"] == 2


def test_revoked_while_an_active_server_holds_it(kernel: wasmos.Kernel) -> None:
    gate = kernel.serve(Plus(), name="gate")
    body = (
        RECEIVE + f"(local.set $i {SRC}) (drop (call $recv @gate #{M}))"
        f"(call $put #{M} #10 #5) (call $reply (local.get $i) #{M}) #0"
    )
    service = kernel.spawn(program(body), service="s", allow=["gate"], trusted=True)
    settle(kernel)
    task = caught(kernel, "awaiting reply")
    kernel.revoke(task, "s")
    assert is_refused(kernel, task)
    kernel.notify(gate.id, service.id, abi.TaskDestroyed(0))
    assert kernel.wait(service).code == 0  # its answer is lost, and that is all


def test_revoked_at_an_async_service(kernel: wasmos.Kernel) -> None:
    """Its coroutine is cancelled, and nobody else's."""
    slow = Slow()
    kernel.serve(slow, name="s")
    task, other = caught(kernel, "awaiting reply"), caught(kernel, "awaiting reply")
    kernel.revoke(task, "s")
    assert is_refused(kernel, task)
    assert slow.cancelled == [7]
    slow.ends[1].set_result(None)
    kernel.run(timeout=0.001)
    assert other.exit is not None
    assert other.exit.code == 90  # it was answered: its message is another one now


def test_revoked_at_a_passive_service(kernel: wasmos.Kernel) -> None:
    """On a fibre, and in its queue; it goes on, and answers the next."""
    gate = kernel.serve(Plus(), name="gate")
    body = f"(drop (call $recv @gate #{M})) (call $answer (i32.add (local.get $in) #1))"
    service = kernel.spawn(passive(body, fibre=True), service="s", allow=["gate"], trusted=True)
    settle(kernel)
    task = caught(kernel, "awaiting reply")
    queued, last = caught(kernel, "sending"), caught(kernel, "sending")
    kernel.revoke(task, "s")
    kernel.revoke(queued, "s")
    assert is_refused(kernel, task)
    assert is_refused(kernel, queued)
    for _ in range(2):
        kernel.notify(gate.id, service.id, abi.TaskDestroyed(0))
        kernel.run(timeout=0.001)
    assert last.exit is not None
    assert last.exit.code == 90
    assert service.account()["served"] == 2


@pytest.mark.parametrize("how", ["revoke", "deny", "expire", "parent", "parent's denial"])
def test_every_way_of_taking_back_ends_it(kernel: wasmos.Kernel, how: str) -> None:
    slow = Slow()
    kernel.serve(slow)
    parent = kernel.client("parent", allow=["slow for 1s" if how == "expire" else "slow"])
    client = kernel.client("me", allow=[])
    grant = parent.grants[0].delegate(client)
    begin(client, "slow")
    {
        "revoke": grant.revoke, "parent": parent.grants[0].revoke,
        "deny": lambda: kernel.deny(client, "slow.ping(value=1)"),
        "parent's denial": lambda: kernel.deny(parent, "slow.ping(value=1)"),
        "expire": lambda: kernel.run(timeout=2),
    }[how]()  # fmt: skip
    kernel.run(timeout=0.001)
    assert client._result == NOT_ALLOWED
    assert slow.cancelled == [1]


@pytest.mark.parametrize("uses", [None, 1])
def test_its_giver_is_denied_it(kernel: wasmos.Kernel, uses: int | None) -> None:
    """Also if the call was the last use, and its grant is held by nobody any more."""
    slow = Slow()
    kernel.serve(slow)
    giver = kernel.client("giver", allow=["slow"])
    [heir] = heirs(kernel, 1)
    giver.grants[0].delegate(heir, uses=uses)
    begin(heir, "slow", 7)
    kernel.deny(giver, "slow.ping(value=8)")
    kernel.run(timeout=0.001)
    assert slow.cancelled == []
    kernel.deny(giver, "slow.ping(value=7)")
    kernel.run(timeout=0.001)
    assert slow.cancelled == [7]
    with pytest.raises(wasmos.CapabilityDenied):
        heir.finish()


def test_a_call_that_something_else_admits_goes_on(kernel: wasmos.Kernel) -> None:
    slow = Slow()
    kernel.serve(slow)
    client = kernel.client("me", allow=["slow.ping(value=1)"])
    begin(client, "slow")
    kernel.grant(client, "slow 5 times")
    client.grants[0].revoke()
    kernel.run(timeout=0.001)
    assert client._result is None
    assert client.grants[0].uses_left == 4  # that one admits it now
    client.grants[0].revoke()
    kernel.run(timeout=0.001)
    assert client._result == NOT_ALLOWED


def test_a_revocation_is_a_denial(kernel: wasmos.Kernel) -> None:
    kernel.serve(Slow())
    client = kernel.client("me", allow=["slow"])
    [grant] = client.grants
    begin(client, "slow")
    grant.revoke()
    assert cause(client) == "revoked"
    assert client.denials[-1].grant is grant


def test_revoked_by_who_hears_of_a_denial(kernel: wasmos.Kernel) -> None:
    """Its server is over in that very moment: it is told that instead."""
    kernel.serve(Plus(), name="vm")
    server = program(RECEIVE + "(drop (call $ask #1 #9 #1)) unreachable")
    kernel.spawn(server, service="s", trusted=True)
    settle(kernel)
    task = kernel.spawn(program("(call $ask @s #9 #1)"), allow=["s"], trusted=True)
    heard: list[wasmos.Denial] = []
    kernel.on_denial(lambda denial: (heard.append(denial), kernel.revoke(task, "s")))
    assert kernel.wait(task).code == ABORTED
    assert len(heard) == 1


# --- those who hear of ends ----------------------------------------------------------------------


class Meddler(Who):
    """Does something whenever it hears of an end."""

    action: Any = None

    def revoked(self, grant: int) -> None:
        super().revoked(grant)
        if self.action is not None:
            self.action(grant)


def family(kernel: wasmos.Kernel) -> tuple[Meddler, list[wasmos.Client], list[wasmos.Grant]]:
    """A chain of three grants."""
    meddler = Meddler()
    kernel.serve(meddler)
    clients = heirs(kernel, 4)
    grants = [kernel.grant(clients[0], "who")]
    for client in clients[1:3]:
        grants.append(grants[-1].delegate(client))
    return meddler, clients, grants


def test_who_hears_of_an_end_may_revoke_more(kernel: wasmos.Kernel) -> None:
    meddler, clients, grants = family(kernel)
    meddler.action = lambda _: grants[0].revoke()
    grants[1].revoke()
    assert [ping(client) for client in clients] == [NOT_ALLOWED] * 4
    assert sorted(meddler.gone) == [grant.id for grant in grants]
    assert kernel.grants == []


def test_who_hears_of_an_end_passes_nothing_on(kernel: wasmos.Kernel) -> None:
    """The whole tree is over by then: nothing can be saved from it."""
    meddler, clients, grants = family(kernel)
    meddler.action = lambda _: grants[0].delegate(clients[3])
    grants[0].revoke()
    assert [ping(client) for client in clients] == [NOT_ALLOWED] * 4
    assert kernel.grants == []


def test_who_hears_of_an_end_may_kill(kernel: wasmos.Kernel) -> None:
    meddler, clients, grants = family(kernel)
    meddler.action = lambda _: [client.kill() for client in clients[:3]]
    grants[1].revoke()
    assert kernel.grants == []
    assert grants[0].state == "left"


def test_a_sink_may_revoke_what_it_hears_of(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    giver = kernel.client("giver", allow=["who"])
    [heir] = heirs(kernel, 1)

    def sink(entries: list[dict[str, Any]]) -> None:
        if entries[0]["event"] == "delegate":
            giver.grants[0].revoke()

    kernel.audit(sink)
    giver.grants[0].delegate(heir)
    assert [ping(giver), ping(heir)] == [NOT_ALLOWED, NOT_ALLOWED]
    assert kernel.grants == []
