"""docs/personalities.md shows an adapter, a program and a host: they work as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import wasmos
from wasmos import _core

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "personalities.md").read_text(encoding="utf-8")


def files() -> dict[str, str]:
    """What the page says to save, by name."""
    pattern = r"[Ss]ave this\s+as\s+`([\w.]+)`:\n\n```\w+\n(.*?)^```$"
    return dict(re.findall(pattern, PAGE, re.DOTALL | re.MULTILINE))


def compile_all(folder: Path) -> None:
    """By the flags that the page shows."""
    (command,) = re.findall(r"python (-m ziglang cc .*?) -I guests/include", PAGE, re.DOTALL)
    options = command.replace("\\\n", " ").split()
    for name in ("adapter", "program"):
        arguments = [*options, "-I", str(ROOT / "guests" / "include"), "-Wall", "-Werror"]
        arguments += ["-o", f"{name}.wasm", f"{name}.c"]
        subprocess.run([sys.executable, *arguments], cwd=folder, check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")
    compile_all(folder)
    return folder


def test_the_page_has_all_of_it() -> None:
    assert set(files()) == {"adapter.c", "program.c", "host.py"}


def test_the_host_prints_what_the_page_says(folder: Path) -> None:
    after = PAGE.partition("as `host.py`:")[2]
    _, (language, expected) = re.findall(r"^```(\w*)\n(.*?)^```$", after, re.DOTALL | re.MULTILINE)
    assert language == ""
    path = os.pathsep.join(p for p in sys.path if p)
    run = subprocess.run(
        [sys.executable, "host.py"], cwd=folder, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.stdout, run.stderr) == (expected, "")


def test_an_adapter_is_no_program(folder: Path) -> None:
    with wasmos.Kernel() as kernel, pytest.raises(wasmos.ModuleRefused, match="program_write"):
        kernel.load(folder / "adapter.wasm")


def test_the_page_lists_what_an_adapter_may_import() -> None:
    """Of what the core exports, all but the four calls."""
    offered = re.findall(r'\(export "(program_\w+)"\)', _core.SHIM.decode())
    listed = re.findall(r"^\| `(program_\w+)\(", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(offered) != []
