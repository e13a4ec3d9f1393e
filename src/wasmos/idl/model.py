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
class Mention:
    """A name that stands for something defined elsewhere, or for nothing but itself."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class FieldDef:
    """`dst_port: uint16 as port`; the meaning is empty where none is written."""

    name: str
    type: TypeName
    doc: tuple[str, ...]
    line: int
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class MessageDef:
    """One line of a block; an rpc defines two messages.

    covered_by: what stands after `with`: a capability for one of those is one for this, too.
    """

    flow: Flow
    name: str
    fields: tuple[FieldDef, ...]
    reply_fields: tuple[FieldDef, ...]
    doc: tuple[str, ...]
    line: int
    covered_by: tuple[Mention, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockDef:
    """A service or more of one, or the kernel's own messages if it has no name.

    answers: `answers ping;`: messages that are defined elsewhere.
    badges: `badge dir, mode;`: what a capability can say to the service beside the messages.
    """

    name: str | None
    messages: tuple[MessageDef, ...]
    answers: tuple[Mention, ...]
    doc: tuple[str, ...]
    line: int
    badges: tuple[Mention, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """One file."""

    file: str
    first: int
    first_line: int
    blocks: tuple[BlockDef, ...]
