"""`wasmos run`: limits, and what is said when one was reached."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.support import wat
from tests.support.command import HELLO, Make, wasmos_
from tests.support.talkers import WASI

GROWS = wat.program("(i32.eq (memory.grow #{pages}) #-1)".replace("{pages}", "32"))  # by 2 MiB


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        ("2MiB", False), ("2.1M", True), ("2163KiB", True), ("2162688", True), ("2162687B", False),
        ("2k", None), ("3MB", True), ("2 MiB", False), ("1g", True), ("1TiB", True), ("0", None),
    ],
)  # fmt: skip
def test_the_units_of_max_memory(made: Make, size: str, fits: bool | None) -> None:
    done = wasmos_("run", "--max-memory", size, made(GROWS))
    if fits is None:
        assert done.returncode == 126 and "raise the task's memory limit" in done.stderr
    else:
        assert done.returncode == int(not fits)


def test_what_it_has_by_default(made: Make) -> None:
    """More than 64 MiB, and no more than 1 GiB: 16,384 pages, of which it has one."""
    grow = "(i32.eq (memory.grow #{pages}) #-1)"
    for pages, fits in ((2_000, True), (16_383, True), (16_384, False)):
        program = made(wat.program(grow.replace("{pages}", str(pages))))
        assert wasmos_("run", program).returncode == int(not fits)


def test_what_compiling_may_take(made: Make) -> None:
    program = made(wat.program("#0"))
    for flag, value in (("--compile-timeout", "1ns"), ("--compile-memory", "1MiB")):
        done = wasmos_("run", "--no-cache", flag, value, program)
        assert done.returncode == 126 and f"to allow more: {flag}" in done.stderr


@pytest.mark.parametrize(
    ("flag", "value", "error"),
    [
        ("--max-memory", "1x", "'1x' is not a size like 64MiB"),
        ("--max-memory", "MiB", "'MiB' is not a size like 64MiB"),
        ("--max-memory", "-1", "'-1' is not a size"),
        ("--max-memory=-1", None, "'-1' is not a size"),
        ("--max-memory", "nan", "'nan' is not a size"),
        ("--max-memory", "inf", "'inf' is not a size"),
        ("--max-memory", "1e30", "'1e30' is too much"),
        ("--timeout", "5 parsecs", "'5 parsecs' is not a time like 5s or 250ms"),
        ("--timeout", "", "'' is not a time"),
        ("--timeout", "1e300h", "'1e300h' is too much"),
        ("--cpu", "1:30", "'1:30' is not a time"),
        ("--cpu", "99999999999999999999", "is too much"),
    ],
)
def test_wrong_limits(flag: str, value: str | None, error: str) -> None:
    done = wasmos_("run", flag, *([] if value is None else [value]), HELLO)
    assert done.returncode == 2
    assert f"argument {flag.split('=')[0]}: " in done.stderr and error in done.stderr


@pytest.mark.parametrize("flag", ["timeout", "cpu", "max-memory"])
def test_limits_from_the_environment(made: Make, flag: str) -> None:
    variable = "WASMOS_" + flag.replace("-", "_").upper()
    wrong = wasmos_("run", HELLO, env={variable: "abc"})
    assert wrong.returncode == 2
    assert f"argument --{flag}: {variable}: 'abc' is not a " in wrong.stderr
    assert wasmos_("run", HELLO, env={variable: ""}).returncode == 0  # as if it weren't there
    good = {"max-memory": "64k"}.get(flag, "10ms")
    done = wasmos_("run", made(GROWS if "memory" in flag else wat.SPIN), env={variable: good})
    assert done.returncode == (1 if "memory" in flag else 124)
    # The flag wins, even over nonsense.
    assert wasmos_("run", f"--{flag}", "10", HELLO, env={variable: "abc"}).returncode in (0, 126)


def test_output_that_is_cut_is_noted(made: Make) -> None:
    done = wasmos_("run", "--allow", "console", "--max-output", "5", HELLO)
    assert (done.returncode, done.stdout) == (0, "Hello")
    assert done.stderr == (
        "note: hello may print 5 bytes, and the rest was left out; "
        "to allow more: --max-output, or output_limit\n"
    )
    done = wasmos_("run", "--allow", "console", "--max-output", "19", HELLO)
    assert (done.stdout, done.stderr) == ("Hello from WasmOS!\n", "")


def test_a_wasi_program_that_prints_too_much_is_ended(made: Make) -> None:
    endless = (
        "(loop (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0))) (br 0))"
    )
    program = made(WASI.format(endless))
    done = wasmos_("run", "--max-output", "15", program)
    assert (done.returncode, done.stdout) == (137, "Hello\nHello\nHel")
    said = (
        "'guest' printed more than it may: 15 bytes; to allow more: --max-output, or output_limit\n"
    )
    assert re.fullmatch(rf"error: task \d+ {said}", done.stderr)
    assert wasmos_("run", "-q", "--max-output", "15", program).stderr == ""


@pytest.mark.parametrize(("size", "code"), [("1KiB", 0), ("1023", 51)])
def test_files_in_memory_are_limited(made: Make, size: str, code: int) -> None:
    program = made(
        WASI.format(
            """(if (call $open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 5)
                   (i32.const 1) (i64.const 0x1fffffff) (i64.const 0) (i32.const 0) (i32.const 0))
                 (then unreachable))
               (call $exit (call $resize (i32.load (i32.const 0)) (i64.const 1024)))"""
        )
    )
    done = wasmos_("run", "--allow", "fs", "--max-files", size, program)
    assert (done.returncode, done.stderr) == (code, "")


# It wants as much memory as it has, again and again, until that is refused.
GREEDY = wat.program("(loop (br_if 0 (i32.ne (memory.grow (memory.size)) #-1))) unreachable")


def test_a_program_that_is_refused_memory(made: Make, tmp_path: Path) -> None:
    """It ends as if for no reason: the limit is said where people look."""
    log = tmp_path / "log.jsonl"
    done = wasmos_("run", "--max-memory", "3MiB", "--audit", log, made(GREEDY))
    lines = done.stderr.splitlines()
    assert done.returncode == 134
    end = "trapped: unreachable executed; it had 2,097,152 of 3,145,728 bytes of memory"
    assert lines[0].endswith(end)
    assert lines[-1] == (
        "note: guest may have been refused memory: it had 2.0 MiB, of 3.0 MiB at most; "
        "to allow more: --max-memory 6MiB"
    )
    ends = [json.loads(line) for line in log.read_text().splitlines()]
    assert any(each["event"] == "exit" and each["reason"].endswith(end) for each in ends)
    assert wasmos_("run", "-q", "--max-memory", "3MiB", made(GREEDY)).stderr == ""


def test_a_program_that_traps_with_memory_left(made: Make) -> None:
    done = wasmos_("run", made(wat.program("unreachable")))
    assert "memory" not in done.stderr


def test_a_trap_with_all_descriptors_in_use(tmp_path: Path) -> None:
    """What a program keeps open mustn't keep anybody from being told how it ended."""
    import resource

    (tmp_path / "p.wat").write_text("""(module
        (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "f")
        (func (export "_start")
            (loop (br_if 0 (i32.eqz (call $open (i32.const 3) (i32.const 0) (i32.const 0)
                (i32.const 1) (i32.const 1) (i64.const 2) (i64.const 0) (i32.const 0)
                (i32.const 16)))))
            unreachable))""")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    done = wasmos_(
        "run", "--max-open-files", "1000", "--dir", f"{tmp_path}::/d", tmp_path / "p.wat",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard)),
    )  # fmt: skip
    assert done.returncode == 134, done.stderr
    assert "trapped: unreachable" in done.stderr


@pytest.mark.plain_build
@pytest.mark.skipif(sys.platform == "darwin", reason="there, addresses have no limit")
def test_no_addresses_left_for_its_memory() -> None:
    import resource

    done = wasmos_(
        "run", "--allow", "console", HELLO,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)),
    )  # fmt: skip
    assert done.returncode == 126
    assert done.stderr == (
        "error: task 3 'hello' could not start: no addresses are left for its memory, which takes "
        "4 GiB of them: a limit on those of this process (ulimit -v), or too many tasks\n"
    )
