"""A system in this process: what comes up, goes down, is kept, and who may do what."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support import talkers, wat
from tests.support.command import SYSTEM, folder
from tests.support.talkers import SAYS_ARGUMENTS, printer, reader
from wasmos import CapabilityDenied, Exit, ManifestError, ModuleRefused, Task, _core, abi
from wasmos.errors import NotGranted
from wasmos.kernel.aio import AsyncKernel
from wasmos.system import backtrace
from wasmos.system.boot import MAX_TRACES, System
from wasmos.system.manifest.manifest import load
from wasmos.system.shell.shell import Shell


class Booted:
    def __init__(self, manifest: Path, *, virtual: bool = False, **options: object) -> None:
        self.output = io.BytesIO()
        self.log: list[str] = []
        self.said, self.complained = io.StringIO(), io.StringIO()
        self.system = System(
            load(str(manifest)), output=self.output, log=self.log.append, **options
        )  # type: ignore[arg-type]
        if virtual:  # time passes as fast as it can
            self.system.aio = AsyncKernel(virtual_clock=True)

    async def __aenter__(self) -> Booted:
        await self.system.boot()

        async def nothing() -> None:
            return None

        self.shell = Shell(self.system, nothing, self.said, self.complained)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.system.shutdown()

    async def logged(self, wanted: str) -> str:
        """Wait for a line of the log, and take it and those before it out."""
        turns = 0
        while not (found := [n for n, line in enumerate(self.log) if wanted in line]):
            await asyncio.sleep(0)
            turns += 1
            assert turns < 10_000, f"no {wanted!r} in {self.log}"
        line = self.log[found[0]]
        del self.log[: found[0] + 1]
        return line

    def task(self, name: str) -> Task:
        return next(task for task in self.system.kernel.tasks if task.name == name)

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


# --- boot fails ---------------------------------------------------------------------------------


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
    text = f"{SYSTEM}[task.narrow]\nmodule='spawns'\nuse = ['vm']\n"
    manifest = folder(tmp_path, text, spawns=SPAWNS.replace("{name}", "says"), says=printer("said"))

    async def work(booted: Booted) -> None:
        while not any("'narrow' exited" in line for line in booted.log):
            await asyncio.sleep(0)
        assert booted.log[-1].endswith(f"exited with code {abi.SpawnTaskReply.TYPE}")
        await booted.do("start hello", "ping 1")  # the child has had its turn by then

    booted = drive(manifest, work)
    assert b"said" not in booted.output.getvalue()


def test_a_child_gets_of_its_section_what_its_parent_has(tmp_path: Path) -> None:
    text = (
        f"{SYSTEM}[task.parent]\nmodule='spawns'\nuse=['vm', 'console.write']\n"
        "[task.child]\nmodule='waits'\nuse=['console', 'fs']\n"
    )
    policy = (
        '[default]\ndeny = ["console.read"]\n[task.pong]\nallow=["*"]\n[task.webserver]\n'
        'allow=["*"]\n[task.parent]\nallow=["*"]\n[task.child]\nallow=["*"]\ndeny=["fs.write"]\n'
        '[spawn]\nallow=["*"]'
    )
    spawns = SPAWNS.replace("{name}", "child").replace("(i32.load #1024)", wat.forever())
    manifest = folder(tmp_path, text, policy, spawns=spawns, waits=wat.SLEEP)

    async def work(booted: Booted) -> None:
        def derived() -> list[Task]:
            return [t for t in booted.system.kernel.tasks if any(g.parent for g in t.grants)]

        while not derived():
            await asyncio.sleep(0)
        [child] = derived()
        assert child.name == "child"
        # Its share of what its parent has: of `console`, the part that the parent's rule is for.
        assert [(f"{'not ' * g.deny}{g.rule}", g.parent and str(g.parent.rule))
                for g in child.grants] == [
            ("console", "console.write"), ("not console.read", None), ("not fs.write", None),
        ]  # fmt: skip

    drive(manifest, work)


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


def started_by_guests(tmp_path: Path, text: str, name: str, **programs: str) -> Path:
    """Whose program `spawns` spawns `name`; it returns the answer's type, or the error."""
    return folder(
        tmp_path,
        f"[system]\nservers = ['vm', 'env']\nprograms = ['programs']\n{text}",
        spawns=SPAWNS.replace("{name}", name),
        waits=wat.SLEEP,
        **programs,
    )


