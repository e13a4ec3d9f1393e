"""Replay of what may be used once, or not any more."""

from __future__ import annotations

import pytest

from tests.attacks.agent import RECV, offer, raw
from tests.attacks.attack import Bank, Scene, Slow, attack, serve_vm, settle, wat
from tests.attacks.outside import OTHER, PUBLIC, connect, serve
from wasmos import abi
from wasmos.servers.fs import Fs

PING = abi.Ping.TYPE


@attack(
    "twice",
    "A grant for one use, used again",
    stopped_by=r"denial evil.* bank\.ping\(value=1\) spent",
)
def test_twice(scene: Scene) -> None:
    bank = Bank()
    scene.serve(bank)
    evil = scene.agent("evil", "bank once")
    assert evil.call("bank", abi.Ping(1)).error == 0
    for _ in range(5):
        assert evil.call("bank", abi.Ping(1)).error == -8
    assert len(bank.seen) == 1


@attack(
    "a thousand times in one slice",
    "The same in a loop, before anybody but the core could notice that it is used up",
    stopped_by=r"denial evil.* bank\.ping\(value=7\) spent",
)
def test_in_a_loop(scene: Scene) -> None:
    """The bank is a guest: no Python runs between two calls."""
    bank = scene.guest("bank", wat.PASSIVE, service="bank")
    settle(scene.kernel)
    count = f"(local.set $j (i32.add (local.get $j) (i32.eqz (call $ask #{bank.id} #9 #7))))"
    evil = scene.guest("evil", wat.program(wat.repeat(1000, count) + "(local.get $j)"), "bank once")
    assert scene.kernel.wait(evil).code == 1
    assert bank.account()["served"] == 1


@attack(
    "a directory, beside another one",
    "One directory may be used twice and another one always; a file of the first is opened five "
    "times",
    stopped_by=r"reply fs.* to evil.*: not found",
)
def test_a_directory_beside_another(scene: Scene) -> None:
    for name in "ab":
        (scene.folder / name).mkdir()
        (scene.folder / name / "f").write_bytes(b"SECRET")
    scene.serve(Fs())
    evil = scene.agent(
        "evil",
        f'fs(dir="{scene.folder}/b", at="/b")',
        f'fs(dir="{scene.folder}/a", at="/a") 2 times',
    )
    opened = [evil.call("fs", abi.FsOpen("/a/f", 0)).error for _ in range(5)]
    assert [not error for error in opened] == [True, True, False, False, False]


@attack(
    "at once, by five children",
    "The one use is passed on to five children, who all call before the first is answered",
    stopped_by=r"denial child\d.* slow\.ping\(value=1\) spent",
)
def test_by_children_at_once(scene: Scene) -> None:
    serve_vm(scene)
    slow = Slow()
    scene.serve(slow)
    evil = scene.agent("evil", "vm.spawn_granted", "slow.ping once")
    children = []
    for n in range(5):
        answer = evil.call("vm", abi.SpawnGranted(f"child{n}", "slow.ping once"))
        children.append(scene.adopt(scene.kernel.find(answer.message.task)))
    for child in children:
        child.begin_call("slow", abi.Ping(1))
    evil.begin_call("slow", abi.Ping(1))
    assert len(slow.seen) == 1
    assert [agent.result().error for agent in (*children[1:], evil)] == [-8] * 5


@attack(
    "in turn, along a chain",
    "Two uses, passed on along a chain of three tasks, each of which wants two",
    stopped_by=r"denial [abc]\[\d+\] bank\.ping\(value=3\) spent",
)
def test_along_a_chain(scene: Scene) -> None:
    serve_vm(scene)
    bank = Bank()
    scene.serve(bank)
    a = scene.agent("a", "vm", "bank 2 times")
    b, c = scene.agent("b", "vm"), scene.agent("c", "vm")
    b.call("vm", abi.CapAccept(offer(a, b, "bank 2 times")))
    c.call("vm", abi.CapAccept(offer(b, c, "bank 2 times")))
    assert c.call("bank", abi.Ping(1)).error == 0
    assert a.call("bank", abi.Ping(2)).error == 0
    for agent in (a, b, c):
        assert agent.call("bank", abi.Ping(3)).error == -8
    assert [value for _, value in bank.seen] == [1, 2]


@attack(
    "by one-way messages",
    "One use, and ten messages that nobody answers, in a row",
    stopped_by=r"denial evil.* bank\.task_destroyed\(.*\) spent",
)
def test_by_oneway_messages(scene: Scene) -> None:
    bank = Bank()
    id = scene.serve(bank).id
    body = f"(call $put #{wat.M} #{abi.TaskDestroyed.TYPE} #7)" + wat.repeat(
        10, f"(call $reply #{id} #{wat.M})"
    )
    evil = scene.guest("evil", wat.program(body + wat.RECEIVE + "#0"), "bank once", "slow")
    settle(scene.kernel)
    assert bank.seen == [(evil.id, 7)]


@attack(
    "one call and one message",
    "One use for a call, and a one-way message at the same time",
    stopped_by=r"denial evil.* bank\.\w+\(.*\) spent",
)
def test_one_call_and_one_message(scene: Scene) -> None:
    bank = Bank()
    scene.serve(bank)
    evil = scene.agent("evil", "bank once")
    evil.reply(scene.kernel.services["bank"], abi.TaskDestroyed(7))
    assert evil.call("bank", abi.Ping(1)).error == -8
    assert bank.seen == [(evil.id, 7)]


