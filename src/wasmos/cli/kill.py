"""`wasmos kill`: end a task of a running system."""

from __future__ import annotations

from wasmos.cli import control
from wasmos.system.caps.capmap import task_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def main(options: argparse.Namespace) -> int:
    return control.tell(
        options, "kill", {"task": options.task},
        lambda done: [f"{task_text(done['task'], done['name'])} was killed"],
    )  # fmt: skip
