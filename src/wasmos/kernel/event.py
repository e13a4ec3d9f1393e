"""What happened in a kernel, one thing at a time.

Law: an event is a record; making one costs the kernel nothing, reading does.
"""

from __future__ import annotations


class Event:
    """One thing that happened. `kind` is spawn, exit, lookup, register, call,
    reply, oneway, denial, grant, lost or refused; `time_ns` is the kernel's
    clock; `peer` the other task (0: none); `type` the message's number, for
    grants and registrations the service's; `code` an error code or detail."""

    __slots__ = ("code", "kind", "name", "peer", "seq", "task", "time_ns", "type")

    def __init__(self, row: tuple[int, int, str, int, int, int, int], name: str) -> None:
        self.seq, self.time_ns, self.kind, self.task, self.peer, self.type, self.code = row
        self.name = name

    def __repr__(self) -> str:
        return (
            f"<Event {self.seq} {self.kind} task={self.task} {self.name!r} "
            f"peer={self.peer} type={self.type} code={self.code}>"
        )
