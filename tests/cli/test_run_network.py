"""`wasmos run`: where a program may listen, and connect to."""

from __future__ import annotations

import http.client
import signal
import socket

import pytest

from tests.support.command import GUESTS, HELLO, Make, running, wasmos_
from tests.support.talkers import connecting
from wasmos import abi


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