SPAWNED, DENIED = f"exited with code {abi.SpawnTaskReply.TYPE}", "exited with code -8"


@pytest.mark.parametrize("restart", ["never", "on-failure"])
def test_a_guest_gives_nobody_a_name_that_is_not_its_own_to_register(
    tmp_path: Path, restart: str
) -> None:
    """While the section's task is down: it would be a stranger's child, with a stranger's rights,
    and in the way of the next life."""
    text = (
        f"[task.db]\nmodule = 'waits'\nservice = 'db'\nrestart = '{restart}'\n"
        "[spawn]\nuse = ['*']\n"
    )

    async def work(booted: Booted) -> None:
        await booted.do("kill db")
        assert DENIED in await booted.do("start spawns")
        assert "db" not in booted.system.kernel.services
        assert [task.name for task in booted.system.kernel.tasks if task.name == "db"] == []

    drive(started_by_guests(tmp_path, text, "db"), work, virtual=True)


@pytest.mark.parametrize(
    ("rule", "restart", "said"),
    [
        ("service_register(name='db')", "never", SPAWNED),
        ("service_register(name='other')", "never", DENIED),
        ("service_register(name='db')", "on-failure", DENIED),  # its supervisor starts it
    ],
)
def test_who_may_register_a_name_may_have_a_child_that_is_it(
    tmp_path: Path, rule: str, restart: str, said: str
) -> None:
    quoted = rule.replace("'", '"')
    text = (
        f"[task.db]\nmodule = 'waits'\nservice = 'db'\nrestart = '{restart}'\n"
        f"[task.lead]\nmodule = 'spawns'\nrestart = 'always'\nbackoff = '60s'\n"
        f"use = ['vm.spawn_task', 'vm.{quoted}']\n"
    )

    async def work(booted: Booted) -> None:
        await booted.logged("'lead' exited with code")  # while there is one, it gets none
        await booted.do("kill db")
        assert said in await booted.logged("'lead' exited with code")
        assert ("db" in booted.system.kernel.services) == (said == SPAWNED)

    drive(started_by_guests(tmp_path, text, "db"), work, virtual=True)


@pytest.mark.parametrize(
    ("use", "said"),
    [
        ("['vm.spawn_task']", DENIED),
        ("['vm']", DENIED),  # that is the right to its own name
        ("['vm.spawn_task', 'vm.service_register(name=\"plus\")']", SPAWNED),
        ("['*']", SPAWNED),
    ],
)
def test_a_passive_service_needs_the_right_to_its_name(tmp_path: Path, use: str, said: str) -> None:
    text = f"[spawn]\nuse = {use}\n"
    manifest = started_by_guests(tmp_path, text, "plus", plus=wat.PASSIVE)

    async def work(booted: Booted) -> None:
        assert said in await booted.do("start spawns")
        assert ("plus" in booted.system.kernel.services) == (said == SPAWNED)

    drive(manifest, work, virtual=True)


@pytest.mark.parametrize(("denied", "said"), [("other", SPAWNED), ("plus", DENIED)])
def test_what_its_giver_is_denied_is_no_right_to_a_name(
    tmp_path: Path, denied: str, said: str
) -> None:
    text = "[spawn]\nuse = ['vm.spawn_task']\n"
    manifest = started_by_guests(tmp_path, text, "plus", plus=wat.PASSIVE)

    async def work(booted: Booted) -> None:
        kernel = booted.system.kernel
        giver = kernel.client("giver", allow=['vm.service_register(name="*")'])
        kernel.deny(giver, f'vm.service_register(name="{denied}")')
        booted.system.on_task = lambda task: giver.grants[0].delegate(task)
        assert said in await booted.do("start spawns")
        assert ("plus" in kernel.services) == (said == SPAWNED)

    drive(manifest, work, virtual=True)


