"""Reading, also what is being written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.audit import call, log_files, rows, written
from wasmos.errors import AuditError
from wasmos.system.audit import AuditLog
from wasmos.system.audit import files as files_module
from wasmos.system.audit.reader import Follower, Line, lines, read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def numbers(path: Path) -> list[int]:
    return [record["seq"] for record in read(path)]


def test_oldest_first(path: Path) -> None:
    written(path, *[[call(number)] for number in range(20)], max_bytes=300, keep=50)
    assert len(log_files(path)) > 11  # 10 comes after 9
    assert numbers(path) == list(range(1, rows(path)[-1]["seq"] + 1))
    places = [(line.file, line.number) for line in lines(path)]
    assert places[0] == (str(log_files(path)[0]), 1)
    assert places[-1] == (str(path), len(rows(path)))


def test_other_files_beside_it_are_not_read(path: Path) -> None:
    written(path, [call()])
    for end in ("lock", "torn", "0", "01", "1x", "20260101", "²", "gz"):
        Path(f"{path}.{end}").write_text('{"seq": 99}\n')
    assert numbers(path) == [1, 2, 3]


def test_between_two_files_there_is_no_newest(path: Path) -> None:
    written(path, [call()])
    path.rename(f"{path}.1")
    assert numbers(path) == [1, 2, 3]


def test_what_is_no_record_is_told(path: Path) -> None:
    written(path, [call()])
    data = path.read_bytes().splitlines(keepends=True)
    deep = b"[" * 100_000 + b"\n"
    path.write_bytes(
        data[0] + b"garbage\n[1]\n" + deep + data[1] + b"9" * 5000 + b"\n" + data[2][:20]
    )
    told: list[Line] = []
    assert [record["seq"] for record in read(path, told.append)] == [1, 2]
    assert [(line.number, line.is_torn) for line in told] == [
        (2, False), (3, False), (4, False), (6, False), (7, True),
    ]  # fmt: skip
    assert numbers(path) == [1, 2]
    assert str(told[0]) == f"{path}:2"


def test_a_line_without_end_fills_no_memory(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(5 << 20)
    found = [len(line.data) for line in lines(path)]
    assert found == [1 << 20] * 5


def test_no_file(path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        numbers(path)
    assert caught.value.filename == str(path)
    with pytest.raises(FileNotFoundError):
        numbers(path.parent / "nowhere" / "log")


def test_a_fifo_does_not_hold_it_up(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(AuditError, match="no regular file"):
        numbers(path)


@pytest.mark.parametrize("at", range(1, 4))
@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_rotation_while_the_files_are_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch, at: int, times: int
) -> None:
    """Files get new names between opening one and the next: all lines, each once."""
    log = AuditLog(path, max_bytes=100, keep=90)
    log.write([call(1)])
    log.write([call(2)])
    before = numbers(path)
    real = files_module.open_one
    count = 0

    def open_one(name: str) -> object:
        nonlocal count
        count += 1
        if at <= count < at + times:
            log.write([call(3)])  # rotates
        return real(name)

    monkeypatch.setattr(files_module, "open_one", open_one)
    found = numbers(path)
    monkeypatch.undo()
    log.close()
    assert found[: len(before)] == before
    assert found == list(range(1, len(found) + 1))
    assert count >= 3


def test_rotations_that_never_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with AuditLog(path, max_bytes=1) as log:
        real = files_module.open_one
        monkeypatch.setattr(
            files_module, "open_one", lambda name: (real(name), log.write([call(1)]))[0]
        )
        with pytest.raises(AuditError, match="faster than they can be opened"):
            numbers(path)


# --- following --------------------------------------------------------------------------------


def followed(
    path: Path, *steps: Callable[[], object], damaged: Callable[[Line], object] | None = None
) -> list[int]:
    """What is new for somebody who looks before the first step, and after each."""
    with Follower(path, history=False) as follower:
        found = [*follower.records(damaged)]
        for step in steps:
            step()
            found += follower.records(damaged)
    return [record["seq"] for record in found]


@pytest.fixture
def log(path: Path) -> Iterator[AuditLog]:
    with AuditLog(path) as log:
        log.write([call(1)])
        yield log


@pytest.fixture
def rotating(path: Path) -> Iterator[AuditLog]:
    """Every other line begins a file."""
    with AuditLog(path, max_bytes=400, keep=12) as log:
        yield log


def one(log: AuditLog) -> Callable[[], object]:
    return lambda: log.write([call(1)])


def many(log: AuditLog, count: int) -> Callable[[], object]:
    def step() -> None:
        for number in range(count):
            log.write([call(number)])

    return step


def test_what_is_new_and_nothing_else(path: Path, log: AuditLog) -> None:
    assert followed(path) == []
    first = log.seq + 1
    assert followed(path, one(log), lambda: None, lambda: log.write([call(1), call(2)])) == [
        first, first + 1, first + 2,
    ]  # fmt: skip


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_rotations(path: Path, rotating: AuditLog, count: int) -> None:
    """Also several of them between two looks, as long as nothing is dropped."""
    first = rotating.seq + 1
    found = followed(path, many(rotating, count), many(rotating, count), one(rotating))
    assert found == list(range(first, rotating.seq + 1))
    assert len(log_files(path)) > 1


def test_a_rotation_between_two_looks_at_one_file(
    path: Path, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the old file was read, it is written to once more, and then there is a new one."""
    real = files_module.identity_at
    steps: list[Callable[[], object]] = []

    def identity_at(name: str) -> object:
        while steps:
            steps.pop(0)()
        return real(name)

    monkeypatch.setattr(files_module, "identity_at", identity_at)
    with Follower(path, history=False) as follower:
        steps += [one(log), log._rotate]
        assert [record["seq"] for record in follower.records()] == [log.seq - 1, log.seq]


