"""A program of many megabytes: functions as a compiler makes them, and data. It returns 7."""

from __future__ import annotations

import random

CODE_SHARE = 0.6  # of the module; the rest is data
_RETURNS_7 = b"\x00\x41\x07\x0b"


def binary(size: int) -> bytes:
    """A module of about `size` bytes, always the same."""
    draw = random.Random(size)
    bodies = [_sized(_RETURNS_7)]
    missing = int(size * CODE_SHARE)
    while missing > 0:
        bodies.append(_sized(_body(draw, len(bodies))))
        missing -= len(bodies[-1])
    data = draw.randbytes(int(size * (1 - CODE_SHARE)))
    pages = len(data) // 65_536 + 2
    types = b"\x02" + b"\x60\x00\x01\x7f" + b"\x60\x02\x7f\x7f\x01\x7f"
    count = _number(len(bodies))
    return b"\0asm\x01\0\0\0" + b"".join(
        bytes([number]) + _sized(section)
        for number, section in (
            (1, types),
            (3, count + b"\0" + b"\x01" * (len(bodies) - 1)),
            (5, b"\x01\x00" + _number(pages)),
            (7, b"\x02\x04main\x00\x00\x06memory\x02\x00"),
            (10, count + b"".join(bodies)),
            (11, b"\x01\x00\x41\x00\x0b" + _sized(data)),
        )
    )


def _body(draw: random.Random, known: int) -> bytes:
    """Two parameters, two locals; loads, arithmetic, stores under conditions, and calls of those
    before it."""
    code = bytearray(b"\x01\x02\x7f")
    for _ in range(draw.randrange(5, 60)):
        a, b, c = (bytes([draw.randrange(4)]) for _ in range(3))
        operation = draw.choice((b"\x6a", b"\x6c", b"\x73", b"\x6b"))
        code += b"\x20" + a + b"\x41" + bytes([draw.randrange(64)]) + operation
        code += b"\x20" + b + b"\x28\x02" + _number(draw.randrange(4096)) + b"\x6a\x21" + c
        if draw.random() < 0.1 and known > 1:
            callee = _number(draw.randrange(1, known))
            code += b"\x20" + a + b"\x20" + b + b"\x10" + callee + b"\x21" + c
        if draw.random() < 0.2:
            code += b"\x20" + a + b"\x45\x04\x40\x20" + b + b"\x20" + c + b"\x36\x02"
            code += _number(draw.randrange(4096)) + b"\x0b"
    return bytes(code) + b"\x20\x00\x0b"


def _number(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _sized(body: bytes) -> bytes:
    return _number(len(body)) + body
