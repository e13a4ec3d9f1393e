"""An interface as a C header: the template, with the messages put in.

Law: the header checks itself. What the generator believes about offsets and sizes is written into
it as static assertions, so a compiler that disagrees refuses the program.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from .interface import Interface, Message
from .layout import HEADER_SIZE, MESSAGE_SIZE, Field, Kind
from .names import constant_name

_TEMPLATE = Path(__file__).with_name("wasmos.h.in")

_C_TYPES = {
    "int": "int",
    "task": "task_t",
    "uint32": "uint32_t",
    "uint16": "uint16_t",
    "int64": "wasmos_int64_t",
    # An address, which need not be one of the memory that the message is in.
    "lent": "uint32_t",
    "lent_out": "uint32_t",
}


def emit_c(interface: Interface, sources: Iterable[str]) -> str:
    """The text of the header; `sources` are the files it says it was made from."""
    messages = interface.messages
    parts = {
        "SOURCES": ", ".join(sources),
        "MESSAGES": "\n\n".join(_message(message) for message in messages),
        "PAYLOAD_SIZE": str(MESSAGE_SIZE - HEADER_SIZE),
        "MEMBERS": "\n".join(
            f"        struct {m.name}_fields {m.name};" for m in messages if m.layout.fields
        ),
        "ASSERTIONS": "\n".join(line for message in messages for line in _assertions(message)),
    }
    text = _TEMPLATE.read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


def _message(message: Message) -> str:
    doc = (f"The answer to {message.reply_to}.",) if message.reply_to else message.doc
    lines = [*_comment(doc, ""), f"#define {constant_name(message.name)} {message.number}"]
    if message.layout.fields:
        lines.append(f"struct {message.name}_fields {{")
        for field in message.layout.fields:
            lines += [*_comment(field.doc, "    "), *_members(field)]
        lines.append("};")
    return "\n".join(lines)


def _comment(doc: tuple[str, ...], indent: str) -> list[str]:
    """A block comment: in a line comment, a line that ends in a backslash would go on."""
    if not doc:
        return []
    lines = [line.replace("*/", "* /").replace("/*", "/ *") for line in doc]
    lines = [f"{indent}{' *' if at else '/*'} {line}".rstrip() for at, line in enumerate(lines)]
    lines[-1] += " */"
    return lines


def _members(field: Field) -> list[str]:
    if field.kind is Kind.CSTR:
        return [f"    char {field.name}[{field.size}];"]
    if field.kind is Kind.UINT8_ARRAY:
        return [f"    uint8_t {field.name}[{field.size}];"]
    if field.kind is Kind.BYTES:
        return [
            f"    uint8_t {field.name}[{field.size}];",
            f"    uint32_t {field.name}_len;",
        ]
    members = [f"    {_C_TYPES[field.type.name]} {field.name};"]
    if field.len_offset is not None:
        members.append(f"    uint32_t {field.name}_len;")
    return members


def _assertions(message: Message) -> Iterator[str]:
    if message.layout.fields:
        yield f"WASMOS_SIZE({message.name}, {message.layout.payload_size});"
    for field in message.layout.fields:
        yield f"WASMOS_FIELD({message.name}, {field.name}, {field.offset}, {field.size});"
        if field.len_offset is not None:
            yield f"WASMOS_FIELD({message.name}, {field.name}_len, {field.len_offset}, 4);"
