"""A task's next life: when it begins, and what it has of the one before."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support import wat
from tests.support.command import folder
from tests.system.booted import Booted, drive, held
from wasmos import CapabilityDenied, _core, abi


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
