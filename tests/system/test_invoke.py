"""Calling one function of a module: its arguments and results as text."""

from __future__ import annotations

import struct

import pytest

import wasmos
from tests.support import wat
from tests.support.modules import LIBRARY
from wasmos.system.invoke import shown


@pytest.mark.parametrize(
    ("type", "text", "result"),
    [
        ("i32", "0", "0"), ("i32", "-1", "-1"), ("i32", "+007", "7"), ("i32", "0x10", "16"),
        ("i32", "0XfF", "255"), ("i32", "-0x80000000", "-2147483648"),
        ("i32", "2147483647", "2147483647"), ("i32", "-2147483648", "-2147483648"),
        # Unsigned ones are the same bits.
        ("i32", "4294967295", "-1"), ("i32", "0x80000000", "-2147483648"),
        ("i64", "0xffffffffffffffff", "-1"), ("i64", "9223372036854775807", "9223372036854775807"),
        ("i64", "-0x8000000000000000", "-9223372036854775808"),
        ("f32", "1", "1"), ("f32", "0.1", "0.1"), ("f32", "-0", "-0"), ("f32", "1e-3", "0.001"),
        ("f32", "16777217", "16777216"), ("f32", "3.4028235e38", "340282350" + "0" * 30),
        ("f32", "inf", "inf"), ("f32", "1e-45", "0." + "0" * 44 + "1"), ("f32", "5.", "5"),
        ("f64", "1", "1"), ("f64", "0.1", "0.1"), ("f64", ".5", "0.5"),
        ("f64", "1E22", "1" + "0" * 22), ("f64", "-inf", "-inf"), ("f64", "NaN", "NaN"),
        ("f64", "-infinity", "-inf"), ("f64", "100", "100"), ("f64", "1e999", "inf"),
        ("f64", "123456789.125", "123456789.125"),
    ],
)  # fmt: skip
def test_texts_of_each_type(type: str, text: str, result: str) -> None:
    done = wasmos.run(LIBRARY, [text], invoke=type)
    assert (done.returncode, done.show_results()) == (0, [result])


@pytest.mark.parametrize(
    ("type", "text"),
    [
        ("i32", ""), ("i32", "x"), ("i32", "1.0"), ("i32", "1e3"), ("i32", " 1"), ("i32", "1_0"),
        ("i32", "0x"), ("i32", "0b1"), ("i32", "1\n"), ("i32", "--1"), ("i32", "\u0661"),
        ("i32", "4294967296"), ("i32", "-2147483649"), ("i32", "0x1ffffffff"), ("i32", "9" * 5000),
        ("i64", "18446744073709551616"), ("i64", "-0x8000000000000001"),
        ("f32", "1e39"), ("f32", ""), ("f32", "."), ("f32", "e5"), ("f32", "0x1p3"),
        ("f64", "1,5"), ("f64", "one"), ("f64", "1_0"), ("f64", "1e"), ("f64", "1\n"),
    ],
)  # fmt: skip
def test_texts_that_are_no_such_value(type: str, text: str) -> None:
    with pytest.raises(wasmos.UsageError, match=f"argument 1 of '{type}' is an {type}, and not '"):
        wasmos.run(LIBRARY, [text], invoke=type)


def test_the_wrong_argument_is_named() -> None:
    with pytest.raises(
        wasmos.UsageError, match="argument 3 of 'turn' is an f32, and not 'x'; write"
    ):
        wasmos.run(LIBRARY, ["1", "2", "x", "3"], invoke="turn")


@pytest.mark.parametrize(
    ("args", "invoke", "error"),
    [
        (["1"], "turn", r"'turn' takes \(i32, i64, f32, f64\), and was given 1"),
        (["1", "2"], "i32", r"'i32' takes \(i32\), and was given 2"),
        (["1"], "nothing", "'nothing' takes no arguments, and was given 1"),
        ([], "trun", "module exports no function 'trun'; did you mean 'turn'?"),
        ([], "", "no function ''; there are: 'i32', "),
    ],
)
def test_calls_that_are_wrong(args: list[str], invoke: str, error: str) -> None:
    """They are found before anything runs, and before it is compiled."""
    with pytest.raises(wasmos.UsageError, match=error):
        wasmos.run(LIBRARY, args, invoke=invoke, compile_limits=wasmos.CompileLimits(seconds=0))


