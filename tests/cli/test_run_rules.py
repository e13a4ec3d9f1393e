"""`wasmos run`: what a program may do, by flags, a policy and the environment."""

from __future__ import annotations

import json
import re
import shlex
import signal
from pathlib import Path

import pytest

from tests.support import wat
from tests.support.command import GUESTS, HELLO, Make, running, wasmos_
from tests.support.sender import sends
from tests.support.talkers import AGAIN, WAITS, connecting, printer
from wasmos import abi
from wasmos.system.allowance import SERVICES

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


@pytest.mark.parametrize(
    ("flags", "what", "rule"),
    [
        (["--allow", "console.write once"], "console", "console.write once"),
        (["--allow", "console.write once,console.read"], "console.write", "console.write once"),
    ],
)
def test_what_is_used_up(made: Make, flags: list[str], what: str, rule: str) -> None:
    """Of a lookup and of a message: another rule for it isn't what it takes."""
    done = wasmos_("run", *flags, made(printer("text", then=AGAIN)))
    assert (done.returncode, done.stdout) == (0, "text")
    assert re.sub(r"task \d+", "task 3", done.stderr).splitlines() == [
        f"note: guest was refused {what}",
        "  asked by  task 3 'guest'",
        f"  rule      what granted it is used up: {rule}    (--allow)",
        "  to allow  let it be used more often, or grant it again while it runs: "
        f"wasmos grant guest '{rule}'",
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
    with running("run", *flags, GUESTS / "webserver.wasm") as guest:
        assert guest.read() == "webserver: listening on port 80\n"
        guest.signal(signal.SIGINT)
        status, stdout, stderr = guest.end()
    assert (status, stdout) == (130, "")
    (said,) = [line for line in stderr.splitlines() if line.startswith("tcpip: ")]
    assert re.fullmatch(f"tcpip: port 80 is {host}", said)
    assert "refused" not in stderr


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
