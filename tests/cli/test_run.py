"""`wasmos run`: authority, streams, limits and exit status of one program."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import wasmos
from tests.support import talkers, wat
from tests.support.command import GUESTS, HELLO, WASMOS, environment, running, wasmos_
from tests.support.sender import sends
from tests.support.talkers import printer, reader
from tests.system.test_invoke import LIBRARY
from tests.system.test_run import EXIT_1, SAYS_ARGUMENTS, looks
from wasmos import abi
from wasmos.system.allowance import SERVICES

Make = Callable[..., Path]
WAITS = "(drop (call $recv #0 #1024)) #0"


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """Writes a program, gives its path."""

    def make(source: str | bytes, name: str = "guest") -> Path:
        path = tmp_path / (f"{name}.wasm" if isinstance(source, bytes) else f"{name}.wat")
        path.write_bytes(source.encode() if isinstance(source, str) else source)
        return path

    return make


# --- what it may do -----------------------------------------------------------------------------


def test_nothing_is_granted_by_default(made: Make) -> None:
    done = wasmos_("run", HELLO)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "note: hello was refused console; to allow: --allow console\n"
    for service in SERVICES:
        # A task that nobody granted anything gets -8 from each lookup.
        done = wasmos_("run", made(wat.program(f"(i32.ne @{service} #-8)")))
        assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("service", SERVICES)
def test_allow_grants_one_service(made: Make, service: str) -> None:
    refused = "#0"
    for name in SERVICES:
        count = 100 if name == service else 1
        refused = f"(i32.add {refused} (i32.mul #{count} (i32.lt_s @{name} #0)))"
    guest = made(wat.program(refused))
    assert wasmos_("run", "-q", "--allow", service, guest).returncode == len(SERVICES) - 1


def test_several_services_with_commas_or_one_by_one() -> None:
    for flags in (["--allow", "args,console"], ["--allow", "args", "--allow", "console"]):
        assert wasmos_("run", *flags, HELLO).stdout == "Hello from WasmOS!\n"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("consol", "did you mean 'console'?"),
        ("tcp", "did you mean 'tcpip'?"),
        ("xyz", "there are: console, args, env, fs, tcpip, clock, random, echo, pong, vm"),
        ("", "there are: console, args, env, fs, tcpip, clock, random, echo, pong, vm"),
    ],
)
def test_an_unknown_service(name: str, hint: str) -> None:
    done = wasmos_("run", "--allow", name, HELLO)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: no service {name!r} to allow; {hint}\n"


def test_a_note_names_what_was_refused_without_tricks(made: Make) -> None:
    name = r"x\1b[31m\0aerror: forged\c2\9b2J"
    guest = made(
        '(module (import "env" "ipc_lookup" (func $lookup (param i32) (result i32)))'
        f'(memory (export "memory") 1) (data (i32.const 0) "{name}\\00pong\\00")'
        '(func (export "main") (drop (call $lookup (i32.const 0)))'
        f"(drop (call $lookup (i32.const 25)))))"
    )
    done = wasmos_("run", guest)
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr and "\x9b" not in done.stderr
    assert r"'x\x1b[31m\nerror: forged\x9b2J'" in done.stderr
    assert done.stderr.endswith("; to allow: --allow pong\n")


# --- rules --------------------------------------------------------------------------------------

CONNECTS = """
note: guest was refused tcpip.connect(dst_addr="127.0.0.1", dst_port=9)
  asked by  task 3 'guest'
  rule      {reason}
  to allow  {remedy}
