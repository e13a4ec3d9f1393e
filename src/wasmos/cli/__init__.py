"""The command line: one file a verb, no logic of its own.

Law: what a program prints goes to standard output, everything else to standard
error, where no name that a guest chose can play tricks on a terminal. An error
is one line that says what to do next. A verb's module is imported when the verb
is used.
"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper

EXIT_USAGE = 2
EXIT_DENIED = 77  # as in EX_NOPERM
EXIT_REFUSED = 126
EXIT_NOT_FOUND = 127
EXIT_INTERRUPTED = 130
MAX_LINE = 2000  # of what is shown: names may be long
EXIT_BROKEN_PIPE = 141  # as a shell shows the end by SIGPIPE


def main(arguments: list[str] | None = None) -> int:
    """Run `wasmos`; the exit status."""
    try:
        return _main(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _main(arguments: list[str]) -> int:
    from wasmos.cli.parser import parse

    _open_standard_streams()
    _show_what_has_no_bytes()
    options = parse(arguments)
    from wasmos.errors import ModuleRefused, NotGranted, WasmosError

    try:
        status: int = options.verb(options)
        sys.stdout.flush()
    except ModuleRefused as error:
        return fail(f"{error}", EXIT_REFUSED)
    except NotGranted as error:
        for line in str(error).split("\n"):  # what is to be done takes several
            say(line if line.startswith(" ") else f"error: {line}")
        return EXIT_DENIED
    except WasmosError as error:
        return fail(f"{error}", EXIT_USAGE)
    except BrokenPipeError:
        _drop_output()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        _drop_output()
        return _fail_os(error, getattr(options, "module", None))
    return status


def end_in_order() -> None:
    """A program that is told to end says so in its log, and lets go of what it has."""
    import signal

    from wasmos.kernel import exit_on_signal

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores one of them
            signal.signal(number, exit_on_signal)


def fail(message: str, status: int) -> int:
    """Print an error; `status`."""
    say(f"error: {message}")
    return status


def say(line: str) -> None:
    """Print a line on standard error, if there is somebody to read it."""
    try:  # noqa: SIM105 - contextlib takes longer to import than all of this
        print(shown(line), file=sys.stderr, flush=True)
    except OSError:
        pass


def shown(text: str) -> str:
    """A text with guests' names in it, without what a terminal would obey."""
    if text.isascii() and text.isprintable():
        return text
    from wasmos.servers.console.visible import plain

    # One line stays one line: a name can't begin one of its own.
    line = plain(text[:MAX_LINE])
    return line.replace("\r", "^M").replace("\n", "^J").replace("\t", "^I")


def _fail_os(error: OSError, module: str | None) -> int:
    what = (error.strerror or str(error)).lower()
    message = what if error.filename is None else f"{os.fsdecode(error.filename)}: {what}"
    if error.filename != module or module is None:
        return fail(message, EXIT_USAGE)
    return fail(message, EXIT_NOT_FOUND if isinstance(error, FileNotFoundError) else EXIT_REFUSED)


def _open_standard_streams() -> None:
    """Who starts us with one of them closed wants nothing of it; that the next
    file to be opened takes its number is wanted by nobody."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def _show_what_has_no_bytes() -> None:
    """A name that this user's encoding can't write is shown in another way, as standard error does:
    guests choose names."""
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """What is still to be written and can't be: say nothing of it at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)
