"""The other end: which system is meant, and what if it doesn't answer."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from wasmos.errors import ControlError
from wasmos.system.control import client, place, wire


def answering(folder: Path, file: str, answer: bytes) -> Callable[[], None]:
    """A socket at which everybody gets the same answer, as often as it is asked to."""
    folder.mkdir(mode=0o700, exist_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(folder / file))
    listening.listen()

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)
        listening.close()

    thread = threading.Thread(target=serve)
    thread.start()
    return thread.join


def test_a_directory_is_one_of_this_process(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Python says to another process, which is somewhere else."""
    said: list[bytes] = []
    listening, path = place.listen("other")
    monkeypatch.chdir(tmp_path)

    def serve() -> None:
        listening.setblocking(True)
        connection, _ = listening.accept()
        with connection, connection.makefile("rb") as file:
            for line in file:
                said.append(line)
                connection.sendall(wire.answer({}))

    thread = threading.Thread(target=serve)
    thread.start()
    with client.connect("other") as system:
        system.ask("grant", task="x", rule='fs(dir="a", mode="ro")')
        system.ask("grant", task="x", rule="fs(dir=")
    thread.join()
    listening.close()
    os.unlink(path)
    assert [json.loads(line)["rule"] for line in said] == [
        f'fs(dir="{tmp_path}/a", mode="ro")', "fs(dir=",
    ]  # fmt: skip


def test_no_system_runs(folder: Path) -> None:
    with pytest.raises(ControlError) as caught:
        client.find()
    assert str(caught.value) == (
        "no system is running that can be spoken to; "
        "start one: wasmos boot, or wasmos run FILE.wasm"
    )


def test_which_system(folder: Path) -> None:
    first, one = place.listen("demo")
    pid = os.getpid()
    with first:
        assert client.find().path == client.find("demo").path == client.find(f"{pid}").path == one
        with pytest.raises(ControlError, match="no system 'demmo' is running; did you mean 'demo'"):
            client.find("demmo")
        second, other = place.listen("my system")
        with second:
            assert client.find("my system").path == other
            for which in (None, str(pid)):
                with pytest.raises(ControlError) as caught:
                    client.find(which)
                assert str(caught.value) == (
                    f"2 systems are running: demo (pid {pid}), my_system (pid {pid}); "
                    "choose one with -S NAME or -S PID"
                )


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", r"demo \(pid \d+\): is gone"),
        (b'{"v":1,"ok":true,"resu', r"demo \(pid \d+\): is gone"),
        (b"HTTP/1.1 400 Bad Request\r\n", "what answers there is no wasmos"),
        (b"[1]\n", "what answers there is no wasmos"),
        (b'{"v":1,"ok":false,"error":"no"}\n', "^no$"),
        (b'{"v":1}\n', "no reason was given"),
    ],
)
def test_a_system_that_answers_something_else(folder: Path, answer: bytes, problem: str) -> None:
    join = answering(folder, f"demo-{os.getpid()}.sock", answer)
    try:
        with client.connect() as system, pytest.raises(ControlError, match=problem):
            system.ask("ps")
    finally:
        join()


def test_a_system_that_doesnt_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.01)
    listening, _ = place.listen("demo")
    with (
        listening,
        client.connect() as system,
        pytest.raises(ControlError, match="doesn't answer for"),
    ):
        system.ask("ps")


def test_a_system_that_has_gone(folder: Path) -> None:
    listening, path = place.listen("demo")
    address = client.find()
    listening.close()
    with pytest.raises(ControlError, match="is gone"):
        client.Connection(address)
    os.unlink(path)
    with pytest.raises(ControlError, match="is gone"):
        client.Connection(address)


def test_somebody_elses_socket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listening, path = place.listen("demo")
    monkeypatch.setattr(client, "peer", lambda _: (65534, 1))
    with listening, pytest.raises(ControlError) as caught:
        client.connect()
    assert str(caught.value) == f"{path} belongs to user 65534"
