"""Reading what is others': arguments, variables, output, the audit, the control socket."""

from __future__ import annotations

import io
import socket
from pathlib import Path

import pytest

from tests.attacks.agent import PAGE, ROOM, S, raw
from tests.attacks.attack import Bank, Scene, attack, serve_vm
from wasmos import abi
from wasmos.servers.args import Args
from wasmos.servers.console import Console
from wasmos.servers.env import Env
from wasmos.servers.fs import Fs

SECRET = "SECRET"


@attack(
    "another task's arguments",
    "args_get with the victim's id in `src`, and every index; args_read with the same",
    stopped_by=r"reply args.* to evil.*: not found",
)
def test_another_tasks_arguments(scene: Scene) -> None:
    arguments: dict[int, list[str]] = {}
    scene.serve(Args(arguments))
    victim, evil = scene.agent("victim", "args"), scene.agent("evil", "args")
    arguments[victim.id] = ["victim", "--password", SECRET]
    arguments[evil.id] = ["evil"]
    for src in (victim.id, 0, -1, abi.VM):
        for index in (*range(-3, 10), 2**31 - 1, -(2**31)):
            answer = evil.call("args", raw(abi.ArgsGet.TYPE, src, index))
            assert SECRET.encode() not in answer.data
            assert bool(answer.error) == (index != 0)
        answer = evil.call("args", raw(abi.ArgsRead.TYPE, src, S + ROOM // 2, ROOM // 2))
        assert answer.message == abi.ArgsReadReply(1, 5, 5) and SECRET.encode() not in answer.data
        assert answer.data[ROOM // 2 :][:5] == b"evil\0"


@attack(
    "another task's variables",
    "env_get, env_list and env_read with the victim's id in `src`; names that only the victim has",
    stopped_by=r"reply env.* to evil.*: not found",
)
def test_another_tasks_variables(scene: Scene) -> None:
    variables: dict[int, dict[str, str]] = {}
    scene.serve(Env(variables))
    victim, evil = scene.agent("victim", "env"), scene.agent("evil", "env")
    variables[victim.id] = {"TOKEN": SECRET}
    for src in (victim.id, 0, -1):
        asked = raw(abi.EnvGet.TYPE, src) + b"TOKEN".ljust(256, b"\0")
        assert evil.call("env", asked).error == -7
        assert evil.call("env", raw(abi.EnvList.TYPE, src, 0)).error == -27
        answer = evil.call("env", raw(abi.EnvRead.TYPE, src, S + ROOM // 2, ROOM // 2))
        assert answer.message == abi.EnvReadReply(0, 0, 0) and SECRET.encode() not in answer.data
    assert victim.call("env", abi.EnvGet("TOKEN")).message == abi.EnvGetReply(SECRET)


@attack(
    "one's own variable that one wasn't given",
    'env_get of TOKEN, of TOKEN with other cases and tails, with a right to env.get(name="HOME")',
    stopped_by=r'denial evil.* env\.get\(name="TOKEN"\) field .*; rule env\.get\(name="HOME"\)',
)
def test_a_variable_that_was_not_given(scene: Scene) -> None:
    variables: dict[int, dict[str, str]] = {}
    scene.serve(Env(variables))
    evil = scene.agent("evil", 'env.get(name="HOME")')
    variables[evil.id] = {"TOKEN": SECRET, "HOME": "/"}
    for name in (b"TOKEN", b"token", b"HOME\xff", b"TOKEN\0HOME", b"HOMETOKEN", b"*", b""):
        answer = evil.call("env", raw(abi.EnvGet.TYPE) + name.ljust(256, b"\0"))
        assert answer.error == -8 and SECRET.encode() not in answer.data
    assert evil.call("env", abi.EnvList(0)).error == -8


@attack(
    "one's own variable that one wasn't given, among all of them",
    'env_read into any room, with rights to env.list and env.get(name="HOME"), and with one to all '
    'of env and a rule that denies env.get(name="TOKEN")',
    stopped_by=r'denial evil.* env\.get\(name="TOKEN"\) (field|denied) ',
)
def test_a_variable_that_was_not_given_among_all(scene: Scene) -> None:
    variables: dict[int, dict[str, str]] = {}
    scene.serve(Env(variables))
    evil = scene.agent("evil", "env.list", 'env.get(name="HOME")')
    denied = scene.agent("evil", "env")
    scene.kernel.deny(denied.task, 'env.get(name="TOKEN")')
    for agent in (evil, denied):
        variables[agent.id] = {"HOME": "/", "TOKEN": SECRET}
        for room in (0, 1, 7, 8, ROOM // 2):
            answer = agent.call("env", raw(abi.EnvRead.TYPE, 0, S + ROOM // 2, room))
            assert answer.message == abi.EnvReadReply(1, 7, 7 if room >= 7 else 0)
            assert b"TOKEN" not in answer.data and SECRET.encode() not in answer.data
        assert agent.call("env", raw(abi.EnvRead.TYPE, 0, PAGE - 4, 7)).error == -15
        assert agent.call("env", abi.EnvGet("TOKEN")).error == -8


@attack(
    "a secret in the audit",
    "A variable's value, an argument and written bytes are looked for in the audit of a whole run",
    stopped_by=r"call victim.* env\.get\(name=\"TOKEN\"\)",
)
def test_a_secret_in_the_audit(scene: Scene) -> None:
    variables: dict[int, dict[str, str]] = {}
    scene.kernel.end_audit(scene._recorder.record)
    scene.kernel.audit(scene._recorder.record, calls=True)
    scene.serve(Env(variables))
    scene.serve(Console(io.BytesIO()))
    victim = scene.agent("victim", "env", "console")
    variables[victim.id] = {"TOKEN": SECRET}
    assert victim.call("env", abi.EnvGet("TOKEN")).error == 0
    assert victim.call("console", abi.ConsoleWrite(SECRET.encode())).error == 0
    victim.call("env", raw(abi.EnvGetReply.TYPE) + SECRET.encode().ljust(1024, b"\0"))
    scene.lines()
    assert SECRET not in (scene.folder / "audit.jsonl").read_text()
    assert not any(SECRET in line for line in scene.lines())


@attack(
    "what others print",
    "console_read by a task that isn't in the foreground, and every other message to the console",
    stopped_by=r"reply console.* to evil.*: (end of file|not supported)",
)
def test_what_others_print(scene: Scene) -> None:
    output = io.BytesIO()
    scene.serve(Console(output))
    victim, evil = scene.agent("victim", "console"), scene.agent("evil", "console")
    victim.call("console", abi.ConsoleWrite(SECRET.encode()))
    for kind in range(9, 120):
        if kind != abi.ConsoleWrite.TYPE:
            answer = evil.call("console", raw(kind, victim.id, 100, 100))
            assert answer.error and SECRET.encode() not in answer.data
    assert output.getvalue() == SECRET.encode()


@attack(
    "vm's knowledge",
    "Every message that vm might answer, with each small number in its fields: no audit, no events",
    stopped_by=r"reply vm.* to evil.*: not supported",
)
def test_what_vm_knows(scene: Scene) -> None:
    serve_vm(scene)
    scene.serve(Bank())
    scene.agent("victim", "vm", f'fs(dir="/srv/{SECRET}")', "bank")
    evil = scene.agent("evil", "vm")
    skipped = {
        abi.DestroyTask.TYPE, abi.SpawnTask.TYPE, abi.SpawnGranted.TYPE, abi.CapRevoke.TYPE,
    }  # fmt: skip
    for kind in (k for k in range(9, 130) if k not in skipped):
        for number in (0, 1, 2, 5):
            answer = evil.call("vm", raw(kind, 0, number, number))
            assert SECRET.encode() not in answer.data and b"bank" not in answer.data


@attack(
    "the audit log through fs",
    "open, write and delete of the log, which lies beside the directory that the task was granted",
    stopped_by=r"denial evil.* fs\.\w+\(.*audit\.jsonl.*\) server|reply fs.* to evil.*: not found",
)
def test_the_audit_through_fs(scene: Scene) -> None:
    data = scene.folder / "data"
    data.mkdir()
    (data / "link").symlink_to("../audit.jsonl")
    (data / "up").symlink_to("..")
    scene.serve(Fs())
    evil = scene.agent("evil", f'fs(dir="{data}", at="/data")')
    log = scene.folder / "audit.jsonl"
    for path in ("/audit.jsonl", "/data/../audit.jsonl", "/data/link", "/data/up/audit.jsonl",
                 str(log), f"/data/{log}"):  # fmt: skip
        opened = evil.call("fs", abi.FsOpen(path, 2))
        assert opened.error, path
        if path != "/data/link":  # its own link it may delete
            assert evil.call("fs", abi.FsDelete(path)).error, path
    assert log.read_bytes().startswith(b'{"v":1,"seq":1')


@attack(
    "the control socket through fs",
    "open of a Unix socket in the granted directory, and of a link to it",
    stopped_by=r'denial evil.* fs\.open\(path="/data/control\.sock".*\) server',
)
def test_the_control_socket_through_fs(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    data = scene.folder / "data"
    data.mkdir()
    monkeypatch.chdir(data)
    with socket.socket(socket.AF_UNIX) as control:
        control.bind("control.sock")
        control.listen()
        control.setblocking(False)
        (data / "link").symlink_to("control.sock")
        scene.serve(Fs())
        evil = scene.agent("evil", f'fs(dir="{data}", at="/data")')
        for path in ("/data/control.sock", "/data/link"):
            assert evil.call("fs", abi.FsOpen(path, 2)).error == -8
        with pytest.raises(BlockingIOError):
            control.accept()


@attack(
    "the control socket through tcpip",
    "dns_resolve of the socket's path, with and without unix:, by a task that may reach everything",
    stopped_by=r"reply tcpip.* to evil.*: (not found|invalid argument)",
)
def test_the_control_socket_through_tcpip(scene: Scene) -> None:
    from tests.attacks.outside import resolve, serve

    network = serve(scene)
    evil = scene.agent("evil", "*")
    for name in ("/run/user/0/wasmos/demo-1.sock", "unix:/run/x.sock", "/tmp/wasmos-0/x.sock"):
        assert resolve(evil, name) < 0
    assert network.connected == []


@attack(
    "terminal escapes",
    "A guest prints what moves the cursor, sets the title, asks the terminal to answer, turns text",
    stopped_by=r"console: .*\^\[\[2J\^\[\[1;1H",
)
def test_terminal_escapes(scene: Scene) -> None:
    output = io.BytesIO()
    scene.serve(Console(output, terminal=True))
    evil = scene.agent("evil", "console")
    bombs = (
        b"\x1b[2J\x1b[1;1H", b"\x1b]0;root#\x07", b"\x1b[6n", b"\x9b2J", b"\xc2\x9b2J", b"\b\b\b",
        "\u202egnp.exe".encode(), b"\x1b", b"[2J", b"\xc2", b"\x9b6n",
    )  # fmt: skip
    for data in bombs:
        evil.call("console", abi.ConsoleWrite(data))
    text = output.getvalue().decode()
    assert not any(c in text for c in "\x1b\x07\x9b\b\u202e")
    scene.say(f"console: {text}")


def test_the_folder_is_the_scenes(tmp_path: Path, scene: Scene) -> None:
    """What the attacks on the log rely on."""
    assert scene.folder == tmp_path and (tmp_path / "audit.jsonl").exists()
