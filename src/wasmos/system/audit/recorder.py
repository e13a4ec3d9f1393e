"""From what the kernel tells to lines of the log.

Law: denials that are the same in everything but their time, and follow each other in one batch,
are one line with a count: a task that tries the same thing a million times doesn't fill the disk.
Times become those of the wall clock.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from wasmos.system.audit.log import AuditLog
    from wasmos.system.audit.schema import Record

_SAME = ("task", "service", "message", "cause", "fields")


class Recorder:
    """Takes batches of records as in the schema, with `time_ns` by the kernel's clock, which
    began `offset_ns` after the epoch (0: it is the wall clock already)."""

    def __init__(self, log: AuditLog, *, offset_ns: int = 0) -> None:
        self.log = log
        self.offset_ns = offset_ns

    def record(self, records: Iterable[Record]) -> None:
        """Write a batch. The records stay as they are."""
        batch: list[Record] = []
        last: Record | None = None  # the denial before, as it came
        for record in records:
            if record["event"] != "denial":
                last = None
                batch.append(record)
            elif last is not None and all(last.get(k) == record.get(k) for k in _SAME):
                batch[-1]["count"] = batch[-1].get("count", 1) + record.get("count", 1)
            else:
                last = record
                batch.append(dict(record))
        self.log.write(batch, self.offset_ns)
