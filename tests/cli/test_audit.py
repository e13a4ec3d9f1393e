"""`wasmos audit`, as a command and, where it follows, as a function."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.audit import BEGIN_NS, SECOND, call, denial, log_files, rows, written
from tests.support.command import wasmos_
from wasmos.cli import audit as verb
from wasmos.cli import main
from wasmos.cli.parser import parse
from wasmos.system.audit import AuditLog

GRANT = {"time_ns": BEGIN_NS, "event": "grant", "task": 9, "name": "webapi", "grant": 12,
         "rule": "tcpip.connect", "origin": "policy.toml:12"}  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    other = {**call(4), "task": 10, "name": "shell", "service": "fs", "message": "fs.open"}
    later = {**call(5), "time_ns": BEGIN_NS + 60 * SECOND}
    return written(tmp_path / "audit.jsonl", [GRANT, denial(), call(3), other, later])


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command without a process: status, output, errors."""
    monkeypatch.setattr("wasmos.cli._open_standard_streams", lambda: None)

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main(["audit", *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_the_lines_of_a_log(path: Path) -> None:
    done = wasmos_("audit", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[2] for line in done.stdout.splitlines()] == [
        "open", "grant", "denial", "call", "call", "call", "close",
    ]  # fmt: skip
    assert done.stdout.splitlines()[2] == (
        "     3  2026-11-26T09:30:00.123456Z  denial    webapi[9]       "
        "tcpip.listen(listen_port=80)  no_capability"
    )


def test_the_file_that_is_meant_without_one(path: Path) -> None:
    done = wasmos_("audit", "-n", 1, cwd=path.parent)
    assert done.stdout.split()[2] == "close"


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ([], [1, 2, 3, 4, 5, 6, 7]), (["-n", 2], [6, 7]), (["-n", 0], []),
        (["-n", 99], [1, 2, 3, 4, 5, 6, 7]),
        (["--task", "webapi"], [2, 3, 4, 6]), (["--task", "10"], [5]),
        (["--event", "grant,denial"], [2, 3]),
        (["--service", "fs"], [5]), (["--denied"], [3]),
        (["--since", "2026-11-26T09:31"], [6]),
        (["--until", "2026-11-26T09:30:00.2", "-n", 1], [5]),
        (["--event", "call", "--task", "webapi", "-n", 1], [6]),
    ],
)  # fmt: skip
def test_filters(path: Path, run: Run, options: list[object], numbers: list[int]) -> None:
    status, out, err = run(path, *options)
    assert (status, err) == (0, "")
    assert [int(line.split()[0]) for line in out.splitlines()] == numbers
    _, out, _ = run(path, "-o", "json", *options)
    assert out.splitlines() == [
        line for line in path.read_text().splitlines() if json.loads(line)["seq"] in numbers
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--event", "denail"], "no audit event 'denail'; did you mean 'denial'?"),
        (["--since", "soon"],
         "'soon' is not a time like 2026-11-25T09:30 (UTC), 09:30 (today) or 5m (ago)"),
        (["--head", "0" * 16], "--head belongs to --verify"),
        (["--verify", "--head", "abc"],
         "a head is at least 16 hexadecimal digits: --verify prints one"),
        (["--explain", "99"], "audit.jsonl has no line with number 99"),
        (["--explain", "3", "-o", "json"],
         "--explain is text for people; -o json shows the records themselves"),
    ],
)  # fmt: skip
def test_wrong_usage(path: Path, run: Run, options: list[str], message: str) -> None:
    status, out, err = run(path, *options)
    assert (status, out) == (2, "")
    assert err.replace(f"{path.parent}/", "") == f"error: {message}\n"


@pytest.mark.parametrize(
    "options", [["-n", "-1"], ["-n", "x"], ["--explain", ""], ["--follow", "--verify"]]
)
def test_wrong_words(path: Path, options: list[str]) -> None:
    assert wasmos_("audit", path, *options).returncode == 2


