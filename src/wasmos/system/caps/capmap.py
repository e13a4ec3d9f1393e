"""Who holds what, and through whom: as a tree of text, a picture, or data.

Law: a map is made of a snapshot, and a snapshot is plain data: dicts, lists, texts and numbers, the
same from a running kernel, over the control socket and from a manifest. Names are chosen by guests
and rules have names in them: whatever they hold, each format stays what it is, and shows them as
characters that one can see. Values of fields that are secret never get into a snapshot.
"""

from __future__ import annotations

from wasmos.kernel import Client
from wasmos.system.audit.mask import secret_names, without
from wasmos.system.units import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeAlias

    from wasmos.kernel import Grant, Kernel, Task

    Snapshot: TypeAlias = dict[str, Any]
    Row: TypeAlias = dict[str, Any]

VERSION = 1
MAX_DEPTH = 64  # of what is drawn: the kernel's own bound is lower, a file may say anything


# --- snapshots --------------------------------------------------------------------------------


def snapshot(kernel: Kernel, name: str = "") -> Snapshot:
    """What is granted and denied in a kernel at the moment."""
    return {
        "version": VERSION,
        "name": name,
        "tasks": [_task_row(task) for task in kernel.tasks],
        "grants": [grant_row(kernel, grant) for grant in kernel.grants],
    }


def _task_row(task: Task) -> Row:
    return {"id": task.id, "name": task.name, "kind": kind(task), "services": list(task.services)}


def kind(task: Task) -> str:
    """`program`, `service` (in Python) or `client`."""
    if isinstance(task, Client):
        return "client"
    return "service" if task.limits is None else "program"


def grant_row(kernel: Kernel, grant: Grant) -> Row:
    """One capability, as plain data."""
    secrets = secret_names()
    left = None if grant.expires_ns is None else max(0, grant.expires_ns - kernel.now_ns) / 1e9
    return {
        "id": grant.id,
        "holder": grant.holder,
        "holder_name": grant.holder_name,
        "rule": without(secrets, str(grant.rule)),
        "deny": grant.deny,
        "state": grant.state,
        "parent": 0 if grant.parent is None else grant.parent.id,
        "by": grant.by,
        "origin": grant.origin,
        "badge": {key: "***" if key in secrets else text for key, text in grant.badge.items()},
        "uses_left": grant.uses_left,
        "seconds_left": left,
    }


def from_manifest(path: str | None, policy: str | None = None) -> Snapshot:
    """What a manifest and its policy would grant. Raises ManifestError, NotGranted."""
    from wasmos.system.caps.manifest import read

    return read(path, policy)


# --- formats ----------------------------------------------------------------------------------


def render(found: Snapshot, format: str) -> str:  # noqa: A002 - as the option is called
    """A snapshot as text in one of FORMATS, without a newline at its end."""
    if format not in FORMATS:
        raise ValueError(f"no format {format!r}; {nearest(format, FORMATS)}")
    return FORMATS[format](found)


def plain(text: object) -> str:
    """A text as characters that show: no control character, no turning of direction."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def tree(found: Snapshot) -> str:
    """Per task, what it was given; below each grant what was derived from it."""
    links = Links(found)
    lines: list[str] = []
    idle: list[str] = []
    for task in links.tasks:
        body = list(_task_lines(links, task["id"]))
        if body:
            lines += [_heading(task), *(f"  {line}" for line in body)]
        else:
            idle.append(name_text(task["name"]))
    if idle:
        lines.append(f"hold nothing: {', '.join(idle)}")
    return "\n".join(lines)


def _heading(task: Row) -> str:
    services = [name for name in task.get("services", ()) if name != task["name"]]
    also = f" (the service {', '.join(map(name_text, services))})" if services else ""
    gone = " (ended)" if task.get("kind") == "ended" else ""
    return f"{task_text(task['id'], task['name'])}{also}{gone}"


def task_text(id: int, name: str) -> str:
    """`task 9 webapi`; a task of a manifest has no number yet."""
    return f"task {id} {name_text(name)}" if id > 0 else f"task {name_text(name)}"


def name_text(name: str) -> str:
    """A name with which no other text can be mistaken: in quotes if it isn't one word."""
    if name.isascii() and name.replace("-", "_").replace(".", "_").isidentifier():
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain(escaped)}"'


