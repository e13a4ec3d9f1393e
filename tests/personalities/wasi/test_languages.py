"""Programs in several languages, each with its own library for WASI, run as they are.

The same tour in each: arguments, environment, input, output and errors; a directory and files made,
renamed, looked at, listed and deleted; a wait, the date, and chance; and an exit code.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import wasmos
from tests.personalities.wasi.languages import toolchains

SAID = """\
arguments: <a b> <ü>
environment: me
input: one
input: two
file: content, 7 bytes
names: sub two
then:
elsewhere: nothing
slept: yes
date: yes
chance: yes
"""
# The first time, something is compiled.
pytestmark = pytest.mark.timeout(toolchains.SECONDS)


@pytest.mark.parametrize("language", toolchains.COMPILERS)
def test_tour(language: str, tmp_path: Path) -> None:
    program = toolchains.program(language)
    done = wasmos.run(
        program, ["a b", "ü"], input=b"one\ntwo\n", env="WHO=me", dirs=f"{tmp_path}::/tour",
        capture_output=True,
    )  # fmt: skip
    assert (done.stdout or b"").decode() == SAID
    assert (done.stderr, done.returncode) == (b"an error\n", 7)
    assert done.denials == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("language", toolchains.COMPILERS)
def test_tour_in_memory(language: str, tmp_path: Path) -> None:
    """A directory in which changes stay in memory."""
    program = toolchains.program(language)
    (tmp_path / "two").write_text("of the host")
    (tmp_path / "two").chmod(0o400)
    done = wasmos.run(
        program, ["a b", "ü"], input=b"one\ntwo\n", env="WHO=me", capture_output=True,
        allow=f'fs(dir="{tmp_path}", at="/tour", mode="overlay")',
    )  # fmt: skip
    assert ((done.stdout or b"").decode(), done.returncode) == (SAID, 7)
    assert (tmp_path / "two").read_text() == "of the host"


@pytest.mark.parametrize("language", toolchains.COMPILERS)
def test_tour_that_repeats(language: str, tmp_path: Path) -> None:
    """With a clock and a seed, chance and time are the same each time; and a wait is none."""
    program = toolchains.program(language)

    def run() -> bytes | None:
        return wasmos.run(
            program, input=b"", env="WHO=me", dirs=f"{tmp_path}::/tour", capture_output=True,
            clock="fixed:2026-01-02T03:04:05", seed=1,
        ).stdout  # fmt: skip

    said = run()
    assert said is not None and said.endswith(b"slept: yes\ndate: yes\nchance: yes\n")
    assert run() == said