def test_several_results_and_none() -> None:
    done = wasmos.run(LIBRARY, ["-1", "2", "0.5", "1e3"], invoke="turn")
    assert done.show_results() == ["1000", "0.5", "2", "-1"]
    assert done.exit.results == (1000.0, 0.5, 2, -1)
    done = wasmos.run(LIBRARY, invoke="nothing")
    assert (done.returncode, done.show_results(), done.exit.results) == (0, [], ())


def test_each_float_has_a_text_of_its_own() -> None:
    for bits in (1, 0x7FFFFF, 0x800000, 0x3DCCCCCD, 0x7F7FFFFF, 0x3F800001, 0x4B800000):
        (value,) = struct.unpack("<f", struct.pack("<I", bits))
        (text,) = shown(["f32"], [value])
        assert struct.pack("<f", float(text)) == struct.pack("<I", bits)
        assert "e" not in text


def test_ends_without_results() -> None:
    done = wasmos.run(LIBRARY, invoke="traps")
    assert (done.returncode, done.show_results()) == (134, [])
    assert done.trace() != []
    done = wasmos.run(LIBRARY, invoke="spins", timeout=0.01)
    assert (done.returncode, done.show_results()) == (124, [])


def test_its_arguments_are_no_reason_to_grant_some() -> None:
    """They are the function's."""
    guest = wat.program(
        "#0", fields='(func (export "f") (param i32) (result i32) @args)'
    )  # looked up in vain
    done = wasmos.run(guest, ["1"], invoke="f")
    assert (done.show_results(), done.denied) == (["-8"], ("args",))
    done = wasmos.run(guest, ["1"], invoke="f", allow="args")
    assert done.exit.results is not None and done.exit.results[0] > 0


REACTOR = """(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (global $ready (mut i32) (i32.const 0))
  (func (export "_initialize") (global.set $ready (i32.const 5)))
  (func (export "ready") (result i32) (global.get $ready))
  (func (export "leave") (call $exit (i32.const 4))))"""


def test_a_reactor_says_what_it_is() -> None:
    log: list[str] = []
    done = wasmos.run(REACTOR, name="lib", log=log.append)
    assert (done.returncode, done.exit.results) == (0, None)
    assert log == [
        "note: lib is a reactor, which was initialized and does nothing more by itself; "
        "to call one of its functions: --invoke ready"
    ]
    log.clear()
    assert wasmos.run(REACTOR, invoke="ready", log=log.append).exit.results == (5,)
    assert wasmos.run(REACTOR, invoke="leave", log=log.append).returncode == 4
    bare = REACTOR.replace('(export "ready")', "").replace('(export "leave")', "")
    assert log == []
    wasmos.run(bare, name="lib", log=log.append)
    assert log == ["note: lib is a reactor, which was initialized and does nothing more by itself"]


ARGUED = """(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $count (result i32) (drop (call $sizes (i32.const 0) (i32.const 4)))
    (i32.load (i32.const 0)))
  (func (export "_initialize"))
  (func (export "main") (result i32) (call $count))
  (func (export "more") (param i32) (result i32) (i32.add (local.get 0) (call $count))))"""


def test_a_function_that_takes_nothing_of_a_program_that_reads_arguments() -> None:
    """They are the program's then, whatever they are: a reactor whose work is a `main`."""
    assert wasmos.run(ARGUED, ["/d/a.png", "--fast"], invoke="main").exit.results == (3,)
    assert wasmos.run(ARGUED, invoke="main").exit.results == (1,)
    assert wasmos.run(ARGUED, ["40"], invoke="more").exit.results == (42,)
    with pytest.raises(wasmos.UsageError, match=r"'more' takes \(i32\), and was given 2"):
        wasmos.run(ARGUED, ["1", "2"], invoke="more")
    with pytest.raises(wasmos.UsageError, match="'ready' takes no arguments, and was given 1"):
        wasmos.run(REACTOR, ["1"], invoke="ready")


def test_numbers_as_arguments() -> None:
    """As a Python program has them."""
    done = wasmos.run(LIBRARY, [1, -2, 0.5, float("inf")], invoke="turn")
    assert done.exit.results == (float("inf"), 0.5, -2, 1)
    assert wasmos.run(LIBRARY, [1 << 63], invoke="i64").exit.results == (-(1 << 63),)
    for wrong in (True, None, b"1"):
        with pytest.raises(wasmos.UsageError, match="arguments are strings"):
            wasmos.run(LIBRARY, [wrong], invoke="i32")  # type: ignore[list-item]
