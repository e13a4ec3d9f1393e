"""Arguments and results of a function as people write and read them.

Law: a text becomes a value of the type that the function has, or an error that says which one is
wrong. Results are shown as the engine's own command shows them.
"""

from __future__ import annotations

import math
import re
import struct

from wasmos.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wasmos.kernel import Program

_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)", re.ASCII)
_FLOAT = re.compile(
    r"[+-]?(inf|infinity|nan|([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?)", re.ASCII | re.IGNORECASE
)
_MAX_CHARACTERS = 1000  # no number that people write is longer, and longer ones take time to read
_WANTED = {
    "i32": "a whole number of 32 bits, such as -1 or 0xff",
    "i64": "a whole number of 64 bits, such as -1 or 0xff",
    "f32": "a number of single precision, such as 1.5 or 1e-3",
    "f64": "a number, such as 1.5 or 1e-3",
}


def arguments(program: Program, name: str, texts: Sequence[str]) -> list[int | float]:
    """The values to call a function of a program with. Raises UsageError."""
    if _leaves_them_to_the_program(program, name):
        return []
    parameters, _ = program.signature(name, len(texts))
    found = []
    for number, (type, text) in enumerate(zip(parameters, texts, strict=True), 1):
        value = _value(type, text)
        if value is None:
            raise UsageError(
                f"argument {number} of {name!r} is an {type}, and not {text!r}; "
                f"write {_WANTED[type]}"
            )
        found.append(value)
    return found


def _leaves_them_to_the_program(program: Program, name: str) -> bool:
    """Of a reactor whose work is a `main`: the function takes nothing, and the program reads its
    arguments, whatever they are."""
    found = program.info.signature(name)
    if program.shape.dialect is None or found is None or found[0]:
        return False
    return any(item.name == "args_get" for item in program.info.imports)


def _value(type: str, text: str) -> int | float | None:
    """None if it is no such value."""
    pattern = _INTEGER if type[0] == "i" else _FLOAT
    if len(text) > _MAX_CHARACTERS or not pattern.fullmatch(text):
        return None
    if type[0] == "i":
        whole = int(text, 16 if "x" in text.lower() else 10)
        bits = int(type[1:])
        return whole if -1 << (bits - 1) <= whole < 1 << bits else None
    value = float(text)
    if type == "f32":
        try:
            struct.pack("<f", value)
        except OverflowError:
            return None
    return value


def shown(types: Iterable[str], values: Iterable[int | float]) -> list[str]:
    """Results, each as text: no exponents, and as many digits as tell it from its neighbours."""
    return [_shown(type, value) for type, value in zip(types, values, strict=True)]


def _shown(type: str, value: int | float) -> str:
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return str(value)
    from decimal import Decimal

    text = format(Decimal(_single(value) if type == "f32" else repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _single(value: float) -> str:
    """The shortest text that is this number in single precision."""
    from ctypes import c_float

    texts = (f"{value:.{digits}g}" for digits in range(1, 10))
    return next(text for text in texts if c_float(float(text)).value == value)