def test_a_follower_that_was_left_behind(path: Path, rotating: AuditLog) -> None:
    """Its file is gone: what is still there comes, oldest first, and the numbers show the gap."""
    found = followed(path, many(rotating, 50))
    still = numbers(path)
    assert found == [2, *still]  # 2 was in the file that it had
    assert still[0] > 2


def test_a_writer_that_comes_back(path: Path) -> None:
    written(path, [call(1)])
    assert followed(path, lambda: written(path, [call(2)])) == [4, 5, 6]


def test_a_line_in_two_pieces(path: Path) -> None:
    written(path, [call(1)])
    data = path.read_bytes()
    end = data.splitlines(keepends=True)[-1]
    path.write_bytes(data[: -len(end)])

    def append(piece: bytes) -> Callable[[], object]:
        def step() -> None:
            with path.open("ab") as file:
                file.write(piece)

        return step

    assert followed(path, append(end[:9]), append(end[9:40]), append(end[40:])) == [3]
    append(end[:9])()
    assert followed(path, append(end[9:])) == [3]


def test_a_moment_without_a_file(path: Path, log: AuditLog) -> None:
    aside = Path(f"{path}.aside")
    steps = (lambda: path.rename(aside), lambda: aside.rename(path), one(log))
    assert followed(path, *steps) == [log.seq]


def test_a_file_that_was_cut(path: Path, log: AuditLog) -> None:
    steps = (lambda: os.truncate(path, 10), lambda: None)
    assert followed(path, *steps) == []


def test_the_place_of_what_is_damaged(path: Path) -> None:
    written(path, [call(1)])
    told: list[Line] = []

    def spoil() -> None:
        with path.open("ab") as file:
            file.write(b"garbage\n")

    assert followed(path, spoil, damaged=told.append) == []
    assert [str(line) for line in told] == [f"{path}:4"]


def test_with_history(path: Path, rotating: AuditLog) -> None:
    log = rotating
    many(log, 5)()
    with Follower(path, history=True) as follower:
        assert [record["seq"] for record in follower.records()] == numbers(path)
        many(log, 3)()
        assert [record["seq"] for record in follower.records()][-1] == log.seq
        assert list(follower.records()) == []
