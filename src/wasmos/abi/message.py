"""What every message class has in common.

Law: a message is its class and its fields' values, and knows where they lie but not how to get
there: bytes are the codec's business. Nothing is computed when a class is made, because every
start of every program pays for all of them.
"""

from __future__ import annotations

# typing takes longer to import than all the messages together; type checkers read this as true.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

# What a field holds, and so what it is in Python.
INT32 = 0  # int; a task's id as well
UINT32 = 1  # int
UINT16 = 2  # int
CSTR = 3  # str: UTF-8, and what isn't survives as surrogate escapes
BYTES = 4  # bytes, up to the field's size
UINT8_ARRAY = 5  # bytes, exactly the field's size
INT64 = 6  # int
LENT = 7  # memory of the sender's, which the service reads: a Lent, or any buffer to send
LENT_OUT = 8  # the same, to be written: a Lent, or a buffer that can be changed


class Field:
    """Where a field lies; offsets count from the start of the message."""

    __slots__ = ("kind", "len_offset", "meaning", "name", "offset", "size")

    def __init__(
        self,
        name: str,
        kind: int,
        offset: int,
        size: int,
        len_offset: int = 0,
        meaning: str = "",
    ) -> None:
        self.name = name
        self.kind = kind
        self.offset = offset
        # In bytes; of an array, its capacity.
        self.size = size
        # Where a BYTES, LENT or LENT_OUT field keeps how many bytes; 0 for the other kinds.
        self.len_offset = len_offset
        # What the value stands for, such as "ipv4"; "" if it is just a value.
        self.meaning = meaning

    def __repr__(self) -> str:
        length = f", len_offset={self.len_offset}" if self.len_offset else ""
        meaning = f" as {self.meaning}" if self.meaning else ""
        return f"<Field {self.name} kind={self.kind} {self.offset}+{self.size}{length}{meaning}>"


class Message:
    """A message as a value. Its class says which one, its attributes are its fields."""

    __slots__ = ()

    TYPE: ClassVar[int] = 0
    NAME: ClassVar[str] = ""
    # In bytes, with the header.
    SIZE: ClassVar[int] = 8
    FIELDS: ClassVar[tuple[Field, ...]] = ()

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, field.name) for field in self.FIELDS)

    def __repr__(self) -> str:
        fields = (f"{field.name}={getattr(self, field.name)!r}" for field in self.FIELDS)
        return f"{type(self).__name__}({', '.join(fields)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    # By value, like equality: change no message that is in a set or is a key.
    def __hash__(self) -> int:
        return hash((self.TYPE, self._values()))


class Rpc:
    """A request, and the answer that belongs to it."""

    __slots__ = ("name", "reply", "request")

    def __init__(self, name: str, request: type[Message], reply: type[Message]) -> None:
        self.name = name
        self.request = request
        self.reply = reply

    def __repr__(self) -> str:
        return f"<Rpc {self.name}: {self.request.__name__} -> {self.reply.__name__}>"
