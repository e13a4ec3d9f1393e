"""`wasmos ps`: the tasks of running systems."""

from __future__ import annotations

from wasmos.cli import control
from wasmos.system import tasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def main(options: argparse.Namespace) -> int:
    answers = control.ask_each(options, "ps")
    if options.output == "json":
        systems = [{"name": a.name, "pid": a.pid, "tasks": r["tasks"]} for a, r in answers]
        control.print_json({"version": control.VERSION, "systems": systems})
        return 0
    for number, (address, result) in enumerate(answers):
        if len(answers) > 1:
            control.print_lines([*([""] if number else []), f"{control.heading(address)}:"])
        control.print_lines(tasks.show(result["tasks"]))
    return 0