def test_a_child_is_not_told_what_its_section_tells_its_own_task(tmp_path: Path) -> None:
    """Variables may be secrets, and whom the child may tell them to, its parent has chosen."""
    gets = wat.program(
        f"""(i32.store #1024 #{abi.EnvGet.TYPE})
        (memory.copy (i32.const 1032) (i32.const 512) (i32.const 16))
        (drop (call $call @env #1024)) (i32.load #1024)""",
        fields='(data (i32.const 512) "TOKEN\\00")',
    )
    text = (
        "[task.child]\nmodule = 'gets'\nargs = ['secret']\nenv = { TOKEN = 'secret' }\n"
        "[task.parent]\nmodule = 'spawns'\nuse = ['vm', 'env']\nenv = { TOKEN = 'other' }\n"
    )
    text = text.replace("args =", "use = ['env']\nargs =")
    manifest = started_by_guests(tmp_path, text, "child", gets=gets)

    async def work(booted: Booted) -> None:
        await booted.logged(f"'child' exited with code {abi.EnvGetReply.TYPE}")
        await booted.logged(f"'child' exited with code {int(abi.ErrorCode.NOT_FOUND)}")

    drive(manifest, work, virtual=True)


# --- rights -------------------------------------------------------------------------------------


def held(task: Task) -> list[tuple[str, str]]:
    return [(f"{'not ' * g.deny}{g.rule}", g.origin) for g in task.grants]


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


# --- restarts -----------------------------------------------------------------------------------


def restarting(tmp_path: Path, keys: str, **programs: str) -> Path:
    text = f"[system]\nprograms = ['programs']\n[task.t]\nmodule = 't'\n{keys}\n"
    return folder(tmp_path, text, **programs)


@pytest.mark.parametrize(("mode", "again"), [("always", True), ("on-failure", False)])
def test_restart_of_what_ended_well(tmp_path: Path, mode: str, again: bool) -> None:
    manifest = restarting(tmp_path, f"restart = '{mode}'\nmax_restarts = 2", t=wat.program("#0"))

    async def work(booted: Booted) -> None:
        if again:
            await booted.logged("t: given up after 2 restarts; `start t` tries again")
            assert booted.system.kernel.uptime == pytest.approx(0.3, abs=0.01)
        else:
            await booted.system.kernel.sleep(100)
            assert not any("again" in line for line in booted.log)

    drive(manifest, work, virtual=True)


def test_restart_of_what_trapped(tmp_path: Path) -> None:
    manifest = restarting(tmp_path, "restart = 'on-failure'\nbackoff = '2s'", t=wat.TRAP)

    async def work(booted: Booted) -> None:
        for delay in ("2 s", "4 s", "8 s", "10 s"):
            await booted.logged("'t' trapped")
            await booted.logged(f"t: starts again in {delay}")
            await booted.logged(" t (again)")

    drive(manifest, work, virtual=True)


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


def test_killed_is_meant_unless_it_is_always(tmp_path: Path) -> None:
    text = (
        "[system]\nprograms = ['programs']\n[task.a]\nmodule='t'\nrestart='always'\n"
        "[task.f]\nmodule='t'\nrestart='on-failure'\n"
    )
    manifest = folder(tmp_path, text, t=wat.SLEEP)

    async def work(booted: Booted) -> None:
        await booted.do("kill f", "kill a")
        await booted.logged("a (again)")
        await booted.system.kernel.sleep(100)
        assert "f" not in [task.name for task in booted.system.kernel.tasks]
        await booted.do("start f &", "kill f")  # its life goes on to be a supervised one
        assert booted.system._supervised["f"].task is None

    drive(manifest, work, virtual=True)


def test_a_shutdown_between_two_lives(tmp_path: Path) -> None:
    manifest = restarting(tmp_path, "restart = 'always'\nbackoff='1h'", t=wat.TRAP)
    before = _core.live_objects()

    async def work(booted: Booted) -> None:
        await booted.logged("t: starts again in 3600 s")

    drive(manifest, work)
    assert _core.live_objects() == before


