"""What the kernel tells, on its way into the log."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest

from tests.support.audit import BEGIN_NS, SECOND, call, denial, rows
from wasmos.errors import AuditError
from wasmos.system.audit import AuditLog, Recorder
from wasmos.system.audit.reader import read
from wasmos.system.audit.verify import verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def counts(path: Path) -> list[tuple[str, int | None]]:
    return [(row["event"], row.get("count")) for row in rows(path)[1:-1]]


def test_the_same_denial_is_one_line(path: Path) -> None:
    with AuditLog(path) as log:
        Recorder(log).record([denial(time_ns=BEGIN_NS + number) for number in range(1000)])
    assert counts(path) == [("denial", 1000)]
    assert rows(path)[1]["time"].endswith(".123456Z")  # of the first


@pytest.mark.parametrize(
    "change",
    [{"task": 8}, {"service": "fs"}, {"message": "tcpip.connect"}, {"cause": "field"},
     {"fields": {"listen_port": 81}}, {"fields": {}}],
)  # fmt: skip
def test_another_denial_is_another_line(path: Path, change: dict[str, object]) -> None:
    with AuditLog(path) as log:
        Recorder(log).record([denial(), denial(), denial(**change), denial(**change), denial()])
    assert counts(path) == [("denial", 3), ("denial", 2)]


def test_what_comes_again_later_is_one_line_more(path: Path) -> None:
    with AuditLog(path) as log:
        recorder = Recorder(log)
        recorder.record([denial(), call(), denial(), call(), call()])
        recorder.record([denial(), denial(count=5)])
        recorder.record([denial()])
        recorder.record([])
        recorder.flush()
        recorder.flush()
    assert counts(path) == [
        ("denial", 2), ("call", None), ("call", None), ("call", None), ("denial", 7),
    ]  # fmt: skip


def test_the_records_stay_as_they_are(path: Path) -> None:
    records = [denial(), denial(), call()]
    before = deepcopy(records)
    with AuditLog(path) as log:
        Recorder(log, offset_ns=5).record(records)
    assert records == before


def test_the_clock_of_the_kernel(path: Path) -> None:
    with AuditLog(path) as log:
        Recorder(log, offset_ns=BEGIN_NS).record([call(time_ns=0), call(time_ns=2 * SECOND)])
    assert [row["time"][17:] for row in rows(path)[1:3]] == ["00.123456Z", "02.123456Z"]


# --- the small log ----------------------------------------------------------------------------


def test_what_is_neither_a_call_nor_a_denial_is_written_twice(path: Path) -> None:
    recorder = Recorder.open(path)
    spawn = {"event": "spawn", "task": 9, "name": "webapi", "time_ns": BEGIN_NS}
    grant = {**spawn, "event": "grant", "rule": "tcpip"}
    recorder.record([spawn, denial(), call(), {"event": "dropped", "count": 3}, grant])
    recorder.close()
    quiet = path.with_name("audit.jsonl.quiet")
    assert [row["event"] for row in rows(quiet)] == ["open", "spawn", "grant", "close"]
    assert [row["event"] for row in rows(path)] == [
        "open", "spawn", "denial", "call", "dropped", "grant", "close",
    ]  # fmt: skip
    assert verify(path).ok and verify(quiet).ok


def test_no_number_of_calls_and_denials_takes_away_a_grant(path: Path) -> None:
    """Neither is the small log taken for an older file of the other."""
    log = AuditLog(path, max_bytes=1000, keep=1, fsync="never")
    recorder = Recorder(log, quiet=AuditLog(f"{path}.quiet", max_bytes=1000, keep=1))
    recorder.record([{"event": "grant", "task": 1, "name": "early", "rule": "fs"}])
    for number in range(100):
        recorder.record([call(number), denial(task=number)])
    recorder.close()
    report = verify(path)
    assert report.ok and report.first > 1
    assert not any(row["event"] == "grant" for row in read(path))
    assert [r["name"] for r in read(f"{path}.quiet") if r["event"] == "grant"] == ["early"]


def test_without_the_small_log_there_is_none(path: Path) -> None:
    """And what was opened for it is closed again."""
    path.with_name("audit.jsonl.quiet").symlink_to("elsewhere")
    for _ in range(2):
        with pytest.raises(AuditError, match="symbolic link"):
            Recorder.open(path)
    AuditLog(path).close()
