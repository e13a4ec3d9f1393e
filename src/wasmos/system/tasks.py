"""Tasks as rows: what `ps` shows, in the shell, over the control socket and on the command line.

Law: a row is plain data; who prints a table makes guests' names safe for where it goes.
"""

from __future__ import annotations

from wasmos.errors import UsageError
from wasmos.system import units
from wasmos.system.caps.capmap import kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from wasmos.kernel import Kernel, Task

HEADINGS = ("ID", "NAME", "STATE", "CPU", "MEMORY", "CALLS", "SERVED")
USED = ("state", "peer", "cpu_ns", "memory_bytes", "calls", "served")


def rows(kernel: Kernel) -> list[dict[str, Any]]:
    """All live tasks, by id."""
    found = []
    for task in kernel.tasks:
        account = task.account()
        row = {"id": task.id, "name": task.name, "kind": kind(task), "services": task.services[:]}
        found.append(row | {key: account[key] for key in USED})
    return found


def show(found: Iterable[dict[str, Any]]) -> list[str]:
    """Rows as the lines of a table."""
    return table([HEADINGS, *map(_cells, found)])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    peer = f" {row['peer']}" if row["peer"] else ""
    return (
        str(row["id"]),
        row["name"],
        row["state"] + peer,
        units.show_time(row["cpu_ns"] / 1e9),
        units.show_size(row["memory_bytes"]),
        str(row["calls"]),
        str(row["served"]),
    )


def table(lines: Sequence[Sequence[str]]) -> list[str]:
    """Cells under each other, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def called(kernel: Kernel, which: int | str) -> Task:
    """The one task with this number or name; a number wins. Raises UsageError."""
    tasks = kernel.tasks
    number = int(which) if str(which).isascii() and str(which).isdigit() else None
    found = [task for task in tasks if task.id == number]
    found = found or [task for task in tasks if task.name == which]
    if not found:
        hint = units.nearest(str(which), list({task.name: None for task in tasks}))
        hint = hint if hint.startswith("did") else "ps lists them"
        raise UsageError(f"no task {which!r}; {hint}")
    if len(found) > 1:
        ids = ", ".join(str(task.id) for task in found)
        raise UsageError(f"{len(found)} tasks are called {which!r}: say which, by number: {ids}")
    return found[0]
