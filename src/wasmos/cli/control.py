"""What the verbs have in common that speak to a running system.

Law: what a system says is shown as data: its names can't play tricks on a terminal. What was done
is said on standard output, in one line or as a JSON document.
"""

from __future__ import annotations

from wasmos.cli import shown
from wasmos.system.control import client, place

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable
    from typing import Any

VERSION = 1


def tell(
    options: argparse.Namespace, do: str, words: dict[str, Any], lines: Callable[[Any], list[str]]
) -> int:
    """Tell one system to do something, and print what it did."""
    with client.connect(options.system) as system:
        result = system.ask(do, **words)
    if options.output == "json":
        print_json({"version": VERSION, **result})
    else:
        print_lines(lines(result))
    return 0


def ask_each(options: argparse.Namespace, do: str) -> list[tuple[place.Address, Any]]:
    """Ask the system that was named, or all that run."""
    found = [] if options.system is not None else place.addresses()
    answers = []
    for address in found or [client.find(options.system)]:
        with client.Connection(address) as system:
            answers.append((address, system.ask(do)))
    return answers


def heading(address: place.Address) -> str:
    return f"{address.name} (pid {address.pid})"


def print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(shown(line))


def print_json(document: dict[str, Any]) -> None:
    import json

    # The one control character that JSON lets through.
    print(json.dumps(document, indent=2).replace("\x7f", "\\u007f"))
