"""`wasmos check`: what it says of good modules, and of every hostile one."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
from pathlib import Path

import pytest

from tests.support import wasmgen
from tests.support.command import GUESTS, HELLO, SYSTEM, folder, wasmos_
from wasmos.cli import EXIT_INTERRUPTED, main
from wasmos.personalities.wasi.functions import FUNCTIONS


def checked(*arguments: object) -> tuple[int, str, str]:
    """As the command does it, in this process: there are many."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["check", *map(str, arguments)])
    return status, out.getvalue(), err.getvalue()


def test_a_program() -> None:
    done = wasmos_("check", HELLO)
    assert done.returncode == 0 and done.stderr == ""
    size = f"{Path(HELLO).stat().st_size:,}"
    assert done.stdout.splitlines() == [
        f"{HELLO}: accepted, a program, {size} bytes",
        "  import  env.ipc_lookup (i32) -> i32",
        "  import  env.ipc_call (i32, i32) -> i32",
        "  export  memory memory",
        "  export  main () -> i32",
        "  its strings name these services: console, args",
        f"  try: wasmos run --allow console --allow args {shlex.quote(HELLO)}",
    ]


def test_a_name_that_has_no_bytes_here(tmp_path: Path) -> None:
    """Guests choose names, and users an encoding that may not have them."""
    path = tmp_path / "späß.wat"
    path.write_text('(module (func (export "main")))')
    done = wasmos_("check", path, env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "sp\\xe4\\xdf.wat: accepted, a program" in done.stdout


def test_ctrl_c_while_the_words_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_words: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wasmos.cli.parser.parse", interrupted)
    assert main(["check"]) == EXIT_INTERRUPTED


def test_a_program_is_not_held_against_a_policy(tmp_path: Path) -> None:
    done = wasmos_("check", "--policy", tmp_path / "p.toml", HELLO)
    assert done.returncode == 0
    assert done.stderr == (
        "note: a policy is held against a manifest, and isn't looked at for a program\n"
    )


def test_the_advice_is_good() -> None:
    for guest in ("hello", "ping", "echo", "webserver"):
        advice = wasmos_("check", GUESTS / f"{guest}.wasm").stdout.splitlines()[-1]
        words = advice.split("wasmos ")[1].split()
        done = wasmos_(words[0], "--timeout", "100ms", *words[1:])
        assert "to allow" not in done.stderr


def test_the_memory_is_part_of_the_advice() -> None:
    done = wasmos_("check", "--max-memory", "128MiB", HELLO)
    assert (
        f"  try: wasmos run --allow console --allow args --max-memory 128MiB {shlex.quote(HELLO)}\n"
        in done.stdout
    )


def test_a_passive_service() -> None:
    done = wasmos_("check", GUESTS / "pong_passive.wasm")
    assert done.stdout.splitlines()[0].endswith(
        f"accepted, a passive service, {(GUESTS / 'pong_passive.wasm').stat().st_size:,} bytes"
    )
    assert "try:" not in done.stdout


WASI = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_seek" (func (param i32 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))
  {more}
  (memory (export "memory") 1)
  (func (export "_start")))
"""
OPEN = """
  (import "wasi_snapshot_preview1" "path_open"
    (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func (param i32 i32 i32) (result i32)))