"""


def refused(reason: str, remedy: str) -> str:
    return CONNECTS.format(reason=reason, remedy=remedy).lstrip()


ALLOW_IT = """--allow 'tcpip.connect(dst_addr="127.0.0.1", dst_port=9)'"""


@pytest.mark.parametrize(
    ("flags", "reason", "remedy"),
    [
        (["--allow", "tcpip.listen"],
         "what it holds is for other messages: tcpip.listen    (--allow)", ALLOW_IT),
        (["--allow", "tcpip"], "its value isn't allowed: tcpip    (--allow)", ALLOW_IT),
        (["--connect", "10.0.0.0/8"],
         'its value isn\'t allowed: tcpip.connect(dst_addr="10.0.0.0/8")    (--connect)', ALLOW_IT),
        (["--allow", "*", "--deny", "tcpip.connect,vm"],
         "a rule denies it: tcpip.connect    (--deny)", "take out tcpip.connect (--deny)"),
        (["--connect", "all", "--deny", "tcpip.connect(dst_port=..1023)"],
         "a rule denies it: tcpip.connect(dst_port=..1023)    (--deny)",
         "take out tcpip.connect(dst_port=..1023) (--deny)"),
    ],
)  # fmt: skip
def test_what_was_refused_and_what_would_allow_it(
    made: Make, flags: list[str], reason: str, remedy: str
) -> None:
    done = wasmos_("run", *flags, made(connecting(9)))
    assert done.returncode == 256 - 8
    notes = re.sub(r"task \d+", "task 3", done.stderr)
    warning = "warning: everything is allowed: the program can reach every host that this one can\n"
    assert notes.removeprefix(warning) == refused(reason, remedy)
    assert wasmos_("run", "-q", *flags, made(connecting(9))).stderr in ("", warning)


def test_a_service_that_a_rule_hides(made: Make, tmp_path: Path) -> None:
    """Its lookup fails already: no --allow would help against the rule."""
    policy = tmp_path / "policy.toml"
    policy.write_text("[run]\nallow = ['console']\ndeny = ['pong']\n")
    for flags, said in (
        (["--allow", "pong", "--deny", "pong"], "pong    (--deny)"),
        (["--policy", policy, "--allow", "*", "-q"], ""),
        (["--policy", policy], f"pong    ({policy}:3)"),
    ):
        done = wasmos_("run", *flags, made(wat.program("(drop @pong) (drop @echo) @pong")))
        notes = re.sub(r"task \d+", "task 3", done.stderr).splitlines()
        assert done.returncode == 256 - 8
        if not said:
            assert notes == [] or notes[0].startswith("warning: ")
            continue
        rule, origin = said.split("    ")
        assert notes == [
            "note: guest was refused echo; to allow: --allow echo",
            "note: guest was refused pong",
            "  asked by  task 3 'guest'",
            f"  rule      a rule denies it: {rule}    {origin}",
            f"  to allow  take out {rule} {origin}",
        ]


def test_advice_for_a_name_that_needs_quotes(made: Make, tmp_path: Path) -> None:
    guest, policy = made(printer("text"), "my guest"), tmp_path / "policy.toml"
    policy.write_text("[run]\nallow = ['console.read']")
    note = wasmos_("run", "--policy", policy, guest).stderr.splitlines()[-1]
    assert note == f"  to allow  add  \"console.write\"  to [task.'my guest'] in {policy}"


def test_the_advice_works(made: Make) -> None:
    guest = made(connecting(9))
    for _ in range(2):
        note = wasmos_("run", "--allow", "tcpip", guest).stderr.splitlines()[-1]
        flags = shlex.split(note.removeprefix("  to allow  "))
        done = wasmos_("run", *flags, guest)
        assert (done.returncode, done.stderr) == (256 - 7, "")  # nobody is there


@pytest.mark.parametrize("message", [abi.FsMkfile, abi.FsMkdir, abi.FsDelete])
def test_the_advice_for_a_directory_that_may_be_read(
    made: Make, tmp_path: Path, message: type[abi.FsMkfile]
) -> None:
    """It is about the directory: a rule more would be for files elsewhere."""
    guest = made(sends(("fs", message("/data/new.txt"))))
    (tmp_path / "data").mkdir()
    rule = f'fs(dir="{tmp_path}/data", at="/data", mode="ro")'
    wide = rule.replace(', mode="ro"', "")
    advice = {
        "--dir ./data::/data:ro": "--dir ./data::/data  in place of the one that ends in :ro",
        f"--allow '{rule}'": f"--allow '{wide}'  in place of  {rule}",
    }
    for flags, remedy in advice.items():
        done = wasmos_("run", *shlex.split(flags), guest, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-2:] == [
            f'  rule      it is for reading: mode="ro": {rule}    ({flags.split()[0]})',
            f"  to allow  {remedy}",
        ]
        works = shlex.split(remedy.partition("  ")[0])
        done = wasmos_("run", *works, guest, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("target", ["../out", "/", "in/../../out"])
@pytest.mark.parametrize("mode", ["rw", "ro", "overlay"])
@pytest.mark.parametrize(
    "message", [abi.FsOpen("/data/link/f", 0), abi.FsOpenFile("/data/link/f", 32),
                abi.FsStat("/data/link", 1)],
)  # fmt: skip
def test_a_link_that_leads_out(
    made: Make, tmp_path: Path, target: str, mode: str, message: abi.Message
) -> None:
    (tmp_path / "data" / "in").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "data" / "link").symlink_to(target)
    done = wasmos_(
        "run", "--dir", f"./data::/data:{mode}", made(sends(("fs", message))), cwd=tmp_path
    )
    rule = f'fs(dir="{tmp_path}/data", at="/data", mode="{mode}")'
    inner = message.path.removeprefix("/data/")  # type: ignore[attr-defined]
    assert done.stderr.splitlines()[-2:] == [
        f"  rule      {inner} leads out of what was granted: {rule}    (--dir)",
        "  to allow  no rule can: a path leads to nothing outside of its place; have what it leads "
        "to granted, with --dir, and opened there",
    ]


def test_a_port_has_to_be_one_of_the_hosts_too(made: Make) -> None:
    for rule in ("tcpip.listen", "tcpip.listen(listen_port=80)", "tcpip.connect"):
        done = wasmos_("run", "--allow", f"console,{rule}", GUESTS / "webserver.wasm")
        assert done.stderr.splitlines()[-1] == "  to allow  --listen 8080:80"


@pytest.mark.parametrize(
    ("flags", "host"),
    [
        (["-A"], r"127\.0\.0\.1:(?!80$)\d+"), (["--allow", "console,tcpip"], r"127\.0\.0\.1:\d+"),
        (["-A", "--listen", "127.0.0.2:0:80"], r"127\.0\.0\.2:\d+"),
        (["-A", "--listen", "127.0.0.2:0:81"], r"127\.0\.0\.1:\d+"),
    ],
)  # fmt: skip
def test_who_may_do_all_of_tcpip_has_any_free_port(flags: list[str], host: str) -> None:
    """Nothing is refused by the advice of `check`, and where the port is is said."""
    done = wasmos_("run", *flags, "--timeout", "300ms", GUESTS / "webserver.wasm")
    assert (done.returncode, done.stdout) == (124, "webserver: listening on port 80\n")
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("tcpip: ")]
    assert re.fullmatch(f"tcpip: port 80 is {host}", said)
    assert "refused" not in done.stderr


def test_a_denial_of_ports_holds_for_any_free_one(tmp_path: Path) -> None:
    done = wasmos_("run", "-A", "--deny", "tcpip.listen", GUESTS / "webserver.wasm")
    assert done.stdout == "webserver: can't listen on port 80\n"
    assert "tcpip: port" not in done.stderr


def test_many_refusals_are_counted(made: Make) -> None:
    guest = made(wat.program(f"""
        (loop $again
          (i32.store #1024 #{abi.TcpipListen.TYPE}) (i32.store16 offset=8 #1024 (local.get $i))
          (drop (call $call @tcpip #1024))
          (local.set $i (i32.add (local.get $i) #1))
          (br_if $again (i32.lt_s (local.get $i) #15)))
        #0"""))  # fmt: skip
    lines = wasmos_("run", "--allow", "tcpip.connect", guest).stderr.splitlines()
    assert len([line for line in lines if line.startswith("note: guest was refused")]) == 10
    assert lines[-1] == "note: and 5 more"
    assert len(lines) == 41


def test_everything_with_a_warning(made: Make) -> None:
    warning = "warning: everything is allowed: the program can reach every host that this one can\n"
    for flags in (["-A"], ["--allow-all"], ["--allow", "*"]):
        done = wasmos_("run", *flags, HELLO)
        assert (done.stdout, done.stderr) == ("Hello from WasmOS!\n", warning)
    # What is a warning isn't a note: it is there also when nothing else is to be said.
    assert wasmos_("run", "-q", "-A", HELLO).stderr == warning


def test_rules_and_their_commas(made: Make) -> None:
    rules = 'tcpip.connect(dst_addr=["10.0.0.1", "127.0.0.1"], dst_port=[9, 10]),console'
    assert wasmos_("run", "--allow", rules, made(connecting(9))).returncode == 256 - 7
    done = wasmos_("run", "--allow", "console,,args", HELLO)
    assert (done.returncode, done.stderr[:27]) == (2, "error: no service '' to all")


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--allow", "console.wirte"],
         'rule "console.wirte": console has no message \'wirte\'; did you mean \'write\'?'),
        (["--allow", "tcpip.listen(port=80)"],
         "rule \"tcpip.listen(port=80)\": unknown field 'port' of tcpip.listen; "
         "there is: listen_port"),
        (["--deny", "consol"], "no service 'consol' to deny; did you mean 'console'?"),
        (["--dir", ".::/data:r0"], "directory '.::/data:r0': 'r0' is no mode; "
         'write ":ro", ":rw" or ":overlay", or, if it is in the path, ".::/data:r0:rw"'),
        (["--max-open-files", "0"], "0 open files: a task may have 1 to 65,536"),
        (["--dir", "x::"], "directory 'x::': write HOST::GUEST, for example \"./data::/data:ro\""),
        (["--env", "=1"], "variable '=1': write NAME or NAME=VALUE"),
    ],
)  # fmt: skip
def test_wrong_rules(flags: list[str], error: str) -> None:
    done = wasmos_("run", *flags, HELLO)
    assert (done.returncode, done.stderr) == (2, f"error: {error}\n")


def test_a_policy_for_one_program(made: Make, tmp_path: Path) -> None:
    guest = made(printer("text"))
    policy = tmp_path / "policy.toml"
    policy.write_text("[task.guest]\nallow = ['console.write']")
    assert wasmos_("run", "--policy", policy, guest).stdout == "text"
    assert wasmos_("run", guest, env={"WASMOS_POLICY": str(policy)}).stdout == "text"
    policy.write_text("[run]\nallow = ['console.read']")
    done = wasmos_("run", "--policy", policy, guest)
    assert (done.returncode, done.stdout) == (0, "")
    assert (
        done.stderr
        == f"""\
note: guest was refused console.write
  asked by  task 3 'guest'
  rule      what it holds is for other messages: console.read    ({policy}:2)
  to allow  add  "console.write"  to [task.guest] in {policy}
"""
    )
    policy.write_text("[task.other]")
    done = wasmos_("run", "--policy", policy, guest)
    assert (done.returncode, done.stdout) == (77, "")
    assert done.stderr == (
        f"error: {policy} grants 'guest' nothing; there are: other\n"
        "  to allow something add [task.guest], or [run] for whatever is run\n"
    )
    policy.write_text("[task.guest]\nalow = []")
    done = wasmos_("run", "--policy", policy, guest)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {policy}:2: unknown key 'alow' in [task.guest]; did you mean 'allow'?\n"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_audit_that_a_signal_ends_is_whole(
    made: Make, tmp_path: Path, number: signal.Signals
) -> None:
    log = tmp_path / "audit.jsonl"
    source = printer("ready\n", then=WAITS.removesuffix("#0"))
    with running(
        "run", "--allow", "console", "--timeout", "1h", "--audit", log, made(source)
    ) as guest:
        assert guest.read() == "ready\n"
        guest.signal(number)
        assert guest.end()[0] == 128 + number
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert ("exit", "guest") in [(line["event"], line.get("name")) for line in lines]
    assert lines[-1]["event"] == "close"


def test_an_audit(tmp_path: Path) -> None:
    log = tmp_path / "log"
    flags = ["--allow", "console", "--audit", log, "--audit-calls"]
    assert wasmos_("run", *flags, HELLO).returncode == 0
    lines = wasmos_("audit", log).stdout
    assert "(--allow)" in lines and "console.write" in lines
    assert wasmos_("audit", "--verify", log).returncode == 0


# --- the environment instead of flags -----------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "flags", "stdout"),
    [
        ({"ALLOW": "console.write,args"}, [], "text"),
        ({"ALLOW": "console.write"}, ["--allow", "args"], ""),  # the flag wins
        ({"ALLOW": ""}, [], ""),
        ({"ALLOW_ALL": "1"}, [], "text"),
        ({"ALLOW_ALL": "0"}, [], ""),
        ({"DENY": "console.write"}, ["--allow", "console"], ""),
        # What is denied stays so, whoever denies more.
        ({"DENY": "console.write"}, ["--allow", "console", "--deny", "args"], ""),
    ],
)
def test_rules_from_the_environment(
    made: Make, variables: dict[str, str], flags: list[str], stdout: str
) -> None:
    env = {f"WASMOS_{name}": value for name, value in variables.items()}
    assert wasmos_("run", *flags, made(printer("text")), env=env).stdout == stdout


def test_where_a_rule_was_said_is_said(made: Make) -> None:
    guest = made(printer("text"))
    done = wasmos_("run", guest, env={"WASMOS_ALLOW": "console.read"})
    assert "for other messages: console.read    (WASMOS_ALLOW)\n" in done.stderr
    done = wasmos_("run", guest, env={"WASMOS_ALLOW": "consol"})
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LISTEN", "0:80, 0:81"),
        ("CONNECT", "x.com:443,any"),
        ("ENV", "A, B=1"),
        ("DIR", ".::/a,.::/b"),
    ],
)
def test_lists_from_the_environment(tmp_path: Path, name: str, value: str) -> None:
    log = tmp_path / "log"
    env = {f"WASMOS_{name}": value, "WASMOS_AUDIT": str(log)}
    assert wasmos_("run", HELLO, env=env).returncode == 0
    granted = [json.loads(line) for line in log.read_text().splitlines() if '"grant"' in line]
    origins = [record["origin"] for record in granted if "origin" in record]
    assert origins == [f"WASMOS_{name}"] * len(origins) and len(origins) >= 2


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
    command = f"{' '.join(WASMOS)} run --allow console {guest} {streams}"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=False, env=environment()
    )
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert done.stderr in ("", "error: no space left on device\n")


