"""The map of capabilities as a graph: boxes for tasks and grants, and an arrow for "gave".

Law: one graph, several ways to write it down. A text gets into a format only by the function here
that escapes for it.
"""

from __future__ import annotations

from wasmos.system.caps.capmap import MAX_DEPTH, Links, notes_of, origin_of, says, task_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wasmos.system.caps.capmap import Row, Snapshot

MAX_LINE = 64  # characters of a line in a box
MAX_PARTS = 6  # lines that a longer one becomes


class Node:
    """A box: `kind` is task, live, offered, left or deny; `full` what `lines` may have cut."""

    __slots__ = ("full", "heirs", "kind", "lines", "name")

    def __init__(self, name: str, kind: str, lines: list[str]) -> None:
        self.name = name
        self.kind = kind
        self.full = lines
        self.lines = [part for line in lines for part in _wrapped(line)]
        self.heirs: list[Node] = []


def _wrapped(line: str) -> list[str]:
    parts: list[str] = []
    while len(line) > MAX_LINE:
        end = line.rfind(" ", MAX_LINE // 2, MAX_LINE) + 1 or MAX_LINE
        parts.append(line[:end].rstrip())
        line = f"    {line[end:]}"
    parts.append(line)
    return parts if len(parts) <= MAX_PARTS else [*parts[: MAX_PARTS - 1], "    …"]


def graph(found: Snapshot) -> list[Node]:
    """A tree for each task that somebody outside has given something; the others hang in these."""
    links = Links(found)
    roots: list[Node] = []
    for task in links.tasks:
        node = Node(f"t{len(roots)}", "task", [task_text(task["id"], task["name"])])
        held = [grant for grant in links.held(task["id"]) if grant["parent"] not in links.grants]
        node.heirs = [_grant(links, grant, f"{node.name}_{i}", 0) for i, grant in enumerate(held)]
        if node.heirs:
            roots.append(node)
    return roots


def _grant(links: Links, grant: Row, name: str, depth: int) -> Node:
    kind = "deny" if grant["deny"] else grant["state"]
    lines = [says(grant)]
    if depth:
        lines.insert(0, f"to {task_text(grant['holder'], grant['holder_name'])}")
    lines += notes_of(grant)
    if origin := origin_of(links, grant):
        lines.append(f"from {origin}")
    node = Node(name, kind if kind in STYLES else "live", lines)
    heirs = links.heirs(grant) if depth < MAX_DEPTH else []
    node.heirs = [_grant(links, heir, f"{name}_{i}", depth + 1) for i, heir in enumerate(heirs)]
    return node


# kind → fill, stroke, dashes of the stroke
STYLES = {
    "task": ("#1f2937", "#1f2937", ""),
    "live": ("#ecfdf5", "#059669", ""),
    "offered": ("#fffbeb", "#d97706", "5 3"),
    "left": ("#f3f4f6", "#9ca3af", "5 3"),
    "deny": ("#fef2f2", "#dc2626", ""),
}


def walk(roots: list[Node]) -> list[Node]:
    found = list(roots)
    for node in found:
        found.extend(node.heirs)
    return found


def dot(found: Snapshot) -> str:
    """For Graphviz: `dot -Tsvg`."""
    nodes = walk(graph(found))
    lines = [
        "digraph capabilities {",
        "  rankdir=LR;",
        '  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=11];',
    ]
    for node in nodes:
        fill, stroke, dashes = STYLES[node.kind]
        style = "rounded,filled,dashed" if dashes else "rounded,filled"
        font = ', fontcolor="white"' if node.kind == "task" else ""
        label = "\\l".join(map(_dot_text, node.lines)) + "\\l"
        lines.append(
            f'  {node.name} [label="{label}", fillcolor="{fill}", color="{stroke}", '
            f'style="{style}"{font}];'
        )
    lines += [f"  {node.name} -> {heir.name};" for node in nodes for heir in node.heirs]
    return "\n".join([*lines, "}"])


def _dot_text(text: str) -> str:
    # Labels know \-escapes and the entities of HTML.
    return text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')


def mermaid(found: Snapshot) -> str:
    """For Mermaid, as in Markdown files."""
    nodes = walk(graph(found))
    lines = ["flowchart LR"]
    for node in nodes:
        label = "<br/>".join(map(_mermaid_text, node.lines))
        lines.append(f'  {node.name}["{label}"]:::{node.kind}')
    lines += [f"  {node.name} --> {heir.name}" for node in nodes for heir in node.heirs]
    for kind, (fill, stroke, dashes) in STYLES.items():
        text = "#ffffff" if kind == "task" else "#111827"
        dashed = f",stroke-dasharray:{dashes}" if dashes else ""
        lines.append(f"  classDef {kind} fill:{fill},stroke:{stroke},color:{text}{dashed}")
    return "\n".join(lines)


_SAFE = frozenset(" .,_-:/=*()+…")


def _mermaid_text(text: str) -> str:
    # Everything that could mean something to Mermaid, to Markdown around it or to HTML. A text
    # that begins like an item of a list would be one.
    return "".join(c if c.isalnum() or c in _SAFE else f"#{ord(c)};" for c in text)