def test_a_shutdown_while_the_next_life_begins(tmp_path: Path) -> None:
    manifest = restarting(tmp_path, "restart = 'always'", t=wat.SLEEP)

    async def work(booted: Booted) -> None:
        supervised = booted.system._supervised["t"]
        await booted.do("kill t")
        timer = supervised.cancel
        while supervised.cancel is timer:
            await asyncio.sleep(0)  # now it begins

    log = drive(manifest, work, virtual=True).log
    assert log[-1] == "t: starts again in 100 ms"


def test_what_can_not_be_started_again(tmp_path: Path) -> None:
    manifest = restarting(tmp_path, "restart = 'always'\nmax_restarts=2", t=wat.SLEEP)

    async def work(booted: Booted) -> None:
        (tmp_path / "programs" / "t.wat").write_text("(module)")
        await booted.do("kill t")
        await booted.logged("t: can't be started again: t: nothing to run")
        await booted.logged("t: given up after 2 restarts")
        (tmp_path / "programs" / "t.wat").write_text(wat.SLEEP)
        await booted.do("start t &", "kill t")
        await booted.logged("t: starts again in 100 ms")  # it counts from the beginning

    drive(manifest, work, virtual=True)


USES = "use = ['console', 'pong', 'echo 3 times', 'fs for 60s']\nrestart = 'always'"


def test_the_next_life_has_its_rights_again_but_for_what_was_taken_back(tmp_path: Path) -> None:
    manifest = restarting(tmp_path, USES, t=wat.SLEEP)

    async def work(booted: Booted) -> None:
        kernel, first = booted.system.kernel, booted.task("t")
        assert [rule for rule, _ in held(first)] == [
            "console", "pong", "echo 3 times", "fs for 1m",
        ]  # fmt: skip
        kernel.revoke(first, "pong")
        kernel.grant(first, "args", origin="by hand")
        for _ in range(2):  # in the life after the next one, too
            await kernel.sleep(10)
            await booted.do("kill t")
            await booted.logged("t (again)")
            again = booted.task("t")
            # Neither what was taken back, nor what was given by hand, nor what is counted.
            assert [rule for rule, _ in held(again)] == ["console", "fs for 1m"]
            fs = again.grants[1]
            assert fs.expires_ns == pytest.approx(60e9, abs=1e9)  # and not 60 s from now
        await kernel.sleep(60)
        await booted.do("kill t")
        await booted.logged("t (again)")
        assert [rule for rule, _ in held(booted.task("t"))] == ["console"]

    drive(manifest, work, virtual=True)


GIVES_UP = wat.program(
    f"""(i32.store #1024 #{abi.CapRevoke.TYPE}) (i32.store #1032 #1)
    (drop (call $call @vm #1024)) (drop (call $recv #0 #1024)) #0"""
)


def test_what_a_task_gave_up_itself_its_next_life_has_again(tmp_path: Path) -> None:
    manifest = restarting(tmp_path, "use = ['echo', 'vm']\nrestart = 'always'", t=GIVES_UP)

    async def work(booted: Booted) -> None:
        first = booted.task("t")
        while [rule for rule, _ in held(first)] != ["vm"]:
            await asyncio.sleep(0)
        await booted.do("kill t")
        await booted.logged("t (again)")
        assert [rule for rule, _ in held(booted.task("t"))] == ["echo", "vm"]

    drive(manifest, work, virtual=True)


# Gives up its first right when somebody writes to it, and traps.
GIVES_UP_LATER = wat.program(
    f"""{wat.RECEIVE} (i32.store #1024 #{abi.CapRevoke.TYPE}) (i32.store #1032 #1)
    (drop (call $call @vm #1024)) unreachable"""
)


def test_what_was_taken_back_can_not_be_given_up(tmp_path: Path) -> None:
    """A task that says so of what it has no more makes nothing undone."""
    keys = "use = ['echo', 'vm']\nrestart = 'on-failure'"
    manifest = restarting(tmp_path, keys, t=GIVES_UP_LATER)

    async def work(booted: Booted) -> None:
        kernel, first = booted.system.kernel, booted.task("t")
        kernel.revoke(first, "echo")
        kernel.grant(first, "hand")  # whose one-way messages it hears then
        kernel.notify(kernel.client("hand").id, first.id, abi.TaskDestroyed(0))
        await booted.logged("'t' trapped")
        await booted.logged("t (again)")
        assert [rule for rule, _ in held(booted.task("t"))] == ["vm"]

    drive(manifest, work, virtual=True)


