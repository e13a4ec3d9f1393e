"""Programs for the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import Make


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """Writes a program, gives its path."""

    def make(source: str | bytes, name: str = "guest") -> Path:
        path = tmp_path / (f"{name}.wasm" if isinstance(source, bytes) else f"{name}.wat")
        path.write_bytes(source.encode() if isinstance(source, str) else source)
        return path

    return make
