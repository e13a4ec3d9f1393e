"""Tampering with the audit log, and hiding in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.agent import raw
from tests.attacks.attack import Bank, Scene, attack, serve_vm, wat
from tests.support.audit import rows
from wasmos import abi
from wasmos.errors import AuditError
from wasmos.system.audit import AuditLog
from wasmos.system.audit.flood import MAX_KINDS
from wasmos.system.audit.schema import digest
from wasmos.system.audit.verify import verify

Lines = list[bytes]


def _remove(lines: Lines) -> Lines:
    return [line for line in lines if b'"denial"' not in line]


def _change(lines: Lines) -> Lines:
    return [line.replace(b'"denied"', b'"allowed"') for line in lines]


def _swap(lines: Lines) -> Lines:
    return [*lines[:3], lines[4], lines[3], *lines[5:]]


def _insert(lines: Lines) -> Lines:
    return [*lines[:4], lines[3].replace(b'"name":"', b'"name":"x'), *lines[4:]]


def _renumber(lines: Lines) -> Lines:
    """Remove one, and give those after it its number."""
    kept = []
    for line in _remove(lines):
        record = json.loads(line)
        old = b'"seq":%d' % record["seq"]
        kept.append(line.replace(old, b'"seq":%d' % (len(kept) + 1)))
    return kept


def _rehash_one(lines: Lines) -> Lines:
    """Change a line and give it the hash that it should have: the next one doesn't follow."""
    at = next(n for n, line in enumerate(lines) if b'"denial"' in line)
    before = json.loads(lines[at - 1])["hash"]
    body = lines[at].replace(b"denied", b"allowed").rpartition(b',"hash":')[0]
    line = body + b',"hash":"' + digest(before, body).encode() + b'"}\n'
    return [*lines[:at], line, *lines[at + 1 :]]


def _remove_the_beginning(lines: Lines) -> Lines:
    return lines[4:]


def _bury(lines: Lines) -> Lines:
    """A forged line that isn't JSON, for readers that stop there."""
    return [*lines[:3], b"\0" * 40 + b"\n", *lines[3:]]


def _escape(lines: Lines) -> Lines:
    """The same record in other bytes."""
    return [line.replace(b'"evil"', b'"\\u0065vil"') for line in lines]


CHANGES: dict[str, Callable[[Lines], Lines]] = {
    "a denial removed": _remove,
    "a denial made a permission": _change,
    "two lines exchanged": _swap,
    "a line put in": _insert,
    "removed and renumbered": _renumber,
    "changed, with a new hash": _rehash_one,
    "the first lines removed": _remove_the_beginning,
    "a line that is none": _bury,
    "the same in other bytes": _escape,
}


def played(scene: Scene) -> Path:
    """A log with a denial in its middle."""
    scene.serve(Bank())
    evil = scene.agent("evil")
    evil.call("bank", abi.Ping(1))
    scene.agent("late", "bank").call("bank", abi.Ping(2))
    scene.lines()
    path = scene.folder / "copy.jsonl"
    path.write_bytes((scene.folder / "audit.jsonl").read_bytes())
    assert verify(path).ok
    return path


@pytest.mark.parametrize("change", CHANGES)
@attack(
    "a changed log",
    "The log of a run is changed by somebody who can write to it, and verified",
    stopped_by=r"copy\.jsonl:\d+: (\d+ lines? (is|are) missing before it|was changed|"
    r"is out of order|"
    r"isn't how a file begins|is no record)",
    each="change",
)
def test_a_changed_log(scene: Scene, change: str) -> None:
    path = played(scene)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(CHANGES[change](lines)))
    report = verify(path)
    assert not report.ok
    for damage in report.damage:
        scene.say(damage)


@pytest.mark.parametrize("made", ["cut off", "made anew"])
@attack(
    "a log whose end is gone",
    "Its last lines are cut off, or all of it is written anew: a head kept elsewhere tells",
    stopped_by=r"the line [0-9a-f]{16} is NOT there",
    each="made",
)
def test_a_log_without_its_end(scene: Scene, made: str, capsys: pytest.CaptureFixture[str]) -> None:
    from wasmos.cli import main

    path = played(scene)
    head = verify(path).head[:16]
    lines = path.read_bytes().splitlines(keepends=True)
    if made == "cut off":
        path.write_bytes(b"".join(lines[:-2]))
    else:
        path.unlink()
        with AuditLog(path, fsync="never") as log:
            log.write([{"event": "spawn", "task": 3, "name": "evil", "time_ns": 1}])
    assert main(["audit", "--verify", "--head", head, str(path)]) == 1
    for line in capsys.readouterr().out.replace(head, "0" * 16).splitlines():
        scene.say(line.strip())


@attack(
    "a second writer",
    "Another process, or the same again, opens a log that is being written, to break its chain",
    stopped_by=r"error: .*(another|already|somebody).*",
)
def test_a_second_writer(scene: Scene) -> None:
    with pytest.raises(AuditError) as refused:
        AuditLog(scene.folder / "audit.jsonl", fsync="never")
    scene.say(refused.value)


FORGERIES = [
    b'x"}\n{"v":1,"seq":1,"event":"open","hash":"0"}', b"x\n", b"x\r\n", b"\x1b[2K\x1b[1A",
    b"\xe2\x80\xa8",
    b'x","decision":"allowed', b"\xff\xfe", b"\x7f", "\u202e".encode(), b"\\u000a",
    "\u2066".encode(), "\u200f".encode(),
]  # fmt: skip


