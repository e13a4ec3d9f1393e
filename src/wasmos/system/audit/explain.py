"""One line of the log, explained: which rule said so, who wrote it, and what would change it.

Law: everything that is said stands in the log, in the lines of the same run: a system's tasks and
grants are numbered anew each time it starts. What isn't there is said to be missing, not guessed.
"""

from __future__ import annotations

from wasmos.system.audit import remedy
from wasmos.system.audit.needed import needed
from wasmos.system.audit.reader import read
from wasmos.system.audit.schema import BEGINS, CAUSES, ENDS, EVENTS
from wasmos.system.audit.show import OPERATOR, asked, task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from wasmos.system.audit.reader import Damaged, Path
    from wasmos.system.audit.schema import Record

_LIVES = (*BEGINS, *ENDS, "spawn")
_ENDED = {"revoke": "revoked", "expire": "expired", "spend": "used up"}
_OVER = ("revoked", "expired", "spent")


def explain(path: Path, seq: int, damaged: Damaged | None = None) -> list[str] | None:
    """Lines of text; None if the log has no such line."""
    story = Story(read(path, damaged), seq)
    return None if story.record is None else _Telling(story, story.record).lines()


class Story:
    """What a run's lines tell about grants, up to the line in question and after it."""

    def __init__(self, records: Iterable[Record], seq: int) -> None:
        self.record: Record | None = None
        self.begins: dict[Any, Record] = {}  # by the grant's number
        self.ends: dict[Any, Record] = {}
        self.names: dict[Any, str] = {}  # of tasks
        self.has_begin = False  # whether the run's first line is there
        for record in records:
            if record.get("event") == "open":
                if self.record is not None:
                    return  # what follows is another run
                self._clear()
                self.has_begin = True
            if record.get("seq") == seq and self.record is None:
                self.record = record
            self._learn(record)

    def _clear(self) -> None:
        for known in (self.begins, self.ends, self.names):
            known.clear()

    def _learn(self, record: Record) -> None:
        event, grant = record.get("event"), _number(record.get("grant"))
        if record.get("name") and _number(record.get("task")):
            self.names[record["task"]] = str(record["name"])
        if not grant or event not in _LIVES:
            return
        if event in ENDS:
            self.ends.setdefault(grant, record)
        else:
            self.begins.setdefault(grant, record)

    def task(self, number: Any) -> str:
        return task(number, self.names.get(number) if _number(number) else None)

    def chain(self, grant: int) -> list[int]:
        """A grant and those it comes from, the root last."""
        found: list[int] = []
        while grant and grant not in found:
            found.append(grant)
            grant = _number(self.begins.get(grant, {}).get("parent"))
        return found


