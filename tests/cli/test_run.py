"""`wasmos run`: arguments, streams and exit status of one program."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

import wasmos
from tests.support import talkers, wat
from tests.support.command import HELLO, WASMOS, Make, environment, running, wasmos_
from tests.support.modules import EXIT_1, looks
from tests.support.screen import person
from tests.support.talkers import SAYS_ARGUMENTS, WAITS, printer, reader
from wasmos import abi

# --- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        (["a", "b c"], "a, b c"),
        (["--", "a"], "a"),
        (["--", "--allow", "x"], "--allow, x"),
        (["--allow", "x", "-q", "--help"], "--allow, x, -q, --help"),
        (["a", "--", "b"], "a, --, b"),
        (["--", "--"], "--"),
        (["é", "", "ü"], "é, , ü"),
    ],
)
def test_what_follows_the_module_is_the_guests(arguments: list[str], seen: str) -> None:
    done = wasmos_("run", "--allow", "console", HELLO, *arguments)
    assert done.stdout == f"Hello from WasmOS!\nMy arguments: {seen}\n"
    assert (done.returncode, done.stderr) == (0, "")


def test_dashes_before_the_module() -> None:
    done = wasmos_("run", "--allow", "console", "--", HELLO, "a", "--")
    assert done.stdout == "Hello from WasmOS!\nMy arguments: a, --\n"
    done = wasmos_("run", "--")
    assert done.returncode == 2 and "required: FILE.wasm" in done.stderr


def test_an_argument_that_is_not_utf_8() -> None:
    done = wasmos_("run", "--allow", "console", HELLO, "\udcff")
    assert done.stdout.endswith("My arguments: \udcff\n")


def test_what_a_wasi_program_is_called(made: Make) -> None:
    program = made(SAYS_ARGUMENTS)
    assert wasmos_("run", program, "a").stdout == "guest.wat a "
    assert wasmos_("run", "--argv0", "ls", program, "--argv0", "b").stdout == "ls --argv0 b "
    assert wasmos_("run", program, env={"WASMOS_ARGV0": "ls"}).stdout == "ls "


def test_two_dashes(made: Make) -> None:
    """One of them before or behind the program is the tool's, the others are the program's."""
    program = made(SAYS_ARGUMENTS)
    for words, said in (
        (["--", program, "a"], "a "),
        ([program, "--", "a"], "a "),
        ([program, "--", "--", "a"], "-- a "),
        (["--", program, "--", "a"], "-- a "),
        ([program, "a", "--"], "a -- "),
        ([program, "--dir", "x"], "--dir x "),
    ):
        assert wasmos_("run", *words).stdout == f"guest.wat {said}"


@pytest.mark.parametrize(
    ("flags", "env", "said"),
    [
        (["--env", "NOSUCHVAR"], {}, "note: --env: NOSUCHVAR isn't set here\n"),
        ([], {"WASMOS_ENV": "NOSUCHVAR"}, "note: WASMOS_ENV: NOSUCHVAR isn't set here\n"),
        (["--env", "NOSUCHVAR="], {}, ""), (["--env", "NOSUCHVAR"], {"NOSUCHVAR": ""}, ""),
    ],
)  # fmt: skip
def test_a_variable_that_is_not_set_is_noted(
    made: Make, flags: list[str], env: dict[str, str], said: str
) -> None:
    for verb in ("run", "learn"):
        more = ["-o", "-"] if verb == "learn" else []
        done = wasmos_(verb, *more, *flags, made(wat.program("#0")), env=env)
        notes = [line for line in done.stderr.splitlines(True) if line.startswith("note: ")]
        assert notes == ([said] if said else [])


# --- streams ------------------------------------------------------------------------------------


def test_what_it_prints_is_all_of_standard_output(made: Make) -> None:
    guest = made(printer(b"\x1b[31m\xff\0bytes", then="unreachable"))
    done = wasmos_("run", "--allow", "console", guest)
    assert done.stdout == "\x1b[31m\udcff\0bytes"  # to a pipe, as they are
    assert done.stderr.startswith("error: task 3 'guest' trapped: unreachable executed\n")
    assert wasmos_("run", "-q", "--allow", "console", guest).stderr == ""


@pytest.mark.parametrize("data", [b"", b"one line\n", b"no newline", b"x" * 100_000 + b"\n"])
def test_standard_input_is_what_it_reads(made: Make, data: bytes) -> None:
    done = wasmos_("run", "--allow", "console", made(reader()), input=data)
    assert done.returncode == 0
    assert done.stdout.lower() == data.decode()
    assert (done.stdout != data.decode()) == bool(data)


def test_standard_input_may_be_a_file(made: Make, tmp_path: Path) -> None:
    guest = made(reader())
    (tmp_path / "input").write_text("from a file\n")
    with open(tmp_path / "input") as file:
        assert wasmos_("run", "--allow", "console", guest, stdin=file).stdout == "From a file\n"
    with open(os.devnull) as file:
        assert wasmos_("run", "--allow", "console", guest, stdin=file).stdout == ""


def test_a_module_from_standard_input(made: Make) -> None:
    """There is nothing left of the input for the program."""
    done = wasmos_("run", "--allow", "console", "-", input=reader(at_end=3))
    assert (done.returncode, done.stderr) == (3, "")
    done = wasmos_("run", "-", "a", input=SAYS_ARGUMENTS)
    assert done.stdout == "stdin a "
    assert wasmos_("run", "-", input=b"").returncode == 126


def test_a_program_answers_what_it_is_told(made: Make) -> None:
    with running("run", "--allow", "console", made(reader())) as guest:
        for line in ("first\n", "second\n"):
            guest.write(line)
            assert guest.read() == line.capitalize()
        assert guest.end() == (0, "", "")


@pytest.mark.parametrize(
    "streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "| head -c1 >/dev/null"]
)
def test_a_closed_full_or_broken_standard_stream_is_no_traceback(made: Make, streams: str) -> None:
    guest = made(
        printer("output\n", then=wat.repeat(2000, f"(drop (call $call @console #{wat.M}))"))
    )
    command = f"{shlex.join(WASMOS)} run --allow console {guest} {streams}"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=False, env=environment()
    )
    assert done.returncode == 0  # what it printed to went away: that is its own affair
    assert done.stderr in ("", "error: no space left on device\n")


def test_what_check_prints_to_a_broken_pipe(tmp_path: Path) -> None:
    command = f"{{ {shlex.join([*WASMOS, 'check', HELLO])}; echo $? >{tmp_path}/status; }} | true"
    for _ in range(3):
        done = subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, check=True, env=environment()
        )
        assert done.stderr == ""
        assert (tmp_path / "status").read_text() in ("141\n", "0\n")  # `true` may be slower


# --- how it ends --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status"), [("#0", 0), ("#7", 7), ("#255", 255), ("#-1", 255), ("#256", 1)]
)
def test_the_exit_status_is_the_guests(made: Make, body: str, status: int) -> None:
    done = wasmos_("run", made(wat.program(body)))
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_a_trap_is_134_and_says_where(made: Make) -> None:
    guest = made('(module (func $inner unreachable) (func $outer (export "main") call $inner))')
    done = wasmos_("run", guest)
    assert (done.returncode, done.stdout) == (134, "")
    error, *frames = done.stderr.splitlines()
    assert error == "error: task 2 'guest' trapped: unreachable executed"
    assert [frame.split(", byte")[0] for frame in frames] == [
        "  at inner  function 0", "  at outer  function 1",
    ]  # fmt: skip


def test_a_stack_overflow_is_a_trap(made: Make) -> None:
    done = wasmos_("run", made('(module (func $f (export "main") call $f))'))
    assert done.returncode == 134
    assert "stack" in done.stderr
    assert len(done.stderr.splitlines()) < 100


READ = f"""(i32.store #1024 #{abi.ConsoleRead.TYPE}) (i32.store offset=8 #1024 #1)
           (drop (call $call @console #1024)) #0"""


LISTEN = f"""(i32.store #1024 #{abi.TcpipListen.TYPE}) (i32.store16 offset=8 #1024 #80)
             (drop (call $call @tcpip #1024)) (drop (call $recv #0 #1024)) #0"""


BLOCKED = {
    "spin": wat.SPIN,
    "recv": wat.program(WAITS),
    "recv_from_itself": wat.program("(drop (call $recv #2 #1024)) #0"),
    "recv_from_a_server": wat.program("(drop (call $recv @pong #1024)) #0"),
    "lookup": wat.program("(drop @echo) #0").replace("echo\\00", "nobody\\00"),
    "call_to_console_read": wat.program(READ),
    "listening": wat.program(LISTEN),
    "start": '(module (func $s (loop (br 0))) (start $s) (func (export "main")))',
}


@pytest.mark.parametrize("how", BLOCKED)
def test_the_time_limit_is_kept_whatever_it_waits_for(made: Make, how: str) -> None:
    read_end, write_end = os.pipe()  # an input that never comes
    try:
        done = wasmos_(
            "run", "--timeout", "50ms", "--listen", "0:80", "--allow", "console,pong,vm,echo",
            made(BLOCKED[how]), stdin=read_end,
        )  # fmt: skip
    finally:
        os.close(read_end)
        os.close(write_end)
    assert done.returncode == 124 or how == "lookup"
    if how != "lookup":  # a name that it was not granted is no wait
        assert done.stderr.splitlines()[-1].endswith("reached its deadline: after 0.05 s")


def test_the_limit_of_processor_time_is_124_too(made: Make) -> None:
    done = wasmos_("run", "--cpu", "20ms", made(wat.SPIN))
    assert done.returncode == 124
    assert done.stderr == "error: task 2 'guest' used up its processor time\n"


def test_a_program_that_waits_for_nothing_is_told_so(made: Make) -> None:
    done = wasmos_("run", made(wat.program(WAITS)))
    assert done.returncode == 2
    assert done.stderr.startswith("error: nothing can happen any more: task 2 'guest' is receiving")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_128_and_its_number(made: Make, number: signal.Signals) -> None:
    for source in (talkers.ENDLESS, printer("round and round\n", then=WAITS.removesuffix("#0"))):
        with running("run", "--allow", "console", "--timeout", "1h", made(source)) as guest:
            assert guest.read() == "round and round\n"
            guest.signal(number)
            status, _, stderr = guest.end()
            assert (status, stderr) == (128 + number, "")


@pytest.mark.parametrize(
    ("name", "content", "status", "error"),
    [
        ("missing", None, 127, "no such file or directory"),
        ("a_directory", "directory", 126, "is a directory"),
        ("empty", b"", 126, "the file is empty"),
        ("text", b"hello", 126, "it doesn't begin with"),
        ("half", b"\0asm\x01\0\0\0\x01\xff", 126, "not a module"),
        ("no_main", "(module)", 126, "nothing to run"),
        ("bad_text", "(module", 126, "bad_text.wasm:1:8: expected ')'"),
        ("other_main", '(module (func (export "main") (param i32)))', 126, "main"),
        ("unknown", '(module (import "env" "fork" (func)) (func (export "main")))', 126, "'fork'"),
        ("wasi", '(module (import "wasi_snapshot_preview1" "fd_write" (func)))', 126, "fd_write"),
        ("huge", "huge", 126, "larger than"),
        ("not_utf_8", b"(module \xff)", 126, ""),
    ],
)
def test_what_is_not_run(
    tmp_path: Path, name: str, content: str | bytes | None, status: int, error: str
) -> None:
    path = tmp_path / f"{name}.wasm"
    if content == "directory":
        path.mkdir()
    elif content == "huge":
        with open(path, "wb") as file:
            file.write(b"\0asm\x01\0\0\0")
            file.truncate(1 << 40)
    elif content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for verb in ("run", "check"):
        done = wasmos_(verb, path)
        # Only compiling finds some things, and `check` doesn't compile.
        assert done.returncode == status, done
        assert done.stderr.startswith("error: ") and error in done.stderr
        if verb == "run":
            assert done.stdout == ""


@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_syntax_error_is_one_line_with_its_place(tmp_path: Path, verb: str) -> None:
    (tmp_path / "bad.wat").write_text("(module\n  (func $a call $b)\n")
    done = wasmos_(verb, "bad.wat", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (126, "")
    assert done.stderr == "error: bad.wat:3:1: expected ')'\n"
    (tmp_path / "bad.wat").write_text("(module\n  (func $a call $b))\n")
    done = wasmos_(verb, "bad.wat", cwd=tmp_path)
    assert done.stderr == "error: bad.wat:2:17: unknown func: failed to find name '$b'\n"
    (tmp_path / "bad.wat").write_bytes(b"(module \xff)")
    done = wasmos_(verb, "bad.wat", cwd=tmp_path)
    assert done.stderr == "error: bad.wat: input was not valid utf-8\n"


def test_a_syntax_error_in_a_text_from_python() -> None:
    with pytest.raises(wasmos.ModuleRefused) as caught:
        wasmos.run("(module")
    assert str(caught.value) == "module:1:8: expected ')'"


@pytest.mark.parametrize("verb", ["run", "check"])
def test_devices_and_fifos_are_not_waited_for(tmp_path: Path, verb: str) -> None:
    assert wasmos_(verb, "/dev/null").returncode == 126
    done = wasmos_(verb, "/dev/zero")
    assert done.returncode == 126 and "larger than" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["run", "--policy", "no.toml", HELLO], ["boot", "no.toml"], ["check", "no.toml"],
     ["run", "--files", "no.toml", HELLO], ["audit", "no.toml"]],
)  # fmt: skip
def test_127_is_for_the_program_alone(tmp_path: Path, arguments: list[str]) -> None:
    done = wasmos_(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: no.toml: no such file or directory\n")


@pytest.mark.parametrize(
    ("imports", "said"),
    [
        (["path_open"], "no directories; to give it one: --dir HOST::GUEST"),
        (["sock_accept"], "no ports to listen on; to give it one: --listen HOST:GUEST"),
        (["path_open", "sock_accept"], "no directories; to give it one: --dir HOST::GUEST"),
    ],
)
def test_a_program_that_failed_is_told_what_it_was_not_given(
    made: Make, imports: list[str], said: str
) -> None:
    program = made(looks(EXIT_1, *imports))
    done = wasmos_("run", program, "d/x")
    assert (done.returncode, done.stderr) == (1, f"note: guest was given {said}\n")
    assert wasmos_("run", "-q", program, "d/x").stderr == ""
    given = wasmos_("run", "--dir", ".::/d", "--listen", "0:80", program, "d/x")
    assert "was given" not in given.stderr
    assert wasmos_("run", made(looks("", *imports)), "d/x").stderr == ""


def test_control_characters_on_a_terminal(tmp_path: Path) -> None:
    """They are shown, unless somebody wants colours and takes the rest as well."""
    path = tmp_path / "colours.wat"
    path.write_text(printer(b"\x1b[31mred\x1b[0m\n"))
    with person("run", "--allow", "console", path) as you:
        assert you.status() == 0
        assert "^[[31mred^[[0m" in you.raw
    with person("run", "--raw", "--allow", "console", path) as you:
        assert you.status() == 0
        assert "\x1b[31mred\x1b[0m" in you.raw
