"""`wasmos.run`: one program from Python, in the manner of `subprocess.run`."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wasmos
from tests.support import talkers, wat
from tests.support.command import HELLO
from tests.support.modules import EXIT_1, looks
from tests.support.sender import sends
from tests.support.talkers import SAYS_ARGUMENTS, printer, reader
from wasmos import _core, abi
from wasmos.errors import NotGranted
from wasmos.system.allowance import Said


def test_captured_output() -> None:
    done = wasmos.run(HELLO, ["Ann"], allow=["console"], capture_output=True)
    assert (done.returncode, done.stdout, done.denied) == (
        0, b"Hello from WasmOS!\nMy arguments: Ann\n", (),
    )  # fmt: skip
    done.check_returncode()
    assert repr(done) == "<Completed task 4 'hello' exited with code 0>"


def test_output_is_limited() -> None:
    """A program that prints for ever, and one that prints a byte too many."""
    endless = talkers.flooder("1234567")
    done = wasmos.run(
        endless, allow=["console"], capture_output=True, output_limit=5000, timeout=0.2
    )
    assert done.stdout is not None and 4993 <= len(done.stdout) <= 5000
    assert done.exit.cause == "deadline"
    whole = wasmos.run(printer("12345"), allow=["console"], capture_output=True, output_limit=5)
    assert whole.stdout == b"12345"
    cut = wasmos.run(printer("123456"), allow=["console"], capture_output=True, output_limit=5)
    assert cut.stdout in (b"", b"12345")


def test_captured_output_of_a_program_that_prints_nothing() -> None:
    assert wasmos.run(wat.program("#0"), capture_output=True).stdout == b""
    assert wasmos.run(wat.program("#0")).stdout is None


def test_output_to_a_stream(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    stream = io.BytesIO()
    wasmos.run(printer("into it"), allow=["console"], output=stream)
    assert stream.getvalue() == b"into it"
    wasmos.run(printer("out"), allow=["console"])
    assert capfdbinary.readouterr() == (b"out", b"")


@pytest.mark.parametrize("data", [b"", b"abc", b"\0\xff" * 5000])
def test_input_as_bytes_or_a_stream(data: bytes, tmp_path: Path) -> None:
    expected = bytearray(data)
    for start in range(0, len(data), 1024):
        expected[start] ^= 32
    (tmp_path / "input").write_bytes(data)
    with open(tmp_path / "input", "rb") as file:
        for source in (data, io.BytesIO(data), file):
            done = wasmos.run(reader(), allow="console", input=source, capture_output=True)
            assert (done.returncode, done.stdout) == (0, bytes(expected))


def test_without_input_there_is_none() -> None:
    assert wasmos.run(reader(at_end=3), allow=["console"]).returncode == 3


def test_what_was_denied() -> None:
    done = wasmos.run(HELLO)
    assert (done.returncode, done.denied) == (0, ("args", "console"))


@pytest.mark.parametrize(
    ("source", "options", "status", "error"),
    [
        (wat.program("#7"), {}, 7, wasmos.GuestExit),
        (wat.program("#-1"), {}, 255, wasmos.GuestExit),
        (wat.TRAP, {}, 134, wasmos.GuestTrap),
        (wat.SPIN, {"limits": wasmos.Limits(cpu_seconds=0.01)}, 124, wasmos.DeadlineExceeded),
        (wat.SPIN, {"timeout": 0.01}, 124, wasmos.DeadlineExceeded),
        (wat.SLEEP, {"timeout": 0.01}, 124, wasmos.DeadlineExceeded),
        (wat.SLEEP, {"timeout": 0}, 124, wasmos.DeadlineExceeded),
        (wat.SPIN, {"limits": wasmos.Limits(deadline_seconds=0.01)}, 124, wasmos.DeadlineExceeded),
    ],
)
def test_ends_and_their_exceptions(
    source: str, options: dict[str, object], status: int, error: type[wasmos.TaskFailed]
) -> None:
    done = wasmos.run(source, **options)  # type: ignore[arg-type]
    assert done.returncode == status
    with pytest.raises(error) as caught:
        done.check_returncode()
    assert caught.value.exit is done.exit


def test_what_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(wasmos.ModuleRefused):
        wasmos.run("(module)")
    with pytest.raises(wasmos.ModuleRefused):
        wasmos.run(b"\0asm")
    with pytest.raises(FileNotFoundError):
        wasmos.run(tmp_path / "none.wasm")
    with pytest.raises(IsADirectoryError):
        wasmos.run(tmp_path)
    with pytest.raises(wasmos.ModuleRefused, match="limit"):
        wasmos.run(wat.program("#0"), limits=wasmos.Limits(memory_bytes=1))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"allow": ["consol"]}, "did you mean 'console'"),
        ({"args": "text"}, "args is a list of strings"),
        ({"args": Path("x")}, "args is a list of strings"),
        ({"args": [1]}, "arguments are strings or paths"),
        ({"args": [b"x"]}, "arguments are strings or paths"),
        ({"dirs": [1]}, "a directory is a text or a path, not 1"),
        ({"listen": ["80"]}, "write HOST:GUEST"),
        ({"connect": "anny"}, "did you mean 'any'"),
        ({"allow": ["console.wirte"]}, "console has no message 'wirte'; did you mean 'write'"),
        ({"deny": "consol"}, "no service 'consol' to deny; did you mean 'console'"),
        ({"deny": 'fs(mode="ro")'}, "a rule that denies is about messages, whatever their mode"),
        ({"dirs": "nowhere"}, "nowhere'?: no such file or directory; name a directory"),
        ({"env": "=x"}, "write NAME or NAME=VALUE"),
        ({"connect": ["none", "all"]}, "stands alone"),
        ({"files": "/nowhere/at/all"}, "/nowhere/at/all: no such file or directory"),
        ({"timeout": "5s"}, "timeout is a number of seconds, not '5s'"),
    ],
)
def test_wrong_use(options: dict[str, object], error: str) -> None:
    with pytest.raises(wasmos.UsageError, match=error):
        wasmos.run(wat.program("#0"), **options)  # type: ignore[arg-type]


def test_what_is_read_may_be_a_text() -> None:
    program = """(module
      (import "wasi_snapshot_preview1" "fd_read"
        (func $read (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1) (data (i32.const 0) "\\10\\00\\00\\00\\40\\00\\00\\00")
      (func (export "_start")
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $exit (i32.load (i32.const 8)))))"""
    assert wasmos.run(program, input="für").returncode == 4
    assert wasmos.run(program, input=b"for").returncode == 3
    assert wasmos.run(program).returncode == 0


def test_paths_are_arguments(tmp_path: Path) -> None:
    """As in `subprocess.run`."""
    done = wasmos.run(
        str(HELLO), [Path("a/b"), "c"], allow="console", dirs={tmp_path: "/data:ro"},
        policy=None, audit=tmp_path / "log.jsonl", capture_output=True,
    )  # fmt: skip
    assert done.stdout == b"Hello from WasmOS!\nMy arguments: a/b, c\n"
    found = origins(wat.program("#0"), args=[tmp_path], dirs=[tmp_path, f"{tmp_path}::/x:ro"])
    assert found == [
        ("args", "its args"),
        (f'fs(dir="{tmp_path}", at="{tmp_path}", mode="rw")', "--dir"),
        (f'fs(dir="{tmp_path}", at="/x", mode="ro")', "--dir"),
    ]


def test_an_argument_that_programs_could_not_be_told() -> None:
    """Many would go on as if they had none."""
    assert wasmos.run(HELLO, ["x" * 1023], allow="console").returncode == 0
    with pytest.raises(wasmos.UsageError, match="argument 2 has 1,024 bytes, the most is 1,023"):
        wasmos.run(HELLO, ["x", "ü" * 512], allow="console")
    with pytest.raises(wasmos.UsageError, match="argv0 has 1,024 bytes, the most is 1,023"):
        wasmos.run(HELLO, argv0="x" * 1024, allow="console")


LONGEST = (128 << 10) - 1


def test_what_programs_for_wasi_are_told() -> None:
    """As much as elsewhere."""
    args = ["x" * LONGEST, "ü" * 40_000, *["y" * 100_000] * 7]
    done = wasmos.run(SAYS_ARGUMENTS, args, argv0="p", capture_output=True)
    assert done.stdout == " ".join(["p", *args, ""]).encode()
    assert wasmos.run(COUNTS, env={"A": "x" * (LONGEST - 2), "B": ""}).returncode == 2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"args": ["", "x" * (LONGEST + 1)]}, "argument 2 has 131,072 bytes, the most is 131,071"),
        ({"args": ["x" * 100_000] * 11}, "the arguments have 1,100,011 bytes together, the most"),
        ({"args": ["a\0b"]}, "argument 1 has a NUL in it"),
        ({"args": ["\ud800"]}, "argument 1 has half a character in it"),
        ({"argv0": "x" * (LONGEST + 1)}, "argv0 has 131,072 bytes, the most is 131,071"),
        ({"argv0": "p" * 100_000, "args": ["x" * 100_000] * 10}, "the arguments have 1,100,011"),
        ({"argv0": "a\0b"}, "argv0 has a NUL in it"),
        ({"env": {"A": "x" * (LONGEST - 1)}}, "variable A has 131,072 bytes, the most is 131,071"),
        ({"env": {f"A{i}": "x" * 100_000 for i in range(11)}}, "the variables have 1,100,"),
        ({"env": {"A": "a\0b"}}, "variable A has a NUL in it"),
        ({"env": {"A": "\ud800"}}, "variable A has half a character in it"),
    ],
)
def test_what_nobody_is_told(options: dict[str, Any], error: str) -> None:
    with pytest.raises(wasmos.UsageError, match=error):
        wasmos.run(COUNTS, **options)


def test_a_text_is_a_list_of_one() -> None:
    wasmos.run(wat.program("#0"), allow="console", listen="0:80", connect="any")


def test_a_program_that_waits_for_nothing() -> None:
    with pytest.raises(wasmos.Deadlock, match="'module' is receiving"):
        wasmos.run(wat.SLEEP)


def test_the_name_is_what_it_is_called() -> None:
    assert wasmos.run(wat.TRAP, name="mine").exit.name == "mine"


def test_many_in_a_row_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    before = _core.live_objects()
    for number in range(10):
        wasmos.run(
            printer("x", code=number % 2), ["a"], allow=["console", "vm", "pong"],
            files=tmp_path, listen=["0:80"], timeout=10, capture_output=True,
        )  # fmt: skip
        with pytest.raises(wasmos.ModuleRefused):
            wasmos.run("(module)", allow=["console", "fs"])
        assert _core.live_objects() == before


def test_in_threads_at_once() -> None:
    results: dict[int, bytes | None] = {}

    def work(number: int) -> None:
        guest = printer(f"number {number}", code=number)
        results[number] = wasmos.run(guest, allow=["console"], capture_output=True).stdout

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: f"number {number}".encode() for number in range(8)}


def test_beside_a_running_loop_in_a_thread_of_its_own() -> None:
    async def main() -> bytes | None:
        beats = 0

        async def heart() -> None:
            nonlocal beats
            while True:
                await asyncio.sleep(0)
                beats += 1

        beating = asyncio.create_task(heart())
        done = await asyncio.to_thread(
            wasmos.run, reader(), allow=["console"], input=b"abc", capture_output=True
        )
        beating.cancel()
        assert beats > 0
        return done.stdout

    assert asyncio.run(main()) == b"Abc"


def test_in_a_running_loop_it_says_what_to_use_instead() -> None:
    async def main() -> None:
        # Nothing here needs the loop: it just takes its time.
        assert wasmos.run(wat.program("#3")).returncode == 3
        with pytest.raises(wasmos.UsageError, match="AsyncKernel"):
            wasmos.run(reader(), allow=["console"], input=b"x")

    asyncio.run(main())


def test_ctrl_c_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(io.BytesIO):
        def write(self, data: object) -> int:
            raise KeyboardInterrupt

    before = _core.live_objects()
    with pytest.raises(KeyboardInterrupt):
        wasmos.run(talkers.ENDLESS, allow=["console"], output=Interrupted())
    assert _core.live_objects() == before


@pytest.mark.parametrize("error", [ValueError, OSError, RuntimeError])
@pytest.mark.parametrize("stream", ["output", "errors"])
def test_what_a_function_for_output_raises(
    caplog: pytest.LogCaptureFixture, error: type[Exception], stream: str
) -> None:
    """It is the host's mistake, and ends the program: no guest could make anything of it."""

    def take(data: bytes) -> None:
        taken.append(data)
        raise error("mine")

    taken: list[bytes] = []
    number = {"output": 1, "errors": 2}[stream]
    program = (
        '(module (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32)'
        ' (result i32))) (memory (export "memory") 1) (data (i32.const 8) "hello")'
        ' (func (export "_start") (i32.store (i32.const 0) (i32.const 8))'
        " (i32.store (i32.const 4) (i32.const 5)) (loop $again (drop (call $w"
        f" (i32.const {number}) (i32.const 0) (i32.const 1) (i32.const 16))) (br $again))))"
    )
    with pytest.raises(error, match="mine"):
        wasmos.run(program, **{stream: take})
    assert taken == [b"hello"] and not caplog.records


def test_a_function_for_output() -> None:
    taken: list[bytes] = []
    wasmos.run(printer("into it"), allow=["console"], output=taken.append)
    assert taken == [b"into it"]


def test_an_output_of_text_is_none() -> None:
    with pytest.raises(
        wasmos.UsageError, match=r"an output takes bytes, and <_io.StringIO .* takes text"
    ):
        wasmos.run(printer("x"), allow=["console"], output=io.StringIO())


@pytest.mark.parametrize("broken", [OSError(28, "full"), ValueError("closed"), BrokenPipeError()])
def test_an_output_that_is_broken_is_the_guests_error(broken: Exception) -> None:
    class Broken(io.BytesIO):
        def write(self, data: object) -> int:
            raise broken

    assert wasmos.run(printer("x"), allow=["console"], output=Broken()).returncode == 0


# --- rights -------------------------------------------------------------------------------------


def origins(source: str, **options: object) -> list[tuple[str, str]]:
    """What a run is granted and denied, and who said so."""
    found: list[tuple[str, str]] = []

    def look(kernel: wasmos.Kernel, task: wasmos.Task) -> Callable[[wasmos.Denial], bool]:
        found.extend((f"{'not ' * g.deny}{g.rule}", g.origin) for g in task.grants)
        return lambda _: False

    wasmos.run(source, ask=look, **options)  # type: ignore[arg-type]
    return found


def test_each_right_knows_who_said_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.toml").write_text(
        "[default]\ndeny = ['vm']\n[task.mine]\nallow = ['echo',\n'args']\n"
    )
    found = origins(
        wat.program("#0"), name="mine", args=["x"], allow=["console.write", Said("pong", "said")],
        deny=["console.read"], policy="p.toml", dirs=".::/d:ro", listen="0:80",
        connect=["10.0.0.0/8", "x.com:443"], env=["A", "B=1"], files=tmp_path,
    )  # fmt: skip
    assert found == [
        ("not console.read", "deny="),
        ("not vm", "p.toml:2"),
        ("console.write", "allow="),
        ("pong", "said"),
        ("args", "its args"),
        ("fs", "--files"),
        (f'fs(dir="{tmp_path}", at="/d", mode="ro")', "--dir"),
        ('tcpip.listen(bind="127.0.0.1:0", listen_port=80)', "--listen"),
        ('tcpip.connect(dst_addr="10.0.0.0/8")', "--connect"),
        ('tcpip.dns_resolve(hostname="x.com")', "--connect"),
        ('tcpip.connect(host="x.com", dst_port=443)', "--connect"),
        ('env.get(name="A")', "--env"),
        ('env.get(name="B")', "--env"),
        ("echo", "p.toml:4"),
    ]