def test_what_check_prints_to_a_broken_pipe(tmp_path: Path) -> None:
    command = f"{{ {' '.join(WASMOS)} check {HELLO}; echo $? >{tmp_path}/status; }} | true"
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


# --- limits -------------------------------------------------------------------------------------

GROWS = wat.program("(i32.eq (memory.grow #{pages}) #-1)".replace("{pages}", "32"))  # by 2 MiB


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        ("2MiB", False), ("2.1M", True), ("2163KiB", True), ("2162688", True), ("2162687B", False),
        ("2k", None), ("3MB", True), ("2 MiB", False), ("1g", True), ("1TiB", True), ("0", None),
    ],
)  # fmt: skip
def test_the_units_of_max_memory(made: Make, size: str, fits: bool | None) -> None:
    done = wasmos_("run", "--max-memory", size, made(GROWS))
    if fits is None:
        assert done.returncode == 126 and "raise the task's memory limit" in done.stderr
    else:
        assert done.returncode == int(not fits)


def test_what_it_has_by_default(made: Make) -> None:
    """More than 64 MiB, and no more than 1 GiB: 16,384 pages, of which it has one."""
    grow = "(i32.eq (memory.grow #{pages}) #-1)"
    for pages, fits in ((2_000, True), (16_383, True), (16_384, False)):
        program = made(wat.program(grow.replace("{pages}", str(pages))))
        assert wasmos_("run", program).returncode == int(not fits)


