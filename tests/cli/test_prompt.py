"""`--prompt` on a terminal, and without one."""

from __future__ import annotations

import os
import re
import socket
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import talkers
from tests.support.command import GUESTS, HELLO, SECONDS, folder, wasmos_
from tests.support.screen import CTRL_C, CTRL_D, Person, person
from tests.support.sender import sends
from tests.support.talkers import printer, reader
from tests.support.wat import M, program
from wasmos import abi
from wasmos.cli.prompt import ask_line, file_name

WEBSERVER = str(GUESTS / "webserver.wasm")
QUESTION = r"hello asks: may write \(console\)\?"


def test_once_and_then_for_this_run(tmp_path: Path) -> None:
    with person("run", "--prompt", "--policy", tmp_path / "p.toml", HELLO, "Ann") as you:
        you.see(QUESTION, r"  who    task \d+ 'hello', .*hello.wasm", "answer>")
        you.enter("o")
        you.see("answer> o", "Hello from WasmOS!", QUESTION, "answer>")
        you.enter("r")
        you.see("answer> r", "My arguments: Ann")
        assert you.status() == 0
    assert not (tmp_path / "p.toml").exists()


def test_always_is_kept_and_not_asked_again(tmp_path: Path) -> None:
    policy = tmp_path / "p.toml"
    for asks in (True, False):
        with person("run", "--prompt", "--policy", policy, "--allow", "args", HELLO) as you:
            if asks:
                you.see(QUESTION, rf"  allow .*\[a\]lways \(adds it to {policy}\)", "answer>")
                you.enter("a")
                you.see(f"{policy}: added console.write")
            you.see("Hello from WasmOS!")
            assert you.status() == 0
            assert ("asks:" in str(you.screen)) == asks
    assert tomllib.loads(policy.read_text()) == {"task": {"hello": {"allow": ["console.write"]}}}


def test_a_file_that_lies_there_grants_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else may have put it there. How to use it is said."""
    monkeypatch.chdir(tmp_path)
    note = "note: hello.policy.toml is there, and isn't used; --policy hello.policy.toml uses it"
    for is_there in (False, True):
        with person("run", "--prompt", HELLO) as you:
            you.see(QUESTION, "answer>")
            you.enter("a")
            you.see("Hello from WasmOS!")
            assert you.status() == 0
        assert (note in you.screen.lines) == is_there
    with person("run", "--prompt", "--policy", "hello.policy.toml", HELLO) as you:
        you.see("Hello from WasmOS!")
        assert you.status() == 0
    assert "asks:" not in str(you.screen) and "note" not in str(you.screen)


def test_who_is_given_no_arguments_is_not_asked_about_them(tmp_path: Path) -> None:
    """And misses nothing, so that nothing is said of them."""
    for words in (["run", "--prompt"], ["learn", "--ask", "-o", tmp_path / "p.toml"]):
        with person(*words, HELLO) as you:
            you.see(QUESTION, "answer>")
            you.enter("r")
            you.see("Hello from WasmOS!")
            assert you.status() == 0
        assert str(you.screen).count(" asks: ") == 1
        assert "to allow" not in str(you.screen)


def test_a_port_gets_one_of_the_hosts(tmp_path: Path) -> None:
    """Or the yes would be worth nothing."""
    policy = tmp_path / "p.toml"
    with person("run", "--prompt", "--policy", policy, "--allow", "console", WEBSERVER) as you:
        you.see(r"webserver asks: may listen on port 80 \(tcpip with bind \"0\"\)\?", "answer>")
        you.enter("a")
        you.see(r"tcpip: port 80 is 127.0.0.1:\d+", "webserver: listening on port 80")
        you.type(CTRL_C)
        assert you.status() == 130
    (rule,) = tomllib.loads(policy.read_text())["task"]["webserver"]["allow"]
    assert rule == 'tcpip.listen(bind="0", listen_port=80)'


def test_never_listening_is_about_the_message_alone() -> None:
    with person("run", "--prompt", "--allow", "console", WEBSERVER) as you:
        you.see("webserver asks: .*", "answer>")
        you.enter("N")
        you.see("webserver: can't listen on port 80")
        assert you.status() == 1


@pytest.mark.parametrize("answer", ["n", "N", "q"])
def test_no(tmp_path: Path, answer: str) -> None:
    with person("run", "--prompt", "--allow", "args", HELLO, "Ann") as you:
        you.see(QUESTION, "answer>")
        you.enter(answer)
        assert you.status() == 0
    assert "Hello" not in str(you.screen)
    assert str(you.screen).count(" asks: ") == 1


@pytest.mark.parametrize("policy", [None, "p.toml"])
def test_after_a_never_there_is_nothing_to_take_out(tmp_path: Path, policy: str | None) -> None:
    flags = [] if policy is None else ["--policy", tmp_path / policy]
    add = "--allow console.write" if policy is None else f'add  "console.write"  to .*{policy}'
    with person("run", "--prompt", "--allow", "args", *flags, HELLO, "Ann") as you:
        you.see(QUESTION, "answer>")
        you.enter("N")
        you.see(r"  rule      a rule denies it: console.write    \(prompt\)")
        you.see(rf"  to allow  answer otherwise the next time, or {add}")
        assert you.status() == 0


def test_the_end_of_input_is_a_no() -> None:
    with person("run", "--prompt", HELLO) as you:
        you.see(QUESTION, "answer>")
        you.type(CTRL_D)
        assert you.status() == 0
    assert "Hello from" not in str(you.screen)


def test_a_terminal_that_is_gone_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """For who ignores the signal that says so: neither the run nor what was learnt is lost."""
    outer, inner = os.openpty()
    with open(inner, closefd=False) as stdin, open(inner, "w") as stderr:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "stderr", stderr)
        os.close(outer)
        assert ask_line("answer> ") is None


def test_an_interrupt_ends_it() -> None:
    with person("run", "--prompt", HELLO) as you:
        you.see(QUESTION, "answer>")
        you.type(CTRL_C)
        assert you.status() == 130
    assert "Hello from" not in str(you.screen)


def test_a_program_cannot_forge_a_question(tmp_path: Path) -> None:
    """What it prints can't begin the line of a question, move the cursor, or hide what is there."""
    name = tmp_path / "x\x1b[2J\r\n.wat"
    name.write_text(printer(b"fine\n"))
    with person("run", "--prompt", name) as you:
        you.see(r"x\^\[\[2J\^M\^J asks: may write \(console\)\?", "answer>")
        you.enter("n")
        assert you.status() == 0
    assert "\x1b[2J" not in you.raw


