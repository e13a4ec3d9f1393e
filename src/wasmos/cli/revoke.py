"""`wasmos revoke`: take back what a task of a running system was granted, and all it passed on."""

from __future__ import annotations

from wasmos.cli import control
from wasmos.errors import UsageError
from wasmos.system.caps.capmap import grant_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any


def main(options: argparse.Namespace) -> int:
    return control.tell(options, "revoke", _words(options), _lines)


def _words(options: argparse.Namespace) -> dict[str, Any]:
    """A number alone is a grant's, if --all doesn't say that it is a task's."""
    what, rule = options.what, options.rule
    if rule is not None:
        if options.all:
            raise UsageError("a rule, or --all: not both")
        return {"task": what, "rule": rule}
    if what.isascii() and what.isdigit() and not options.all:
        return {"grant": int(what)}
    return {"task": what}


def _lines(result: dict[str, Any]) -> list[str]:
    rows = result["revoked"]
    return [f"revoked: {grant_text(row)}" for row in rows] or ["nothing was granted to it"]