def _task_lines(links: Links, holder: int) -> Iterator[str]:
    for grant in links.held(holder):
        if (parent := links.grants.get(grant["parent"])) is None:
            yield from _grant_lines(links, grant, "", "", 0)
        else:
            giver = task_text(parent["holder"], parent["holder_name"])
            yield f"{says(grant)}  through {parent['id']} of {giver}"


def _grant_lines(links: Links, grant: Row, first: str, rest: str, depth: int) -> Iterator[str]:
    to = f"  to {task_text(grant['holder'], grant['holder_name'])}" if depth else ""
    notes = "".join(f", {note}" for note in notes_of(grant))
    origin = origin_of(links, grant)
    yield f"{first}{says(grant)}{to}{notes}{f'  from {origin}' if origin else ''}"
    heirs = links.heirs(grant) if depth < MAX_DEPTH else []
    for heir in heirs:
        last = heir is heirs[-1]
        yield from _grant_lines(
            links, heir, rest + ("└ " if last else "├ "), rest + ("  " if last else "│ "), depth + 1
        )


def says(grant: Row) -> str:
    number = f"{grant['id']} " if grant["id"] > 0 else ""
    return f"{number}{'DENY ' if grant['deny'] else ''}{plain(grant['rule'])}"


def origin_of(links: Links, grant: Row) -> str:
    """Where it was said, if that isn't where its parent was."""
    parent = links.grants.get(grant["parent"])
    if parent is not None and parent["origin"] == grant["origin"]:
        return ""
    return plain(grant["origin"])


def notes_of(grant: Row) -> list[str]:
    """What else there is to know: state, badge, and when it ends."""
    notes = []
    if grant["state"] == "offered":
        notes.append("offered")
    elif grant["state"] == "left":
        notes.append("its holder has ended")
    # A badge that the rule names already isn't said twice.
    for key, value in grant["badge"].items():
        if f"{key}=" not in grant["rule"]:
            notes.append(f'{plain(key)} "{plain(value)}"')
    if (uses := grant["uses_left"]) is not None:
        notes.append("1 use left" if uses == 1 else f"{uses} uses left")
    if (seconds := grant["seconds_left"]) is not None:
        notes.append(f"{seconds:.0f} s left")
    return notes


def grant_text(row: Row) -> str:
    """One grant, as who made it or took it back is told."""
    what = "deny rule" if row["deny"] else "grant"
    notes = "".join(f", {note}" for note in notes_of(row))
    holder = task_text(row["holder"], row["holder_name"])
    return f"{what} {row['id']} of {holder}: {plain(row['rule'])}{notes}"


def as_json(found: Snapshot) -> str:
    import json

    # The one control character that JSON lets through.
    return json.dumps(found, indent=2).replace("\x7f", "\\u007f")


def dot(found: Snapshot) -> str:
    from wasmos.system.caps import graph as capmap_graph

    return capmap_graph.dot(found)


def mermaid(found: Snapshot) -> str:
    from wasmos.system.caps import graph as capmap_graph

    return capmap_graph.mermaid(found)


def svg(found: Snapshot) -> str:
    from wasmos.system.caps import svg as capmap_svg

    return capmap_svg.svg(found)


FORMATS: dict[str, Callable[[Snapshot], str]] = {
    "tree": tree,
    "dot": dot,
    "mermaid": mermaid,
    "svg": svg,
    "json": as_json,
}


class Links:
    """Who belongs to whom in a snapshot. Holders that have ended are tasks here, too."""

    def __init__(self, found: Snapshot) -> None:
        self.grants: dict[int, Row] = {grant["id"]: grant for grant in found["grants"]}
        self._rows: list[Row] = found["grants"]
        self._held: dict[int, list[Row]] = {}
        self._heirs: dict[int, list[Row]] = {}
        for grant in self._rows:
            self._held.setdefault(grant["holder"], []).append(grant)
            if grant["parent"] in self.grants:
                self._heirs.setdefault(grant["parent"], []).append(grant)
        known = {task["id"] for task in found["tasks"]}
        ended = {g["holder"]: g["holder_name"] for g in self._rows if g["holder"] not in known}
        gone = [{"id": id, "name": name, "kind": "ended"} for id, name in ended.items()]
        self.tasks: list[Row] = [*found["tasks"], *gone]

    def held(self, task: int) -> list[Row]:
        return self._held.get(task, [])

    def heirs(self, grant: Row) -> list[Row]:
        return self._heirs.get(grant["id"], [])
