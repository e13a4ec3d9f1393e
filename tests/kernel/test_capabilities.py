"""What a capability is for, and nothing makes it more.

Each test says one thing that must be so, by real calls. Random combinations of the same are in
test_authority_model.py, rules as texts in test_rule.py; each of the other sides of a capability
has a file of its own: fields, lifetimes, delegation, revocation and so on.
"""

from __future__ import annotations

import gc

import pytest

import wasmos
from tests.support.services import NOT_ALLOWED, Slow, Who, begin, cause, ping
from tests.support.wat import RECEIVE, M, Plus, Reporter, answer, forever, passive, program, settle
from wasmos import _core, abi

# --- deny -------------------------------------------------------------------------------------


@pytest.mark.parametrize("allow", ["who", "who.ping", "*", "who.ping(value=..20)"])
@pytest.mark.parametrize(
    "deny", ["who", "who.ping", "*", "who.ping(value=1)", "who.ping(value=..9)"]
)
def test_deny_wins(kernel: wasmos.Kernel, allow: str, deny: str) -> None:
    """Whatever was first, and however narrow."""
    kernel.serve(Who())
    client = kernel.client("me", allow=[allow], deny=[deny])
    assert [ping(client) for _ in range(3)] == [NOT_ALLOWED] * 3
    kernel.grant(client, allow)
    kernel.grant(client, "who.ping(value=1)")
    assert [ping(client) for _ in range(3)] == [NOT_ALLOWED] * 3
    assert cause(client) == "denied"
    assert (ping(client, value=10) == 0) == ("value" in deny)


def test_deny_of_one_name_of_a_task_closes_the_other(kernel: wasmos.Kernel) -> None:
    kernel.register(kernel.serve(Who()), "two")
    client = kernel.client("me", allow=["who"])
    assert ping(client) == 0
    rule = kernel.deny(client, "two")
    assert ping(client) == NOT_ALLOWED
    rule.revoke()
    assert ping(client) == 0


def test_a_name_that_is_added_may_be_a_denied_one(kernel: wasmos.Kernel) -> None:
    """Also when the way was open before."""
    task = kernel.serve(Who())
    client = kernel.client("me", allow=["who"], deny=["two"])
    assert [ping(client) for _ in range(3)] == [0, 0, 0]
    kernel.register(task, "two")
    assert ping(client) == NOT_ALLOWED


def test_a_deny_rule_has_no_lifetime(kernel: wasmos.Kernel) -> None:
    client = kernel.client("me", allow=["who"])
    for rule in ("who once", "who for 5s"):
        with pytest.raises(wasmos.UsageError):
            kernel.deny(client, rule)
    assert len(client.grants) == 1


# --- one way ----------------------------------------------------------------------------------


def test_a_one_way_message_needs_a_capability_for_it(kernel: wasmos.Kernel) -> None:
    who = Who()
    id = kernel.serve(who).id
    for value, allow in enumerate(["who.ping", "who", "*", "pong", "who once"]):
        client = kernel.client("me", allow=[allow])
        kernel.notify(client.id, id, abi.TaskDestroyed(value))
        settle(kernel)
    assert [value for value, _ in who.told] == [1, 2, 4]


def test_a_one_way_message_tells_what_admitted_it(kernel: wasmos.Kernel) -> None:
    who = Who()
    id = kernel.serve(who).id
    client = kernel.client("me", allow=["who.ping", "who"])
    kernel.notify(client.id, id, abi.TaskDestroyed(1))
    settle(kernel)
    assert who.told == [(1, client.grants[1].id)]


def test_a_one_way_message_is_a_use(kernel: wasmos.Kernel) -> None:
    who = Who()
    id = kernel.serve(who).id
    client = kernel.client("me", allow=["who once"])
    kernel.notify(client.id, id, abi.TaskDestroyed(1))
    kernel.notify(client.id, id, abi.TaskDestroyed(2))
    settle(kernel)
    assert [value for value, _ in who.told] == [1]
    assert client.grants == []


def test_no_use_is_lost_by_a_full_mailbox(kernel: wasmos.Kernel) -> None:
    id = kernel.spawn(program(forever()), service="deaf", trusted=True).id
    client = kernel.client("me", allow=["deaf 2000 times"])
    sent = 0
    while kernel.notify(client.id, id, abi.TaskDestroyed(1)):
        sent += 1
    assert 0 < sent < 2000
    assert client.grants[0].uses_left == 2000 - sent


