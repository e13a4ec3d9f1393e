"""A scene for each attack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import wasmos
from tests.attacks.attack import Scene


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The table is looked at when all attacks of this run were played."""
    last = Path(__file__).with_name("test_table.py")
    items.sort(key=lambda item: item.path == last)


@pytest.fixture
def scene(kernel: wasmos.Kernel, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(kernel, tmp_path)
    yield scene
    scene.close()


@pytest.fixture
def real_scene(real_kernel: wasmos.Kernel, tmp_path: Path) -> Iterator[Scene]:
    """The same by the machine's clock."""
    scene = Scene(real_kernel, tmp_path)
    yield scene
    scene.close()
