"""Running one program with exactly the authority that is listed.

Law: what isn't in `allow` isn't there: the server for it is not even started.
"""

from __future__ import annotations

import os

from wasmos.errors import UsageError
from wasmos.kernel import Kernel, Limits
from wasmos.system import outfit
from wasmos.system.units import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import BinaryIO

    from wasmos.kernel import CompileLimits, Exit, Service, Source, Task
    from wasmos.servers.fs import Image

MAX_CAPTURED = 64 << 20  # bytes of output
# What `allow` can name here. `vm` lets a program register services and spawn
# nothing: there is no boot directory.
SERVICES = ("console", "args", "fs", "tcpip", "echo", "pong", "vm")


class Completed:
    """How a run ended, in the manner of `subprocess.CompletedProcess`.

    returncode: the guest's own exit code, 124 time limit, 126 could not start,
        134 trap, 137 killed. exit: all about it. stdout: what it printed, if
        that was captured. denied: the services it asked for in vain.
    """

    __slots__ = ("denied", "exit", "stdout")

    def __init__(self, exit: Exit, stdout: bytes | None, denied: tuple[str, ...]) -> None:
        self.exit = exit
        self.stdout = stdout
        self.denied = denied

    @property
    def returncode(self) -> int:
        return self.exit.status

    def check_returncode(self) -> None:
        """Raises GuestExit, GuestTrap, DeadlineExceeded or TaskKilled."""
        self.exit.check()

    def __repr__(self) -> str:
        return f"<Completed {self.exit}>"


def run(
    source: Source,
    args: Sequence[str] = (),
    *,
    allow: str | Iterable[str] = (),
    listen: str | Sequence[str] = (),
    connect: str | Sequence[str] = "none",
    files: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
    limits: Limits | None = None,
    compile_limits: CompileLimits | None = None,
    input: BinaryIO | bytes | None = None,  # noqa: A002 - as in subprocess.run
    capture_output: bool = False,
    output: BinaryIO | None = None,
    output_limit: int | None = None,
    name: str | None = None,
    log: Callable[[str], object] = lambda _: None,
) -> Completed:
    """Run a program until it ends.

    source: a path, a module's bytes, or WebAssembly text.
    args: its arguments; giving some grants `args`.
    allow: the services it may use, of SERVICES; nothing by default.
    listen, connect: ports as in `8080:80`, and where `tcpip` may connect to
        ("none", "any" for public addresses, "all", or rules such as
        "any:443" and "10.1.0.0/16"); giving them grants `tcpip`.
    files: a host directory or tar file that `fs` starts with, in memory;
        giving it grants `fs`. The original is never changed.
    timeout: seconds until it is ended, whatever it waits for.
    input: what it reads from `console`; nothing by default.
    capture_output: return what it prints as `stdout` instead of printing it.
    output_limit: how many bytes it may print; then `console` answers -2. By
        default 64 MiB of what is captured, and no limit otherwise.

    Raises ModuleRefused, CompileLimitExceeded, UsageError, OSError.
    """
    import io

    if isinstance(args, str):
        raise UsageError(f"args is a list of strings, not {args!r}")
    allow, listen, connect = _listed(allow), _listed(listen), _listed(connect)
    if not all(isinstance(each, str) for each in args):
        raise UsageError(f"arguments are strings: {list(args)!r}")
    granted = _granted(allow, args, listen, connect, files)
    limits = limits or Limits()
    if timeout is not None:
        limits = limits.replace(deadline_seconds=timeout)
    captured = io.BytesIO() if capture_output else None
    if capture_output and output_limit is None:
        output_limit = MAX_CAPTURED
    stdin = io.BytesIO(input) if isinstance(input, bytes) else input
    arguments: dict[int, list[str]] = {}
    with Kernel() as kernel:
        makers: dict[str, Callable[[], Service]] = {
            "console": lambda: outfit.console(
                output if captured is None else captured, stdin, output_limit=output_limit
            ),
            "args": lambda: outfit.args(arguments),
            "fs": lambda: outfit.fs(_image(files, log)),
            "tcpip": lambda: outfit.tcpip(listen, connect or ["none"], log),
            "echo": outfit.echo,
            "pong": outfit.pong,
            "vm": lambda: outfit.vm(None),
        }
        program = kernel.prepare(source, limits)
        if program.shape.kind == "passive":
            raise UsageError(
                f"{program.name} is a passive service, which runs when it is called: "
                "give it a [task] in a manifest and boot that"
            )
        if program.module is None:
            program.compile_limits = compile_limits
            # The child compiles while the servers come up.
            compilation = program.compilation()
            try:
                for service in granted:
                    kernel.serve(makers[service]())
                program.finish(compilation)
            finally:
                compilation.cancel()
        rules = [*granted, *_destinations(connect)]
        task = kernel.spawn(kernel.finish_loading(program), name=name, allow=rules, limits=limits)
        arguments[task.id] = [task.name, *args]
        exit = _wait(kernel, task)
    return Completed(exit, captured.getvalue() if captured else None, tuple(sorted(task.denied)))


def _wait(kernel: Kernel, task: Task) -> Exit:
    try:
        return kernel.wait(task)
    except KeyboardInterrupt:
        kernel.kill(task, "interrupted")
        raise


def _listed(value: str | Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _granted(
    allow: Iterable[str],
    args: Sequence[str],
    listen: Sequence[str],
    connect: Sequence[str],
    files: str | os.PathLike[str] | None,
) -> list[str]:
    """What was asked for, in so many words or by giving what needs it."""
    asked = set(allow)
    unknown = asked.difference(SERVICES)
    if unknown:
        name = min(unknown)
        raise UsageError(f"no service {name!r} to allow; {nearest(name, SERVICES)}")
    if args:
        asked.add("args")
    if files is not None:
        asked.add("fs")
    if listen or connect not in ([], ["none"]):
        asked.add("tcpip")
    return [service for service in SERVICES if service in asked]


def _destinations(connect: Sequence[str]) -> list[str]:
    """Rules for what lies outside of the public internet, which `tcpip` alone doesn't cover."""
    rules = []
    for destination in connect:
        where, _, port = destination.partition(":")
        where = "0.0.0.0/0" if where == "all" else where
        if where not in ("any", "none"):
            only = f", dst_port={port}" if port else ""
            rules.append(f'tcpip.connect(dst_addr="{where}"{only})')
    return rules


def _image(files: str | os.PathLike[str] | None, log: Callable[[str], object]) -> Image:
    image = outfit.make_image()
    if files is not None:
        for note in outfit.load_image(image, os.fspath(files)):
            log(f"fs: left out {note}")
    return image
