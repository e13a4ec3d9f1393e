"""The rule that would have allowed what was denied.

Law: it is never wider than what was asked, as far as the log tells: where a value is masked or cut
off, or the message is one that isn't known here, the rule is for the message as a whole, and who
reads it sees that.
"""

from __future__ import annotations

import re

from wasmos.abi import MESSAGES
from wasmos.errors import WasmosError
from wasmos.kernel import exactly
from wasmos.system.audit.mask import CUT, MASKED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wasmos.abi.message import Message
    from wasmos.system.audit.schema import Record


def needed(record: Record) -> str:
    """The text of a rule for a message that a record tells of."""
    service, message = str(record.get("service", "")), str(record.get("message", ""))
    if (cls := _class(service, message)) is None:
        return message if re.fullmatch(r"[\w-]+\.[a-zA-Z_]\w*", message) else service or message
    values = _values(cls, record.get("fields", {}))
    if values is None:
        return message
    try:
        rule = exactly(service, (cls.TYPE, values))
    except (WasmosError, ValueError, TypeError, OverflowError):
        return message
    return message if rule is None else str(rule)


def _class(service: str, message: str) -> type[Message] | None:
    name = message.rpartition(".")[2]
    known = {cls.NAME: cls for cls in MESSAGES.values()}
    return known.get(f"{service}_{name}") or known.get(name)


def _values(cls: type[Message], fields: Any) -> dict[str, Any] | None:
    """What the fields with a meaning were; None if the log doesn't tell all of them."""
    values = {}
    for field in cls.FIELDS:
        if not field.meaning or field.meaning == "secret":
            continue
        value = fields.get(field.name) if isinstance(fields, dict) else None
        if field.meaning == "ipv4":
            value = _address(value)
        if type(value) not in (str, int) or (isinstance(value, str) and _is_cut(value)):
            return None
        values[field.name] = value
    return values


def _is_cut(text: str) -> bool:
    return text == MASKED or text.endswith(CUT)


def _address(value: Any) -> int | None:
    parts = value.split(".") if isinstance(value, str) else []
    if len(parts) != 4 or not all(p.isascii() and p.isdigit() and int(p[:4]) < 256 for p in parts):
        return None
    return int.from_bytes(bytes(map(int, parts)), "big")
