"""Tampering: each kind, at each place, is found and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.audit import BEGIN_NS, call, log_files, rows, written
from wasmos.system.audit import AuditLog
from wasmos.system.audit.schema import BEGINNING, digest, split
from wasmos.system.audit.verify import MAX_DAMAGE, Report, verify

COUNT = 15  # lines of the log below, in several files


@pytest.fixture
def path(tmp_path: Path) -> Path:
    batches = [[call(number)] for number in range(9)]
    return written(tmp_path / "audit.jsonl", *batches, max_bytes=500, keep=20)


class Lines:
    """All lines of a log, to be changed by their position."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = {file: file.read_bytes().splitlines(keepends=True) for file in log_files(path)}
        self.places = [(file, at) for file, lines in self.files.items() for at in range(len(lines))]

    def get(self, position: int) -> bytes:
        file, at = self.places[position]
        return self.files[file][at]

    def put(self, position: int, *lines: bytes) -> None:
        file, at = self.places[position]
        self.files[file][at : at + 1] = lines
        self.save()

    def save(self) -> None:
        for file, lines in self.files.items():
            file.write_bytes(b"".join(lines))

    def found_at(self, position: int, report: Report) -> bool:
        """Whether damage is reported there or at the line that comes to stand after it."""
        file, at = self.places[position]
        near = {(str(file), at + 1), (str(file), at + 2)}
        files = list(self.files)
        if at + 1 >= len(self.files[file]) and file != files[-1]:
            near.add((str(files[files.index(file) + 1]), 1))
        return bool(near & {(damage.file, damage.line) for damage in report.damage})


def test_an_untouched_log(path: Path) -> None:
    report = verify(path)
    assert (report.ok, report.damaged, report.torn, report.has_head) == (True, 0, 0, None)
    assert (report.first, report.last, report.lines) == (1, COUNT, COUNT)
    assert len(report.files) > 3
    assert report.head == rows(path)[-1]["hash"]


TAMPER: dict[str, Callable[[bytes], tuple[bytes, ...]]] = {
    "changed": lambda line: (line.replace(b'"v":1,"seq"', b'"v":1, "seq"'),),
    "hash changed": lambda line: (
        line[:-10] + (b"1" if line[-10:-9] == b"0" else b"0") + line[-9:],
    ),
    "made anew": lambda line: (forged(line),),
    "cut": lambda line: (line[:50] + b"\n",),
    "emptied": lambda line: (b"\n",),
    "with a return": lambda line: (line.replace(b"\n", b"\r\n"),),
    "twice": lambda line: (line, line),
    "preceded": lambda line: (b'{"event":"call"}\n', line),
    "preceded by one with a hash": lambda line: (forged(line), line),
    "joined": lambda line: (line.replace(b"\n", b" \n"),),
    "another type": lambda line: (b"[1]\n",),
    "nested": lambda line: (b"[" * 100_000 + b"\n",),
}  # fmt: skip


def forged(line: bytes) -> bytes:
    """A line with other content, whose hash is right for somebody who knows no other line."""
    parts = split(line.removesuffix(b"\n"))
    assert parts is not None
    body = parts[0].replace(b'"time":"2026', b'"time":"2025')
    return body + b',"hash":"' + digest(BEGINNING, body).encode() + b'"}\n'


@pytest.mark.parametrize("kind", TAMPER)
@pytest.mark.parametrize("position", range(COUNT))
def test_a_line_that_is_tampered_with(path: Path, kind: str, position: int) -> None:
    lines = Lines(path)
    lines.put(position, *TAMPER[kind](lines.get(position)))
    if kind == "made anew" and position == 0:
        # Its hash is right: the next line tells.
        assert rows(lines.places[0][0])[0]["time"].startswith("2025")
    report = verify(path)
    assert not report.ok
    assert lines.found_at(position, report), report.damage


@pytest.mark.parametrize("position", range(COUNT - 1))
def test_a_line_that_is_removed(path: Path, position: int) -> None:
    lines = Lines(path)
    lines.put(position)
    report = verify(path)
    assert not report.ok
    assert lines.found_at(position, report), report.damage
    assert any("missing before it" in damage.what for damage in report.damage)


@pytest.mark.parametrize("distance", [1, 2, 5])
@pytest.mark.parametrize("position", range(COUNT - 5))
def test_lines_that_are_swapped(path: Path, position: int, distance: int) -> None:
    lines = Lines(path)
    one, other = lines.get(position), lines.get(position + distance)
    lines.put(position, other)
    lines.put(position + distance, one)
    report = verify(path)
    assert not report.ok
    assert lines.found_at(position, report), report.damage
    assert lines.found_at(position + distance, report), report.damage


