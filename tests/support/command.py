"""The command `wasmos` as its users have it: a process with pipes, signals and an exit status."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wasmos

WASMOS = [sys.executable, "-m", "wasmos"]
GUESTS = Path(wasmos.__file__).parent / "guests"
HELLO = str(GUESTS / "hello.wasm")
SECONDS = 40  # a process that takes longer hangs
Make = Callable[..., Path]  # the fixture `made` of tests/cli

# A system with all there is and nothing that another one could be in the way of.
SYSTEM = """
[system]
servers = ["vm", "console", "args", "echo", "fs", "tcpip"]
programs = ["programs"]
[fs]
files = { "hello.txt" = "Hello from a file.\\n" }
[tcpip]
listen = ["0:80"]
connect = "none"
[task.pong]
use = ["vm"]
[task.webserver]
use = ["tcpip", "console"]
[spawn]
use = ["*"]
"""


def environment(**changes: str) -> dict[str, str]:
    """Ours, without what would change what the command does."""
    ours = ("WASMOS_ASAN", "WASMOS_CACHE_DIR")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WASMOS_") or k in ours}
    return {**kept, "PYTHONUNBUFFERED": "", **changes}


def wasmos_(
    *arguments: object,
    input: str | bytes = b"",  # noqa: A002 - as in subprocess
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end. Fails if it ends with a traceback, as nothing should."""
    if "stdin" not in options:
        options["input"] = input.encode() if isinstance(input, str) else input
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    done = subprocess.run(
        [*WASMOS, *map(str, arguments)],
        env=environment(**(env or {})),
        timeout=SECONDS,
        check=False,
        **options,
    )
    stdout = (done.stdout or b"").decode("utf-8", "surrogateescape")
    stderr = (done.stderr or b"").decode("utf-8", "surrogateescape")
    assert "Traceback" not in stderr, stderr
    assert "Exception ignored" not in stderr, stderr
    return subprocess.CompletedProcess(done.args, done.returncode, stdout, stderr)


class Running:
    """A command that runs; its standard error is read line by line."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.log: list[str] = []

    def line(self, pattern: str) -> re.Match[str]:
        """The next line of standard error that matches."""
        assert self.process.stderr is not None
        for raw in self.process.stderr:
            self.log.append(raw.decode())
            if match := re.search(pattern, self.log[-1]):
                return match
        raise AssertionError(f"no line {pattern!r} in {''.join(self.log)}")

    def port(self) -> int:
        """The host's port, from the log."""
        return int(self.line(r"tcpip: port \d+ is [\d.]+:(\d+)")[1])

    def write(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def read(self) -> str:
        """The next line of standard output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode()

    def until(self, wanted: str) -> None:
        """Read standard output up to this line."""
        while (line := self.read()) != wanted:
            assert line, f"no {wanted!r}"

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Close its input and wait: exit status, and what was still unread of its output."""
        stdout, stderr = self.process.communicate(timeout=SECONDS)
        assert b"Traceback" not in stderr, stderr.decode()
        return self.process.returncode, stdout.decode(), stderr.decode()


@contextmanager
def running(
    *arguments: object, env: Mapping[str, str] | None = None, **options: Any
) -> Iterator[Running]:
    process = subprocess.Popen(
        [*WASMOS, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(**(env or {})), **options,
    )  # fmt: skip
    with process:
        try:
            yield Running(process)
        finally:
            process.kill()


def generous(manifest: str) -> str:
    """A policy that grants all that is asked for."""
    try:
        tasks = tomllib.loads(manifest).get("task", {})
    except ValueError:
        tasks = {}
    names = "".join(f'[task."{name}"]\nallow = ["*"]\n' for name in tasks)
    return f'{names}[spawn]\nallow = ["*"]\n'


def folder(
    path: Path, manifest: str = SYSTEM, policy: str | None = None, **programs: str | bytes
) -> Path:
    """A folder with a manifest, a policy that grants everything unless another one is given, and
    programs; the manifest's path."""
    (path / "policy.toml").write_text(generous(manifest) if policy is None else policy)
    (path / "programs").mkdir(exist_ok=True)
    for name, program in programs.items():
        data = program if isinstance(program, bytes) else program.encode()
        ending = "wasm" if isinstance(program, bytes) else "wat"
        (path / "programs" / f"{name}.{ending}").write_bytes(data)
    (path / "system.toml").write_text(manifest)
    return path / "system.toml"
