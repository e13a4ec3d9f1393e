"""Servers in C, with a C library for WASI, on the host's own network.

Who visits them is a thread with ordinary sockets that block: what one waits for is what the other
does. The timeouts are far above what anything takes, so that a mistake is a failure and no hang.
"""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

import wasmos
from tests.personalities.wasi.languages import toolchains
from wasmos.personalities import wasi
from wasmos.servers.args import Args
from wasmos.servers.clock import Clock
from wasmos.servers.console import Console
from wasmos.servers.tcpip import Tcpip

SOURCE = Path(__file__).with_name("sockets.c")
SECONDS = 20.0
LARGE = 10 << 20
CHUNK = bytes(range(256)) * 256


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("wasi") / "sockets.wasm"
    toolchains.c(SOURCE, program)
    return program


class Visitor:
    """One connection to a server."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def end(self) -> None:
        """Send no more."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leave without a word."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def receive(self, size: int) -> bytes:
        """So many bytes, or fewer if there are no more."""
        data = b""
        while len(data) < size and (more := self.sock.recv(min(size - len(data), 1 << 16))):
            data += more
        return data

    def rest(self) -> bytes:
        return self.receive(1 << 30)


Visit = Callable[[int], object]


def run(
    program: Path,
    *arguments: str,
    visits: Sequence[tuple[int, Visit]] = (),
    listen: Sequence[str] = ("0:80",),
    timeout: float | None = SECONDS,
) -> tuple[wasmos.Completed, list[object], dict[int, int]]:
    """How a program ended, what each visit gave, and where its ports were.

    visits: each with the port of the program's that it is to, beginning when that one is open."""
    places: dict[int, int] = {}
    begun: dict[int, Future[object]] = {}
    with ThreadPoolExecutor(len(visits) or 1) as threads:

        def hear(note: str) -> None:
            if found := re.match(r"tcpip: port (\d+) is .*:(\d+)$", note):
                opened, place = map(int, found.groups())
                places[opened] = place
                for number, (port, visit) in enumerate(visits):
                    if port == opened:
                        begun[number] = threads.submit(visit, place)

        done = wasmos.run(
            program, arguments, listen=listen, capture_output=True, timeout=timeout, log=hear
        )
        return done, [begun[n].result(SECONDS) for n in range(len(visits))], places


def said(done: wasmos.Completed) -> list[str]:
    assert (done.stderr, done.denials) == (b"", [])
    return (done.stdout or b"").decode().splitlines()


def is_free(port: int) -> bool:
    """Whether nobody listens there, and somebody else could."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen()
        except OSError:
            return False
        return True


# --- accepting ----------------------------------------------------------------------------------


def say_and_hear(data: bytes) -> Visit:
    def visit(port: int) -> bytes:
        with Visitor(port) as visitor:
            visitor.send(data)
            visitor.end()
            return visitor.rest()

    return visit


def test_an_echo(servers: Path) -> None:
    """They end their half first, and hear the rest all the same."""
    visits = [(80, say_and_hear(b"x" * (n + 1))) for n in range(3)]
    done, heard, places = run(servers, "echo", "3", visits=visits)
    assert heard == [b"x", b"xx", b"xxx"]
    assert sorted(said(done)) == ["echoed: 1", "echoed: 2", "echoed: 3"]
    assert is_free(places[80])


def test_several_at_once(servers: Path) -> None:
    """Each says something after all of them have been greeted: nobody waits for another's end."""
    count = 20
    greeted: list[int] = []

    def visit(port: int) -> list[bytes]:
        with ThreadPoolExecutor(count) as threads:
            visitors = list(threads.map(Visitor, [port] * count))
            heard = list(threads.map(lambda visitor: visitor.receive(5), visitors))
            for number, visitor in enumerate(reversed(visitors)):
                visitor.send(b"%d" % number)
                visitor.end()
            heard += list(threads.map(Visitor.rest, visitors))
            for visitor in visitors:
                visitor.sock.close()
            greeted.append(len(heard))
            return heard

    done, [heard], _ = run(servers, "together", str(count), visits=[(80, visit)])
    assert heard == [b"hello"] * count + [b"%d" % n for n in reversed(range(count))]
    assert said(done)[1:] == ["in no time: 0", f"most: {count}"]