def test_what_compiling_may_take(made: Make) -> None:
    program = made(wat.program("#0"))
    for flag, value in (("--compile-timeout", "1ns"), ("--compile-memory", "1MiB")):
        done = wasmos_("run", "--no-cache", flag, value, program)
        assert done.returncode == 126 and f"to allow more: {flag}" in done.stderr


@pytest.mark.parametrize(
    ("flag", "value", "error"),
    [
        ("--max-memory", "1x", "'1x' is not a size like 64MiB"),
        ("--max-memory", "MiB", "'MiB' is not a size like 64MiB"),
        ("--max-memory", "-1", "'-1' is not a size"),
        ("--max-memory=-1", None, "'-1' is not a size"),
        ("--max-memory", "nan", "'nan' is not a size"),
        ("--max-memory", "inf", "'inf' is not a size"),
        ("--max-memory", "1e30", "'1e30' is too much"),
        ("--timeout", "5 parsecs", "'5 parsecs' is not a time like 5s or 250ms"),
        ("--timeout", "", "'' is not a time"),
        ("--timeout", "1e300h", "'1e300h' is too much"),
        ("--cpu", "1:30", "'1:30' is not a time"),
        ("--cpu", "99999999999999999999", "is too much"),
    ],
)
def test_wrong_limits(flag: str, value: str | None, error: str) -> None:
    done = wasmos_("run", flag, *([] if value is None else [value]), HELLO)
    assert done.returncode == 2
    assert f"argument {flag.split('=')[0]}: " in done.stderr and error in done.stderr


