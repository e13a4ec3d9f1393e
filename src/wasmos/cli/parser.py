"""The words of the command line.

Law: a tool's flags come before the module, everything after it is the guest's.
What a flag says the environment can say, too, as WASMOS_<FLAG>; the flag wins.
"""

from __future__ import annotations

import argparse
import os
import sys

from wasmos.system import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import NoReturn

DASHES = "\0--"  # no argument can be this
LISTS = "lists them"

EXIT_CODES = """\
exit codes: the guest's own; 2 usage; 124 time limit; 126 refused or unreadable
module; 127 no such program; 77 no policy grants it anything; 130 interrupted,
143 and 129 ended by SIGTERM, SIGHUP; 134 trap; 137 killed, or output
limit"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Options with the verb's function in `verb`. Exits for --help, --version
    and wrong usage."""
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    parser: argparse.ArgumentParser = _Parser(
        prog="wasmos",
        description="Run untrusted WebAssembly programs as tasks of a microkernel.",
        epilog="wasmos help COMMAND says more of one. Try: wasmos boot",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for verb in (_run,) if arguments[:1] == ["run"] else (_boot, _run, _learn, _check, _audit):
        verb(verbs)  # the one that has to be quick pays for itself only
    if arguments[:1] not in (["run"], ["learn"]):
        from wasmos.cli.parser_control import add_verbs

        add_verbs(lambda name, summary, epilog: _verb(verbs, name, summary, epilog))
        name = next((word for word in arguments if not word.startswith("-")), None)
        if name is not None and name not in verbs.choices:
            meant = _meant(name, verbs.choices, repr)
            if name.endswith((".wasm", ".wat")):
                meant = "; to run that program: wasmos run FILE"
            _fail(parser, f"no command {name!r}{meant}", LISTS)
        return parser.parse_args(arguments)
    options = parser.parse_args([DASHES if word == "--" else word for word in arguments])
    return _split(verbs.choices[arguments[0]], options)


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


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and what to do in another one, instead of the usage.

    Each verb's parser says what is wrong with its own words: the one above it knows less."""

    _words: Sequence[str] = ()

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        self._words = sys.argv[1:] if args is None else args
        found, extras = super().parse_known_args(args, namespace)
        if extras:
            self._refuse_option()
            self.error(f"unexpected argument {extras[0]!r}")
        return found, extras

    def error(self, message: str) -> NoReturn:
        if self._words == [] and self.prog == "wasmos":
            self.print_usage(sys.stderr)
        if message.startswith("the following"):  # a value is taken for one of them
            self._refuse_option()
        _fail(self, message, "says more")

    def _refuse_option(self) -> None:
        """If one is misspelt: what is missing then, or too much, is not the matter."""
        for word in self._words:
            if word in ("--", DASHES):
                return
            name = word.partition("=")[0] if word.startswith("--") else word[:2]
            if name[:1] == "-" != name and name not in self._option_string_actions:
                verb = self.prog.partition(" ")[2]
                near = _meant(name, self._option_string_actions, str)
                _fail(self, f"no option {name}{verb and f' of {verb}'}{near}", LISTS)


def _fail(parser: argparse.ArgumentParser, message: str, action: str) -> NoReturn:
    from wasmos.cli import EXIT_USAGE, say

    say(f"error: {message}")
    say(f"{parser.prog} --help {action}")
    parser.exit(EXIT_USAGE)


def _meant(name: str, known: Iterable[str], show: Callable[[str], str]) -> str:
    """The rest of a sentence that says that a name isn't known."""
    import difflib

    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {show(near[0])}?" if near else ""


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
        "What tasks may do a policy grants: the file that --policy or the manifest names,\n"
        "or else policy.toml beside system.toml and NAME.policy.toml beside NAME.toml.\n\n"
        "exit codes: 0 it was shut down, by SIGTERM or SIGHUP too; 2 usage, or it can't\n"
        "boot; 77 a task asks for more than is granted; 126 a module of it is refused;\n"
        "130 interrupted",
    )
    parser.add_argument("manifest", nargs="?", metavar="SYSTEM.toml", help="what to boot")
    parser.add_argument("-q", "--quiet", action="store_true", help="no boot log")
    parser.add_argument(
        "--no-shell", action="store_true", help="read no commands; run until a signal comes"
    )
    _text(parser, "--policy", "FILE", "what grants its tasks their rights")
    _prompting(parser)
    _auditing(parser)
    _caching(parser)
    _control(parser)