def test_a_listener_that_does_not_wait(servers: Path) -> None:
    """The first visit begins when the program has found that there is none: only it has the
    port's number before."""
    done, heard, _ = run(servers, "together", "0")
    assert said(done) == [
        "at once: -1 Resource temporarily unavailable", "in no time: 0", "most: 0",
    ]  # fmt: skip
    assert heard == []


def test_two_ports(servers: Path) -> None:
    """Listeners come in the order of the ports that the program knows, however they are listed."""

    def visit(port: int) -> bytes:
        with Visitor(port) as visitor:
            return visitor.rest()

    listen = ["0:81", "0:80"]
    done, heard, places = run(servers, "two", visits=[(80, visit), (81, visit)], listen=listen)
    assert (heard, said(done)) == ([b"3", b"4"], [])
    assert is_free(places[80]) and is_free(places[81])


def test_a_listener_that_is_closed(servers: Path) -> None:
    """Its port is free at once, and who is in may stay."""

    def visit(port: int) -> tuple[bytes, bool]:
        with Visitor(port) as visitor:
            heard = visitor.receive(6)
            free = is_free(port)
            visitor.send(b"x")
            return heard, free

    done, [heard], _ = run(servers, "closes", visits=[(80, visit)])
    assert heard == (b"closed", True)
    assert said(done) == ["close: 0", "recv: 1", "accept: -1 Bad file descriptor"]


# --- reading and writing ------------------------------------------------------------------------


def test_what_they_are(servers: Path) -> None:
    def visit(port: int) -> bytes:
        with Visitor(port) as visitor:
            heard = visitor.receive(5)
            visitor.send(b"x")
            return heard

    done, [heard], _ = run(servers, "kinds", visits=[(80, visit)])
    assert heard == b"go on"
    assert said(done) == [
        "3: type 6, flags 0, rights: accept shutdown",
        "4: type 6, flags 4, rights: read write accept shutdown",
        "nothing yet: -1 Resource temporarily unavailable",
        "4: type 6, flags 0, rights: read write accept shutdown",
        "something: 1",
    ]


def test_looking_and_waiting_for_all(servers: Path) -> None:
    def visit(port: int) -> None:
        with Visitor(port) as visitor:
            visitor.send(b"0123")
            assert visitor.receive(4) == b"more"
            for byte in b"456789":
                visitor.send(bytes([byte]))
            assert visitor.receive(4) == b"last"
            visitor.send(b"end")
            visitor.end()
            assert visitor.rest() == b""

    done, _, _ = run(servers, "whole", visits=[(80, visit)])
    assert said(done) == [
        "peeked: 4", "again: 4", "whole: 10", "0123456789", "the end of it: 3", "end",
        "after the end: 0",
    ]  # fmt: skip