@pytest.mark.parametrize(
    ("rules", "implied"),
    [
        ("'pong'", True),
        ("""'fs(dir="/tmp", at="/d")'""", True),
        ("""'fs.open(path="a")'""", False),
        ("'fs'", False),
        ("'*'", False),
    ],
)
def test_files_are_no_reason_for_more_than_a_policy_says(
    tmp_path: Path, rules: str, implied: bool
) -> None:
    policy = tmp_path / "p.toml"
    policy.write_text(f"[run]\nallow = [{rules}]\n")
    found = origins(wat.program("#0"), policy=policy, files=tmp_path)
    assert (("fs", "--files") in found) == implied


def test_connect_none_is_a_rule_that_denies() -> None:
    assert origins(wat.program("#0"), allow="tcpip", connect="none") == [
        ("not tcpip.connect", "--connect none"),
        ("not tcpip.dns_resolve", "--connect none"),
        ("tcpip", "allow="),
    ]


def test_connect_none_from_the_environment_says_so() -> None:
    none = Said("none", "WASMOS_CONNECT")
    assert origins(wat.program("#0"), allow="tcpip", connect=[none])[:2] == [
        ("not tcpip.connect", "WASMOS_CONNECT"),
        ("not tcpip.dns_resolve", "WASMOS_CONNECT"),
    ]


