"""`wasmos cache`: the programs that needn't be compiled again; fewer of them, or none."""

from __future__ import annotations

import os
import time

from wasmos.cli import shown
from wasmos.errors import UsageError
from wasmos.kernel import user_cache
from wasmos.system import tasks, units

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from wasmos.kernel import Cache

VERSION = 1
HEADINGS = ("NAME", "SIZE", "USED", "ENGINE", "KEY")
KEY_DIGITS = 12
_AGES = (("d", 86_400), ("h", 3_600), ("min", 60))


def main(options: argparse.Namespace) -> int:
    cache = user_cache({**os.environ, "WASMOS_NO_CACHE": ""})
    if cache is None:
        raise UsageError("there is no place for a cache; set WASMOS_CACHE_DIR to a directory")
    try:
        cache.check()
    except OSError as error:
        raise UsageError(f"the cache is not used: {error}") from None
    prunes = options.older_than is not None or options.max_size is not None
    if prunes and options.action != "prune":
        raise UsageError("--older-than and --max-size belong to wasmos cache prune")
    if options.action == "list":
        _list(cache, options.output)
    else:
        _remove(cache, options)
    return 0


def _list(cache: Cache, output: str) -> None:
    entries = cache.entries()
    total = sum(entry.bytes for entry in entries)
    if output == "json":
        rows = [
            {
                "key": entry.key,
                "name": entry.facts.get("name"),
                "kind": entry.facts.get("kind"),
                "engine": entry.facts.get("engine"),
                "bytes": entry.bytes,
                "used": round(entry.used, 3),
            }
            for entry in entries
        ]
        _print_json({"folder": cache.folder, "bytes": total, "entries": rows})
        return
    now = time.time()
    lines = [
        (
            entry.facts.get("name", "?"),
            units.show_size(entry.bytes),
            f"{_age(now - entry.used)} ago",
            entry.facts.get("engine", "?"),
            entry.key[:KEY_DIGITS],
        )
        for entry in entries
    ]
    if lines:
        for line in tasks.table([HEADINGS, *lines]):
            print(shown(line))
    print(shown(f"{_programs(len(entries))}, {units.show_size(total)}, in {cache.folder}"))


def _remove(cache: Cache, options: argparse.Namespace) -> None:
    if options.action == "clear":
        removed = cache.clear()
    elif options.max_size is None:
        removed = cache.prune(unused_seconds=options.older_than)
    else:
        removed = cache.prune(unused_seconds=options.older_than, max_bytes=int(options.max_size))
    total = sum(entry.bytes for entry in removed)
    if options.output == "json":
        _print_json(
            {"folder": cache.folder, "bytes": total, "removed": [entry.key for entry in removed]}
        )
    else:
        print(f"removed {_programs(len(removed))}, {units.show_size(total)}")


def _print_json(document: dict[str, object]) -> None:
    import json

    print(json.dumps({"version": VERSION, **document}, indent=2))


def _programs(count: int) -> str:
    return f"{count} program{'' if count == 1 else 's'}"


def _age(seconds: float) -> str:
    for unit, length in _AGES:
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
