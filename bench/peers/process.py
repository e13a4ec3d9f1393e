"""Peers that are processes of their own: two pipes in C, two processes of Erlang.

Law: started once and asked again in every round, so that no start is timed;
they answer with their own time and the sum of the answers, which is checked.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.harness import MissingError, WrongResultError, check

HERE = Path(__file__).parent


def c_compiler() -> list[str]:
    """A command that compiles C for this machine."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (path := shutil.which(name.split()[0])):
            return [path, *name.split()[1:]]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    raise MissingError("a C compiler", "apt install gcc")


class RoundTrips:
    """A running peer. `measure(n)` is seconds per round trip over n of them."""

    def __init__(self, argv: list[str], folder: tempfile.TemporaryDirectory[str]) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            argv, cwd=folder.name, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def measure(self, count: int) -> float:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(f"{count}\n")
        stdin.flush()
        words = stdout.readline().split()
        if len(words) != 2:
            raise WrongResultError(f"{self._process.args!r} ended with {self._process.wait()}")
        check(int(words[1]), count * (count + 1) // 2, "sum of the peer's answers")
        return int(words[0]) / 1e9 / count

    def close(self) -> None:
        self._process.communicate()  # the end of its input is its end
        self._folder.cleanup()

    def __enter__(self) -> RoundTrips:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pipe(size: int) -> RoundTrips:
    """Two processes and a pair of pipes, messages of `size` bytes."""
    compiler = c_compiler()
    folder = tempfile.TemporaryDirectory(prefix="wasmos-bench-")
    program = Path(folder.name) / "pipe"
    _build([*compiler, "-O2", "-o", str(program), str(HERE / "pipe.c")], folder)
    return RoundTrips([str(program), str(size)], folder)


def erlang() -> RoundTrips:
    """Two Erlang processes on one scheduler that doesn't wait busily: it
    would take the processor from whoever is measured next."""
    erl, erlc = shutil.which("erl"), shutil.which("erlc")
    if erl is None or erlc is None:
        raise MissingError("Erlang", "apt install erlang-base")
    folder = tempfile.TemporaryDirectory(prefix="wasmos-bench-")
    _build([erlc, "-o", folder.name, str(HERE / "pingpong.erl")], folder)
    argv = [erl, "+S", "1:1", "+sbwt", "none", "-noshell", "-pa", folder.name]
    return RoundTrips([*argv, "-s", "pingpong", "main"], folder)


def _build(argv: list[str], folder: tempfile.TemporaryDirectory[str]) -> None:
    done = subprocess.run(argv, cwd=folder.name, capture_output=True, text=True, check=False)
    if done.returncode:
        folder.cleanup()
        raise MissingError(
            f"a working {Path(argv[0]).name} ({done.stderr.strip()})", "apt install gcc"
        )
