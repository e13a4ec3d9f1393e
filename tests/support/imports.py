"""What modules of the package import: by their text, and in a fresh interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import wasmos

PACKAGE = Path(wasmos.__file__).parent

# Each of them costs more than all of wasmos' own modules.
EXPENSIVE = {
    "asyncio", "click", "ctypes", "dataclasses", "email", "http", "importlib.metadata", "inspect",
    "json", "lark", "logging", "multiprocessing", "pathlib", "prompt_toolkit", "random", "socket",
    "ssl", "subprocess", "tempfile", "tomllib", "typing", "unittest", "urllib", "wasmtime",
}  # fmt: skip


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def absolute(node: ast.ImportFrom, path: Path) -> str:
    """The module that a `from` names, relative or not."""
    if not node.level:
        return node.module or ""
    package = module_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, node.module] if node.module else package)


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Each module that a file imports anywhere, with the line; names of packages included."""
    tree = ast.parse(path.read_text(), str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, path)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                inner = PACKAGE.parent.joinpath(*full.split("."))
                is_module = (
                    full == "wasmos._core"
                    or inner.with_suffix(".py").exists()
                    or (inner / "__init__.py").exists()
                )
                yield node.lineno, full if is_module else base


def imported_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after it, without those it has anyway."""
    script = (
        f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {script}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
