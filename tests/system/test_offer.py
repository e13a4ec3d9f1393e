"""What a running system can have: started when it is granted, and no other names."""

from __future__ import annotations

import pytest

import wasmos
from tests.support import wat
from wasmos.kernel import Rule
from wasmos.system.control import verbs
from wasmos.system.offer import Offer

# Looks `plus` up until it may, and ends with what it answers.
LOOKS = wat.program(
    "(loop $again (local.set $i @plus) (br_if $again (i32.lt_s (local.get $i) #0)))"
    "(drop (call $ask (local.get $i) #9 #1)) (call $value)"
)


@pytest.fixture
def offer(kernel: wasmos.Kernel) -> Offer:
    return Offer(kernel, ["plus", "later"], others=["fs"], makers={"plus": wat.Plus})


def grant(kernel: wasmos.Kernel, offer: Offer, task: wasmos.Task, rule: str) -> None:
    verbs.grant(verbs.Desk(kernel, "x", offer=offer), {"task": task.id, "rule": rule})


def test_what_is_granted_is_started(kernel: wasmos.Kernel, offer: Offer) -> None:
    task = kernel.spawn(LOOKS, trusted=True)
    while not task.denied:
        kernel.step(10_000)
    assert "plus" not in kernel.services and task.denied == {"plus"}
    grant(kernel, offer, task, "plus.ping")
    assert kernel.wait(task).code == 2


def test_all_is_all(kernel: wasmos.Kernel, offer: Offer) -> None:
    task = kernel.spawn(LOOKS, trusted=True)
    grant(kernel, offer, task, "*")
    assert kernel.wait(task).code == 2


def test_what_is_up_is_not_started_again(kernel: wasmos.Kernel, offer: Offer) -> None:
    kernel.serve(wat.Plus(40))
    task = kernel.spawn(LOOKS, trusted=True)
    grant(kernel, offer, task, "plus")
    assert kernel.wait(task).code == 41


def test_who_may_be_a_service_later(kernel: wasmos.Kernel, offer: Offer) -> None:
    """A task of a manifest that is down, or one that has registered a name of its own."""
    task = kernel.spawn(wat.SLEEP, trusted=True)
    kernel.register(kernel.spawn(wat.SLEEP, trusted=True), "own")
    for rule in ("later", "own"):
        grant(kernel, offer, task, rule)
    assert [str(held.rule) for held in task.grants] == ["later", "own"]


def test_who_can_not(kernel: wasmos.Kernel, offer: Offer) -> None:
    task = kernel.spawn(wat.SLEEP, trusted=True)
    with pytest.raises(wasmos.UsageError, match=r"^no service 'pluss' here; did you mean 'plus'"):
        grant(kernel, offer, task, "pluss")
    with pytest.raises(wasmos.UsageError, match=r"^no service 'fs' here; there are: plus, later$"):
        grant(kernel, offer, task, "fs")
    assert task.grants == [] and kernel.services == {}


def test_a_server_that_can_not_be_started(kernel: wasmos.Kernel) -> None:
    def fails() -> wasmos.Service:
        raise wasmos.UsageError("the port is taken")

    task = kernel.spawn(wat.SLEEP, trusted=True)
    with pytest.raises(wasmos.UsageError, match="the port is taken"):
        grant(kernel, Offer(kernel, ["plus"], makers={"plus": fails}), task, "plus")
    assert task.grants == []


def test_a_denial_may_be_about_others(offer: Offer) -> None:
    for text in ("fs", "plus", "*"):
        offer.check_denial(Rule.parse(text))
    with pytest.raises(wasmos.UsageError, match=r"^no service 'pls' to deny; did you mean 'plus'"):
        offer.check_denial(Rule.parse("pls"))
