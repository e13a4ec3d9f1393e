"""Use after revocation."""

from __future__ import annotations

import pytest

from tests.attacks.agent import CALL, S, offer, raw
from tests.attacks.attack import Bank, Scene, Slow, attack, serve_vm, settle, wat
from wasmos import abi
from wasmos.servers.clock import Clock
from wasmos.servers.fs import Fs, Image
from wasmos.system.operator import SharedVm

PING = abi.Ping.TYPE


@attack(
    "the next call",
    "A task keeps the id that it looked up, and calls again after its right was taken back",
    stopped_by=r"denial evil.* bank\.ping\(value=2\) revoked",
)
def test_the_next_call(scene: Scene) -> None:
    bank = Bank()
    id = scene.serve(bank).id
    evil = scene.agent("evil", "bank")
    assert evil.lookup("bank") == id
    evil.call(id, abi.Ping(1))
    scene.kernel.revoke(evil.task, "bank")
    assert evil.call(id, abi.Ping(2)).error == -8
    evil.reply(id, abi.TaskDestroyed(3))
    assert evil.lookup("bank") == -8
    assert bank.seen == [(evil.id, 1)]


def _sending(scene: Scene) -> str:
    scene.agent("service", service="service")  # busy with something else
    return "sending"


def _awaiting(scene: Scene) -> str:
    service = scene.agent("service", service="service")
    service.begin_recv()
    return "awaiting reply"


def _awaiting_python(scene: Scene) -> str:
    scene.serve(Slow(), name="service")
    return "awaiting reply"


def _awaiting_fibre(scene: Scene) -> str:
    scene.serve(Slow())
    body = f"(call $answer (call $ask @slow #{PING} #1))"
    scene.guest("service", wat.passive(body, fibre=True), "slow", service="service")
    return "awaiting reply"


STATES = {
    "queued at a busy service": _sending,
    "at a service in WebAssembly": _awaiting,
    "at a coroutine in Python": _awaiting_python,
    "in a passive service that waits itself": _awaiting_fibre,
}


@pytest.mark.parametrize("how", ["revoke", "deny", "kill its giver's right", "expiry"])
@pytest.mark.parametrize("state", STATES)
@attack(
    "a call half-way",
    "A call under way when its right is taken back, by revocation, a deny rule, or with its parent",
    stopped_by=r"denial evil.* service\.ping\(value=5\) revoked",
    each="state",
)
def test_a_call_half_way(scene: Scene, state: str, how: str) -> None:
    expected = STATES[state](scene)
    evil = scene.agent("evil")
    giver = scene.agent("giver", "service")
    parent = giver.grants[0]
    seconds = 60.0 if how == "expiry" else None
    mine = parent.delegate(evil.task, seconds=seconds)
    evil.begin(CALL, scene.kernel.services["service"], raw(PING, 0, 5))
    assert evil.task.account()["state"] == expected
    if how == "revoke":
        mine.revoke()
    elif how == "deny":
        scene.kernel.deny(evil.task, "service.ping")
    elif how == "expiry":
        scene.kernel.run(timeout=61)
    else:
        parent.revoke()
    assert (evil.result().code, evil.result().type) == (-8, PING)
    assert evil.call("service", abi.Ping(6)).error == -8


@pytest.mark.parametrize("how", ["revoke", "deny"])
@attack(
    "a call half-way that lends its own message",
    "A call that lends the memory where its message lies; its service, a friend, writes another "
    "message there, one that is still allowed when the right to the first one is taken back",
    stopped_by=r"denial evil.* service\.(console_)?take\(.*\) revoked",
)
def test_a_call_that_lends_its_own_message(scene: Scene, how: str) -> None:
    serve_vm(scene)
    friend = scene.agent("friend", "vm.lent_write", service="service")
    evil = scene.agent("evil", "service.ping", "service.console_take")
    friend.begin_recv()
    evil.begin_call("service", raw(abi.ConsoleTake.TYPE, 0, S, 16))
    assert friend.result().src == evil.id
    wrote = friend.call("vm", abi.LentWrite(evil.id, 0, raw(PING, 0, 5)))
    assert wrote.error == 0
    if how == "revoke":
        evil.grants[1].revoke()
    else:
        scene.kernel.deny(evil.task, "service.console_take")
    assert evil.result().code == -8


