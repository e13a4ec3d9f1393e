"""The writer: lines, chain, rotation, crashes, full disks, and who may write."""

from __future__ import annotations

import errno
import itertools
import json
import os
import stat
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from unittest import mock

import pytest

from tests.support.audit import BEGIN_NS, Clock, call, denial, log_files, rows, written
from wasmos.errors import AuditError, UsageError
from wasmos.system.audit import AuditLog
from wasmos.system.audit import log as log_module
from wasmos.system.audit.schema import EVENTS, KEYS
from wasmos.system.audit.verify import verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


# --- lines ------------------------------------------------------------------------------------


def test_a_line_as_it_stands(path: Path) -> None:
    written(path, [call(7)])
    second = path.read_text().splitlines()[1]
    body, _, end = second.partition(',"hash":"')
    assert body == (
        '{"v":1,"seq":2,"time":"2026-11-26T09:30:00.123463Z","event":"call","task":9,'
        '"name":"webapi","service":"tcpip","message":"tcpip.write","fields":{"sock":7},'
        '"decision":"allowed","grant":12'
    )
    before = rows(path)[0]["hash"]
    assert end == sha256((before + body).encode()).hexdigest() + '"}'


def test_a_backtrace_is_structured(path: Path) -> None:
    frames = (3, "main", 498, ""), (7, None, 1 << 33, ""), (1, '"\x1b\u202e', 5, "calls")
    written(path, [{"event": "exit", "task": 9, "backtrace": frames}])
    assert rows(path)[1]["backtrace"] == [
        {"function": 3, "name": "main", "byte": 498},
        {"function": 7},
        {"function": 1, "name": '"\x1b\u202e', "byte": 5, "part": "calls"},
    ]
    assert path.read_bytes().isascii()


def test_keys_have_one_order_and_absent_ones_are_absent(path: Path) -> None:
    everything = {
        "backtrace": (), "count": 3, "reason": "r", "origin": "o:1", "rule": "r", "by": 3,
        "parent": 7, "grant": 12,
        "cause": "field", "decision": "asked", "fields": {"a": 1}, "message": "m.m", "service": "m",
        "name": "n", "task": 1, "event": "denial", "time_ns": BEGIN_NS,
    }  # fmt: skip
    written(path, [everything, {"event": "exit", "task": 1}])
    first, full, short, last = rows(path)
    assert list(full) == [key for key in KEYS if key != "prev"]
    assert list(short) == ["v", "seq", "time", "event", "task", "hash"]
    assert list(first) == ["v", "seq", "time", "event", "hash"]
    assert (first["event"], last["event"]) == ("open", "close")
    assert [row["seq"] for row in rows(path)] == [1, 2, 3, 4]


def test_every_event_can_be_written(path: Path) -> None:
    written(path, [{"event": event, "task": 1} for event in EVENTS if event != "rotate"])
    assert verify(path).ok


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [(0, "1970-01-01T00:00:00.000000Z"), (999, "1970-01-01T00:00:00.000000Z"),
     (1_000, "1970-01-01T00:00:00.000001Z"),
     (1_582_934_400_999_999_999, "2020-02-29T00:00:00.999999Z"),
     (-1, "1969-12-31T23:59:59.999999Z")],
)  # fmt: skip
def test_times(path: Path, time_ns: int, text: str) -> None:
    written(path, [call(time_ns=BEGIN_NS), call(time_ns=time_ns), call(time_ns=BEGIN_NS)])
    times = [row["time"] for row in rows(path)[1:4]]
    assert times == ["2026-11-26T09:30:00.123456Z", text, "2026-11-26T09:30:00.123456Z"]


def test_a_record_without_a_time_is_of_now(path: Path) -> None:
    clock = Clock()
    with AuditLog(path, clock=clock) as log:
        log.write([{"event": "spawn", "task": 2}])
        now = clock.now
    assert rows(path)[1]["time"].startswith("2026-11-26T09:30:02.")
    assert now == BEGIN_NS + 2_000_000_000


def test_texts_that_were_prepared(path: Path) -> None:
    with AuditLog(path) as log:
        text = log.prepare({k: v for k, v in call(1).items() if k != "time_ns"})
        log.write_rows([(BEGIN_NS, text), (BEGIN_NS + 1000, text)])
        log.write([call(1)])
    a, b, c = [
        {k: v for k, v in row.items() if k not in ("seq", "hash")} for row in rows(path)[1:4]
    ]
    assert a["time"] != b["time"]
    assert a | {"time": c["time"]} == c
    assert verify(path).ok


