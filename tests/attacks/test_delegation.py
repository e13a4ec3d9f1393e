"""Delegation beyond what is held."""

from __future__ import annotations

import pytest

from tests.attacks.agent import offer
from tests.attacks.attack import Agent, Bank, Scene, attack, serve_vm
from wasmos import abi

LISTEN = "tcpip.listen(listen_port=80)"


def refused(giver: Agent, receiver: Agent | int, rule: str) -> int:
    held = len(giver._kernel.grants)
    task = receiver if isinstance(receiver, int) else receiver.id
    error = giver.call("vm", abi.CapGrant(task, rule)).error
    assert len(giver._kernel.grants) == held
    return error


MORE = {
    "a wider set": "tcpip.listen(listen_port=[80, 81])",
    "a wider range": "tcpip.listen(listen_port=80..65535)",
    "another value": "tcpip.listen(listen_port=443)",
    "no constraint": "tcpip.listen",
    "another message": "tcpip.connect(dst_port=80)",
    "the whole service": "tcpip",
    "another service": "fs",
    "everything": "*",
    "a badge": 'tcpip.listen(listen_port=80, bind="0.0.0.0")',
    "the longer name": "tcpip.tcpip_listen",
    "in quotes": '"tcpip"',
}


@pytest.mark.parametrize("more", MORE)
@attack(
    "passing on more than one holds",
    "cap_grant of a rule beyond tcpip.listen(listen_port=80), which is what it holds",
    stopped_by=r"denial evil.* vm\.cap_grant\(.*\) server",
    each="more",
)
def test_more_than_one_holds(scene: Scene, more: str) -> None:
    serve_vm(scene)
    evil, friend = scene.agent("evil", "vm", LISTEN), scene.agent("friend", "vm")
    assert refused(evil, friend, MORE[more]) == -8
    assert friend.call("tcpip" if "tcpip" in scene.kernel.services else 1, abi.Ping(1)).error == 0


HELD = 'fs(dir="/srv/data", at="/data", mode="ro")'
BADGES = {
    "its parent directory": 'fs(dir="/srv", at="/data", mode="ro")',
    "another directory": 'fs(dir="/etc", at="/data", mode="ro")',
    "the same by dots": 'fs(dir="/srv/data/../../etc", at="/data", mode="ro")',
    "to write": 'fs(dir="/srv/data", at="/data", mode="rw")',
    "to write, by leaving it out": 'fs(dir="/srv/data", at="/data")',
    "another place": 'fs(dir="/srv/data", at="/", mode="ro")',
    "no directory": 'fs(at="/data", mode="ro")',
}


@pytest.mark.parametrize("badge", BADGES)
@attack(
    "passing on another badge",
    "cap_grant of a read-only directory as something else",
    stopped_by=r"denial evil.* vm\.cap_grant\(.*\) server",
    each="badge",
)
def test_another_badge(scene: Scene, badge: str) -> None:
    serve_vm(scene)
    evil, friend = scene.agent("evil", "vm", HELD), scene.agent("friend", "vm")
    assert refused(evil, friend, BADGES[badge]) == -8


@attack(
    "a badge out of everything",
    "A task that holds `*` passes on a directory of the host that nobody gave it",
    stopped_by=r"denial evil.* vm\.cap_grant\(.*\) server",
)
def test_a_badge_out_of_everything(scene: Scene) -> None:
    serve_vm(scene)
    evil, friend = scene.agent("evil", "*"), scene.agent("friend", "vm")
    assert refused(evil, friend, 'fs(dir="/", at="/", mode="rw")') == -8
    assert evil.call("vm", abi.SpawnGranted("child", 'fs(dir="/", mode="rw")')).error == -8


LIFETIMES = {
    "for longer": "bank for 61s",
    "for ever": "bank",
    "more often": "bank for 60s 3 times",
    "in another unit": "bank for 2m 2 times",
    "without an end": "bank 2 times",
}


@pytest.mark.parametrize("lifetime", LIFETIMES)
@attack(
    "passing on a longer life",
    "cap_grant of `bank for 60s 2 times` with a later end, more uses or none",
    stopped_by=r"denial evil.* vm\.cap_grant\(.*\) server",
    each="lifetime",
)
def test_a_longer_life(scene: Scene, lifetime: str) -> None:
    serve_vm(scene)
    scene.serve(Bank())
    evil, friend = scene.agent("evil", "vm", "bank for 60s 2 times"), scene.agent("friend", "vm")
    assert refused(evil, friend, LIFETIMES[lifetime]) == -8


