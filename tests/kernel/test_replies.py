"""Answers: one for a call, and only from who was called."""

from __future__ import annotations

import pytest

import wasmos
from tests.support.services import NOT_ALLOWED, Slow, begin
from tests.support.wat import RECEIVE, SRC, M, Plus, answer, forever, program, settle
from wasmos import abi


def test_a_call_is_answered_once(kernel: wasmos.Kernel) -> None:
    """The second answer is a one-way message to somebody who doesn't wait for one."""
    twice = RECEIVE + answer("#5") + f"(call $put #{M} #10 #6) (call $reply {SRC} #{M})"
    kernel.spawn(program(forever(twice)), service="s", trusted=True)
    body = "(drop (call $ask @s #9 #1)) (i32.mul (call $value) #10)"
    task = kernel.spawn(program(body), allow=["s"], trusted=True)
    assert kernel.wait(task).code == 50


def test_only_who_was_called_answers(kernel: wasmos.Kernel) -> None:
    """Another one that the caller may call can write to it, and it is no answer."""
    slow = Slow()
    kernel.serve(slow)
    other = kernel.serve(Plus(), name="other")
    client = kernel.client("me", allow=["slow", "other"])
    begin(client, "slow", 7)
    kernel.notify(other.id, client.id, abi.PingReply(666))
    kernel.run(timeout=0.001)
    assert client._result is None
    slow.ends[0].set_result(None)
    kernel.run(lambda: client._result is not None)
    assert client.finish() == abi.PingReply(8)


def test_a_guest_answers_nobody_elses_call(kernel: wasmos.Kernel) -> None:
    kernel.spawn(program(forever(RECEIVE)), service="mute", trusted=True)
    settle(kernel)
    caller = kernel.spawn(program("(call $ask @mute #9 #1)"), allow=["mute"], trusted=True)
    settle(kernel)
    forger = program(f"(call $put #{M} #10 #666) (call $reply #{caller.id} #{M}) #0")
    assert kernel.wait(kernel.spawn(forger, allow=["*"], trusted=True)).code == 0
    settle(kernel)
    assert caller.account()["state"] == "awaiting reply"


def test_a_late_answer_of_a_coroutine_reaches_nobody(kernel: wasmos.Kernel) -> None:
    """Not even the next call of the same task to the same service."""
    slow = Slow()
    kernel.serve(slow)
    client = kernel.client("me", allow=["slow"])
    begin(client, "slow", 10)
    slow.late = kernel.loop.create_future()
    kernel.revoke(client, "slow")
    assert client._result == NOT_ALLOWED or kernel.run(lambda: client._result is not None)
    with pytest.raises(wasmos.CapabilityDenied):
        client.finish()
    kernel.grant(client, "slow")
    client.begin("slow", abi.Ping(20), lambda: None)
    kernel.run(timeout=0.001)
    assert slow.cancelled == [10]
    slow.late.set_result(None)  # the first coroutine returns its answer now
    kernel.run(timeout=0.001)
    assert client._result is None
    slow.ends[1].set_result(None)
    kernel.run(lambda: client._result is not None)
    assert client.finish() == abi.PingReply(21)


class Refusing(Slow):
    """Says "not allowed" when its time has come."""

    async def ping(self, caller: wasmos.Caller, value: int) -> int:
        await super().ping(caller, value)
        raise wasmos.CapabilityDenied(f"not {value}")


def test_a_late_refusal_of_a_coroutine_is_no_denial(kernel: wasmos.Kernel) -> None:
    """It would be told with the fields of the next call."""
    slow = Refusing()
    kernel.serve(slow)
    client = kernel.client("me", allow=["slow"])
    begin(client, "slow", 10)
    slow.late = kernel.loop.create_future()
    kernel.revoke(client, "slow")
    assert kernel.run(lambda: client._result is not None)
    with pytest.raises(wasmos.CapabilityDenied):
        client.finish()
    kernel.grant(client, "slow")
    client.begin("slow", abi.Ping(20), lambda: None)
    kernel.run(timeout=0.001)
    slow.late.set_result(None)  # the first coroutine refuses now
    kernel.run(timeout=0.001)
    assert [denial.cause for denial in client.denials] == ["revoked"]
    slow.ends[1].set_result(None)
    kernel.run(lambda: client._result is not None)
    assert [(d.cause, d.reason) for d in client.denials[1:]] == [("server", "not 20")]


def test_an_answer_after_the_next_call_began(kernel: wasmos.Kernel) -> None:
    """A guest's late answer, while the next call of its client waits in the queue."""
    late = (
        RECEIVE + f"(local.set $i {SRC}) (drop (call $recv @gate #{M}))"
        f"(call $put #{M} #10 #5) (call $reply (local.get $i) #{M})"
        + forever(RECEIVE + answer("(i32.add (call $value) #100)"))
    )
    gate = kernel.serve(Plus(), name="gate")
    service = kernel.spawn(program(late), service="s", allow=["gate"], trusted=True)
    settle(kernel)
    client = kernel.client("me", allow=["s"])
    begin(client, "s", 1)
    kernel.revoke(client, "s")
    kernel.run(lambda: client._result is not None)
    with pytest.raises(wasmos.CapabilityDenied):
        client.finish()
    kernel.grant(client, "s")
    client.begin("s", abi.Ping(2), lambda: None)
    kernel.notify(gate.id, service.id, abi.TaskDestroyed(0))
    kernel.run(lambda: client._result is not None)
    assert client.finish() == abi.PingReply(102)
