"""Echo: says what you say.

Law: the bytes that come back are the bytes that were sent.
"""

# ruff: noqa: ARG002 - the fields are parameters, whether used or not.

from __future__ import annotations

from wasmos.kernel import Caller, Service


class Echo(Service):
    """Answers `echo` with the same bytes."""

    name = "echo"

    def echo(self, caller: Caller, data: bytes) -> bytes:
        return data