@pytest.mark.parametrize("flag", ["timeout", "cpu", "max-memory"])
def test_limits_from_the_environment(made: Make, flag: str) -> None:
    variable = "WASMOS_" + flag.replace("-", "_").upper()
    wrong = wasmos_("run", HELLO, env={variable: "abc"})
    assert wrong.returncode == 2
    assert f"argument --{flag}: {variable}: 'abc' is not a " in wrong.stderr
    assert wasmos_("run", HELLO, env={variable: ""}).returncode == 0  # as if it weren't there
    good = {"max-memory": "64k"}.get(flag, "10ms")
    done = wasmos_("run", made(GROWS if "memory" in flag else wat.SPIN), env={variable: good})
    assert done.returncode == (1 if "memory" in flag else 124)
    # The flag wins, even over nonsense.
    assert wasmos_("run", f"--{flag}", "10", HELLO, env={variable: "abc"}).returncode in (0, 126)


# --- files and sockets --------------------------------------------------------------------------

READS = wat.program(
    f"""
    (i32.store #1024 #{abi.FsOpen.TYPE})
    (memory.copy (i32.const 1032) (i32.const 512) (i32.const 8))
    (drop (call $call @fs #1024))
    (if (i32.lt_s (i32.load #1024) #0) (then (return (i32.load #1024))))
    (local.set $i (i32.load offset=8 #1024))
    (i32.store #1024 #{abi.FsRead.TYPE}) (i32.store offset=8 #1024 (local.get $i))
    (i32.store offset=12 #1024 #100)
    (drop (call $call @fs #1024))
    (i32.store #1024 #{abi.ConsoleWrite.TYPE})
    (drop (call $call @console #1024)) #0""",
    fields='(data (i32.const 512) "note.txt")',
)


