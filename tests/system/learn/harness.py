"""What the tests of learning share: the rules that were learnt, and a visitor of web servers."""

from __future__ import annotations

import socket
import tomllib
from typing import Any

from wasmos.system.learn.learn import Learnt


def rules(learnt: Learnt) -> list[str]:
    """As the file has them, which has to be one."""
    section: dict[str, Any] = tomllib.loads(learnt.policy)["task"][learnt.name]
    assert [str(line.rule) for line in learnt.lines] == section["allow"]
    return list(section["allow"])


def visit(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
        return b"".join(iter(lambda: peer.recv(65536), b""))
