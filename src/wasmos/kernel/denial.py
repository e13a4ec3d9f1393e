"""A message that didn't arrive, and why.

Law: a denial says who wanted what of whom, which rule stood against it, and the rule that would
allow just that, and it is made of what the kernel's private copy held, never of the guest's memory.
"""

from __future__ import annotations

from wasmos import abi
from wasmos.kernel.rule import Rule, exactly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wasmos.kernel.grant import Grant
    from wasmos.kernel.rule import Sent
    from wasmos.kernel.vocabulary import Vocabulary

MAX_SHOWN = 256  # characters of a text
CUT = "…"  # after a text without an end
# Messages that show what others would, and so nothing to who may send only them.
SHOWN_BY = {"args_read": "args_get", "env_read": "env_list"}

# These say that nothing it holds is for the message: a rule more is what it takes, and something
# that it held may have been one.
UNMET = ("no_capability", "message", "field")
REASONS = {
    "no_capability": "no rule grants it",
    "message": "what it holds is for other messages",
    "field": "its value isn't allowed",
    "denied": "a rule denies it",
    "expired": "what granted it has expired",
    "spent": "what granted it is used up",
    "revoked": "what granted it was taken back",
    "server": "the service doesn't allow it",
}


class Denial:
    """One message that was denied, or the same one several times.

    task, name: who sent it. service, message: to whom, and what, as in `tcpip` and `tcpip.listen`.
    fields: its values, as far as they matter to authority. cause: one of REASONS.
    grant: the grant that stood against it, was nearest, or would have admitted it and has ended;
        None if there is none.
    """

    __slots__ = (
        "_vocabulary", "cause", "cls", "count", "fields", "grant", "name", "reason", "service",
        "task", "type",
    )  # fmt: skip

    def __init__(
        self, task: int, name: str, service: str, type: int, cls: type[abi.Message] | None,
        fields: dict[str, Any], cause: str, grant: Grant | None, vocabulary: Vocabulary,
        count: int = 1, reason: str = "",
    ) -> None:  # fmt: skip
        self._vocabulary = vocabulary
        self.task = task
        self.name = name
        self.service = service
        self.type = type
        self.cls = cls
        self.fields = fields
        self.cause = cause
        self.grant = grant
        self.count = count
        self.reason = reason or REASONS.get(cause, cause)

    def look_back(self, find: Callable[[Sent], Grant | None]) -> None:
        """Have the reason be a grant that has ended, if `find` tells of one that would have
        admitted this."""
        fields = () if self.cls is None else self.cls.FIELDS
        if self.cause not in UNMET or not all(map(self._is_known, fields)):
            return
        # Of bytes the length is all that a rule can be about.
        values = {
            name: value["len"] if isinstance(value, dict) else value
            for name, value in self.fields.items()
        }
        if (lost := find((self.type, values))) is not None:
            self.cause, self.grant, self.reason = lost.cause, lost, REASONS[lost.cause]

    @property
    def message(self) -> str:
        """As in `tcpip.listen`; the number of a message that nobody has defined."""
        if self.cls is None:
            return f"{self.service}.{self.type}"
        return f"{self.service}.{self.cls.NAME.removeprefix(self.service + '_')}"

    @property
    def rule(self) -> str:
        """The rule that would allow just this."""
        cls, vocabulary = self.cls, self._vocabulary
        taken = vocabulary.takes(self.service)
        if cls is None or taken.get(cls.NAME) is not cls:
            return str(Rule(self.service, vocabulary=vocabulary))
        if (shows := taken.get(SHOWN_BY.get(cls.NAME, ""))) is not None:
            return str(Rule(self.service, shows, vocabulary=vocabulary))
        rule = None
        if all(self._is_known(field) for field in cls.FIELDS):
            rule = exactly(self.service, (self.type, self.fields), vocabulary)
        return str(rule or Rule(self.service, cls, vocabulary=vocabulary))

    @property
    def shown_fields(self) -> dict[str, Any]:
        """What may be shown: no secrets, no data, addresses as people write them."""
        return shown(self.cls, self.fields)

    def _is_known(self, field: abi.Field) -> bool:
        """Whether the whole of a field that a rule would name is there."""
        value = self.fields.get(field.name)
        if field.meaning in ("", "secret") or isinstance(value, int):
            return True
        return isinstance(value, str) and (
            len(value.encode("utf-8", "surrogateescape")) < field.size
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Denial) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[object, ...]:
        return self.task, self.type, self.cause, self.rule

    def __str__(self) -> str:
        return f"{self.name} was refused {self.rule}: {self.reason}"

    def __repr__(self) -> str:
        return f"<Denial {self}>"


def fields_of(cls: type[abi.Message] | None, data: bytes) -> dict[str, Any]:
    """The fields of a message from its first bytes: those that are whole, and of bytes how many."""
    found: dict[str, Any] = {}
    for field in () if cls is None else cls.FIELDS:
        at = field.offset
        if field.kind in (abi.BYTES, abi.LENT, abi.LENT_OUT):
            size = data[field.len_offset : field.len_offset + 4]
            if len(size) == 4:
                found[field.name] = {"len": int.from_bytes(size, "little")}
        elif at + (1 if field.kind == abi.CSTR else field.size) > len(data):
            continue
        elif field.kind == abi.CSTR:
            text, end, _ = data[at : at + field.size].partition(b"\0")
            found[field.name] = text.decode("utf-8", "surrogateescape") + ("" if end else CUT)
        elif field.kind == abi.UINT8_ARRAY:
            found[field.name] = {"len": field.size}
        else:
            signed = field.kind in (abi.INT32, abi.INT64)
            raw = data[at : at + field.size]
            found[field.name] = int.from_bytes(raw, "little", signed=signed)
    return found


def shown(
    cls: type[abi.Message] | None, fields: dict[str, Any], *, matter: bool = False
) -> dict[str, Any]:
    """Fields as they may be shown; with `matter` only those that mean something to authority."""
    found: dict[str, Any] = {}
    for field in () if cls is None else cls.FIELDS:
        if field.name not in fields or (matter and not field.meaning):
            continue
        value = fields[field.name]
        if field.meaning == "secret":
            value = "***"
        elif field.meaning == "ipv4":
            from wasmos.abi.networks import dotted

            value = dotted(value)
        elif isinstance(value, str) and len(value) > MAX_SHOWN:
            value = value[:MAX_SHOWN] + CUT
        found[field.name] = value
    return found