def test_a_rule_for_one_message() -> None:
    done = wasmos.run(printer("x"), allow=["console.write"], capture_output=True)
    assert (done.stdout, done.denials) == (b"x", [])
    done = wasmos.run(printer("x"), allow=["console.read"], capture_output=True)
    assert (done.stdout, done.denied) == (b"", ())
    assert [(d.message, d.rule, d.cause) for d in done.denials] == [
        ("console.write", "console.write", "message"),
    ]  # fmt: skip


def test_deny_wins() -> None:
    done = wasmos.run(printer("x"), allow="*", deny=["console.write"], capture_output=True)
    assert done.stdout == b"" and [d.cause for d in done.denials] == ["denied"]


GETS = wat.program(
    f"""(i32.store #1024 #{abi.EnvGet.TYPE})
    (memory.copy (i32.const 1032) (i32.const 512) (i32.const 16))
    (local.set $i (call $call @env #1024))
    (if (local.get $i) (then (return (local.get $i))))
    (if (i32.lt_s (i32.load #1024) #0) (then (return (i32.load #1024))))
    (i32.load8_u #1032)""",
    fields='(data (i32.const 512) "NAME\\00")',
)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"env": "NAME=given"}, ord("g")),
        ({"env": "NAME"}, ord("h")),
        ({"env": {"NAME": "given"}}, ord("g")),
        ({"env": ["OTHER"]}, 256 - 8),
        ({"env": ["OTHER=1"], "allow": ['env.get(name="NA*")']}, ord("h")),
        ({"allow": "env"}, ord("h")),
        # Nobody is found who could be asked.
        ({"env": "NAME=given", "deny": "env"}, 256 - 11),
        ({}, 256 - 11),
    ],
)
def test_variables(monkeypatch: pytest.MonkeyPatch, options: dict[str, object], code: int) -> None:
    monkeypatch.setenv("NAME", "host's")
    assert wasmos.run(GETS, **options).returncode == code  # type: ignore[arg-type]


