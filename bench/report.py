"""The table for people, and the file for programs.

Law: the JSON file says no more than was measured: what could not be is null.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.harness import Row

_SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
_HEAD = ("row", "ours", "peer", "peer's", "ratio", "aim", "")
_MARKS = {True: "met", False: "MISSED", None: ""}


def amount(value: float | None, unit: str) -> str:
    """A quantity as people write it: 41 ns, 1.32 ms, 21,811."""
    if value is None:
        return "-"
    if unit != "s":
        return f"{value:,.0f}"
    scale, name = next((row for row in _SCALES if abs(value) >= row[0]), _SCALES[-1])
    return f"{value / scale:.3g} {name}" if value / scale < 1000 else f"{value / scale:,.0f} {name}"


def _ratio(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def cells(row: Row) -> tuple[str, ...]:
    ratio = "" if row.ratio is None else _ratio(row.ratio)
    return (
        row.row,
        amount(row.ours, row.unit) if row.ours is not None else "not available",
        row.peer,
        amount(row.peer_value, row.unit),
        ratio,
        row.aim_text or "",
        _MARKS[row.met],
    )


def table(rows: list[Row]) -> str:
    """Aligned columns, and below them what there is to say about single rows."""
    grid = [_HEAD, *map(cells, rows)]
    widths = [max(len(line[i]) for line in grid) for i in range(len(_HEAD))]
    right = {1, 3, 4}
    lines = [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in grid
    ]
    lines.insert(1, "-" * len(lines[0]))
    for row in rows:
        if row.note:
            lines.append(f"{row.row}: {row.note}")
        if row.install:
            lines.append(f"{row.row}: no {row.peer}; to install it: {row.install}")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Where this was measured."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "wasmtime": _version("wasmtime"),
        "wasmos": _version("wasmos"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return str(getattr(sys.modules.get(package), "__version__", "")) or None


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def document(rows: list[Row]) -> dict[str, Any]:
    return {"machine": machine(), "rows": [_entry(row) for row in rows]}


def _entry(row: Row) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "row": row.row,
        "ours": row.ours,
        "peer": row.peer,
        "peer_value": row.peer_value,
        "unit": row.unit,
        "ratio": None if row.ratio is None else round(row.ratio, 4),
        "aim": row.aim_text,
        "met": row.met,
    }
    if row.install is not None:
        entry["install"] = row.install
    return entry


def write_json(rows: list[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document(rows), indent=2) + "\n")