def test_what_is_said(tmp_path: Path) -> None:
    path = written(tmp_path / "audit.jsonl", [call(number) for number in range(9)])
    original = path.read_bytes()

    def said(*changes: tuple[int, bytes | None]) -> list[str]:
        lines: list[bytes] = original.splitlines(keepends=True)
        for at, line in changes:
            lines[at : at + 1] = [] if line is None else [line]
        path.write_bytes(b"".join(lines))
        return [str(damage).removeprefix(f"{tmp_path}/") for damage in verify(path).damage]

    line = original.splitlines(keepends=True)
    assert said() == []
    assert said((3, None)) == ["audit.jsonl:4: 1 line is missing before it"]
    assert said((3, None), (3, None)) == ["audit.jsonl:4: 2 lines are missing before it"]
    assert said((0, None)) == [
        "audit.jsonl:1: isn't how a file begins: lines are missing before it"
    ]
    assert said((3, line[3].replace(b"webapi", b"webapp"))) == [
        "audit.jsonl:4: was changed, or what stands before it was"
    ]
    assert said((3, b"garbage\n")) == [
        "audit.jsonl:4: is no record", "audit.jsonl:5: 1 line is missing before it",
    ]  # fmt: skip
    assert said((3, line[4]), (4, line[3])) == [
        "audit.jsonl:4: 1 line is missing before it",
        "audit.jsonl:5: is out of order: it has number 4, and comes after 5",
        "audit.jsonl:6: 1 line is missing before it",
    ]
    assert said((3, line[3].replace(b'{"v":1,', b'{"v":2,')))[0] == (
        "audit.jsonl:4: is no record of this version"
    )


@pytest.mark.parametrize(
    "change",
    [(b'"seq":3', b'"seq":4'), (b'"seq":3', b'"seq":2'), (b'"event":', b'"prev":"0","event":')],
)
def test_a_last_line_with_a_hash_that_fits_and_nothing_else(
    tmp_path: Path, change: tuple[bytes, bytes]
) -> None:
    path = written(tmp_path / "audit.jsonl", [call(1)])
    head, line = rows(path)[1]["hash"], path.read_bytes().splitlines()[-1]
    parts = split(line)
    assert parts is not None
    body = parts[0].replace(*change)
    made = body + b',"hash":"' + digest(head, body).encode() + b'"}\n'
    path.write_bytes(path.read_bytes().replace(line + b"\n", made))
    assert [damage.line for damage in verify(path).damage] == [3]


def test_a_file_that_is_removed(path: Path) -> None:
    """The oldest may go, as it does when there are enough; no other one."""
    files = log_files(path)
    files[2].unlink()
    report = verify(path)
    assert [(d.file, d.line) for d in report.damage] == [(str(files[3]), 1)]
    files[0].unlink()
    files[1].unlink()
    report = verify(path)
    assert report.ok
    assert report.first == rows(files[3])[0]["seq"]
    assert report.rotated_away == report.first - 1


def test_files_that_change_places(path: Path) -> None:
    files = log_files(path)
    files[1].rename(f"{path}.x")
    files[2].rename(files[1])
    Path(f"{path}.x").rename(files[2])
    assert not verify(path).ok


def test_two_logs_do_not_mix(tmp_path: Path) -> None:
    one = written(tmp_path / "one.jsonl", [call(1)])
    other = written(tmp_path / "other.jsonl", [call(2)])
    one.write_bytes(one.read_bytes() + other.read_bytes())
    assert not verify(one).ok


def test_a_run_is_cut_out(tmp_path: Path) -> None:
    """Its lines are a whole of their own, from open to close."""
    path = tmp_path / "audit.jsonl"
    for _ in range(3):
        written(path, [call(1)])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3] + lines[6:]))
    assert [damage.line for damage in verify(path).damage] == [4]
    path.write_bytes(b"".join(lines[3:]))
    assert [damage.line for damage in verify(path).damage] == [1]


# --- the end ----------------------------------------------------------------------------------


@pytest.mark.parametrize("left", range(1, COUNT))
def test_a_tail_that_is_cut_off_shows_with_a_head_only(path: Path, left: int) -> None:
    head = verify(path).head
    lines = Lines(path)
    for file, at in reversed(lines.places[left:]):
        del lines.files[file][at]
    lines.save()
    for file, kept in lines.files.items():
        if not kept:
            file.unlink()
    report = verify(path)
    assert report.ok
    assert report.head != head
    report = verify(path, head)
    assert (report.ok, report.has_head, report.damaged) == (False, False, 0)