@pytest.mark.parametrize("kind", ["directory", "tar"])
def test_files_are_a_copy(made: Make, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "files"
    source.mkdir()
    (source / "note.txt").write_text("a note")
    (source / "link").symlink_to("note.txt")
    if kind == "tar":
        (source / "link").unlink()
        with tarfile.open(tmp_path / "files.tar", "w") as archive:
            archive.add(source / "note.txt", "note.txt")
        source = tmp_path / "files.tar"
    done = wasmos_("run", "--files", source, "--allow", "console", made(READS))
    assert (done.returncode, done.stdout) == (0, "a note")
    expected = "fs: left out link, which is a symbolic link\n" if kind == "directory" else ""
    assert done.stderr == expected
    # Without the flag there are no files, but there is a server to say so.
    assert wasmos_("run", "-q", "--allow", "fs", made(READS)).returncode == 256 - 7


@pytest.mark.parametrize(
    "arguments",
    [["run", "--policy", "no.toml", HELLO], ["boot", "no.toml"], ["check", "no.toml"],
     ["run", "--files", "no.toml", HELLO], ["audit", "no.toml"]],
)  # fmt: skip
def test_127_is_for_the_program_alone(tmp_path: Path, arguments: list[str]) -> None:
    done = wasmos_(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: no.toml: no such file or directory\n")


def test_output_that_is_cut_is_noted(made: Make) -> None:
    done = wasmos_("run", "--allow", "console", "--max-output", "5", HELLO)
    assert (done.returncode, done.stdout) == (0, "Hello")
    assert done.stderr == (
        "note: hello may print 5 bytes, and the rest was left out; to allow more: --max-output\n"
    )
    done = wasmos_("run", "--allow", "console", "--max-output", "19", HELLO)
    assert (done.stdout, done.stderr) == ("Hello from WasmOS!\n", "")


WASI = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_size"
    (func $resize (param i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "\\10\\00\\00\\00\\06\\00\\00\\00Hello\\n")
  (func (export "_start") {}))"""


def test_a_wasi_program_that_prints_too_much_is_ended(made: Make) -> None:
    endless = (
        "(loop (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0))) (br 0))"
    )
    program = made(WASI.format(endless))
    done = wasmos_("run", "--max-output", "15", program)
    assert (done.returncode, done.stdout) == (137, "Hello\nHello\nHel")
    said = "'guest' printed more than it may: 15 bytes; to allow more: --max-output\n"
    assert re.fullmatch(rf"error: task \d+ {said}", done.stderr)
    assert wasmos_("run", "-q", "--max-output", "15", program).stderr == ""


def test_what_a_wasi_program_is_called(made: Make) -> None:
    program = made(SAYS_ARGUMENTS)
    assert wasmos_("run", program, "a").stdout == "guest.wat a "
    assert wasmos_("run", "--argv0", "ls", program, "--argv0", "b").stdout == "ls --argv0 b "
    assert wasmos_("run", program, env={"WASMOS_ARGV0": "ls"}).stdout == "ls "


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


def test_a_module_from_standard_input(made: Make) -> None:
    """There is nothing left of the input for the program."""
    done = wasmos_("run", "--allow", "console", "-", input=reader(at_end=3))
    assert (done.returncode, done.stderr) == (3, "")
    done = wasmos_("run", "-", "a", input=SAYS_ARGUMENTS)
    assert done.stdout == "stdin a "
    assert wasmos_("run", "-", input=b"").returncode == 126


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


def test_a_function_is_called_and_its_results_are_printed(made: Make) -> None:
    library = made(LIBRARY, "lib")
    done = wasmos_("run", "--invoke", "turn", library, "-1", "0xff", "0.5", "-1e3")
    assert (done.returncode, done.stdout, done.stderr) == (0, "-1000\n0.5\n255\n-1\n", "")
    done = wasmos_("run", "-q", library, "7", env={"WASMOS_INVOKE": "i32"})
    assert (done.returncode, done.stdout) == (0, "7\n")
    done = wasmos_("run", "--invoke", "i32", library, "--", "-7")
    assert (done.returncode, done.stdout) == (0, "-7\n")


def test_results_come_after_what_the_function_prints(made: Make) -> None:
    prints = """(drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0))))
      (func (export "f") (result i32)
        (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0))"""
    assert wasmos_("run", "--invoke", "f", made(WASI.format(prints))).stdout == "Hello\n0\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["i32"], 2, "error: 'i32' takes (i32), and was given none\n"),
        (
            ["i32", "x"],
            2,
            "error: argument 1 of 'i32' is an i32, and not 'x'; write a whole number",
        ),
        (["i23", "1"], 2, "error: lib exports no function 'i23'; did you mean 'i32'?\n"),
        (["traps"], 134, "error: task 2 'lib' trapped: unreachable executed\n  at traps"),
        (["spins"], 124, "error: task 2 'lib' reached its deadline: after 0.1 s\n"),
    ],
)
def test_functions_that_fail(made: Make, words: list[str], code: int, said: str) -> None:
    invoke, *args = words
    library = made(LIBRARY, "lib")
    done = wasmos_("run", "--timeout", "100ms", "--invoke", invoke, library, *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(said)


def test_a_library_is_told_what_it_is(made: Make) -> None:
    done = wasmos_("run", made(LIBRARY, "lib"))
    assert done.returncode == 126
    assert done.stderr.startswith(
        "error: lib: nothing to run by itself: it is a library, whose functions others call: 'i32'"
    )
    assert "; to call one: wasmos run --invoke i32; " in done.stderr


@pytest.mark.parametrize(("size", "code"), [("1KiB", 0), ("1023", 51)])
def test_files_in_memory_are_limited(made: Make, size: str, code: int) -> None:
    program = made(
        WASI.format(
            """(if (call $open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 5)
                   (i32.const 1) (i64.const 0x1fffffff) (i64.const 0) (i32.const 0) (i32.const 0))
                 (then unreachable))
               (call $exit (call $resize (i32.load (i32.const 0)) (i64.const 1024)))"""
        )
    )
    done = wasmos_("run", "--allow", "fs", "--max-files", size, program)
    assert (done.returncode, done.stderr) == (code, "")


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


IN_MEMORY = "  these are files in memory; for a directory of this machine: --dir HOST::GUEST\n"


@pytest.mark.parametrize(
    ("flags", "notes"),
    [
        ([], "note: guest was refused fs; to allow: --allow fs\n" + IN_MEMORY),
        (["--allow", "fs.mkfile"],
         "note: guest was refused fs.open(path=\"/note.txt\")\n  asked by  task 3 'guest'\n"
         "  rule      what it holds is for other messages: fs.mkfile    (--allow)\n"
         "  to allow  --allow 'fs.open(path=\"/note.txt\")'\n" + IN_MEMORY),
        (["--dir", "{tmp}::/d", "--deny", "fs.open"],
         "note: guest was refused fs.open(path=\"/note.txt\")\n  asked by  task 3 'guest'\n"
         "  rule      a rule denies it: fs.open    (--deny)\n"
         "  to allow  take out fs.open (--deny)\n"),
    ],
)  # fmt: skip
def test_what_the_right_to_files_is_for(
    made: Make, tmp_path: Path, flags: list[str], notes: str
) -> None:
    guest = made(sends(("fs", abi.FsOpen("note.txt", 0))))
    done = wasmos_("run", *(flag.format(tmp=tmp_path) for flag in flags), guest)
    assert re.sub(r"task \d+", "task 3", done.stderr) == notes


@pytest.mark.parametrize("flag", ["--dir", "--files"])
def test_what_is_neither_a_directory_nor_an_archive(tmp_path: Path, flag: str) -> None:
    """Whatever there is: an answer, at once, and what to name instead."""
    (tmp_path / "empty").touch()
    (tmp_path / "text.txt").write_text("text\n" * 1000)
    os.mkfifo(tmp_path / "fifo")
    os.mknod(tmp_path / "socket", 0o600 | stat.S_IFSOCK)
    kinds = "a zip or tar file" if flag == "--dir" else "a tar file"
    what = "directory; name a directory" if flag == "--dir" else "archive"
    for name, said in [
        ("empty", f"neither a directory nor {kinds}"),
        ("text.txt", f"neither a directory nor {kinds}"),
        ("fifo", f"a fifo and no {what}"),
        ("socket", f"a socket and no {what}"),
        ("/dev/tty", f"a device and no {what}"),
    ]:
        done = wasmos_("run", flag, tmp_path / name, HELLO)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert f"{name}" in done.stderr and done.stderr.rstrip("'\n?").endswith(said), done.stderr


def test_files_that_are_none(tmp_path: Path) -> None:
    done = wasmos_("run", "--files", tmp_path / "none", HELLO)
    assert (done.returncode, done.stderr) == (
        2, f"error: {tmp_path}/none: no such file or directory\n",
    )  # fmt: skip
    (tmp_path / "broken.tar").write_text("not an archive" * 100)
    done = wasmos_("run", "--files", tmp_path / "broken.tar", HELLO)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {tmp_path}/broken.tar: ")


def test_listen_and_a_request() -> None:
    with running(
        "run", "--listen", "0:80", "--allow", "console", GUESTS / "webserver.wasm"
    ) as guest:
        port = guest.port()
        assert guest.read() == "webserver: listening on port 80\n"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.status == 200 and b"Hello from WasmOS" in answer.read()
        connection.close()
        guest.signal(signal.SIGINT)
        assert guest.end()[0] == 130


@pytest.mark.parametrize(
    ("port", "error"),
    [("80", "write HOST:GUEST"), ("x:80", "'x' is no port"), ("1.2.3:4:80", "no numeric address"),
     ("70000:80", "is no port"), ("0:0", "a guest's port is 1 to"), ("", "write HOST:GUEST")],
)  # fmt: skip
def test_wrong_ports(port: str, error: str) -> None:
    done = wasmos_("run", f"--listen={port}", HELLO)
    assert done.returncode == 2 and error in done.stderr


def connecting(port: int) -> str:
    """Connects to 127.0.0.1. Exit code: the type of the answer, or of the call's failure."""
    return wat.program(f"""
        (i32.store #1024 #{abi.TcpipConnect.TYPE}) (i32.store offset=8 #1024 #0x7f000001)
        (i32.store16 offset=12 #1024 #{port})
        (local.set $i (call $call @tcpip #1024))
        (select (local.get $i) (i32.load #1024) (local.get $i))""")


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ([], None), (["none"], None), (["any"], False), (["all"], True), (["127.0.0.0/8"], True),
        (["127.0.0.1:PORT"], True), (["127.0.0.1:1"], False), (["any", "127.0.0.1"], True),
    ],
)  # fmt: skip
def test_where_it_may_connect_to(made: Make, rules: list[str], allowed: bool | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        flags = [f"--connect={rule.replace('PORT', str(port))}" for rule in rules]
        done = wasmos_("run", "-q", "--allow", "tcpip", *flags, made(connecting(port)))
    if allowed:
        assert done.returncode == abi.TcpipConnectReply.TYPE
    else:
        assert done.returncode == 256 - 8


@pytest.mark.parametrize(
    ("rule", "error"),
    [("al", "no destination 'al'; did you mean 'all'?"), ("10.0.0.0/99", "10.1.0.0/16"),
     ("any:0", "a port is 1 to 65535"), ("1.2.3", "write a name, \"any\", an IPv4 address"),
     ("localhost:80", "that is this host; write 127.0.0.1:80"), ("db:80", "a name has a dot")],
)  # fmt: skip
def test_wrong_destinations(rule: str, error: str) -> None:
    done = wasmos_("run", "--connect", rule, HELLO)
    assert done.returncode == 2 and error in done.stderr
    done = wasmos_("run", "--connect", "none", "--connect", "any", HELLO)
    assert done.stderr == 'error: destination "none" stands alone\n'


# It wants as much memory as it has, again and again, until that is refused.
GREEDY = wat.program("(loop (br_if 0 (i32.ne (memory.grow (memory.size)) #-1))) unreachable")


def test_a_program_that_is_refused_memory(made: Make, tmp_path: Path) -> None:
    """It ends as if for no reason: the limit is said where people look."""
    log = tmp_path / "log.jsonl"
    done = wasmos_("run", "--max-memory", "3MiB", "--audit", log, made(GREEDY))
    lines = done.stderr.splitlines()
    assert done.returncode == 134
    end = "trapped: unreachable executed; it had 2,097,152 of 3,145,728 bytes of memory"
    assert lines[0].endswith(end)
    assert lines[-1] == (
        "note: guest may have been refused memory: it had 2.0 MiB, of 3.0 MiB at most; "
        "to allow more: --max-memory 6MiB"
    )
    ends = [json.loads(line) for line in log.read_text().splitlines()]
    assert any(each["event"] == "exit" and each["reason"].endswith(end) for each in ends)
    assert wasmos_("run", "-q", "--max-memory", "3MiB", made(GREEDY)).stderr == ""


def test_a_program_that_traps_with_memory_left(made: Make) -> None:
    done = wasmos_("run", made(wat.program("unreachable")))
    assert "memory" not in done.stderr


def test_a_trap_with_all_descriptors_in_use(tmp_path: Path) -> None:
    """What a program keeps open mustn't keep anybody from being told how it ended."""
    import resource

    (tmp_path / "p.wat").write_text("""(module
        (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "f")
        (func (export "_start")
            (loop (br_if 0 (i32.eqz (call $open (i32.const 3) (i32.const 0) (i32.const 0)
                (i32.const 1) (i32.const 1) (i64.const 2) (i64.const 0) (i32.const 0)
                (i32.const 16)))))
            unreachable))""")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    done = wasmos_(
        "run", "--max-open-files", "1000", "--dir", f"{tmp_path}::/d", tmp_path / "p.wat",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard)),
    )  # fmt: skip
    assert done.returncode == 134, done.stderr
    assert "trapped: unreachable" in done.stderr