def test_large_transfers(servers: Path) -> None:
    """Ten megabytes there and back at the same time; what is on its way is little."""
    sent, heard = hashlib.sha256(), hashlib.sha256()
    peaks: list[int] = []

    def visit(port: int) -> int:
        with Visitor(port) as visitor, ThreadPoolExecutor(1) as thread:

            def send() -> None:
                for _ in range(LARGE // len(CHUNK)):
                    sent.update(CHUNK)
                    visitor.send(CHUNK)
                visitor.end()

            sending = thread.submit(send)
            total = 0
            tracemalloc.start()
            try:
                while data := visitor.sock.recv(len(CHUNK)):
                    heard.update(data)
                    total += len(data)
                sending.result(SECONDS)
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
            return total

    done, [total], _ = run(servers, "echo", visits=[(80, visit)])
    assert (total, said(done)) == (LARGE, [f"echoed: {LARGE}"])
    assert heard.digest() == sent.digest()
    assert peaks[0] < LARGE // 5


# --- ends ---------------------------------------------------------------------------------------


def test_writing_ends(servers: Path) -> None:
    """The visitor hears the end, and is heard all the same."""

    def visit(port: int) -> bytes:
        with Visitor(port) as visitor:
            heard = visitor.rest()
            visitor.send(b"still there")
            return heard

    done, [heard], _ = run(servers, "shuts", visits=[(80, visit)])
    assert heard == b"before"
    assert said(done) == ["shutdown: 0", "sent: -1 Broken pipe", "received: 11"]


def test_reading_ends(servers: Path) -> None:
    """The visitor isn't held up by it."""

    def visit(port: int) -> bytes:
        with Visitor(port) as visitor:
            heard = visitor.receive(len("beforeafter"))
            for _ in range(LARGE // len(CHUNK)):
                visitor.send(CHUNK)
            Visitor(port).sock.close()
            return heard

    done, [heard], _ = run(servers, "shuts", "reading", visits=[(80, visit)])
    assert heard == b"beforeafter"
    assert said(done) == ["shutdown: 0", "sent: 5", "received: 0"]


def test_a_visitor_that_breaks_off(servers: Path) -> None:
    def visit(port: int) -> None:
        visitor = Visitor(port)
        visitor.send(b"x")
        assert visitor.receive(1) == b"x"
        visitor.reset()

    done, _, _ = run(servers, "left", visits=[(80, visit)])
    assert said(done) == [
        "recv: -1 Connection reset by peer",
        "send: -1 Connection reset by peer",
        "shutdown: -1 Socket not connected",
    ]


def test_a_deadline_in_accept(servers: Path) -> None:
    """The port opens with the first accept, and nobody comes."""
    done, _, places = run(servers, "echo", timeout=1.0)
    assert (done.exit.cause, done.returncode) == ("deadline", 124)
    assert is_free(places[80])


# --- taking back --------------------------------------------------------------------------------


class Watched:
    """A kernel with the host's network, and a server that can be looked at while it waits."""

    def __init__(self, program: Path) -> None:
        self.kernel = wasmos.Kernel(personalities=wasi.ALL)
        self.output: list[bytes] = []
        self.tcpip = Tcpip(ports=["0:80"])
        services = (Args(lambda _: ["server", *self.arguments]), Clock(),
                    Console(self.output.append), self.tcpip)  # fmt: skip
        for service in services:
            self.kernel.serve(service)
        self._program = program
        self.arguments: list[str] = []

    def start(self, *arguments: str) -> wasmos.Task:
        self.arguments = list(arguments)
        rules = ["args", "clock", "console", "tcpip.listen(listen_port=80)"]
        return self.kernel.spawn(self._program, allow=rules, trusted=True)

    def waits(self, task: wasmos.Task, after: Callable[[], object] = lambda: True) -> None:
        """Go on until a task waits for the network, and something else is so."""
        tcpip = self.kernel.service_id("tcpip")

        def does() -> bool:
            account = task.account()
            waits = (account["state"], account["peer"]) == ("awaiting reply", tcpip)
            return waits and bool(after())

        assert self.kernel.run(does, timeout=SECONDS)

    @property
    def port(self) -> int:
        return self.tcpip.bound[80][0].port

    @property
    def said(self) -> list[str]:
        return b"".join(self.output).decode().splitlines()


@pytest.fixture
def watched(servers: Path) -> Iterator[Watched]:
    watched = Watched(servers)
    with watched.kernel:
        yield watched


def test_taken_back_in_accept(watched: Watched) -> None:
    task = watched.start("echo")
    watched.waits(task, lambda: watched.tcpip.bound)
    port = watched.port
    watched.kernel.revoke(task, "tcpip")
    assert is_free(port)
    assert watched.kernel.wait(task, timeout=SECONDS).status == 1
    assert watched.said == ["accept: -1 Capabilities insufficient"]


def test_taken_back_in_recv(watched: Watched) -> None:
    task = watched.start("echo")
    watched.waits(task, lambda: watched.tcpip.bound)
    port, calls = watched.port, task.account()["calls"]
    with Visitor(port) as visitor:
        visitor.send(b"x")
        watched.waits(task, lambda: task.account()["calls"] >= calls + 3)  # recv, send, recv
        assert visitor.receive(1) == b"x"
        watched.kernel.revoke(task, "tcpip")
        assert is_free(port)
        assert visitor.rest() == b""
        assert watched.kernel.wait(task, timeout=SECONDS).status == 0
        assert watched.said == ["echoed: -1 Capabilities insufficient"]


def test_killed_in_accept(watched: Watched) -> None:
    task = watched.start("echo")
    watched.waits(task, lambda: watched.tcpip.bound)
    port = watched.port
    task.kill()
    assert is_free(port)
    assert watched.kernel.wait(task).cause == "killed"
