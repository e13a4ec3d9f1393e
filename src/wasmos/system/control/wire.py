"""Requests and answers as lines of JSON.

Law: bytes in, values out; no socket is known here. Whatever comes in gives a request or a
`WireError` that says what is wrong with it. A line costs memory up to a limit.
"""

from __future__ import annotations

import json

from wasmos.errors import WasmosError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Request: TypeAlias = dict[str, Any]

VERSION = 1
MAX_LINE = 64 << 10  # bytes of a request


class WireError(WasmosError):
    """What came is no request."""


class Lines:
    """Cuts bytes into lines."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._seen = 0  # bytes in which there is no newline

    def add(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> bytes | None:
        """The next line without its end; None if it isn't there yet. Raises WireError."""
        end = self._buffer.find(b"\n", self._seen)
        if max(end, len(self._buffer) if end < 0 else 0) > self._limit:
            raise WireError(f"a line has at most {self._limit:,} bytes")
        if end < 0:
            self._seen = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._seen = 0
        return line


def parse(line: bytes) -> Request:
    """A request: its words, `do` among them and without `v`. Raises WireError."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise WireError('a request is a line of JSON, such as {"v":1,"do":"ps"}') from None
    if not isinstance(found, dict):
        raise WireError('a request is a JSON object, such as {"v":1,"do":"ps"}')
    version = found.pop("v", None)
    if type(version) is not int or version != VERSION:
        raise WireError(f"version {json.dumps(version)[:40]} is not spoken here, but {VERSION}")
    if not isinstance(found.get("do"), str):
        raise WireError('a request says what to do: {"v":1,"do":"ps"}')
    return found


def line(**words: Any) -> bytes:
    """A message as its line: printable ASCII."""
    text = json.dumps({"v": VERSION, **words}, separators=(",", ":"))
    return text.replace("\x7f", "\\u007f").encode() + b"\n"


def answer(result: Any) -> bytes:
    return line(ok=True, result=result)


def error(problem: str) -> bytes:
    return line(ok=False, error=problem)
