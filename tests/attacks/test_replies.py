"""Forged, repeated, late and unasked answers."""

from __future__ import annotations

import pytest

from tests.attacks.agent import raw
from tests.attacks.attack import Bank, Scene, Slow, attack, settle
from wasmos import abi

PING, PONG = abi.Ping.TYPE, abi.PingReply.TYPE


@attack(
    "an answer to nobody's question",
    "A service that a task may use answers it while it runs and asks nothing",
    stopped_by=r"lost evil.* to victim.* ping_reply: would block",
)
def test_an_answer_to_no_question(scene: Scene) -> None:
    evil = scene.agent("evil", service="service")
    victim = scene.agent("victim", "service", "bank")
    scene.serve(Bank())
    evil.reply(victim.id, raw(PONG, 0, 666))
    assert victim.call("bank", abi.Ping(1)).message == abi.PingReply(1)
    assert victim.task.account()["mailbox"] == 0


@attack(
    "an answer by a stranger",
    "A third task answers a call between two others, in the callee's name",
    stopped_by=r"denial evil.* victim\.ping_reply\(.*no_capability",
)
def test_an_answer_by_a_stranger(scene: Scene) -> None:
    server = scene.agent("server", service="server")
    victim = scene.agent("victim", "server")
    evil = scene.agent("evil")
    victim.begin_call(server.id, abi.Ping(1))
    server.recv()  # from now on its answer is awaited
    evil.reply(victim.id, raw(PONG, server.id, 666))
    assert not victim.is_back
    server.reply(victim.id, raw(PONG, 0, 1))
    assert (victim.result().message, victim.result().src) == (abi.PingReply(1), server.id)


@attack(
    "an answer by another of the caller's services",
    "A service that the caller may use, too, answers the call to its rival",
    stopped_by=r"lost evil.* to victim.* ping_reply: would block",
)
def test_an_answer_by_a_rival(scene: Scene) -> None:
    server = scene.agent("server", service="server")
    evil = scene.agent("evil", service="service")
    victim = scene.agent("victim", "server", "service")
    victim.begin_call(server.id, abi.Ping(1))
    server.recv()  # from now on its answer is awaited
    evil.reply(victim.id, raw(PONG, server.id, 666))
    assert not victim.is_back
    server.reply(victim.id, raw(PONG, 0, 1))
    assert victim.result().message == abi.PingReply(1)


@attack(
    "an answer by the callee's accomplice",
    "The callee tells another task whom to answer: the right to reply isn't passed on so",
    stopped_by=r"denial accomplice.* victim\.ping_reply\(.*no_capability",
)
def test_an_answer_by_an_accomplice(scene: Scene) -> None:
    evil = scene.agent("evil", "accomplice", service="service")
    accomplice = scene.agent("accomplice", service="accomplice")
    victim = scene.agent("victim", "service")
    victim.begin_call(evil.id, abi.Ping(1))
    asker = evil.recv().src
    accomplice.begin_recv()
    evil.begin_call(accomplice.id, abi.Ping(asker))
    accomplice.reply(asker, raw(PONG, evil.id, 666))
    assert not victim.is_back


@attack(
    "a second answer",
    "A service answers the same call twice; the second is meant for the client's next call",
    stopped_by=r"lost evil.* to victim.* ping_reply: would block",
)
def test_a_second_answer(scene: Scene) -> None:
    server = scene.agent("server", service="server")
    evil = scene.agent("evil", service="service")
    victim = scene.agent("victim", "service", "server")
    victim.begin_call(evil.id, abi.Ping(1))
    evil.recv()
    evil.reply(victim.id, raw(PONG, 0, 1))
    victim.begin_call(server.id, abi.Ping(2))
    server.recv()
    evil.reply(victim.id, raw(PONG, server.id, 666))
    assert not victim.is_back
    server.reply(victim.id, raw(PONG, 0, 2))
    assert victim.result().message == abi.PingReply(2)


@attack(
    "an answer after the caller's death",
    "The caller is killed while its service thinks; its place goes to another task",
    stopped_by=r"lost evil.* ping_reply: invalid task",
)
def test_an_answer_after_the_callers_death(scene: Scene) -> None:
    evil = scene.agent("evil", service="service")
    caller = scene.agent("caller", "service")
    caller.begin_call(evil.id, abi.Ping(1))
    asker = evil.recv().src
    caller.task.kill()
    heirs = [scene.agent(f"heir{n}", "service") for n in range(3)]
    for heir in heirs:
        heir.begin_recv()
    evil.reply(asker, raw(PONG, 0, 666))
    assert not any(heir.is_back for heir in heirs)


@attack(
    "a late answer after revocation",
    "The caller's right is taken back while its service thinks, and the service answers then",
    stopped_by=r"denial evil.* caller\.ping_reply\(.*no_capability",
)
def test_a_late_answer_after_revocation(scene: Scene) -> None:
    evil = scene.agent("evil", service="service")
    caller = scene.agent("caller", "service")
    caller.begin_call(evil.id, abi.Ping(1))
    evil.recv()
    scene.kernel.revoke(caller.task, "service")
    assert (caller.result().code, caller.result().type) == (-8, PING)
    caller.begin_recv()
    evil.reply(caller.id, raw(PONG, 0, 666))
    assert not caller.is_back


