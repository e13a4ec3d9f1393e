"""Guest programs compiled from source in a test, with debug information or without."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

INCLUDE = Path(__file__).parents[2] / "guests" / "include"
FLAGS = (
    "-target", "wasm32-freestanding", "-nostdlib", "-fno-builtin", "-mbulk-memory",
    "-fno-sanitize=all", "-Wl,--no-entry", "-Wl,-z,stack-size=32768", "-I", str(INCLUDE),
)  # fmt: skip


def compiled(source: str, *flags: str, name: str = "prog.c", command: str = "cc") -> bytes:
    """A module. Skips the test if there is no compiler."""
    pytest.importorskip("ziglang")
    return _compiled(source, flags, name, command)


@cache
def _compiled(source: str, flags: tuple[str, ...], name: str, command: str) -> bytes:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder, "src", name)
        path.parent.mkdir()
        path.write_text(source)
        subprocess.run(
            [sys.executable, "-m", "ziglang", command, *FLAGS, *flags,
             "-o", "out.wasm", f"src/{name}"],
            cwd=folder, check=True, timeout=50, capture_output=True,
        )  # fmt: skip
        return Path(folder, "out.wasm").read_bytes()
