"""A kernel that tells, a log that is written, and what the log explains of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import wasmos
from tests.support.audit import BEGIN_NS, rows
from tests.support.sender import sends
from wasmos import abi
from wasmos.system.allowance import Said
from wasmos.system.audit import AuditLog, Recorder
from wasmos.system.audit.explain import explain
from wasmos.system.audit.schema import KEYS
from wasmos.system.audit.verify import verify
from wasmos.system.control import verbs
from wasmos.system.prompt import Prompter

GUESTS = Path(wasmos.__file__).parent / "guests"


class Pong(wasmos.Service):
    name = "pong"

    def ping(self, caller: wasmos.Caller, value: int) -> int:
        return 42


def test_a_run(tmp_path: Path, kernel: wasmos.Kernel) -> None:
    path = tmp_path / "audit.jsonl"
    with AuditLog(path) as log:
        offset = BEGIN_NS - kernel.now_ns
        recorder = Recorder(log, offset_ns=offset)
        kernel.audit(recorder.record, calls=True)
        kernel.serve(Pong())
        task = kernel.spawn(GUESTS / "ping.wasm", allow=["pong"], origin="policy.toml:3")
        kernel.wait(task)
        kernel.end_audit(recorder.record)
    assert verify(path).ok
    found = rows(path)
    mine = [row for row in found if row.get("task") == task.id]
    events = [row["event"] for row in mine]
    assert [event for event in events if event not in ("denial", "revoke")] == [
        "spawn", "grant", "call", "exit",
    ]  # fmt: skip
    assert all(row["name"] == "ping" for row in mine)
    assert all(row["time"].startswith("2026-11-26T09:30:0") for row in mine)
    assert all(list(row) == [key for key in KEYS if key in row] for row in found)
    call = mine[events.index("call")]
    assert (call["message"], call["decision"]) == ("pong.ping", "allowed")
    lines = explain(path, call["seq"])
    assert lines is not None
    assert "  rule      pong  (policy.toml:3)" in lines
    assert any("given by the operator" in line for line in lines)


def remedy(tmp_path: Path, kernel: wasmos.Kernel, deny: Callable[[wasmos.Task], object]) -> str:
    """What --explain says of a ping that is denied, in the system where `deny` sees to that."""
    path = tmp_path / "audit.jsonl"
    with AuditLog(path, fsync="never") as log:
        recorder = Recorder(log)
        kernel.audit(recorder.record)
        kernel.serve(Pong())
        task = kernel.spawn(GUESTS / "ping.wasm", name="web", allow=["pong"], origin="p.toml:3")
        deny(task)
        kernel.wait(task)
        kernel.end_audit(recorder.record)
    return explained(path)


def explained(path: Path) -> str:
    seq = next(row["seq"] for row in rows(path) if row["event"] == "denial")
    lines = explain(path, seq)
    assert lines is not None
    return lines[-1].removeprefix("  to allow  ").removesuffix("; no other rule can win against it")


def test_a_rule_of_the_control_socket(tmp_path: Path, kernel: wasmos.Kernel) -> None:
    words = {"task": "web", "rule": "pong"}
    text = remedy(tmp_path, kernel, lambda _: verbs.deny(verbs.Desk(kernel, "x"), words))
    [grant] = [row["grant"] for row in rows(tmp_path / "audit.jsonl") if row["event"] == "deny"]
    assert text == (
        f"somebody said wasmos deny: start it anew, or say  wasmos revoke {grant}  while it runs"
    )


def test_a_rule_of_python(tmp_path: Path, kernel: wasmos.Kernel) -> None:
    text = remedy(tmp_path, kernel, lambda task: kernel.deny(task, "pong"))
    assert (
        text == "take the deny rule back where it was set: nothing says where, as with kernel.deny"
    )


def test_a_rule_of_python_that_says_where(tmp_path: Path, kernel: wasmos.Kernel) -> None:
    text = remedy(tmp_path, kernel, lambda task: kernel.deny(task, "pong", origin="job 12"))
    assert text == "take the deny rule back where it was set: job 12"


def test_an_answer_of_never(tmp_path: Path, kernel: wasmos.Kernel) -> None:
    path = tmp_path / "audit.jsonl"
    with AuditLog(path, fsync="never") as log:
        recorder = Recorder(log)
        kernel.audit(recorder.record)
        kernel.serve(Pong())
        task = kernel.spawn(sends(("pong", abi.Ping(1)), ("pong", abi.Ping(2))), trusted=True)
        kernel.ask(task, Prompter(kernel, lambda _: "N", lambda _: None))
        assert kernel.wait(task).code == 2
        kernel.end_audit(recorder.record)
    assert explained(path).startswith("somebody answered [N]ever: start it anew, or say  wasmos ")


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ("--deny", "start it without this rule in --deny"),
        ("WASMOS_DENY", "take the deny rule out of WASMOS_DENY in the environment"),
        ("", "take the deny rule out of deny= where Python runs it"),
    ],
)
def test_a_rule_of_a_run(tmp_path: Path, said: str, where: str) -> None:
    path = tmp_path / "audit.jsonl"
    deny = Said("pong", said) if said else "pong"
    wasmos.run(GUESTS / "ping.wasm", allow=["pong"], deny=[deny], audit=path)
    assert explained(path) == where
