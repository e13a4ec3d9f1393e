"""The audit log: what it costs the demonstration's web server to have everything written down."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack
from types import TracebackType

from bench.harness import Aim, Row, Settings, WrongResultError, check, interleave, timed

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
REQUESTS = 1_500
TITLE = b"Hello from WasmOS"


class Web:
    """A running server. `measure` is seconds for each request, one after the other."""

    def __init__(self, audit: str) -> None:
        argv = [sys.executable, "-m", "bench.peers.web_child", audit]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WrongResultError(f"{argv!r} ended with {self._process.wait()}")
        self._port = int(line)

    def measure(self, count: int) -> float:
        def work() -> None:
            for _ in range(count):
                check(TITLE in self._page(), True, "the page")

        return timed(work, count)

    def _page(self) -> bytes:
        with socket.create_connection(("127.0.0.1", self._port)) as connection:
            connection.sendall(REQUEST)
            page = b""
            while data := connection.recv(65536):
                page += data
            return page

    def __enter__(self) -> Web:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()  # the end of its input is its end


def audit(settings: Settings) -> list[Row]:
    """The same page from three servers, each with another audit."""
    count = settings.count(REQUESTS)
    with ExitStack() as stack:
        webs = [stack.enter_context(Web(kind)) for kind in ("none", "denials", "calls")]
        none, denials, calls = interleave(
            [lambda web=web: web.measure(count) for web in webs],  # type: ignore[misc]
            settings.turns(2),
        )
    return [
        Row("audit of denials and grants", denials, "no audit", none, Aim("<=", 1.02)),
        Row("audit of every call", calls, "no audit", none, Aim("<=", 1.10)),
    ]
