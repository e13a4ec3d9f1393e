"""A system that is spoken to in the same process: a raw client, and turns of the kernel's loop.

What is written to a Unix socket can be read at the other end at once, so nothing here waits: a turn
of the loop, and it was heard.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from typing import Any

import wasmos
from wasmos.system.control.server import Control

TURNS = 4


def turn(kernel: wasmos.Kernel, turns: int = TURNS) -> None:
    """Let the loop and the guests do what they can."""
    for _ in range(turns):
        for _ in range(4):  # some compute for ever
            if not kernel.step(1_000_000):
                break
        kernel.loop.run_until_complete(asyncio.sleep(0))


class Talker:
    """A client that says what it likes, byte by byte."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.connect(control.path)
        self.is_over = False  # the other end closed
        self._data = b""
        turn(control.kernel)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)
        turn(self.control.kernel)

    def say(self, **words: Any) -> None:
        self.send(json.dumps({"v": 1, **words}).encode() + b"\n")

    def read(self) -> bytes:
        """What has come; a turn after each part, until nothing comes any more."""
        found = b""
        while True:
            try:
                part = self.socket.recv(1 << 20)
            except BlockingIOError:
                return found
            except ConnectionResetError:
                part = b""
            if not part:
                self.is_over = True
                return found
            found += part
            turn(self.control.kernel)

    def lines(self) -> list[dict[str, Any]]:
        """The whole lines that have come."""
        self._data += self.read()
        whole, _, self._data = self._data.rpartition(b"\n")
        return [json.loads(line) for line in whole.splitlines()]

    def ask(self, do: str, **words: Any) -> Any:
        """The result. Fails for an error."""
        self.say(do=do, **words)
        [answer] = self.lines()
        assert answer["v"] == 1 and answer["ok"] is True, answer
        return answer["result"]

    def fails(self, do: str, **words: Any) -> str:
        """The error."""
        self.say(do=do, **words)
        [answer] = self.lines()
        assert answer["v"] == 1 and answer["ok"] is False, answer
        return str(answer["error"])

    def close(self) -> None:
        self.socket.close()
        turn(self.control.kernel)


def as_nobody(control: Control) -> str:
    """What another user is told who connects, or the error that he gets. For root only."""
    out, into = os.pipe()
    child = os.fork()
    if not child:
        said = b""
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.connect(control.path)
                connection.settimeout(20)
                said = connection.recv(4096)
        except OSError as error:
            said = type(error).__name__.encode()
        finally:
            os.write(into, said)
            os._exit(0)
    os.close(into)
    loop = control.kernel.loop
    ended = loop.create_future()
    loop.add_reader(out, lambda: ended.done() or ended.set_result(None))
    loop.run_until_complete(asyncio.wait_for(ended, 20))
    loop.remove_reader(out)
    with open(out) as file:
        text = file.read()
    os.waitpid(child, 0)
    return text
