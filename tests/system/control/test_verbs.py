"""What a running system is told to do, and that it is in force at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

import wasmos
from tests.support import wat
from tests.support.control import turn
from tests.system.control.conftest import Connect
from wasmos.system.control.server import Control

BY = f"control (pid {os.getpid()})"
# Asks `plus` until it says no.
ASKS = wat.program(
    "(local.set $j @plus)"
    + wat.forever(
        "(if (call $ask (local.get $j) #9 #1) (then (return #7))) (call $report (call $value))"
    )
)


class Slow(wasmos.Service):
    """Answers when the test says so."""

    name = "slow"

    async def ping(self, caller: wasmos.Caller, value: int) -> int:
        await self.kernel.registered("never")
        return value


@pytest.fixture
def kernel(control: Control) -> Iterator[wasmos.Kernel]:
    yield control.kernel


def grants(kernel: wasmos.Kernel) -> list[str]:
    return [repr(grant) for grant in kernel.grants]


def test_ps(kernel: wasmos.Kernel, connect: Connect) -> None:
    kernel.serve(wat.Plus())
    kernel.spawn(wat.SLEEP, name="a\x1b[2J\n")
    turn(kernel)
    service, program = connect().ask("ps")["tasks"]
    assert service | {"id": 1, "served": 0} == {
        "id": 1, "name": "plus", "kind": "service", "services": ["plus"], "state": "idle",
        "peer": service["peer"], "cpu_ns": 0, "memory_bytes": 0, "calls": 0, "served": 0,
    }  # fmt: skip
    assert (program["name"], program["kind"]) == ("a\x1b[2J\n", "program")
    assert (program["state"], program["memory_bytes"]) == ("receiving", 64 << 10)


@pytest.mark.parametrize("which", ["name", "id", "text"])
def test_kill(kernel: wasmos.Kernel, connect: Connect, which: str) -> None:
    task = kernel.spawn(wat.SLEEP, name="sleeper")
    words = {"name": "sleeper", "id": task.id, "text": str(task.id)}
    done = connect().ask("kill", task=words[which])
    assert done == {"task": task.id, "name": "sleeper"}
    assert str(task.exit) == f"task {task.id} 'sleeper' was killed: by {BY}"


def test_which_task(kernel: wasmos.Kernel, connect: Connect) -> None:
    one, two = (kernel.spawn(wat.SLEEP, name="twin") for _ in range(2))
    other = kernel.spawn(wat.SLEEP, name=str(one.id))  # a name that is another one's number
    talker = connect()
    assert talker.fails("kill", task="twin") == (
        f"2 tasks are called 'twin': say which, by number: {one.id}, {two.id}"
    )
    assert talker.fails("kill", task="twins") == "no task 'twins'; did you mean 'twin'?"
    for nobody in (0, -1, 99, 1 << 70, "", "99", "²"):
        assert talker.fails("kill", task=nobody) == f"no task {nobody!r}; ps lists them"
    talker.ask("kill", task=str(one.id))
    assert one.exit is not None and other.exit is None


def test_grant(kernel: wasmos.Kernel, connect: Connect) -> None:
    task = kernel.spawn(wat.SLEEP, name="asks")
    talker = connect()
    row = talker.ask("grant", task="asks", rule="report")
    assert row == {
        "id": row["id"], "holder": task.id, "holder_name": "asks", "rule": "report", "deny": False,
        "state": "live", "parent": 0, "by": 0, "origin": BY, "badge": {}, "uses_left": None,
        "seconds_left": None,
    }  # fmt: skip
    grant = kernel.find_grant(row["id"])
    assert grant is not None and grant.origin == BY and task.grants == [grant]
    row = talker.ask("grant", task="asks", rule="plus once", uses=5, seconds=60)
    assert row["uses_left"] == 1 and 0 < row["seconds_left"] <= 60


def test_a_grant_is_in_force_at_once(kernel: wasmos.Kernel, connect: Connect) -> None:
    kernel.serve(wat.Plus())
    tries = "(loop $again (br_if $again (call $ask @plus #9 #1)))"
    task = kernel.spawn(wat.program(f"{tries} (i32.sub #0 @plus)"), name="asks")
    kernel.run(lambda: bool(task.denied))
    assert task.exit is None and task.denied == {"plus"}
    talker = connect()
    talker.socket.sendall(b'{"v":1,"do":"grant","task":"asks","rule":"plus","uses":1}\n')
    assert kernel.wait(task).code == 8  # once, and not twice


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"rule": "tcpip.lisen"},
         "rule \"tcpip.lisen\": tcpip has no message 'lisen'; did you mean 'listen'?"),
        ({"rule": ""}, 'rule ""'),
        ({"rule": 'fs(dir="data")'},
         "rule \"fs(dir=\"data\")\": fs: dir 'data' is no absolute path of the host"),
        ({"rule": 'fs(dir="/no/where")'}, 'rule "fs(dir="/no/where")": fs: dir '
         "'/no/where': no such file or directory; name a directory"),
        ({"rule": "\ud800"}, 'rule "\\ud800"'),
        ({"rule": "pong", "uses": 0}, "a grant is used 1 to 2,147,483,647 times, not 0"),
        ({"rule": "pong", "uses": 1 << 31}, "a grant is used 1 to"),
        ({"rule": "pong", "seconds": 0}, "a grant lasts more than 0"),
        ({"rule": "pong", "seconds": -1}, "a grant lasts more than 0"),
        ({"rule": "pong", "seconds": 1e300}, "a grant lasts more than 0"),
        ({"rule": "pong", "seconds": float("nan")}, "a grant lasts more than 0"),
        ({"rule": "pong", "seconds": "60"}, "grant: 'seconds' is a number"),
        ({"rule": "pong", "for": 60}, "grant doesn't know 'for'; it takes task, rule, uses"),
    ],
)  # fmt: skip
def test_what_is_no_grant(
    kernel: wasmos.Kernel, connect: Connect, words: dict[str, Any], problem: str
) -> None:
    task = kernel.spawn(wat.SLEEP, name="sleeper")
    assert connect().fails("grant", task="sleeper", **words).startswith(problem)
    assert task.grants == []


def test_deny(kernel: wasmos.Kernel, connect: Connect) -> None:
    kernel.serve(wat.Plus())
    kernel.serve(reporter := wat.Reporter())
    task = kernel.spawn(ASKS, name="asks", allow=["plus", "report"])
    while not reporter.numbers:
        kernel.step(10_000)
    row = connect().ask("deny", task="asks", rule="plus")
    assert (row["deny"], row["origin"]) == (True, BY)
    assert kernel.wait(task).code == 7
    assert connect().fails("deny", task="asks", rule="plus") == "no task 'asks'; ps lists them"


# --- taking back ----------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [{"grant": 1}, {"task": "asks", "rule": "plus"}])
def test_the_next_message_after_a_revocation_fails(
    kernel: wasmos.Kernel, connect: Connect, words: dict[str, Any]
) -> None:
    kernel.serve(wat.Plus())
    kernel.serve(reporter := wat.Reporter())
    task = kernel.spawn(ASKS, name="asks", allow=["plus", "report"])
    talker = connect()
    while not reporter.numbers:
        kernel.step(10_000)
    assert task.exit is None
    if "grant" in words:
        words = {"grant": next(g.id for g in task.grants if str(g.rule) == "plus")}
    [row] = talker.ask("revoke", **words)["revoked"]
    assert (row["rule"], row["holder"]) == ("plus", task.id)
    done = len(reporter.numbers)
    assert kernel.wait(task).code == 7
    assert len(reporter.numbers) <= done + 1
    assert [(d.service, d.cause) for d in task.denials] == [("plus", "revoked")]


def test_a_revocation_ends_a_call_that_is_under_way(
    kernel: wasmos.Kernel, connect: Connect
) -> None:
    kernel.serve(Slow())
    task = kernel.spawn(wat.program("(i32.sub #0 (call $ask @slow #9 #1))"), allow=["slow"])
    turn(kernel)
    assert task.account()["state"] == "awaiting reply"
    talker = connect()
    talker.ask("revoke", grant=task.grants[0].id)
    assert kernel.wait(task).code == 8  # not allowed
    assert task.grants == []


def test_with_a_grant_goes_all_that_was_passed_on(kernel: wasmos.Kernel, connect: Connect) -> None:
    a, b, c = (kernel.spawn(wat.SLEEP, name=name) for name in "abc")
    root = kernel.grant(a, "pong")
    kernel.grant(a, "echo")
    own = kernel.grant(b, "pong")
    heir = root.delegate(b).delegate(c)
    gone = connect().ask("revoke", task="a", rule="pong")["revoked"]
    assert [(row["holder"], row["rule"]) for row in gone] == [(i.id, "pong") for i in (a, b, c)]
    assert heir.state == "revoked"
    assert b.grants == [own] and c.grants == [] and [str(g.rule) for g in a.grants] == ["echo"]


def test_everything_of_a_task(kernel: wasmos.Kernel, connect: Connect) -> None:
    task = kernel.spawn(wat.SLEEP, name="a", allow=["pong", "echo"], deny=["fs.delete"])
    talker = connect()
    assert len(talker.ask("revoke", task="a")["revoked"]) == 2
    [rule] = task.grants
    assert rule.deny
    assert talker.ask("revoke", task="a") == {"revoked": []}
    assert len(talker.ask("revoke", grant=rule.id)["revoked"]) == 1
    assert task.grants == []


def test_a_service_stands_for_all_rules_about_it(kernel: wasmos.Kernel, connect: Connect) -> None:
    rules = ["tcpip.listen(listen_port=80)", "tcpip.connect(dst_port=443)", "pong"]
    task = kernel.spawn(wat.SLEEP, name="a", allow=rules)
    talker = connect()
    gone = talker.ask("revoke", task="a", rule="tcpip.tcpip_listen( listen_port = 80 )")
    assert [row["rule"] for row in gone["revoked"]] == rules[:1]  # however it is written
    assert len(talker.ask("revoke", task="a", rule="tcpip")["revoked"]) == 1
    assert [str(grant.rule) for grant in task.grants] == ["pong"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({}, 'revoke takes "grant", or "task" and if need be "rule"'),
        ({"grant": 1, "task": "a"}, 'revoke takes "grant", or'),
        ({"grant": 1, "rule": "pong"}, 'revoke takes "grant", or'),
        ({"rule": "pong"}, 'revoke takes "grant", or'),
        ({"grant": 99}, "there is no grant 99; caps lists them"),
        ({"grant": "1"}, "revoke: 'grant' is a number"),
        ({"task": "a", "rule": "pong."}, 'rule "pong."'),
        ({"task": "a", "rule": "pong.ping"},
         "task 1 'a' was not granted pong.ping, but pong, echo; to forbid a part of that, deny it"),
    ],
)  # fmt: skip
def test_what_cant_be_taken_back(
    kernel: wasmos.Kernel, connect: Connect, words: dict[str, Any], problem: str
) -> None:
    task = kernel.spawn(wat.SLEEP, name="a", allow=["pong", "echo"])
    before = grants(kernel)
    said = connect().fails("revoke", **words).replace(f"task {task.id} ", "task 1 ")
    assert said.startswith(problem)
    assert grants(kernel) == before


def test_what_was_taken_back_before(kernel: wasmos.Kernel, connect: Connect) -> None:
    kernel.spawn(wat.SLEEP, name="a", allow=["pong"])
    talker = connect()
    [row] = talker.ask("revoke", task="a")["revoked"]
    assert talker.fails("revoke", grant=row["id"]) == f"grant {row['id']} is revoked already"


def test_caps(kernel: wasmos.Kernel, connect: Connect) -> None:
    from wasmos.system.caps import capmap

    kernel.spawn(wat.SLEEP, name="a", allow=["pong"], origin="policy.toml:3")
    found = connect().ask("caps")
    assert found == capmap.snapshot(kernel, "demo")
    assert found["grants"][0]["origin"] == "policy.toml:3"


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("pluss", "task 2 'asks' was not granted pluss, but pong.ping, report; "
         "to forbid a part of that, deny it"),
        ("plus", "grant 1 of task 2 'asks', plus, is revoked already"),
        ("pogn", "task 2 'asks' was not granted pogn, but pong.ping, report; "
         "did you mean 'pong'?"),
        ("echo", "grant 4 of task 2 'asks', echo once, is expired already"),
        ("fs", "task 2 'asks' was not granted fs, but pong.ping, report; "
         "to forbid a part of that, deny it"),
    ],
)  # fmt: skip
def test_what_was_not_granted(
    kernel: wasmos.Kernel, connect: Connect, rule: str, problem: str
) -> None:
    """What was taken back or has ended is told apart from what never was; a denial is neither."""
    task = kernel.spawn(wat.SLEEP, name="asks", allow=["plus", "pong.ping", "report"])
    expired = kernel.grant(task, "echo once", seconds=60)
    kernel.authority.revoke(expired, "expired")
    kernel.revoke(kernel.deny(task, "fs"))
    talker = connect()
    talker.ask("revoke", task="asks", rule="plus")
    assert talker.fails("revoke", task="asks", rule=rule) == problem
