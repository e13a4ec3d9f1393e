"""Forged ids, types and senders."""

from __future__ import annotations

import pytest

from tests.attacks.agent import raw
from tests.attacks.attack import Bank, Scene, attack, settle, wat
from wasmos import abi

PING = abi.Ping.TYPE
EDGES = [0, -1, -(2**31), 2**31 - 1, 2**24, 65535]


@attack(
    "every task id",
    "Calls and one-way messages to each id from -5 to 200, without a capability",
    stopped_by=r"denial evil.* bank\.ping\(.*no_capability",
)
def test_every_task_id(scene: Scene) -> None:
    bank = Bank()
    scene.serve(bank)
    scene.guest("server", wat.SERVER, service="server")
    passive = scene.guest("passive", wat.PASSIVE, service="passive")
    settle(scene.kernel)
    before = {task.id: task.account() for task in scene.kernel.tasks}
    body = "".join(
        f"""(call $put #{wat.M} #{PING} #666)
        (if (i32.ge_s (call $call #{id} #{wat.M}) #0) (then (return #{1000 + id})))
        (if (i32.ne (call $value) #666) (then (return #{2000 + id})))
        (call $reply #{id} #{wat.M})"""
        for id in range(-5, 201)
    )
    evil = scene.guest("evil", wat.program(body + "#0"))
    assert scene.kernel.wait(evil).code == 0
    assert bank.seen == []
    assert passive.account()["served"] == 0
    assert {task.id: task.account() for task in scene.kernel.tasks} == before


@pytest.mark.parametrize("id", EDGES)
@attack(
    "ids at the edges",
    "Calls to 0, negative, huge and unused ids by a task that holds everything",
    stopped_by=r"refused evil.*: invalid (argument|task)",
)
def test_ids_at_the_edges(scene: Scene, id: int) -> None:
    bank = Bank()
    scene.serve(bank)
    evil = scene.agent("evil", "*")
    assert evil.call(id, abi.Ping(1)).error in (-11, -12)
    evil.reply(id, abi.Ping(1))
    assert bank.seen == []


@attack(
    "a recycled id",
    "Calls with the id of a service that has ended, when another task has its place in the table",
    stopped_by=r"refused evil.* ping: invalid task",
)
def test_a_recycled_id(scene: Scene) -> None:
    old = scene.serve(Bank("old"))
    evil = scene.agent("evil", "old")
    assert evil.call(old.id, abi.Ping(1)).message == abi.PingReply(1)
    old.kill()
    for n in range(300):  # until the place is somebody else's
        bank = Bank(f"bank{n}")
        new = scene.serve(bank)
        if new.id & 0xFF == old.id & 0xFF:
            break
        new.kill()
    assert new.id != old.id, "an id that was used is given out again"
    assert evil.call(old.id, abi.Ping(1)).error == -12
    assert evil.call(new.id, abi.Ping(1)).error == -8
    assert bank.seen == []


@attack(
    "a call to oneself",
    "A task that holds everything calls its own id, to answer its own request",
    stopped_by=r"refused evil.* to evil.* ping: invalid argument",
)
def test_a_call_to_oneself(scene: Scene) -> None:
    evil = scene.agent("evil", "*")
    assert evil.call(evil.id, abi.Ping(1)).error == -11


@pytest.mark.parametrize("src", [0, 1, -1, "victim", 2**31 - 1, -(2**31)])
@attack(
    "a forged sender of a call",
    "A guest writes another task's id, the kernel's or none into `src` of its message",
    stopped_by=r"call evil\[\d+\] to server",
)
def test_a_forged_sender_of_a_call(scene: Scene, src: int | str) -> None:
    victim = scene.agent("victim", "server")
    server = scene.agent("server", service="server")
    evil = scene.agent("evil", "server")
    server.begin_recv()
    evil.begin_call(server.id, raw(PING, victim.id if isinstance(src, str) else src, 5))
    assert server.result().src == evil.id


@attack(
    "a forged sender of a one-way message",
    "A guest writes the victim's id into `src` of a message that nobody answers",
    stopped_by=r"oneway evil\[\d+\] to bank",
)
def test_a_forged_sender_of_a_oneway(scene: Scene) -> None:
    bank = Bank()
    scene.serve(bank)
    victim = scene.agent("victim", "bank")
    evil = scene.agent("evil", "bank")
    evil.reply(scene.kernel.services["bank"], raw(abi.TaskDestroyed.TYPE, victim.id, 7))
    assert bank.seen == [(evil.id, 7)]