def test_whether_it_was_closed(tmp_path: Path) -> None:
    """So far; a log that is opened again goes on."""
    path = tmp_path / "audit.jsonl"
    assert verify(written(path, [call(1)])).is_closed
    assert verify(written(path, [call(2)])).is_closed
    lines = path.read_bytes().splitlines(keepends=True)
    for left in range(1, len(lines) + 1):
        path.write_bytes(b"".join(lines[:left]))
        report = verify(path)
        assert report.ok
        assert report.is_closed == (left in (3, 6))


def test_a_head_is_any_line_by_now(path: Path) -> None:
    for file in log_files(path):
        for row in rows(file):
            assert verify(path, row["hash"]).has_head
            assert verify(path, row["hash"][:16]).ok
    assert not verify(path, "0123456789abcdef").ok
    assert verify(path, BEGINNING).ok  # a log that was empty then


def test_a_head_in_a_damaged_log_is_no_comfort(path: Path) -> None:
    head = verify(path).head
    Lines(path).put(3)
    report = verify(path, head)
    assert (report.has_head, report.ok) == (True, False)


@pytest.mark.parametrize("size", [1, 50, 150])
def test_a_torn_tail_is_no_damage(path: Path, size: int) -> None:
    with path.open("ab") as file:
        file.write(Lines(path).get(3)[:size])
    report = verify(path)
    assert (report.ok, report.torn, report.lines) == (True, size, COUNT)


def test_an_older_file_with_a_torn_tail_is(path: Path) -> None:
    older = log_files(path)[1]
    older.write_bytes(older.read_bytes()[:-1])
    assert next((d.file, d.line, d.what) for d in verify(path).damage) == (
        str(older), len(rows(older)), "is no record",
    )  # fmt: skip


def test_what_is_listed_has_an_end(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\n" * (MAX_DAMAGE + 5))
    report = verify(path)
    assert (len(report.damage), report.damaged) == (MAX_DAMAGE, MAX_DAMAGE + 5)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"")
    assert (verify(path).ok, verify(path).head) == (True, BEGINNING)
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "nowhere")


# --- anything ---------------------------------------------------------------------------------

words = st.text(max_size=12)
values = st.integers() | words | st.binary(max_size=8)
records = st.fixed_dictionaries(
    {"event": st.sampled_from(["call", "denial", "grant", "revoke", "spawn"])},
    optional={
        "time_ns": st.integers(0, 2 * BEGIN_NS), "task": st.integers(0, 99), "name": words,
        "service": words, "message": words, "fields": st.dictionaries(words, values, max_size=3),
        "cause": words, "grant": st.integers(0, 99), "rule": words, "reason": words,
    },
)  # fmt: skip
batches = st.lists(st.lists(records, max_size=4), max_size=5)
runs = st.lists(batches, min_size=1, max_size=3)


def written_runs(path: Path, made: list[list[list[dict[str, object]]]], max_bytes: int) -> Lines:
    for old in path.parent.glob(f"{path.name}*"):
        old.unlink()
    for run in made:
        with AuditLog(path, max_bytes=max_bytes, keep=99, fsync="never") as log:
            for batch in run:
                log.write(batch)
    return Lines(path)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(made=runs, max_bytes=st.sampled_from([1, 300, 1 << 20]))
def test_whatever_was_written_verifies(
    tmp_path: Path, made: list[list[list[dict[str, object]]]], max_bytes: int
) -> None:
    lines = written_runs(tmp_path / "log", made, max_bytes)
    report = verify(tmp_path / "log")
    assert report.ok, report.damage
    assert report.lines == report.last == len(lines.places)


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(made=runs, max_bytes=st.sampled_from([1, 300, 1 << 20]), data=st.data())
def test_whatever_is_done_to_a_line_shows(
    tmp_path: Path, made: list[list[list[dict[str, object]]]], max_bytes: int, data: st.DataObject
) -> None:
    path = tmp_path / "log"
    lines = written_runs(path, made, max_bytes)
    last = len(lines.places) - 1
    position = data.draw(st.integers(0, last - 1))
    kind = data.draw(st.sampled_from(["removed", "changed", "swapped", "inserted"]))
    line = lines.get(position)
    if kind == "removed":
        lines.put(position)
    elif kind == "changed":
        at = data.draw(st.integers(0, len(line) - 2))
        byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != line[at]))
        lines.put(position, line[:at] + bytes([byte]) + line[at + 1 :])
    elif kind == "swapped":
        other = data.draw(st.integers(position + 1, last))
        there = lines.get(other)
        lines.put(other, line)
        lines.put(position, there)
    else:
        lines.put(position, lines.get(data.draw(st.integers(0, last))), line)
    assert not verify(path).ok


def test_the_tests_above_can_fail(path: Path) -> None:
    lines = Lines(path)
    lines.put(3, lines.get(3))
    assert verify(path).ok
