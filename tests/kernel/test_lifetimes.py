"""How often, and how long: to the use, and to the nanosecond."""

from __future__ import annotations

from unittest import mock

import pytest

import wasmos
from tests.support.services import NOT_ALLOWED, Slow, Who, begin, cause, ping, send
from tests.support.wat import Reporter, passive, program, repeat, settle
from wasmos import abi

# --- uses --------------------------------------------------------------------------------------


def test_a_replay_is_denied(kernel: wasmos.Kernel) -> None:
    who = Who()
    kernel.serve(who)
    client = kernel.client("me", allow=["who once"])
    [grant] = client.grants
    assert [ping(client), ping(client), ping(client)] == [0, NOT_ALLOWED, NOT_ALLOWED]
    assert (grant.state, client.grants, who.gone) == ("spent", [], [grant.id])


def test_a_guest_uses_it_once(kernel: wasmos.Kernel, report: Reporter) -> None:
    """Back to back, in place: nothing but the core decides there."""
    kernel.spawn(passive("(call $answer (local.get $in))"), service="p", trusted=True)
    body = "(local.set $j @p)" + repeat(4, "(call $report (call $ask (local.get $j) #9 #1))")
    task = kernel.spawn(program(body + "#0"), allow=["p 2 times", "report"], trusted=True)
    kernel.wait(task)
    assert report.numbers == [0, 0, NOT_ALLOWED, NOT_ALLOWED]


def test_a_guest_uses_what_its_parent_has_left(kernel: wasmos.Kernel, report: Reporter) -> None:
    """The same, where it is the parent's uses that end."""
    kernel.spawn(passive("(call $answer (local.get $in))"), service="p", trusted=True)
    parent = kernel.client("parent", allow=["p 2 times", "report"])
    body = "(local.set $j @p)" + repeat(4, "(call $report (call $ask (local.get $j) #9 #1))")
    task = kernel.spawn(program(body + "#0"), parent=parent, allow=["p", "report"], trusted=True)
    kernel.wait(task)
    assert report.numbers == [0, 0, NOT_ALLOWED, NOT_ALLOWED]


def test_a_guest_is_quicker_than_the_ledger(kernel: wasmos.Kernel) -> None:
    """It calls in place, again and again, before anybody in Python hears of the last use."""
    kernel.spawn(passive("(call $answer (local.get $in))"), service="p", trusted=True)
    settle(kernel)
    parent = kernel.client("parent", allow=["p 2 times"])
    body = "(local.set $j @p)" + repeat(
        5,
        "(if (i32.eqz (call $ask (local.get $j) #9 #1)) (then (global.set $n (i32.add"
        " (global.get $n) #1))))",
    )
    task = kernel.spawn(
        program(body + "(global.get $n)", fields="(global $n (mut i32) #0)"),
        parent=parent, allow=["p"], trusted=True,
    )  # fmt: skip
    assert kernel.wait(task).code == 2


class Keeper(Who):
    """Has something of every grant open."""

    def holds(self, grant: int) -> bool:
        return True


def test_a_last_use_looks_at_no_other_grant(kernel: wasmos.Kernel) -> None:
    """But for some of those that are used up and still behind something, however many there are."""
    kernel.serve(Keeper())
    other, client = kernel.client("other", allow=[]), kernel.client("me", allow=[])
    for _ in range(300):
        kernel.grant(other, "who once")
    assert [ping(other) for _ in range(301)] == [0] * 300 + [NOT_ALLOWED]
    for _ in range(300):
        kernel.grant(other, "who 2 times")
    for _ in range(10):
        kernel.grant(client, "who once")
    with (
        mock.patch.object(kernel, "uses_left", side_effect=kernel.uses_left) as uses_left,
        mock.patch.object(kernel, "is_in_use", side_effect=kernel.is_in_use) as is_in_use,
    ):
        assert [ping(client) for _ in range(11)] == [0] * 10 + [NOT_ALLOWED]
    assert uses_left.call_count + is_in_use.call_count <= 10 * 64


