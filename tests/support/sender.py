"""A guest that sends messages made by Python, one after the other."""

from __future__ import annotations

from collections.abc import Mapping

import wasmos
from tests.support.wat import program
from wasmos import abi

FIRST = 32768  # where they begin
SPACE = 2048  # one message has 1,512 bytes at most


def sends(*messages: tuple[str, abi.Message], numbers_of: Mapping[int, int] | None = None) -> str:
    """A program that sends messages to services and ends with how many weren't sent or allowed.

    numbers_of: `{2: 0}` puts the number that message 0 was answered into the first field of
        message 2.
    """
    data, body = "", ""
    for number, (service, raw) in enumerate(_encoded(messages)):
        at = FIRST + SPACE * number
        data += f'(data (i32.const {at}) "{raw}")'
        if (source := (numbers_of or {}).get(number)) is not None:
            body += f"(i32.store offset=8 #{at} (i32.load offset=8 #{FIRST + SPACE * source}))"
        body += f"""(local.set $i (call $call @{service} #{at}))
            (if (i32.or (i32.lt_s (local.get $i) #0) (i32.eq (i32.load #{at}) #-8))
              (then (local.set $j (i32.add (local.get $j) #1))))"""
    pages = 1 + (FIRST + SPACE * len(messages)) // 65536
    return program(body + "(local.get $j)", fields=data, pages=str(pages))


def _encoded(messages: tuple[tuple[str, abi.Message], ...]) -> list[tuple[str, str]]:
    with wasmos.Kernel() as kernel:
        return [
            (service, "".join(f"\\{byte:02x}" for byte in kernel.encode(message)))
            for service, message in messages
        ]
