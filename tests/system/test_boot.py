"""A system in this process comes up and goes down: its files, how it fails, and what is left."""

from __future__ import annotations

import asyncio
import json
import tarfile
import threading
from pathlib import Path

import pytest

from tests.support import wat
from tests.support.command import SYSTEM, folder
from tests.support.talkers import reader
from tests.system.booted import Booted, drive, nothing
from wasmos import Exit, ManifestError, ModuleRefused, _core
from wasmos.system import backtrace
from wasmos.system.boot import MAX_TRACES

# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["state", "state.tar"])
def test_what_is_saved_is_there_the_next_time(tmp_path: Path, name: str) -> None:
    """Also the first time, when nothing is there yet, and what was changed stays so."""
    state = f'[fs]\nload = "{name}"\nsave = "{name}"'
    manifest = folder(tmp_path, SYSTEM.replace("[fs]", state))

    async def first(booted: Booted) -> None:
        assert await booted.do("ls") == "      19 bytes  hello.txt\n"
        await booted.do("delete hello.txt", 'write hello.txt "changed"', "mkdir d", "write d/x y")

    async def second(booted: Booted) -> None:
        assert await booted.do("cat hello.txt", "cat d/x", "delete d/x") == "changed\ny\n"

    async def third(booted: Booted) -> None:
        assert await booted.do("ls d", "ls") == "     directory  d\n       7 bytes  hello.txt\n"

    booted = drive(manifest, first)
    assert f"fs: {tmp_path}/{name} is not there yet" in booted.log
    assert booted.log[-1] == f"fs: saved to {tmp_path}/{name}"
    drive(manifest, second)
    drive(manifest, third)
    if name.endswith(".tar"):
        with tarfile.open(tmp_path / name) as archive:
            assert archive.getnames() == ["d", "hello.txt"]
    else:
        assert (tmp_path / name / "hello.txt").read_text() == "changed"


def test_the_shell_shows_what_a_file_holds_and_more_of_its_name(tmp_path: Path) -> None:
    """On a terminal: a name has no marks for text from right to left, and a text may."""

    async def work(booted: Booted) -> None:
        booted.shell._terminal = True
        await booted.do("delete hello.txt", "write a\u200fb '\u05d0\u200f\u202e\x9b'")
        assert await booted.do("cat a\u200fb") == "\u05d0\u200f\\u202e\\x9b\n"
        assert await booted.do("ls") == "      10 bytes  a\\u200fb\n"
        assert await booted.do("cat x\u200f") == "!cat x\\u200f: not found\n"

    drive(folder(tmp_path, SYSTEM), work)


def fs(text: str) -> str:
    return SYSTEM.replace("[fs]", f"[fs]\n{text}")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('load = "none"', "6: {tmp}/none: no such file or directory"),
        ('load = "system.toml"', "6: {tmp}/system.toml: "),
        ('save = "a/b"', "6: save: there is no directory {tmp}/a; make it"),
        ('save = "full"', "6: save would replace what is in {tmp}/full; choose an empty"),
        ('load = "odd"\nsave = "odd"', "7: save would lose link, which is a symbolic link"),
    ],
)
def test_files_that_cannot_be_had(tmp_path: Path, text: str, error: str) -> None:
    for name in ("full", "odd"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / "odd" / "link").symlink_to("file")
    booted = Booted(folder(tmp_path, fs(text)))
    with pytest.raises(ManifestError) as caught:
        asyncio.run(booted.system.boot())
    assert str(caught.value).startswith(f"{tmp_path}/system.toml:{error.format(tmp=tmp_path)}")
    assert (tmp_path / "full" / "file").exists()


@pytest.mark.parametrize("name", ["../x", "", "a/../../x", "a\\u0000b", "hello.txt/x"])
def test_names_of_files_that_are_none(tmp_path: Path, name: str) -> None:
    text = SYSTEM.replace('"hello.txt" =', f'"hello.txt" = "", "{name}" =')
    booted = Booted(folder(tmp_path, text))
    with pytest.raises(ManifestError, match=r"system\.toml:6: .*: "):
        asyncio.run(booted.system.boot())


# --- boot fails ----------------------------------------------------------------------------------


