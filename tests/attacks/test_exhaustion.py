"""Exhaustion of capabilities, names and whatever else a task is given for asking."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import wasmos
from tests.attacks.agent import offer
from tests.attacks.attack import Bank, Scene, attack, serve_vm, settle, wat
from tests.support import wasmgen as gen
from tests.support.descriptors import descriptors_left, highest_of
from wasmos import _core, abi
from wasmos.cli import shown
from wasmos.errors import UsageError
from wasmos.kernel import pattern
from wasmos.kernel.bounds import MAX_COMPARED, MAX_EFFORT
from wasmos.servers.fs import Fs, Image
from wasmos.servers.fs.archive import check_archive
from wasmos.servers.reserve import RESERVED

PING = abi.Ping.TYPE


@attack(
    "countless offers",
    "cap_grant to a stranger, 400 times",
    stopped_by=r"reply vm.* to evil.*: no resources",
)
def test_countless_offers(scene: Scene) -> None:
    serve_vm(scene)
    evil, victim = scene.agent("evil", "vm", "bank"), scene.agent("victim", "vm", "bank")
    friend = scene.agent("friend", "vm")
    made = sum(not evil.call("vm", abi.CapGrant(victim.id, "bank")).error for _ in range(400))
    assert made == 256
    assert len(victim.grants) == 2
    assert victim.call("vm", abi.CapGrant(friend.id, "bank")).error == 0
    evil.task.kill()
    assert len(scene.kernel.grants) < 20


@attack(
    "countless offers by friends",
    "Offers accepted and passed on by 3 tasks: each has its own number, and none of the others'",
    stopped_by=r"reply vm.* to friend\d.*: no resources",
)
def test_countless_offers_by_friends(scene: Scene) -> None:
    serve_vm(scene)
    evil = scene.agent("evil", "vm", "bank")
    friends = [scene.agent(f"friend{n}", "vm") for n in range(3)]
    for friend in friends:
        friend.call("vm", abi.CapAccept(offer(evil, friend, "bank")))
        made = 0
        while not friend.call("vm", abi.CapGrant(evil.id, "bank")).error:
            made += 1
            assert made <= 256
    victim, other = scene.agent("victim", "vm", "bank"), scene.agent("other")
    assert victim.call("vm", abi.CapGrant(other.id, "bank")).error == 0


@attack(
    "a tower of grants",
    "A and B pass the same right on to each other, to make checks and revocation slow and deep",
    stopped_by=r"reply vm.* to [ab].*: no resources",
)
def test_a_tower_of_grants(scene: Scene) -> None:
    serve_vm(scene)
    scene.serve(Bank())
    a, b = scene.agent("a", "vm", "bank"), scene.agent("b", "vm")
    giver, receiver, height = a, b, 0
    top = next(g for g in a.grants if g.rule.service == "bank")
    while True:
        # The last one that it got is the deepest: the others are given up.
        answer = giver.call("vm", abi.CapGrant(receiver.id, "bank"))
        if answer.error:
            assert answer.error == -2
            break
        cap = answer.message.cap
        receiver.call("vm", abi.CapAccept(cap))
        height += 1
        assert height < 600
        giver, receiver = receiver, giver
    assert max(grant.depth for grant in scene.kernel.grants) < 32
    scene.kernel.revoke(top)
    assert {g.rule.service for g in scene.kernel.grants} == {"hand", "vm"}


def nested(count: int) -> list[str]:
    """Patterns, each of which matches less than the one before."""
    found = ["*"]
    while len(found) < count:
        found.append("a" + found[-1] if len(found) > 14 else "*a" + found[-1])
    return found


@attack(
    "a tower of patterns",
    "A and B pass ever narrower patterns on to each other; a check asks for those of all ancestors",
    stopped_by=r"reply vm.* to [ab].*: no resources",
)
def test_a_tower_of_patterns(scene: Scene) -> None:
    serve_vm(scene)
    a, b = scene.agent("a", "vm"), scene.agent("b", "vm")
    refused = False
    for _ in range(8):
        giver, receiver = a, b
        for stars in nested(20):
            rule = f'vm.cap_grant(rule="{stars}") {10**6} times'
            answer = giver.call("vm", abi.CapGrant(receiver.id, rule))
            code = answer.error or receiver.call("vm", abi.CapAccept(answer.message.cap)).error
            refused = refused or code == -2
            giver, receiver = receiver, giver
    assert refused
    for task in (a, b):
        assert sum(steps_of(grant) for grant in task.grants) <= MAX_EFFORT


def steps_of(grant: wasmos.Grant) -> int:
    """How many bytes are compared at most with a message that it turns out not to be for."""
    tests = [test for tests in grant.compiled[1].values() for test in tests if test[0] == "text"]
    return sum(len(tokens) * test[2] for test in tests for kind, tokens in test[4])


@attack(
    "more values than anybody needs",
    "cap_grant of a rule with 65 values of a field",
    stopped_by=r"reply vm.* to evil.*: no resources",
)
def test_more_values_than_anybody_needs(scene: Scene) -> None:
    serve_vm(scene)
    evil, friend = scene.agent("evil", "vm", "tcpip"), scene.agent("friend")
    rules = [
        f"tcpip.listen(listen_port=[{','.join(str(2 * n) for n in range(1, count))}])"
        for count in (65, 66)
    ]
    codes = [evil.call("vm", abi.CapGrant(friend.id, rule)).error for rule in rules]
    assert codes == [0, -2]
    assert evil.call("vm", abi.SpawnGranted("child", rules[1])).error == -2


@attack(
    "a rule that is compared with all that one holds",
    "With 100 grants of patterns, cap_grant of texts that all but the last of them match",
    stopped_by=r"reply vm.* to evil.*: no resources",
)
def test_a_rule_that_is_compared_with_all(scene: Scene) -> None:
    serve_vm(scene)
    friend, evil = scene.agent("friend", "vm", "tcpip"), scene.agent("evil", "vm")
    stars = ",".join(f'"*{letter}"' for letter in "abcdefghijklmnop")
    for n in range(100):
        rule = f"tcpip.dns_resolve(hostname=[{stars}]) {n + 10} times"
        cap = friend.call("vm", abi.CapGrant(evil.id, rule)).message.cap
        assert evil.call("vm", abi.CapAccept(cap)).error == 0
    texts = ",".join(f'"{letter * 15}"' for letter in "abcdefghijklmnopz")
    steps: list[int] = []
    contains = pattern.contains

    def counted(tokens: Any, inner: Any, mode: str) -> bool:
        steps.append(len(tokens) * len(inner))
        return contains(tokens, inner, mode)

    with mock.patch.object(pattern, "contains", counted):
        rule = f"tcpip.dns_resolve(hostname=[{texts}]) once"
        assert evil.call("vm", abi.CapGrant(friend.id, rule)).error == -2
        assert evil.call("vm", abi.SpawnGranted("child", rule)).error == -2
    assert 0 < sum(steps) <= 2 * MAX_COMPARED


@attack(
    "a child that holds each rule in each way",
    "spawn_granted of 80 rules by a task with 200 grants, all of which have some of each",
    stopped_by=r"reply vm.* to evil.*: no resources",
)
def test_a_child_that_holds_each_rule_in_each_way(scene: Scene) -> None:
    serve_vm(scene)
    badge = 'fs(dir="/srv/data", at="/data", mode="ro")'
    friend, evil = scene.agent("friend", "vm", badge), scene.agent("evil", "vm", badge)
    for n in range(200):
        cap = friend.call("vm", abi.CapGrant(evil.id, f'fs.open(path="/{n}")')).message.cap
        assert evil.call("vm", abi.CapAccept(cap)).error == 0
    rules = "\n".join(f"fs for {n + 1}m" for n in range(80))
    made = []
    for _ in range(3):
        answer = evil.call("vm", abi.SpawnGranted("child", rules))
        assert not answer.error
        made.append(scene.adopt(scene.kernel.find(answer.message.task)))
    assert [len(child.grants) for child in made] == [80] * 3
    before = len(scene.kernel.grants), len(scene.kernel.tasks)
    assert evil.call("vm", abi.SpawnGranted("child", rules)).error == -2
    assert (len(scene.kernel.grants), len(scene.kernel.tasks)) == before
    made[0].task.kill()
    assert evil.call("vm", abi.SpawnGranted("child", rules)).error == 0


@attack(
    "countless names",
    "A task that may register any name registers 17",
    stopped_by=r"reply vm.* to evil.*: no resources",
)
def test_countless_names(scene: Scene) -> None:
    serve_vm(scene)
    evil = scene.agent("evil", "*")
    made = sum(not evil.call("vm", abi.ServiceRegister(f"name{n}")).error for n in range(40))
    assert made == 16
    other = scene.agent("other", "*")
    assert other.call("vm", abi.ServiceRegister("name39")).error == 0


@attack(
    "countless lookups",
    "5,000 lookups of names that the task makes up, to fill the kernel's tables with them",
    stopped_by=r"denial evil.*lookup.*no_capability|denial evil\[\d+\]: lookup: not allowed",
)
def test_countless_lookups(scene: Scene) -> None:
    body = wat.repeat(
        5_000,
        f"""(i32.store #{wat.M} (i32.or #0x01010101 (i32.or (i32.shl (i32.and (local.get $i) #63)
            #1) (i32.shl (i32.shr_u (local.get $i) #6) #9)))) (i32.store8 #{wat.M + 3} #0)
        (if (i32.ne (call $lookup #{wat.M}) #-8) (then (return #1)))""",
    )
    evil = scene.guest("evil", wat.program(body + "#0"))
    assert scene.kernel.wait(evil).code == 0
    assert len(scene.kernel.names._numbers) < 10
    assert len(evil.denied) <= 64


@attack(
    "a gate for each type",
    "Calls with 3,000 different types, each of which might get a table of its own",
    stopped_by=r"denial evil.* bank\.\d+ message",
)
def test_a_gate_for_each_type(scene: Scene) -> None:
    scene.serve(Bank())
    body = wat.repeat(
        3_000,
        f"""(call $put #{wat.M} (i32.add (i32.mul (local.get $i) #700001) #100) #1)
        (if (i32.ne (call $call #{scene.kernel.services["bank"]} #{wat.M}) #-8)
            (then (return #1)))""",
    )
    evil = scene.guest("evil", wat.program(body + "#0"), "bank.ping")
    assert scene.kernel.wait(evil).code == 0
    settle(scene.kernel)
    assert len(evil.denials) <= 64


@attack(
    "countless children",
    "spawn_granted until the system has no room: the number that vm may have is bounded",
    stopped_by=r"reply vm.* to evil.*: too many tasks",
)
def test_countless_children(scene: Scene) -> None:
    serve_vm(scene, max_tasks=8)
    evil = scene.agent("evil", "vm")
    made = sum(not evil.call("vm", abi.SpawnGranted("child", "")).error for _ in range(20))
    assert made == 8


@attack(
    "countless open files",
    "fs.open until there is no number left: 64 a task, and others have theirs",
    stopped_by=r"reply fs.* to evil.*: no resources",
)
def test_countless_open_files(scene: Scene) -> None:
    image = Image()
    image.put("f", b"x")
    scene.serve(Fs(image))
    evil, victim = scene.agent("evil", "fs"), scene.agent("victim", "fs")
    made = sum(not evil.call("fs", abi.FsOpen("f", 0)).error for _ in range(70))
    assert made == 64
    assert victim.call("fs", abi.FsOpen("f", 0)).error == 0


@attack(
    "the last descriptors",
    "Files are opened until this process can open no more: then the kernel couldn't even import",
    stopped_by=r"reply fs.* to evil.*: no resources",
)
def test_the_last_descriptors(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    scene.serve(Fs(max_open_files=1000, max_host_files=1000))
    evil = scene.agent("evil", f'fs(dir="{tmp_path}")')
    assert evil.call("fs", abi.FsOpen("f", 0)).error == 0
    with descriptors_left(100) as limit:
        made = sum(not evil.call("fs", abi.FsOpen("f", 0)).error for _ in range(100))
        # By number: other threads of this process open one for a moment when they like.
        assert highest_of(tmp_path / "f") == limit - RESERVED - 1
    assert made < 100


ARCHIVES: dict[str, tuple[str, bytes]] = {
    "a link of 64 KiB": ("l", tarfile.SYMTYPE),
    "a sparse file": ("f", b"S"),
    "a tree that is too deep": ("d/" * 129, tarfile.DIRTYPE),
    "a hard link": ("l", tarfile.LNKTYPE),
    "a device": ("d", tarfile.CHRTYPE),
    "a path out of it": ("../../x", tarfile.REGTYPE),
    "a name that a terminal obeys, and out of it": ("\x1b[2J/../..", tarfile.REGTYPE),
}


@attack(
    "a hostile archive",
    "What somebody was talked into using with --dir has in it what costs much, or leads out",
    stopped_by=r"error: fs: archive .*",
    each="form",
)
@pytest.mark.parametrize("form", ARCHIVES)
def test_a_hostile_archive(scene: Scene, tmp_path: Path, form: str) -> None:
    name, kind = ARCHIVES[form]
    member = tarfile.TarInfo(name)
    member.type = kind
    if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        member.linkname = "./" * 32_000
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(member)
    with pytest.raises(UsageError) as refused:
        check_archive(str(tmp_path / "a.tar"))
    scene.say(shown(f"error: {refused.value}"))


@attack(
    "a flood of one-way messages",
    "Without reading an answer, 10,000 messages to a task that doesn't take them",
    stopped_by=r"lost evil.* to victim.* would block",
)
def test_a_flood_of_messages(scene: Scene) -> None:
    victim = scene.agent("victim", service="victim")
    body = f"(call $put #{wat.M} #{PING} #1)" + wat.repeat(
        10_000, f"(call $reply #{victim.id} #{wat.M})"
    )
    evil = scene.guest("evil", wat.program(body + "#0"), "victim")
    assert scene.kernel.wait(evil).code == 0
    assert victim.task.account()["mailbox"] == 0


@attack(
    "a flood of one-way messages to a Python service",
    "10,000 messages in one go to a service whose mailbox takes 256",
    stopped_by=r"lost evil.* to bank.* task_destroyed: would block",
)
def test_a_flood_to_a_python_service(scene: Scene) -> None:
    bank = Bank()
    id = scene.serve(bank).id
    body = f"(call $put #{wat.M} #{abi.TaskDestroyed.TYPE} #1)" + wat.repeat(
        10_000, f"(call $reply #{id} #{wat.M})"
    )
    evil = scene.guest("evil", wat.program(body + "#0"), "bank")
    scene.kernel.wait(evil)
    assert len(bank.seen) <= 256


@attack(
    "a flood of denials",
    "The same denied call 50,000 times, to fill the audit log and push out what was before",
    stopped_by=r"denial evil.* bank\.ping\(value=1\) no_capability x\d{3,}",
)
def test_a_flood_of_denials(scene: Scene) -> None:
    id = scene.serve(Bank()).id
    body = wat.repeat(50_000, f"(drop (call $ask #{id} #{PING} #1))")
    evil = scene.guest("evil", wat.program(body + "#0"))
    assert scene.kernel.wait(evil).code == 0
    audit = [line for line in scene.lines() if line.startswith("audit: denial evil")]
    assert sum(int(line.rpartition(" x")[2]) for line in audit) == 50_000
    assert len(audit) < 200
    assert any("spawn evil" in line for line in scene.lines())


BOMBS = {
    "stars": 'tcpip.dns_resolve(hostname="' + "*a" * 100 + "z" + '")',
    "question marks": 'tcpip.dns_resolve(hostname="' + "?" * 200 + "*" * 20 + "z" + '")',
    "alternatives": "tcpip.listen(listen_port=[" + ",".join(str(n) for n in range(1, 200,
    2)) + "])",
    "networks": "tcpip.connect(dst_addr=[" + ",".join(f'"9.{n}.0.0/16"' for n in range(60)) + "])",
    "depth": "tcpip.listen(listen_port=" + "[" * 300 + "1" + "]" * 300 + ")",
    "digits": "tcpip.listen(listen_port=" + "9" * 900 + ")",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
@attack(
    "a rule that takes long to read or to match",
    "cap_grant of 1,000 bytes of wildcards, alternatives, brackets or digits; then texts to match",
    stopped_by=r"denial friend.* tcpip\.dns_resolve\(.*\) (field|message)|"
    r"reply vm.* to evil.*: (invalid argument|no resources)",
    each="bomb",
)
def test_a_rule_bomb(scene: Scene, bomb: str) -> None:
    """Bounded: the budget is of instructions, and what is done in Python shows in the timeout."""
    from tests.attacks.echoes import serve

    serve_vm(scene)
    serve(scene)
    evil, friend = scene.agent("evil", "vm", "tcpip"), scene.agent("friend", "vm")
    answer = evil.call("vm", abi.CapGrant(friend.id, BOMBS[bomb]))
    if answer.error:
        assert answer.error in (-11, -2)
        return
    assert friend.call("vm", abi.CapAccept(answer.message.cap)).error == 0
    for text in ("a" * 250, "aa." * 80, "b" * 250):
        friend.call("tcpip", abi.TcpipDnsResolve(text))


DEEP = 20  # functions, as many as the engine keeps
NAMES = {
    # As C++ makes them. Each type is two of the one before: written out, 30 are a gigabyte.
    "20 types, each of two of the one before": (
        b"_Z1f1APFvS_S_EPFvS0_S0_EPFvS2_S2_EPFvS4_S4_EPFvS6_S6_EPFvS8_S8_EPFvSA_SA_EPFvSC_SC_E"
        b"PFvSE_SE_EPFvSG_SG_EPFvSI_SI_EPFvSK_SK_EPFvSM_SM_EPFvSO_SO_EPFvSQ_SQ_EPFvSS_SS_E"
        b"PFvSU_SU_EPFvSW_SW_EPFvSY_SY_E"
    ),
    "a megabyte": b"x" * (1 << 20),
}


@pytest.mark.parametrize("name", NAMES)
@attack(
    "functions with names that are dear",
    "Throws what nobody catches, twenty functions deep, so that all of their names are written out",
    stopped_by=r"exit evil.*uncaught exception",
    each="name",
)
def test_dear_names(scene: Scene, name: str) -> None:
    """They cost the engine a second or two, in which nobody else runs, or their length twenty
    times. It never sees them, and ours are cut."""
    bodies = "".join(f"(func call {n + 1})" for n in range(DEEP))
    main = '(func (export "main") (result i32) call 0 i32.const 0)'
    module = _core.wat2wasm(f"(module (tag) {bodies} (func throw 0) {main})".encode())
    entries = b"".join(gen.uleb(n) + gen.sized(NAMES[name]) for n in range(DEEP + 1))
    section = b"\1" + gen.sized(gen.uleb(DEEP + 1) + entries)
    program = scene.kernel.load(module + gen.custom("name", section), trusted=True)
    assert program.module is not None and NAMES[name] not in program.module.serialize()
    ended = scene.kernel.wait(scene.kernel.spawn(program, name="evil"))
    assert [len(found or "") for _, found, _, _ in ended.backtrace] == [
        min(len(NAMES[name]), 1024)
    ] * DEEP


@attack(
    "to keep what one ended with",
    "A task opens, registers and passes on all that it can, and ends: everything is free again",
    stopped_by=r"exit evil",
)
def test_nothing_is_left(scene: Scene) -> None:
    serve_vm(scene)
    scene.serve(Fs(Image()))
    names = set(scene.kernel.services)
    grants = len(scene.kernel.grants)
    evil = scene.agent("evil", "*")
    for n in range(16):
        evil.call("vm", abi.ServiceRegister(f"n{n}"))
    friend = scene.agent("friend", "vm")
    for _ in range(20):
        evil.call("vm", abi.CapGrant(friend.id, "fs"))
    evil.exit()
    settle(scene.kernel)
    friend.exit()
    settle(scene.kernel)
    assert set(scene.kernel.services) == names
    assert len(scene.kernel.grants) == grants


@attack(
    "numbers beyond the last capability",
    "cap_get with indexes past the end, negative and huge, to read what isn't one's own",
    stopped_by=r"reply vm.* to evil.*: end of file",
)
def test_indexes_past_the_end(scene: Scene) -> None:
    serve_vm(scene)
    scene.agent("victim", "vm", 'fs(dir="/srv/secret")')
    evil = scene.agent("evil", "vm")
    rules = []
    for index in (*range(-5, 20), 2**31 - 1, -(2**31)):
        answer = evil.call("vm", abi.CapGet(index))
        if not answer.error:
            rules.append(answer.message.rule)
        else:
            assert answer.error == -27
            assert b"secret" not in answer.data
    assert rules == ["hand", "vm"]


@attack(
    "a pool of tasks",
    "In a kernel with room for three tasks, a fourth is asked for",
    stopped_by=r"error: .*too many tasks.*the pool has room for 3",
)
def test_a_pool_of_tasks(scene: Scene) -> None:
    with wasmos.Kernel(pool_tasks=3) as kernel:
        for _ in range(3):
            kernel.spawn(wat.SLEEP, trusted=True)
        with pytest.raises(wasmos.ServiceError) as refused:
            kernel.spawn(wat.SLEEP, trusted=True)
    scene.say(refused.value)


def test_left_offers(scene: Scene) -> None:
    """Offers end with who made them, and what one task is given by others has a bound."""
    serve_vm(scene)
    evil, victim = scene.agent("evil", "vm", "bank.ping"), scene.agent("victim", "vm")
    for _ in range(6):
        id = evil.call("vm", abi.SpawnTask("child")).message.task
        child = scene.adopt(scene.kernel.find(id))
        for _ in range(256):
            child.call("vm", abi.CapGrant(victim.id, "bank.ping"))
        child.exit()
        settle(scene.kernel)
    assert len(scene.kernel.grants) < 600, len(scene.kernel.grants)
