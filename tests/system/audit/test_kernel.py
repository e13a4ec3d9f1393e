"""A kernel that tells, a log that is written, and what the log explains of it."""

from __future__ import annotations

from pathlib import Path

import wasmos
from tests.support.audit import BEGIN_NS, rows
from wasmos import abi
from wasmos.system.audit import AuditLog, Recorder
from wasmos.system.audit.explain import explain
from wasmos.system.audit.schema import KEYS
from wasmos.system.audit.verify import verify

MESSAGES = {kind.NAME: kind for kind in abi.MESSAGES.values()}
GUESTS = Path(wasmos.__file__).parent / "guests"


class Pong(wasmos.Service):
    name = "pong"

    def ping(self, caller: wasmos.Caller, value: int) -> int:
        return 42


def test_a_run(tmp_path: Path, kernel: wasmos.Kernel) -> None:
    path = tmp_path / "audit.jsonl"
    with AuditLog(path) as log:
        offset = BEGIN_NS - kernel.now_ns
        recorder = Recorder(log, offset_ns=offset, messages=MESSAGES)
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