def _run(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(
        verbs,
        "run",
        "run one program, which may do nothing that isn't allowed here",
        "A RULE is a service (console, args, env, fs, tcpip, clock, random, echo, pong,\n"
        "vm), one of its messages, or a message with values, as in\n"
        "'tcpip.listen(listen_port=80)'. A program for WASI has its streams, arguments,\n"
        "time and randomness without a rule, unless --policy decides.\n"
        "Arguments for the program grant args, --files grants fs.\n\n"
        f"{EXIT_CODES}",
    )
    add = parser.add_argument
    _list(parser, "--allow", "RULE,...", "let it do what these rules say")
    _list(parser, "--deny", "RULE,...", "whatever is allowed, not this", adds=True)
    _switch(parser, "-A", "--allow-all", "let it do everything that there is here")
    _directories(parser)
    _list(parser, "--listen", "[ADDR:]HOST:GUEST",
          "let it listen on port GUEST, which is port HOST of 127.0.0.1; for WASI it is "
          "descriptor 3, or comes after the directories")  # fmt: skip
    _list(parser, "--connect", "HOST[:PORT]",
          "let it connect to a name, an address, a network, any public one, or all")  # fmt: skip
    _list(parser, "--env", "NAME[=VALUE]", "let it read a variable")
    _text(parser, "--policy", "FILE", "let it do what [task.NAME] and [run] of it allow")
    _files(parser)
    _prompting(parser)
    _auditing(parser)
    _limit(parser, "--timeout", units.seconds, "TIME", None, "end it after, for example 5s")
    _limit(parser, "--cpu", units.seconds, "TIME", None, "end it after so much processor time")
    _memory(parser)
    _limit(parser, "--max-output", units.size, "SIZE", None, "how much it may print")
    add("--raw", action="store_true",
        help="send what it prints to the terminal as it is: colours, and all else that a terminal "
        "obeys")  # fmt: skip
    _limit(parser, "--max-files", units.size, "SIZE", 64 << 20,
           "its files in memory together (default 64MiB)")  # fmt: skip
    _text(
        parser,
        "--clock",
        "fixed:TIME",
        "its clocks begin at this time, and go on only when it waits",
    )
    _text(parser, "--seed", "TEXT", "its randomness is what this decides, the same in each run")
    _compiling(parser)
    _control(parser)
    _text(parser, "--invoke", "NAME", "call this function of it with ARGS, and print its results")
    _switch(parser, "-g", "--details", "after a trap, all that is known of where it was")
    add("-q", "--quiet", action="store_true", help="say nothing but what the program prints")
    _argv0(parser)
    add("module", metavar="FILE.wasm", help="the program (or FILE.wat; - is standard input)")
    _arguments(parser)


def _learn(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(
        verbs,
        "learn",
        "run a program, and write the policy that it needed",
        "The program may do everything, or what you say with --ask, and each thing that\n"
        "it did becomes a line of the policy: for wasmos run --policy. A server is ended\n"
        "by Ctrl-C, SIGTERM or --timeout; what it needed is written all the same.\n\n"
        "exit codes: the guest's own, 0 if it was ended from outside; 2 usage, or the\n"
        "policy is there already; 126 refused or unreadable module; 127 no such program",
    )
    add = parser.add_argument
    add("-o", dest="output", metavar="FILE",
        help="the policy (default NAME.policy.toml); - is stdout")  # fmt: skip
    add("--force", action="store_true", help="replace the policy that is there")
    add("--merge", action="store_true", help="add to the policy that is there")
    add("--ask", action="store_true", help="ask on the terminal before it does something new")
    add("--generalise", action="store_true",
        help="where many values were seen, allow what they have in common, and say so")  # fmt: skip
    _list(parser, "--allow", "RULE,...", "with --ask: allow this without asking")
    _list(parser, "--deny", "RULE,...", "whatever it needs, not this", adds=True)
    _directories(parser)
    _list(parser, "--listen", "[ADDR:]HOST:GUEST",
          "its port GUEST is port HOST of 127.0.0.1; others are any free one")  # fmt: skip
    _list(parser, "--env", "NAME[=VALUE]", "a variable besides the environment here, or instead")
    _files(parser)
    _limit(parser, "--timeout", units.seconds, "TIME", None, "end it after, for example 5s")
    _limit(parser, "--cpu", units.seconds, "TIME", None, "end it after so much processor time")
    _memory(parser)
    _compiling(parser)
    add("-q", "--quiet", action="store_true", help="say nothing but what the program prints")
    _argv0(parser)
    add("module", metavar="FILE.wasm", help="the program (or FILE.wat)")
    _arguments(parser)


def _arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    args = add("args", nargs=argparse.REMAINDER, metavar="ARGS", help="its arguments")
    args.required = False  # some versions say so of what may be nothing


def _argv0(parser: argparse.ArgumentParser) -> None:
    _text(parser, "--argv0", "NAME", "the first of its arguments, instead of the file's name")


def _directories(parser: argparse.ArgumentParser) -> None:
    summary = (
        "let it use a directory, or a zip or tar file, seen as GUEST: ro to read only, overlay to "
        "keep what it changes in memory, rw (or none of them) to change a directory"
    )
    _list(parser, "--dir", "HOST::GUEST[:MODE]", summary)


def _files(parser: argparse.ArgumentParser) -> None:
    _text(parser, "--files", "PATH", "a directory or tar file to start fs with, as a copy")
    summary = "how many files it may have open (default 1024)"
    _limit(parser, "--max-open-files", units.whole, "N", None, summary)


def _check(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(
        verbs,
        "check",
        "say whether a program or a manifest would be accepted, and what it wants",
        "Of a manifest it says what the policy grants, or what is missing.\n\n"
        "exit codes: 0 accepted; 2 something is wrong in a manifest or a policy; 77 a\n"
        "task asks for more than is granted; 126 refused; 127 no such program",
    )
    _memory(parser)
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="text or json"
    )
    _text(parser, "--policy", "FILE", "of a manifest: what grants its tasks their rights")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--schema", choices=("manifest", "policy"), help="print the JSON Schema of these files"
    )
    what.add_argument(
        "module", nargs="?", metavar="FILE", help="FILE.wasm, FILE.wat or SYSTEM.toml"
    )


def _audit(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(
        verbs,
        "audit",
        "show what was asked and decided, from an audit log",
        "A time is 2026-11-25T09:30 (UTC), 09:30 (today) or 5m (ago).\n\n"
        "exit codes: 0; 1 --verify found damage; 2 usage, or no such file",
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
    add("-S", "--system", metavar="NAME|PID", help="with --follow: what of several systems")
    add("file", nargs="?", metavar="FILE",
        help="default: audit.jsonl; with --follow a running system")  # fmt: skip


def _control(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-control", action="store_true", help="no socket for wasmos ps, caps, grant and so on"
    )


def _caching(parser: argparse.ArgumentParser) -> None:
    _switch(parser, "--no-cache", "compile it anew, and keep nothing of that")


def _memory(parser: argparse.ArgumentParser) -> None:
    _limit(parser, "--max-memory", units.size, "SIZE", None, "its memory (default 1GiB)")


def _compiling(parser: argparse.ArgumentParser) -> None:
    _limit(parser, "--compile-timeout", units.seconds, "TIME", None,
           "how long compiling it may take (default 30s, and 3s for each MiB of it)")  # fmt: skip
    _limit(parser, "--compile-memory", units.size, "SIZE", None,
           "how much memory that may take (default 2GiB, and 16 times its size)")  # fmt: skip
    _caching(parser)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def _prompting(parser: argparse.ArgumentParser) -> None:
    """`prompt` is None where nobody has said anything."""
    variable, found = _environment("--prompt")
    default = None if found is None else _is_yes(found)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--prompt", action="store_const", const=True, default=default,
        help=f"ask before it is denied something [{variable}]",
    )  # fmt: skip
    what.add_argument(
        "--no-prompt", dest="prompt", action="store_const", const=False, default=default,
        help="never ask",
    )  # fmt: skip


def _auditing(parser: argparse.ArgumentParser) -> None:
    _text(parser, "--audit", "FILE", "write down who was granted and denied what")
    _switch(parser, "--audit-calls", "with --audit, also each message that was allowed")


def _environment(flag: str) -> tuple[str, str | None]:
    """A flag's variable, and what it says; empty is as if not set."""
    variable = "WASMOS_" + flag.strip("-").replace("-", "_").upper()
    return variable, os.environ.get(variable) or None


def _is_yes(text: str) -> bool:
    return text.lower() not in ("0", "no", "off", "false")


def _text(parser: argparse.ArgumentParser, flag: str, metavar: str, summary: str) -> None:
    variable, found = _environment(flag)
    parser.add_argument(flag, metavar=metavar, default=found, help=f"{summary} [{variable}]")


def _switch(parser: argparse.ArgumentParser, *flags_and_summary: str) -> None:
    *flags, summary = flags_and_summary
    variable, found = _environment(flags[-1])
    parser.add_argument(
        *flags,
        action="store_true",
        default=found is not None and _is_yes(found),
        help=f"{summary} [{variable}]",
    )


def _list(
    parser: argparse.ArgumentParser, flag: str, metavar: str, summary: str, *, adds: bool = False
) -> None:
    """A flag that may be repeated. The environment's values have commas between them; they are in
    place of no flag, or come first if it `adds`."""
    variable, found = _environment(flag)
    if found is None:
        texts = []
    elif "RULE" in metavar:  # who reads rules knows which commas are theirs
        texts = [_FromEnvironment(found)]
    else:
        texts = [_FromEnvironment(text.strip()) for text in found.split(",")]
    for text in texts:
        text.origin = variable
    parser.add_argument(
        flag,
        action="append" if adds else _Listed,
        default=texts,
        metavar=metavar,
        help=f"{summary} [{variable}]",
    )


class _Listed(argparse.Action):
    """Like "append", but what is said takes the place of the default."""

    def __call__(
        self, _parser: object, namespace: argparse.Namespace, values: object, _option: object = None
    ) -> None:
        found = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*(() if found is self.default else found), values])


def _limit(
    parser: argparse.ArgumentParser,
    flag: str,
    parse_value: Callable[[str], float],
    metavar: str,
    default: float | None,
    summary: str,
) -> None:
    """A flag with a unit; the environment can set it, too."""
    variable, found = _environment(flag)

    def value(text: str) -> float:
        try:
            return parse_value(text)
        except ValueError as error:
            source = f"{variable}: " if isinstance(text, _FromEnvironment) else ""
            raise argparse.ArgumentTypeError(f"{source}{error}") from None

    parser.add_argument(
        flag,
        type=value,
        metavar=metavar,
        default=_FromEnvironment(found) if found else default,
        help=f"{summary} [{variable}]",
    )


class _FromEnvironment(str):
    """A default that the user set, so that an error, or a grant, can say where."""

    origin: str
