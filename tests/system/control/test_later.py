"""A socket that comes when the program has run for a while, and changes nothing else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import wasmos
from tests.support import wat
from tests.support.control import Talker
from tests.support.imports import EXPENSIVE, imported_by
from wasmos.system.control.later import DELAY_SECONDS, Later, start


def test_a_program_that_runs_on_can_be_spoken_to(kernel: wasmos.Kernel, folder: Path) -> None:
    later = Later(kernel, "spin")
    task = kernel.spawn(wat.SPIN, name="spin")
    kernel.run(lambda: later.control is not None, timeout=1)
    assert later.control is not None and task.exit is None
    assert DELAY_SECONDS <= kernel.uptime < DELAY_SECONDS + 0.02
    talker = Talker(later.control)
    assert talker.ask("kill", task="spin")["name"] == "spin"
    assert kernel.wait(task).cause == "killed"
    talker.close()
    later.close()
    assert os.listdir(folder) == []


def test_one_that_is_over_sooner_pays_nothing(kernel: wasmos.Kernel, folder: Path) -> None:
    later = Later(kernel, "quick")
    assert kernel.wait(kernel.spawn(wat.program("#3"))).code == 3
    later.close()
    kernel.run(timeout=1)
    assert later.control is None and not folder.exists()


def test_one_that_waits_for_ever_is_ended_at_once(kernel: wasmos.Kernel, folder: Path) -> None:
    later = Later(kernel, "sleeper")
    with pytest.raises(wasmos.Deadlock, match="'sleeper' is receiving"):
        kernel.wait(kernel.spawn(wat.SLEEP, name="sleeper"))
    assert kernel.uptime < DELAY_SECONDS and later.control is None
    later.close()


def test_one_that_waits_for_ever_later_too(kernel: wasmos.Kernel, folder: Path) -> None:
    later = Later(kernel, "sleeper")
    kernel.spawn(wat.SLEEP, name="sleeper")
    kernel.call_later(1, lambda: None)
    with pytest.raises(wasmos.Deadlock, match="'sleeper' is receiving"):
        kernel.run()
    assert later.control is not None
    later.close()


def test_a_place_that_is_not_safe_is_noted_and_that_is_all(
    kernel: wasmos.Kernel, folder: Path
) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    notes: list[str] = []
    later = Later(kernel, "spin", notes.append)
    task = kernel.spawn(wat.SPIN, limits=wasmos.Limits(deadline_seconds=1))
    assert kernel.wait(task).cause == "deadline"
    assert later.control is None
    assert notes == [
        f"note: control: {folder} is open to others (mode 755), so it is not used; "
        "remove it, or set WASMOS_CONTROL to a directory of your own"
    ]
    later.close()


def test_no_place_at_all(
    kernel: wasmos.Kernel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WASMOS_CONTROL", f"{folder}/nowhere/s")
    notes: list[str] = []
    assert start(kernel, "x", notes.append) is None
    assert notes == [f"note: no control socket: {folder}/nowhere/s: No such file or directory"]


def test_waiting_for_it_imports_nothing() -> None:
    modules = imported_by("from wasmos.system.control.later import Later, is_off")
    assert modules & EXPENSIVE == set()
    assert "wasmos.system.control.server" not in modules
    assert "asyncio" in sys.modules  # the names are right
