"""The audit of a running system, live.

Law: what nobody fetches is dropped and counted, and the count is the next thing that is said. As in
the log, no secret is in it; unlike there, no line is numbered or chained: who reads it trusts the
system that he speaks to.
"""

from __future__ import annotations

from time import gmtime, strftime, time_ns

from wasmos.system.audit.mask import secret_names, without
from wasmos.system.audit.schema import KEYS
from wasmos.system.control import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmos.kernel import Kernel
    from wasmos.system.audit.schema import Record

MAX_WAITING = 1 << 20  # bytes of lines


class AuditStream:
    """Records as lines, for one reader. `wake` is called when there is something to fetch."""

    def __init__(self, kernel: Kernel, calls: bool, wake: Callable[[], object]) -> None:
        self._kernel = kernel
        self._calls = calls
        self._wake = wake
        self._offset_ns = time_ns() - kernel.now_ns
        self._secrets = secret_names()
        self._lines: list[bytes] = []
        self._size = 0
        self._dropped = 0
        kernel.audit(self._take, calls=calls)

    def close(self) -> None:
        if not self._kernel.closed:
            self._kernel.end_audit(self._take)

    def fetch(self) -> bytes:
        """What waits, and how much was dropped since."""
        data = b"".join(self._lines)
        self._lines, self._size = [], 0
        if self._dropped:
            record = {"event": "dropped", "count": self._dropped, "reason": "read too slowly"}
            data += self._line({**record, "time_ns": self._kernel.now_ns})
            self._dropped = 0
        return data

    def _take(self, records: list[Record]) -> None:
        for record in records:
            if record["event"] == "call" and not self._calls:
                continue  # somebody else wants these
            if self._size >= MAX_WAITING or self._dropped:
                self._dropped += record.get("count", 1)
                continue
            line = self._line(record)
            self._lines.append(line)
            self._size += len(line)
        if self._lines:
            self._wake()

    def _line(self, record: Record) -> bytes:
        made = {key: record[key] for key in KEYS if key in record}
        made["time"] = stamp(record["time_ns"] + self._offset_ns)
        for key in ("rule", "reason"):
            if key in made:
                made[key] = without(self._secrets, str(made[key]))
        if "fields" in made:  # of texts one may be a rule
            made["fields"] = {
                name: without(self._secrets, value) if isinstance(value, str) else value
                for name, value in made["fields"].items()
            }
        return wire.line(record=made)


def stamp(ns: int) -> str:
    """A time as in the log: UTC, to the microsecond."""
    seconds, rest = divmod(ns, 10**9)
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(seconds))}.{rest // 1000:06d}Z"
