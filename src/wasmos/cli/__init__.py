"""The command line: one file a verb, no logic of its own.

Law: what a program prints goes to standard output, everything else to standard
error. An error is one line that says what to do next. A verb's module is
imported when the verb is used.
"""

from __future__ import annotations

import sys

EXIT_USAGE = 2
EXIT_REFUSED = 126
EXIT_NOT_FOUND = 127
EXIT_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run `wasmos`; the exit status."""
    from wasmos.cli.parser import parse

    options = parse(sys.argv[1:] if arguments is None else arguments)
    from wasmos.errors import ModuleRefused, WasmosError

    try:
        status: int = options.verb(options)
    except FileNotFoundError as error:
        return fail(f"{error.filename}: no such file", EXIT_NOT_FOUND)
    except ModuleRefused as error:
        return fail(f"{error}", EXIT_REFUSED)
    except (WasmosError, OSError) as error:
        return fail(f"{error}", EXIT_USAGE)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return status


def fail(message: str, status: int) -> int:
    """Print an error; `status`."""
    print(f"error: {message}", file=sys.stderr)
    return status
