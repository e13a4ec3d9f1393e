"""The other end: find a running system and ask it.

Law: what a system answers is data; whoever prints it makes it safe. A system that doesn't answer is
an error after some seconds, not a wait.
"""

from __future__ import annotations

import json
import os

from wasmos.errors import ControlError
from wasmos.system.control import place, wire
from wasmos.system.control.peer import peer
from wasmos.system.policy.rights import from_here
from wasmos.system.units import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from wasmos.system.control.place import Address

ANSWER_SECONDS = 10.0
MAX_ANSWER = 256 << 20
NONE = "no system is running that can be spoken to; start one: wasmos boot, or wasmos run FILE.wasm"


class Connection:
    """To one system."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._socket = place.new_socket()
        self._socket.settimeout(ANSWER_SECONDS)
        try:
            self._socket.connect(address.path)
            uid, _ = peer(self._socket)
        except OSError as error:
            self._socket.close()
            raise self._failed(error) from None
        if uid != os.geteuid():
            self._socket.close()
            raise ControlError(f"{address.path} belongs to user {uid}")
        self._file = self._socket.makefile("rb")

    def _failed(self, error: OSError) -> ControlError:
        if isinstance(error, TimeoutError):
            problem = f"doesn't answer for {ANSWER_SECONDS:.0f} s"
        elif isinstance(error, (ConnectionRefusedError, FileNotFoundError)):
            problem = "is gone"
        else:
            problem = (error.strerror or str(error)).lower()
        return ControlError(f"{self.address.name} (pid {self.address.pid}): {problem}")

    def ask(self, do: str, **words: Any) -> Any:
        """What the system answers. Raises ControlError with what it says instead. A relative
        directory in a rule is one of this process: the system may be anywhere."""
        given = {key: value for key, value in words.items() if value is not None}
        if isinstance(given.get("rule"), str):
            given["rule"] = from_here(given["rule"])
        try:
            self._socket.sendall(wire.line(do=do, **given))
            answer = self._read()
        except OSError as error:
            raise self._failed(error) from None
        if answer is None:
            raise self._failed(ConnectionRefusedError())
        if answer.get("ok") is not True:
            raise ControlError(str(answer.get("error", "no reason was given")))
        return answer.get("result")

    def records(self, *, calls: bool = False) -> Iterator[dict[str, Any]]:
        """The audit from now on, until the system ends."""
        self.ask("audit", calls=calls)
        self._socket.settimeout(None)
        try:
            while (message := self._read()) is not None:
                if isinstance(record := message.get("record"), dict):
                    yield record
        except OSError as error:
            raise self._failed(error) from None

    def _read(self) -> dict[str, Any] | None:
        line = self._file.readline(MAX_ANSWER)
        if not line.endswith(b"\n"):
            return None
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ControlError(f"{self.address.path}: what answers there is no wasmos")
        return found

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find(which: str | None = None) -> Address:
    """The system that is meant: by its name or its pid, or the only one. Raises ControlError."""
    running = place.addresses()
    if not running:
        raise ControlError(NONE)
    found = running if which is None else _called(running, which)
    if not found:
        hint = nearest(str(which), [address.name for address in running])
        raise ControlError(f"no system {which!r} is running; {hint}")
    if len(found) > 1:
        raise ControlError(
            f"{len(found)} systems are running: {listed(found)}; choose one with -S NAME or -S PID"
        )
    return found[0]


def _called(running: list[Address], which: str) -> list[Address]:
    by_pid = [address for address in running if str(address.pid) == which]
    return by_pid or [address for address in running if address.name == place.short(which)]


def listed(found: list[Address]) -> str:
    return ", ".join(f"{address.name} (pid {address.pid})" for address in found)


def connect(which: str | None = None) -> Connection:
    return Connection(find(which))
