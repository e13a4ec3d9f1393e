"""`wasmos caps`: who holds what, and through whom; of running systems, or as a manifest says."""

from __future__ import annotations

import sys

from wasmos.cli import control
from wasmos.errors import UsageError
from wasmos.system.caps import capmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from wasmos.system.caps.capmap import Snapshot


def main(options: argparse.Namespace) -> int:
    format = "json" if options.output == "json" else options.format  # noqa: A001
    if options.policy is not None and options.manifest is None:
        raise UsageError("--policy belongs to a manifest")
    if options.manifest is not None:
        if options.system is not None:
            raise UsageError("a manifest, or a running system with -S: not both")
        found = [("", capmap.from_manifest(options.manifest, options.policy))]
    else:
        answers = control.ask_each(options, "caps")
        found = [(control.heading(address), result) for address, result in answers]
    _print(found, format)
    return 0


def _print(found: list[tuple[str, Snapshot]], format: str) -> None:  # noqa: A002
    if format == "json":
        control.print_json({"version": control.VERSION, "systems": [each for _, each in found]})
        return
    if len(found) > 1 and format != "tree":
        names = ", ".join(name for name, _ in found)
        raise UsageError(f"{format} is of one system, and these are running: {names}; use -S")
    texts = [capmap.render(each, format) for _, each in found]
    if len(found) > 1:
        texts = [f"{name}:\n{text}" for (name, _), text in zip(found, texts, strict=True)]
    # There is nothing in it that a terminal would obey, and nothing of it may be cut.
    sys.stdout.buffer.write("\n\n".join(texts).encode() + b"\n")
