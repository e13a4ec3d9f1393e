"""Pong: the smallest server there is. Copy it.

Law: whatever the question, the answer is 42.

A server is a class with a name and a method for each message that it answers. The parameters
are the message's fields, what is returned becomes the answer. To run it:

    with wasmos.Kernel() as kernel:
        kernel.serve(Pong())
        print(kernel.call("pong", abi.Ping(value=1)).value)

To answer with an error, raise `ServiceError(ErrorCode.NOT_FOUND)`. To keep something for each
caller, use `caller.id` as a key, and free it in `task_ended`. To wait for something, make the
method `async def`.
"""

# ruff: noqa: ARG002 - the fields are parameters, whether used or not.

from __future__ import annotations

from wasmos.kernel import Caller, Service


class Pong(Service):
    """Answers every `ping` with 42."""

    name = "pong"

    def ping(self, caller: Caller, value: int) -> int:
        return 42
