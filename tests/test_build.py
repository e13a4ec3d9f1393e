"""The build did what it should, and its scripts keep stdin and stdout for the program."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from wasmos import Kernel

ROOT = Path(__file__).parents[1]
GUESTS = ROOT / "guests"
HOSTILE = GUESTS / "hostile"
PACKAGED = ROOT / "src/wasmos/guests"
UNPACKAGED = ROOT / "build/guests/hostile"


def step(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "scripts/step.sh"), *command],
        input="for the program",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("source", sorted(GUESTS.glob("*.c")), ids=lambda path: path.stem)
def test_a_guest_is_packaged_and_accepted(source: Path) -> None:
    program = PACKAGED / f"{source.stem}.wasm"
    with Kernel() as kernel:
        kernel.load(program, trusted=True)  # compiled here: how others are isn't the question


@pytest.mark.parametrize("source", sorted(HOSTILE.glob("*.c")), ids=lambda path: path.stem)
def test_a_hostile_guest_is_built_but_not_packaged(source: Path) -> None:
    assert (UNPACKAGED / f"{source.stem}.wasm").read_bytes().startswith(b"\0asm")
    assert not (PACKAGED / f"{source.stem}.wasm").exists()


def test_a_step_that_succeeds_is_one_line_on_stderr() -> None:
    done = step("counting", "sh", "-c", "echo noise; echo more >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "wasmos: counting\n")


def test_a_step_that_fails_says_why_and_keeps_its_status() -> None:
    done = step("trying", "sh", "-c", "echo the reason; exit 3")
    assert (done.returncode, done.stdout) == (3, "")
    assert "the reason\n" in done.stderr
    assert "make doctor" in done.stderr


def test_a_step_leaves_stdin_alone() -> None:
    # Through a shell, so that something can read it after the step.
    script = f"{ROOT}/scripts/step.sh eating cat; cat"
    done = subprocess.run(
        ["sh", "-c", script], input="kept", capture_output=True, text=True, check=True
    )
    assert done.stdout == "kept"


def test_the_doctor_names_what_is_missing() -> None:
    done = subprocess.run(
        ["sh", str(ROOT / "scripts/doctor.sh"), "--quiet"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": "/nowhere/python", "CC": "/nowhere/cc"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "PYTHON=/nowhere/python" in done.stderr
    assert "a C compiler ('/nowhere/cc' doesn't compile)" in done.stderr
