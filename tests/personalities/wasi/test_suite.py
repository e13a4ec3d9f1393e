"""The public conformance suite, and how we run it.

The suite isn't here. It is on the branch `prod/testsuite-base` of WebAssembly/wasi-testsuite, with
its programs compiled; with a checkout of that,

    WASI_TESTSUITE=/path/to/it make test ARGS=tests/personalities/wasi/test_suite.py

runs every test for preview 1, here and under the engine's own WASI. Without it, what is tested is
that the runner would tell if one failed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import wasmtime

from tests.personalities.wasi.suite import DIALECT, Case, cases

SUITE = os.environ.get("WASI_TESTSUITE", "")
CASES = cases(Path(SUITE)) if SUITE else []
# Prints "out", needs an argument and a file, and ends with 3.
PROGRAM = r"""(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file"
    (func $unlink (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "\20\00\00\00\03\00\00\00") (data (i32.const 32) "out")
  (func (export "_start")
    (drop (call $args (i32.const 16) (i32.const 20)))
    (if (i32.ne (i32.load (i32.const 16)) (i32.const 2)) (then unreachable))
    (if (call $unlink (i32.const 3) (i32.const 32) (i32.const 3)) (then unreachable))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 24)))
    (call $exit (i32.const 3))))"""
# With this variable, tests of the suite that accept several errnos insist on those of POSIX.
STRICT = {"ERRNO_MODE_UNIX": "1"}
SPECIFICATION = {"args": ["an argument"], "root": "files", "exit_code": 3, "stdout": "out"}
OURS_AND_THE_ENGINE = pytest.mark.parametrize("how", ["run", "run_by_the_engine"])


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A suite of one test."""
    folder = tmp_path / "suite" / "tests" / "wat" / "testsuite" / DIALECT
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "out").touch()
    (folder / "one.wasm").write_bytes(wasmtime.wat2wasm(PROGRAM))
    (folder / "one.json").write_text(json.dumps(SPECIFICATION))
    return tmp_path / "suite"


@OURS_AND_THE_ENGINE
def test_a_suite_in_small(small: Path, tmp_path: Path, how: str) -> None:
    (case,) = cases(small)
    assert str(case) == "wat/one"
    case.check(getattr(case, how)(tmp_path))
    assert (case.program.parent / "files" / "out").exists()  # it had a copy


@OURS_AND_THE_ENGINE
@pytest.mark.parametrize(
    "wrong", [{"exit_code": 0}, {"stdout": "more"}, {"root": None}, {"args": []}]
)
def test_what_is_not_as_specified_fails(
    small: Path, tmp_path: Path, how: str, wrong: dict[str, object]
) -> None:
    (case,) = cases(small)
    case.program.with_suffix(".json").write_text(json.dumps(SPECIFICATION | wrong))
    case = Case(case.program)
    with pytest.raises(AssertionError, match="exit code"):
        case.check(getattr(case, how)(tmp_path))


if SUITE:  # not skipped without it: there is nothing that anybody waits for

    def test_the_suite_is_there() -> None:
        assert CASES, f"no */{DIALECT}/*.wasm in {SUITE}: is it the branch with the programs?"

    @pytest.mark.parametrize("case", CASES, ids=str)
    @OURS_AND_THE_ENGINE
    def test_suite(case: Case, tmp_path: Path, how: str) -> None:
        case.check(getattr(case, how)(tmp_path))

    @pytest.mark.parametrize("case", [case for case in CASES if case.root], ids=str)
    @OURS_AND_THE_ENGINE
    def test_suite_strictly(case: Case, tmp_path: Path, how: str) -> None:
        case = Case(case.program)
        case.env = {**case.env, **STRICT}
        case.check(getattr(case, how)(tmp_path))
