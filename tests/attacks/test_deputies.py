"""Confused deputies: a server that acts for a client with more than the client has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.attack import Bank, Scene, Slow, attack, serve_vm, settle, wat
from wasmos import abi
from wasmos.servers.clock import Clock
from wasmos.servers.fs import Fs, Image
from wasmos.servers.random import Random


@pytest.fixture
def image() -> Iterator[Image]:
    image = Image()
    image.put("secret", b"SECRET")
    yield image
    assert image.get("secret") == b"SECRET"


@attack(
    "another task's file number",
    "A passes the number of its open file to B, which may open nothing there, and B reads "
    "and writes",
    stopped_by=r"reply fs.* to evil.*: invalid argument",
)
def test_another_tasks_file(scene: Scene, image: Image) -> None:
    scene.serve(Fs(image))
    victim, evil = scene.agent("victim", "fs"), scene.agent("evil", "fs")
    fd = victim.call("fs", abi.FsOpen("secret", 0)).message.fd
    for number in (fd, *range(-2, 70), 2**31 - 1, -(2**31)):
        for message in (abi.FsRead(number, 100), abi.FsWrite(number, b"x"), abi.FsClose(number)):
            answer = evil.call("fs", message)
            assert answer.error == -11 and b"SECRET" not in answer.data
    assert victim.call("fs", abi.FsRead(fd, 100)).message == abi.FsReadReply(b"SECRET")


@attack(
    "a right to open that is none to this file",
    "B may open `public` only, and uses the number of A's `secret` with the messages that "
    "come with it",
    stopped_by=r"reply fs.* to evil.*: invalid argument",
)
def test_a_covered_message_with_another_tasks_number(scene: Scene, image: Image) -> None:
    image.put("public", b"public")
    scene.serve(Fs(image))
    victim = scene.agent("victim", "fs")
    evil = scene.agent("evil", 'fs.open(path="public")')
    evil.call("fs", abi.FsOpen("public", 0))
    victim.call("fs", abi.FsOpen("public", 0))
    fd = victim.call("fs", abi.FsOpen("secret", 0)).message.fd
    assert evil.call("fs", abi.FsRead(fd, 100)).error == -11
    assert evil.call("fs", abi.FsOpen("secret", 0)).error == -8


@attack(
    "two rights that make a third",
    "One is for opening only, and not read-only; the other is read-only. A file that was opened "
    "by the first is written by the second",
    stopped_by=r"denial evil.* fs\.write\(.*\) server .*no grant for this file",
)
def test_two_rights_that_make_a_third(scene: Scene) -> None:
    (scene.folder / "f").write_bytes(b"SECRET")
    scene.serve(Fs())
    here = f'dir="{scene.folder}", at="/data"'
    evil = scene.agent("evil", f"fs.open({here})", f'fs({here}, mode="ro")')
    assert evil.call("fs", abi.FsOpen("/data/f", 0)).message == abi.FsOpenReply(1)
    assert evil.call("fs", abi.FsWrite(1, b"x")).error == -8
    assert (scene.folder / "f").read_bytes() == b"SECRET"


@attack(
    "a deputy without authority",
    "A task that may not use the bank asks a service that may not either, and one that it calls",
    stopped_by=r"denial deputy\[\d+\] bank\.ping\(value=1\) no_capability",
)
def test_a_deputy_without_authority(scene: Scene) -> None:
    bank = Bank()
    bank_id = scene.serve(bank).id
    body = f"(call $answer (call $ask #{bank_id} #9 #1))"
    scene.guest("deputy", wat.passive(body, fibre=True), service="deputy")
    rich = scene.agent("rich", "deputy", "bank")
    assert rich.call("deputy", abi.Ping(1)).message == abi.PingReply(-8)
    assert bank.seen == []


@attack(
    "a service that borrows its client's right",
    "The service of a rich client calls the bank while the client waits for it",
    stopped_by=r"denial evil\[\d+\] bank\.ping\(value=1\) no_capability",
)
def test_a_service_borrows_its_clients_right(scene: Scene) -> None:
    bank = Bank()
    scene.serve(bank)
    evil = scene.agent("evil", service="service")
    rich = scene.agent("rich", "service", "bank")
    rich.begin_call(evil.id, abi.Ping(1))
    evil.recv()
    assert evil.call("bank", abi.Ping(1)).error == -8
    assert bank.seen == []


@attack(
    "the badge of a call that isn't one's own",
    "A service asks vm for the capability behind a call that a task makes to somebody else",
    stopped_by=r"reply vm.* to evil.*: not found",
)
def test_the_badge_of_another_call(scene: Scene) -> None:
    serve_vm(scene)
    scene.serve(Slow())
    evil = scene.agent("evil", "vm", service="service")
    victim = scene.agent("victim", "slow", 'vm.service_register(name="hidden")')
    victim.begin_call("slow", abi.Ping(1))
    for task in [*range(20), -1, 2**31 - 1]:
        if task != evil.id:  # which calls vm at this moment
            assert evil.call("vm", abi.CapBadge(task)).error == -7


@attack(
    "vm spawns with more than the asker holds",
    "A task that may ping the bank asks for a child that may do everything, by each wording of it",
    stopped_by=r"denial evil.* vm\.spawn_granted.* server .* \(\*\)",
)
def test_spawning_with_more_than_one_has(scene: Scene) -> None:
    serve_vm(scene)
    bank = Bank()
    scene.serve(bank)
    evil = scene.agent("evil", "vm", "bank.ping(value=1)")
    wanted = [
        "*", "bank", "bank.ping", "bank.ping(value=[1, 2])", "bank.ping(value=1)\n*",
        "bank.ping(value=1)\r\nbank", "bank.ping(value=1)\x85bank", "bank.ping(value=1)\u2028bank",
        "bank.echo", "fs", 'vm.service_register(name="bank")',
    ]  # fmt: skip
    for rules in wanted:
        assert evil.call("vm", abi.SpawnGranted("child", rules)).error in (-8, -11)
    assert not any(task.name == "child" for task in scene.kernel.tasks)


@attack(
    "vm spawns what its own manifest allows everything",
    "A poor task starts a program that the operator would give `*`: the child gets what it "
    "has, too",
    stopped_by=r"denial child.* bank\.ping\(value=1\) no_capability",
)
def test_spawning_a_richer_program(scene: Scene) -> None:
    serve_vm(scene)
    bank = Bank()
    scene.serve(bank)
    evil = scene.agent("evil", "vm.spawn_task")
    id = evil.call("vm", abi.SpawnTask("child")).message.task
    child = scene.adopt(scene.kernel.find(id))
    assert child.call("bank", abi.Ping(1)).error == -8
    assert bank.seen == []


@attack(
    "vm kills for a stranger",
    "destroy_task of a task that is no descendant, of a server, and of every id up to 60",
    stopped_by=r"denial evil.* vm\.destroy_task\(task=\d+\) server .*destroy_task",
)
def test_killing_a_stranger(scene: Scene) -> None:
    serve_vm(scene)
    bank = scene.serve(Bank())
    victim = scene.agent("victim", "bank")
    evil = scene.agent("evil", "vm")
    for id in (victim.id, bank.id, abi.VM, 2):
        assert evil.call("vm", abi.DestroyTask(id)).error == -8
    alive = {task.id for task in scene.kernel.tasks}
    for id in (*(id for id in range(60) if id != evil.id), -1, 2**31 - 1):
        evil.call("vm", abi.DestroyTask(id))
    assert {task.id for task in scene.kernel.tasks} == alive


@attack(
    "vm looks up for a stranger",
    "service_lookup of a name that the asker may not use, which `vm` itself could",
    stopped_by=r'denial evil.* vm\.service_lookup\(name="bank"\) server',
)
def test_looking_up_for_a_stranger(scene: Scene) -> None:
    serve_vm(scene)
    scene.serve(Bank())
    evil = scene.agent("evil", "vm")
    for name in ("bank", "nobody"):  # and it doesn't tell which of them there is
        assert evil.call("vm", abi.ServiceLookup(name)).error == -8
        assert evil.lookup(name) == -8


@attack(
    "the child's child",
    "A task ends its grandparent by way of a child: the line of descent only goes down",
    stopped_by=r"denial grandchild.* vm\.destroy_task\(task=\d+\) server",
)
def test_killing_upwards(scene: Scene) -> None:
    serve_vm(scene)
    top = scene.agent("top", "vm")
    child = scene.adopt(scene.kernel.find(top.call("vm", abi.SpawnTask("child")).message.task))
    low = scene.adopt(scene.kernel.find(child.call("vm", abi.SpawnTask("grandchild")).message.task))
    for victim in (top, child):
        assert low.call("vm", abi.DestroyTask(victim.id)).error == -8
    child.exit()
    settle(scene.kernel)
    assert low.call("vm", abi.DestroyTask(top.id)).error == -8
    assert top.task.exit is None


@attack(
    "the clock by way of another service",
    "A task that may use `random` alone sends it `clock_get`, which the core answers itself",
    stopped_by=r"reply random.* to evil.*: not supported",
)
def test_the_clock_by_way_of_another_service(scene: Scene) -> None:
    scene.serve(Clock())
    scene.serve(Random())
    ask = f"(drop (call $ask @random #{abi.ClockGet.TYPE} #0)) (i32.load #{wat.M})"
    evil = scene.guest("evil", wat.program(ask), "random")
    assert scene.kernel.wait(evil).code == abi.ErrorCode.NOT_SUPPORTED