def test_a_batch_is_one_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(path)
    sizes = []
    real = os.write
    monkeypatch.setattr(
        log_module.os, "write", lambda fd, data: (sizes.append(len(data)), real(fd, data))[1]
    )
    log.write([call(number) for number in range(100)])
    log.write([])
    assert len(sizes) == 1
    log.close()


@pytest.mark.parametrize(
    ("record", "message"),
    [({"event": "call", "tsk": 1}, "an audit record has no key 'tsk'; did you mean 'task'?"),
     ({"event": "denail"}, "no audit event 'denail'; did you mean 'denial'?"),
     ({"task": 1}, "an audit record needs an 'event'")],
)  # fmt: skip
def test_a_record_that_is_none_is_a_bug(
    path: Path, record: dict[str, object], message: str
) -> None:
    with AuditLog(path) as log:
        with pytest.raises(UsageError) as caught:
            log.write([call(), record])
        assert str(caught.value) == message
        log.write([call()])
    assert len(rows(path)) == 3  # nothing of a batch that is wrong
    assert verify(path).ok


def test_wrong_options(path: Path) -> None:
    with pytest.raises(UsageError, match="no fsync 'allways'; did you mean 'always'"):
        AuditLog(path, fsync="allways")
    with pytest.raises(UsageError, match="no on_error 'raise'"):
        AuditLog(path, on_error="raise")
    for options in ({"keep": 0}, {"keep": 10_000}, {"max_bytes": 0}):
        with pytest.raises(UsageError):
            AuditLog(path, **options)
    assert not path.exists()


def test_a_closed_log_is_closed(path: Path) -> None:
    log = AuditLog(path)
    log.close("shutdown")
    log.close()
    assert [row.get("reason") for row in rows(path)] == [None, "shutdown"]
    with pytest.raises(UsageError, match="closed"):
        log.write([call()])


# --- one run after the other ------------------------------------------------------------------


def test_the_chain_goes_on_when_it_is_opened_again(path: Path) -> None:
    written(path, [call(1)])
    head = rows(path)[-1]["hash"]
    written(path, [call(2)])
    again = rows(path)[3]
    assert (again["event"], again["seq"], again["prev"]) == ("open", 4, head)
    report = verify(path)
    assert report.ok
    assert report.lines == 6


def test_head_and_number_are_those_of_the_last_line(path: Path) -> None:
    with AuditLog(path) as log:
        for count in (1, 5, 2):
            log.write([call(number) for number in range(count)])
            last = rows(path)[-1]
            assert (log.seq, log.head) == (last["seq"], last["hash"])


@pytest.mark.parametrize("size", [1, 20, 150])
def test_a_torn_line_is_kept_aside(path: Path, size: int) -> None:
    written(path, [call(1)])
    torn = path.read_bytes().splitlines()[1][:size]
    with path.open("ab") as file:
        file.write(torn)
    written(path, [call(2)])
    assert verify(path).ok
    assert rows(path)[3]["reason"] == f"{size} bytes of a torn line are in {path}.torn"
    aside = Path(f"{path}.torn")
    assert aside.read_bytes() == torn + b"\n"
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600


def test_a_file_with_nothing_but_a_torn_line(path: Path) -> None:
    path.write_bytes(b'{"v":1,"se')
    path.chmod(0o600)
    written(path, [call(2)])
    assert verify(path).ok
    assert rows(path)[0]["seq"] == 1
    path.rename(f"{path}.1")
    path.write_bytes(b"torn")
    path.chmod(0o600)
    written(path, [call(3)])
    assert verify(path).ok
    assert [row["event"] for row in rows(path)] == ["rotate", "open", "call", "close"]
    assert rows(path)[0]["reason"] == f"4 bytes of a torn line are in {path}.torn"
    assert Path(f"{path}.torn").read_bytes() == b'{"v":1,"se\ntorn\n'