@pytest.mark.parametrize("how", ["revoke", "deny its giver"])
@attack(
    "a lookup half-way",
    "A lookup that waits for its service to come, when the right to it is taken back, or is denied "
    "to whom it came from",
    stopped_by=r"lookup evil",
)
def test_a_lookup_half_way(scene: Scene, how: str) -> None:
    giver, evil = scene.agent("giver", "late"), scene.agent("evil")
    giver.grants[0].delegate(evil.task, "late")
    evil.begin(4, 0, b"late\0")
    assert not evil.is_back
    if how == "revoke":
        scene.kernel.revoke(evil.task, "late")
    else:
        scene.kernel.deny(giver.task, "late")
    assert evil.result().code == -8
    scene.serve(Bank("late"))
    assert evil.result().code == -8


@attack(
    "a lookup by vm half-way",
    "The same by vm's service_lookup, which waits in Python",
    stopped_by=r'denial evil.* vm\.service_lookup\(name="late"\) server',
)
def test_a_lookup_by_vm_half_way(scene: Scene) -> None:
    serve_vm(scene)
    evil = scene.agent("evil", "vm", "late")
    evil.begin_call("vm", abi.ServiceLookup("late"))
    scene.kernel.revoke(evil.task, "late")
    scene.serve(Bank("late"))
    assert evil.result().error == -8


@attack(
    "a file opened before",
    "Its directory is taken back; it goes on with the number of the open file",
    stopped_by=r"denial evil.* fs\.read\(fd=1, len=100\) revoked",
)
def test_a_file_opened_before(scene: Scene) -> None:
    image = Image()
    image.put("secret", b"SECRET")
    scene.serve(Fs(image))
    evil = scene.agent("evil", "fs")
    fd = evil.call("fs", abi.FsOpen("secret", 0)).message.fd
    scene.kernel.revoke(evil.task, "fs")
    for message in (abi.FsRead(fd, 100), abi.FsWrite(fd, b"x"), abi.FsClose(fd)):
        assert evil.call("fs", message).error == -8
    assert image.get("secret") == b"SECRET"


@attack(
    "a file opened before, with another right",
    "It still holds `fs` for another directory, which admits the message but isn't for that file",
    stopped_by=r"denial evil.* fs\.(read|write)\(.*\) server .*the grant that it was opened under",
)
def test_a_file_opened_under_another_right(scene: Scene) -> None:
    (scene.folder / "a").mkdir()
    (scene.folder / "b").mkdir()
    (scene.folder / "a" / "secret").write_bytes(b"SECRET")
    scene.serve(Fs())
    evil = scene.agent(
        "evil", f'fs(dir="{scene.folder}/a", at="/a")', f'fs(dir="{scene.folder}/b", at="/b")'
    )
    fd = evil.call("fs", abi.FsOpen("/a/secret", 0)).message.fd
    evil.grants[0].revoke()
    for message in (abi.FsRead(fd, 100), abi.FsWrite(fd, b"x")):
        answer = evil.call("fs", message)
        assert answer.error == -8 and b"SECRET" not in answer.data
    scene.kernel.grant(evil.task, f'fs(dir="{scene.folder}/a", at="/a")')
    assert evil.call("fs", abi.FsRead(fd, 100)).error == -8  # a new right isn't the old one
    assert (scene.folder / "a" / "secret").read_bytes() == b"SECRET"


