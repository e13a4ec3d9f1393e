"""Somebody is asked before a message is denied."""

from __future__ import annotations

from typing import Any

import pytest

import wasmos
from tests.support.services import ABORTED, CALLER, NOT_ALLOWED, Who, begin, cause, ping
from tests.support.wat import Plus
from wasmos import abi


def asked(
    kernel: wasmos.Kernel, answer: Any, *, allow: list[str] | None = None
) -> tuple[wasmos.Client, list[wasmos.Denial]]:
    client = kernel.client("me", allow=allow or [])
    heard: list[wasmos.Denial] = []

    def ask(denial: wasmos.Denial) -> bool | None:
        heard.append(denial)
        found: bool | None = answer(denial) if callable(answer) else answer
        return found

    kernel.ask(client, ask)
    return client, heard


def test_asked_and_granted(kernel: wasmos.Kernel) -> None:
    who = Who()
    kernel.serve(who)
    client, heard = asked(
        kernel, lambda denial: bool(kernel.grant(client, denial.rule, origin="asked"))
    )
    assert [ping(client), ping(client)] == [0, 0]
    assert [(d.message, d.cause, d.rule) for d in heard] == [
        ("who.ping", "no_capability", "who.ping")
    ]
    assert client.grants[0].origin == "asked"
    assert client.denials == []


def test_asked_and_refused(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    client, heard = asked(kernel, False)
    assert [ping(client), ping(client)] == [NOT_ALLOWED] * 2
    assert len(heard) == 2
    assert cause(client) == "no_capability"


def test_asked_and_granted_something_else(kernel: wasmos.Kernel) -> None:
    """Nobody asks twice about one message."""
    kernel.serve(Who())
    client, heard = asked(kernel, lambda _: bool(kernel.grant(client, "who.ping(value=2)")))
    assert ping(client, value=1) == NOT_ALLOWED
    assert len(heard) == 1
    assert ping(client, value=2) == 0


def test_asked_about_what_a_rule_denies(kernel: wasmos.Kernel) -> None:
    """What is granted then can't help."""
    kernel.serve(Who())
    client, heard = asked(kernel, lambda d: bool(kernel.grant(client, d.rule)))
    kernel.deny(client, "who.ping(value=1)")
    assert ping(client) == NOT_ALLOWED
    assert heard[0].cause == "denied"


def test_asked_and_answered_later(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    client, heard = asked(kernel, None)
    begin(client, "who")
    assert client.account()["state"] == "asking"
    kernel.grant(client, "who once")
    kernel.run(timeout=0.001)
    assert client._result is None  # not before somebody says so
    kernel.answer_asked(client.id)
    kernel.answer_asked(client.id)
    kernel.run(lambda: client._result is not None)
    assert client.finish() == abi.PingReply(1)
    assert len(heard) == 1
    kernel.answer_asked(client.id)


def test_a_guest_that_is_asked_about(kernel: wasmos.Kernel) -> None:
    """It may look the name up, and its message is what was asked about, unchanged if denied."""
    kernel.serve(Plus(), name="s")
    for yes in (True, False):
        task = kernel.spawn(CALLER, trusted=True)
        kernel.ask(task, lambda d, task=task, yes=yes: yes and bool(kernel.grant(task, d.rule)))
        assert kernel.wait(task).code == (90 if yes else NOT_ALLOWED)


def test_revoking_while_somebody_is_asked(kernel: wasmos.Kernel) -> None:
    """It held nothing for it, so nothing changes; it still waits."""
    kernel.serve(Who())
    client, _ = asked(kernel, None, allow=["who.ping(value=2)"])
    begin(client, "who")
    kernel.revoke(client, "who")
    kernel.run(timeout=0.001)
    assert client._result is None
    kernel.answer_asked(client.id)
    kernel.run(timeout=0.001)
    assert client._result == NOT_ALLOWED


def test_the_one_who_is_asked_fails(kernel: wasmos.Kernel) -> None:
    """Whoever runs the kernel hears of it, and the message is denied."""
    kernel.serve(Who())
    client, _ = asked(kernel, lambda _: 1 // 0)
    client.begin("who", abi.Ping(1), lambda: None)
    with pytest.raises(ZeroDivisionError):
        kernel.run()
    kernel.run(timeout=0.001)
    assert client._result == NOT_ALLOWED


@pytest.mark.parametrize("answer", [True, False, None])
def test_the_task_ends_while_somebody_is_asked(kernel: wasmos.Kernel, answer: bool | None) -> None:
    kernel.serve(Who())

    def kill(_: wasmos.Denial) -> bool | None:
        client.kill()
        return answer

    client, heard = asked(kernel, kill)
    client.begin("who", abi.Ping(1), lambda: None)
    kernel.run(timeout=0.001)
    assert client.exit is not None
    assert len(heard) == 1


@pytest.mark.parametrize("answer", [True, False, None])
def test_the_service_ends_while_somebody_is_asked(
    kernel: wasmos.Kernel, answer: bool | None
) -> None:
    service = kernel.serve(Who())

    def kill(_: wasmos.Denial) -> bool | None:
        service.kill()
        kernel.grant(client, "who")
        return answer

    client, _ = asked(kernel, kill)
    client.begin("who", abi.Ping(1), lambda: None)
    kernel.run(timeout=0.001)
    assert client._result == ABORTED


def test_the_service_ends_before_the_answer(kernel: wasmos.Kernel) -> None:
    service = kernel.serve(Who())
    client, _ = asked(kernel, None)
    begin(client, "who")
    service.kill()
    kernel.run(timeout=0.001)
    assert client._result == ABORTED
    kernel.answer_asked(client.id)


def test_a_call_that_nobody_answers_about(kernel: wasmos.Kernel) -> None:
    """Who was asked says nothing, and nobody else is there who could."""
    kernel.serve(Who())
    client, _ = asked(kernel, None)
    with pytest.raises(wasmos.Deadlock, match="waits for 'who'"):
        client.call("who", abi.Ping(1))
    assert client.exit is not None


def test_nobody_is_asked_any_more(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    client, heard = asked(kernel, True)
    kernel.ask(client, None)
    assert ping(client) == NOT_ALLOWED
    assert heard == []
