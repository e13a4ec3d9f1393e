"""What people write: sizes and times like `64MiB` and `5s`, and names with typing errors.

Law: a number without a unit is bytes or seconds; anything that isn't
understood is an error that shows what would be.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

_SIZES = {
    "": 1, "b": 1,
    "k": 1 << 10, "kb": 10**3, "kib": 1 << 10,
    "m": 1 << 20, "mb": 10**6, "mib": 1 << 20,
    "g": 1 << 30, "gb": 10**9, "gib": 1 << 30,
    "t": 1 << 40, "tb": 10**12, "tib": 1 << 40,
}  # fmt: skip
_TIMES = {
    "": 1.0,
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
# The kernel counts in 64 bits: bytes, and nanoseconds since it began.
MAX_SIZE = 1 << 60
MAX_SECONDS = 1e9


def size(text: str | int) -> int:
    """Bytes. Raises ValueError."""
    return int(_parse(str(text), _SIZES, MAX_SIZE, "a size like 64MiB"))


def seconds(text: str | float) -> float:
    """Seconds. Raises ValueError."""
    return _parse(str(text), _TIMES, MAX_SECONDS, "a time like 5s or 250ms")


def whole(text: str | int) -> int:
    """A number of things. Raises ValueError."""
    digits = str(text).strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise ValueError(f"{text!r} is not a number")
    return int(digits)


def _parse(text: str, units: dict[str, float] | dict[str, int], most: float, wanted: str) -> float:
    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    unit = text.strip()[len(number) :].strip().lower()
    try:
        value = float(number) * units[unit]
    except (ValueError, KeyError):
        raise ValueError(f"{text!r} is not {wanted}") from None
    if not value >= 0:  # nor NaN
        raise ValueError(f"{text!r} is not {wanted}")
    if value > most:
        raise ValueError(f"{text!r} is too much")
    return value


def nearest(name: str, known: Collection[str]) -> str:
    """A hint for who wrote a name that isn't known."""
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"


def show_size(value: int) -> str:
    """Bytes for people: `1.5 MiB`."""
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError


def written_size(value: int) -> str:
    """Bytes as they are written, exactly: `128MiB`."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if value and value % (1 << shift) == 0:
            return f"{value >> shift}{unit}"
    return str(value)


def show_time(value: float) -> str:
    """Seconds for people: `3.20 ms`."""
    for factor, unit in ((1e-6, "us"), (1e-3, "ms")):
        if value < factor * 1000:
            return f"{value / factor:.2f} {unit}"
    return f"{value:.2f} s"