@attack(
    "a child that goes on",
    "The right of a parent is taken back while its child and its child's child use theirs",
    stopped_by=r"denial grandchild.* bank\.ping\(value=1\) revoked",
)
def test_a_child_that_goes_on(scene: Scene) -> None:
    serve_vm(scene)
    bank = Bank()
    scene.serve(bank)
    evil = scene.agent("evil", "vm", "bank")
    child = scene.adopt(scene.kernel.find(evil.call("vm", abi.SpawnTask("child")).message.task))
    low = scene.adopt(scene.kernel.find(child.call("vm", abi.SpawnTask("grandchild")).message.task))
    assert low.call("bank", abi.Ping(0)).error == 0
    evil.exit()  # what it passed on goes on, and can still be taken back
    settle(scene.kernel)
    assert child.call("bank", abi.Ping(0)).error == 0
    root = next(g for g in scene.kernel.grants if g.rule.service == "bank" and g.parent is None)
    scene.kernel.revoke(root)
    for agent in (child, low):
        assert agent.call("bank", abi.Ping(1)).error == -8
    assert [value for _, value in bank.seen] == [0, 0]


@attack(
    "to be given it back in time",
    "A friend passes its own right on again at once: the host's deny rule wins over it",
    stopped_by=r"denial evil.* bank\.ping\(value=1\) denied",
)
def test_given_back_in_time(scene: Scene) -> None:
    serve_vm(scene)
    bank = Bank()
    scene.serve(bank)
    friend, evil = scene.agent("friend", "vm", "bank"), scene.agent("evil", "vm", "bank")
    scene.kernel.deny(evil.task, "bank", origin="policy.toml:9")
    assert evil.call("vm", abi.CapAccept(offer(friend, evil, "bank"))).error == 0
    assert evil.call("bank", abi.Ping(1)).error == -8
    assert evil.lookup("bank") == -8
    assert bank.seen == []


@attack(
    "notices after revocation",
    "A task whose right to tcpip is gone goes on hearing of its sockets",
    stopped_by=r"denial tcpip.* evil\.tcpip_data\(sock=3\) no_capability",
)
def test_notices_after_revocation(scene: Scene) -> None:
    tcpip = scene.serve(Bank("tcpip"))
    evil = scene.agent("evil", "tcpip")
    evil.begin_recv()
    scene.kernel.revoke(evil.task, "tcpip")
    scene.kernel.notify(tcpip.id, evil.id, abi.TcpipData(3))
    settle(scene.kernel)
    assert not evil.is_back


@attack(
    "an alarm that was set before",
    "A task that may use the clock no more, but for its resolution, waits for the alarms that it "
    "has set, to know what time it is by them",
    stopped_by=r"revoke evil.* clock",
)
def test_an_alarm_that_was_set_before(scene: Scene) -> None:
    scene.serve(Clock())
    evil = scene.agent("evil", "clock.resolution", "clock")
    for seconds in range(1, 10):
        evil.call("clock", abi.ClockSetAlarm(seconds, 1, seconds * 1_000_000_000))
    evil.grants[-1].revoke()
    evil.begin_recv()
    scene.kernel.run(timeout=60)
    assert not evil.is_back


@attack(
    "a watch that goes on",
    "A task that was let watch the ends of tasks for a minute, and may still use vm for something "
    "else, goes on hearing of them",
    stopped_by=r"expire evil.* vm\.watch_tasks for 1m",
)
def test_a_watch_that_goes_on(scene: Scene) -> None:
    serve_vm(scene)
    evil = scene.agent("evil", "vm.ping", "vm.watch_tasks for 60s")
    evil.call("vm", abi.WatchTasks())
    scene.kernel.run(timeout=61)
    evil.begin_recv()
    scene.agent("victim").task.kill()
    settle(scene.kernel)
    assert not evil.is_back


