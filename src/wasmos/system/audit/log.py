"""The audit log's writer.

Law: what is in the file is a chain without a gap, at every moment: a write that fails half-way is
cut back to whole lines, and number and hash go on from what is really there. Lines that couldn't
be written are counted, and the count is in the log as soon as there is room again.

The kernel doesn't wait for the disk's sake and doesn't end for it: with `on_error="drop"`, the
default, nothing is raised once the log is open. With "stop" every failure is an `AuditError`; who
runs the system then decides, as one that mustn't run unseen has to.
"""

from __future__ import annotations

import os
import time

from wasmos.errors import AuditError, UsageError
from wasmos.system.audit import files
from wasmos.system.audit.form import Form
from wasmos.system.audit.schema import BEGINNING, DIGITS, VERSION
from wasmos.system.units import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from typing import TypeAlias

    from wasmos.system.audit.schema import Record

    Row: TypeAlias = tuple[int, str]  # nanoseconds since the epoch, and what `prepare` made

MAX_BYTES = 16 << 20
KEEP = 8
MAX_KEEP = 9999
SECOND = 1_000_000_000
_HASH_AT = DIGITS + 3  # from a line's end, with `"}` and the newline


class AuditLog:
    """The one writer of a log. `seq` and `head` are the last line's number and hash: whoever
    keeps a head elsewhere can tell later that no line before it was cut off.

    A file is closed when it has `max_bytes`, so it's longer by one batch at most; `keep` of the
    older ones stay. `mask` names fields that are never shown. `fsync` says when to wait for the
    disk: at "rotate" and close, "always" (after every batch) or "never"."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = MAX_BYTES,
        keep: int = KEEP,
        mask: Collection[str] = (),
        fsync: str = "rotate",
        on_error: str = "drop",
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        _one_of("fsync", fsync, ("rotate", "always", "never"))
        _one_of("on_error", on_error, ("drop", "stop"))
        if max_bytes < 1 or not 1 <= keep <= MAX_KEEP:
            raise UsageError(f"max_bytes is at least 1, keep from 1 to {MAX_KEEP}")
        self.path = os.path.abspath(path)
        self.seq = 0
        self.head = BEGINNING
        self.dropped = 0  # lines, since the log was opened
        self._max_bytes, self._keep = max_bytes, keep
        self._fsync, self._on_error, self._clock = fsync, on_error, clock
        self._form = Form(mask)
        self.prepare = self._form.text  # a record without its time, to be given to `write_rows`
        self._size = 0
        self._torn = False  # the file ends with a part of a line
        self._owed: list[Record] = []  # lines of the log's own, to be written before all others
        self._unsaid = 0  # of `dropped`
        self._trouble = ""
        self._second, self._stamp = -1, ""
        self._fd = self._lock = -1
        try:
            self._open()
        except OSError as error:
            self._release()
            raise AuditError(f"{self.path}: {_why(error)}") from error
        except BaseException:
            self._release()
            raise

    def write(self, records: Iterable[Record], offset_ns: int = 0) -> None:
        """Append records: dicts as in the schema, without `v`, `seq`, `prev` and `hash`, and
        `time_ns` instead of `time`, which counts from `offset_ns` after the epoch; now, if there
        is none."""
        prepare = self.prepare
        now = self._clock() - offset_ns
        self.write_rows(
            [(record.get("time_ns", now) + offset_ns, prepare(record)) for record in records]
        )

    def write_rows(self, rows: list[Row]) -> None:
        """The fast way for many calls that are alike: texts that `prepare` made, which may be
        used again and again, each with its time."""
        if self._fd < 0:
            raise UsageError(f"{self.path}: the audit log is closed")
        if not rows:
            return
        before = None
        try:
            self._settle()
            if self._size >= self._max_bytes:
                self._rotate()
            self._confess()
            before = self.seq
            self._put(rows)
            if self._fsync == "always":
                os.fsync(self._fd)
        except (OSError, AuditError) as error:
            self._failed(error, len(rows) - (0 if before is None else self.seq - before))

    def close(self, reason: str = "") -> None:
        """Write the last line and give up the lock. Once more is fine."""
        if self._fd < 0:
            return
        try:
            self.write([{"event": "close", "reason": reason} if reason else {"event": "close"}])
            if self._fsync != "never":
                os.fsync(self._fd)
        except OSError as error:
            self._failed(error, 0)
        finally:
            self._release()

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- lines --------------------------------------------------------------------------------

    def _put(self, rows: Iterable[Row]) -> None:
        """Append lines in one go. Afterwards `seq` and `head` are those of the last line that is
        in the file as a whole, also if this raises."""
        data = self._chained(rows)
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:] if written else data)
        finally:
            whole = data.rfind(b"\n", 0, written) + 1
            self._torn = written > whole
            self._size += whole
            if whole:
                self.head = data[whole - _HASH_AT : whole - 3].decode()
                self.seq += data.count(b"\n", 0, whole)

    def _chained(self, rows: Iterable[Row]) -> bytes:
        """Lines with number, time and hash. This is what a call costs: see the benchmark before
        making it prettier."""
        from hashlib import sha256

        seq, head = self.seq, self.head
        current, stamp = self._second, self._stamp
        lines = []
        for time_ns, text in rows:
            seq += 1
            second, rest = divmod(time_ns, SECOND)
            if second != current:
                current, stamp = second, _stamp(second)
            body = f'{{"v":{VERSION},"seq":{seq},"time":"{stamp}{rest // 1000:06d}Z",{text}'
            head = sha256(f"{head}{body}".encode()).hexdigest()
            lines.append(f'{body},"hash":"{head}"}}\n')
        self._second, self._stamp = current, stamp
        return "".join(lines).encode()

    def _settle(self) -> None:
        """Bring the file in order: nothing torn at its end, and its own lines written."""
        if self._torn:
            os.ftruncate(self._fd, self._size)
            self._torn = False
        while self._owed:
            self._put([(self._clock(), self.prepare(self._owed[0]))])
            del self._owed[0]

    def _confess(self) -> None:
        """Say how many lines are missing here."""
        if self._unsaid:
            self._owed.append({"event": "dropped", "reason": self._trouble, "count": self._unsaid})
            self._unsaid = 0
            self._settle()

    def _failed(self, error: OSError | AuditError, lost: int) -> None:
        why = _why(error) if isinstance(error, OSError) else str(error)
        self.dropped += lost
        self._unsaid += lost
        self._trouble = why
        if self._on_error == "stop":
            raise AuditError(f"{self.path}: {why}; the audit log lacks {lost} lines") from error

    # --- files --------------------------------------------------------------------------------

    def _open(self) -> None:
        self._lock = files.lock(self.path)
        self._fd = files.open_own(self.path)
        end = files.end_of(self._fd, self.path)
        self._size = end.size
        first: Record = {"event": "open"}
        if torn := end.torn:
            self._keep_aside(torn)
            first["reason"] = f"{len(torn)} bytes of a torn line are in {self.path}.torn"
        if not end.seq and (older := files.numbered(self.path)):
            # It ended between giving the old file a number and beginning a new one.
            end = self._end_of_older(older[0])
            first["event"] = "rotate"
        self.seq, self.head = end.seq, end.hash
        if end.seq:
            first["prev"] = end.hash
        self._owed.append(first)
        if first["event"] == "rotate":
            self._settle()
            self._owed.append({"event": "open", "prev": self.head})
        self._settle()

    def _keep_aside(self, torn: bytes) -> None:
        """What a crash left of a line isn't a line, and isn't thrown away either."""
        descriptor = files.open_own(f"{self.path}.torn")
        try:
            os.write(descriptor, torn + b"\n")
        finally:
            os.close(descriptor)
        os.ftruncate(self._fd, self._size)

    def _end_of_older(self, path: str) -> files.End:
        descriptor = files.open_own(path)
        try:
            end = files.end_of(descriptor, path)
        finally:
            os.close(descriptor)
        if end.torn:
            raise AuditError(f"{path} ends with a torn line; to go on, move it away")
        return end

    def _rotate(self) -> None:
        """Go on in a new file. If there can't be one, the old one keeps its name."""
        if self._fsync != "never":
            os.fsync(self._fd)
        files.shift(self.path, self._keep)
        try:
            new = files.open_own(self.path, os.O_EXCL)
        except (OSError, AuditError):
            os.rename(f"{self.path}.1", self.path)
            raise
        os.close(self._fd)
        self._fd, self._size = new, 0
        self._owed.append({"event": "rotate", "prev": self.head})
        self._settle()

    def _release(self) -> None:
        for descriptor in (self._fd, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._fd = self._lock = -1


def _stamp(second: int) -> str:
    """A second as text, up to the point before its fraction."""
    year, month, day, hour, minute, rest, *_ = time.gmtime(second)
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{rest:02d}."


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"no {what} {value!r}; {nearest(value, known)}")
