"""Passing rights on by messages to task 1: never more than one holds, and gone when taken back.

Givers are clients of Python, for whom each answer is an exception or a value, and guests where it
matters that they are. Receivers are guests: nothing can be passed on to the host's own tasks.
"""

from __future__ import annotations

from typing import Any

import pytest

import wasmos
from tests.support.wat import (
    RECEIVE,
    SLEEP,
    SRC,
    M,
    Plus,
    Reporter,
    forever,
    program,
    repeat,
    settle,
)
from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.servers.vm import Vm

GET, GRANT, ACCEPT, BADGE = 73, 75, 77, 81


class Nursery:
    """What a system gives to Vm: it starts sleepers, with what they were given."""

    def __init__(self, kernel: wasmos.Kernel, **programs: str) -> None:
        self.kernel = kernel
        self.programs = {"sleeper": SLEEP, **programs}

    async def __call__(
        self, name: str, caller: wasmos.Caller, rules: list[wasmos.Rule] | None = None
    ) -> wasmos.Task:
        return self.kernel.spawn(
            self.programs[name], parent=self.kernel.find(caller.id), allow=rules or (), trusted=True
        )


@pytest.fixture
def vm(kernel: wasmos.Kernel) -> Vm:
    vm = Vm(Nursery(kernel))
    kernel.serve(vm)
    kernel.serve(Plus())
    return vm


@pytest.fixture
def giver(kernel: wasmos.Kernel, vm: Vm) -> wasmos.Client:
    return kernel.client("giver", allow=["vm", "plus.ping(value=..9)", "pong 3 times"])


def stranger(kernel: wasmos.Kernel, *allow: str) -> wasmos.Task:
    return kernel.spawn(SLEEP, name="stranger", allow=allow, trusted=True)


def child_of(client: wasmos.Client) -> wasmos.Task:
    id = client.call("vm", abi.SpawnGranted("sleeper", "")).task
    task = client.kernel.find(id)
    assert task is not None
    return task


def refusal(client: wasmos.Client, message: abi.Message) -> int:
    with pytest.raises(wasmos.ServiceError) as refused:
        client.call("vm", message)
    return refused.value.code


def grant(client: wasmos.Client, task: wasmos.Task, rule: str) -> wasmos.Grant:
    found = client.kernel.find_grant(client.call("vm", abi.CapGrant(task.id, rule)).cap)
    assert found is not None
    return found