def test_a_variable_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAME", raising=False)
    assert wasmos.run(GETS, env="NAME").returncode == 256 - 7


LISTS = wat.program(
    f"""(loop $more
      (i32.store #1024 #{abi.EnvList.TYPE}) (i32.store #1032 (local.get $i))
      (drop (call $call @env #1024))
      (if (i32.lt_s (i32.load #1024) #0) (then (return (local.get $i))))
      (local.set $i (i32.add (local.get $i) #1))
      (br $more)) #0"""
)


def test_a_list_of_variables_shows_those_that_it_may_have() -> None:
    given = {"A_1": "", "A_2": "", "B_1": ""}
    assert wasmos.run(LISTS, env=given, allow="env.list").returncode == 3
    rules = ["env.list", 'env.get(name="A_*")']
    assert wasmos.run(LISTS, env=given, allow=rules, deny='env.get(name="A_1")').returncode == 2


def test_who_is_asked() -> None:
    """All servers are up: what is granted then works."""
    asked: list[str] = []

    def ask(kernel: wasmos.Kernel, task: wasmos.Task) -> Callable[[wasmos.Denial], bool]:
        def answer(denial: wasmos.Denial) -> bool:
            asked.append(f"{task.name}: {denial.rule}")
            kernel.grant(task, denial.rule, origin="asked")
            return True

        return answer

    done = wasmos.run(printer("yes"), ask=ask, capture_output=True, name="me")
    assert (done.stdout, asked, done.denials) == (b"yes", ["me: console.write"], [])


