"""What a line of the audit log is: its keys, the words in them, and its place in the chain.

Law: version 1 only grows. A key or a word keeps its meaning for ever, new ones are added at the
end of these tables, and docs/reference/audit.md describes each of them.

A line is a JSON object in ASCII. Its last key is `hash`, which is SHA-256 over the hash of the
line before it (64 hexadecimal digits) and this line's bytes up to `,"hash":`. So whoever checks
the chain needs no JSON, and no way to write it that two programs would have to agree on.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Record: TypeAlias = dict[str, Any]

VERSION = 1

# In the order in which they stand in a line; absent when they don't apply.
KEYS = (
    "v", "seq", "time", "event", "task", "name", "service", "message", "fields", "decision",
    "cause", "grant", "parent", "by", "rule", "origin", "reason", "count", "backtrace", "prev",
    "hash",
)  # fmt: skip

# What happened, in words for people.
EVENTS = {
    "call": "a message was delivered",
    "denial": "a message was refused",
    "grant": "a capability was granted",
    "deny": "a deny rule was set",
    "delegate": "a capability was passed on to a task",
    "offer": "a capability was offered to a task",
    "accept": "an offered capability was accepted",
    "revoke": "a capability was revoked",
    "expire": "a capability's time was over",
    "spend": "a capability's last use was spent",
    "spawn": "a task was started",
    "exit": "a task ended",
    "register": "a task became a service",
    "open": "the log was opened, a run begins",
    "rotate": "the log goes on from an older file",
    "close": "the log was closed in good order",
    "dropped": "lines were left out",
}
# Those that tell of a capability's begin, and of its end.
BEGINS = ("grant", "deny", "delegate", "offer", "accept")
ENDS = ("revoke", "expire", "spend")

# Why a message was refused.
CAUSES = {
    "no_capability": "it holds no capability for this service",
    "message": "it holds a capability for this service, but not for this message",
    "field": "it holds a capability for this message, but not with these fields",
    "denied": "a deny rule forbids it",
    "spent": "its capability had a number of uses, and they are used up",
    "expired": "its capability had a lifetime, and it is over",
    "server": "the service refused it",
    "revoked": "its capability was revoked",
}

DIGITS = 64  # of a hash
BEGINNING = "0" * DIGITS  # the hash before the first line of all
_HASH = b',"hash":"'
_END = b'"}'


def digest(before: str, body: bytes) -> str:
    """The hash of a line: of the line before it, and of its own bytes without its hash."""
    from hashlib import sha256

    return sha256(before.encode() + body).hexdigest()


def split(line: bytes) -> tuple[bytes, str] | None:
    """What a line's hash is over, and its hash; None if it has none where it belongs."""
    body, _, found = line.rpartition(_HASH)
    text = found[:DIGITS]
    if found[DIGITS:] != _END or len(text) != DIGITS or text.strip(b"0123456789abcdef") or not body:
        return None
    return body, text.decode()


def parse(line: bytes) -> Record | None:
    """A line as a record; None if it isn't one. The file may be anybody's."""
    import json

    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