@attack(
    "a life that begins anew",
    "It passes the same 60 seconds on just before they are over",
    stopped_by=r"expire friend.* bank for (1m|60s)",
)
def test_a_life_that_begins_anew(scene: Scene) -> None:
    serve_vm(scene)
    bank = Bank()
    scene.serve(bank)
    evil, friend = scene.agent("evil", "vm", "bank for 60s"), scene.agent("friend", "vm")
    scene.kernel.run(timeout=59)
    assert friend.call("vm", abi.CapAccept(offer(evil, friend, "bank for 60s"))).error == 0
    assert friend.call("bank", abi.Ping(1)).error == 0
    scene.kernel.run(timeout=2)
    assert friend.call("bank", abi.Ping(2)).error == -8
    assert [value for _, value in bank.seen] == [1]


@attack(
    "more at the end of a chain",
    "A passes a part on to B, B a part of it to C, and C back to A: each tries to widen it",
    stopped_by=r"denial c\[\d+\] vm\.cap_grant\(.*\) server",
)
def test_more_at_the_end_of_a_chain(scene: Scene) -> None:
    serve_vm(scene)
    bank = Bank()
    scene.serve(bank)
    a, b, c = scene.agent("a", "vm", "bank.ping"), scene.agent("b", "vm"), scene.agent("c", "vm")
    b.call("vm", abi.CapAccept(offer(a, b, "bank.ping(value=1..10)")))
    c.call("vm", abi.CapAccept(offer(b, c, "bank.ping(value=1..5)")))
    for wider in ("bank.ping", "bank.ping(value=1..10)", "bank.ping(value=0..5)", "bank"):
        assert refused(c, a, wider) == -8
    assert refused(b, c, "bank.ping(value=1..11)") == -8
    assert c.call("bank", abi.Ping(6)).error == -8
    assert b.call("bank", abi.Ping(11)).error == -8
    assert bank.seen == []


@attack(
    "back to oneself",
    "A task passes its right on to itself, to own a second one that outlives the first",
    stopped_by=r"reply vm.* to evil.*: invalid task",
)
def test_back_to_oneself(scene: Scene) -> None:
    serve_vm(scene)
    evil = scene.agent("evil", "vm", "bank")
    assert refused(evil, evil, "bank") == -12


@attack(
    "in a ring",
    "A to B to A: then the host takes A's first one back, and A goes on with the second",
    stopped_by=r"denial a\[\d+\] bank\.ping\(value=1\) revoked",
)
def test_in_a_ring(scene: Scene) -> None:
    serve_vm(scene)
    bank = Bank()
    scene.serve(bank)
    a, b = scene.agent("a", "vm", "bank"), scene.agent("b", "vm")
    b.call("vm", abi.CapAccept(offer(a, b, "bank")))
    a.call("vm", abi.CapAccept(offer(b, a, "bank")))
    first = next(g for g in a.grants if g.rule.service == "bank" and g.parent is None)
    scene.kernel.revoke(first)
    assert a.call("bank", abi.Ping(1)).error == -8
    assert b.call("bank", abi.Ping(1)).error == -8
    assert bank.seen == []


@pytest.mark.parametrize("task", ["ended", 0, -1, 9999, 2**31 - 1])
@attack(
    "to the dead",
    "cap_grant to a task that has ended, so that whoever gets its id has it; to ids that are none",
    stopped_by=r"reply vm.* to evil.*: invalid task",
)
def test_to_the_dead(scene: Scene, task: int | str) -> None:
    serve_vm(scene)
    evil, friend = scene.agent("evil", "vm", "bank"), scene.agent("friend", "vm")
    friend.task.kill()
    assert refused(evil, friend.id if isinstance(task, str) else task, "bank") == -12


@attack(
    "to a server of the host's",
    "cap_grant to vm and to fs, which would act with it for everybody",
    stopped_by=r"reply vm.* to evil.*: invalid task",
)
def test_to_a_server(scene: Scene) -> None:
    serve_vm(scene)
    bank = scene.serve(Bank())
    evil = scene.agent("evil", "vm", "bank")
    for task in (abi.VM, bank.id):
        assert refused(evil, task, "bank") == -12


