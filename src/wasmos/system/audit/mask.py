"""What of a message may be written down.

Law: no bytes and no secret leave this file. A field is kept for its meaning (an address, a port, a
path) and for nothing else but being a small number; what is masked shows that it was there.
"""

from __future__ import annotations

from wasmos.abi import RPCS
from wasmos.abi.networks import dotted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from wasmos.abi.message import Field, Message

MASKED = "***"
MAX_TEXT = 256  # characters of a field
CUT = "…"
SMALL = 1 << 16  # a handle, an index, a length: numbers that tell calls apart


def fields_that_matter(
    message: type[Message] | None, values: Mapping[str, Any], mask: Collection[str] = ()
) -> dict[str, Any]:
    """The fields of a message that an audit shall show. A message that isn't known has fields
    without a meaning."""
    known = {} if message is None else {field.name: field for field in message.FIELDS}
    kept = {}
    for name, value in values.items():
        shown = MASKED if name in mask else _shown(known.get(name), value)
        if shown is not None:
            kept[name] = shown
    return kept


def secret_names() -> frozenset[str]:
    """The fields that are secret in some request of the system: rules name no others."""
    return frozenset(
        field.name
        for rpc in RPCS.values()
        for field in rpc.request.FIELDS
        if field.meaning == "secret"
    )


def without(names: Collection[str], text: str) -> str:
    """A rule, or a text with one in it, without the values that it names for these fields: the
    rule that would allow a message has the message's values in it."""
    if not names:
        return text
    import re

    words = "|".join(map(re.escape, names))
    value = r'"(?:[^"\\]|\\.)*(?:"|$)|\[(?:"(?:[^"\\]|\\.)*(?:"|$)|[^]"])*(?:\]|$)|[^,)\s]+'
    return re.sub(rf"\b({words})(\s*=\s*)(?:{value})", rf"\1\2{MASKED}", text)


def cut(text: str, limit: int = MAX_TEXT) -> str:
    return text if len(text) <= limit else text[:limit] + CUT


def _shown(field: Field | None, value: Any) -> Any:
    """A field's value as it may be seen; None leaves it out."""
    meaning = "" if field is None else field.meaning
    if meaning == "secret":
        return MASKED
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"len": len(value)}
    if isinstance(value, dict) and type(value.get("len")) is int:  # bytes, counted by others
        return {"len": value["len"]}
    if isinstance(value, int):
        return _number(meaning, value)
    return cut(value) if meaning and isinstance(value, str) else None


def _number(meaning: str, value: int) -> Any:
    if meaning == "ipv4":
        return dotted(value)
    return int(value) if meaning or -SMALL < value < SMALL else None