@attack(
    "a forged sender of a reply",
    "A service answers with the id of `vm` in `src`, so that its client takes it for `vm`",
    stopped_by=r"reply evil\[\d+\] to victim.* ping_reply",
)
def test_a_forged_sender_of_a_reply(scene: Scene) -> None:
    victim = scene.agent("victim", "service")
    evil = scene.agent("evil", service="service")
    victim.begin_call(evil.id, abi.Ping(1))
    evil.recv()
    evil.reply(victim.id, raw(PING + 1, abi.VM, 5))
    assert victim.result().src == evil.id


@pytest.mark.parametrize("kind", [abi.Exception_, abi.PageFault, abi.Notify, abi.NotifyTimer])
@attack(
    "the kernel's own messages",
    "A task that holds everything sends `notify`, `exception`, `page_fault` with the kernel as src",
    stopped_by=r"refused evil.* (exception|page_fault|notify|notify_timer): not supported",
)
def test_the_kernels_own_messages(scene: Scene, kind: type[abi.Message]) -> None:
    server = scene.agent("server", service="server")
    evil = scene.agent("evil", "*")
    server.begin_recv()
    assert evil.call(server.id, raw(kind.TYPE, -1, 1)).error == -9
    evil.reply(server.id, raw(kind.TYPE, -1, 1))
    assert not server.is_back


@attack(
    "a kernel's message as an answer",
    "A service answers its client with `exception`, as if the kernel had spoken",
    stopped_by=r"reply evil\[\d+\] to victim",
)
def test_a_kernels_message_as_an_answer(scene: Scene) -> None:
    victim = scene.agent("victim", "service")
    evil = scene.agent("evil", service="service")
    victim.begin_call(evil.id, abi.Ping(1))
    evil.recv()
    evil.reply(victim.id, raw(abi.Exception_.TYPE, -1, 1, 1))
    assert (victim.result().error, victim.result().src) == (-10, evil.id)


@pytest.mark.parametrize("type", [-1, -8, -(2**31)])
@attack(
    "an error as a request",
    "A guest sends a message of a negative type, which only answers have",
    stopped_by=r"refused evil.*: invalid argument",
)
def test_an_error_as_a_request(scene: Scene, type: int) -> None:
    server = scene.agent("server", service="server")
    evil = scene.agent("evil", "server")
    server.begin_recv()
    assert evil.call(server.id, raw(type, 0, 1)).code == -11
    evil.reply(server.id, raw(type, 0, 1))
    assert not server.is_back


@pytest.mark.parametrize("type", [0, 21, 999, 2**31 - 1])
@attack(
    "a type that nobody has defined",
    "Who may send one message only sends types 0, 999 and 2^31-1",
    stopped_by=r"denial evil.* bank\.\w+.* message grant",
)
def test_a_type_that_nobody_has_defined(scene: Scene, type: int) -> None:
    bank = Bank()
    scene.serve(bank)
    evil = scene.agent("evil", "bank.ping")
    assert evil.call("bank", raw(type, 0, 1)).error == -8
    evil.reply(scene.kernel.services["bank"], raw(type, 0, 1))
    assert bank.seen == []


@attack(
    "guessed numbers of capabilities",
    "cap_accept and cap_revoke with each number up to 60, and at the edges of 32 bits",
    stopped_by=r"reply vm\[1\] to evil.*: not found",
)
def test_guessed_numbers_of_capabilities(scene: Scene) -> None:
    from wasmos.servers.vm import Vm

    scene.serve(Vm())
    scene.serve(Bank())
    victim = scene.agent("victim", "bank", "bank.ping for 60s")
    friend = scene.agent("friend")
    scene.kernel.pass_on(victim.task, friend.task, "bank", offer=True)
    evil = scene.agent("evil", "vm")
    before = {g.id: (g.holder, g.state) for g in scene.kernel.grants}
    own = {grant.id for grant in evil.task.grants}
    for number in [*range(60), -1, 2**31 - 1, -(2**31)]:
        if number not in own:
            assert evil.call("vm", abi.CapAccept(number)).error == -7
            assert evil.call("vm", abi.CapRevoke(number)).error == -7
    assert {g.id: (g.holder, g.state) for g in scene.kernel.grants} == before
