"""From what the kernel tells to lines of the log.

Law: denials that are the same in everything but their time, and follow each other in one batch,
are one line with a count: a task that tries the same thing a million times doesn't fill the disk.
Times become those of the wall clock, and of a message's fields only those that matter go on.
"""

from __future__ import annotations

from wasmos.system.audit.mask import fields_that_matter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any

    from wasmos.abi.message import Message
    from wasmos.system.audit.log import AuditLog
    from wasmos.system.audit.schema import Record

_SAME = ("task", "service", "message", "cause", "fields")


class Recorder:
    """Takes batches of records as in the schema, with `time_ns` by the kernel's clock, which
    began `offset_ns` after the epoch (0: it is the wall clock already).

    `messages` has the classes of messages by the name that they have in IDL. With it `fields` may
    be all the fields of a message, and those that matter are taken here; without, they were."""

    def __init__(
        self,
        log: AuditLog,
        *,
        offset_ns: int = 0,
        messages: Mapping[str, type[Message]] | None = None,
        mask: Collection[str] = (),
    ) -> None:
        self.log = log
        self.offset_ns = offset_ns
        self._messages = messages
        self._mask = frozenset(mask)

    def record(self, records: Iterable[Record]) -> None:
        """Write a batch. The records stay as they are."""
        batch: list[Record] = []
        last: Record | None = None  # the denial before, as it came
        for record in records:
            if record["event"] != "denial":
                last = None
                batch.append(record if self._messages is None else self._made(record))
            elif last is not None and all(last.get(k) == record.get(k) for k in _SAME):
                batch[-1]["count"] = batch[-1].get("count", 1) + record.get("count", 1)
            else:
                last = record
                batch.append(self._made(record))
        self.log.write(batch, self.offset_ns)

    def _made(self, record: Record) -> Record:
        """A copy, with the fields that matter."""
        made = dict(record)
        if self._messages is not None and "fields" in made:
            made["fields"] = self._fields(made.get("message", ""), made["fields"])
        return made

    def _fields(self, message: str, values: Mapping[str, Any]) -> dict[str, Any]:
        assert self._messages is not None
        # `tcpip.listen` is `tcpip_listen` there, `pong.ping` is `ping`.
        for name in (message, message.replace(".", "_"), message.rpartition(".")[2]):
            if (found := self._messages.get(name)) is not None:
                return fields_that_matter(found, values, self._mask)
        return fields_that_matter(None, values, self._mask)
