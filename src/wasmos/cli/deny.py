"""`wasmos deny`: forbid a task of a running system something, whatever it is granted."""

from __future__ import annotations

from wasmos.cli import control
from wasmos.system.caps.capmap import grant_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def main(options: argparse.Namespace) -> int:
    words = {"task": options.task, "rule": options.rule}
    return control.tell(options, "deny", words, lambda made: [grant_text(made)])
