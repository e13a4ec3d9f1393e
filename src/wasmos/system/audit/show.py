"""A record as one line for people.

Law: every record gives a line, whatever is in it: the file may be anybody's. What a terminal would
obey is still in there; who prints it takes that out (`wasmos.cli.shown`).
"""

from __future__ import annotations

from wasmos.system.audit.schema import BEGINS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wasmos.system.audit.schema import Record

OPERATOR = "the operator"  # task 0: whoever runs the system


def show(record: Record) -> str:
    """Number, time, event, task, and what it was about."""
    return (
        f"{_text(record.get('seq', '-')):>6}  {_text(record.get('time', '-')):27}  "
        f"{_text(record.get('event', '-')):8}  {_who(record):14}  {_what(record)}"
    ).rstrip()


def asked(record: Record) -> str:
    """What the record is about, as a rule would be written: `tcpip.listen(listen_port=80)`."""
    name = _text(record.get("message") or "")
    if not name and "rule" not in record:
        name = _text(record.get("service") or "")
    fields = record.get("fields")
    if not isinstance(fields, dict) or not fields:
        return name
    return f"{name}({', '.join(_field(_text(key), value) for key, value in fields.items())})"


def task(number: Any, name: Any) -> str:
    """`task 9 'webapi'`."""
    if not number:
        return OPERATOR
    return f"task {number} '{name}'" if name else f"task {number}"


def _who(record: Record) -> str:
    number, name = record.get("task"), _text(record.get("name", ""))
    return f"{name}[{_text(number)}]" if number else name or "-"


def _what(record: Record) -> str:
    parts = [asked(record), *_about(record)]
    count = record.get("count")
    if count is not None and record.get("event") != "dropped":
        parts.append(f"x{_text(count)}")
    return "  ".join(part for part in parts if part)


def _about(record: Record) -> list[str]:
    """What stands behind the message, or instead of one."""
    event = record.get("event")
    parts = []
    if event == "dropped":
        parts.append(f"{_text(record.get('count', '?'))} lines")
    elif event == "denial":
        parts.append(_text(record.get("cause", "")))
    elif record.get("decision") not in (None, "allowed"):
        parts.append(_text(record["decision"]))
    # Of a call or a denial it is that of the grant; --explain shows it.
    if "rule" in record and event not in ("call", "denial"):
        parts.append(_text(record["rule"]))
    parts.append(_grant(record))
    parts += [f"({_text(record[key])})" for key in ("origin", "reason") if record.get(key)]
    return parts


def _grant(record: Record) -> str:
    """`grant 12 from 7 by task 3`."""
    words = []
    for key, word in (("grant", "grant"), ("parent", "from"), ("by", "by task")):
        if record.get(key):
            words += [word, _text(record[key])]
    if not record.get("by") and record.get("event") in BEGINS:
        words += ["by", OPERATOR]
    return " ".join(words)


def _field(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"len({name})={_text(value.get('len', '?'))}"
    return f'{name}="{value}"' if isinstance(value, str) else f"{name}={_text(value)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)