@pytest.mark.parametrize("options", [[], ["--verify"], ["--explain", "1"], ["--follow"]])
def test_no_file(tmp_path: Path, run: Run, options: list[str]) -> None:
    status, out, err = run(tmp_path / "nowhere", *options)
    assert (status, out, err) == (
        2,
        "",
        f"error: {tmp_path}/nowhere: no such file or directory\n",
    )


@pytest.mark.parametrize("options", [["--denied", "--task", "x"], ["-o", "json", "--task", "x"]])
def test_no_such_line(path: Path, run: Run, options: list[str]) -> None:
    assert run(path, *options) == (0, "", "note: no such lines\n")


def test_what_is_no_record_is_noted(path: Path, run: Run) -> None:
    with path.open("ab") as file:
        file.write(b"garbage\n{")
    status, out, err = run(path, "-n", 1)
    assert (status, out.split()[2]) == (0, "close")
    assert err.splitlines() == [
        f"note: {path}:8: not a record; see wasmos audit --verify",
        f"note: {path}:9: the line has no end; see wasmos audit --verify",
    ]


def test_nothing_in_a_log_plays_tricks(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "audit.jsonl"
    evil = "\x1b[2J\x9b\r\n\x07\u202e\x7f\u2028\u2029\u2066\u200f"
    record = {"v": 1, "seq": 1, "event": f"call{evil}", "time": evil, "name": evil, "task": evil,
              "fields": {evil: evil}, "reason": evil, "rule": evil, "origin": evil}  # fmt: skip
    path.write_text(json.dumps(record, ensure_ascii=False) + "\n")
    for options in ([], ["-o", "json"], ["--explain", 1], ["--verify"]):
        _, out, err = run(path, *options)
        assert not set(out + err) & set("\x1b\x9b\r\x07\u202e\x7f\u2028\u2029\u2066\u200f")
        if options in ([], ["-o", "json"]):
            assert out.count("\n") == 1


# --- --verify ---------------------------------------------------------------------------------


def test_a_log_that_is_whole(path: Path) -> None:
    head = rows(path)[-1]["hash"]
    done = wasmos_("audit", path, "--verify")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{path}: 7 lines in 1 file, numbers 1 to 7: unbroken\n  head {head}\n"
    done = wasmos_("audit", path, "--verify", "--head", head)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"  the line {head} is there")


def test_damage(path: Path, run: Run) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3] + lines[4:]))
    status, out, _ = run(path, "--verify")
    assert status == 1
    assert out.splitlines()[:2] == [
        f"{path}:4: 1 line is missing before it",
        f"{path}: 6 lines in 1 file, numbers 1 to 7: 1 DAMAGED",
    ]
    status, out, _ = run(path, "--verify", "-o", "json")
    report = json.loads(out)
    assert (status, report["version"], report["ok"]) == (1, 1, False)
    assert report["damage"] == [
        {"file": str(path), "line": 4, "what": "1 line is missing before it"}
    ]
    assert list(report) == [
        "version", "ok", "files", "lines", "first", "last", "rotated_away", "head", "torn",
        "has_head", "damaged", "damage", "closed",
    ]  # fmt: skip


def test_a_tail_that_was_cut_off(path: Path, run: Run) -> None:
    head = rows(path)[-1]["hash"]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]) + b'{"v":')
    status, out, _ = run(path, "--verify")
    assert status == 0
    assert "  5 bytes at the end are no line yet: being written, or torn by a crash\n" in out
    status, out, _ = run(path, "--verify", "--head", head)
    assert status == 1
    assert (
        out.splitlines()[-1]
        == f"  the line {head} is NOT there: lines were cut off, or its file is gone"
    )


def test_a_log_that_was_not_closed(path: Path, run: Run) -> None:
    """Nothing is wrong with the chain; who reads it may know that the system is over."""
    note = (
        "  the last line is no close: the system still runs or was killed, or the end was cut off\n"
    )
    assert note not in run(path, "--verify")[1]
    assert json.loads(run(path, "--verify", "-o", "json")[1])["closed"]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    status, out, _ = run(path, "--verify")
    assert status == 0
    assert "unbroken" in out and note in out
    report = json.loads(run(path, "--verify", "-o", "json")[1])
    assert (report["ok"], report["closed"]) == (True, False)
    path.write_bytes(b"")
    assert note not in run(path, "--verify")[1]


