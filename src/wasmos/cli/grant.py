"""`wasmos grant`: give a task of a running system a capability."""

from __future__ import annotations

from wasmos.cli import control
from wasmos.system.caps.capmap import grant_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def main(options: argparse.Namespace) -> int:
    words = {
        "task": options.task,
        "rule": options.rule,
        "seconds": options.seconds,
        "uses": options.uses,
    }
    return control.tell(options, "grant", words, lambda made: [grant_text(made)])
