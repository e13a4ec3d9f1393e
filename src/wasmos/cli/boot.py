"""`wasmos boot`: a system and its shell, on a terminal or without one."""

from __future__ import annotations

import asyncio
import signal
import sys
import time

from wasmos.system.boot import System
from wasmos.system.manifest import load
from wasmos.system.shell import Shell

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable
    from typing import BinaryIO


def main(options: argparse.Namespace) -> int:
    return asyncio.run(_main(options))


async def _main(options: argparse.Namespace) -> int:
    begun = time.monotonic()

    def log(line: str) -> None:
        if not options.quiet:
            print(f"[{time.monotonic() - begun:8.3f}] {line}", file=sys.stderr, flush=True)

    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if terminal:
        from wasmos.cli.terminal import Terminal

        with Terminal() as tty:
            return await _serve(options, log, tty.output, tty.read_line)
    from wasmos.cli.pipe import Pipe

    pipe = Pipe(sys.stdin)
    return await _serve(options, log, sys.stdout.buffer, pipe.read_line)


async def _serve(
    options: argparse.Namespace,
    log: Callable[[str], None],
    output: BinaryIO,
    read_line: Callable[[], Awaitable[str | None]],
) -> int:
    """Boot, let the shell run, shut down. Signals end it in good order."""
    system = System(load(options.manifest), output=output, log=log)
    await system.boot()
    shell = Shell(system, read_line, sys.stdout, sys.stderr)
    serving = asyncio.ensure_future(shell.run())
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, serving.cancel)
    loop.add_signal_handler(signal.SIGINT, lambda: shell.interrupt() or serving.cancel())
    try:
        await serving
    except asyncio.CancelledError:
        pass
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)
        log("shutting down")
        await system.shutdown()
    return 0