def test_a_service_writes_only_to_who_may_call_it(kernel: wasmos.Kernel) -> None:
    id = kernel.serve(Who()).id
    mail = {}
    for allow, deny in [("who", ""), ("who.ping", ""), ("*", ""), ("pong", ""), ("who", "who"),
                        ("who", "*"), ("who", "who.ping")]:  # fmt: skip
        client = kernel.client("me", allow=[allow], deny=[deny] if deny else [])
        kernel.notify(id, client.id, abi.TaskDestroyed(5))
        settle(kernel)
        mail[allow, deny] = client.receive() is not None
    assert [pair for pair, came in mail.items() if not came] == [
        ("pong", ""), ("who", "who"), ("who", "*")
    ]  # fmt: skip


def test_a_service_writes_no_longer_after_a_revocation(kernel: wasmos.Kernel) -> None:
    id = kernel.serve(Who()).id
    client = kernel.client("me", allow=["who"])
    kernel.revoke(client, "who")
    kernel.notify(id, client.id, abi.TaskDestroyed(5))
    settle(kernel)
    assert client.receive() is None


# --- what was checked is what arrives ----------------------------------------------------------


def test_the_message_is_a_private_copy(kernel: wasmos.Kernel) -> None:
    """A client's buffer is used again while its first message waits: it arrives as it was."""
    who = Who()
    kernel.serve(who)
    client = kernel.client("me", allow=["who.ping(value=1)"])
    raw = kernel.encode(abi.Ping(1))
    assert kernel.send(client.id, kernel.service_id("who"), raw) is None
    settle(kernel)
    assert kernel.answer_to(client.id) == abi.PingReply(1)


def test_a_message_that_waits_is_what_was_checked(kernel: wasmos.Kernel) -> None:
    """The caller's memory grows, and its page is written to by the callee's reply to another call,
    between the check and the delivery: nothing of it arrives."""
    seen = Reporter()
    kernel.serve(seen)
    gate = kernel.serve(Plus(), name="gate")
    server = f"(drop (call $recv @gate #{M}))" + forever(
        RECEIVE + "(call $report (call $value))" + answer("#0")
    )
    service = kernel.spawn(
        program(server), service="s", allow=["gate", "report", "vm"], trusted=True
    )
    settle(kernel)
    clients = [
        kernel.spawn(program(f"(drop (memory.grow #3)) (call $ask @s #9 #{value})"),
                     allow=[f"s.ping(value={value})"], trusted=True)
        for value in (1, 2, 3)
    ]  # fmt: skip
    settle(kernel)
    kernel.notify(gate.id, service.id, abi.TaskDestroyed(0))
    assert [kernel.wait(task).code for task in clients] == [0, 0, 0]
    assert seen.numbers == [1, 2, 3]


def test_a_passive_handler_that_calls_on_is_checked_itself(kernel: wasmos.Kernel) -> None:
    """Its buffer holds what its client wrote; it is the handler's message that counts."""
    who = Who()
    kernel.serve(who)
    body = "(call $answer (call $ask @who #9 (local.get $in)))"
    kernel.spawn(passive(body, fibre=True), service="p", allow=["who.ping(value=1)"], trusted=True)
    settle(kernel)
    client = kernel.client("me", allow=["p", "who"])
    assert client.call("p", abi.Ping(1)) == abi.PingReply(0)
    assert client.call("p", abi.Ping(2)) == abi.PingReply(NOT_ALLOWED)
    assert len(who.seen) == 1


