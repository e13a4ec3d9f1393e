"""`wasmos learn`: what it writes, where, and that it works."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.command import GUESTS, HELLO, WASMOS, Running, environment, wasmos_
from tests.support.screen import CTRL_C, person
from tests.support.wat import TRAP, program
from tests.system.learn.harness import visit
from wasmos import abi

WEBSERVER = str(GUESTS / "webserver.wasm")


@contextmanager
def running(*arguments: object, folder: Path) -> Iterator[Running]:
    process = subprocess.Popen(
        [*WASMOS, *map(str, arguments)], cwd=folder, env=environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Running(process)
    finally:
        process.kill()
        process.communicate()


def allowed(path: Path) -> list[str]:
    (section,) = tomllib.loads(path.read_text())["task"].values()
    return list(section["allow"])


# --- the web server ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_is_learnt_until_a_signal_comes(tmp_path: Path, number: signal.Signals) -> None:
    with running("learn", WEBSERVER, folder=tmp_path) as it:
        assert b"Hello from WasmOS" in visit(it.port())
        it.process.send_signal(number)
        it.line(r"webserver\.policy\.toml: 2 rules; try: wasmos run --policy")
        assert it.process.wait() == 0
    assert allowed(tmp_path / "webserver.policy.toml") == [
        "console.write",
        'tcpip.listen(bind="0", listen_port=80)',
    ]


def test_the_web_server_runs_by_the_policy_and_not_by_less(tmp_path: Path) -> None:
    """The demand on `learn`, with the commands that people use: the page is served, the start
    message appears, and nothing is denied; without any one of the lines, not all of that."""
    policy = tmp_path / "webserver.policy.toml"
    with running("learn", WEBSERVER, folder=tmp_path) as it:
        visit(it.port())
        it.process.send_signal(signal.SIGINT)
        assert it.process.wait() == 0
    lines = policy.read_text().splitlines(keepends=True)
    rules = [at for at, line in enumerate(lines) if line.startswith("    '")]
    assert len(rules) == 2
    assert works(policy)
    for at in rules:
        policy.write_text("".join(lines[:at] + lines[at + 1 :]))
        assert not works(policy), lines[at]


def works(policy: Path) -> bool:
    with running("run", "--policy", policy, WEBSERVER, folder=policy.parent) as it:
        assert it.process.stdout is not None
        page = b""
        try:
            page = visit(it.port())
        except AssertionError:  # it has ended
            pass
        else:
            it.process.send_signal(signal.SIGINT)
        printed, said = it.process.communicate()
    denied = "was refused" in "".join(it.log) + said.decode()
    return b"Hello from WasmOS" in page and b"listening on port 80" in printed and not denied


def test_a_deadline_ends_it_too(tmp_path: Path) -> None:
    done = wasmos_("learn", "--timeout", "1s", "-o", "-", WEBSERVER, cwd=tmp_path)
    assert done.returncode == 0
    # The policy alone is on standard output.
    assert set(tomllib.loads(done.stdout)["task"]) == {"webserver"}
    assert "webserver: listening on port 80\n" in done.stderr
    assert list(tmp_path.iterdir()) == []


# --- files ------------------------------------------------------------------------------------


def test_hello(tmp_path: Path) -> None:
    done = wasmos_("learn", HELLO, "Ann", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "Hello from WasmOS!\nMy arguments: Ann\n")
    policy = tmp_path / "hello.policy.toml"
    assert allowed(policy) == ["args.get", "console.write"]
    assert f"{policy.name}: 2 rules; try: " in done.stderr
    again = wasmos_("run", "--policy", policy, HELLO, "Ann")
    assert (again.stdout, again.stderr) == (done.stdout, "")


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    policy = tmp_path / "p.toml"
    policy.write_text("# mine\n[task.hello]\nallow = ['console.write']  # mine\n")
    policy.chmod(0o600)
    done = wasmos_("learn", "-o", policy, HELLO, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {policy} is there already; --force replaces it, --merge adds to it\n"
    )
    done = wasmos_("learn", "-o", policy, "--merge", HELLO, cwd=tmp_path)
    assert f"{policy}: 1 rule more" in done.stderr
    assert policy.read_text() == (
        "# mine\n[task.hello]\nallow = ['console.write', 'args.get']  # mine\n"
    )
    done = wasmos_("learn", "-o", policy, "--merge", HELLO, cwd=tmp_path)
    assert f"{policy}: nothing new; try: wasmos run" in done.stderr
    done = wasmos_("learn", "-o", policy, "--force", HELLO, cwd=tmp_path)
    assert done.returncode == 0 and "# mine" not in policy.read_text()
    assert policy.stat().st_mode & 0o777 == 0o600


def test_one_rule_is_one_rule(tmp_path: Path) -> None:
    done = wasmos_("learn", "--deny", "console", HELLO, cwd=tmp_path)
    assert "hello.policy.toml: 1 rule; try: " in done.stderr


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = wasmos_("learn", "-o", tmp_path / "no" / "p.toml", HELLO)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"there is no directory {tmp_path / 'no'}; make it\n")


def test_denying(tmp_path: Path) -> None:
    done = wasmos_("learn", "-q", "-o", "-", "--deny", "console", HELLO, cwd=tmp_path)
    assert tomllib.loads(done.stdout)["task"]["hello"] == {
        "allow": ["args.get"], "deny": ["console"],
    }  # fmt: skip
    assert "#   console.write: a rule denies it\n" in done.stdout
    assert "looked up" not in done.stdout  # that is said by the line above
    assert done.stderr == ""


def test_a_policy_is_utf_8_wherever_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "späß.wat"
    path.write_text('(module (func (export "main")))')
    done = wasmos_("learn", "-q", "-o", "-", path, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert tomllib.loads(done.stdout)["task"] == {"späß": {"allow": []}}


# Its exit code is the first letter of what the variable MINE has in it.
GETS = program(
    f"""(i32.store #1024 #{abi.EnvGet.TYPE}) (memory.copy #1032 #512 #5)
        (drop (call $call @env #1024)) (i32.load8_u offset=8 #1024)""",
    fields='(data (i32.const 512) "MINE\\00")',
)


@pytest.mark.parametrize("flags", [[], ["--env", "MINE=S"], ["--env", "OTHER"]])
def test_the_environment_is_that_of_a_run(tmp_path: Path, flags: list[str]) -> None:
    """What it reads while it is learnt it reads by the policy, and nobody else is shown it."""
    (tmp_path / "guest.wat").write_text(GETS)
    env = {"MINE": "SECRET-VALUE"}
    done = wasmos_("learn", *flags, "guest.wat", cwd=tmp_path, env=env)
    assert done.returncode == ord("S"), done.stderr
    policy = tmp_path / "guest.policy.toml"
    assert allowed(policy) == ['env.get(name="MINE")']
    assert "SECRET-VALUE" not in done.stdout + done.stderr + policy.read_text()
    again = wasmos_("run", "--policy", policy, "guest.wat", cwd=tmp_path, env=env)
    assert (again.returncode, again.stderr) == (ord("S"), "")


def advised(text: str) -> list[str]:
    """The arguments of the command that is advised at the end."""
    words = shlex.split(text.splitlines()[-1].partition("; try: ")[2])
    assert words[:2] == ["wasmos", "run"], text
    return words[1:]


# Its exit code is the first letter of what is in the file `f`.
READS = program(
    f"""(i32.store #1024 #{abi.FsOpen.TYPE}) (memory.copy #1032 #512 #2)
        (drop (call $call @fs #1024)) (i32.store #1032 (i32.load offset=8 #1024))
        (i32.store #1024 #{abi.FsRead.TYPE}) (i32.store offset=4 #1032 #1)
        (drop (call $call @fs #1024)) (i32.load8_u offset=8 #1024)""",
    fields='(data (i32.const 512) "f\\00")',
)
GROWS = program("(memory.grow #1024)")  # by 64 MiB; how much it had, or 255


@pytest.mark.parametrize(
    ("text", "flags", "code"),
    [
        (GETS, ["--env", "MINE=a b"], ord("a")),
        (READS, ["--files", "tree", "--max-open-files", "1"], ord("x")),
        (GROWS, ["--max-memory", "128MiB"], 1),
        (GROWS, ["--max-memory", "200000000"], 1),
    ],
)
def test_what_is_advised_does_it_again(
    tmp_path: Path, text: str, flags: list[str], code: int
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "f").write_text("x")
    (tmp_path / "guest.wat").write_text(text)
    done = wasmos_("learn", *flags, "guest.wat", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    words = advised(done.stderr)
    assert words == ["run", "--policy", "guest.policy.toml", *flags, "guest.wat"]
    again = wasmos_(*words, cwd=tmp_path)
    assert (again.returncode, again.stderr) == (code, "")


def test_what_is_advised_says_nothing_that_the_environment_says(tmp_path: Path) -> None:
    (tmp_path / "guest.wat").write_text(GETS)
    done = wasmos_("learn", "guest.wat", cwd=tmp_path, env={"WASMOS_ENV": "MINE=SECRET-VALUE"})
    assert done.returncode == ord("S")
    assert advised(done.stderr) == ["run", "--policy", "guest.policy.toml", "guest.wat"]


def test_what_is_advised_begins_with_a_dash(tmp_path: Path) -> None:
    (tmp_path / "-x.wasm").write_bytes(Path(HELLO).read_bytes())
    done = wasmos_("learn", "-o", "p.toml", "--", "-x.wasm", "--", "-y", cwd=tmp_path)
    assert done.stdout.endswith("My arguments: --, -y\n")
    again = wasmos_(*advised(done.stderr), cwd=tmp_path)
    assert (again.stdout, again.stderr) == (done.stdout, "")


def test_the_advised_places_of_a_port(tmp_path: Path) -> None:
    """A rule has room for one place."""
    flags = ["--listen", "0:80", "--listen", "127.0.0.1:0:80"]
    with running("learn", *flags, "--listen", "0:81", WEBSERVER, folder=tmp_path) as it:
        assert b"Hello from WasmOS" in visit(it.port())
        it.process.send_signal(signal.SIGTERM)
        policy = "webserver.policy.toml"
        said = shlex.join(["wasmos", "run", "--policy", policy, *flags, WEBSERVER])
        it.line(re.escape(f"{policy}: 2 rules; try: {said}"))


def test_the_environment_can_be_denied(tmp_path: Path) -> None:
    (tmp_path / "guest.wat").write_text(GETS)
    done = wasmos_("learn", "--deny", "env", "guest.wat", cwd=tmp_path, env={"MINE": "S"})
    assert done.returncode == ord("M")  # its own request, which stayed as it was


def test_the_guests_own_code_passes_through(tmp_path: Path) -> None:
    (tmp_path / "trap.wat").write_text(TRAP)
    done = wasmos_("learn", "trap.wat", cwd=tmp_path)
    assert done.returncode == 134
    assert allowed(tmp_path / "trap.policy.toml") == []


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["nowhere.wasm"], 127),
        (["--deny", "nothing.x", HELLO], 2),
        ([], 2),
        ([HELLO, "x" * 1024], 2),  # more than it could ask for
    ],
)
def test_what_goes_wrong(tmp_path: Path, arguments: list[str], status: int) -> None:
    done = wasmos_("learn", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (status, "")
    assert list(tmp_path.iterdir()) == []


def test_asking_needs_a_terminal(tmp_path: Path) -> None:
    done = wasmos_("learn", "--ask", HELLO, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(
        "error: --ask needs a terminal to ask on; without it everything is allowed\n"
    )


@pytest.mark.parametrize(
    ("flags", "env", "said"),
    [
        (["--allow", "console"], {}, "--allow"),
        ([], {"WASMOS_ALLOW": "console"}, "WASMOS_ALLOW"),
        (["-q", "--allow", "console"], {"WASMOS_ALLOW": "args"}, "--allow"),
    ],
)
def test_what_reads_like_a_limit_is_not_ignored(
    tmp_path: Path, flags: list[str], env: dict[str, str], said: str
) -> None:
    done = wasmos_("learn", *flags, HELLO, cwd=tmp_path, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {said} goes with --ask, and says what isn't asked about; without it everything "
        "is allowed but what --deny says\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_asking(tmp_path: Path) -> None:
    policy = tmp_path / "p.toml"
    with person("learn", "--ask", "--allow", "args", "-o", policy, HELLO, "Ann") as you:
        you.see(r"hello asks: may write \(console\)\?", "answer>")
        assert "lways" not in str(you.screen)
        you.enter("r")
        you.see("Hello from WasmOS!", "My arguments: Ann")
        assert you.status() == 0
    assert allowed(policy) == ["args.get", "console.write"]


@pytest.mark.parametrize("merged", [False, True])
def test_what_is_allowed_once_is_a_comment(tmp_path: Path, merged: bool) -> None:
    policy = tmp_path / "p.toml"
    if merged:
        policy.write_text("[task.hello]\nallow = ['args.get']\n")
    how = ["--merge"] if merged else []
    with person("learn", "--ask", "--allow", "args", *how, "-o", policy, HELLO, "Ann") as you:
        you.see(r"hello asks: may write \(console\)\?", "answer>")
        you.enter("o")
        you.see("Hello from WasmOS!", r"hello asks: may write \(console\)\?", "answer>")
        you.enter("q")
        you.status()
        shown = " ".join(str(you.screen).split())
    if merged:
        assert "note: allowed once, and not added: console.write" in shown
        assert f"{policy}: nothing new; try:" in shown
    else:
        assert f"{policy}: 1 rule, and 1 as comments, which you allowed once; try:" in shown
    assert allowed(policy) == ["args.get"]
    assert ("# once: 'console.write'," in policy.read_text()) is not merged


def test_an_interrupt_while_it_asks(tmp_path: Path) -> None:
    policy = tmp_path / "p.toml"
    with person("learn", "--ask", "-o", policy, HELLO) as you:
        you.see(r"hello asks: may write \(console\)\?", "answer>")
        you.type(CTRL_C)
        assert you.status() == 0
    assert allowed(policy) == []


def test_what_it_is_called_is_in_the_command_to_try(tmp_path: Path) -> None:
    for name, said in (("a b", "--argv0 'a b'"), ("-sh", "--argv0=-sh")):
        done = wasmos_("learn", "--force", f"--argv0={name}", HELLO, cwd=tmp_path)
        assert (
            f"try: wasmos run --policy hello.policy.toml {said} {shlex.quote(HELLO)}" in done.stderr
        )
