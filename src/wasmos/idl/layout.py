"""Where each field of a message lies.

Law: offsets are those that a C compiler for wasm32 gives the same struct, placed at byte 8 of a
message, and the end is at most byte 1,512. Nothing else about a message decides them, so a layout
can be checked against any C compiler.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .errors import IdlError
from .model import FieldDef, TypeName
from .names import field_problem, hint

HEADER_SIZE = 8
MESSAGE_SIZE = 1512

# The kernel keeps a message's fields in a table of this many rows.
MAX_FIELDS = 16


class Kind(enum.Enum):
    """What is stored; the names are those of `wasmos.abi`'s constants."""

    INT32 = "int32"
    UINT32 = "uint32"
    UINT16 = "uint16"
    INT64 = "int64"
    CSTR = "cstr"
    BYTES = "bytes"
    UINT8_ARRAY = "uint8_array"
    LENT = "lent"
    LENT_OUT = "lent_out"


@dataclass(frozen=True, slots=True)
class _Scalar:
    kind: Kind
    size: int
    # A message is aligned to 4 bytes, and so is whatever is in it.
    alignment: int
    # What follows it at once: how many bytes were lent.
    has_length: bool = False


_SCALARS = {
    "int": _Scalar(Kind.INT32, 4, 4),
    "task": _Scalar(Kind.INT32, 4, 4),
    "uint32": _Scalar(Kind.UINT32, 4, 4),
    "uint16": _Scalar(Kind.UINT16, 2, 2),
    "int64": _Scalar(Kind.INT64, 8, 4),
    "lent": _Scalar(Kind.LENT, 4, 4, has_length=True),
    "lent_out": _Scalar(Kind.LENT_OUT, 4, 4, has_length=True),
}
# Of memory that stays where it is: the message says where, and how much.
LENT_TYPES = ("lent", "lent_out")
_ARRAYS = {"cstr": Kind.CSTR, "bytes": Kind.BYTES, "uint8": Kind.UINT8_ARRAY}
_LENGTH_SIZE = 4
_WITH_LENGTH = ("bytes", *(name for name, scalar in _SCALARS.items() if scalar.has_length))

