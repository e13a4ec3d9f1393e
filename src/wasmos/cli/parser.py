"""The words of the command line.

Law: a tool's flags come before the module, everything after it is the guest's.
A limit can also be set by the environment, as WASMOS_<FLAG>.
"""

from __future__ import annotations

import argparse
import os

from wasmos.system import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DASHES = "\0--"  # no argument can be this

EXIT_CODES = """\
exit codes: the guest's own; 2 usage; 124 time limit; 126 refused or unreadable
module; 127 no such file; 130 interrupted; 134 trap; 137 killed"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Options with the verb's function in `verb`. Exits for --help, --version
    and wrong usage."""
    parser = argparse.ArgumentParser(
        prog="wasmos",
        description="Run untrusted WebAssembly programs as tasks of a microkernel.",
        epilog="Try: wasmos boot",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _boot(verbs)
    _run(verbs)
    _check(verbs)
    _audit(verbs)
    if arguments[:1] != ["run"]:
        return parser.parse_args(arguments)
    options = parser.parse_args([DASHES if word == "--" else word for word in arguments])
    return _split(parser, options)


def _split(parser: argparse.ArgumentParser, options: argparse.Namespace) -> argparse.Namespace:
    """Take out the one `--` that may stand before or after the module; the others
    are the guest's. What argparse does to them differs from version to version."""
    words = [options.module, *options.args]
    if words[0] == DASHES:
        del words[0]
    elif words[1:2] == [DASHES]:
        del words[1]
    if not words:
        parser.error("the following arguments are required: FILE.wasm")
    options.module, *options.args = ["--" if word == DASHES else word for word in words]
    return options


class _Version(argparse.Action):
    """Imports the package only if it is asked for."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:  # noqa: A002
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import wasmos

        print(f"wasmos {wasmos.__version__}")
        parser.exit()


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(verb=lambda options: _call(name, options))
    return parser


def _call(name: str, options: argparse.Namespace) -> int:
    from importlib import import_module

    status: int = import_module(f"wasmos.cli.{name}").main(options)
    return status


def _boot(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(
        verbs,
        "boot",
        "boot a system and open its shell",
        "Without a file, the demonstration boots: a web server on http://127.0.0.1:1234/\n"
        "and the shell of the original WasmOS. The folder boot/, if there is one, holds\n"
        "programs for the shell's `start`.\n\n"
        "On a terminal, what is typed goes to the program that `start` waits for, Ctrl-C\n"
        "ends it, and Ctrl-D or `shutdown` ends the system. Otherwise the shell reads its\n"
        "commands from standard input, programs read nothing, and the end of input ends\n"
        "the system.\n\n"
        "exit codes: 0 it was shut down, by SIGTERM or SIGHUP too; 2 usage, or it can't\n"
        "boot; 126 a module of it is refused; 130 interrupted",
    )
    parser.add_argument("manifest", nargs="?", metavar="SYSTEM.toml", help="what to boot")
    parser.add_argument("-q", "--quiet", action="store_true", help="no boot log")
    parser.add_argument(
        "--no-shell", action="store_true", help="read no commands; run until a signal comes"
    )


def _run(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(
        verbs,
        "run",
        "run one program, which may do nothing that isn't allowed here",
        "services: console (print and read), args, fs (files in memory), tcpip (sockets),\n"
        "echo, pong, vm. Arguments for the program grant it args, --files grants fs,\n"
        f"--listen and --connect grant tcpip.\n\n{EXIT_CODES}",
    )
    add = parser.add_argument
    add("--allow", action="append", default=[], metavar="SERVICE,...", help="let it use services")
    add("--listen", action="append", default=[], metavar="[ADDR:]HOST:GUEST",
        help="let it listen on port GUEST, which is port HOST of 127.0.0.1")  # fmt: skip
    add("--connect", action="append", default=[], metavar="RULE",
        help="let it connect to any public address, to all, or as in any:443, 10.1.0.0/16",
    )  # fmt: skip
    add("--files", metavar="PATH", help="a directory or tar file to start fs with, as a copy")
    _limit(parser, "--timeout", units.seconds, "TIME", None, "end it after, for example 5s")
    _limit(parser, "--cpu", units.seconds, "TIME", None, "end it after so much processor time")
    _limit(parser, "--max-memory", units.size, "SIZE", 64 << 20, "its memory (default 64MiB)")
    _limit(parser, "--max-output", units.size, "SIZE", None, "how much it may print")
    add("-q", "--quiet", action="store_true", help="say nothing but what the program prints")
    add("module", metavar="FILE.wasm", help="the program (or FILE.wat)")
    add("args", nargs=argparse.REMAINDER, metavar="ARGS", help="its arguments")


def _check(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(
        verbs,
        "check",
        "say whether a program would be accepted, and what it wants",
        "exit codes: 0 accepted; 126 refused; 127 no such file",
    )
    _limit(parser, "--max-memory", units.size, "SIZE", 64 << 20, "its memory (default 64MiB)")
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="text or json"
    )
    parser.add_argument("module", metavar="FILE.wasm", help="the program (or FILE.wat)")


def _audit(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(
        verbs,
        "audit",
        "show what was asked and decided, from an audit log",
        "A time is 2026-11-25T09:30 (UTC), 09:30 (today) or 5m (ago).\n\n"
        "exit codes: 0; 1 --verify found damage; 2 usage; 127 no such file",
    )
    add = parser.add_argument
    add("--task", metavar="NAME|ID", help="only of this task")
    add("--event", metavar="EVENT,...", help="only these: denial, grant, revoke, call and so on")
    add("--service", metavar="NAME", help="only about this service")
    add("--since", metavar="TIME", help="only from this time on")
    add("--until", metavar="TIME", help="only before this time")
    add("--denied", action="store_true", help="only what was refused")
    add("-n", dest="number", type=_count, metavar="N", help="only the last N")
    add("-o", "--output", choices=("text", "json"), default="text", help="text or json")
    add("--head", metavar="HASH", help="with --verify: the line that has to be there")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--follow", action="store_true", help="go on with what is written from now")
    what.add_argument("--verify", action="store_true", help="check that no line was tampered with")
    what.add_argument("--explain", type=_count, metavar="SEQ", help="explain line number SEQ")
    add("file", nargs="?", default="audit.jsonl", metavar="FILE", help="default: audit.jsonl")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def _limit(
    parser: argparse.ArgumentParser,
    flag: str,
    parse_value: Callable[[str], float],
    metavar: str,
    default: float | None,
    summary: str,
) -> None:
    """A flag with a unit; the environment can set it, too."""
    variable = "WASMOS_" + flag.strip("-").replace("-", "_").upper()

    def value(text: str) -> float:
        try:
            return parse_value(text)
        except ValueError as error:
            source = f"{variable}: " if isinstance(text, _FromEnvironment) else ""
            raise argparse.ArgumentTypeError(f"{source}{error}") from None

    found = os.environ.get(variable)
    parser.add_argument(
        flag,
        type=value,
        metavar=metavar,
        default=_FromEnvironment(found) if found else default,  # empty: as if not set
        help=f"{summary} [{variable}]",
    )


class _FromEnvironment(str):
    """A default that the user set, so that an error can say where."""

    __slots__ = ()