@attack(
    "by a child that was given a part",
    "A spawned child, given value 1, passes more on to its own child",
    stopped_by=r"denial child.* vm\.spawn_granted\(.*\) server",
)
def test_by_a_child(scene: Scene) -> None:
    serve_vm(scene)
    bank = Bank()
    scene.serve(bank)
    evil = scene.agent("evil", "vm", "bank.ping")
    rules = "bank.ping(value=1)\nvm.spawn_granted\nvm.spawn_task"
    id = evil.call("vm", abi.SpawnGranted("child", rules)).message.task
    child = scene.adopt(scene.kernel.find(id))
    for wider in ("bank.ping", "bank.ping(value=2)", "vm"):
        assert child.call("vm", abi.SpawnGranted("grandchild", wider)).error == -8
    id = child.call("vm", abi.SpawnTask("grandchild")).message.task
    low = scene.adopt(scene.kernel.find(id))
    assert low.call("bank", abi.Ping(2)).error == -8
    assert low.call("bank", abi.Ping(1)).error == 0
    assert [value for _, value in bank.seen] == [1]


@attack(
    "an offer accepted twice",
    "cap_accept of the same offer again and again, to hold it several times",
    stopped_by=r"reply vm.* to evil.*: not found",
)
def test_accepted_twice(scene: Scene) -> None:
    serve_vm(scene)
    giver, evil = scene.agent("giver", "vm", "bank"), scene.agent("evil", "vm")
    cap = offer(giver, evil, "bank once")
    assert evil.call("vm", abi.CapAccept(cap)).error == 0
    assert evil.call("vm", abi.CapAccept(cap)).error == -7
    assert [str(grant.rule) for grant in evil.grants] == ["vm", "bank once"]


@attack(
    "an offer to somebody else",
    "A third task accepts what was offered to another, by its number",
    stopped_by=r"reply vm.* to evil.*: not found",
)
def test_an_offer_to_somebody_else(scene: Scene) -> None:
    serve_vm(scene)
    bank = Bank()
    scene.serve(bank)
    giver, friend = scene.agent("giver", "vm", "bank"), scene.agent("friend", "vm")
    evil = scene.agent("evil", "vm")
    cap = offer(giver, friend, "bank")
    assert evil.call("vm", abi.CapAccept(cap)).error == -7
    assert evil.call("bank", abi.Ping(1)).error == -8
    assert giver.call("vm", abi.CapAccept(cap)).error == -7
    assert friend.call("vm", abi.CapAccept(cap)).error == 0


@attack(
    "an offer used before it is accepted",
    "The receiver of an offer uses it, passes it on, and spawns with it, without accepting",
    stopped_by=r"denial evil.* bank\.ping\(value=1\) no_capability",
)
def test_an_offer_that_is_only_one(scene: Scene) -> None:
    serve_vm(scene)
    bank = Bank()
    scene.serve(bank)
    giver, evil = scene.agent("giver", "vm", "bank"), scene.agent("evil", "vm")
    friend = scene.agent("friend", "vm")
    offer(giver, evil, "bank")
    assert evil.call("bank", abi.Ping(1)).error == -8
    assert refused(evil, friend, "bank") == -8
    assert evil.call("vm", abi.SpawnGranted("child", "bank")).error == -8
    assert evil.lookup("bank") == -8
    assert bank.seen == []


@attack(
    "an offer accepted after it was taken back",
    "The receiver keeps the number, and accepts when the giver has thought better of it",
    stopped_by=r"reply vm.* to evil.*: not found",
)
def test_an_offer_taken_back(scene: Scene) -> None:
    serve_vm(scene)
    giver, evil = scene.agent("giver", "vm", "bank"), scene.agent("evil", "vm")
    cap = offer(giver, evil, "bank")
    assert giver.call("vm", abi.CapRevoke(cap)).error == 0
    assert evil.call("vm", abi.CapAccept(cap)).error == -7


@attack(
    "an offer that gets in the way",
    "A stranger offers what a task holds already, so that passing it on or spawning with it fails",
    stopped_by=r"delegate child.* bank\.ping grant \d+ from \d+ by task",
)
def test_an_offer_in_the_way(scene: Scene) -> None:
    """The victim does all that as if nothing had been offered, and sees none of it."""
    serve_vm(scene)
    scene.serve(Bank())
    evil, friend = scene.agent("evil", "vm", "bank"), scene.agent("friend", "vm")
    victim = scene.agent("victim", "vm")
    for _ in range(20):
        offer(evil, victim, "bank")
    scene.kernel.grant(victim.task, "bank")  # later than the offers
    assert victim.call("vm", abi.CapGrant(friend.id, "bank")).error == 0
    child = victim.call("vm", abi.SpawnGranted("child", "bank.ping"))
    assert child.error == 0
    assert [g.rule.service for g in victim.grants] == ["vm", "bank"]