def message(type: int, number: int, text: str = "") -> str:
    """Code that writes one with a number and a short text."""
    raw = text.encode().ljust((len(text) // 4 + 1) * 4, b"\0")
    return f"(call $put #{M} #{type} #{number})" + "".join(
        f"(i32.store #{M + 12 + at} #{int.from_bytes(raw[at : at + 4], 'little', signed=True)})"
        for at in range(0, len(raw), 4)
    )


ASK = f"(drop (call $call #1 #{M}))"
TYPE = f"(i32.load #{M})"


# --- looking ----------------------------------------------------------------------------------


def test_get_shows_what_is_held(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    kernel.deny(giver, "plus.ping(value=3)")
    other = kernel.client("other", allow=["console"])
    kernel.pass_on(other, giver, "console", offer=True)
    kernel.grant(giver, "fs.open(path='/a/**')")
    found = [giver.call("vm", abi.CapGet(index)) for index in range(4)]
    held = [grant for grant in giver.grants if not grant.deny]
    assert [(reply.cap, reply.rule) for reply in found] == [(g.id, str(g.rule)) for g in held]
    assert [reply.rule for reply in found] == [
        "vm", "plus.ping(value=..9)", "pong 3 times", 'fs.open(path="/a/**")'
    ]  # fmt: skip


@pytest.mark.parametrize("index", [3, 4, -1, -(2**31), 2**31 - 1])
def test_get_past_the_end(giver: wasmos.Client, index: int) -> None:
    assert refusal(giver, abi.CapGet(index)) == ErrorCode.EOF


def test_get_what_does_not_fit(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    names = ", ".join(f'"{"N" * 98}{n:02}"' for n in range(11))
    kernel.grant(giver, f"env.get(name=[{names}])")
    assert refusal(giver, abi.CapGet(3)) == ErrorCode.TOO_LARGE
    assert giver.call("vm", abi.CapGet(1)).rule == "plus.ping(value=..9)"


# --- granting ---------------------------------------------------------------------------------


def test_a_child_holds_it_at_once(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    child = child_of(giver)
    made = grant(giver, child, "plus.ping(value=3)")
    assert (made.state, made.by, made.parent) == ("live", giver.id, giver.grants[1])
    assert child.grants == [made]


def test_a_grandchild_too(kernel: wasmos.Kernel, giver: wasmos.Client, vm: Vm) -> None:
    child = child_of(giver)
    vm._parents[(task := stranger(kernel)).id] = child.id
    assert grant(giver, task, "plus.ping(value=3)").state == "live"


def test_a_stranger_is_offered_it(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    task = stranger(kernel)
    made = grant(giver, task, "plus.ping(value=3)")
    assert (made.state, task.grants) == ("offered", [])


def test_ones_parent_is_a_stranger(kernel: wasmos.Kernel, vm: Vm) -> None:
    parent = kernel.spawn(SLEEP, trusted=True)
    child = kernel.client("child", allow=["vm"])
    vm._parents[child.id] = parent.id
    assert grant(child, parent, "vm").state == "offered"


@pytest.mark.parametrize(
    "rule",
    ["plus", "plus.ping", "plus.ping(value=..10)", "*", "console", "pong", "pong 4 times",
     'fs(dir="/")'],
)  # fmt: skip
def test_more_than_is_held(kernel: wasmos.Kernel, giver: wasmos.Client, rule: str) -> None:
    task = stranger(kernel)
    assert refusal(giver, abi.CapGrant(task.id, rule)) == ErrorCode.NOT_ALLOWED
    assert len(kernel.grants) == len(giver.grants)


@pytest.mark.parametrize(
    "rule", ["", "plus.", "plus.pong", "plus.ping(value=x)", "plus(", "a, b", "plus for ever", "\n"]
)
def test_what_is_no_rule(kernel: wasmos.Kernel, giver: wasmos.Client, rule: str) -> None:
    assert refusal(giver, abi.CapGrant(stranger(kernel).id, rule)) == ErrorCode.INVALID_ARG


def test_whom_nothing_can_be_given_to(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    """Nobody, oneself, the dead, and the host's own."""
    dead = stranger(kernel)
    dead.kill()
    host = kernel.client("host")
    for task in (0, -1, 9999, giver.id, dead.id, host.id, abi.VM, kernel.service_id("plus")):
        assert refusal(giver, abi.CapGrant(task, "vm")) == ErrorCode.INVALID_TASK


def test_too_many(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    """And one fewer is one more."""
    task = stranger(kernel)
    made = [grant(giver, task, "vm") for _ in range(256)]
    assert refusal(giver, abi.CapGrant(task.id, "vm")) == ErrorCode.NO_RESOURCES
    giver.call("vm", abi.CapRevoke(made[17].id))
    grant(giver, task, "vm")
    assert refusal(giver, abi.CapGrant(task.id, "vm")) == ErrorCode.NO_RESOURCES
    task.kill()
    grant(giver, stranger(kernel), "vm")


def test_too_deep(kernel: wasmos.Kernel, vm: Vm) -> None:
    clients = [kernel.client(f"c{n}", allow=[]) for n in range(32)]
    last = kernel.grant(clients[0], "vm")
    for client in clients[1:]:
        last = last.delegate(client)
    assert refusal(clients[-1], abi.CapGrant(stranger(kernel).id, "vm")) == ErrorCode.NO_RESOURCES


def test_a_guest_can_grant_until_there_is_no_more(
    kernel: wasmos.Kernel, vm: Vm, report: Reporter
) -> None:
    """A flood of grants is the giver's limit, and costs nothing when both are gone."""
    task = stranger(kernel)
    body = repeat(300, message(GRANT, task.id, "plus") + ASK + f"(call $report {TYPE})") + "#0"
    guest = kernel.spawn(program(body), allow=["vm", "report", "plus"], trusted=True)
    assert kernel.wait(guest).code == 0
    assert report.numbers == [GRANT + 1] * 256 + [ErrorCode.NO_RESOURCES] * 44
    assert task.grants == []  # all of that was offered, and none taken
    task.kill()
    assert kernel.grants == []


def test_a_pair_of_guests_that_accept_and_grant_back(
    kernel: wasmos.Kernel, vm: Vm, report: Reporter
) -> None:
    """There is an end to it: how deep, and how many."""
    clients = [kernel.client(name, allow=["vm", "plus"]) for name in "ab"]
    made = 0
    while True:
        giver, taker = clients[made % 2], clients[1 - made % 2]
        newest = [g for g in giver.grants if g.rule.service == "plus"][-1]
        try:
            offer = kernel.authority.delegate(newest, taker, by=giver.id, offer=True)
        except wasmos.UsageError:
            break
        taker.call("vm", abi.CapAccept(offer.id))
        made += 1
    assert made == 31


# --- accepting ---------------------------------------------------------------------------------


def test_accepting(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    taker = kernel.client("taker", allow=["vm"])
    offer = kernel.pass_on(giver, taker, "plus.ping(value=3)", offer=True)
    taker.call("vm", abi.CapAccept(offer.id))
    assert taker.call("plus", abi.Ping(3)) == abi.PingReply(4)
    assert refusal(taker, abi.CapAccept(offer.id)) == ErrorCode.NOT_FOUND


def test_accepting_what_was_not_offered(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    """To this very task, and still is."""
    taker, other = (kernel.client(name, allow=["vm"]) for name in ("taker", "other"))
    offer = kernel.pass_on(giver, taker, "plus.ping(value=3)", offer=True)
    given = kernel.pass_on(giver, taker, "plus.ping(value=4)", offer=False)
    for client, id in [(other, offer.id), (giver, offer.id), (taker, given.id), (taker, 0),
                       (taker, -1), (taker, giver.grants[0].id), (taker, 9999)]:  # fmt: skip
        assert refusal(client, abi.CapAccept(id)) == ErrorCode.NOT_FOUND
    giver.call("vm", abi.CapRevoke(offer.id))
    assert refusal(taker, abi.CapAccept(offer.id)) == ErrorCode.NOT_FOUND


def test_guests_hand_over(kernel: wasmos.Kernel, vm: Vm, report: Reporter) -> None:
    """From one guest to another, that couldn't call before and can now."""
    taker = kernel.spawn(
        program(
            f"(call $report (call $ask #{kernel.service_id('plus')} #9 #1))"
            + RECEIVE
            + f"(call $put #{M} #{ACCEPT} (call $value)) {ASK} (call $report {TYPE})"
            f"(call $report (call $ask @plus #9 #5)) (call $report (call $value)) #0"
        ),
        allow=["vm", "report", "gate"],
        trusted=True,
    )
    settle(kernel)
    # One-way, it tells the number: to know it is worth nothing to anybody else.
    giver = kernel.spawn(
        program(
            message(GRANT, taker.id, "plus.ping")
            + ASK
            + f"(local.set $i (call $value)) (call $put #{M} #21 (local.get $i))"
            f"(call $reply #{taker.id} #{M}) (drop (call $recv #0 #{M})) #0"
        ),
        service="gate", allow=["vm", "plus"], trusted=True,
    )  # fmt: skip
    assert kernel.wait(taker).code == 0
    assert giver.exit is None  # an offer is there as long as who makes it
    assert report.numbers == [ErrorCode.NOT_ALLOWED, ACCEPT + 1, 0, 6]


# --- revoking ----------------------------------------------------------------------------------


def test_taking_back_what_one_gave(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    taker, last = (kernel.client(name, allow=["vm"]) for name in ("taker", "last"))
    given = kernel.pass_on(giver, taker, "plus.ping(value=3)", offer=False)
    kernel.pass_on(taker, last, "plus.ping(value=3)", offer=False)
    giver.call("vm", abi.CapRevoke(given.id))
    for client in (taker, last):
        with pytest.raises(wasmos.CapabilityDenied):
            client.call("plus", abi.Ping(3))
    assert giver.call("plus", abi.Ping(3)) == abi.PingReply(4)


def test_taking_back_what_came_of_it(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    """From under somebody else's hands, also after that one has ended."""
    for kill in (False, True):
        taker, last = (kernel.client(name, allow=["vm"]) for name in ("taker", "last"))
        kernel.pass_on(giver, taker, "plus.ping(value=3)", offer=False)
        far = kernel.pass_on(taker, last, "plus.ping(value=3)", offer=False)
        if kill:
            taker.kill()
        giver.call("vm", abi.CapRevoke(far.id))
        assert (far.state, last.grants[1:]) == ("revoked", [])


def test_giving_up_what_one_holds(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    taker = kernel.client("taker", allow=["vm"])
    given = kernel.pass_on(giver, taker, "plus.ping(value=3)", offer=False)
    taker.call("vm", abi.CapRevoke(given.id))
    assert (given.state, len(taker.grants)) == ("revoked", 1)
    giver.call("vm", abi.CapRevoke(giver.grants[1].id))
    with pytest.raises(wasmos.CapabilityDenied):
        giver.call("plus", abi.Ping(3))


def test_declining_an_offer(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    taker = kernel.client("taker", allow=["vm"])
    offer = kernel.pass_on(giver, taker, "plus.ping(value=3)", offer=True)
    taker.call("vm", abi.CapRevoke(offer.id))
    assert offer.state == "revoked"


def test_taking_back_what_is_somebody_elses(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    """What one was given doesn't let one touch what it came from, or its sisters; nor does a number
    that one happens to know."""
    taker, other = (kernel.client(name, allow=["vm"]) for name in ("taker", "other"))
    given = kernel.pass_on(giver, taker, "plus.ping(value=3)", offer=False)
    sister = kernel.pass_on(giver, other, "plus.ping(value=3)", offer=False)
    denial = kernel.deny(taker, "console")
    for id in (given.parent.id if given.parent else 0, sister.id, giver.grants[0].id, denial.id,
               other.grants[0].id, 0, -1, 9999):  # fmt: skip
        assert refusal(taker, abi.CapRevoke(id)) == ErrorCode.NOT_FOUND
    assert {g.state for g in kernel.grants} == {"live"}


def test_who_has_ended_gave_it(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    """Nobody inherits the right to take it back but those above."""
    taker, last, other = (kernel.client(name, allow=["vm"]) for name in ("taker", "last", "other"))
    kernel.pass_on(giver, taker, "plus.ping(value=3)", offer=False)
    far = kernel.pass_on(taker, last, "plus.ping(value=3)", offer=False)
    taker.kill()
    assert refusal(other, abi.CapRevoke(far.id)) == ErrorCode.NOT_FOUND
    assert far.state == "live"


def test_taking_back_what_is_over(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    """Whoever ended it: nothing happens, and it isn't said that something did."""
    taker = kernel.client("taker", allow=["vm"])
    given = kernel.pass_on(giver, taker, "plus.ping(value=3)", offer=False)
    short = kernel.grant(taker, "pong", seconds=1)
    kernel.revoke(given)
    kernel.run(timeout=2)
    assert (given.state, short.state) == ("revoked", "expired")
    for client in (giver, taker):
        assert refusal(client, abi.CapRevoke(given.id)) == ErrorCode.NOT_FOUND
    assert refusal(taker, abi.CapRevoke(short.id)) == ErrorCode.NOT_FOUND
    assert (given.state, short.state) == ("revoked", "expired")


# --- badges ------------------------------------------------------------------------------------


def test_a_guest_server_sees_the_capability(
    kernel: wasmos.Kernel, vm: Vm, report: Reporter
) -> None:
    server = forever(
        RECEIVE + f"(local.set $i {SRC}) (local.set $j (call $value))"
        f"(call $put #{M} #{BADGE} (local.get $i)) {ASK}"
        f"(call $report {TYPE}) (call $report (call $value))"
        f"(call $put #{M} #10 #0) (call $reply (local.get $i) #{M})"
        f"(call $put #{M} #{BADGE} (local.get $i)) {ASK} (call $report {TYPE})"
    )
    kernel.spawn(program(server), service="s", allow=["vm", "report"], trusted=True)
    settle(kernel)
    client = kernel.client("me", allow=["s.ping(value=1)", "s.ping(value=2)"])
    assert client.call("s", abi.Ping(2)) == abi.PingReply(0)
    settle(kernel)
    assert report.numbers == [BADGE + 1, client.grants[1].id, ErrorCode.NOT_FOUND]


def test_badges_of_calls_to_others(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    kernel.spawn(program(forever(RECEIVE)), service="mute", trusted=True)
    settle(kernel)
    caller = kernel.spawn(program("(call $ask @mute #9 #1)"), allow=["mute"], trusted=True)
    settle(kernel)
    assert caller.account()["state"] == "awaiting reply"
    for task in (caller.id, giver.id, 0, -1, 9999, abi.VM):
        assert refusal(giver, abi.CapBadge(task)) == ErrorCode.NOT_FOUND


# --- starting others ---------------------------------------------------------------------------


def test_a_child_with_just_these(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    rules = "plus.ping(value=3)\n\npong 2 times\n"
    task = kernel.find(giver.call("vm", abi.SpawnGranted("sleeper", rules)).task)
    assert task is not None
    assert [str(grant.rule) for grant in task.grants] == ["plus.ping(value=3)", "pong 2 times"]
    assert [grant.parent for grant in task.grants] == giver.grants[1:]
    assert child_of(giver).grants == []


@pytest.mark.parametrize(
    ("name", "rules", "code"),
    [
        ("nobody", "", ErrorCode.NOT_FOUND),
        ("nobody", "plus.ping(value=3)", ErrorCode.NOT_FOUND),
        ("sleeper", "plus", ErrorCode.NOT_ALLOWED),
        ("sleeper", "pong once\nplus.ping(value=..10)", ErrorCode.NOT_ALLOWED),
        ("sleeper", "*", ErrorCode.NOT_ALLOWED),
        ("sleeper", "vm\nplus(", ErrorCode.INVALID_ARG),
        ("sleeper", "vm, plus", ErrorCode.INVALID_ARG),
    ],
)
def test_a_child_that_cannot_be(
    kernel: wasmos.Kernel, giver: wasmos.Client, name: str, rules: str, code: ErrorCode
) -> None:
    before = kernel.tasks
    assert refusal(giver, abi.SpawnGranted(name, rules)) == code
    assert kernel.tasks == before


def test_a_child_by_what_was_offered(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    """An offer is nothing, so nothing can be passed on from it."""
    taker = kernel.client("taker", allow=["vm"])
    kernel.pass_on(giver, taker, "plus.ping(value=3)", offer=True)
    assert (
        refusal(taker, abi.SpawnGranted("sleeper", "plus.ping(value=3)")) == ErrorCode.NOT_ALLOWED
    )
    assert refusal(taker, abi.CapGrant(stranger(kernel).id, "plus.ping(value=3)")) == (
        ErrorCode.NOT_ALLOWED
    )


def test_messages_to_task_1_need_a_right_too(kernel: wasmos.Kernel, vm: Vm) -> None:
    client = kernel.client("me", allow=["vm.cap_get"])
    assert client.call("vm", abi.CapGet(0)).rule == "vm.cap_get"
    messages: list[Any] = [abi.CapGrant(1, "vm"), abi.CapAccept(1), abi.CapRevoke(1),
                           abi.CapBadge(1), abi.SpawnGranted("a", "")]  # fmt: skip
    for each in messages:
        with pytest.raises(wasmos.CapabilityDenied):
            client.call("vm", each)


def test_malformed_ones(kernel: wasmos.Kernel, giver: wasmos.Client) -> None:
    """A rule without an end is no message."""
    for type, at in [(GRANT, 12), (83, 72)]:
        raw = type.to_bytes(4, "little") + bytes(4) + b"a\0".ljust(at - 8, b"\0") + b"x" * 1024
        assert giver.kernel.send(giver.id, abi.VM, raw) is None
        settle(kernel)
        reply = giver.kernel.reply_of(giver.id)
        assert int.from_bytes(reply[:4], "little", signed=True) == ErrorCode.INVALID_ARG


def test_a_guest_lists_what_it_holds(kernel: wasmos.Kernel, vm: Vm, report: Reporter) -> None:
    """All of it, and then there is no more."""
    body = repeat(5, f"(call $put #{M} #{GET} (local.get $i)) {ASK} (call $report {TYPE})") + "#0"
    guest = kernel.spawn(program(body), allow=["vm", "report", "plus.ping"], trusted=True)
    assert kernel.wait(guest).code == 0
    assert report.numbers == [GET + 1] * 3 + [ErrorCode.EOF] * 2