@pytest.mark.parametrize("when", ["before", "later"])
@attack(
    "what a giver is denied, by its heir",
    "A task watches the ends of tasks, and looks up vm's name, by a right from one that is denied "
    "all of vm",
    stopped_by=r"denial evil.* vm.*lookup",
)
def test_what_a_giver_is_denied(scene: Scene, when: str) -> None:
    serve_vm(scene)
    giver, evil = scene.agent("giver", "vm"), scene.agent("evil")
    if when == "before":
        scene.kernel.deny(giver.task, "vm", origin="policy.toml:9")
    giver.grants[0].delegate(evil.task, "vm")
    evil.call("vm", abi.WatchTasks())
    if when == "later":
        scene.kernel.deny(giver.task, "vm", origin="policy.toml:9")
    assert giver.lookup("vm") == evil.lookup("vm") == -8
    evil.begin_recv()
    scene.agent("victim").task.kill()
    settle(scene.kernel)
    assert not evil.is_back


@attack(
    "a name that was given up",
    "A service is killed and another one comes under its name: a right that was taken back "
    "is for neither",
    stopped_by=r"denial evil.* bank\.ping\(value=2\) revoked",
)
def test_a_service_that_came_again(scene: Scene) -> None:
    first = Bank()
    old = scene.serve(first)
    evil = scene.agent("evil", "bank")
    assert evil.call("bank", abi.Ping(1)).error == 0
    old.kill()
    scene.kernel.revoke(evil.task, "bank")
    second = Bank()
    scene.serve(second)
    assert evil.call("bank", abi.Ping(2)).error == -8
    assert second.seen == []


@attack(
    "to give up what was taken back",
    "A task gives up a right that its operator has taken back, so that its next life, which has "
    "again what it gave up itself, is given it",
    stopped_by=r"reply vm.* to evil.*: not found",
)
def test_given_up_afterwards(scene: Scene) -> None:
    given_up: list[int] = []
    scene.serve(SharedVm(given_up=given_up.append))
    evil = scene.agent("evil", "vm", "pong", "echo")
    pong, echo = evil.grants[1:]
    scene.kernel.revoke(pong)
    assert evil.call("vm", abi.CapRevoke(pong.id)).error == abi.ErrorCode.NOT_FOUND
    assert evil.call("vm", abi.CapRevoke(echo.id)).error == 0
    assert given_up == [echo.id]


@attack(
    "a crash against a denial",
    "A task that its operator denies something ends with a trap, to be started again without that",
    stopped_by=r"denial evil.* bank\.ping\(value=2\) denied .*by hand",
)
def test_a_denial_in_the_next_life(scene: Scene) -> None:
    bank = Bank()
    scene.serve(bank)
    evil = scene.agent("evil", "bank")
    scene.kernel.deny(evil.task, "bank", origin="by hand")
    scene.kernel.kill(evil.task, cause="trapped")
    again = scene.agent("evil", "bank")
    scene.kernel.succeed(again.task, evil.task)
    assert again.call("bank", abi.Ping(2)).error == -8
    assert bank.seen == []


@pytest.mark.parametrize("how", ["revoke", "deny"])
@attack(
    "what was passed on in a former life",
    "A task passes its right on, traps and is started again. What it holds is taken back or "
    "denied, and its friend goes on by what the dead one gave",
    stopped_by=r"denial friend.* bank\.ping\(value=2\) (revoked|field)",
    each="how",
)
def test_passed_on_in_a_former_life(scene: Scene, how: str) -> None:
    serve_vm(scene)
    bank = Bank()
    scene.serve(bank)
    friend, evil = scene.agent("friend", "vm"), scene.agent("evil", "vm", "bank")
    assert friend.call("vm", abi.CapAccept(offer(evil, friend, "bank"))).error == 0
    scene.kernel.kill(evil.task, cause="trapped")
    again = scene.agent("evil", "vm", "bank")
    scene.kernel.succeed(again.task, evil.task)
    assert friend.call("bank", abi.Ping(1)).error == 0
    getattr(scene.kernel, how)(again.task, "bank")
    assert friend.call("bank", abi.Ping(2)).error == -8
    assert [value for _, value in bank.seen] == [1]
