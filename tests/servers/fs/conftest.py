"""The two trees of each test: what is outside of the granted one stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.fs import trees


@pytest.fixture(autouse=True)
def _uncollected(uncollected: None) -> None:
    """Most tests here count descriptors."""


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    outside = trees.make_outside(tmp_path)
    before = trees.digest(outside)
    yield outside
    assert trees.digest(outside) == before


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    return trees.make_inside(tmp_path)