def test_what_is_used_up_is_forgotten_by_and_by(kernel: wasmos.Kernel) -> None:
    """Each of many, once nothing hangs on it any more."""
    keeper = Keeper()
    kernel.serve(keeper)
    client = kernel.client("me", allow=[])
    for _ in range(200):
        kernel.grant(client, "who once")
    assert [ping(client) for _ in range(200)] == [0] * 200
    assert len(kernel.grants) == 200
    with mock.patch.object(keeper, "holds", return_value=False):
        for _ in range(4):
            kernel.client("passer-by").kill()
    assert kernel.grants == []


def test_the_use_in_progress_completes(kernel: wasmos.Kernel) -> None:
    slow = Slow()
    kernel.serve(slow)
    client = kernel.client("me", allow=["slow once"])
    [grant] = client.grants
    begin(client, "slow", 5)
    assert (grant.state, slow.cancelled) == ("spent", [])
    slow.ends[0].set_result(None)
    kernel.run(lambda: client._result is not None)
    assert client.finish() == abi.PingReply(6)


def test_children_share_their_parents_uses(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    parent = kernel.client("parent", allow=["who 3 times"])
    one, two = kernel.client("one", allow=[]), kernel.client("two", allow=[])
    grants = [parent.grants[0].delegate(one, "who"), parent.grants[0].delegate(two, "who 2 times")]
    assert [grant.uses_left for grant in grants] == [3, 2]
    assert [ping(client) for client in (one, two, parent)] == [0, 0, 0]
    assert [ping(client) for client in (one, two, parent)] == [NOT_ALLOWED] * 3
    assert [grant.state for grant in grants] == ["spent", "spent"]


def test_a_childs_uses_are_its_own_too(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    parent, child = kernel.client("parent", allow=["who 3 times"]), kernel.client("c", allow=[])
    parent.grants[0].delegate(child, "who", uses=1)
    assert [ping(child), ping(child), ping(parent), ping(parent), ping(parent)] == [
        0, NOT_ALLOWED, 0, 0, NOT_ALLOWED
    ]  # fmt: skip


@pytest.mark.parametrize("uses", [0, -1])
def test_uses_that_are_none(kernel: wasmos.Kernel, uses: int) -> None:
    client = kernel.client("me", allow=[])
    with pytest.raises(wasmos.UsageError):
        kernel.grant(client, "who", uses=uses)
    assert client.grants == []


# --- time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1.0, 0.001, 1.001, 2.003, 3.007])
def test_it_ends_at_the_nanosecond(kernel: wasmos.Kernel, seconds: float) -> None:
    kernel.serve(Who())
    client = kernel.client("me", allow=["who"])
    client.grants[0].revoke()
    grant = kernel.grant(client, f"who for {round(seconds * 1000)}ms")
    begun = kernel.now_ns
    assert grant.expires_ns == begun + round(seconds * 1000) * 10**6
    kernel.advance(grant.expires_ns - 1)
    assert send(client, "who", abi.Ping(1)) == 0
    assert grant.state == "live"
    kernel.advance(grant.expires_ns)
    assert send(client, "who", abi.Ping(1)) == NOT_ALLOWED
    assert cause(client) == "expired"
    kernel.run(timeout=0.001)
    assert (grant.state, client.grants) == ("expired", [])
    assert send(client, "who", abi.Ping(1)) == NOT_ALLOWED
    assert cause(client) == "expired"


def test_a_timer_takes_it_back(kernel: wasmos.Kernel) -> None:
    who = Who()
    kernel.serve(who)
    client = kernel.client("me", allow=["who for 2s"])
    [grant] = client.grants
    kernel.run(timeout=1.999)
    assert (grant.state, who.gone) == ("live", [])
    kernel.run(timeout=0.002)
    assert (grant.state, who.gone) == ("expired", [grant.id])


def test_no_child_lives_longer(kernel: wasmos.Kernel) -> None:
    parent, child = kernel.client("parent", allow=["who for 2s"]), kernel.client("c", allow=[])
    [grant] = parent.grants
    for rule in ("who", "who for 9s", "who for 2s", "who.ping(value=1) for 1h"):
        assert grant.delegate(child, rule).expires_ns == grant.expires_ns
    assert grant.delegate(child, "who for 1s").expires_ns == kernel.now_ns + 10**9
    kernel.run(timeout=3)
    assert child.grants == []