def test_a_boot_that_fails_leaves_nothing(tmp_path: Path) -> None:
    text = f"{SYSTEM}[task.spins]\n[task.refused]\n[task.never]\nmodule='hello'\n"
    manifest = folder(tmp_path, text, spins=wat.SPIN, refused="(module)")
    before = _core.live_objects()
    booted = Booted(manifest)
    with pytest.raises(ModuleRefused, match=r"system\.toml:17: \[task\.refused\] refused: nothing"):
        asyncio.run(booted.system.boot())
    assert _core.live_objects() == before
    assert not any("never" in line for line in booted.log)


def test_a_name_that_two_tasks_want(tmp_path: Path) -> None:
    text = f"{SYSTEM}[task.a]\nmodule='spins'\nservice='x'\n[task.b]\nmodule='spins'\nservice='x'\n"
    booted = Booted(folder(tmp_path, text, spins=wat.SPIN))
    with pytest.raises(ManifestError, match=r"toml:20: \[task\.b\] already exists: service 'x'"):
        asyncio.run(booted.system.boot())


@pytest.mark.parametrize(
    ("module", "error"),
    [
        ("crash", "[task.x] no program 'crash' in {tmp}/prgrams (there is no such directory), "),
        ("./crash.wasm", "[task.x] {tmp}/./crash.wasm: no such file or directory"),
        ("./programs", "[task.x] {tmp}/./programs: is a directory"),
    ],
)
def test_modules_are_found_before_anything_starts(tmp_path: Path, module: str, error: str) -> None:
    text = SYSTEM.replace('["programs"]', '["prgrams"]') + f"[task.x]\nmodule = '{module}'\n"
    before = _core.live_objects()
    booted = Booted(folder(tmp_path, text), audit=tmp_path / "log")
    with pytest.raises(ManifestError) as caught:
        asyncio.run(booted.system.boot())
    assert error.format(tmp=tmp_path) in str(caught.value)
    assert booted.log == [f"programs: there is no directory {tmp_path}/prgrams"]
    assert _core.live_objects() == before
    assert not (tmp_path / "log").exists()


def test_who_ends_with_a_boot_that_failed_is_not_said_to_be_killed(tmp_path: Path) -> None:
    text = f"{SYSTEM}[task.x]\nmodule = 'refused'\n"
    booted = Booted(folder(tmp_path, text, refused="(module)"))
    with pytest.raises(ModuleRefused):
        asyncio.run(booted.system.boot())
    assert not any("killed" in line for line in booted.log)


# --- while it is up, and when it goes down -------------------------------------------------------


def test_others_go_on_while_a_backtrace_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program may have so much debug information that it takes seconds."""
    goes_on, saw = threading.Event(), []

    def slow_trace(exit: Exit) -> list[str]:
        saw.append(all(saw) and goes_on.wait(10))
        return [f"  at {exit.name}"]

    monkeypatch.setattr(backtrace, "trace", slow_trace)
    manifest = folder(tmp_path, SYSTEM, t=wat.TRAP)

    async def work(booted: Booted) -> None:
        for _ in range(MAX_TRACES + 1):
            await booted.do("start t &")
            await booted.logged("'t' trapped")
        assert "answers" in await booted.do("ping 1")
        goes_on.set()

    log = drive(manifest, work).log  # those that are still to come are waited for
    assert saw == [True] * MAX_TRACES
    assert sum("'t' was:" in line for line in log) == log.count("  at t") == MAX_TRACES


def test_a_shutdown_with_everything_at_work_leaves_nothing(tmp_path: Path) -> None:
    manifest = folder(
        tmp_path, spins=wat.SPIN, sleeps=wat.SLEEP, reads=reader(),
        looks=wat.program("(drop @nobody_at_all) #0"),
    )  # fmt: skip
    before = _core.live_objects()

    async def work(booted: Booted) -> None:
        await booted.do(*[f"start {n} &" for n in ("spins", "sleeps", "reads", "looks")] * 3)

    drive(manifest, work)
    assert _core.live_objects() == before


def test_an_audit_of_all_of_it(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    drive(folder(tmp_path, audit_me=wat.SLEEP), nothing, audit=str(log))
    records = [json.loads(line) for line in log.read_text().splitlines()]
    events = [record["event"] for record in records]
    assert events[0] == "open" and events[-1] == "close"
    granted = [(r["name"], r["rule"]) for r in records if r["event"] == "grant"]
    assert ("pong", "vm") in granted and ("webserver", "console") in granted
    ended = [record["name"] for record in records if record["event"] == "exit"]
    assert {"pong", "webserver", "vm"} <= set(ended)
