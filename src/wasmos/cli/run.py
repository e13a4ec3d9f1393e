"""`wasmos run`: one program, exactly the authority on the command line."""

from __future__ import annotations

import sys

from wasmos.cli import say
from wasmos.kernel import Limits
from wasmos.system.run import SERVICES, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def main(options: argparse.Namespace) -> int:
    def log(line: str) -> None:
        if not options.quiet:
            say(line)

    completed = run(
        options.module,
        options.args,
        allow=[name for names in options.allow for name in names.split(",")],
        listen=options.listen,
        connect=options.connect,
        files=options.files,
        timeout=options.timeout,
        limits=Limits(memory_bytes=int(options.max_memory), cpu_seconds=options.cpu),
        input=sys.stdin.buffer,
        output_limit=None if options.max_output is None else int(options.max_output),
        log=log,
    )
    exit = completed.exit
    if exit.code is None:
        log(f"error: {exit}")
        for index, name, offset in exit.backtrace:
            log(f"  at function {index}{f' {name}' if name else ''}, {_offset(offset)}")
    # Who is given no arguments misses nothing.
    denied = [name for name in completed.denied if name != "args"]
    if denied:
        names = ", ".join(name if name.isprintable() else repr(name) for name in denied)
        wanted = " ".join(f"--allow {name}" for name in denied if name in SERVICES)
        log(f"note: {exit.name} was refused {names}" + (wanted and f"; to allow: {wanted}"))
    return completed.returncode


def _offset(offset: int) -> str:
    # The engine doesn't know where a stack overflow began.
    return f"byte {offset:#x}" if offset < 1 << 32 else "its entry"
