"""The control socket, from outside and by names from inside."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.attack import Scene, attack
from tests.support.control import Talker, as_nobody, turn
from wasmos.errors import ControlError
from wasmos.system.control import client, place
from wasmos.system.control.later import VARIABLE
from wasmos.system.control.server import MAX_CLIENTS, Control

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


@pytest.fixture
def where(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder short enough for a socket's path, where the control socket's folder will be."""
    path = Path(tempfile.mkdtemp(prefix="wasmos-", dir="/tmp"))
    monkeypatch.setenv(VARIABLE, str(path / "s"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def control(real_scene: Scene, where: Path) -> Iterator[Control]:
    control = Control(real_scene.kernel, "demo")
    control.start()
    yield control
    control.close()


@ROOT
@attack(
    "another user",
    "A process of another user connects; then the folder and the socket are opened to everybody",
    stopped_by=r"this system belongs to user \d+, not to 65534",
)
def test_another_user(real_scene: Scene, control: Control) -> None:
    assert as_nobody(control) == "PermissionError"
    os.chmod(os.path.dirname(os.path.dirname(control.path)), 0o755)
    os.chmod(os.path.dirname(control.path), 0o755)
    os.chmod(control.path, 0o666)
    real_scene.say(as_nobody(control))
    assert not control._clients


FOLDERS = {
    "open to others": lambda path: (path.mkdir(mode=0o700), path.chmod(0o777)),
    "readable by a group": lambda path: (path.mkdir(mode=0o700), path.chmod(0o750)),
    "a link": lambda path: path.symlink_to(path.parent / "elsewhere"),
    "a file": lambda path: path.write_text(""),
    "another user's": lambda path: (path.mkdir(mode=0o700), os.chown(path, 65534, 65534)),
}


@pytest.mark.parametrize("kind", FOLDERS)
@attack(
    "a folder made beforehand",
    "Where the socket is to be, somebody has made a folder of his own, to put his socket there",
    stopped_by=r"error: control: .* so it is not used",
    each="kind",
)
def test_a_folder_made_beforehand(real_scene: Scene, where: Path, kind: str) -> None:
    if "user" in kind and os.geteuid() != 0:
        pytest.skip("gives a folder away")
    (where / "elsewhere").mkdir()
    FOLDERS[kind](where / "s")
    with pytest.raises(ControlError) as refused:
        Control(real_scene.kernel, "demo").start()
    real_scene.say(refused.value)
    with pytest.raises(ControlError):  # nor is a running system looked for there
        place.addresses()


@attack(
    "a folder in the way",
    "Another user makes the folder in /tmp, so that the owner's commands end with an error while "
    "the system listens in the other place",
    stopped_by=r"the owner finds: demo",
)
def test_a_folder_in_the_way(
    real_scene: Scene, where: Path, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = where / "planted"
    FOLDERS["another user's" if os.geteuid() == 0 else "open to others"](planted)
    monkeypatch.setattr(place, "folders", lambda: [str(where / "s"), str(planted)])
    real_scene.say(f"the owner finds: {client.find().name}")
    assert client.find().path == control.path


@attack(
    "a name that is a path",
    "A system called ../../etc/x, with slashes, NUL and a new line: its socket stays in its folder",
    stopped_by=r"socket: s/[\w.-]+\.sock",
)
def test_a_name_that_is_a_path(real_scene: Scene, where: Path) -> None:
    for name in ("../../etc/x", "/etc/passwd", "a\0b", "a\nb", "..", "", "x" * 300):
        control = Control(real_scene.kernel, name)
        control.start()
        assert Path(control.path).parent == where / "s"
        real_scene.say(f"socket: {Path(control.path).relative_to(where)}")
        control.close()
    assert list((where / "s").iterdir()) == []


@attack(
    "requests that aren't any",
    "Rubbish, half lines, deep and huge JSON, wrong versions and words over the socket",
    stopped_by=r"a request is a line of JSON|a line has at most",
)
def test_requests_that_are_none(real_scene: Scene, control: Control) -> None:
    victim = real_scene.agent("victim", "bank")
    before = len(real_scene.kernel.grants)
    for data in (
        b"GET / HTTP/1.1\r\n\r\n", b"[" * 60_000 + b"\n", b'{"v":1,"do":"grant"}\n', b"\xff\xfe\n",
        b'{"v":1,"do":"grant","task":"*","rule":"*"}\n', b'{"v":2,"do":"ps"}\n',
        b"x" * 70_000 + b"\n",
        b'{"v":1,"do":"grant","task":' + str(victim.id).encode() + b',"rule":"bank\\n*"}\n',
        b'{"v":1,"do":"__class__"}\n', b'{"v":1,"do":"kill","task":true}\n',
    ):  # fmt: skip
        talker = Talker(control)
        talker.send(data)
        answers = talker.lines()
        assert answers and all(answer["ok"] is False for answer in answers)
        for answer in answers:
            real_scene.say(answer["error"])
        talker.close()
    assert len(real_scene.kernel.grants) == before
    assert victim.task.exit is None


@attack(
    "a crowd at the door",
    "So many connect and are silent that the owner couldn't get in",
    stopped_by=r"the owner is answered: demo",
)
def test_a_crowd_at_the_door(real_scene: Scene, control: Control) -> None:
    crowd = [Talker(control) for _ in range(3 * MAX_CLIENTS)]
    owner = Talker(control)
    real_scene.say(f"the owner is answered: {owner.ask('hello')['name']}")
    assert len(control._clients) <= MAX_CLIENTS
    for talker in (*crowd, owner):
        talker.close()


@attack(
    "a client that doesn't read",
    "Asks for what all tasks hold 2,000 times and takes no answer: the system goes on, and "
    "its memory",
    stopped_by=r"unread: \d+ of 2000 requests were answered",
)
def test_a_client_that_does_not_read(real_scene: Scene, control: Control) -> None:
    server = real_scene.agent("server", "bank")
    talker = Talker(control)
    sent = 0
    try:
        for _ in range(2_000):
            talker.socket.send(b'{"v":1,"do":"caps"}\n')
            sent += 1
    except BlockingIOError:
        pass
    turn(control.kernel, 40)
    assert server.lookup("nobody") == -8  # it goes on
    client = next(iter(control._clients))
    assert len(client._out) < 1 << 20
    answered = talker.socket.recv(1 << 22).count(b"\n")
    assert answered < sent
    real_scene.say(f"unread: {answered} of 2000 requests were answered")
    talker.close()


@attack(
    "a program with somebody's name",
    "A task is called as another one, or like its number: what the owner says by name must "
    "not hit it",
    stopped_by=r"(several tasks|2 tasks|more than one|tasks \d+).*",
)
def test_a_program_with_somebodys_name(real_scene: Scene, control: Control) -> None:
    victim = real_scene.agent("web", "bank")
    real_scene.agent("web")
    real_scene.agent(str(victim.id))
    owner = Talker(control)
    real_scene.say(owner.fails("kill", task="web"))
    real_scene.say(owner.fails("revoke", task="web", rule="bank"))
    real_scene.say(owner.fails("grant", task="web", rule="*"))
    assert victim.task.exit is None and len(victim.grants) == 1
    owner.close()


@attack(
    "a socket in the place of ours",
    "The socket's file is exchanged while the system runs: its end doesn't remove what isn't "
    "its own",
    stopped_by=r"left: \['demo-",
)
def test_a_socket_in_the_place_of_ours(real_scene: Scene, where: Path) -> None:
    control = Control(real_scene.kernel, "demo")
    control.start()
    path = Path(control.path)
    path.rename(path.with_name("moved"))
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        control.close()
        left = sorted(file.name for file in path.parent.iterdir())
    real_scene.say(f"left: {[name.replace(str(os.getpid()), 'PID') for name in left]}")
    assert path.name in left
