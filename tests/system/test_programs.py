"""A system's programs: where they are found, what they are told and may do, and who has the
foreground."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

from tests.support import talkers, wat
from tests.support.command import SYSTEM, folder
from tests.support.talkers import SAYS_ARGUMENTS, printer, reader
from tests.system.booted import Booted, drive, held, nothing
from wasmos import ManifestError, abi
from wasmos.errors import NotGranted

# --- where they are found ------------------------------------------------------------------------


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


# --- what they are told --------------------------------------------------------------------------


def test_a_section_counts_for_start_too(tmp_path: Path) -> None:
    text = SYSTEM.replace('use = ["*"]', "") + (
        "[task.speaks]\nmodule = 'says'\nuse = ['console']\nargs = ['x']\n"
    )
    manifest = folder(tmp_path, text, says=printer("said "))

    async def work(booted: Booted) -> None:
        assert await booted.do("start speaks") == ""
        await booted.do("start says")  # [spawn] allows nothing

    assert drive(manifest, work).output.getvalue().count(b"said ") == 2  # at boot, and by name


def test_arguments_that_a_program_could_not_be_told(tmp_path: Path) -> None:
    """Too long for the message that one for WASI doesn't need."""
    text = SYSTEM + f"[task.x]\nmodule = 'MODULE'\nuse = ['console']\nargs = ['', '{'x' * 1024}']\n"
    programs = {"ours": wat.program("#0"), "wasi": SAYS_ARGUMENTS}
    error = r"toml:\d+: \[task.x\] argument 2 has 1,024 bytes, the most is 1,023 for a program that"
    with pytest.raises(ManifestError, match=error):
        drive(folder(tmp_path, text.replace("MODULE", "ours"), **programs), nothing)
    drive(folder(tmp_path, text.replace("MODULE", "wasi"), **programs), nothing)  # it comes up


def test_arguments_of_start_are_checked_too(tmp_path: Path) -> None:
    manifest = folder(tmp_path, SYSTEM, ours=wat.program("#0"))

    async def work(booted: Booted) -> None:
        tasks = len(booted.system.kernel.tasks)
        said = await booted.do(f"start ours {'x' * 1024}", "start ours a\0b")
        assert said == (
            "!start: argument 1 has 1,024 bytes, the most is 1,023 for a program that isn't for "
            "WASI; pass it in a file or as input\n"
            "!start: argument 1 has a NUL in it, where a program would take it to end\n"
        )
        assert len(booted.system.kernel.tasks) == tasks

    drive(manifest, work)


def test_programs_for_wasi_are_called_as_their_files(tmp_path: Path) -> None:
    """Even if they are the same program: it may choose by that what it does."""
    text = SYSTEM + "[task.first]\nmodule = 'ls'\nuse = ['console', 'args']\n"
    manifest = folder(tmp_path, text, ls=SAYS_ARGUMENTS, cat=SAYS_ARGUMENTS)

    async def work(booted: Booted) -> None:
        await booted.do("start cat a")

    output = drive(manifest, work).output.getvalue()
    assert b"ls.wat " in output
    assert b"cat.wat a " in output


def test_a_task_has_its_own_variables(tmp_path: Path) -> None:
    gets = wat.program(
        f"""(i32.store #1024 #{abi.EnvGet.TYPE})
        (memory.copy (i32.const 1032) (i32.const 512) (i32.const 16))
        (drop (call $call @env #1024)) (i32.load8_u #1032)""",
        fields='(data (i32.const 512) "NAME\\00")',
    )
    text = SYSTEM.replace('"args",', '"args", "env",') + (
        "[task.a]\nmodule='gets'\nenv={NAME='A'}\n[task.b]\nmodule='gets'\nenv={NAME='B'}\n"
    )

    async def work(booted: Booted) -> None:
        await booted.logged("'a' exited with code 65")
        await booted.logged("'b' exited with code 66")

    drive(folder(tmp_path, text, gets=gets), work)


# --- rights --------------------------------------------------------------------------------------


def test_a_task_holds_what_the_policy_made_of_its_wishes(tmp_path: Path) -> None:
    text = f"{SYSTEM}[task.t]\nmodule='waits'\nuse=['console.write', 'vm']\nargs=['x']\n"
    policy = """
[default]
deny = ["tcpip.connect"]
[task.pong]
allow = ["vm"]
[task.webserver]
allow = ["tcpip", "console"]
[task.t]
allow = ["console", "fs", "vm"]
deny = ["vm.destroy_task"]
[spawn]
allow = ["*"]
"""
    manifest = folder(tmp_path, text, policy, waits=wat.SLEEP)

    async def work(booted: Booted) -> None:
        origin = f"{tmp_path}/policy.toml"
        assert held(booted.task("t")) == [
            ("not tcpip.connect", f"{origin}:3"),
            ("not vm.destroy_task", f"{origin}:10"),
            ("args", "its args"),
            ("console.write", f"{origin}:9"),
            ("vm", f"{origin}:9"),
        ]
        await booted.do("start waits &")
        assert held(booted.task("waits")) == [
            ("not tcpip.connect", f"{origin}:3"), ("*", f"{origin}:12"),
        ]  # fmt: skip

    booted = drive(manifest, work)
    assert "may use console.write, vm, but not tcpip.connect, vm.destroy_task" in "".join(
        booted.log
    )


def test_nothing_starts_if_a_task_asks_for_too_much(tmp_path: Path) -> None:
    manifest = folder(tmp_path, policy="[task.pong]\nallow=['vm']")
    with pytest.raises(NotGranted, match=r"^webserver asks for what no policy grants\n"):
        Booted(manifest)


# --- the foreground ------------------------------------------------------------------------------


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