@pytest.mark.parametrize("later", [False, True])
@attack(
    "a way around a deny rule",
    "A task that is denied value 25 passes its right on to a friend and a child, who aren't",
    stopped_by=r"denial (friend|child).* bank\.ping\(value=25\) field",
)
def test_around_a_deny_rule(scene: Scene, later: bool) -> None:
    serve_vm(scene)
    bank = Bank()
    scene.serve(bank)
    evil, friend = scene.agent("evil", "vm", "bank"), scene.agent("friend", "vm")

    def deny() -> None:
        scene.kernel.deny(evil.task, "bank.ping(value=25)", origin="policy.toml:9")

    if not later:
        deny()
    friend.call("vm", abi.CapAccept(offer(evil, friend, "bank")))
    id = evil.call("vm", abi.SpawnGranted("child", "bank.ping")).message.task
    child = scene.adopt(scene.kernel.find(id))
    if later:
        deny()
    for agent in (evil, friend, child):
        assert agent.call("bank", abi.Ping(25)).error == -8
        assert agent.call("bank", abi.Ping(24)).error == 0
    assert 25 not in [value for _, value in bank.seen]


@attack(
    "to lift one's own deny rule",
    "cap_revoke of the number of the rule that denies it something",
    stopped_by=r"reply vm.* to evil.*: not found",
)
def test_lifting_a_deny_rule(scene: Scene) -> None:
    serve_vm(scene)
    evil = scene.agent("evil", "*")
    rule = scene.kernel.deny(evil.task, "bank")
    assert evil.call("vm", abi.CapRevoke(rule.id)).error == -7
    assert rule.state == "live"


@attack(
    "to take back what others gave",
    "A sibling, the receiver's friend and a stranger revoke a grant between two other tasks",
    stopped_by=r"reply vm.* to evil.*: not found",
)
def test_taking_back_what_others_gave(scene: Scene) -> None:
    serve_vm(scene)
    scene.serve(Bank())
    giver, friend = scene.agent("giver", "vm", "bank"), scene.agent("friend", "vm")
    evil = scene.agent("evil", "vm", "bank")
    cap = offer(giver, friend, "bank")
    friend.call("vm", abi.CapAccept(cap))
    root = next(g.id for g in giver.grants if g.rule.service == "bank")
    for number in (cap, root):
        assert evil.call("vm", abi.CapRevoke(number)).error == -7
    assert friend.call("vm", abi.CapRevoke(root)).error == -7  # not what it came from
    assert friend.call("bank", abi.Ping(1)).error == 0


TRICKS = [
    "bank\n*", "bank, *", "bank *", "bank.ping()*", "bank.*", "b*", "bank.ping(value=1) or *",
    "bank.ping(value=-1..)", "bank.ping(value=4294967297)", "bank.ping(value=1, value=2)",
    "bank for -1s", "bank 0 times", "bank for 0s", "bank for 1e9s", "bank.ping(value=1",
    "bank # *", "bank;*", "\ufeffbank", "bank\u200b", "ｂank", '"bank\\n*"', "*" * 1000,
    "bank.ping(value=[" + "1," * 400 + "1])",
]  # fmt: skip


@pytest.mark.parametrize("text", TRICKS)
@attack(
    "a rule that reads in two ways",
    "cap_grant with what isn't a rule, or another one than it looks like, by a holder of "
    "ping(value=1)",
    stopped_by=r"(reply vm.* to evil.*: (invalid argument|too large)|denial evil.* vm\.cap_grant)",
    each="text",
)
def test_a_rule_that_reads_in_two_ways(scene: Scene, text: str) -> None:
    serve_vm(scene)
    evil, friend = scene.agent("evil", "vm", "bank.ping(value=1)"), scene.agent("friend", "vm")
    if text.startswith("bank.ping(value=["):
        text = text.replace("1])", "2])")
    assert refused(evil, friend, text) in (-8, -11)
