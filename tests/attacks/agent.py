"""Agents: guests that send exactly the bytes a test wants, to whom it wants.

Law: an agent is a WebAssembly task like every other, and all that it does goes through the four
calls; Python only says what to do next. It asks the service `hand`, does one thing with the message
at S, and asks again with what came of it. So an attack is written as a script here, and still
played by a guest, with whole messages of its own making.
"""

from __future__ import annotations

import asyncio
from unittest import mock

import wasmos
from tests.support import wat
from wasmos import abi

CALL, RECV, REPLY, LOOKUP, EXIT = 1, 2, 3, 4, 5
S = 4096  # where the message lies that it plays with
PAGE = 65536  # all the memory that it has
ROOM = 1400  # bytes of the message that go to and fro

_OPS = f"""
  (if (i32.eq (global.get $op) #{CALL}) (then
    (local.set $j (call $call (global.get $to) (global.get $at)))))
  (if (i32.eq (global.get $op) #{RECV}) (then
    (local.set $j (call $recv (global.get $to) (global.get $at)))))
  (if (i32.eq (global.get $op) #{REPLY}) (then
    (call $reply (global.get $to) (global.get $at))))
  (if (i32.eq (global.get $op) #{LOOKUP}) (then
    (local.set $j (call $lookup (global.get $at)))))
"""
AGENT = wat.program(
    f"""
    (local.set $i (call $lookup #{wat.NAMES}))
    (loop $again
      (i32.store #1024 #2000)
      (i32.store offset=8 #1024 (local.get $j))
      (memory.copy #1036 #{S} #{ROOM})
      (if (call $call (local.get $i) #1024) (then (return #100)))
      (if (i32.ne (i32.load #1024) #2001) (then (return #101)))
      (global.set $op (i32.load offset=8 #1024))
      (global.set $to (i32.load offset=12 #1024))
      (global.set $at (i32.load offset=16 #1024))
      (memory.copy #{S} #1044 #{ROOM})
      (local.set $j #0)
      {_OPS}
      (br_if $again (i32.ne (global.get $op) #{EXIT})))
    #0""",
    fields=f"""(global $op (mut i32) #0) (global $to (mut i32) #0) (global $at (mut i32) #0)
      (data (i32.const {wat.NAMES}) "hand\\00")""",
)


class Next(abi.Message):
    TYPE, NAME, SIZE = 2000, "hand_next", 12 + ROOM
    FIELDS = (
        abi.Field("code", abi.INT32, 8, 4),
        abi.Field("data", abi.UINT8_ARRAY, 12, ROOM),
    )


class Do(abi.Message):
    TYPE, NAME, SIZE = 2001, "hand_do", 20 + ROOM
    FIELDS = (
        *(abi.Field(name, abi.INT32, 8 + 4 * n, 4) for n, name in enumerate(("op", "to", "at"))),
        abi.Field("data", abi.UINT8_ARRAY, 20, ROOM),
    )


# As if an IDL had defined them, where the service is made.
_DEFINED = mock.patch.dict(abi.RPCS, {"hand_next": abi.Rpc("hand_next", Next, Do)})

with _DEFINED:

    class Hand(wasmos.Service):
        """Answers an agent when there is something to do."""

        name = "hand"

        def __init__(self) -> None:
            self.results: dict[int, Result] = {}
            self.idle: dict[int, asyncio.Future[tuple[int, int, int, bytes]]] = {}

        async def hand_next(
            self, caller: wasmos.Caller, code: int, data: bytes
        ) -> tuple[int, int, int, bytes]:
            self.results[caller.id] = Result(self.kernel, code, data)
            self.idle[caller.id] = asyncio.get_running_loop().create_future()
            return await self.idle[caller.id]


def serve_hand(kernel: wasmos.Kernel) -> Hand:
    kernel.define_messages([Next, Do], [])
    hand = Hand()
    with _DEFINED:
        kernel.serve(hand)
    return hand


class Result:
    """What a call returned, and the message in the agent's memory after it."""

    def __init__(self, kernel: wasmos.Kernel, code: int, data: bytes) -> None:
        self._kernel = kernel
        self.code = code
        self.data = data

    @property
    def type(self) -> int:
        return int.from_bytes(self.data[:4], "little", signed=True)

    @property
    def src(self) -> int:
        return int.from_bytes(self.data[4:8], "little", signed=True)

    @property
    def error(self) -> int:
        """What the kernel or the service said no with; 0 if it was an answer."""
        return self.code or min(self.type, 0)

    @property
    def message(self) -> abi.Message:
        assert not self.error, f"an error: {abi.error_name(self.error)}"
        return self._kernel.decode(self.data.ljust(abi.MESSAGE_SIZE, b"\0"))


class Agent:
    """A guest in a test's hand."""

    def __init__(self, hand: Hand, task: wasmos.Task) -> None:
        self._hand = hand
        self._kernel = task.kernel
        self.task = task

    @property
    def id(self) -> int:
        return self.task.id

    @property
    def grants(self) -> list[wasmos.Grant]:
        """What it holds, but for `hand`."""
        return [grant for grant in self.task.grants if grant.rule.service != "hand"]

    def begin(self, op: int, to: int = 0, data: bytes = b"", at: int = S) -> None:
        """Say what to do, and run until nothing happens any more."""
        del self._hand.results[self.id]
        self._hand.idle.pop(self.id).set_result((op, to, at, data[:ROOM].ljust(ROOM, b"\0")))
        settle(self._kernel)

    @property
    def is_back(self) -> bool:
        return self.id in self._hand.results

    def result(self) -> Result:
        if not self.is_back:
            settle(self._kernel)
        assert self.is_back, self.task.exit or self.task.predicament()
        return self._hand.results[self.id]

    def do(self, op: int, to: int = 0, data: bytes = b"", at: int = S) -> Result:
        self.begin(op, to, data, at)
        return self.result()

    # --- the four calls ---

    def call(self, to: int | str, message: abi.Message | bytes, at: int = S) -> Result:
        return self.do(CALL, self._id(to), self._raw(message), at)

    def begin_call(self, to: int | str, message: abi.Message | bytes) -> None:
        self.begin(CALL, self._id(to), self._raw(message))

    def reply(self, to: int, message: abi.Message | bytes) -> None:
        self.do(REPLY, to, self._raw(message))

    def recv(self, src: int = 0) -> Result:
        return self.do(RECV, src)

    def begin_recv(self, src: int = 0) -> None:
        self.begin(RECV, src)

    def lookup(self, name: str | bytes) -> int:
        raw = name.encode() if isinstance(name, str) else name
        return self.do(LOOKUP, 0, raw + b"\0").code

    def exit(self) -> None:
        self.begin(EXIT)

    def _id(self, to: int | str) -> int:
        """Attackers guess right, and at once."""
        return self._kernel.services[to] if isinstance(to, str) else to

    def _raw(self, message: abi.Message | bytes) -> bytes:
        return message if isinstance(message, bytes) else self._kernel.encode(message)


def raw(type: int, src: int = 0, *numbers: int) -> bytes:
    """A message that nobody has checked: header, and 32-bit numbers."""
    return b"".join(n.to_bytes(4, "little", signed=n < 0) for n in (type, src, *numbers))


def settle(kernel: wasmos.Kernel) -> None:
    """Until nothing happens any more: then the virtual clock runs to the timeout at once."""
    for _ in range(4):
        kernel.run(timeout=0.001)


def offer(giver: Agent, receiver: Agent, rule: str) -> int:
    """The number of what was offered."""
    cap: int = giver.call("vm", abi.CapGrant(receiver.id, rule)).message.cap
    return cap
