"""A function that a task is spawned to call, in place of its program's entry.

Law: what reaches the engine is of the types that the function has: the engine is asked for nothing
that it would have to refuse. Results are numbers of Python's.
"""

from __future__ import annotations

import struct

from wasmos.engine.info import quote
from wasmos.engine.policy import LIBRARY
from wasmos.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmos.kernel.program import Program

# type → (the engine's number for it, its bits as a number, its values, all little-endian)
_TYPES = {
    "i32": (0, "<i", "<i"),
    "i64": (1, "<q", "<q"),
    "f32": (2, "<i", "<f"),
    "f64": (3, "<q", "<d"),
}
_NAMES = {kind: name for name, (kind, _, _) in _TYPES.items()}


def prepared(
    program: Program, entry: str | None, arguments: Sequence[int | float]
) -> tuple[bytes, list[tuple[int, int]], int] | None:
    """What the core is told of a function: its name, its arguments, how many results it has; None
    for the program's own entry. Raises UsageError."""
    if entry is None:
        if arguments:
            raise UsageError("arguments are for a function: say which, as entry")
        if program.shape.kind == LIBRARY:
            raise UsageError(f"{program.name} was loaded as a library: say what to call, as entry")
        return None
    parameters, results = program.signature(entry, len(arguments))
    pairs = zip(parameters, arguments, strict=True)
    values = [_bits(entry, number, *pair) for number, pair in enumerate(pairs, 1)]
    return entry.encode("utf-8", "surrogateescape"), values, len(results)


def value_of(kind: int, bits: int) -> int | float:
    """A result, from its bits. The upper half of 32 bits in 64 is anything."""
    _, _, values = _TYPES[_NAMES[kind]]
    raw = struct.pack("<q", bits)
    value: int | float = struct.unpack(values, raw[: struct.calcsize(values)])[0]
    return value


def _bits(name: str, number: int, type: str, value: int | float) -> tuple[int, int]:
    kind, bits, values = _TYPES[type]
    if type[0] == "i" and isinstance(value, int):
        size = int(type[1:])
        if 1 << (size - 1) <= value < 1 << size:  # unsigned: its bits are what counts
            value -= 1 << size
    try:
        raw = struct.pack(values, value)
    except (struct.error, OverflowError):
        raise UsageError(f"argument {number} of {quote(name)}: {value!r} is no {type}") from None
    return kind, struct.unpack(bits, raw)[0]
