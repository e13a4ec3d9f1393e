"""What guests start: programs by their names, with no more than their parents have, and no name
that is somebody else's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support import wat
from tests.support.command import SYSTEM, folder
from tests.support.talkers import printer
from tests.system.booted import Booted, drive
from wasmos import Task, abi

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
