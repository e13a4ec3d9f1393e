"""What the kernel tells, on its way into the log."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest

from tests.support.audit import BEGIN_NS, SECOND, call, denial, rows
from wasmos.system.audit import AuditLog, Recorder


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
    assert counts(path) == [("denial", 2), ("denial", 2), ("denial", None)]


def test_only_what_follows_each_other_in_a_batch(path: Path) -> None:
    with AuditLog(path) as log:
        recorder = Recorder(log)
        recorder.record([denial(), call(), denial(), call(), call()])
        recorder.record([denial(), denial(count=5)])
        recorder.record([denial()])
        recorder.record([])
    assert counts(path) == [
        ("denial", None), ("call", None), ("denial", None), ("call", None), ("call", None),
        ("denial", 6), ("denial", None),
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
