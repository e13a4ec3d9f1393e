"""A system in this process: what comes up, goes down, is kept, and who may do what."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support import talkers, wat
from tests.support.command import SYSTEM, folder
from tests.support.talkers import printer, reader
from wasmos import ManifestError, ModuleRefused, _core, abi
from wasmos.system.boot import System
from wasmos.system.manifest import load
from wasmos.system.shell import Shell


class Booted:
    def __init__(self, manifest: Path, **options: object) -> None:
        self.output = io.BytesIO()
        self.log: list[str] = []
        self.said, self.complained = io.StringIO(), io.StringIO()
        self.system = System(
            load(str(manifest)), output=self.output, log=self.log.append, **options
        )  # type: ignore[arg-type]

    async def __aenter__(self) -> Booted:
        await self.system.boot()

        async def nothing() -> None:
            return None

        self.shell = Shell(self.system, nothing, self.said, self.complained)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.system.shutdown()

    async def do(self, *lines: str) -> str:
        """What the shell says to these lines; complaints come after a "!"."""
        for line in lines:
            await self.shell.execute(line)
        complaints = "".join(f"!{line}\n" for line in self.complained.getvalue().splitlines())
        text = self.said.getvalue() + complaints
        self.said.truncate(self.said.seek(0))
        self.complained.truncate(self.complained.seek(0))
        return text


def drive(manifest: Path, work: Callable[[Booted], Awaitable[None]], **options: object) -> Booted:
    """Boot, do something, shut down."""
    booted = Booted(manifest, **options)

    async def main() -> None:
        async with booted:
            await work(booted)

    asyncio.run(main())
    return booted


async def nothing(_: Booted) -> None:
    pass


# --- files --------------------------------------------------------------------------------------


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


# --- boot fails ---------------------------------------------------------------------------------


def test_a_boot_that_fails_leaves_nothing(tmp_path: Path) -> None:
    text = f"{SYSTEM}[task.spins]\n[task.refused]\n[task.never]\nmodule='hello'\n"
    manifest = folder(tmp_path, text, spins=wat.SPIN, refused="(module)")
    before = _core.live_objects()
    booted = Booted(manifest)
    with pytest.raises(ModuleRefused, match=r"system\.toml:16: \[task\.refused\] refused: nothing"):
        asyncio.run(booted.system.boot())
    assert _core.live_objects() == before
    assert not any("never" in line for line in booted.log)


def test_a_name_that_two_tasks_want(tmp_path: Path) -> None:
    text = f"{SYSTEM}[task.a]\nmodule='spins'\nservice='x'\n[task.b]\nmodule='spins'\nservice='x'\n"
    booted = Booted(folder(tmp_path, text, spins=wat.SPIN))
    with pytest.raises(ManifestError, match=r"toml:19: \[task\.b\] already exists: service 'x'"):
        asyncio.run(booted.system.boot())


def test_a_name_that_nobody_is_gets_a_hint(tmp_path: Path) -> None:
    text = f"{SYSTEM}[task.hello]\nallow = ['consol', 'unheard-of']\n"
    booted = drive(folder(tmp_path, text), nothing)
    hints = [line for line in booted.log if "nobody is" in line]
    assert hints == [
        f"{tmp_path}/system.toml:16: nobody is the service 'consol' yet; did you mean 'console'?"
    ]


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    manifest = folder(tmp_path, SYSTEM.replace('"programs"', '"programs", "other"'))
    booted = drive(manifest, nothing)
    assert f"programs: there is no directory {tmp_path}/other" in booted.log


def test_the_first_folder_that_has_a_program(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "x.wat").write_text(printer("second"))
    (tmp_path / "second" / "y.wat").write_text(printer("y"))
    text = SYSTEM.replace('["programs"]', '["programs", "second"]')
    manifest = folder(tmp_path, text, x=printer("first"), hello=printer("mine"))

    async def work(booted: Booted) -> None:
        await booted.do("start x", "start y", "start hello", "start x.wat")

    output = drive(manifest, work).output.getvalue()
    assert output.replace(b"webserver: listening on port 80\n", b"") == b"firstyminefirst"


# --- programs -----------------------------------------------------------------------------------


def test_a_section_counts_for_start_too(tmp_path: Path) -> None:
    text = SYSTEM.replace('allow = ["*"]', "") + (
        "[task.speaks]\nmodule = 'says'\nallow = ['console']\nargs = ['x']\n"
    )
    manifest = folder(tmp_path, text, says=printer("said "))

    async def work(booted: Booted) -> None:
        assert await booted.do("start speaks") == ""
        await booted.do("start says")  # [spawn] allows nothing

    assert drive(manifest, work).output.getvalue().count(b"said ") == 2  # at boot, and by name


SPAWNS = wat.program(
    f"""
    (i32.store #1024 #{abi.SpawnTask.TYPE})
    (memory.copy (i32.const 1032) (i32.const 512) (i32.const 32))
    (drop (call $call @vm #1024)) (i32.load #1024)""",
    fields='(data (i32.const 512) "{name}\\00")',
)


@pytest.mark.parametrize("name", ["/etc/passwd", "../system", "programs/says", "/", "nobody", ""])
def test_a_guest_spawns_programs_by_name_and_never_by_path(tmp_path: Path, name: str) -> None:
    manifest = folder(tmp_path, spawns=SPAWNS.replace("{name}", name))

    async def work(booted: Booted) -> None:
        assert "exited with code -7" in await booted.do("start spawns")

    drive(manifest, work)


def test_a_child_gets_no_more_than_its_parent_has(tmp_path: Path) -> None:
    text = f"{SYSTEM}[task.narrow]\nmodule='spawns'\nallow=['vm']\n"
    manifest = folder(tmp_path, text, spawns=SPAWNS.replace("{name}", "says"), says=printer("said"))

    async def work(booted: Booted) -> None:
        while not any("'narrow' exited" in line for line in booted.log):
            await asyncio.sleep(0)
        assert booted.log[-1].endswith(f"exited with code {abi.SpawnTaskReply.TYPE}")
        await booted.do("start hello", "ping 1")  # the child has had its turn by then

    booted = drive(manifest, work)
    assert b"said" not in booted.output.getvalue()


@pytest.mark.parametrize("name", ["fs", "echo", "webserver", "later"])
def test_names_of_servers_and_tasks_are_theirs(tmp_path: Path, name: str) -> None:
    """Nobody gets between them and their clients, also while they are down."""
    squats = wat.program(
        f"""(i32.store #1024 #{abi.ServiceRegister.TYPE})
        (memory.copy (i32.const 1032) (i32.const 512) (i32.const 16))
        (drop (call $call @vm #1024)) (i32.load #1024)""",
        fields=f'(data (i32.const 512) "{name}\\00")',
    )
    text = f"{SYSTEM}[task.later]\nmodule='pong_passive'\nservice='later'\n"
    manifest = folder(tmp_path, text, squats=squats)

    async def work(booted: Booted) -> None:
        await booted.do("kill webserver", f"kill {name}")
        assert "exited with code -8" in await booted.do("start squats")

    drive(manifest, work)


def test_only_the_program_in_the_foreground_reads(tmp_path: Path) -> None:
    """Whoever is in the background is at the end of its input at once."""
    manifest = folder(tmp_path, back=reader(at_end=3), front=reader(at_end=4))

    async def work(booted: Booted) -> None:
        background = await booted.system.start("back", [])
        exit = await booted.system.aio.wait(background)
        assert exit.code == 3
        assert "exited with code 4" in await booted.do("start front")

    booted = drive(manifest, work, input=io.BytesIO(b"typed\n"))
    assert b"Typed\n" in booted.output.getvalue()


def test_the_shell_goes_on_after_an_interrupt(tmp_path: Path) -> None:
    manifest = folder(tmp_path, endless=talkers.ENDLESS)

    async def work(booted: Booted) -> None:
        shell = booted.shell
        assert not shell.interrupt()
        doing = asyncio.ensure_future(booted.do("sleep 1000"))
        while not shell.interrupt():
            await asyncio.sleep(0)
        assert await doing == "!sleep: interrupted\n"
        doing = asyncio.ensure_future(booted.do("start endless"))
        while booted.system.foreground is None:
            await asyncio.sleep(0)
        assert shell.interrupt()
        assert (await doing).endswith("'endless' was killed: interrupted\n")
        assert await booted.do("ping 1") == "pong answers 42\n"

    drive(manifest, work)


def test_a_killed_shell_gets_another_hand(tmp_path: Path) -> None:
    async def work(booted: Booted) -> None:
        booted.shell.client.kill()
        assert await booted.do("ping 1") == "pong answers 42\n"
        assert not any("shell" in line for line in booted.log)

    drive(folder(tmp_path), work)


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