# What a value can stand for, and the types that can hold such a thing. Capabilities constrain a
# field by what it means; in a message it is the number or the text that it is anyway.
MEANINGS: dict[str, tuple[str, ...]] = {
    "ipv4": ("uint32",),
    "port": ("uint16",),
    "hostname": ("cstr",),
    "path": ("cstr",),
    "name": ("cstr",),
    "own_name": ("cstr",),
    "secret": ("cstr", "bytes"),
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field in its place; offsets count from the start of the message."""

    name: str
    type: TypeName
    kind: Kind
    offset: int
    size: int
    len_offset: int | None
    doc: tuple[str, ...]
    meaning: str = ""

    @property
    def end(self) -> int:
        if self.len_offset is None:
            return self.offset + self.size
        return self.len_offset + _LENGTH_SIZE

    @property
    def alignment(self) -> int:
        if self.kind is Kind.BYTES:
            return _LENGTH_SIZE
        scalar = _SCALARS.get(self.type.name)
        return 1 if scalar is None else scalar.alignment


@dataclass(frozen=True, slots=True)
class Layout:
    """The fields of one message, and its size in bytes with the header."""

    fields: tuple[Field, ...]
    size: int

    @property
    def payload_size(self) -> int:
        return self.size - HEADER_SIZE


def lay_out_fields(definitions: tuple[FieldDef, ...], file: str) -> Layout:
    """Place the fields one after another, each at its natural alignment."""
    _check_names(definitions, file)
    fields: list[Field] = []
    end = HEADER_SIZE
    for definition in definitions:
        field = _place(definition, end, file)
        end = field.end
        if end > MESSAGE_SIZE:
            problem = f"'{field.name}' ends at byte {end} of a message"
            advice = f"make the fields smaller: byte {MESSAGE_SIZE} is the last possible end"
            raise IdlError(file, definition.line, problem, advice)
        _check_meaning(definition, file)
        fields.append(field)
    # Never past the limit: that is a multiple of every alignment.
    size = _align(end, max((field.alignment for field in fields), default=1))
    return Layout(tuple(fields), size)


def _place(definition: FieldDef, end: int, file: str) -> Field:
    type_ = definition.type
    doc, meaning = definition.doc, definition.meaning
    if scalar := _SCALARS.get(type_.name):
        if type_.length is not None:
            problem = f"'{type_.name}' takes no length"
            advice = f"write '{type_.name}', or use bytes[N]"
            if type_.name in LENT_TYPES:
                problem += ": each message says how much it lends"
                advice = f"write '{type_.name}', and bound it by a rule: len({definition.name})=..N"
            raise IdlError(file, definition.line, problem, advice)
        offset = _align(end, scalar.alignment)
        len_offset = offset + scalar.size if scalar.has_length else None
        return Field(
            definition.name, type_, scalar.kind, offset, scalar.size, len_offset, doc, meaning
        )
    kind, length = _array(definition, file)
    # A bytes[N] is two members to C, so only the second one is aligned.
    len_offset = _align(end + length, _LENGTH_SIZE) if kind is Kind.BYTES else None
    return Field(definition.name, type_, kind, end, length, len_offset, doc, meaning)


def _array(definition: FieldDef, file: str) -> tuple[Kind, int]:
    type_ = definition.type
    kind = _ARRAYS.get(type_.name)
    if kind is None:
        raise IdlError(file, definition.line, f"unknown type '{type_.name}'", _advice(type_.name))
    if type_.length is None:
        problem = f"'{type_.name}' needs a length"
        raise IdlError(file, definition.line, problem, f"write {type_.name}[N], such as [64]")
    if type_.length < 1:
        problem = f"{type_} has no room for anything"
        raise IdlError(file, definition.line, problem, "give it a length of 1 or more")
    return kind, type_.length


def _advice(name: str) -> str:
    known = [*_SCALARS, *(f"{array}[N]" for array in _ARRAYS)]
    return f"{hint(name, [*_SCALARS, *_ARRAYS])}the types are {', '.join(known)}"


def _check_meaning(definition: FieldDef, file: str) -> None:
    meaning, type_ = definition.meaning, definition.type.name
    if not meaning:
        return
    if meaning not in MEANINGS:
        advice = f"{hint(meaning, MEANINGS)}the meanings are {', '.join(MEANINGS)}"
        raise IdlError(file, definition.line, f"unknown meaning '{meaning}'", advice)
    if type_ not in MEANINGS[meaning]:
        problem = f"'{definition.type}' can't be read as '{meaning}'"
        others = [f"'as {name}'" for name, types in MEANINGS.items() if type_ in types]
        instead = f"write {' or '.join(others)}" if others else f"remove 'as {meaning}'"
        advice = f"make it a {' or '.join(MEANINGS[meaning])}, or {instead}"
        raise IdlError(file, definition.line, problem, advice)


def _check_names(definitions: tuple[FieldDef, ...], file: str) -> None:
    if len(definitions) > MAX_FIELDS:
        line = definitions[MAX_FIELDS].line
        problem = f"a message has at most {MAX_FIELDS} fields"
        raise IdlError(file, line, problem, "put several into one bytes[N]")
    taken: dict[str, int] = {}
    for definition in definitions:
        if problem_ := field_problem(definition.name):
            raise IdlError(file, definition.line, problem_, "choose another name")
        members = [definition.name]
        if definition.type.name in _WITH_LENGTH:
            members.append(f"{definition.name}_len")
        for member in members:
            if member in taken:
                problem = f"two fields are called '{member}'"
                advice = f"rename one of them (the other is on line {taken[member]})"
                raise IdlError(file, definition.line, problem, advice)
            taken[member] = definition.line


def _align(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