class _Telling:
    """The text about one record."""

    def __init__(self, story: Story, record: Record) -> None:
        self.story = story
        self.record = record
        self.grant = _number(record.get("grant"))

    def lines(self) -> list[str]:
        record = self.record
        rows = [("asked by" if self._is_message() else "task", self._asker())]
        rows += self._request()
        rows.append(("decision", self._decision()))
        rows.append(("rule", self._rule()))
        rows += self._chain()
        rows.append(("to allow", self._remedy()))
        head = f"line {record['seq']}, {record.get('time', 'at no time')}: {self._title()}"
        return [head, *(f"  {what:9} {text}" for what, text in rows if text)]

    def _is_message(self) -> bool:
        return self.record.get("event") in ("call", "denial")

    def _title(self) -> str:
        record = self.record
        event = str(record.get("event"))
        if event == "denial":
            by = self._asker().removeprefix("task ")
            return f"{record.get('name') or by} was refused {asked(record)}"
        return EVENTS.get(event, event)

    def _asker(self) -> str:
        record = self.record
        if "task" not in record:
            return ""
        name = record.get("name") or self.story.names.get(_number(record["task"]))
        return task(record["task"], name)

    def _request(self) -> list[tuple[str, str]]:
        record = self.record
        is_message = self._is_message() or "message" in record
        rows = [("message" if is_message else "service", asked(record))]
        if "count" in record:
            what = "lines are missing" if record.get("event") == "dropped" else "times in a row"
            rows.append(("count", f"{record['count']} {what}"))
        rows.append(("reason", str(record.get("reason", ""))))
        return rows

    def _decision(self) -> str:
        record = self.record
        decision = str(record.get("decision", "denied" if record.get("event") == "denial" else ""))
        cause = record.get("cause")
        return f"{decision}: {CAUSES.get(cause, cause)}" if isinstance(cause, str) else decision

    def _rule(self) -> str:
        """The rule that said so, and where it stands."""
        record = self.record
        if not self.grant:
            is_denied = record.get("event") == "denial" and record.get("cause") != "server"
            return "none grants it" if is_denied else ""
        said = record if "rule" in record else self.story.begins.get(self.grant)
        if said is None:
            return f"that of grant {self.grant}, which {self._why_missing()}"
        text = _with_origin(said.get("rule", "?"), said.get("origin"))
        return f"deny {text}" if "deny" in (said.get("event"), self._forbids()) else text

    def _forbids(self) -> str:
        return "deny" if self.record.get("cause") == "denied" else ""

    def _why_missing(self) -> str:
        if self.story.has_begin:
            return "this log doesn't tell of"
        return "was made before this log begins"

    # --- where a grant comes from -------------------------------------------------------------

    def _chain(self) -> list[tuple[str, str]]:
        rows: list[tuple[str, str]] = []
        for grant in self.story.chain(self.grant):
            rows.append(("through" if not rows else "from", self._link(grant)))
            if end := self.story.ends.get(grant):
                rows.append(("", self._end(grant, end)))
        return rows

    def _link(self, grant: int) -> str:
        begin = self.story.begins.get(grant)
        if begin is None:
            return f"grant {grant}, which {self._why_missing()}"
        by = begin.get("by")
        who = self.story.task(by) if by else OPERATOR
        text = _with_origin(begin.get("rule", "?"), begin.get("origin"))
        holder = self.story.task(begin.get("task")) if begin.get("task") else "nobody"
        return f"grant {grant} of {holder}: {text}, given by {who} in line {begin.get('seq')}"

    def _end(self, grant: int, end: Record) -> str:
        what = _ENDED[end["event"]]
        why = f": {end['reason']}" if end.get("reason") else ""
        return f"grant {grant} was {what} at {end.get('time')}, line {end.get('seq')}{why}"

    # --- what to do ---------------------------------------------------------------------------

    def _remedy(self) -> str:
        record = self.record
        if record.get("event") != "denial":
            return ""
        if record.get("cause") == "server":
            return self._badge()
        if record.get("cause") == "denied":
            begin = self.story.begins.get(self.grant, {})
            return remedy.lift(_text(record.get("origin") or begin.get("origin")), self.grant)
        name, rule = _text(record.get("name")), needed(record)
        if record.get("cause") in _OVER and self.grant:
            return self._again(name, rule)
        return remedy.add(rule, name, self._origins(), self._port())

    def _again(self, name: str, rule: str) -> str:
        """How to have what has ended, or at least what it was wanted for."""
        record, begin = self.record, self.story.begins.get(self.grant, {})
        rule = _text(record.get("rule") or begin.get("rule")) or rule
        origin = _text(record.get("origin") or begin.get("origin"))
        giver = self.story.task(begin.get("by")) if begin.get("by") else ""
        return remedy.again(_text(record.get("cause")), rule, origin, name, giver)

    def _badge(self) -> str:
        """What to do about a badge that a service refused by: where it was said first."""
        record, said = self.record, ""
        for grant in self.story.chain(self.grant):
            begin = self.story.begins.get(grant, {})
            reason = _text(record.get("reason"))
            giver = self.story.task(begin.get("by")) if begin.get("by") else ""
            here = remedy.badge(_text(begin.get("rule")), _text(begin.get("origin")), reason, giver)
            if not here:
                break
            said = here
        return said

    def _origins(self) -> list[str]:
        """Where this task's rules were said."""
        task = self.record.get("task")
        return [
            _text(begin.get("origin"))
            for begin in self.story.begins.values()
            if begin.get("task") == task
        ]

    def _port(self) -> int | None:
        """What it wants to listen on."""
        fields = self.record.get("fields")
        if self.record.get("message") != remedy.LISTEN or not isinstance(fields, dict):
            return None
        return _number(fields.get("listen_port")) or None


def _with_origin(rule: Any, origin: Any) -> str:
    return f"{rule}  ({origin})" if origin else str(rule)


def _text(value: Any) -> str:
    """A text of the log; "" for anything else."""
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int:
    """A grant's or a task's number; 0 for anything else."""
    return value if type(value) is int else 0
