"""A place of its own for the sockets of a test, short enough for a socket's path."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wasmos
from tests.support.control import Talker
from wasmos.system.control.later import VARIABLE
from wasmos.system.control.server import Control


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where sockets are; it isn't there yet."""
    path = Path(tempfile.mkdtemp(prefix="wasmos-test-", dir="/tmp"))
    monkeypatch.setenv(VARIABLE, str(path / "s"))
    yield path / "s"
    shutil.rmtree(path)


@pytest.fixture
def control(real_kernel: wasmos.Kernel, folder: Path) -> Iterator[Control]:
    control = Control(real_kernel, "demo")
    control.start()
    yield control
    control.close()


Connect = Callable[[], Talker]


@pytest.fixture
def connect(control: Control) -> Iterator[Connect]:
    talkers: list[Talker] = []

    def connect() -> Talker:
        talkers.append(Talker(control))
        return talkers[-1]

    yield connect
    for talker in talkers:
        talker.socket.close()
