"""What is told of decisions: to those who audit, and to those who want to hear of denials.

Law: nothing here decides anything. Without anybody who listens, nothing is made but the few
denials that each task's handle remembers. What was recorded before is told before.
"""

from __future__ import annotations

from wasmos.kernel.denial import Denial, fields_of, shown
from wasmos.kernel.rule import EVERYTHING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from wasmos import abi
    from wasmos.errors import ServiceError
    from wasmos.kernel.authority import Authority
    from wasmos.kernel.grant import Grant
    from wasmos.kernel.kernel import Kernel
    from wasmos.kernel.task import Task

    # A record of what happened; its keys are those of docs/reference/audit.md.
    Entry: TypeAlias = dict[str, Any]

REMEMBERED = 4096  # sorts of calls whose records are made of what the last one said
MAX_DENIALS = 64  # different ones that are remembered of a task


class Report:
    """Tells of the decisions in one kernel."""

    def __init__(self, kernel: Kernel, authority: Authority) -> None:
        self._kernel = kernel
        self._authority = authority
        self.sinks: list[Callable[[list[Entry]], object]] = []
        self.on_denial: list[Callable[[Denial], object]] = []
        self._calls: dict[tuple[int, ...], tuple[type[abi.Message] | None, Entry]] = {}

    def task(self, event: str, task: Task, by: Task | None = None, **more: object) -> None:
        """Something happened to a task."""
        if self.sinks:
            entry: Entry = {"event": event, "task": task.id, "name": task.name, **more}
            if by is not None:
                entry["by"] = by.id
            self.tell([entry])

    def lookup_denied(self, task: Task, name: str, why: Grant | None) -> None:
        """A task was denied to learn who is a service; `why`: what `hidden_by` says."""
        if self.sinks:
            entry: Entry = {"event": "denial", "task": task.id, "name": task.name}
            entry |= {"service": name, "message": f"{name} (lookup)", "decision": "denied"}
            entry["cause"] = "no_capability"
            if why is not None:
                entry |= {"cause": why.cause} | _about(why)
            self.tell([entry])

    def hidden_by(self, task: Task, name: str) -> Grant | None:
        """The deny rule that hides a service from a task, or else what let it look the service up
        and has ended."""
        for grant in task.grants:
            if _shuts(grant, name):
                return grant
        return self._authority.lost(task.id, [name], None)

    def grant(self, event: str, grant: Grant) -> None:
        """Something happened to a grant: `event` says what."""
        if not self.sinks:
            return
        entry: Entry = {
            "event": event,
            "task": grant.holder,
            "name": grant.holder_name,
            "service": grant.rule.service,
            "grant": grant.id,
            "rule": str(grant.rule),
            "origin": grant.origin,
        }
        if grant.parent is not None:
            entry["parent"] = grant.parent.id
        if grant.by:
            entry["by"] = grant.by
        self.tell([entry])

    def tell(self, entries: list[Entry]) -> None:
        """Let those who audit know. What was recorded before is told before."""
        self._kernel.take_records()
        for entry in entries:
            entry.setdefault("time_ns", self._kernel.now_ns)
        self._hand_out(entries)

    def _hand_out(self, entries: list[Entry]) -> None:
        for sink in list(self.sinks):
            self._kernel.tell_one(sink, entries)

    def recorded(self, rows: list[tuple[Any, ...]], lost: int) -> None:
        """What the core recorded: denials, and calls if that was asked for."""
        denials = [self._denial(row) if row[1] == "denial" else None for row in rows]
        entries: list[Entry] = []
        if self.sinks:
            entries = [self._entry(*pair) for pair in zip(rows, denials, strict=True)]
        if lost and self.sinks:
            reason = "the kernel had no room for more"
            entries.append({"event": "dropped", "count": lost, "reason": reason,
                            "time_ns": self._kernel.now_ns})  # fmt: skip
        if entries:  # first: who hears of a denial may grant something
            self._hand_out(entries)
        for denial in denials:
            if denial is not None:
                self.denied(denial)

    def denied(self, denial: Denial) -> None:
        """A message was denied, by the core or by its service."""
        task = self._kernel.find(denial.task)
        if task is not None and len(task.denials) < MAX_DENIALS and denial not in task.denials:
            task.denials.append(denial)
        for listener in list(self.on_denial):
            self._kernel.tell_one(listener, denial)

    def refused(
        self, service: int, client: int, cls: type[abi.Message], error: ServiceError
    ) -> None:
        """A Python service answered "not allowed"."""
        kernel = self._kernel
        data = kernel.message_under_way(client)
        name = kernel.name_of(service)
        cap = error.grant or kernel.capability_under_way(client)
        denial = Denial(
            client, kernel.name_of(client), name, cls.TYPE, cls, fields_of(cls, data), "server",
            self._authority.find(cap), self._authority.vocabulary, reason=error.detail,
        )  # fmt: skip
        if self.sinks:
            self.tell([self._entry_of(denial, "denial") | {"reason": denial.reason}])
        self.denied(denial)

    def _denial(self, row: tuple[Any, ...]) -> Denial:
        _, _, cause, task, peer, service, type, cap, count, data = row
        return self.make_denial(task, peer, service, type, cause, cap, data, count)

    def make_denial(
        self, task: int, peer: int, service: int, type: int, cause: str, cap: int, data: bytes,
        count: int = 1,
    ) -> Denial:  # fmt: skip
        name = self._kernel.names.name_of_number(service) or self._kernel.name_of(peer)
        cls = self._authority.vocabulary.message(type)
        denial = Denial(
            task, self._kernel.name_of(task), name, type, cls, fields_of(cls, data), cause,
            self._authority.find(cap), self._authority.vocabulary, count,
        )  # fmt: skip
        receiver = self._kernel.find(peer)
        services = [] if receiver is None else receiver.services
        denial.look_back(lambda sent: self._authority.lost(task, services, sent))
        return denial

    def _entry(self, row: tuple[Any, ...], denial: Denial | None) -> Entry:
        if denial is not None:
            return self._entry_of(denial, "denial") | {"time_ns": row[0]}
        # Of messages that are admitted there are many, and most say what the one before said.
        time_ns, _, _, *key, _, data = row
        known = self._calls.get(tuple(key))
        if known is None:
            known = self._call_entry(row)
            if len(self._calls) >= REMEMBERED:
                self._calls.clear()
            self._calls[tuple(key)] = known
        cls, entry = known
        if cls is None:
            return {**entry, "time_ns": time_ns}
        fields = shown(cls, fields_of(cls, data), matter=True)
        return {**entry, "fields": fields, "time_ns": time_ns}

    def _call_entry(self, row: tuple[Any, ...]) -> tuple[type[abi.Message] | None, Entry]:
        """What all such calls have in common, and the message's class if its fields matter."""
        call = self._denial(row)
        entry = self._entry_of(call, "call")
        del entry["fields"]
        matters = call.cls is not None and any(field.meaning for field in call.cls.FIELDS)
        return call.cls if matters else None, entry

    def _entry_of(self, denial: Denial, event: str) -> Entry:
        entry: Entry = {
            "event": event,
            "task": denial.task,
            "name": denial.name,
            "service": denial.service,
            "message": denial.message,
            "fields": denial.shown_fields,
            "decision": "denied" if event == "denial" else "allowed",
        }
        if denial.cause:
            entry["cause"] = denial.cause
        if (grant := denial.grant) is not None:
            entry |= _about(grant)
        if denial.count > 1:
            entry["count"] = denial.count
        return entry


def _about(grant: Grant) -> Entry:
    """What a denial's record says of the grant that is why."""
    found: Entry = {"grant": grant.id, "rule": str(grant.rule), "origin": grant.origin}
    if grant.parent is not None:
        found["parent"] = grant.parent.id
    return found


def _shuts(grant: Grant, service: str) -> bool:
    """Whether it denies all that there is of a service, and so that it is there."""
    rule = grant.rule
    return grant.deny and rule.denied is None and rule.service in (service, EVERYTHING)
