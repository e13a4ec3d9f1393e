"""The socket: whoever is at the other end and whatever it does, the kernel goes on as before."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import stat
from contextlib import suppress
from typing import Any

import pytest

import wasmos
from tests.support import wat
from tests.support.control import Talker, as_nobody, turn
from tests.system.control.conftest import Connect
from wasmos.system.control import server, wire
from wasmos.system.control.server import MAX_CLIENTS, MAX_STREAMS, Control

HELLO = b'{"v":1,"do":"hello"}\n'


def test_hello(control: Control, connect: Connect) -> None:
    found = connect().ask("hello")
    assert found.pop("started") > 1e9
    assert found == {"name": "demo", "pid": os.getpid(), "version": wasmos.__version__, "tasks": 0}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"", "a request is a line of JSON"),
        (b"GET / HTTP/1.1", "a request is a line of JSON"),
        (b'{"v":3,"do":"ps"}', "version 3 is not spoken here"),
        (b'{"v":1,"do":"cap"}', "nobody can do 'cap' here; did you mean 'caps'?"),
        (b'{"v":1,"do":"ps","all":1}', "ps doesn't know 'all'; it takes no words"),
        (b'{"v":1,"do":"kill"}', "kill needs 'task'"),
        (b'{"v":1,"do":"kill","task":null}', "kill: 'task' is a text"),
        (b'{"v":1,"do":"kill","task":true}', "kill: 'task' is a text"),
        (b'{"v":1,"do":"kill","task":1.5}', "kill: 'task' is a text"),
        (b'{"v":1,"do":"grant","task":2}', "grant needs 'rule'"),
        (b'{"v":1,"do":"audit","calls":1}', "audit: 'calls' is true or false"),
    ],
)  # fmt: skip
def test_garbage_gets_an_answer_and_the_next_line_too(
    connect: Connect, line: bytes, problem: str
) -> None:
    talker = connect()
    talker.send(line + b"\n" + HELLO)
    first, second = talker.lines()
    assert (first["v"], first["ok"]) == (1, False)
    assert first["error"].startswith(problem)
    assert second["ok"] is True


def test_half_lines(connect: Connect) -> None:
    talker = connect()
    for byte in HELLO[:-1]:
        talker.send(bytes([byte]))
        assert talker.lines() == []
    talker.send(b"\n")
    assert [line["ok"] for line in talker.lines()] == [True]


def test_the_end_in_the_middle_of_a_line(control: Control, connect: Connect) -> None:
    talker = connect()
    talker.send(b'{"v":1,"do":"ki')
    talker.close()
    assert connect().ask("hello")["name"] == "demo"
    assert len(control._clients) == 1


def test_who_has_said_all_is_still_answered(connect: Connect) -> None:
    talker = connect()
    talker.socket.sendall(HELLO)
    talker.socket.shutdown(socket.SHUT_WR)
    turn(talker.control.kernel)
    assert [line["ok"] for line in talker.lines()] == [True]
    assert talker.is_over


def test_a_line_that_is_too_long_is_the_last_one(connect: Connect) -> None:
    talker = connect()
    talker.send(b"x" * wire.MAX_LINE)
    talker.send(b"x" + HELLO)
    assert [line["error"] for line in talker.lines()] == ["a line has at most 65,536 bytes"]
    assert talker.is_over


def test_many_requests_at_once_are_answered_in_turn(connect: Connect) -> None:
    busy, other = connect(), connect()
    asked = b"".join(b'{"v":1,"do":"p%d"}\n' % number for number in range(300))
    busy.socket.sendall(asked)
    turn(busy.control.kernel, 2)
    other.ask("hello")  # long before the last of these
    with suppress(BlockingIOError):
        while True:
            busy._data += busy.socket.recv(1 << 20)
    assert 0 < busy._data.count(b"\n") < 300
    for _ in range(100):
        turn(busy.control.kernel)
    answers = [line["error"].split("'")[1] for line in busy.lines()]
    assert answers == [f"p{number}" for number in range(300)]


def test_who_never_reads_holds_nobody_up(control: Control, connect: Connect) -> None:
    """It fills both directions; what it asks is kept by the operating system, not by us."""
    deaf, other = connect(), connect()
    sent = 0
    with pytest.raises(BlockingIOError):
        while sent < 64 << 20:
            sent += deaf.socket.send(HELLO * 1000)
            turn(control.kernel)
    assert other.ask("hello")["name"] == "demo"
    [client] = [c for c in control._clients if len(c._out)]
    assert len(client._out) < 1000
    assert len(client._lines._buffer) <= wire.MAX_LINE + server.CHUNK
    assert len(deaf.lines()) > 100  # and when it reads, it goes on
    assert other.ask("hello")["name"] == "demo"


def test_a_big_answer_to_a_slow_reader(control: Control, connect: Connect) -> None:
    task = control.kernel.spawn(wat.SLEEP)
    for number in range(5000):
        control.kernel.grant(task, "pong", origin=f"{number:0100}")
    talker, other = connect(), connect()
    talker.socket.sendall(b'{"v":1,"do":"caps"}\n' + HELLO)
    turn(control.kernel)
    assert other.ask("hello")
    caps, hello = talker.lines()
    assert len(caps["result"]["grants"]) == 5000
    assert hello["result"]["name"] == "demo"


def test_the_newest_client_gets_in_and_the_most_silent_one_goes(
    control: Control, connect: Connect
) -> None:
    talkers = [connect() for _ in range(MAX_CLIENTS)]
    talkers[0].ask("hello")  # so that the next one is the most silent
    for _ in range(100):
        assert connect().ask("hello")["name"] == "demo"
        assert len(control._clients) == MAX_CLIENTS
    assert talkers[1].lines() == [] and talkers[1].is_over


def test_listeners_are_bounded_and_never_sent_away(control: Control, connect: Connect) -> None:
    listeners = [connect() for _ in range(MAX_STREAMS)]
    for listener in listeners:
        assert listener.ask("audit") == {"stream": "audit"}
    talker = connect()
    assert talker.fails("audit") == f"{MAX_STREAMS} clients follow the audit already"
    assert talker.ask("hello")
    for _ in range(3 * MAX_CLIENTS):
        connect()
    assert all(listener.lines() == [] and not listener.is_over for listener in listeners)
    listeners[0].close()
    assert connect().ask("audit")


def test_no_descriptor_is_left_for_a_client(control: Control, connect: Connect) -> None:
    """It is tried again later, and not at once for ever."""

    class Starved:
        def __init__(self, real: Any) -> None:
            self.real = real

        def accept(self) -> Any:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        def fileno(self) -> int:
            return int(self.real.fileno())

    real = control._socket
    assert real is not None
    control._socket = Starved(real)  # type: ignore[assignment]
    talker = connect()
    assert not control.kernel.loop.remove_reader(real.fileno())
    control._socket = real
    control._resume()
    turn(control.kernel)
    assert talker.ask("hello")["name"] == "demo"


# --- who may --------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_is_refused(control: Control, connect: Connect) -> None:
    """By the folder; and if that were open, by who he is."""
    assert as_nobody(control) == "PermissionError"
    os.chmod(os.path.dirname(control.path), 0o755)
    os.chmod(os.path.dirname(os.path.dirname(control.path)), 0o755)
    assert as_nobody(control) == "PermissionError"
    os.chmod(control.path, 0o666)
    said = json.loads(as_nobody(control))
    assert said == {
        "v": 1, "ok": False, "error": "this system belongs to user 0, not to 65534"
    }  # fmt: skip
    assert not control._clients
    assert connect().ask("hello")["name"] == "demo"


# --- the kernel goes on as before -----------------------------------------------------------------


def test_clients_are_no_reason_to_wait(control: Control, connect: Connect) -> None:
    """Where nothing can happen any more, that is said, also while somebody is connected."""
    kernel = control.kernel
    talker, listener = connect(), connect()
    talker.ask("hello")
    listener.ask("audit")
    assert asyncio.all_tasks(kernel.loop) == set()
    sleeper = kernel.spawn(wat.SLEEP, name="sleeper")
    with pytest.raises(wasmos.Deadlock, match="'sleeper' is receiving"):
        kernel.wait(sleeper)
    sleeper.kill()
    assert kernel.wait(kernel.spawn(wat.program("#3"))).code == 3
    kernel.run()


def test_a_program_that_computes_is_spoken_to(control: Control, connect: Connect) -> None:
    kernel = control.kernel
    talker = Talker(control)
    task = kernel.spawn(wat.SPIN, name="spin")
    talker.socket.sendall(b'{"v":1,"do":"kill","task":"spin"}\n')
    exit = kernel.wait(task)  # for ever, if nobody heard it
    assert exit.cause == "killed" and exit.message == f"by control (pid {os.getpid()})"
    talker.close()


def test_a_request_that_fails_for_our_fault(
    control: Control, connect: Connect, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def broken(*_: object) -> Any:
        raise RuntimeError("ours")

    monkeypatch.setattr(server.verbs.VERBS["ps"], "run", broken)
    talker = connect()
    assert talker.fails("ps") == "this failed for a reason of ours: see the system's log"
    assert "RuntimeError: ours" in caplog.text
    assert talker.ask("hello")


# --- the end --------------------------------------------------------------------------------------


def test_close(control: Control, connect: Connect) -> None:
    talker, listener = connect(), connect()
    listener.ask("audit")
    assert stat.S_ISSOCK(os.stat(control.path).st_mode)
    control.close()
    assert not os.path.exists(control.path)
    assert talker.read() == listener.read() == b""
    assert talker.is_over and listener.is_over
    control.close()
    assert control.kernel.wait(control.kernel.spawn(wat.program("#3"))).code == 3


def test_close_after_the_kernel(control: Control, connect: Connect) -> None:
    connect().ask("audit")
    control.kernel.close()
    control.close()
    assert not os.path.exists(control.path)


@pytest.mark.parametrize(
    "error", [FileNotFoundError(), NotADirectoryError(), OSError(errno.EROFS, "read-only")]
)
def test_a_socket_that_cannot_be_removed_is_no_reason_to_fail(
    control: Control, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """Who closes it has files to save and a log to end."""

    def refuse(_path: str) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refuse)
        control.close()


def test_what_stands_in_its_place_is_left(control: Control) -> None:
    os.unlink(control.path)
    with open(control.path, "w") as file:
        file.write("not ours")
    control.close()
    assert os.path.exists(control.path)
