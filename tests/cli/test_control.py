"""The verbs that speak to a running system: real processes, real sockets."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import talkers, wat
from tests.support.command import SECONDS, Running, running, wasmos_

BOOT = """
[system]
servers = ["vm", "console", "echo"]
programs = ["programs"]
[task.pong]
use = ["vm"]
[task.idle]
use = ["console", "vm"]
"""
POLICY = """
[task.pong]
allow = ["vm"]
[task.idle]
allow = ["console", "vm"]
"""
# Asks `pong` until it is refused.
ASKS = wat.program(
    "(local.set $j @pong)" + wat.forever("(if (call $ask (local.get $j) #9 #1) (then (return #7)))")
)


@pytest.fixture
def place() -> Iterator[Path]:
    """Where sockets are: short, and of this test alone."""
    path = Path(tempfile.mkdtemp(prefix="wasmos-test-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


Say = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def say(place: Path) -> Say:
    """One of the verbs."""

    def say(*arguments: object) -> subprocess.CompletedProcess[str]:
        return wasmos_(*arguments, env={"WASMOS_CONTROL": str(place)})

    return say


def wait_for_socket(place: Path, count: int = 1) -> None:
    """It appears when the system listens."""
    end = time.monotonic() + SECONDS
    while len(list(place.glob("*.sock"))) < count:
        assert time.monotonic() < end, "no socket"
        os.sched_yield()


@contextmanager
def started(place: Path, *arguments: object, count: int = 1) -> Iterator[Running]:
    with running(*arguments, env={"WASMOS_CONTROL": str(place)}) as system:
        wait_for_socket(place, count)
        yield system


def written(folder: Path) -> Path:
    """A manifest with its policy and its program."""
    (folder / "programs").mkdir()
    (folder / "programs" / "idle.wat").write_text(wat.SLEEP)
    (folder / "policy.toml").write_text(POLICY)
    (folder / "system.toml").write_text(BOOT)
    return folder / "system.toml"


@pytest.fixture
def booted(place: Path, tmp_path: Path) -> Iterator[Running]:
    with started(place, "boot", "-q", "--no-shell", written(tmp_path)) as system:
        yield system


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def error(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def names(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.split()[1] for line in lines(done)]


# --- boot -----------------------------------------------------------------------------------------


def test_ps(booted: Running, say: Say) -> None:
    assert names(say("ps")) == ["NAME", "vm", "console", "echo", "pong", "idle"]
    document = json.loads(say("ps", "-o", "json", "-S", "system").stdout)
    [system] = document["systems"]
    assert (document["version"], system["pid"]) == (1, booted.process.pid)
    assert [task["name"] for task in system["tasks"]][-1] == "idle"


def test_caps(booted: Running, say: Say) -> None:
    found = lines(say("caps"))
    assert found[-1] == "hold nothing: vm, console, echo"
    assert [line for line in found if line.startswith("task")] == ["task 4 pong", "task 5 idle"]
    assert any(line.strip().split("  ")[0].endswith(" console") for line in found)
    ET.fromstring(say("caps", "--format", "svg").stdout)
    assert say("caps", "--format", "dot").stdout.startswith("digraph capabilities {\n")
    assert say("caps", "--format", "mermaid").stdout.startswith("flowchart LR\n")
    say("grant", "idle", f'vm.service_lookup(name=["{"é" * 30}", "{"x" * 30}"])')
    ET.fromstring(say("caps", "--format", "svg").stdout)  # nothing of a long line is cut
    for options in (["--format", "json"], ["-o", "json"]):
        [system] = json.loads(say("caps", *options).stdout)["systems"]
        assert {g["holder_name"] for g in system["grants"]} == {"pong", "idle"}


def test_grant_and_revoke(booted: Running, say: Say) -> None:
    made = lines(say("grant", "idle", "echo", "--for", "60s", "--uses", "3"))
    [number] = [word for word in made[0].split() if word.isdigit()][:1]
    assert made == [f"grant {number} of task 5 idle: echo, 3 uses left, 60 s left"]
    assert any(f"{number} echo, 3 uses left" in line and "control (pid " in line
               for line in lines(say("caps")))  # fmt: skip
    assert lines(say("revoke", number))[0].startswith(
        f"revoked: grant {number} of task 5 idle: echo"
    )
    assert error(say("revoke", number)) == f"error: grant {number} is revoked already\n"
    assert lines(say("revoke", "idle", "console"))[0].endswith("of task 5 idle: console")
    assert error(say("revoke", "idle", "console")).endswith(
        " of task 5 'idle', console, is revoked already\n"
    )
    assert len(lines(say("revoke", "--all", "5"))) == 1
    assert lines(say("revoke", "idle")) == ["nothing was granted to it"]


def test_deny_and_json(booted: Running, say: Say) -> None:
    made = json.loads(say("deny", "5", "console.write", "-o", "json").stdout)
    assert (made["version"], made["deny"], made["rule"]) == (1, True, "console.write")
    assert f"  {made['id']} DENY console.write" in say("caps").stdout
    assert lines(say("revoke", made["id"])) == [
        f"revoked: deny rule {made['id']} of task 5 idle: console.write"
    ]
    gone = json.loads(say("revoke", "idle", "-o", "json").stdout)
    assert {row["rule"] for row in gone["revoked"]} >= {"console"}


def test_a_service_that_nobody_can_be(booted: Running, say: Say) -> None:
    """One of the manifest that is down is no error: somebody is to be it."""
    say("kill", "pong")
    assert lines(say("grant", "idle", "pong"))
    for name in ("nosuch", "tcpip"):
        assert error(say("grant", "idle", name)) == (
            f"error: no service {name!r} here; there are: vm, console, echo, pong, idle\n"
        )


def test_kill(booted: Running, say: Say) -> None:
    assert lines(say("kill", "idle")) == ["task 5 idle was killed"]
    assert names(say("ps"))[-1] == "pong"
    assert error(say("kill", "idle")) == "error: no task 'idle'; ps lists them\n"
    assert error(say("kill", "pon")) == "error: no task 'pon'; did you mean 'pong'?\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["grant", "idle", "tcpip.lisen"],
         "rule \"tcpip.lisen\": tcpip has no message 'lisen'; did you mean 'listen'?"),
        (["grant", "idle", "console for 0s"], 'rule "console for 0s"'),
        (["grant", "idle", "console", "--uses", "0"], "a grant is used 1 to"),
        (["deny", "idle", "console once"], "console once: a rule that denies has no lifetime"),
        (["deny", "idle", "consol"], "no service 'consol' to deny; did you mean 'console'?"),
        (["deny", "idle", "nosuch"], "no service 'nosuch' to deny; there are: "),
        (["revoke", "idle", "consol"], "task 5 'idle' was not granted consol, but console, vm; "
         "did you mean 'console'?"),
        (["revoke", "idle", "nosuch"], "task 5 'idle' was not granted nosuch, but console, vm; "
         "to forbid a part of that, deny it"),
        (["revoke", "999"], "there is no grant 999; caps lists them"),
        (["revoke", "idle", "console", "--all"], "a rule, or --all: not both"),
        (["ps", "-S", "sistem"], "no system 'sistem' is running; did you mean 'system'?"),
        (["audit", "-S", "system"], "--system belongs to --follow without a file"),
        (["caps", "-S", "system", "x.toml"], "a manifest, or a running system with -S: not both"),
    ],
)  # fmt: skip
def test_wrong_words(booted: Running, say: Say, words: list[str], message: str) -> None:
    assert error(say(*words)).startswith(f"error: {message}")


@pytest.mark.parametrize(
    "words",
    [["kill"], ["grant", "a"], ["deny", "a"], ["revoke"], ["grant", "a", "b", "--for", "x"],
     ["grant", "a", "b", "--uses", "-1"], ["caps", "--format", "png"], ["ps", "x"]],
)  # fmt: skip
def test_wrong_usage(say: Say, words: list[str]) -> None:
    done = say(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and "--help" in done.stderr.splitlines()[-1]


def test_follow(booted: Running, say: Say, place: Path) -> None:
    """What is done in the meantime is shown as it happens."""
    with running(
        "audit", "--follow", "--event", "grant,exit", env={"WASMOS_CONTROL": str(place)}
    ) as follower:
        # It has begun when what is done shows up; what came before isn't wanted.
        end = time.monotonic() + SECONDS
        os.set_blocking(follower.process.stdout.fileno(), False)  # type: ignore[union-attr]
        shown = b""
        while not shown.endswith(b"\n"):
            assert time.monotonic() < end
            say("grant", "idle", "echo")
            shown += follower.process.stdout.read() or b""  # type: ignore[union-attr]
        assert " grant     idle[5]         echo  grant " in shown.decode()
        os.set_blocking(follower.process.stdout.fileno(), True)  # type: ignore[union-attr]
        say("kill", "idle")
        line = follower.read()
        while " grant " in line:
            line = follower.read()
        assert " exit " in line and "was killed: by control (pid " in line
        booted.signal(signal.SIGTERM)
        assert follower.end() == (0, "", "")  # the system has ended


def test_ctrl_c_ends_following(booted: Running, place: Path) -> None:
    with running("audit", "--follow", env={"WASMOS_CONTROL": str(place)}) as follower:
        follower.signal(signal.SIGINT)
        assert follower.end()[0] in (130, -signal.SIGINT)  # or before it had begun


def test_the_socket_goes_with_the_system(booted: Running, say: Say, place: Path) -> None:
    booted.signal(signal.SIGTERM)
    assert booted.end() == (0, "", "")
    assert list(place.iterdir()) == []
    assert error(say("ps")) == (
        "error: no system is running that can be spoken to; "
        "start one: wasmos boot, or wasmos run FILE.wasm\n"
    )


def test_what_a_killed_system_left(booted: Running, say: Say, place: Path) -> None:
    booted.process.kill()
    booted.process.wait()
    assert len(list(place.iterdir())) == 1
    assert "no system is running" in error(say("ps"))
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("how", ["option", "environment"])
def test_switched_off(tmp_path: Path, place: Path, how: str) -> None:
    (tmp_path / "system.toml").write_text("[system]\nservers = ['echo']\n")
    env = {"WASMOS_CONTROL": "0" if how == "environment" else str(place)}
    options = ["--no-control"] if how == "option" else []
    with running("boot", *options, tmp_path / "system.toml", env=env) as system:
        system.write("echo up\n")
        system.until("up\n")
        assert list(place.iterdir()) == []


def test_a_planted_folder(tmp_path: Path, place: Path, say: Say) -> None:
    """The system goes on without it and says so; who looks for one is told why there is none."""
    place.chmod(0o755)
    (tmp_path / "system.toml").write_text("[system]\nservers = ['echo']\n")
    done = say("boot", tmp_path / "system.toml")
    problem = f"control: {place} is open to others (mode 755), so it is not used; remove it"
    assert done.returncode == 0 and f"note: {problem}" in done.stderr
    assert error(say("ps")).startswith(f"error: {problem}")


# --- run ------------------------------------------------------------------------------------------


def test_a_program_that_computes(tmp_path: Path, place: Path, say: Say) -> None:
    (tmp_path / "spin.wat").write_text(wat.SPIN)
    with started(place, "run", tmp_path / "spin.wat") as system:
        assert names(say("ps")) == ["NAME", "spin"]
        assert lines(say("kill", "spin"))
        status, _, stderr = system.end()
        assert status == 137
        assert stderr.startswith("error: task 2 'spin' was killed: by control (pid ")
    assert list(place.iterdir()) == []


def test_a_program_that_waits_for_input(tmp_path: Path, place: Path, say: Say) -> None:
    (tmp_path / "reader.wat").write_text(talkers.reader(at_end=3))
    with started(place, "run", "--allow", "console", tmp_path / "reader.wat") as system:
        [row] = [line for line in lines(say("ps")) if " reader " in line]
        assert "awaiting reply" in row
        system.write("x\n")
        assert system.end()[0] == 3


def test_a_call_under_way_ends_with_its_grant(tmp_path: Path, place: Path, say: Say) -> None:
    """It waits for input that never comes: what it is told is "not allowed"."""
    (tmp_path / "reader.wat").write_text(talkers.reader(at_end=3))
    with started(place, "run", "--allow", "console", tmp_path / "reader.wat") as system:
        assert system.process.poll() is None
        assert lines(say("revoke", "reader", "console"))
        status = system.process.wait(SECONDS)
        assert status not in (0, 3)


def test_the_next_message_fails(tmp_path: Path, place: Path, say: Say) -> None:
    (tmp_path / "asks.wat").write_text(ASKS)
    with started(place, "run", "--allow", "pong", tmp_path / "asks.wat") as system:
        assert lines(say("revoke", "asks", "pong"))
        assert system.process.wait(SECONDS) == 7


def test_ctrl_c_still_ends_it(tmp_path: Path, place: Path, say: Say) -> None:
    (tmp_path / "spin.wat").write_text(wat.SPIN)
    with started(place, "run", tmp_path / "spin.wat") as system:
        assert say("ps").returncode == 0
        system.signal(signal.SIGINT)
        status, _, stderr = system.end()
        assert (status, stderr) == (130, "")
    assert list(place.iterdir()) == []


FILES = 'fs(dir="data", at="/data", mode="ro")'


def test_a_directory_is_one_of_who_types(tmp_path: Path, place: Path) -> None:
    """And not of the system, which may have been started anywhere."""
    here = tmp_path / "here"
    (here / "data").mkdir(parents=True)
    made = FILES.replace("data", f"{here}/data", 1)

    def say(verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        return wasmos_(verb, *words, env={"WASMOS_CONTROL": str(place)}, cwd=here)

    (tmp_path / "spin.wat").write_text(wat.SPIN)
    with started(place, "run", tmp_path / "spin.wat") as system:
        assert lines(say("grant", "spin", FILES)) == [f"grant 1 of task 2 spin: {made}"]
        assert lines(say("revoke", "spin", FILES)) == [f"revoked: grant 1 of task 2 spin: {made}"]
        missing = FILES.replace('"data"', '"dat"')
        assert error(say("grant", "spin", missing)) == (
            f"error: rule \"{missing.replace('dat', f'{here}/dat', 1)}\": fs: dir '{here}/dat': "
            "no such file or directory; name a directory\n"
        )
        assert error(say("grant", "spin", 'fs(at="x")')).startswith('error: rule "fs(at=')
        system.process.kill()


def test_a_directory_in_the_shell(tmp_path: Path) -> None:
    manifest = written(tmp_path)
    manifest.write_text(BOOT.replace('"echo"', '"fs"'))
    (tmp_path / "data").mkdir()
    commands = f"grant idle '{FILES}'\ngrant idle '{FILES.replace('data', 'dat', 1)}'\n"
    done = wasmos_("boot", "-q", manifest, input=commands, cwd=tmp_path)
    assert done.stdout.endswith(
        f" of task 5 idle: {FILES.replace('data', f'{tmp_path}/data', 1)}\n"
    )
    assert done.stderr.endswith(f"'{tmp_path}/dat': no such file or directory; name a directory\n")


def test_two_systems(tmp_path: Path, place: Path, say: Say) -> None:
    for name in ("spin", "spun"):
        (tmp_path / f"{name}.wat").write_text(wat.SPIN)
    with (
        started(place, "run", tmp_path / "spin.wat") as one,
        started(place, "run", tmp_path / "spun.wat", count=2) as two,
    ):
        assert lines(say("ps"))[0] == f"spin (pid {one.process.pid}):"
        assert f"spun (pid {two.process.pid}):" in lines(say("caps"))
        assert error(say("kill", "spin")) == (
            f"error: 2 systems are running: spin (pid {one.process.pid}), "
            f"spun (pid {two.process.pid}); choose one with -S NAME or -S PID\n"
        )
        assert error(say("caps", "--format", "svg")).startswith("error: svg is of one system")
        assert lines(say("kill", "-S", "spin", "spin"))
        assert one.process.wait(SECONDS) == 137
        assert lines(say("kill", "spun", "-S", two.process.pid))


def test_a_service_that_is_granted_later_is_started(tmp_path: Path, place: Path, say: Say) -> None:
    """Nothing is allowed at first, so no server is up, and it looks one up in a loop."""
    until_found = "(loop $again (br_if $again (i32.lt_s @console #0)))"
    module = tmp_path / "loop.wat"
    module.write_text(talkers.printer("here\n", first=until_found))
    with started(place, "run", "--timeout", str(SECONDS / 2), module) as system:
        assert error(say("grant", "loop", "consol")) == (
            "error: no service 'consol' here; did you mean 'console'?\n"
        )
        assert error(say("grant", "loop", "nosuch")) == (
            "error: no service 'nosuch' here; "
            "there are: console, args, env, fs, tcpip, clock, random, echo, pong, vm\n"
        )
        assert lines(say("grant", "loop", "console"))[0].endswith(" of task 2 loop: console")
        code, out, notes = system.end()
    assert (code, out) == (0, "here\n")
    assert notes == "note: loop was refused console; to allow: --allow console\n"


def test_one_that_deadlocks_or_is_over_is_as_before(tmp_path: Path, place: Path, say: Say) -> None:
    (tmp_path / "sleep.wat").write_text(wat.SLEEP)
    assert error(say("run", tmp_path / "sleep.wat")) == (
        "error: nothing can happen any more: task 2 'sleep' is receiving\n"
    )
    (tmp_path / "three.wat").write_text(wat.program("#3"))
    done = say("run", tmp_path / "three.wat")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")


# --- the shell ------------------------------------------------------------------------------------


def test_the_same_in_the_shell(tmp_path: Path, say: Say) -> None:
    manifest = written(tmp_path)
    commands = (
        "deny idle ecko",
        "grant idle 'echo for 60s' once", "deny idle console.write", "caps", "revoke idle echo",
        "revoke 999", "grant idle", "grant idle ecko.x", "caps xml", "revoke idle", "caps",
    )  # fmt: skip
    done = wasmos_("boot", "-q", manifest, input="\n".join(commands) + "\n")
    assert done.returncode == 0
    out = done.stdout.splitlines()
    assert out[0].endswith("of task 5 idle: echo for 1m once, 1 use left, 60 s left")
    assert out[1].startswith("deny rule ") and out[1].endswith("idle: console.write")
    assert any(line.endswith("from the shell") for line in out)
    assert sum(line.startswith("revoked: ") for line in out) == 3
    assert done.stderr.splitlines() == [
        "deny: no service 'ecko' to deny; did you mean 'echo'?",
        "revoke: there is no grant 999; caps lists them",
        "usage: grant TASK RULE",
        done.stderr.splitlines()[3],
        "caps: no format 'xml'; there are: tree, dot, mermaid, svg, json",
    ]
    assert done.stderr.splitlines()[3].startswith('grant: rule "ecko.x": ')


# What is given first, pauses in a read, and prints when that was answered.
PAUSES = talkers.printer("ready\n", then=talkers.PAUSE + talkers.AGAIN)


def test_what_was_taken_back_is_said_to_be(tmp_path: Path, place: Path, say: Say) -> None:
    """Also of a message that came later."""
    (tmp_path / "pauses.wat").write_text(PAUSES)
    log = tmp_path / "audit.jsonl"
    flags = ["--allow", "console.write,console.read", "--audit", log]
    with started(place, "run", *flags, tmp_path / "pauses.wat") as system:
        assert system.read() == "ready\n"
        assert lines(say("revoke", "pauses", "console.write"))
        system.write("x\n")
        status, stdout, stderr = system.end()
    assert (status, stdout) == (0, "")
    advice = (
        "don't take it back, or grant it again while it runs: wasmos grant pauses console.write"
    )
    assert stderr.splitlines() == [
        "note: pauses was refused console.write",
        "  asked by  task 3 'pauses'",
        "  rule      what granted it was taken back: console.write    (--allow)",
        f"  to allow  {advice}",
    ]
    records = [json.loads(line) for line in log.read_text().splitlines()]
    [end] = [each for each in records if each["event"] == "revoke"]
    [denied] = [each for each in records if each["event"] == "denial"]
    told = lines(wasmos_("audit", log, "--explain", denied["seq"]))
    assert "  decision  denied: its capability was revoked" in told
    assert told[-2].endswith(f" was revoked at {end['time']}, line {end['seq']}")
    assert told[-1] == f"  to allow  {advice}"


def test_what_was_denied_while_it_ran(tmp_path: Path, place: Path, say: Say) -> None:
    """No file and no flag has the rule: there is nothing to take out."""
    (tmp_path / "pauses.wat").write_text(PAUSES)
    with started(place, "run", "--allow", "console", tmp_path / "pauses.wat") as system:
        assert system.read() == "ready\n"
        assert lines(say("deny", "pauses", "console.write"))
        system.write("x\n")
        *_, rule, advice = system.end()[2].splitlines()
    assert rule.startswith("  rule      a rule denies it: console.write    (control (pid ")
    assert advice == "  to allow  somebody said wasmos deny while it ran: start it anew"