def test_what_was_denied_by_hand_is_denied_in_the_next_life(tmp_path: Path) -> None:
    """A crash is something that a program can bring about itself."""
    text = "[system]\nprograms = ['programs']\n[task.t]\nmodule = 't'\n{}\n"
    policy = "[task.t]\nallow = ['*']\ndeny = ['tcpip']\n"
    keys = "use = ['console', 'pong']\nrestart = 'on-failure'\nmax_restarts = 2"
    manifest = folder(tmp_path, text.format(keys), policy, t=wat.SLEEP)

    async def work(booted: Booted) -> None:
        kernel = booted.system.kernel
        await booted.do("deny t pong", "deny t echo")
        await booted.do(f"revoke {booted.task('t').grants[-1].id}")  # that of echo

        def denied() -> list[tuple[str, str]]:
            return sorted(row for row in held(booted.task("t")) if row[0].startswith("not "))

        wanted = [("not pong", "the shell"), ("not tcpip", f"{tmp_path}/policy.toml:3")]
        for _ in range(2):
            kernel.kill(booted.task("t"), cause="trapped")
            await booted.logged("t (again)")
            assert sorted(row for row in held(booted.task("t")) if "not" in row[0]) == sorted(
                wanted
            )
        kernel.kill(booted.task("t"), cause="trapped")
        await booted.logged("t: given up")
        await booted.do("start t &")  # nothing is held against it but what was denied
        assert denied() == wanted
        assert {"console", "pong"} < {rule for rule, _ in held(booted.task("t"))}
        lift = next(grant for grant in booted.task("t").grants if str(grant.rule) == "pong")
        await booted.do(f"revoke {lift.id}")
        kernel.kill(booted.task("t"), cause="trapped")
        await booted.logged("t (again)")
        assert denied() == wanted[1:]

    drive(manifest, work, virtual=True)


@pytest.mark.parametrize(
    "line", ["revoke t pong", "revoke {} pong", "revoke t", "deny t pong", "deny {} *"]
)
def test_what_a_former_life_passed_on_is_taken_back_too(tmp_path: Path, line: str) -> None:
    manifest = restarting(tmp_path, "use = ['pong']\nrestart = 'always'", t=wat.SLEEP)

    async def work(booted: Booted) -> None:
        aio, ping = booted.system.aio, abi.Ping(1)
        friend = aio.sync.client("friend", allow=[])
        aio.sync.pass_on(booted.task("t"), friend, "pong", offer=False)
        for _ in range(2):
            await booted.do("kill t")
            await booted.logged("t (again)")
        assert await aio.call("pong", ping, client=friend) == abi.PingReply(42)
        said = await booted.do(line.format(booted.task("t").id))
        with pytest.raises(CapabilityDenied):
            await aio.call("pong", ping, client=friend)
        assert line.startswith("deny") or f"of task {friend.id} friend: pong" in said

    drive(manifest, work, virtual=True)


def test_a_name_is_kept_between_two_lives(tmp_path: Path) -> None:
    """Also one that it only asks to be: nobody gets between it and its clients."""
    squats = wat.program(
        f"""(i32.store #1024 #{abi.ServiceRegister.TYPE})
        (memory.copy (i32.const 1032) (i32.const 512) (i32.const 16))
        (drop (call $call @vm #1024)) (i32.load #1024)""",
        fields='(data (i32.const 512) "extra\\00")',
    )
    manifest = restarting(
        tmp_path,
        "use = ['vm.service_register(name=[\"t\", \"extra\"])']\nrestart = 'always'\n"
        "backoff = '10s'\n[spawn]\nuse = ['*']",
        t=wat.SLEEP, squats=squats,
    )  # fmt: skip

    async def work(booted: Booted) -> None:
        await booted.do("kill t")
        assert "exited with code -8" in await booted.do("start squats")

    drive(manifest, work, virtual=True)