@pytest.mark.parametrize("where", [-2, -1])
def test_a_log_with_a_damaged_end_is_not_gone_on_with(path: Path, where: int) -> None:
    written(path, [call(1), call(2)])
    lines = path.read_bytes().splitlines(keepends=True)
    if where == -1:
        lines[-1] = lines[-1].replace(b'"close"', b'"clase"')
    else:
        del lines[-2]
    path.write_bytes(b"".join(lines))
    before = path.read_bytes()
    with pytest.raises(
        AuditError, match="is damaged, or no audit log: its last line doesn't follow"
    ):
        AuditLog(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "text", ["hello\n", "{}\n", "[1]\n", "\n", '{"seq": 1, "hash": ""}\n', "\0" * 99 + "\n"]
)
def test_what_is_no_log_is_left_alone(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(AuditError, match="no audit log"):
        AuditLog(path)
    assert path.read_text() == text


def test_a_last_line_of_many_blocks(path: Path) -> None:
    fields = {f"field{number}": "x" * 250 for number in range(32)}
    with AuditLog(path) as log:
        log.write([call(fields=fields) for _ in range(20)])
    written(path, [call()])
    assert verify(path).ok


# --- rotation ---------------------------------------------------------------------------------


def test_rotation(path: Path) -> None:
    written(path, *[[call(number)] for number in range(40)], max_bytes=1000, keep=3)
    files = log_files(path)
    assert [file.name for file in files] == [
        "audit.jsonl.3", "audit.jsonl.2", "audit.jsonl.1", "audit.jsonl",
    ]  # fmt: skip
    for older, newer in itertools.pairwise(files):
        first = rows(newer)[0]
        assert (first["event"], first["prev"]) == ("rotate", rows(older)[-1]["hash"])
        assert first["seq"] == rows(older)[-1]["seq"] + 1
        assert 1000 <= older.stat().st_size < 1400  # by one batch at most
        assert stat.S_IMODE(older.stat().st_mode) == 0o600
    assert verify(path).ok
    assert verify(path).first > 1


def test_all_is_kept_as_long_as_there_is_room(path: Path) -> None:
    written(path, *[[call(number)] for number in range(10)], max_bytes=500, keep=50)
    report = verify(path)
    assert (report.ok, report.first, report.last) == (True, 1, report.lines)
    assert len(report.files) > 3


def test_keeping_fewer_than_before_leaves_no_hole(path: Path) -> None:
    written(path, *[[call(number)] for number in range(20)], max_bytes=300, keep=9)
    written(path, *[[call(number)] for number in range(3)], max_bytes=300, keep=2)
    assert len(log_files(path)) == 3
    assert verify(path).ok


def test_a_crash_between_two_files(path: Path) -> None:
    """The old one had its number already, the new one wasn't there yet."""
    written(path, [call(1)])
    head = rows(path)[-1]["hash"]
    path.rename(f"{path}.1")
    written(path, [call(2)])
    first, second, *_ = rows(path)
    assert (first["event"], first["prev"], first["seq"]) == ("rotate", head, 4)
    assert second["event"] == "open"
    assert verify(path).ok


@pytest.mark.parametrize("on_error", ["drop", "stop"])
def test_a_rotation_that_fails(path: Path, monkeypatch: pytest.MonkeyPatch, on_error: str) -> None:
    log = AuditLog(path, max_bytes=100, keep=9, on_error=on_error)
    log.write([call(1)])
    real = log_module.files.open_own

    def fails(name: str, flags: int = 0) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", name)

    monkeypatch.setattr(log_module.files, "open_own", fails)
    for number in range(5):  # as often as it is tried, no old file gets lost
        if on_error == "drop":
            log.write([call(number)])
        else:
            with pytest.raises(
                AuditError, match="no space left on device; the audit log lacks 1 line"
            ):
                log.write([call(number)])
    assert log.dropped == 5
    assert path.exists()
    monkeypatch.setattr(log_module.files, "open_own", real)
    log.write([call(6)])
    log.close()
    assert verify(path).ok
    assert verify(path).first == 1
    assert [
        row["count"] for file in log_files(path) for row in rows(file) if row["event"] == "dropped"
    ] == [5]


# --- when it can't be written -----------------------------------------------------------------


class Disk:
    """`os.write`, with so many bytes of room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        self._real = os.write
        monkeypatch.setattr(log_module.os, "write", self.write)

    def write(self, descriptor: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._real(descriptor, data[: self.room])
        self.room -= written
        return written


@pytest.mark.parametrize("max_bytes", [100, 400, 1 << 20])
@pytest.mark.parametrize("room", range(0, 900, 23))
def test_a_full_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch, room: int, max_bytes: int
) -> None:
    log = AuditLog(path, max_bytes=max_bytes, keep=20)
    disk = Disk(monkeypatch, room)
    log.write([call(number) for number in range(3)])
    log.write([call(3)])
    log.write([call(4)])
    assert log.dropped or room > 600
    disk.room = 1 << 20
    log.write([call(5)])
    log.close()
    assert verify(path).ok
    found = [row for file in log_files(path) for row in rows(file)]
    assert sum(row["event"] == "call" for row in found) + log.dropped == 6
    counted = [row for row in found if row["event"] == "dropped"]
    assert sum(row["count"] for row in counted) == log.dropped
    assert all(row["reason"] == "no space left on device" for row in counted)


def test_a_full_disk_stops_who_asked_for_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(path, on_error="stop")
    disk = Disk(monkeypatch, 300)
    with pytest.raises(AuditError) as caught:
        log.write([call(number) for number in range(3)])
    assert str(caught.value) == f"{path}: no space left on device; the audit log lacks 2 lines"
    disk.room = 1 << 20
    log.close()
    assert [row.get("count") for row in rows(path)] == [None, None, 2, None]
    assert verify(path).ok


def test_short_writes_are_gone_on_with(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(path)
    real = os.write
    monkeypatch.setattr(log_module.os, "write", lambda fd, data: real(fd, data[:7]))
    log.write([call(number) for number in range(5)])
    log.close()
    assert (log.dropped, len(rows(path)), verify(path).ok) == (0, 7, True)


@pytest.mark.parametrize(
    ("policy", "batches", "close"), [("always", 2, 2), ("rotate", 0, 1), ("never", 0, 0)]
)
def test_when_it_waits_for_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, batches: int, close: int
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(log_module.os, "fsync", synced.append)
    log = AuditLog(path, fsync=policy)
    log.write([call(1)])
    log.write([call(2)])
    assert len(synced) == batches
    log.close()
    assert len(synced) == batches + close


# --- who may write ----------------------------------------------------------------------------


def test_only_the_owner_reads_it(path: Path) -> None:
    old = os.umask(0)
    try:
        log = AuditLog(path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(f"{path}.lock").stat().st_mode) == 0o600
    log.close()


def test_no_symbolic_link(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"")
    for name in (path, Path(f"{path}.lock")):
        name.unlink(missing_ok=True)
        name.symlink_to(target)
        with pytest.raises(AuditError, match=f"{name} is a symbolic link"):
            AuditLog(path)
        name.unlink()
    assert target.read_bytes() == b""
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(AuditError, match="symbolic link"):
        AuditLog(path)
    assert not (tmp_path / "nowhere").exists()


def test_no_link_aside(path: Path, tmp_path: Path) -> None:
    written(path, [call()])
    with path.open("ab") as file:
        file.write(b"torn")
    Path(f"{path}.torn").symlink_to(tmp_path / "target")
    with pytest.raises(AuditError, match="symbolic link"):
        AuditLog(path)


def test_no_fifo_and_no_folder(path: Path, tmp_path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(AuditError, match="is no regular file"):
        AuditLog(path)
    with pytest.raises(AuditError, match="is a directory"):
        AuditLog(tmp_path)
    with pytest.raises(AuditError, match="no such file or directory"):
        AuditLog(tmp_path / "nowhere" / "audit.jsonl")


def test_none_that_others_may_write(path: Path) -> None:
    written(path, [call()])
    path.chmod(0o620)
    with pytest.raises(AuditError, match="can be written by others; to go on: chmod go-w"):
        AuditLog(path)
    path.chmod(0o640)
    AuditLog(path).close()


def test_none_of_somebody_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(path, [call()])
    owner = path.stat().st_uid
    monkeypatch.setattr(log_module.files.os, "geteuid", lambda: owner + 1)
    with pytest.raises(AuditError, match=f"belongs to user {owner}"):
        AuditLog(path)


def test_one_writer(path: Path) -> None:
    with AuditLog(path):
        for _ in range(2):
            with pytest.raises(AuditError) as caught:
                AuditLog(path)
            assert str(caught.value) == (
                f"{path}: process {os.getpid()} writes to it already; "
                "give each system a log of its own"
            )
    AuditLog(path).close()
    assert verify(path).ok


def test_one_writer_also_after_a_rotation_and_in_another_process(path: Path) -> None:
    with AuditLog(path, max_bytes=100) as log:
        log.write([call(1)])
        log.write([call(2)])
        script = f"from wasmos.system.audit import AuditLog; AuditLog({str(path)!r})"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert f"process {os.getpid()} writes to it already" in done.stderr


def test_a_failed_opening_leaves_no_lock(path: Path) -> None:
    path.write_text("no log\n")
    path.chmod(0o600)
    with pytest.raises(AuditError):
        AuditLog(path)
    path.unlink()
    AuditLog(path).close()


def test_a_lock_that_can_not_be_signed_is_given_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full: when there is room again, nobody writes to it already."""
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        patch.setattr(os, "write", mock.Mock(side_effect=full))
        with pytest.raises(AuditError, match="no space left"):
            AuditLog(path)
    AuditLog(path).close()


def test_a_path_stays_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = AuditLog("audit.jsonl", max_bytes=10)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    log.write([call()])
    log.close()
    assert sorted(os.listdir(tmp_path / "elsewhere")) == []


# --- nothing that must not be there -----------------------------------------------------------


def test_masked_fields(path: Path) -> None:
    record = denial(
        fields={"token": "hunter2", "pin": 1234, "listen_port": 80, "data": b"hunter2",
                "rule": 'kv.put(token="hunter2")'},
        rule='kv.put(token="hunter2", pin=1234, listen_port=80)',
        reason='needs kv.put(token = ["hunter2", "x]"], a=1)',
    )  # fmt: skip
    written(path, [record], mask=["token", "pin"])
    text = path.read_text()
    assert "hunter2" not in text
    assert "1234" not in text.replace("123456", "")
    found = rows(path)[1]
    assert found["fields"] == {
        "token": "***", "pin": "***", "listen_port": 80, "data": {"len": 7},
        "rule": "kv.put(token=***)",
    }  # fmt: skip
    assert found["rule"] == "kv.put(token=***, pin=***, listen_port=80)"
    assert found["reason"] == "needs kv.put(token = ***, a=1)"


@pytest.mark.parametrize(
    "name",
    ['"', "\\", "\n", "\x1b[2J", "\x7f", "\udcff", "\u202e", "ä", "😀", "\0", '","hash":"0"}\n{'],
)
def test_names_of_guests_forge_nothing(path: Path, name: str) -> None:
    written(path, [call(name=name, fields={"path": name, name: 1}, reason=name)])
    raw = path.read_bytes()
    assert raw.count(b"\n") == 3
    assert all(byte == 10 or 32 <= byte < 127 for byte in raw)
    found = json.loads(raw.splitlines()[1])
    assert (found["name"], found["fields"]["path"], found["reason"]) == (name, name, name)
    assert verify(path).ok


def test_lines_are_of_bounded_length(path: Path) -> None:
    fields = {f"{number}{'k' * 1000}": "\0" * 100_000 for number in range(1000)}
    written(
        path, [denial(fields=fields, rule="r" * 100_000, reason="\x01" * 100_000, name="n" * 999)]
    )
    assert path.stat().st_size < 1 << 17
    found = rows(path)[1]
    assert (len(found["fields"]), len(found["rule"]), len(found["name"])) == (32, 1025, 257)
    assert found["rule"].endswith("r…")
    assert verify(path).ok


def test_what_no_message_holds_is_shown_all_the_same(path: Path) -> None:
    written(path, [call(fields={"a": None, "b": 1.5, "c": [1], "d": True, "e": {"len": "x"}})])
    assert rows(path)[1]["fields"] == {
        "a": "None",
        "b": "1.5",
        "c": "[1]",
        "d": 1,
        "e": "{'len': 'x'}",
    }


def test_values_that_guests_choose_fill_no_memory(path: Path) -> None:
    with AuditLog(path) as log:
        log.write([call(name=f"n{number}", fields={f"f{number}": 1}) for number in range(10_000)])
        shapes = log._form._shapes.values()
        assert all(len(shape.before.texts) <= 4096 for shape in shapes)
        assert len(log._form._words) <= 4096
    assert len({row["name"] for row in rows(path)[1:-1]}) == 10_000
