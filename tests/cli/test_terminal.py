"""The shell on a terminal."""

from __future__ import annotations

import re
import socket
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support import talkers, wat
from tests.support.command import SYSTEM, folder
from tests.support.screen import CTRL_C, CTRL_D, ENTER, TAB, UP, Person, person
from tests.support.talkers import printer, reader

LATER = "(drop (call $recv #0 #1024))"


@pytest.fixture
def system(tmp_path: Path) -> Path:
    return folder(
        tmp_path,
        endless=talkers.ENDLESS,
        asks=reader("name? ", at_end=3),
        asks_once=reader("name? ", once=True),
        colours=printer(b"\x1b[31mred\x1b[0m \x9b1A \xc2\x9b2J \x07\x1b]0;title\x07\n"),
        waits=printer("waiting\n", then=LATER),
        trap=wat.TRAP,
    )


def shell(system: Path) -> AbstractContextManager[Person]:
    return person("boot", system, XDG_STATE_HOME=str(system.parent / "state"))


@pytest.fixture
def you(system: Path) -> Iterator[Person]:
    with shell(system) as you:
        you.see(r"\[ +\d+\.\d{3}\] system is up: .*", "shell>")
        yield you


def leave(you: Person) -> None:
    you.prompt()
    you.type(CTRL_D)
    assert you.status() == 0
    assert "shutting down" in str(you.screen)


def test_commands_are_answered_at_the_prompt(you: Person) -> None:
    you.prompt()
    you.enter("echo some words")
    you.see("shell> echo some words", "some words", "shell>")
    you.enter("nonsense")
    you.see("unknown command 'nonsense'; help lists them", "shell>")
    you.enter("shutdown")
    assert you.status() == 0


def test_what_a_program_prints_is_above_the_prompt(you: Person) -> None:
    you.prompt()
    you.enter("start hello &")
    you.see("task \\d+")
    you.prompt()
    you.type("echo typed")  # and not finished while others print
    you.see("shell> echo typed")
    you.see("Hello from WasmOS!", "shell> echo typed")
    assert you.screen.lines.count("webserver: listening on port 80") == 1
    you.type(ENTER)
    you.see("shell> echo typed", "typed", "shell>")
    leave(you)


def test_history_is_kept_from_one_system_to_the_next(system: Path) -> None:
    with shell(system) as you:
        you.prompt()
        you.enter("echo the first time")
        you.see("the first time")
        leave(you)
    with shell(system) as you:
        you.prompt()
        you.type(UP)
        you.see("shell> echo the first time")
        you.type(ENTER)
        you.see("the first time")
        leave(you)
    history = system.parent / "state" / "wasmos" / "history"
    assert "echo the first time" in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert stat.S_IMODE(history.parent.stat().st_mode) == 0o700


def test_a_history_that_cannot_be_written_is_no_trouble(system: Path) -> None:
    (system.parent / "state").write_text("not a directory")
    with shell(system) as you:
        leave(you)


def test_tab_completes_commands(you: Person) -> None:
    you.prompt()
    you.type("serv" + TAB)
    you.see("shell> services")
    you.type(ENTER)
    you.see("  vm +task 1 vm")
    leave(you)


@pytest.mark.parametrize(
    ("typed", "completed", "answer"),
    [
        ("cat hel", "cat hello.txt", "Hello from a file."),
        ("start hel", "start hello", "Hello from WasmOS!"),
        ("echo hel", "echo hel", "hel"),
    ],
)
def test_tab_completes_what_a_command_takes(
    you: Person, typed: str, completed: str, answer: str
) -> None:
    you.prompt()
    you.type(typed + TAB)
    you.see(f"shell> {completed}")
    you.type(ENTER)
    you.see(f"shell> {completed}", answer)
    leave(you)


@pytest.mark.parametrize("how", ["start colours", "start colours &"])
def test_control_characters_of_guests_are_shown_and_not_sent(you: Person, how: str) -> None:
    you.prompt()
    before = len(you.raw)
    you.enter(how)
    you.see(r"\^\[\[31mred\^\[\[0m \ufffd1A \\x9b2J \^G\^\[\]0;title\^G")
    leave(you)
    sent = you.raw[before:]
    assert "\x1b[31m" not in sent and "\x9b" not in sent and "\x07" not in sent


def test_control_characters_in_files_are_shown_too(system: Path) -> None:
    files = r"""files = { "x\u001b[32m.txt" = "", "plain" = "a\u001b[31m\u009b2Jb\n" }"""
    system.write_text(re.sub("files = .*", lambda _: files, SYSTEM))
    with shell(system) as you:
        you.prompt()
        you.enter("ls")
        you.see(r" +0 bytes  x\^\[\[32m.txt")
        you.enter("cat plain")
        you.see(r"a\^\[\[31m\\x9b2Jb")
        leave(you)


