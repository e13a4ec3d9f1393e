"""The bar that says that compiling takes its time."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from tests.support import wasmgen as gen
from tests.support.screen import CTRL_C, person
from wasmos.cli import progress as module
from wasmos.cli.progress import ERASE, progress


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


TERMINAL = {"TERM": "xterm"}


def test_nothing_in_the_first_second() -> None:
    screen = Screen()
    make = progress(False, stream=screen, environment=TERMINAL)
    assert make is not None
    with make("prog", 31_000_000) as waiting:
        for tenth in range(10):
            waiting(tenth / 10)
    assert screen.getvalue() == ""


def test_it_moves_and_nothing_is_left() -> None:
    screen = Screen()
    make = progress(False, stream=screen, environment=TERMINAL)
    assert make is not None
    with make("prog", 31_000_000) as waiting:
        for tenth in range(80):
            waiting(tenth / 10)
    lines = screen.getvalue().split(ERASE)
    assert (lines[0], lines[-1]) == ("", "")
    assert lines[1] == "compiling prog, 31 MB [-------#####--------] 1 s"
    assert all(
        re.fullmatch(r"compiling prog, 31 MB \[[-#]{20}\] \d s", line) for line in lines[1:-1]
    )
    assert len({re.sub(r"\d s$", "", line) for line in lines[1:-1]}) > 10


def test_erased_when_it_fails() -> None:
    screen = Screen()
    make = progress(False, stream=screen, environment=TERMINAL)
    assert make is not None
    with pytest.raises(KeyboardInterrupt), make("prog", 1_000) as waiting:
        waiting(2)
        raise KeyboardInterrupt
    assert screen.getvalue().endswith(ERASE)


@pytest.mark.parametrize(
    ("quiet", "environment"),
    [(True, TERMINAL), (False, {"TERM": "dumb"}), (False, {}), (False, TERMINAL | {"CI": "1"})],
)
def test_where_there_is_none(quiet: bool, environment: dict[str, str]) -> None:
    assert progress(quiet, stream=Screen(), environment=environment) is None


def test_none_without_a_terminal() -> None:
    assert progress(False, stream=io.StringIO(), environment=TERMINAL) is None


def test_none_while_the_line_is_somebody_elses() -> None:
    screen = Screen()
    make = progress(False, lambda: False, stream=screen, environment=TERMINAL)
    assert make is not None
    with make("prog", 1_000) as waiting:
        waiting(2)
    assert screen.getvalue() == ""


def test_names_play_no_tricks(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(module, "_columns", lambda _stream: 40)
    make = progress(False, stream=screen, environment=TERMINAL)
    assert make is not None
    with make("\x1b[2J\n" + "x" * 1_000, 1_000) as waiting:
        waiting(2)
    (line,) = screen.getvalue().split(ERASE)[1:-1]
    assert line.isprintable()
    assert len(line) == 39


def test_ctrl_c_while_it_is_drawn() -> None:
    """What shows is erased, however little was done since."""

    class Interrupted(Screen):
        def flush(self) -> None:
            if ERASE not in self.getvalue()[len(ERASE) :]:
                raise KeyboardInterrupt

    screen = Interrupted()
    make = progress(False, stream=screen, environment=TERMINAL)
    assert make is not None
    with pytest.raises(KeyboardInterrupt), make("prog", 1_000) as waiting:
        waiting(2)
    assert screen.getvalue().endswith(ERASE)


def test_on_a_terminal(tmp_path: Path) -> None:
    """Of a program that takes long; Ctrl-C ends it, and the line is empty again."""
    path = tmp_path / "slow.wasm"
    path.write_bytes(gen.COMPILE_BOMBS["call_fan"]())
    with person("run", "--no-cache", path, TERM="xterm", CI="") as you:
        you.see(r"compiling slow, \d+ [Mk]B \[[-#]+\] \d+ s")
        you.type(CTRL_C)
        assert you.status() == 130
        assert "compiling" not in str(you.screen)