def test_a_question_begins_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "p.wat"
    path.write_text(printer(b"unfinished: ", then="(drop (call $ask @pong #9 #1))"))
    with person("run", "--prompt", "--allow", "console", path) as you:
        you.see("unfinished:", r"p asks: may ping \(pong\)\?", "answer>")
        you.enter("n")
        assert you.status() == 0


def test_what_was_typed_before_is_no_answer(tmp_path: Path) -> None:
    """Somebody types ahead, for the program."""
    path = tmp_path / "p.wat"
    path.write_text(sends(("console", abi.ConsoleRead(10)), ("pong", abi.Ping(1))))
    with person("run", "--prompt", "--allow", "console", path) as you:
        you.type("for it\nr\n")
        you.see(r"p asks: may ping \(pong\)\?", "answer>")
        you.enter("n")
        assert you.status() == 1


def test_without_a_terminal_nothing_is_asked() -> None:
    done = wasmos_("run", "--prompt", HELLO, input="a\na\na\n")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith(
        "note: --prompt asks on a terminal, and there is none: nothing is asked\n"
    )
    assert " asks: " not in done.stderr


@pytest.mark.parametrize("flags", [[], ["--no-prompt"]])
def test_nobody_is_asked_who_did_not_say_so(flags: list[str]) -> None:
    with person("run", *flags, HELLO) as you:
        assert you.status() == 0
    assert " asks: " not in str(you.screen)


@pytest.mark.parametrize(
    ("name", "file"),
    [("a", "a"), ("../a", "_a"), ("/etc/a", "_etc_a"), ("", "program"), ("..", "program")],
)
def test_a_name_as_a_files(name: str, file: str) -> None:
    assert file_name(name) == file