def test_ctrl_c_ends_the_program_in_the_foreground_only(you: Person) -> None:
    you.prompt()
    you.enter("start endless")
    you.see("round and round")
    you.type(CTRL_C)
    you.see(r"\^Ctask \d+ 'endless' was killed: interrupted", "shell>")
    you.enter("start waits")  # the same for one that is blocked
    you.see("waiting")
    you.type(CTRL_C)
    you.see(r"\^Ctask \d+ 'waits' was killed: interrupted", "shell>")
    you.enter("ping 1")
    you.see("pong answers 42")
    leave(you)


def test_ctrl_c_ends_a_command_that_takes_long(you: Person) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        you.prompt()
        you.enter(f"http http://127.0.0.1:{server.getsockname()[1]}/")
        connection, _ = server.accept()  # and never answers: now it is waiting
        with connection:
            assert connection.recv(65536).startswith(b"GET / HTTP/1.1\r\n")
            you.type(CTRL_C)
            you.see(r"\^Chttp: interrupted", "shell>")
            assert connection.recv(65536) == b""  # and has let go of its socket
    you.enter("ping 1")
    you.see("pong answers 42")
    leave(you)


def test_ctrl_c_at_the_prompt_begins_a_new_line(you: Person) -> None:
    you.prompt()
    you.type("half a line" + CTRL_C)
    you.see("shell> half a line.*", "shell>")
    you.enter("uptime")
    you.see("\\d+ seconds")
    leave(you)


def test_what_is_typed_goes_to_the_program_in_the_foreground(you: Person) -> None:
    you.prompt()
    you.enter("start asks")
    you.see(r"name\?")  # now, and not before, it is asking
    you.enter("hello")
    you.see(r"name\? hello", "Hello")
    you.enter("ping 1")  # not a command now
    you.see("ping 1", "Ping 1")
    you.type(CTRL_D)  # the end of its input, and not of the system
    you.prompt()
    you.enter("ping 1")
    you.see("pong answers 42")
    you.enter("start asks")  # another one has an input of its own
    you.see(r"name\? hello", "Hello", r"name\?")
    you.enter("again")
    you.see(r"name\? again", "Again")
    you.type(CTRL_D)
    leave(you)


def test_a_question_without_a_newline_is_seen_before_its_answer(you: Person) -> None:
    you.prompt()
    you.enter("start asks")
    you.see(r"name\?")
    you.enter("ann")
    you.see(r"name\? ann", "Ann")
    you.type(CTRL_D)
    leave(you)


def test_a_program_that_reads_can_be_interrupted(you: Person) -> None:
    you.prompt()
    you.enter("start asks")
    you.see(r"name\?")
    you.type(CTRL_C)
    you.see(".*task \\d+ 'asks' was killed: interrupted", "shell>")
    you.enter("echo not lost")
    you.see("not lost")
    leave(you)


def test_a_program_in_the_background_reads_nothing(you: Person) -> None:
    you.prompt()
    you.enter("start asks &")
    you.see(r"name\?", r".*task \d+ 'asks' exited with code 3")
    you.prompt()
    you.enter("echo mine")
    you.see("mine")
    leave(you)


def test_what_the_program_did_not_read_is_for_the_shell(you: Person) -> None:
    you.prompt()
    you.enter("start asks_once")
    you.see(r"name\?")
    you.type("ann\recho typed ahead\r")
    you.see("Ann", "shell> echo typed ahead", "typed ahead", "shell>")
    leave(you)


def test_a_trap_is_told(you: Person) -> None:
    you.prompt()
    you.enter("start trap")
    you.see(r"task \d+ 'trap' trapped: unreachable executed", "shell>")
    leave(you)


def test_a_service_goes_to_the_background_by_itself(system: Path) -> None:
    system.write_text(SYSTEM.replace('"echo", ', ""))
    with shell(system) as you:
        you.prompt()
        you.enter("start echo_server")
        you.see(r"task \d+ is the service echo", "shell>")
        you.enter("echo by way of a guest")
        you.see("by way of a guest")
        leave(you)


def test_a_dumb_terminal_will_do(system: Path) -> None:
    with person("boot", "-q", system, XDG_STATE_HOME=str(system.parent), TERM="dumb") as you:
        you.see(".*webserver: listening on port 80")
        you.enter("ping 1")
        you.see("pong answers 42")
        you.enter("shutdown")
        assert you.status() == 0


def test_the_terminal_is_left_as_it_was(you: Person) -> None:
    import termios

    leave(you)
    modes = termios.tcgetattr(you._terminal)
    assert modes[3] & termios.ECHO and modes[3] & termios.ICANON
