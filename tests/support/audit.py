"""Logs to read, and to tamper with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wasmos.system.audit import AuditLog

BEGIN_NS = 1_795_685_400_123_456_789  # 2026-11-26T09:30:00.123456789Z
SECOND = 1_000_000_000


class Clock:
    """A clock that moves by a second each time somebody looks."""

    def __init__(self) -> None:
        self.now = BEGIN_NS

    def __call__(self) -> int:
        self.now += SECOND
        return self.now


def call(number: int = 0, **more: Any) -> dict[str, Any]:
    record = {
        "time_ns": BEGIN_NS + number * 1000, "event": "call", "task": 9, "name": "webapi",
        "service": "tcpip", "message": "tcpip.write", "fields": {"sock": number},
        "decision": "allowed", "grant": 12,
    }  # fmt: skip
    return {**record, **more}


def denial(**more: Any) -> dict[str, Any]:
    record = {
        "time_ns": BEGIN_NS, "event": "denial", "task": 9, "name": "webapi", "service": "tcpip",
        "message": "tcpip.listen", "fields": {"listen_port": 80}, "decision": "denied",
        "cause": "no_capability",
    }  # fmt: skip
    return {**record, **more}


def written(path: Path, *batches: list[dict[str, Any]], **options: Any) -> Path:
    """A log of these batches, opened and closed."""
    options.setdefault("fsync", "never")
    with AuditLog(path, clock=Clock(), **options) as log:
        for batch in batches:
            log.write(batch)
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    """One file's records."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def log_files(path: Path) -> list[Path]:
    """A log's files, oldest first."""
    numbers = [
        int(p.suffix[1:]) for p in path.parent.glob(f"{path.name}.*") if p.suffix[1:].isdigit()
    ]
    older = [path.with_name(f"{path.name}.{number}") for number in sorted(numbers, reverse=True)]
    return [*older, path]