def test_files_of_the_image_are_said_to_be_in_memory(tmp_path: Path) -> None:
    guest = tmp_path / "guest.wat"
    guest.write_text(sends(("fs", abi.FsMkfile("/data/x"))))
    with person("run", "--prompt", guest) as you:
        you.see(
            "guest asks: .*",
            "  note   these are files in memory; a directory of this machine is --dir HOST::GUEST",
            "answer> ?",
        )
        you.enter("q")
        assert you.status() == 1


# --- in the shell of a system -----------------------------------------------------------------

MANIFEST = """
[system]
servers = ["vm", "console", "args", "echo", "pong", "fs"]
programs = ["programs"]
[fs]
files = { "hello.txt" = "Hello from a file.\\n" }
[task.asks]
use = ["pong"]
"""
POLICY = "# mine\n[task.asks]\nallow = ['pong']\n"
LATER = sends(("console", abi.ConsoleWrite(b"it may\n")), ("console", abi.ConsoleWrite(b"twice\n")))


@pytest.fixture
def system(tmp_path: Path) -> Path:
    path = folder(tmp_path, MANIFEST, asks=LATER, other=LATER, typing=reader("name? ", once=True))
    (tmp_path / "policy.toml").write_text(POLICY)
    return path


@contextmanager
def shell(system: Path, *flags: str) -> Iterator[Person]:
    with person("boot", "--prompt", *flags, system,
                XDG_STATE_HOME=str(system.parent / "state")) as you:  # fmt: skip
        yield you


def leave(you: Person) -> None:
    you.prompt()
    you.type(CTRL_D)
    assert you.status() == 0


def test_a_task_of_the_system_asks_in_place_of_the_line(system: Path) -> None:
    with shell(system) as you:
        you.see(r"asks asks: may write \(console\)\?", "answer>")
        assert "it may" not in str(you.screen)
        you.enter("o")
        you.see("answer> o", "it may", "asks asks: .*", "answer>")
        you.enter("r")
        you.see("answer> r", "twice")
        you.prompt()
        you.enter("echo it goes on")
        you.see("it goes on", "shell>")
        leave(you)


def test_until_it_is_answered_what_is_typed_is_an_answer(system: Path) -> None:
    """The shell doesn't come back in between, where an answer would be a command."""
    with shell(system) as you:
        you.see("asks asks: .*", "answer>")
        for word in ("zzz", "uptime", "?"):
            you.enter(word)
            you.see(f"answer> {re.escape(word)}", "answer>")
        assert not re.search(r"(?m)^shell>|^\d+ seconds", str(you.screen))
        you.enter("r")
        you.see(r"answer> \?", "answer> r", "it may", "twice")
        you.prompt()
        assert str(you.screen).count(" asks: ") == 1  # it was in view all the time
        you.enter("echo it goes on")
        you.see("it goes on", "shell>")
        leave(you)


def test_a_question_is_shown_again_if_something_came_between(system: Path) -> None:
    at = 4096  # beside what is printed
    talks = talkers.printer("here I am\n", first=(
        f"(call $put #{at} #53 #80) (i32.store16 #{at + 8} #80) (drop (call $call @tcpip #{at}))"
        f"(drop (call $recv #0 #{at}))"
    ))  # fmt: skip
    manifest = MANIFEST.replace('"fs"]', '"fs", "tcpip"]') + (
        '[tcpip]\nlisten = ["0:80"]\n[task.talks]\nuse = ["console", "tcpip"]\n'
    )
    folder(system.parent, manifest, asks=LATER, talks=talks)
    with shell(system) as you:
        you.see("asks asks: .*", "answer>")
        match = re.search(r"port 80 is 127.0.0.1:(\d+)", str(you.screen))
        assert match is not None
        with socket.create_connection(("127.0.0.1", int(match[1])), timeout=SECONDS) as peer:
            peer.sendall(b"x")
            you.see("here I am", "answer>")
        you.enter("zzz")
        you.see("here I am", "answer> zzz", "  one of o, .*", "asks asks: .*", "answer>")
        you.enter("q")
        leave(you)


