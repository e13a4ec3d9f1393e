"""`python -m wasmos.idl`: the generators as a command.

Law: exit code 0 if all is as asked, 1 if a definition is wrong or a file is stale, 2 for a wrong
command line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import IdlError
from .outputs import generate

_EPILOG = """\
Without files, the system's own messages.idl is read from the checkout that this package is part
of, and everything generated from it is written.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.files and (options.c or options.python or options.docs):
        parser.error("--c, --python and --docs need a definition file to read")
    try:
        stale = generate(
            options.files,
            c=options.c,
            python=options.python,
            docs=options.docs,
            check=options.check,
        )
    except (IdlError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for path in stale:
        sys.stderr.write(f"{'stale' if options.check else 'wrote'} {path}\n")
    if stale and options.check:
        given = sys.argv[1:] if arguments is None else arguments
        command = " ".join(argument for argument in given if argument != "--check")
        sys.stderr.write(f"run   python -m wasmos.idl {command}".rstrip() + "\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wasmos.idl",
        description="Check message definitions and generate C, Python and documentation.",
        epilog=_EPILOG,
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.idl")
    parser.add_argument("--c", type=Path, metavar="OUT.h", help="a header for guests")
    parser.add_argument("--python", type=Path, metavar="OUT.py", help="a module for servers")
    parser.add_argument("--docs", type=Path, metavar="OUT.md", help="a page of Markdown")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if stale")
    return parser


if __name__ == "__main__":
    sys.exit(main())
