"""Services that note what comes, and by which right, and calls of them."""

from __future__ import annotations

import asyncio

import wasmos
from tests.support.wat import M, program
from wasmos import abi

NOT_ALLOWED, NOT_SUPPORTED, ABORTED = -8, -9, -21
# Pings `s` with 7. Its exit code is the error; 90 or 91 if its message isn't as it wrote it.
UNCHANGED = (
    f"(if (i32.ne (i32.load #{M}) #9) (then (return #90)))"
    "(if (i32.ne (call $value) #7) (then (return #91)))"
)
CALLER = program(f"(local.set $i (call $ask @s #9 #7)) {UNCHANGED} (local.get $i)")


class Anything(wasmos.Service):
    """Answers nothing but "not supported": for what is admitted at all."""

    def __init__(self, name: str) -> None:
        self.name = name


class Who(wasmos.Service):
    """Answers pings, and notes by which right they came."""

    name = "who"

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, dict[str, str], list[int]]] = []
        self.told: list[tuple[int, int]] = []
        self.gone: list[int] = []

    def ping(self, caller: wasmos.Caller, value: int) -> int:
        held = [grant.id for grant in caller.grants()]
        self.seen.append((caller.id, caller.grant, dict(caller.badge), held))
        return value

    def task_destroyed(self, caller: wasmos.Caller, task: int) -> None:
        self.told.append((task, caller.grant))

    def revoked(self, grant: int) -> None:
        self.gone.append(grant)


class Slow(wasmos.Service):
    """Answers a ping when its time has come; notes what was cancelled."""

    name = "slow"

    def __init__(self) -> None:
        self.late: asyncio.Future[None] | None = None  # what is cancelled goes on until then
        self.ends: list[asyncio.Future[None]] = []
        self.cancelled: list[int] = []

    async def ping(self, caller: wasmos.Caller, value: int) -> int:
        self.ends.append(asyncio.get_running_loop().create_future())
        try:
            await self.ends[-1]
        except asyncio.CancelledError:
            self.cancelled.append(value)
            if self.late is None:
                raise
            await self.late
        return value + 1


def send(client: wasmos.Client, service: str, message: abi.Message | bytes) -> int:
    """What became of a call: 0, or an error code."""
    kernel = client.kernel
    raw = message if isinstance(message, bytes) else kernel.encode(message)
    result = kernel.send(client.id, kernel.service_id(service), raw)
    if result is None:
        kernel.run(lambda: client._result is not None)
        result, client._result = client._result, None
    assert result is not None
    reply = int.from_bytes(kernel.reply_of(client.id)[:4], "little", signed=True)
    return result or min(reply, 0)


def admits(
    kernel: wasmos.Kernel, rule: str, message: abi.Message | bytes, *deny: str, name: str = "me"
) -> bool:
    """Whether a task with this rule may send a message to the rule's service."""
    service = kernel.parse_rule(rule).service
    if service not in kernel.services:
        kernel.serve(Anything(service))
    client = kernel.client(name, allow=[rule], deny=deny)
    code = send(client, service, message)
    client.kill()
    return code != NOT_ALLOWED


def ping(client: wasmos.Client, service: str = "who", value: int = 1) -> int:
    return send(client, service, abi.Ping(value))


def cause(client: wasmos.Client) -> str:
    client.kernel.take_records()
    return client.denials[-1].cause


def begin(client: wasmos.Client, service: str, value: int = 1) -> None:
    """A call that has to wait."""
    client.begin(service, abi.Ping(value), lambda: None)
    client.kernel.run(timeout=0.001)
    assert client._result is None


def heirs(kernel: wasmos.Kernel, count: int) -> list[wasmos.Client]:
    return [kernel.client(f"heir{n}", allow=[]) for n in range(count)]