"""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", [
            "its imports want these services: clock, console", "try: wasmos run {path}",
            'in a manifest: use = ["clock", "console"]',
        ]),
        (OPEN, [
            "its imports want these services: clock, console, env, fs, tcpip",
            "try: wasmos run --dir .:ro --listen 8080:80 {path}",
            """in a manifest: use = ["clock", "console", 'fs(dir="data", at="/data")', """
            '"tcpip.listen(listen_port=80)"]',
        ]),
    ],
)  # fmt: skip
def test_a_program_for_wasi(tmp_path: Path, more: str, said: list[str]) -> None:
    """It names no services; what it imports says what it will want."""
    path = tmp_path / "x.wat"
    path.write_text(WASI.replace("{more}", more))
    status, out, _ = checked(path)
    assert status == 0
    assert "accepted, a program for wasi_snapshot_preview1, " in out
    assert [line.strip() for line in out.splitlines()[-3:]] == [
        line.replace("{path}", str(path)) for line in said
    ]
    report = json.loads(checked("-o", "json", path)[1])
    assert report["dialect"] == "wasi_snapshot_preview1"
    assert ", ".join(report["services"]) == said[0].partition(": ")[2]


def test_a_reactor_for_wasi(tmp_path: Path) -> None:
    path = tmp_path / "x.wat"
    path.write_text(WASI.replace("{more}", "").replace("_start", "_initialize"))
    status, out, _ = checked(path)
    assert status == 0
    assert "accepted, a reactor for wasi_snapshot_preview1, " in out
    assert f"  try: wasmos run --invoke NAME {path}\n" in out


def test_a_library_is_refused_and_told_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.wat"
    path.write_text('(module (func (export "add")) (func (export "_initialize")))')
    status, out, err = checked(path)
    assert (status, "try:" in out) == (126, False)
    assert "it is a reactor, whose functions others call: 'add', '_initialize'; to call one" in err


def test_what_a_manifest_asks_for_can_be_granted() -> None:
    from wasmos.kernel import Rule
    from wasmos.personalities.wasi import wants
    from wasmos.system.allowance import SERVICES

    wanted = wants.services(function.name for function in FUNCTIONS)
    assert wanted == ["args", "clock", "console", "env", "fs", "random", "tcpip"]
    for rule in wants.uses(wanted):
        assert Rule.parse(rule).service in SERVICES


def test_json_has_a_version() -> None:
    done = wasmos_("check", "-o", "json", HELLO)
    report = json.loads(done.stdout)
    assert list(report) == [
        "version", "module", "bytes", "accepted", "kind", "imports", "exports", "services",
    ]  # fmt: skip
    assert (report["version"], report["accepted"], report["kind"]) == (1, True, "active")
    assert report["exports"][1] == {"name": "main", "type": "() -> i32"}


def test_json_of_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.wat").write_text('(module (import "env" "fork" (func)) (func (export "main")))')
    done = wasmos_("check", "-o", "json", tmp_path / "x.wat")
    assert (done.returncode, done.stderr) == (126, "")
    report = json.loads(done.stdout)
    assert report["accepted"] is False
    assert report["reason"].startswith("x: import 'env'.'fork'")
    assert report["imports"] == [{"name": "env.fork", "type": "() -> ()"}]


def test_the_memory_limit_counts() -> None:
    assert wasmos_("check", "--max-memory", "1k", HELLO).returncode == 126


@pytest.mark.parametrize("name", list(wasmgen.HOSTILE))
def test_hostile_modules_get_an_answer(tmp_path: Path, name: str) -> None:
    path = tmp_path / "hostile.wasm"
    path.write_bytes(wasmgen.made(wasmgen.HOSTILE[name]))
    status, out, err = checked(path)
    assert status in (0, 126)
    assert (status == 0) == ("accepted" in out) == (not err)
    if status:
        assert err.startswith("error: hostile: ") and len(err) < 2000
    as_json, document, err_json = checked("-o", "json", path)
    assert (as_json, err_json) == (status, "")
    report = json.loads(document)
    assert report["version"] == 1
    assert report["accepted"] == (status == 0)
    assert bool(report.get("reason")) != report["accepted"]


def test_names_in_a_module_play_no_tricks(tmp_path: Path) -> None:
    path = tmp_path / "x.wat"
    path.write_text(
        r'(module (import "env" "a\1b[2J\0d\c2\9b1A" (func))'
        r' (func (export "main")) (func (export "\e2\80\ae\07b")))'
    )
    _, out, err = checked(path)
    for text in (out, err):
        assert not set(text) & set("\x1b\x9b\r\x07\u202e")
    assert "a^[[2J^M" in out


def test_a_name_with_a_newline_forges_no_line(tmp_path: Path) -> None:
    path = tmp_path / "x.wat"
    path.write_text(
        r'(module (func (export "main")) (func (export "b\0a  import  nothing at all")))'
    )
    _, out, _ = checked(path)
    assert not any(line.startswith("  import") for line in out.splitlines())


@pytest.mark.parametrize(
    ("error", "status"), [(PermissionError, 126), (FileNotFoundError, 127), (OSError, 126)]
)
def test_a_file_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, error: type[OSError], status: int
) -> None:
    """Whoever runs the tests may be allowed to read everything."""

    def read(path: str) -> None:
        raise error(5, "No Luck", path)

    monkeypatch.setattr("wasmos.cli.check.read", read)
    assert checked("some.wasm") == (status, "", "error: some.wasm: no luck\n")


# --- manifests ----------------------------------------------------------------------------------


def test_a_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = (
        "[default]\ndeny = ['vm.destroy_task']\n[task.pong]\nallow = ['vm']\n"
        "[task.webserver]\nallow = ['*']\n[spawn]\nallow = ['*']"
    )
    folder(tmp_path, SYSTEM.replace("[spawn]", "restart = 'always'\n[spawn]"), policy)
    monkeypatch.chdir(tmp_path)
    assert checked("system.toml") == (0, """\
system.toml: system can boot, 2 tasks
  pong
    may     vm    (policy.toml:4)
    may not vm.destroy_task    (policy.toml:2)
  webserver, restarted always
    may     tcpip    (policy.toml:6)
    may     console    (policy.toml:6)
    may not vm.destroy_task    (policy.toml:2)
  programs without a section
    may     *    (policy.toml:8)
    may not vm.destroy_task    (policy.toml:2)
""", "")  # fmt: skip
    status, out, _ = checked("-o", "json", "system.toml")
    report = json.loads(out)
    assert (status, report["version"], report["manifest"]) == (0, 1, "system.toml")
    assert report["tasks"][0] == {
        "name": "pong", "module": "pong", "restart": "never",
        "allow": [{"rule": "vm", "origin": "policy.toml:4"}],
        "deny": [{"rule": "vm.destroy_task", "origin": "policy.toml:2"}],
    }  # fmt: skip
    assert checked("policy.toml")[0] == 0


def test_a_manifest_that_asks_for_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path, "[task.pong]\nuse = ['vm']", "")
    monkeypatch.chdir(tmp_path)
    status, out, err = checked("system.toml")
    assert (status, out) == (77, "")
    assert (
        err
        == """\
error: pong asks for what no policy grants
  asked    vm    (system.toml:2)
  to allow add to policy.toml:
      [task.pong]
      allow = ["vm"]
"""
    )
    (tmp_path / "p.toml").write_text("[task.pong]\nallow = ['vm']")
    assert checked("--policy", "p.toml", "system.toml")[0] == 0


@pytest.mark.parametrize(
    ("manifest", "status", "error"),
    [
        ("[task.a]\nuse = ['consol']", 2, "system.toml:2: rule \"consol\": no service 'consol'; "),
        ("[task.a]\nmodule = 'nothing'", 2, "system.toml:2: [task.a] no program 'nothing' in "),
        ("[task.a]\nmodule = './x.wasm'", 2, "system.toml:2: [task.a] "),
        (f"[task.pong]\nargs = ['{'x' * 1024}']", 2,
         "system.toml:1: [task.pong] argument 1 has 1,024 bytes, the most is 1,023 for a program"),
        ("[task.pong]\nmemory = 1", 126, "system.toml:1: [task.pong] pong: "),
        ("[system]\npolicy = 'none'", 2, "none: no such file or directory"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: str, status: int, error: str
) -> None:
    folder(tmp_path, manifest)
    monkeypatch.chdir(tmp_path)
    assert checked("system.toml")[0] == status
    assert checked("system.toml")[2].startswith(f"error: {error}")


def test_a_folder_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path, '[system]\nprograms = ["prgrams"]\n[task.pong]')
    monkeypatch.chdir(tmp_path)
    note = f"note: system.toml:2: programs: there is no directory {tmp_path}/prgrams\n"
    status, out, err = checked("system.toml")
    assert (status, err) == (0, note) and "can boot" in out
    folder(tmp_path, '[system]\nprograms = ["prgrams"]\n[task.crash]')
    status, out, err = checked("system.toml")
    assert (status, out) == (2, "") and err.startswith(
        f"{note}error: system.toml:3: [task.crash] no program 'crash' in {tmp_path}/prgrams "
        "(there is no such directory), "
    )


@pytest.mark.parametrize(
    ("use", "missing"), [("", "clock, console"), ("'console.put'", "clock"), ("'*'", "")]
)
def test_what_a_program_for_wasi_may_miss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: str, missing: str
) -> None:
    """A run grants it by itself; a task of a manifest has what it asks for."""
    manifest = f"[system]\nprograms = ['programs']\n[task.x]\nuse = [{use}]"
    folder(tmp_path, manifest, x=WASI.replace("{more}", ""))
    monkeypatch.chdir(tmp_path)
    status, _, err = checked("system.toml")
    assert status == 0
    note = f"note: system.toml:3: [task.x] is for WASI and imports what needs {missing}; "
    assert err == (f"{note}its use doesn't ask for that\n" if missing else "")


def test_a_manifest_that_is_not_there() -> None:
    assert checked("no.toml") == (2, "", "error: no.toml: no such file or directory\n")


def test_what_is_to_be_checked_has_to_be_said() -> None:
    for arguments in ([], ["--schema", "policy", "x.toml"], ["--schema", "other"]):
        assert wasmos_("check", *arguments).returncode == 2