@attack(
    "a late answer by a Python service",
    "The same with a service whose coroutine ends after its client's next call has begun",
    stopped_by=r"denial caller.* slow\.ping\(value=1\) revoked",
)
def test_a_late_answer_by_a_python_service(scene: Scene) -> None:
    slow = Slow()
    scene.serve(slow)
    caller = scene.agent("caller", "slow")
    caller.begin_call("slow", abi.Ping(1))
    scene.kernel.revoke(caller.task, "slow")
    assert caller.result().code == -8
    scene.kernel.grant(caller.task, "slow")
    caller.begin_call("slow", abi.Ping(2))
    first, second = slow.waiting
    if not first.done():
        first.set_result(666)
    settle(scene.kernel)
    assert not caller.is_back
    second.set_result(2)
    assert caller.result().message == abi.PingReply(2)


@pytest.mark.parametrize("message", [abi.TcpipData(3), abi.TcpipClosed(3), abi.TaskDestroyed(3)])
@attack(
    "a forged notice",
    "A guest sends `tcpip_data`, `tcpip_closed`, `task_destroyed` to a task that waits for one",
    stopped_by=r"denial evil.* victim\.\w+\(.*no_capability",
)
def test_a_forged_notice(scene: Scene, message: abi.Message) -> None:
    scene.serve(Bank("tcpip"))
    evil = scene.agent("evil", "tcpip")
    victim = scene.agent("victim", "tcpip", "vm")
    victim.begin_recv()
    evil.reply(victim.id, message)
    assert not victim.is_back


@attack(
    "a forged notice by another service",
    "A service that the task may use sends `tcpip_data`, and claims to be tcpip in `src`",
    stopped_by=r"oneway evil\[\d+\] to victim.* tcpip_data",
)
def test_a_forged_notice_by_another_service(scene: Scene) -> None:
    """It arrives, as from its sender: whoever waits for tcpip says so, and doesn't hear it."""
    tcpip = scene.serve(Bank("tcpip"))
    evil = scene.agent("evil", service="service")
    victim = scene.agent("victim", "tcpip", "service")
    victim.begin_recv(tcpip.id)
    evil.reply(victim.id, raw(abi.TcpipData.TYPE, tcpip.id, 3))
    assert not victim.is_back
    scene.kernel.notify(tcpip.id, victim.id, abi.TcpipData(4))
    assert victim.result().src == tcpip.id
    victim.begin_recv()
    evil.reply(victim.id, raw(abi.TcpipData.TYPE, tcpip.id, 3))
    assert victim.result().src == evil.id


@attack(
    "a notice to a task that never asked",
    "A service writes to a task that holds no capability for it",
    stopped_by=r"denial evil.* bystander\.tcpip_data\(.*no_capability",
)
def test_a_notice_to_a_task_that_never_asked(scene: Scene) -> None:
    evil = scene.agent("evil", service="service")
    bystander = scene.agent("bystander", "bank")
    bystander.begin_recv()
    evil.reply(bystander.id, abi.TcpipData(3))
    assert not bystander.is_back


@attack(
    "a notice to a task that one may not write to",
    "A service that a deny rule keeps from its client writes to it, which waits for that",
    stopped_by=r"denial evil.* victim\.tcpip_data\(.*denied",
)
def test_a_notice_to_a_task_that_one_may_not_write_to(scene: Scene) -> None:
    evil = scene.agent("evil", service="service")
    victim = scene.agent("victim", "service", service="victim")
    scene.kernel.deny(evil.task, "victim", origin="policy.toml:9")
    victim.begin_recv(evil.id)
    evil.reply(victim.id, abi.TcpipData(666))
    assert not victim.is_back


@attack(
    "a request without a reply",
    "A guest sends an rpc as a one-way message, so that it is done and accounted to nobody",
    stopped_by=r"lost evil.* to bank.* ping: not supported",
)
def test_a_request_without_a_reply(scene: Scene) -> None:
    bank = Bank()
    scene.serve(bank)
    evil = scene.agent("evil", "bank")
    evil.reply(scene.kernel.services["bank"], abi.Ping(1))
    assert bank.seen == []


@attack(
    "an answer as a request",
    "A guest calls a service with the type of its answer",
    stopped_by=r"reply bank.* to evil.*: not supported",
)
def test_an_answer_as_a_request(scene: Scene) -> None:
    bank = Bank()
    scene.serve(bank)
    evil = scene.agent("evil", "bank")
    assert evil.call("bank", abi.PingReply(1)).error == -9
    assert bank.seen == []


@attack(
    "a bare answer to a client in Python",
    "A service answers a call of the host's with another message than the one that belongs to it",
    stopped_by=r"error: .*an answer of type echo_reply",
)
def test_an_answer_of_another_type(scene: Scene) -> None:
    evil = scene.agent("evil", service="service")
    host = scene.kernel.client("host")
    host.begin("service", abi.Ping(1), lambda: None)
    evil.recv()
    evil.reply(host.id, abi.EchoReply(b"666"))
    with pytest.raises(Exception, match="unexpected") as refused:
        host.finish()
    scene.say(refused.value)
