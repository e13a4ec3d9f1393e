"""The next life of a task: denied what the last one was, it answers for what that passed on."""

from __future__ import annotations

import pytest

import wasmos
from tests.support.wat import SLEEP, Plus
from wasmos import abi


class Family:
    """A task that passes `plus` on to a friend, who does to another one; and its lives."""

    def __init__(self, kernel: wasmos.Kernel) -> None:
        self.kernel = kernel
        kernel.serve(Plus())
        self.friend = kernel.client("friend", allow=[])
        self.far = kernel.client("far", allow=[])
        self.task = self._spawn()
        given = kernel.pass_on(self.task, self.friend, "plus.ping(value=..9)", offer=False)
        given.delegate(self.far)

    def _spawn(self) -> wasmos.Task:
        task = self.kernel.spawn(SLEEP, name="t", trusted=True)
        self.kernel.grant(task, "plus")
        return task

    def live_again(self) -> None:
        former = self.task
        former.kill()
        self.task = self._spawn()
        self.kernel.succeed(self.task, former)

    def admitted(self, value: int = 1) -> list[bool]:
        """Whether the friend may, and whom it passed it on to."""
        return [_may(client, value) for client in (self.friend, self.far)]


def _may(client: wasmos.Client, value: int) -> bool:
    try:
        client.call("plus", abi.Ping(value))
    except wasmos.CapabilityDenied:
        return False
    return True


@pytest.fixture
def family(kernel: wasmos.Kernel) -> Family:
    return Family(kernel)


def denied(task: wasmos.Task) -> list[tuple[str, str]]:
    return [(str(grant.rule), grant.origin) for grant in task.grants if grant.deny]


@pytest.mark.parametrize("lives", [0, 1, 3])
@pytest.mark.parametrize("rule", [None, "plus"])
def test_what_former_lives_passed_on_is_revoked_with_it(
    family: Family, lives: int, rule: str | None
) -> None:
    for _ in range(lives):
        family.live_again()
    assert family.admitted() == [True, True]
    family.kernel.revoke(family.task, rule)
    assert family.admitted() == [False, False]
    assert family.task.left == [] and family.kernel.grants == []


def test_but_not_what_is_for_something_else(family: Family) -> None:
    family.live_again()
    family.kernel.grant(family.task, "pong")
    family.kernel.revoke(family.task, "pong")
    family.kernel.revoke(next(g for g in family.task.grants))  # nor with one grant by its number
    assert family.admitted() == [True, True]


@pytest.mark.parametrize("lives", [0, 1, 3])
def test_what_is_denied_is_denied_to_whom_former_lives_passed_it_on(
    family: Family, lives: int
) -> None:
    for _ in range(lives):
        family.live_again()
    rule = family.kernel.deny(family.task, "plus.ping(value=5)")
    assert (family.admitted(4), family.admitted(5)) == ([True, True], [False, False])
    rule.revoke()
    assert family.admitted(5) == [True, True]


def test_it_is_denied_what_its_last_life_was(family: Family) -> None:
    family.kernel.deny(family.task, "plus.ping(value=5)", origin="by hand")
    family.kernel.deny(family.task, "pong", origin="by hand").revoke()
    for _ in range(3):
        family.live_again()
        assert denied(family.task) == [("plus.ping(value=5)", "by hand")]
        assert (family.admitted(4), family.admitted(5)) == ([True, True], [False, False])
    [rule] = [grant for grant in family.task.grants if grant.deny]
    rule.revoke()  # the only one in force: none of a dead life stays behind
    assert family.admitted(5) == [True, True]
    family.live_again()
    assert denied(family.task) == []


def test_a_life_that_passed_nothing_on_is_forgotten(family: Family) -> None:
    for _ in range(5):
        family.live_again()
    assert [grant.holder for grant in family.task.left] == [family.task.left[0].holder]
    assert len(family.kernel.authority._former) == 1
    assert family.kernel.authority._former[family.task.id] == {family.task.left[0].holder}
    family.kernel.revoke(family.task)
    family.live_again()
    assert family.kernel.authority._former == {family.task.id: set()}


def test_who_lives_has_no_next_life(family: Family) -> None:
    other = family.kernel.client("other")
    with pytest.raises(wasmos.UsageError, match="lives, so it has no next life"):
        family.kernel.succeed(other, family.task)
