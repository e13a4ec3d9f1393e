"""Whether a log is as it was written.

Law: a line that was removed, changed, moved or put in is found, because the next one doesn't follow
from what stands before it. Three things can't be seen from the log alone: that its last lines were
cut off, that all of it was made anew, and who took away its oldest files: the writer, whose room
was full, or somebody else. The first two show if a head is known from elsewhere; of the third it
is said how many lines are not there, and of the first whether the last line is `close`, as a system
that has ended leaves it.
"""

from __future__ import annotations

from wasmos.system.audit.reader import lines
from wasmos.system.audit.schema import BEGINNING, VERSION, digest, parse, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wasmos.system.audit.reader import Line, Path
    from wasmos.system.audit.schema import Record

MAX_DAMAGE = 1000  # of what is listed; what comes after is counted
MIN_HEAD = 16  # digits by which a line is known


class Damage:
    """Something wrong, at a line of a file."""

    def __init__(self, file: str, line: int, what: str) -> None:
        self.file = file
        self.line = line
        self.what = what

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"

    def __repr__(self) -> str:
        return f"<Damage {self}>"


class Report:
    """What `verify` found. `torn` is the size of a last line without an end, as a crash or a
    writer at work leaves it; it isn't damage."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.lines = 0
        self.first = 0  # the numbers of the first and the last line
        self.last = 0
        self.rotated_away = 0  # lines before the first: their files are gone
        self.head = BEGINNING
        self.torn = 0
        self.is_closed = False  # whether the last line is `close`
        self.damage: list[Damage] = []
        self.damaged = 0  # may be more than are listed
        self.has_head: bool | None = None  # whether the wanted one is there; None: none was wanted

    @property
    def ok(self) -> bool:
        return not self.damaged and self.has_head is not False


def verify(path: Path, head: str | None = None) -> Report:
    """Check every line of all files. `head` is the hash of a line that has to be there, or its
    first digits. Raises FileNotFoundError, AuditError."""
    check = _Check(head)
    for line in lines(path):
        check.line(line)
    return check.report


class _Check:
    """The state between two lines: the hash and the number of the last one that was a record."""

    def __init__(self, head: str | None) -> None:
        self.report = Report()
        self._wanted = head
        if head is not None:
            self.report.has_head = BEGINNING.startswith(head)
        self._hash: str | None = None
        self._seq = 0

    def line(self, line: Line) -> None:
        report = self.report
        is_first = not report.files or report.files[-1] != line.file
        if is_first:
            report.files.append(line.file)
        if line.is_torn and line.is_newest:
            report.torn = len(line.data)
            return
        report.lines += 1
        record, parts = parse(line.data), split(line.data)
        if line.is_torn or record is None or parts is None:
            self._bad(line, "is no record")
            return
        if type(record.get("seq")) is not int or record.get("v") != VERSION:
            self._bad(line, "is no record of this version")
            return
        if wrong := self._wrong(record, *parts, is_first):
            self._bad(line, wrong)
        report.is_closed = record.get("event") == "close"
        self._take(record["seq"], parts[1])

    def _wrong(self, record: Record, body: bytes, found: str, is_first: bool) -> str | None:
        """What is wrong with a record, if anything."""
        seq, prev = record["seq"], record.get("prev")
        before = self._hash
        if wrong := _place(record, is_first, before is None):
            return wrong
        if before is None:
            before, self._seq = (BEGINNING, 0) if prev is None else (str(prev), seq - 1)
            self.report.rotated_away = self._seq
        if digest(before, body) == found and prev in (None, before) and seq == self._seq + 1:
            return None
        if seq > self._seq + 1:
            return f"{_some(seq - self._seq - 1)} missing before it"
        if seq <= self._seq:
            return f"is out of order: it has number {seq}, and comes after {self._seq}"
        return "was changed, or what stands before it was"

    def _take(self, seq: int, found: str) -> None:
        report = self.report
        report.first = report.first or seq
        report.last, report.head = seq, found
        self._seq, self._hash = seq, found
        if self._wanted is not None and found.startswith(self._wanted):
            report.has_head = True

    def _bad(self, line: Line, what: str) -> None:
        self.report.damaged += 1
        if len(self.report.damage) < MAX_DAMAGE:
            self.report.damage.append(Damage(line.file, line.number, what))


def _place(record: Record, is_first: bool, is_oldest: bool) -> str | None:
    """A file begins with the line that ties it to the file before, and the first file of all with
    the first line of all; such lines stand nowhere else."""
    event = record.get("event")
    if not is_first:
        return "begins a file, and stands within one" if event == "rotate" else None
    if event == "rotate" and "prev" in record:
        return None
    if is_oldest and event == "open" and record["seq"] == 1 and "prev" not in record:
        return None
    return "isn't how a file begins: lines are missing before it"


def _some(count: int) -> str:
    return "1 line is" if count == 1 else f"{count} lines are"