def test_a_denied_message_is_unchanged(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    client = kernel.client("me", allow=[])
    raw = kernel.encode(abi.Ping(77))
    assert kernel.send(client.id, kernel.service_id("who"), raw) == NOT_ALLOWED
    assert kernel.reply_of(client.id)[: len(raw)] == raw


# --- what a service is told ---------------------------------------------------------------------


def test_the_caller_shows_what_admitted_it(kernel: wasmos.Kernel) -> None:
    who = Who()
    kernel.serve(who)
    client = kernel.client("me", allow=["who once", "who.ping(value=1)", "who.ping(value=2)", "*"])
    once, _, two, every = (grant.id for grant in client.grants)
    assert ping(client, value=2) == 0
    [(id, grant, badge, held)] = who.seen
    assert (id, badge, held) == (client.id, {}, [once, two, every])
    assert grant in (two, every)  # one that isn't used up by it
    assert client.grants[0].uses_left == 1


def test_the_oldest_of_what_is_used_up(kernel: wasmos.Kernel) -> None:
    who = Who()
    kernel.serve(who)
    client = kernel.client("me", allow=["who.ping 2 times", "who once", "who for 9s"])
    first, second, third = (grant.id for grant in client.grants)
    assert [ping(client) for _ in range(4)] == [0] * 4
    assert [row[1] for row in who.seen] == [first, first, second, third]


def test_the_last_use_is_among_the_grants(kernel: wasmos.Kernel) -> None:
    who = Who()
    kernel.serve(who)
    client = kernel.client("me", allow=["who once"])
    [grant] = client.grants
    assert ping(client) == 0
    assert who.seen == [(client.id, grant.id, {}, [grant.id])]
    assert grant.state == "spent"


def test_badges(kernel: wasmos.Kernel) -> None:
    who = Who()
    kernel.serve(who, name="fs")
    client = kernel.client("me", allow=['fs(dir="/srv", mode="ro")'])
    assert ping(client, "fs") == 0
    assert who.seen[0][2] == {"dir": "/srv", "mode": "ro"}


def test_the_service_hears_of_the_end(kernel: wasmos.Kernel) -> None:
    who = Who()
    kernel.serve(who)
    client, other = kernel.client("me", allow=["who", "pong", "*"]), kernel.client("o", allow=[])
    who_grant, pong, every = client.grants
    child = who_grant.delegate(other)
    for grant in (pong, who_grant, every):
        grant.revoke()
    assert who.gone == [child.id, who_grant.id, every.id]


# --- how much of it ------------------------------------------------------------------------------


def caps() -> int:
    gc.collect()
    return _core.live_objects()["caps"]


def test_ten_thousand_grants_of_one_task(kernel: wasmos.Kernel) -> None:
    before = caps()
    kernel.serve(Who())
    client = kernel.client("me", allow=[])
    for number in range(10_000):
        kernel.grant(client, f"s{number % 500}.ping(value={number})")
    kernel.grant(client, "who.ping(value=5)")
    assert [ping(client, value=5), ping(client, value=6)] == [0, NOT_ALLOWED]
    kernel.revoke(client)
    assert client.grants == []
    assert ping(client, value=5) == NOT_ALLOWED
    settle(kernel)
    client.kill()
    assert caps() == before


def test_ten_thousand_rules_for_one_message(kernel: wasmos.Kernel) -> None:
    """Half of them deny; each is exactly itself."""
    before = caps()
    kernel.serve(Who())
    client = kernel.client("me", allow=[])
    for number in range(0, 20_000, 4):
        kernel.grant(client, f"who.ping(value={number}..{number + 2})")
        kernel.deny(client, f"who.ping(value={number + 1})")
    found = [ping(client, value=number) == 0 for number in range(9_000, 9_100)]
    assert found == [number % 4 in (0, 2) for number in range(9_000, 9_100)]
    for grant in client.grants:
        grant.revoke()
    assert ping(client, value=9_000) == NOT_ALLOWED
    settle(kernel)
    client.kill()
    assert caps() == before


def test_ten_thousand_heirs(kernel: wasmos.Kernel) -> None:
    before = caps()
    kernel.serve(Who())
    giver, heir = kernel.client("giver", allow=["who"]), kernel.client("heir", allow=[])
    [grant] = giver.grants
    for _ in range(10_000):
        grant.delegate(heir)
    assert ping(heir) == 0
    kernel.deny(giver, "who.ping(value=5)")
    assert ping(heir, value=5) == NOT_ALLOWED
    grant.revoke()
    assert (heir.grants, ping(heir)) == ([], NOT_ALLOWED)
    settle(kernel)
    giver.kill()
    heir.kill()
    assert caps() == before


def test_what_ends_with_the_kernel_is_freed(kernel: wasmos.Kernel) -> None:
    before = caps()
    with wasmos.Kernel(virtual_clock=True) as other:
        other.serve(Slow())
        giver, heir = other.client("giver", allow=["slow"]), other.client("heir", allow=[])
        giver.grants[0].delegate(heir)
        other.pass_on(giver, heir, "slow", offer=True)
        other.deny(giver, "slow.ping(value=9)")
        begin(heir, "slow")
        giver.kill()
    del other, giver, heir
    assert caps() == before