@pytest.mark.parametrize("text", FORGERIES)
@attack(
    "a forged line",
    "A guest looks up and registers names with line ends, quotes, escapes and bytes that are "
    "no text",
    stopped_by=r"denial evil.* vm\.service_register\(name=.*\) field",
    each="text",
)
def test_a_forged_line(scene: Scene, text: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """One line more for each denial, all of it ASCII; and nothing that a terminal would obey."""
    from wasmos.cli import main

    serve_vm(scene)
    evil = scene.agent("evil", "vm")
    evil.call("vm", raw(abi.ServiceRegister.TYPE) + text.ljust(64, b"\0"))
    evil.lookup(text)
    path = scene.folder / "audit.jsonl"
    scene.lines()
    written = path.read_bytes()
    assert all(32 <= byte < 127 or byte == 10 for byte in written)
    found = rows(path)
    assert [row["seq"] for row in found] == list(range(1, len(found) + 1))
    assert sum(row["event"] == "denial" for row in found) == 2
    assert main(["audit", str(path)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("\n") == len(found)
    assert not any(c in shown for c in "\x1b\x7f\r\u202e\u2028\u2066\u200f")


def denied(scene: Scene) -> list[dict[str, Any]]:
    """The lines that tell of denials, as they are or as a number."""
    scene.lines()
    found = rows(scene.folder / "audit.jsonl")
    return [row for row in found if row.get("decision") == "denied"]


def counted(found: list[dict[str, Any]]) -> int:
    return sum(row.get("count", 1) for row in found)


@attack(
    "to hide in the crowd",
    "A denial of another message after 20,000 that differ, in one go: those are a few lines, and "
    "it is one of its own",
    stopped_by=r"audit: denial evil.* bank\.task_destroyed\(task=\d+\) no_capability",
)
def test_to_hide_in_the_crowd(real_scene: Scene) -> None:
    scene = real_scene  # where time is the machine's, a guest waits while it is written down
    id = scene.serve(Bank()).id
    body = wat.repeat(20_000, f"(drop (call $ask #{id} #9 (local.get $i)))")
    body += f"(drop (call $ask #{id} #{abi.TaskDestroyed.TYPE} #12345))"
    evil = scene.guest("evil", wat.program(body + "#0"))
    assert scene.kernel.wait(evil).code == 0
    found = denied(scene)
    assert counted(found) == 20_001
    assert len(found) <= MAX_KINDS + 4


@attack(
    "to hide where nobody is preempted",
    "2,000 denied one-way messages without a loop or a function around them, and then the one "
    "that matters",
    stopped_by=r"audit: denial evil.* bank\.task_destroyed\(task=\d+\) no_capability",
)
def test_to_hide_where_nobody_is_preempted(real_scene: Scene) -> None:
    scene = real_scene
    id = scene.serve(Bank()).id
    sent = [(abi.Ping.TYPE, value) for value in range(2_000)] + [(abi.TaskDestroyed.TYPE, 12345)]
    body = "".join(
        f"(i32.store #{wat.M} #{type})(i32.store offset=8 #{wat.M} #{value})"
        f"(call $reply #{id} #{wat.M})"
        for type, value in sent
    )
    evil = scene.guest("evil", wat.program(body + "#0"))
    assert scene.kernel.wait(evil).code == 0
    found = denied(scene)
    assert [row["fields"]["value"] for row in found[:MAX_KINDS]] == list(range(MAX_KINDS))
    assert counted(found) == 2_001


@attack(
    "a flood of lookups",
    "A guest without any right looks up a service that isn't there, 20,000 times",
    stopped_by=r"audit: denial evil.* nobody \(lookup\) no_capability x19999",
)
def test_a_flood_of_lookups(real_scene: Scene) -> None:
    scene = real_scene
    evil = scene.guest("evil", wat.program(wat.repeat(20_000, "(drop @nobody)") + "#0"))
    assert scene.kernel.wait(evil).code == 0
    assert [row.get("count", 1) for row in denied(scene)] == [1, 19_999]


@pytest.mark.parametrize("how", ["with other values", "with other numbers", "by children"])
@attack(
    "to wash an older record away",
    "Denials that all differ, until the file of somebody's earlier denial is thrown away",
    stopped_by=r"audit: dropped (evil|child).* \d+ lines \(more than \d+ different denials",
    each="how",
)
def test_to_wash_a_record_away(scene: Scene, how: str) -> None:
    scene.serve(Bank())
    serve_vm(scene)
    scene.agent("thief").call("bank", abi.Ping(1))
    evil = who = scene.agent("evil", "vm.spawn_granted")
    for number in range(1000):
        if how == "by children" and number % 100 == 0:
            child = evil.call("vm", abi.SpawnGranted(f"child{number}", "")).message.task
            who = scene.adopt(scene.kernel.find(child))
        kind = 3000 + number if how == "with other numbers" else abi.Ping.TYPE
        who.call("bank", raw(kind, 0, number))
    mine = [row for row in denied(scene) if row["name"] != "thief"]
    assert counted(mine) == 1000
    assert len(mine) <= MAX_KINDS + 10
