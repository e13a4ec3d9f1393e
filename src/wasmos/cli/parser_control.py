"""The words of the verbs that speak to a running system.

Law: they name a task by its number or its name, a system by its name or its process, and a rule as
everywhere. Parsed only when no program is to be run: that begins sooner.
"""

from __future__ import annotations

import argparse

from wasmos.system import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Add = Callable[..., argparse.ArgumentParser]

EXIT_CODES = "exit codes: 0; 2 wrong usage, or the system is not there or says no"
FORMATS = ("tree", "dot", "mermaid", "svg", "json")


def add_verbs(verb: Add) -> None:
    """`verb(name, summary, epilog)` makes the parser of one."""
    _add(verb, "ps", "list the tasks of running systems")
    _caps(verb)
    _kill(verb)
    _grant(verb)
    _deny(verb)
    _revoke(verb)
    _cache(verb)


def _add(verb: Add, name: str, summary: str, epilog: str = "") -> argparse.ArgumentParser:
    parser = verb(name, summary, f"{epilog}{EXIT_CODES}")
    system(parser)
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="text or json"
    )
    return parser


def system(parser: argparse.ArgumentParser) -> None:
    """Which of several is meant."""
    parser.add_argument(
        "-S", "--system", metavar="NAME|PID", help="the running system, if there are several"
    )


def _caps(verb: Add) -> None:
    parser = _add(
        verb, "caps", "show who holds what, and through whom",
        "Without a manifest, of the systems that run. dot is for Graphviz; mermaid for\n"
        "Markdown; svg is a picture.\n\n",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=FORMATS, default="tree", metavar="FORMAT", help=", ".join(FORMATS)
    )
    parser.add_argument("--policy", metavar="FILE", help="the manifest's policy")
    parser.add_argument("manifest", nargs="?", metavar="SYSTEM.toml", help="what would be granted")


def _kill(verb: Add) -> None:
    parser = _add(verb, "kill", "end a task of a running system")
    _task(parser)


def _grant(verb: Add) -> None:
    parser = _add(
        verb, "grant", "let a task of a running system do what a rule says",
        "For example: wasmos grant webapi 'tcpip.connect(dst_port=443)' --for 60s\n\n",
    )  # fmt: skip
    _task(parser)
    _rule(parser)
    parser.add_argument(
        "--for", dest="seconds", type=_seconds, metavar="TIME", help="only for so long"
    )
    parser.add_argument("--uses", type=_number, metavar="N", help="only so many times")


def _deny(verb: Add) -> None:
    parser = _add(
        verb, "deny", "forbid a task of a running system something",
        "It wins over everything that is granted. revoke with its number ends it.\n\n",
    )  # fmt: skip
    _task(parser)
    _rule(parser)


def _revoke(verb: Add) -> None:
    parser = _add(
        verb, "revoke", "take back what a task of a running system was granted",
        "A number alone is a grant's, as caps shows it; a name alone takes back all that\n"
        "the task was granted. What was passed on goes as well, at once.\n\n",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="everything; WHAT is a task")
    parser.add_argument("what", metavar="WHAT", help="a grant's number, or a task")
    parser.add_argument("rule", nargs="?", metavar="RULE", help="only what this rule granted")


def _cache(verb: Add) -> None:
    parser = verb(
        "cache",
        "list the compiled programs that are kept, or remove some",
        "What a program was compiled to is kept, so that it needn't be compiled again.\n"
        "prune removes what was unused for longest, beyond 2GiB in all or what is said\n"
        "here; clear removes everything. WASMOS_CACHE_DIR says where it is.\n\n"
        "exit codes: 0; 2 wrong usage, or the directory is not used: it says why",
    )
    parser.add_argument(
        "action", nargs="?", choices=("list", "prune", "clear"), default="list",
        help="list (if nothing is said), prune or clear",
    )  # fmt: skip
    parser.add_argument(
        "--older-than", type=_seconds, metavar="TIME",
        help="prune: what was not used for so long, for example 30d",
    )  # fmt: skip
    parser.add_argument(
        "--max-size", type=_size, metavar="SIZE", help="prune: until the rest is no more than this"
    )
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="text or json"
    )


def _task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help="its number or its name")


def _rule(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rule", metavar="RULE", help="such as 'tcpip.listen(listen_port=80)'")


def _seconds(text: str) -> float:
    try:
        return units.seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}") from None


def _size(text: str) -> int:
    try:
        return units.size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}") from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)
