"""`wasmos boot` without a terminal: commands from a pipe, signals, ports, exit status."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import talkers, wat
from tests.support.command import (
    SECONDS,
    SYSTEM,
    WASMOS,
    Running,
    environment,
    folder,
    generous,
    running,
    wasmos_,
)  # fmt: skip
from tests.support.talkers import printer, reader
from wasmos.system.shell.commands import COMMANDS

QUIET = SYSTEM.replace("[task.webserver]\n", "[task.web]\nmodule = 'hello'\n")  # prints nothing


@pytest.fixture
def system(tmp_path: Path) -> Path:
    return folder(
        tmp_path,
        QUIET.replace('"tcpip", "console"]', '"vm"]'),
        seven=printer("seven\n", code=7),
        trap=wat.TRAP,
        refused="(module)",
        broken=b"\0asm",
        endless=talkers.ENDLESS,
        reader=reader(at_end=3),
        missing="(module (memory 65536))",
    )


def shell(system: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    done = wasmos_("boot", "-q", system, input="".join(line + "\n" for line in lines))
    assert done.returncode == 0
    return done


def test_commands_from_a_pipe(tmp_path: Path) -> None:
    done = wasmos_("boot", folder(tmp_path), input="ls\nping 1\nstart hello\nshutdown\nping 2\n")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    lines.remove("webserver: listening on port 80")
    assert lines == ["      19 bytes  hello.txt", "pong answers 42", "Hello from WasmOS!"]
    log = done.stderr.splitlines()
    assert [line.split("] ")[1] for line in log if "] task" in line] == [
        "task  1 vm",
        "task  2 console",
        "task  3 args",
        "task  4 echo",
        "task  5 fs",
        "task  6 tcpip",
        "task  7 pong (may use vm)",
        "task  8 webserver (may use tcpip, console)",
    ]
    assert any(line.endswith("system is up: 8 tasks") for line in log)
    assert log[-1].endswith("shutting down")


def test_quiet_is_quiet(system: Path) -> None:
    assert shell(system, "ping 1").stderr == ""


@pytest.mark.parametrize("data", ["", "\n", "  \n# a comment\n", "ping 1"])
def test_the_end_of_input_shuts_down(system: Path, data: str) -> None:
    done = wasmos_("boot", "-q", system, input=data)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("pong answers 42\n" if "ping" in data else "")


def test_dev_null_and_a_file_are_input_too(system: Path, tmp_path: Path) -> None:
    with open(os.devnull) as null:
        assert wasmos_("boot", "-q", system, stdin=null).returncode == 0
    (tmp_path / "script").write_text("ping 1\r\necho two words\n")
    with open(tmp_path / "script") as script:
        assert wasmos_("boot", "-q", system, stdin=script).stdout == "pong answers 42\ntwo words\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "> /dev/full"])
def test_a_closed_or_full_standard_stream_is_no_traceback(system: Path, closed: str) -> None:
    command = f"{shlex.join(WASMOS)} boot -q {system} {closed}"
    done = subprocess.run(
        ["sh", "-c", command],
        input="echo here\nstart hello\nps\n", capture_output=True, text=True, check=False,
        env=environment(),
    )  # fmt: skip
    assert done.returncode == (2 if "full" in closed else 0)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    if "full" in closed:
        assert done.stderr.startswith("echo: no space left on device\n")
    if closed == "2>&-":
        assert done.stdout.startswith("here\n")


def test_nobody_reads_the_output_any_more(system: Path) -> None:
    command = (
        f"yes 'echo some words' | head -5000 | {shlex.join(WASMOS)} boot -q {system} | head -c1"
    )
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=True, env=environment()
    )
    assert done.stdout == "s"
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


# --- commands -----------------------------------------------------------------------------------


def test_files(system: Path) -> None:
    done = shell(
        system,
        'write motto.txt "four calls"', "cat motto.txt", "mkdir d", "write d/x 1", "ls", "ls d",
        "delete d", "delete d/x", "delete d", "ls /", "cat d", "mkdir motto.txt", "ls motto.txt",
        f"write long {'x' * 3000}", "cat long",
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "four calls",
        "     directory  d",
        "      19 bytes  hello.txt",
        "      10 bytes  motto.txt",
        "       1 bytes  x",
        "      19 bytes  hello.txt",
        "      10 bytes  motto.txt",
        "x" * 3000,
    ]
    assert done.stderr.splitlines() == [
        "delete d: not empty",
        "cat d: not found",
        "mkdir motto.txt: already exists",
        "ls motto.txt: not a directory",
    ]


def test_echo_ping_uptime_sleep(system: Path) -> None:
    done = shell(system, "echo a  'b  c'", "echo", "ping -3", "sleep 1ms", "uptime")
    assert done.stdout.splitlines() == ["a b  c", "", "pong answers 42", "0 seconds"]
    assert done.stderr == ""


def test_help_lists_every_command(system: Path) -> None:
    lines = shell(system, "help").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(COMMANDS)
    width = lines[0].index("Show")
    assert all(line[width - 2 : width] == "  " and line.endswith(".") for line in lines)


WRONG = {
    "start": "start", "echo": "echo fine", "grant": "grant a", "deny": "deny a", "revoke": "revoke",
}  # fmt: skip


@pytest.mark.parametrize("name", list(COMMANDS))
def test_wrong_usage_is_shown(system: Path, name: str) -> None:
    wrong = WRONG.get(name, f"{name} a b c d")
    done = shell(system, wrong)
    if name == "echo":
        assert done.stdout == "fine\n"
    else:
        assert done.stderr == f"usage: {COMMANDS[name].usage}\n"


def test_ps_and_services(system: Path) -> None:
    done = shell(system, "start endless &", "ps", "services")
    head, *rows = done.stdout.splitlines()
    rows = [row for row in rows if row != "round and round"]
    assert head == "task 10"
    assert rows[0].split() == ["ID", "NAME", "STATE", "CPU", "MEMORY", "CALLS", "SERVED"]
    table = {line.split()[1]: line for line in rows[1 : 1 + 9]}
    assert list(table) == [
        "vm", "console", "args", "echo", "fs", "tcpip", "pong", "shell", "endless",
    ]  # fmt: skip
    assert table["pong"].split()[2] == "receiving"
    assert "64.0 KiB" in table["endless"]
    # Columns are columns.
    for row in table.values():
        for title in ("NAME", "STATE", "CPU", "MEMORY", "CALLS", "SERVED"):
            at = rows[0].index(title)
            assert row[at - 1] == " " and row[at] != " "
    services = [line.split() for line in rows[10:]]
    assert services == [
        [name, "task", number, name]
        for name, number in (
            ("args", "3"), ("console", "2"), ("echo", "4"), ("fs", "5"), ("pong", "7"),
            ("tcpip", "6"), ("vm", "1"),
        )
    ]  # fmt: skip


def test_start_tells_how_a_program_ended(system: Path) -> None:
    done = shell(
        system,
        "start hello a 'b c'", "start seven", "start trap", "start refused", "start broken",
        "start nobody", "start /etc/passwd", "start ../hello", "start", "start &", "ping 1",
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "Hello from WasmOS!", "My arguments: a, b c", "seven", "pong answers 42",
    ]  # fmt: skip
    complaints = done.stderr.splitlines()
    assert complaints[0].endswith("'seven' exited with code 7")
    assert complaints[1].endswith("'trap' trapped: unreachable executed")
    assert complaints.pop(2).startswith("  at main  function 7, byte 0x")
    assert complaints[2].startswith("start: refused: nothing to run")
    assert complaints[3].startswith("start: broken: not a module that can run here")
    for name, line in zip(("nobody", "/etc/passwd", "../hello"), complaints[4:7], strict=True):
        assert line.startswith(f"start: no program {name!r} in {system.parent}/programs, ")
        assert "endless, hello, missing" in line.replace("echo, echo_server, ", "")
    assert complaints[7:] == ["usage: start NAME [ARGS...] [&]"] * 2


def test_a_service_and_the_background_are_not_waited_for(system: Path) -> None:
    system.write_text(system.read_text().replace('"echo", ', ""))
    done = shell(
        system, "start echo_server", "echo by a guest", "kill pong",
        "start pong_passive", "services", "start endless &", "ping 1", "kill endless", "ping 1",
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line != "round and round"]
    assert lines[:3] == [
        "task 9 is the service echo", "by a guest", "task 10 is the service pong_passive",
    ]  # fmt: skip
    assert "nobody is the service 'pong'" in done.stderr


def test_kill(system: Path) -> None:
    done = shell(
        system, "start endless &", "start endless &", "kill endless", "kill endless", "kill pong",
        "ping 1", "kill 99", "kill shell", "ping 1",
    )  # fmt: skip
    assert done.stderr.splitlines() == [
        "kill: no task 'endless'; ps lists them",
        "ping: nobody is the service 'pong'",
        "kill: no task '99'; ps lists them",
        "kill: that is this shell; use shutdown",
        "ping: nobody is the service 'pong'",
    ]


def test_a_server_that_was_killed_is_missed_and_that_is_all(system: Path) -> None:
    names = ("console", "fs", "tcpip", "echo", "args", "vm")
    done = shell(
        system, *(f"kill {name}" for name in names),
        "ls", "http localhost:1", "echo x", "start hello &", "ping 1",
    )  # fmt: skip
    assert done.stdout.endswith("pong answers 42\n")
    assert [line.split()[-1] for line in done.stderr.splitlines()] == ["'fs'", "'tcpip'", "'echo'"]


def test_wrong_lines_are_told_and_passed_over(system: Path) -> None:
    done = shell(
        system, "nonsense", "exti", "exit", "rm x", "'a", '"', "b\\", "ping x", "ping 1e3",
        "ping 99999999999", "sleep x", "sleep 1e300", f"cat {'p' * 300}", "x" * 5000, "ping 1",
    )  # fmt: skip
    assert done.stdout == "pong answers 42\n"
    assert done.stderr.splitlines() == [
        "unknown command 'nonsense'; help lists them",
        "unknown command 'exti'; help lists them",
        "unknown command 'exit'; did you mean 'shutdown'?",
        "unknown command 'rm'; did you mean 'delete'?",
        *["a quotation is not closed, or a backslash ends the line"] * 3,
        "ping: 'x' is not a number",
        "ping: '1e3' is not a number",
        "ping: 99999999999 doesn't fit 32 bits",
        "sleep: 'x' is not a time like 5s or 250ms",
        "sleep: '1e300' is too much",
        "cat: path: 300 bytes and a NUL do not fit 256",
        "a line has at most 4,096 characters",
    ]


def test_of_a_line_that_is_far_too_long_nothing_is_run(system: Path) -> None:
    """Not even its end, however the pieces arrive."""
    done = shell(system, "x" * (1 << 21) + " ; ping 1", "ping 1")
    assert done.stdout == "pong answers 42\n"
    assert done.stderr == "a line has at most 4,096 characters\n"


@pytest.mark.parametrize("seed", range(3))
def test_binary_garbage_on_standard_input(system: Path, seed: int) -> None:
    garbage = random.Random(seed).randbytes(50_000)
    done = wasmos_("boot", "-q", system, input=garbage + b"\nping 1\n")
    assert done.returncode == 0
    assert done.stdout.endswith("pong answers 42\n")
    assert "\x1b" not in done.stderr  # nor can it reach a terminal by way of a complaint


def test_a_program_reads_nothing_when_the_shell_reads_a_pipe(system: Path) -> None:
    done = shell(system, "start reader", "ping 1")
    assert done.stdout == "pong answers 42\n"
    assert done.stderr.endswith("'reader' exited with code 3\n")


def test_programs_whose_limits_are_reached(tmp_path: Path) -> None:
    manifest = (
        QUIET
        + "cpu_time = '20ms'\nmemory = '1MiB'\n[task.late]\nmodule='sleeps'\ndeadline='20ms'\n"
    )
    system = folder(tmp_path, manifest, endless=wat.SPIN, sleeps=wat.SLEEP)
    done = wasmos_("boot", "-q", system, input="start endless\nstart late\n")
    assert done.stderr.splitlines()[0].endswith("'endless' used up its processor time")
    assert done.stderr.splitlines()[1].endswith("'late' reached its deadline: after 0.02 s")


# --- the network --------------------------------------------------------------------------------


def get(port: int, path: str = "/", method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def alive(system: Running) -> None:
    """The shell answers."""
    system.write("ping 1\n")
    system.until("pong answers 42\n")


def test_a_guest_serves_the_web_while_the_shell_works(tmp_path: Path) -> None:
    with running("boot", folder(tmp_path)) as system:
        port = system.port()
        with ThreadPoolExecutor(50) as pool:
            answers = pool.map(lambda _: get(port), range(50))
            for _ in range(10):
                alive(system)
            answers = list(answers)
        assert {status for status, _ in answers} == {200}
        for _, body in answers:
            assert body.startswith("<!doctype html>\n")
            assert "<h1>Hello from WasmOS</h1>" in body
            assert "This page was served by a WebAssembly task." in body
        # Each request was counted, and none twice.
        numbers = sorted(int(body.split("Request number ")[1].split()[0]) for _, body in answers)
        assert numbers == list(range(1, 51))
        assert get(port, "/nowhere")[0] == 404
        assert get(port, method="POST")[0] == 405
        assert get(port, method="HEAD") == (200, "")
        alive(system)
        assert system.end()[0] == 0


def test_http_fetches_the_page_of_the_own_web_server(tmp_path: Path) -> None:
    with running("boot", folder(tmp_path)) as system:
        port = system.port()
        for url in (f"http://127.0.0.1:{port}/", f"localhost:{port}", f"http://127.0.0.1:{port}/x"):
            system.write(f"http {url}\n")
        status, stdout, _ = system.end()
    assert status == 0
    assert stdout.count("<h1>Hello from WasmOS</h1>") == 2
    assert "Request number 1" in stdout and "Request number 2" in stdout
    assert "<h1>404 Not Found</h1>" in stdout


def serve(answers: list[bytes]) -> tuple[socket.socket, ThreadPoolExecutor]:
    """A server that gives each connection the next of these answers."""
    server = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        for answer in answers:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

    pool = ThreadPoolExecutor(1)
    pool.submit(work)
    return server, pool


def test_http_with_answers_of_all_kinds(system: Path) -> None:
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",  # the end is known before the close
        b"HTTP/1.0 200 OK\r\n\r\nuntil the close",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + "é\xff\x1b".encode(),
        b"SSH-2.0-OpenSSH\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast",
    ]
    server, pool = serve(answers)
    with server, pool:
        url = f"http http://127.0.0.1:{server.getsockname()[1]}/"
        done = shell(system, *[url] * len(answers))
    assert done.stdout.split("\n") == ["abc", "until the close", "xyz", "é\xff\x1b", "last", ""]
    assert done.stderr.count("http: the answer is not HTTP") == 3


def test_what_http_refuses(system: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done = shell(
        system, "http ftp://x", "http https://x", "http http://", "http http://localhost:x/",
        "http http://localhost:99999/", "http 'http://a b/'", f"http http://127.0.0.1:{port}/",
        "http http://nowhere.invalid/", "ping 1",
    )  # fmt: skip
    assert done.stdout == "pong answers 42\n"
    lines = done.stderr.splitlines()
    assert len(lines) == 8 and all(line.startswith("http") for line in lines)
    assert lines[6] == (
        f"http: 127.0.0.1 port {port}: connection refused; nobody listens there, or no way leads "
        "there"
    )
    # Without a network no name server answers.
    assert re.fullmatch(
        "http: (no host is called 'nowhere.invalid'|the name servers don't answer for "
        "'nowhere.invalid'; try it again)", lines[7],
    )  # fmt: skip


CONNECTS = """
(module (import "env" "ipc_call" (func $call (param i32 i32) (result i32)))
  (import "env" "ipc_lookup" (func $lookup (param i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "tcpip\\00") (data (i32.const 1032) "localhost\\00")
  (func (export "main") (result i32)
    (i32.store (i32.const 1024) (i32.const {type}))
    {fields}
    (drop (call $call (call $lookup (i32.const 0)) (i32.const 1024)))
    (i32.load (i32.const 1024))))
"""


def test_the_shell_may_connect_where_guests_may_not(tmp_path: Path) -> None:
    from wasmos import abi

    connects = CONNECTS.format(
        type=abi.TcpipConnect.TYPE,
        fields="(i32.store offset=8 (i32.const 1024) (i32.const 0x7f000001))"
        "(i32.store16 offset=12 (i32.const 1024) (i32.const 9))",
    )
    resolves = CONNECTS.format(type=abi.TcpipDnsResolve.TYPE, fields="")
    system = folder(tmp_path, connects=connects, resolves=resolves)
    with running("boot", "-q", system) as running_:
        running_.write("start connects\nstart resolves\nhttp http://127.0.0.1:9/\n")
        _, _, stderr = running_.end()
    lines = stderr.splitlines()
    assert lines[0].endswith("'connects' exited with code -8")
    assert lines[1].endswith("'resolves' exited with code -8")
    assert lines[2] == (  # and not "not allowed"
        "http: 127.0.0.1 port 9: connection refused; nobody listens there, or no way leads there"
    )


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with running("boot", folder(tmp_path)) as first:
        port = first.port()
        (tmp_path / "second.policy.toml").write_text(generous(SYSTEM))
        (tmp_path / "second.toml").write_text(SYSTEM.replace("0:80", f"{port}:80"))
        second = wasmos_("boot", tmp_path / "second.toml")
        assert second.returncode == 2
        error = second.stderr.splitlines()[-1]
        assert error == (
            f"error: {tmp_path}/second.toml:8: 127.0.0.1:{port}, for port 80: address already in "
            "use; choose another host port, or 0 for any"
        )
        assert "shutting down" not in second.stderr
        done = wasmos_("run", "--listen", f"{port}:80", "--allow", "console", WEBSERVER)
        assert done.returncode == 2 and "address already in use" in done.stderr
        alive(first)


def test_one_of_several_ports_is_free(tmp_path: Path) -> None:
    with running("boot", folder(tmp_path)) as first:
        port = first.port()
        (tmp_path / "second.policy.toml").write_text(generous(SYSTEM))
        (tmp_path / "second.toml").write_text(SYSTEM.replace("0:80", f"{port}-{port + 20}:80"))
        with running("boot", tmp_path / "second.toml") as second:
            assert get(second.port())[0] == 200
        assert get(port)[0] == 200


WEBSERVER = Path(talkers.__file__).parents[2] / "src/wasmos/guests/webserver.wasm"


# --- signals ------------------------------------------------------------------------------------

SIGNALS = [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)]
SAVES = SYSTEM.replace("[fs]", '[fs]\nsave = "kept"')


@pytest.mark.parametrize(("number", "expected"), SIGNALS)
def test_a_signal_ends_it_in_good_order(
    tmp_path: Path, number: signal.Signals, expected: int
) -> None:
    with running("boot", folder(tmp_path, SAVES)) as system:
        system.port()
        system.write("write new.txt data\n")
        alive(system)
        system.signal(number)
        status, _, stderr = system.end()
    assert status == expected
    assert "shutting down" in stderr
    assert (tmp_path / "kept" / "new.txt").read_text() == "data"


# The command `wasmos`, which is sent a signal when it begins to shut down.
TOLD_AGAIN = """
import os, sys
from wasmos import cli
from wasmos.system.boot import System

shutdown = System.shutdown

async def told_again(system):
    os.kill(os.getpid(), {number:d})
    await shutdown(system)

System.shutdown = told_again
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_it_goes_down_changes_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Who closes a terminal, or stops a service, may send two."""
    code = TOLD_AGAIN.format(number=number)
    done = subprocess.run(
        [sys.executable, "-c", code, "boot", "-q", folder(tmp_path, SAVES)],
        input=b"write new.txt data\n", env=environment(), timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert (tmp_path / "kept" / "new.txt").read_text() == "data"


@pytest.mark.parametrize(("number", "expected"), SIGNALS)
@pytest.mark.parametrize("busy", ["start endless", "sleep 1000"])
def test_a_signal_ends_it_while_a_command_runs(
    tmp_path: Path, number: signal.Signals, expected: int, busy: str
) -> None:
    with running("boot", folder(tmp_path, endless=talkers.ENDLESS)) as system:
        system.port()
        alive(system)
        system.write("start endless &\n" if "sleep" in busy else "")
        system.write(f"{busy}\n")
        system.until("round and round\n")
        system.signal(number)
        assert system.end()[0] == expected


@pytest.mark.parametrize(("number", "expected"), SIGNALS)
def test_without_a_shell_it_runs_until_a_signal(
    tmp_path: Path, number: signal.Signals, expected: int
) -> None:
    with running("boot", "--no-shell", folder(tmp_path)) as system:
        port = system.port()
        assert system.process.stdin is not None
        system.process.stdin.close()  # doesn't matter
        system.process.stdin = None
        assert get(port)[0] == 200
        system.signal(number)
        assert system.end()[0] == expected


# --- what can't boot ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "status", "error"),
    [
        ("module = 'nothing'", 2, r"[task.x] no program 'nothing' in "),
        ("module = './nothing.wasm'", 2, "/./nothing.wasm: no such file or directory"),
        ("module = './programs'", 2, "/./programs: is a directory"),
        ("module = 'refused'", 126, "[task.x] refused: nothing to run"),
        ("module = 'broken'", 126, "[task.x] broken: not a module"),
        ("module = 'hello'\nservice = 'fs'", 2, "[task.x] already exists: service 'fs'"),
        ("module = 'hello'\nmemory = 1", 126, "the limit is 1; "),
    ],
)
def test_a_task_that_cannot_start(system: Path, task: str, status: int, error: str) -> None:
    line = len(system.read_text().splitlines()) + 2
    system.write_text(f"{system.read_text()}[task.x]\n{task}\n")
    with running("boot", system) as done:
        result, stdout, stderr = done.end()
    assert (result, stdout) == (status, "")
    assert stderr.splitlines()[-1].startswith(f"error: {system}:{line}: [task.x] ")
    assert error in stderr.splitlines()[-1]


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    done = wasmos_("boot", tmp_path / "none.toml")
    assert (done.returncode, done.stderr) == (
        2, f"error: {tmp_path}/none.toml: no such file or directory\n",
    )  # fmt: skip
    assert wasmos_("boot", tmp_path).stderr == f"error: {tmp_path}: is a directory\n"


def test_the_demonstration_boots(tmp_path: Path) -> None:
    """Wherever one is; its ports are a range, so that something may be on one of them."""
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / "mine.wat").write_text(printer("mine\n"))
    done = wasmos_("boot", input="start mine\ncat hello.txt\nping 1\n", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if "webserver" not in line] == [
        "mine", "Hello from a file in the image.", "pong answers 42",
    ]  # fmt: skip
    assert "demonstration is up: 8 tasks" in done.stderr


# --- policies -----------------------------------------------------------------------------------


def test_what_no_policy_grants(tmp_path: Path) -> None:
    """The message has the lines that are missing: with them it boots."""
    policy = "[task.pong]\nallow = ['vm']\n[task.webserver]\nallow = ['console.write']\n"
    system = folder(tmp_path, policy=policy)
    done = wasmos_("boot", system.name, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (77, "")
    assert (
        done.stderr
        == """\
error: webserver asks for what no policy grants
  asked    tcpip      (system.toml:13)
  asked    console    (system.toml:13)
  to allow add to `allow` of [task.webserver] in policy.toml:
      "tcpip",
      "console",
error: spawn asks for what no policy grants
  asked    *    (system.toml:15)
  to allow add to policy.toml:
      [spawn]
      allow = ["*"]
"""
    )
    policy = policy.replace("'console.write'", '"tcpip", "console",') + '[spawn]\nallow = ["*"]'
    (tmp_path / "policy.toml").write_text(policy)
    assert wasmos_("boot", system.name, cwd=tmp_path).returncode == 0


def test_the_policy_of_the_command_line_and_the_environment(tmp_path: Path) -> None:
    system = folder(tmp_path)
    for name in ("strict", "open"):
        (tmp_path / f"{name}.toml").write_text("" if name == "strict" else generous(SYSTEM))
    strict, generous_ = str(tmp_path / "strict.toml"), str(tmp_path / "open.toml")
    assert wasmos_("boot", "--policy", strict, system).returncode == 77
    assert wasmos_("boot", system, env={"WASMOS_POLICY": strict}).returncode == 77
    done = wasmos_("boot", "--policy", generous_, system, env={"WASMOS_POLICY": strict})
    assert done.returncode == 0
    done = wasmos_("boot", "--policy", tmp_path / "none.toml", system)
    assert done.stderr == f"error: {tmp_path}/none.toml: no such file or directory\n"
    assert done.returncode == 2


def test_the_demonstrations_web_server_has_just_what_it_needs(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    done = wasmos_("boot", "--audit", log, input="ping 1\n", cwd=tmp_path)
    assert "webserver (may use tcpip.listen(listen_port=80), console.write)\n" in done.stderr
    assert "pong (may use vm.service_register)\n" in done.stderr
    records = [json.loads(line) for line in log.read_text().splitlines()]
    granted = [r["origin"] for r in records if r["event"] == "grant" and r["name"] == "webserver"]
    assert len(granted) == 2
    assert all(re.fullmatch(r".*/demo\.policy\.toml:\d+", origin) for origin in granted)
    assert [r for r in records if r["event"] == "denial"] == []
    assert records[-1]["event"] == "close"


def test_an_audit_of_every_message(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    options = ["--audit", log, "--audit-calls"]
    assert wasmos_("boot", *options, folder(tmp_path), input="ping 1\n").returncode == 0
    calls = [json.loads(line) for line in log.read_text().splitlines() if '"call"' in line]
    assert "pong.ping" in [call["message"] for call in calls]
    done = wasmos_("boot", "--audit", tmp_path / "no" / "where", folder(tmp_path))
    assert done.returncode == 2 and "no such file or directory" in done.stderr
