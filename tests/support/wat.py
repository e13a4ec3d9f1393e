"""Guests written in a few lines of WebAssembly text, for tests that need one right there.

`program(body)` is a task, `passive(body)` a service that runs on its callers' time. Two
abbreviations keep the bodies short:

    #42     is (i32.const 42)
    @pong   is the task behind the service `pong`, looked up where it stands

Beside the four calls (`$call`, `$recv`, `$lookup`, `$reply`) a body may use

    ($put at type value)           write a message
    ($ask dst type value) -> i32   call with a message of one number at M; the call's result
    ($value) -> i32                the number in the message at M
    ($report number)               tell the service `report` a number; see `Reporter`
"""

from __future__ import annotations

import re

import wasmos

# Where the helpers keep their messages; free for bodies to use otherwise.
M = 1024
REPORT = 4096
NAMES = 8192
INBOX = 16384  # of passive services

PING, PING_REPLY = 9, 10

_IMPORTS = """
  (import "env" "ipc_call" (func $call (param i32 i32) (result i32)))
  (import "env" "ipc_recv" (func $recv (param i32 i32) (result i32)))
  (import "env" "ipc_lookup" (func $lookup (param i32) (result i32)))
  (import "env" "ipc_reply" (func $reply (param i32 i32)))
"""
_PUT = """
  (func $put (param $at i32) (param $type i32) (param $value i32)
    (i32.store (local.get $at) (local.get $type))
    (i32.store offset=8 (local.get $at) (local.get $value)))
  (func $value (result i32) (i32.load offset=8 #1024))
"""
_HELPERS = f"""
  (func $ask (param $dst i32) (param $type i32) (param $value i32) (result i32)
    (call $put #{M} (local.get $type) (local.get $value))
    (call $call (local.get $dst) #{M}))
"""
_REPORT = f"""
  (global $reporter (mut i32) #0)
  (func $report (param $value i32)
    (if (i32.eqz (global.get $reporter)) (then (global.set $reporter @report)))
    (call $put #{REPORT} #{PING} (local.get $value))
    (drop (call $call (global.get $reporter) #{REPORT})))
"""


def expand(text: str) -> str:
    """Replace the abbreviations, and append the names that they need."""
    names: dict[str, int] = {}

    def looked_up(match: re.Match[str]) -> str:
        address = names.setdefault(match[1], NAMES + 64 * len(names))
        return f"(call $lookup (i32.const {address}))"

    text = re.sub(r"@([a-z_]+)", looked_up, text)
    text = re.sub(r"(?<=[\s()])#(-?\d\w*)", r"(i32.const \1)", text)
    data = "".join(f'(data (i32.const {at}) "{name}\\00")' for name, at in names.items())
    return text.replace("!DATA!", data)


def program(body: str, *, fields: str = "", pages: str = "1") -> str:
    """A task: `main` with this body, whose value is the exit code."""
    report = _REPORT if "$report" in body + fields else ""
    return expand(
        f'(module {_IMPORTS} (memory (export "memory") {pages}) {_PUT} {_HELPERS} {report} '
        f'{fields} (func (export "main") (result i32) (local $i i32) (local $j i32) {body}) !DATA!)'
    )


def passive(body: str, *, fibre: bool = False, fields: str = "", inbox: int = INBOX) -> str:
    """A passive service: `ipc_handle` with this body. The message is at `$m`; `$in` is its number
    and `($answer number)` makes it a `ping_reply`. With `fibre` it imports the four calls."""
    calls = _IMPORTS if fibre else ""
    helpers = _HELPERS + (_REPORT if "$report" in body + fields else "") if fibre else ""
    return expand(
        f'(module {calls} (memory (export "memory") 1) {_PUT} {helpers} '
        f"(func $answer (param $value i32) (call $put #{inbox} #{PING_REPLY} (local.get $value))) "
        f'{fields} (func (export "ipc_buffer") (result i32) #{inbox}) '
        f'(func (export "ipc_handle") (param $m i32) (local $in i32) (local $i i32) '
        f"(local.set $in (i32.load offset=8 (local.get $m))) {body}) !DATA!)"
    )


def forever(body: str = "") -> str:
    return f"(loop $forever {body} (br $forever)) unreachable "


def repeat(count: int, body: str) -> str:
    """`body` so many times; `$i` counts from 0."""
    return f"""(local.set $i #0) (loop $again {body}
        (local.set $i (i32.add (local.get $i) #1))
        (br_if $again (i32.lt_u (local.get $i) #{count})))"""


RECEIVE = f"(drop (call $recv #0 #{M}))"
SRC = f"(i32.load offset=4 #{M})"


def answer(value: str) -> str:
    """Answer whoever's message is at M with a number."""
    return f"(call $put #{M} #{PING_REPLY} {value}) (call $reply {SRC} #{M})"


# An active service: answers each ping with the number plus 1.
SERVER = program(forever(RECEIVE + answer("(i32.add (call $value) #1)")))
# The same as a passive one, called in place and on a fibre.
PASSIVE = passive("(call $answer (i32.add (local.get $in) #1))")
PASSIVE_FIBRE = passive("(call $answer (i32.add (local.get $in) #1))", fibre=True)
SPIN = program(forever())
SLEEP = program(RECEIVE + "#0")  # until somebody writes to it
TRAP = program("unreachable")


def settle(kernel: wasmos.Kernel) -> None:
    """Run until no task is ready any more; not for systems in which one computes for ever."""
    while kernel.step(1_000_000):
        pass


class Reporter(wasmos.Service):
    """Collects what guests report, in order: `numbers`, and `rows` with who said it."""

    name = "report"

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []

    @property
    def numbers(self) -> list[int]:
        return [number for _, number in self.rows]

    def ping(self, caller: wasmos.Caller, value: int) -> int:
        self.rows.append((caller.id, value))
        return value


class Plus(wasmos.Service):
    """A Python service like SERVER: each ping's number plus `step`."""

    name = "plus"

    def __init__(self, step: int = 1) -> None:
        self.step = step

    def ping(self, caller: wasmos.Caller, value: int) -> int:
        return value + self.step
