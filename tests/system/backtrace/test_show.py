"""A backtrace on a terminal."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.command import wasmos_
from tests.support.compiled import compiled
from tests.system.backtrace.sources import C
from wasmos.kernel import Exit
from wasmos.system.backtrace import trace


def test_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "prog.wasm"
    path.write_bytes(compiled(C, "-g", "-O0", "-Wl,--build-id"))
    done = wasmos_("run", path)
    assert done.returncode == 134
    assert done.stderr.splitlines() == [
        "error: task 2 'prog' trapped: integer division by zero",
        "  at divide       src/prog.c:3:12",
        "  at middle       src/prog.c:6:10   (inlined)",
        "  at compute      src/prog.c:9:10",
        "  at wasmos_main  src/prog.c:13:10",
    ]
    long = wasmos_("run", "-g", path).stderr.splitlines()
    assert re.fullmatch(
        r"  at divide  +/.*/src/prog.c:3:12   function 2, byte 0x[0-9a-f]+", long[1]
    )
    assert re.fullmatch(r"  build id [0-9a-f]+", long[-1])


def test_a_hint_where_nothing_is_known(tmp_path: Path) -> None:
    path = tmp_path / "prog.wasm"
    path.write_bytes(compiled(C, "-O0", "-g0", "-Wl,--strip-all"))
    assert re.fullmatch("  at function 2  byte 0x.*", wasmos_("run", path).stderr.splitlines()[1])
    done = wasmos_("run", path, env={"WASMOS_DETAILS": "1"})
    assert "compile the program with -g" in done.stderr


def test_a_name_plays_no_tricks() -> None:
    frames = ((0, "\x1b[2J\n  at \u202eevil" + "x" * 500, 10, ""),)
    [line] = trace(Exit(2, "prog", "trapped", backtrace=frames))
    assert (
        line.isprintable() and line.startswith("  at ^[[2J^J  at \\u202eevil") and len(line) < 200
    )


def test_a_long_name_keeps_its_end() -> None:
    frames = ((0, "app::Table<" + "x" * 500 + ">::insert", 10, ""),)
    [line] = trace(Exit(2, "prog", "trapped", backtrace=frames))
    name = line.split()[1]
    assert name.startswith("app::Table<x") and name.endswith("x>::insert") and len(name) == 100


def test_a_long_one_is_cut() -> None:
    frames = tuple((index, f"f{index}", 10, "") for index in range(20))
    exit = Exit(2, "prog", "trapped", backtrace=frames)
    assert len(trace(exit)) == 17 and "4 more" in trace(exit)[-1]
    assert len(trace(exit, details=True)) == 21