@pytest.fixture
def visited(system: Path) -> Path:
    """A system whose task asks when somebody has connected: it closes the connection then."""
    source = program(
        f"(call $put #{M} #53 #80) (i32.store16 #{M + 8} #80) (drop (call $call @tcpip #{M}))"
        f"(drop (call $recv #0 #{M})) (i32.store #{M} #55) (drop (call $call @tcpip #{M}))"
        "(drop (call $ask @pong #9 #1)) #0"
    )
    manifest = MANIFEST.replace('"fs"]', '"fs", "tcpip"]').replace('"pong"]\n', '"tcpip.listen"]\n')
    listen = '[tcpip]\nlisten = ["0:80"]\n[spawn]\nuse = ["console"]\n'
    grants = "[task.asks]\nallow = ['tcpip.listen']\n[spawn]\nallow = ['console']\n"
    return folder(system.parent, manifest + listen, grants, asks=source)


def visit(you: Person) -> None:
    """Come and be sent away: now it asks."""
    match = re.search(r"port 80 is 127.0.0.1:(\d+)", str(you.screen))
    assert match is not None
    with socket.create_connection(("127.0.0.1", int(match[1])), timeout=SECONDS) as peer:
        peer.sendall(b"x")
        assert peer.recv(1) == b""


def test_the_line_that_was_being_typed_comes_back(visited: Path) -> None:
    """And what is typed of it after the question came is no answer."""
    with shell(visited) as you:
        you.prompt()
        you.type("echo typed")
        you.see("shell> echo typed")
        visit(you)
        you.see("asks asks: .*", "press Enter to answer; your line is kept")
        you.enter(" r")
        you.see("answer>")
        you.enter("n")
        you.see("answer> n", "shell> echo typed")
        you.enter(" on")
        you.see("typed on", "shell>")
        leave(you)


def test_a_program_that_has_the_terminal_keeps_it(visited: Path) -> None:
    """What is typed for it answers no question about another one: that comes later."""
    with shell(visited) as you:
        you.prompt()
        you.enter("start typing")
        you.see(r"name\?")
        visit(you)
        you.enter("ann")
        you.see(r"name\? ann", "Ann", "asks asks: .*", "answer>")
        you.enter("n")
        leave(you)


def test_always_in_the_shell(system: Path) -> None:
    policy = system.parent / "policy.toml"
    with shell(system) as you:
        you.see("asks asks: .*", rf"  allow .*\[a\]lways \(adds it to {policy}\)", "answer>")
        you.enter("a")
        you.see("twice")
        leave(you)
    assert policy.read_text() == "# mine\n[task.asks]\nallow = ['pong', 'console.write']\n"


def test_a_program_without_a_section_gets_none(system: Path) -> None:
    """The next boot would refuse a policy with a section for no task."""
    with shell(system) as you:
        you.see("asks asks: .*", "answer>")
        you.enter("q")
        you.prompt()
        you.enter("start other")  # it has the terminal, and is asked about there
        you.see("other asks: .*", r"  allow  \[o\]nce, for this \[r\]un", "answer>")
        you.enter("r")
        you.see("it may", "twice")
        leave(you)


def test_arguments_in_the_shell(system: Path) -> None:
    with shell(system) as you:
        you.see("asks asks: .*", "answer>")
        you.enter("q")
        for start in ("start hello", "start hello Ann"):  # with some it has them, unasked
            you.prompt()
            you.enter(start)
            you.see(f"shell> {start}", QUESTION, "answer>")
            you.enter("r")
            you.see(f"shell> {start}", "Hello from WasmOS!")
        you.see("My arguments: Ann")
        assert "(args)" not in str(you.screen)
        leave(you)


def test_an_interrupt_in_the_shell_ends_the_program_in_the_foreground(system: Path) -> None:
    with shell(system) as you:
        you.see("asks asks: .*", "answer>")
        you.type(CTRL_C)  # a no, as long as there is none
        you.see("asks asks: .*", "asks asks: .*|shell>")
        you.prompt()
        you.enter("start other")
        you.see("other asks: .*", "answer>")
        you.type(CTRL_C)
        you.see("task \\d+ 'other' was killed: interrupted")
        leave(you)


def test_leaving_while_a_question_waits(system: Path) -> None:
    with shell(system) as you:
        you.see("asks asks: .*", "answer>")
        you.process.terminate()
        assert you.status() == 0


def test_without_the_flag_the_shell_asks_nothing(system: Path) -> None:
    with person("boot", system, XDG_STATE_HOME=str(system.parent / "state")) as you:
        leave(you)
    assert " asks: " not in str(you.screen)
