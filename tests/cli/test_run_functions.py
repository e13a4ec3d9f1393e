"""`wasmos run --invoke`: a function of a library, and its results."""

from __future__ import annotations

import pytest

from tests.support.command import Make, wasmos_
from tests.support.modules import LIBRARY
from tests.support.talkers import WASI


def test_a_function_is_called_and_its_results_are_printed(made: Make) -> None:
    library = made(LIBRARY, "lib")
    done = wasmos_("run", "--invoke", "turn", library, "-1", "0xff", "0.5", "-1e3")
    assert (done.returncode, done.stdout, done.stderr) == (0, "-1000\n0.5\n255\n-1\n", "")
    done = wasmos_("run", "-q", library, "7", env={"WASMOS_INVOKE": "i32"})
    assert (done.returncode, done.stdout) == (0, "7\n")
    done = wasmos_("run", "--invoke", "i32", library, "--", "-7")
    assert (done.returncode, done.stdout) == (0, "-7\n")


def test_results_come_after_what_the_function_prints(made: Make) -> None:
    prints = """(drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0))))
      (func (export "f") (result i32)
        (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0))"""
    assert wasmos_("run", "--invoke", "f", made(WASI.format(prints))).stdout == "Hello\n0\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["i32"], 2, "error: 'i32' takes (i32), and was given none\n"),
        (
            ["i32", "x"],
            2,
            "error: argument 1 of 'i32' is an i32, and not 'x'; write a whole number",
        ),
        (["i23", "1"], 2, "error: lib exports no function 'i23'; did you mean 'i32'?\n"),
        (["traps"], 134, "error: task 2 'lib' trapped: unreachable executed\n  at traps"),
        (["spins"], 124, "error: task 2 'lib' reached its deadline: after 0.1 s\n"),
    ],
)
def test_functions_that_fail(made: Make, words: list[str], code: int, said: str) -> None:
    invoke, *args = words
    library = made(LIBRARY, "lib")
    done = wasmos_("run", "--timeout", "100ms", "--invoke", invoke, library, *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(said)


def test_a_library_is_told_what_it_is(made: Make) -> None:
    done = wasmos_("run", made(LIBRARY, "lib"))
    assert done.returncode == 126
    assert done.stderr.startswith(
        "error: lib: nothing to run by itself: it is a library, whose functions others call: 'i32'"
    )
    assert "; to call one: wasmos run --invoke i32; " in done.stderr