@attack(
    "a use that is given back",
    "A call that is killed half-way, or that its service answers with an error, to have it again",
    stopped_by=r"denial evil.* slow\.ping\(value=2\) spent",
)
def test_a_use_that_is_given_back(scene: Scene) -> None:
    slow = Slow()
    task = scene.serve(slow)
    evil = scene.agent("evil", "slow once")
    evil.begin_call("slow", abi.Ping(1))
    task.kill()
    assert evil.result().error == -21
    scene.serve(slow2 := Slow())
    assert evil.call("slow", abi.Ping(2)).error == -8
    assert slow2.seen == []


@attack(
    "a use by a message that was denied",
    "Denied messages don't use a grant up, nor do they for others: a friend can't spend it for one",
    stopped_by=r"denial evil.* bank\.ping\(value=9\) field",
)
def test_denials_spend_nothing(scene: Scene) -> None:
    bank = Bank()
    scene.serve(bank)
    victim = scene.agent("victim", "bank.ping(value=1) once")
    evil = scene.agent("evil", "bank.ping(value=2)")
    for _ in range(5):
        evil.call("bank", abi.Ping(9))
        victim.call("bank", abi.Ping(9))
    assert victim.call("bank", abi.Ping(1)).error == 0


@attack(
    "a moment after the end",
    "A grant for 60 s, used after 60 s: by a call, a one-way message, and a lookup",
    stopped_by=r"denial evil.* bank\.ping\(value=2\) expired",
)
def test_after_the_end(scene: Scene) -> None:
    bank = Bank()
    id = scene.serve(bank).id
    evil = scene.agent("evil", "bank for 60s")
    assert evil.call(id, abi.Ping(1)).error == 0
    scene.kernel.run(timeout=60)
    assert evil.call(id, abi.Ping(2)).error == -8
    evil.reply(id, abi.TaskDestroyed(3))
    assert evil.lookup("bank") == -8
    assert bank.seen == [(evil.id, 1)]


@attack(
    "to compute past the end",
    "A guest holds the processor until the time is over, so that no timer can run, and calls then",
    stopped_by=r"denial evil.* bank\.ping\(value=7\) expired",
)
def test_to_compute_past_the_end(scene: Scene) -> None:
    bank = scene.guest("bank", wat.PASSIVE, service="bank")
    settle(scene.kernel)
    spin = wat.repeat(200_000, "(local.set $j (i32.add (local.get $j) #1))")
    body = f"(drop @bank) {spin} (call $ask #{bank.id} #9 #7)"
    evil = scene.guest("evil", wat.program(body), "bank for 1ms")
    assert scene.kernel.wait(evil).code == -8
    assert bank.account()["served"] == 0


@pytest.mark.parametrize("rule", ["bank -1 times", "bank 0 times", "bank for -1s", "bank for 0s",
                                  "bank 99999999999 times", "bank for 99999999999h"])  # fmt: skip
@attack(
    "a life that wraps around",
    "cap_grant of a rule with no, negative and huge lifetimes by who holds `bank`",
    stopped_by=r"reply vm.* to evil.*: invalid argument",
    each="rule",
)
def test_a_life_that_wraps(scene: Scene, rule: str) -> None:
    serve_vm(scene)
    evil, friend = scene.agent("evil", "vm", "bank"), scene.agent("friend", "vm")
    assert evil.call("vm", abi.CapGrant(friend.id, rule)).error == -11


@attack(
    "a message kept for later",
    "A one-way message is put into a full queue while it is allowed, to arrive when it isn't "
    "any more",
    stopped_by=r"lost evil.* ping: would block",
)
def test_a_message_kept_for_later(scene: Scene) -> None:
    """What waits for a guest isn't kept at all: it is there, or it is lost."""
    victim = scene.agent("victim", service="victim")
    evil = scene.agent("evil", "victim once")
    for _ in range(3):
        evil.reply(victim.id, raw(PING, 0, 666))
    scene.kernel.revoke(evil.task, "victim")
    victim.begin(RECV)
    assert not victim.is_back


@pytest.mark.parametrize("how", ["grant", "parent", "expiry", "task", "deny"])
def test_spent_in_flight(scene: Scene, how: str) -> None:
    """A call by a grant's last use ends when that grant, or what it came from, is taken back."""
    scene.serve(Slow())
    giver, evil = scene.agent("giver", "slow"), scene.agent("evil")
    parent = giver.grants[0]
    grant = parent.delegate(evil.task, uses=1, seconds=60 if how == "expiry" else None)
    evil.begin_call("slow", abi.Ping(1))
    if how == "grant":
        grant.revoke()
    elif how == "parent":
        parent.revoke()
    elif how == "expiry":
        scene.kernel.run(timeout=61)
    elif how == "deny":
        scene.kernel.deny(evil.task, "slow")
    else:
        scene.kernel.revoke(evil.task, "slow")
    settle(scene.kernel)
    assert evil.is_back and evil.result().error == -8


@pytest.mark.parametrize("how", ["parent", "grant", "expiry"])
def test_a_spent_socket(scene: Scene, how: str) -> None:
    """So does what was opened by a last use."""
    serve(scene)
    giver = scene.agent("giver", "tcpip")
    evil = scene.agent("evil", f'tcpip.connect(dst_addr="{OTHER}")')
    parent = giver.grants[0]
    rule = f'tcpip.connect(dst_addr="{PUBLIC}")'
    grant = parent.delegate(evil.task, rule, uses=1, seconds=60 if how == "expiry" else None)
    assert connect(evil, PUBLIC) == 0
    sock = evil.result().message.sock
    if how == "parent":
        parent.revoke()
    elif how == "grant":
        grant.revoke()
    else:
        scene.kernel.run(timeout=61)
    settle(scene.kernel)
    assert evil.call("tcpip", abi.TcpipWrite(sock, b"x")).error != 0
