"""What a task may use.

Law: every limit has a default, none is optional, and each has a test that
tries to break it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NO_LIMIT = (1 << 63) - 1


class Limits:
    """Limits of one task. Immutable; `replace` makes a changed copy.

    memory_bytes: size of its linear memory; growing beyond fails in the guest.
    table_elements: entries of its tables, likewise.
    cpu_seconds: processor time, its own and its passive services'; then it ends.
    deadline_seconds: time by the kernel's clock since its spawn; then it ends,
        whatever it waits for.
    mailbox: one-way messages that may wait for it; a sender then waits or hears -19.
    """

    __slots__ = ("cpu_seconds", "deadline_seconds", "mailbox", "memory_bytes", "table_elements")

    memory_bytes: int
    table_elements: int
    cpu_seconds: float | None
    deadline_seconds: float | None
    mailbox: int

    def __init__(
        self,
        *,
        memory_bytes: int = 64 << 20,
        table_elements: int = 100_000,
        cpu_seconds: float | None = None,
        deadline_seconds: float | None = None,
        mailbox: int = 256,
    ) -> None:
        rows: dict[str, object] = {
            "memory_bytes": memory_bytes,
            "table_elements": table_elements,
            "cpu_seconds": cpu_seconds,
            "deadline_seconds": deadline_seconds,
            "mailbox": mailbox,
        }
        for name, value in rows.items():
            if value is None and name.endswith("_seconds"):
                pass
            elif not isinstance(value, int | float) or isinstance(value, bool):
                raise TypeError(f"{name} is a number, not {value!r}")
            elif not 0 <= value < NO_LIMIT or (
                isinstance(value, float) and not name.endswith("_seconds")
            ):
                raise ValueError(f"{name} can't be {value!r}")
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("limits don't change; use replace()")

    def replace(self, **changes: object) -> Limits:
        """A copy with some limits changed."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return Limits(**{**values, **changes})

    def within(self, other: Limits) -> Limits:
        """The narrower of each."""
        values: dict[str, Any] = {}
        for name in self.__slots__:
            both = [v for v in (getattr(self, name), getattr(other, name)) if v is not None]
            values[name] = min(both, default=None)
        return Limits(**values)

    @property
    def cpu_ns(self) -> int:
        return NO_LIMIT if self.cpu_seconds is None else int(self.cpu_seconds * 1e9)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"Limits({values})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Limits) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))