def test_files_that_are_gone(tmp_path: Path, run: Run) -> None:
    path = written(tmp_path / "log", *[[call(1)] for _ in range(9)], max_bytes=300, keep=2)
    status, out, _ = run(path, "--verify")
    first = rows(log_files(path)[0])[0]["seq"]
    assert status == 0
    assert f"in 3 files, numbers {first} to" in out
    assert f"\n  begins at line {first}; older lines were rotated away\n" in out
    assert "quiet" not in out
    head = rows(path)[-1]["hash"]
    assert run(path, "--verify", "--head", head)[0] == 0
    assert run(path, "--verify", "--head", "0123456789abcdef")[0] == 1
    written(tmp_path / "log.quiet", [GRANT])
    _, out, _ = run(path, "--verify")
    assert f"  of these, {path}.quiet may have all but calls and denials\n" in out
    _, out, _ = run(path, "--verify", "-o", "json")
    report = json.loads(out)
    assert (report["ok"], report["rotated_away"], report["first"]) == (True, first - 1, first)


def test_a_log_that_begins_at_its_beginning(path: Path, run: Run) -> None:
    for options in ([], ["-o", "json"]):
        assert "rotated away" not in run(path, "--verify", *options)[1]
    assert json.loads(run(path, "--verify", "-o", "json")[1])["rotated_away"] == 0


def test_a_beginning_that_was_cut_off_was_not_rotated_away(path: Path, run: Run) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[2:]))
    status, out, _ = run(path, "--verify")
    assert status == 1 and "isn't how a file begins: lines are missing before it" in out
    assert "rotated away" not in out


# --- --explain --------------------------------------------------------------------------------


def test_a_line_explained(path: Path) -> None:
    done = wasmos_("audit", path, "--explain", 3)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "line 3, 2026-11-26T09:30:00.123456Z: webapi was refused tcpip.listen(listen_port=80)\n"
        "  asked by  task 9 'webapi'\n"
        "  message   tcpip.listen(listen_port=80)\n"
        "  decision  denied: it holds no capability for this service\n"
        "  rule      none grants it\n"
        '  to allow  add  "tcpip.listen(listen_port=80)"  to [task.webapi] in policy.toml\n'
    )


# --- --follow ---------------------------------------------------------------------------------


def followed(
    path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[Callable[[], object]], *options: str
) -> int:
    """Follow; each look at the log is a step, after the last one it ends."""
    left = iter(steps)

    def poll() -> bool:
        for step in left:
            step()
            return True
        return False

    monkeypatch.setattr(verb, "poll", poll)
    namespace: Namespace = parse(["audit", str(path), "--follow", *options])
    return verb.main(namespace)


def test_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Across rotations; the filters hold for what is new, too."""
    path = tmp_path / "audit.jsonl"
    seen: list[str] = []
    with AuditLog(path, max_bytes=400, keep=9) as log:
        log.write([call(number) for number in range(20)])
        steps = [
            lambda: seen.append(capsys.readouterr().out),
            lambda: log.write([call(20), denial()]),
            lambda: log.write([call(21)]),
            lambda: seen.append(capsys.readouterr().out),
        ]
        assert followed(path, monkeypatch, steps, "--event", "call") == 0
        log.write([call(22)])
    assert len(log_files(path)) > 2
    shown = [[line.split("sock=")[1].split(")")[0] for line in out.splitlines()] for out in seen]
    assert shown == [[str(number) for number in range(10, 20)], ["20", "21"]]


def test_follow_with_a_number_and_as_json(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert followed(path, monkeypatch, [lambda: written(path, [])], "-n", "0", "-o", "json") == 0
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == [
        "open",
        "close",
    ]


def test_ctrl_c_ends_it(path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def poll() -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "poll", poll)
    status, out, err = run(path, "--follow", "-n", 1)
    assert (status, err) == (130, "")
    assert out.split()[2] == "close"
