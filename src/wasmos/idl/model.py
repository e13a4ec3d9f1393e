"""What a definition file says, as it says it.

Law: nothing here has been judged. A model may hold an unknown type, a length of -1 or the same
name twice; every part knows its line, so that whoever judges it can point at it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Flow(enum.Enum):
    """Who sends a message, and whether an answer follows."""

    RPC = "rpc"
    ONEWAY = "oneway"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class TypeName:
    """A type as written: `uint32`, `cstr[64]`."""

    name: str
    length: int | None

    def __str__(self) -> str:
        return self.name if self.length is None else f"{self.name}[{self.length}]"


@dataclass(frozen=True, slots=True)
class FieldDef:
    name: str
    type: TypeName
    doc: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class MessageDef:
    """One line of a block; an rpc defines two messages."""

    flow: Flow
    name: str
    fields: tuple[FieldDef, ...]
    reply_fields: tuple[FieldDef, ...]
    doc: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class AnswersDef:
    """`answers ping;`: the service answers a message that is defined elsewhere."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class BlockDef:
    """A service, or the kernel's own messages if it has no name."""

    name: str | None
    messages: tuple[MessageDef, ...]
    answers: tuple[AnswersDef, ...]
    doc: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Document:
    """One file."""

    file: str
    first: int
    first_line: int
    blocks: tuple[BlockDef, ...]