def test_a_policy_has_to_speak_of_it(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[task.other]\nallow = ['console']")
    with pytest.raises(NotGranted, match="grants 'me' nothing"):
        wasmos.run(printer("x"), name="me", policy=tmp_path / "p.toml")
    done = wasmos.run(printer("x"), name="other", policy=tmp_path / "p.toml", capture_output=True)
    assert done.stdout == b"x"


def test_an_audit(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for calls in (False, True):
        wasmos.run(printer("x"), allow="console.write", audit=path, audit_calls=calls, output=None)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [r["event"] for r in records if r["event"] in ("open", "call", "close")] == [
        "open", "close", "open", "call", "close",
    ]  # fmt: skip
    assert [r["origin"] for r in records if r["event"] == "grant"] == ["allow=", "allow="]
    assert [r["name"] for r in records if r["event"] == "exit"] == ["module", "console"] * 2


def test_an_audit_that_cannot_be_written(tmp_path: Path) -> None:
    before = _core.live_objects()
    with pytest.raises(wasmos.WasmosError, match="no such file or directory"):
        wasmos.run(printer("x"), audit=tmp_path / "no" / "where")
    assert _core.live_objects() == before


def test_a_directory_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path.parent)
    (tmp_path / "a.txt").write_text("text")
    opens = wat.program(
        f"""(i32.store #1024 #{abi.FsOpen.TYPE})
        (memory.copy (i32.const 1032) (i32.const 512) (i32.const 16))
        (drop (call $call @fs #1024)) (i32.load #1024)""",
        fields='(data (i32.const 512) "/d/a.txt\\00")',
    )
    opened = abi.FsOpenReply.TYPE
    assert wasmos.run(opens, dirs=f"{tmp_path}::/d:ro").returncode == opened
    assert wasmos.run(opens, dirs=f"{tmp_path}::/other").returncode == 256 - 7
    assert wasmos.run(opens, allow=f'fs(dir="{tmp_path}", at="/d")').returncode == opened
    relative = f'fs(dir="{tmp_path.name}", at="/d")'
    assert wasmos.run(opens, allow=relative).returncode == opened
    assert wasmos.run(opens, allow="fs").returncode == 256 - 7


@pytest.mark.parametrize("more", [[], ["fs.write"]])
def test_a_write_to_what_may_be_read_names_what_is_for_reading(
    tmp_path: Path, more: list[str]
) -> None:
    """And not the rule that would have admitted the message elsewhere."""
    (tmp_path / "a").touch()
    rule = f'fs(dir="{tmp_path}", at="/data", mode="ro")'
    guest = sends(("fs", abi.FsOpen("/data/a", 0)), ("fs", abi.FsWrite(1, b"x")))
    done = wasmos.run(guest, allow=[*more, rule])
    [denial] = done.denials
    assert denial.grant is not None and str(denial.grant.rule) == rule
    assert 'mode="ro"' in denial.reason


# --- programs for WASI --------------------------------------------------------------------------

COUNTS = """(module
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (drop (call $sizes (i32.const 0) (i32.const 4)))
    (call $exit (i32.load (i32.const 0)))))"""


def test_variables_that_are_given_are_seen_under_a_policy_too(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[task.p]\nallow = []\n")
    options: dict[str, Any] = {"name": "p", "policy": policy}
    assert wasmos.run(COUNTS, env={"FOO": "3", "BAR": ""}, **options).returncode == 2
    assert wasmos.run(COUNTS, **options).returncode == 0


def test_what_may_only_be_read_is_what_refuses_a_new_file(tmp_path: Path) -> None:
    """The grant is named, so that the advice is about it."""
    creates = """(module
      (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1) (data (i32.const 16) "new")
      (func (export "_start") (call $exit (call $open (i32.const 3) (i32.const 0) (i32.const 16)
        (i32.const 3) (i32.const 1) (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 0)))))"""
    done = wasmos.run(creates, dirs=[f"{tmp_path}::/d:ro"])
    assert done.returncode == 63
    (denial,) = done.denials
    assert denial.grant is not None and denial.grant.badge["mode"] == "ro"
    assert denial.reason.startswith("it is for reading")
    assert list(tmp_path.iterdir()) == []


# --- what a program is called -------------------------------------------------------------------

# Prints its arguments, a space behind each.
# Ends with the first letter of what it is called.
NATIVE = wat.program(f"(drop (call $ask @args #{abi.ArgsGet.TYPE} #0)) (i32.load8_u #{wat.M + 12})")


def test_a_program_for_wasi_is_called_as_its_file(tmp_path: Path) -> None:
    path = tmp_path / "prog.v2.wasm"
    path.write_text(SAYS_ARGUMENTS)
    for source in (path, str(path), os.path.relpath(path)):
        done = wasmos.run(source, ["a"], capture_output=True)
        assert done.stdout == b"prog.v2.wasm a "
        assert done.exit.name == "prog.v2"
    assert wasmos.run(path, name="task", capture_output=True).stdout == b"prog.v2.wasm "


def test_a_program_that_is_no_file_is_called_as_its_task() -> None:
    assert wasmos.run(SAYS_ARGUMENTS, capture_output=True).stdout == b"module "
    assert wasmos.run(SAYS_ARGUMENTS, name="mine", capture_output=True).stdout == b"mine "


@pytest.mark.parametrize("name", ["ls", "", "/bin/ls -l"])
def test_a_program_is_called_as_somebody_says(tmp_path: Path, name: str) -> None:
    path = tmp_path / "prog.wasm"
    path.write_text(SAYS_ARGUMENTS)
    done = wasmos.run(path, ["a"], argv0=name, capture_output=True)
    assert done.stdout == f"{name} a ".encode()


def test_a_native_program_is_called_as_its_task(tmp_path: Path) -> None:
    path = tmp_path / "x.y.wasm"
    path.write_text(NATIVE)
    assert wasmos.run(path, ["a"]).returncode == ord("x")
    assert wasmos.run(path, ["a"], name="task").returncode == ord("t")
    assert wasmos.run(path, argv0="called").returncode == ord("c")


# --- descriptors --------------------------------------------------------------------------------

# Ends with the number of the first descriptor from 3 on that is a socket.
FINDS_A_LISTENER = """(module
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $stat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $fd i32) (local.set $fd (i32.const 3))
    (loop $next
      (if (call $stat (local.get $fd) (i32.const 0)) (then (call $exit (i32.const 100))))
      (if (i32.eq (i32.load8_u (i32.const 0)) (i32.const 6)) (then (call $exit (local.get $fd))))
      (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
      (br $next))))"""


@pytest.mark.parametrize("count", [0, 1, 2])
def test_listeners_come_after_directories(tmp_path: Path, count: int) -> None:
    """As docs/reference/wasi.md says, and how a program finds one."""
    dirs = [f"{tmp_path}::/d{number}" for number in range(count)]
    done = wasmos.run(FINDS_A_LISTENER, dirs=dirs, listen=["0:80", "0:81"])
    assert done.returncode == 3 + count


# --- what it was not given ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "lacked"),
    [
        (looks(EXIT_1, "path_open"), ("fs",)),
        (looks("unreachable", "path_unlink_file"), ("fs",)),  # as a panic ends it
        (looks(EXIT_1, "sock_accept"), ("tcpip",)),
        (looks(EXIT_1, "sock_accept", "path_open"), ("fs",)),
        # It ended well; it has nothing to do either with; it never looked; it was ended.
        (looks("", "path_open"), ()),
        (looks("(call $exit (i32.const 0))", "path_open", "sock_accept"), ()),
        (looks(EXIT_1), ()),
        (looks(EXIT_1, "sock_accept", looks=False), ()),
        (looks("(loop (br 0))", "path_open"), ()),
        (wat.program("#1"), ()),
    ],
)
def test_what_a_program_that_failed_was_not_given(program: str, lacked: tuple[str, ...]) -> None:
    done = wasmos.run(program, ["a/b"], timeout=0.05 if "loop" in program else None)
    assert (done.lacked, done.denied, done.denials) == (lacked, (), [])


@pytest.mark.parametrize(
    ("options", "lacked"),
    [
        ({"dirs": ".::/d"}, ()), ({"listen": "0:80"}, ("fs",)), ({"files": "."}, ()),
        ({"dirs": ".::/d", "listen": "0:80"}, ()),
        # Files in memory, and none in them.
        ({"allow": "fs"}, ("fs",)), ({"allow": "*"}, ("fs",)),
        # Some of it, and no directory and no port.
        ({"allow": ["fs.read_at", "tcpip.connect"]}, ("fs",)),
        # Somebody has said so.
        ({"deny": "fs"}, ()), ({"deny": "*"}, ()),
        ({"deny": "fs.remove_file"}, ("fs",)),
        # There is something, and it isn't allowed there: that is no question either.
        ({"ask": lambda _kernel, _task: lambda _denial: False}, ("fs",)),
    ],
)  # fmt: skip
def test_what_it_was_given_is_not_missing(
    options: dict[str, Any],
    lacked: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = wasmos.run(looks(EXIT_1, "path_open", "sock_accept"), ["a/b"], **options)
    assert done.lacked == lacked


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], False), (["-c", "print(1)"], False), (["https://example.com/a"], False),
        (["data.txt"], False), (["there.txt"], True), (["-v", "./x"], True), (["/x"], True),
    ],
)  # fmt: skip
def test_who_was_asked_for_no_file_misses_none(
    words: list[str], names: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there.txt").touch()
    monkeypatch.chdir(tmp_path)
    done = wasmos.run(looks(EXIT_1, "path_open"), words)
    assert done.lacked == (("fs",) if names else ())


@pytest.mark.parametrize(
    ("options", "lacked"),
    [({"dirs": ".::/d"}, ("tcpip",)), ({"listen": "0:80"}, ()), ({"deny": "tcpip"}, ())],
)
def test_a_port_that_it_was_given_is_not_missing(
    options: dict[str, Any], lacked: tuple[str, ...]
) -> None:
    assert wasmos.run(looks(EXIT_1, "sock_accept"), **options).lacked == lacked


CHANCE = """
(module (import "wasi_snapshot_preview1" "random_get" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\40\\00\\00\\00\\20\\00\\00\\00")
  (func (export "_start")
    (drop (call $get (i32.const 64) (i32.const 32)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
"""


@pytest.mark.parametrize("seed", ["7", 'a"b', "a\\", "a\\x41", "\n", "\udcff"])
def test_a_seed_is_any_text_and_means_itself(seed: str) -> None:
    """Also one that rules would have to write in another way."""
    key = hashlib.sha256(seed.encode("utf-8", "surrogateescape")).digest()
    expected = hashlib.sha256(key + bytes(8)).digest()
    assert wasmos.run(CHANCE, seed=seed, capture_output=True).stdout == expected
