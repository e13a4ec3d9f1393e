"""What the tests of the generators share: a C compiler that must be there."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.idl.guest import compile_guest


@pytest.fixture
def compile_c(tmp_path: Path) -> Callable[..., Path]:
    """`compile_c(source, *options)` is the path of the compiled guest."""
    if importlib.util.find_spec("ziglang") is None:
        pytest.fail("there is no C compiler for guests: run  pip install ziglang")
    return functools.partial(_compile, tmp_path)


def _compile(folder: Path, source: str, *options: str, **keywords: Path) -> Path:
    return compile_guest(source, folder, *options, **keywords)
