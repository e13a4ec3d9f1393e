"""From what the kernel tells to lines of the log.

Law: no task fills the log by being denied things (`flood`), and what is not a call or a denial is
written a second time, to a small log beside the other. So neither a flood nor a log of every call
takes away what was granted and revoked, and who was there: a file of the small log is full after
a hundred thousand of those.

Rejected: to keep calls and denials in files of their own, and nothing twice. Then a history is to
be put together from two chains of hashes, by everybody who reads one.

Times become those of the wall clock.
"""

from __future__ import annotations

from wasmos.system.audit.files import QUIET
from wasmos.system.audit.flood import Flood
from wasmos.system.audit.log import AuditLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from wasmos.system.audit.schema import Record

LOUD = frozenset(["call", "denial", "dropped"])


class Recorder:
    """Takes batches of records as in the schema, with `time_ns` by the kernel's clock, which
    began `offset_ns` after the epoch (0: it is the wall clock already)."""

    def __init__(self, log: AuditLog, *, quiet: AuditLog | None = None, offset_ns: int = 0) -> None:
        self.log = log
        self.quiet = quiet
        self.offset_ns = offset_ns
        self._flood = Flood()

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, offset_ns: int = 0) -> Recorder:
        """With the logs at `path` and beside it. Raises AuditError."""
        log = AuditLog(path)
        try:
            quiet = AuditLog(log.path + QUIET)
        except BaseException:
            log.close()
            raise
        return cls(log, quiet=quiet, offset_ns=offset_ns)

    def record(self, records: Iterable[Record]) -> None:
        """Write a batch. The records stay as they are."""
        self._write(self._flood.lines(records))

    def flush(self) -> None:
        """Write what is held back because it came again."""
        self._write(self._flood.rest())

    def close(self) -> None:
        """Write what is left, and close the logs."""
        try:
            self.flush()
            self.log.close()
        finally:
            if self.quiet is not None:
                self.quiet.close()

    def _write(self, lines: list[Record]) -> None:
        if not lines:
            return
        self.log.write(lines, self.offset_ns)
        if self.quiet is not None and (few := [r for r in lines if r["event"] not in LOUD]):
            self.quiet.write(few, self.offset_ns)
