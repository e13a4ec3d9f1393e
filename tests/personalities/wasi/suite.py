"""The public conformance tests of WASI (`wasi-testsuite`), found in a folder that the caller names.

Law: the suite isn't part of this repository, and its folder is only read: a test that has files
gets a copy of them. What a test has to print and how it has to end is what its specification says,
a JSON file next to the program.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import wasmtime

import wasmos

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIALECT = "wasm32-wasip1"  # the folders of preview 1


def cases(suite: Path) -> list[Case]:
    """The tests for preview 1 in a checkout of the branch with the compiled programs."""
    return [Case(program) for program in sorted(suite.glob(f"**/{DIALECT}/**/*.wasm"))]


class Ended:
    """How a program ended, what it printed, and for people why it ended so."""

    def __init__(self, code: int, stdout: bytes, stderr: bytes, why: str = "") -> None:
        self.code = code
        self.stdout = stdout.decode()
        self.stderr = stderr.decode()
        self.why = why

    def __repr__(self) -> str:
        return f"exit code {self.code}\n{self.why}\n{self.stdout}\n{self.stderr}"


class Case:
    """One program and its specification."""

    def __init__(self, program: Path) -> None:
        self.program = program
        path = program.with_suffix(".json")
        said: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self.args: list[str] = said.get("args", [])
        self.env: dict[str, str] = said.get("env", {})
        self.root: str | None = said.get("root")
        self.code: int = said.get("exit_code", 0)
        self.stdout: str | None = said.get("stdout")
        self.stderr: str | None = said.get("stderr")

    def __str__(self) -> str:
        """As in "rust/path_link"."""
        language = self.program.parts[self.program.parts.index(DIALECT) - 2]
        return f"{language}/{self.program.stem}"

    def check(self, ended: Ended) -> None:
        assert ended.code == self.code, ended
        assert self.stdout in (None, ended.stdout), ended
        assert self.stderr in (None, ended.stderr), ended

    def files(self, folder: Path) -> Path | None:
        """A copy of the directory that it gets as its root."""
        if self.root is None:
            return None
        root = folder / "root"
        shutil.copytree(self.program.parent / self.root, root)
        for left in root.glob("**/*.cleanup"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        return root

    def run(self, folder: Path) -> Ended:
        """As a task, with the servers that a program gets from the command line."""
        root = self.files(folder)
        ended = wasmos.run(
            self.program,
            self.args,
            dirs=() if root is None else f"{root}::/",
            env=self.env,
            timeout=30,
            capture_output=True,
        )
        assert ended.stdout is not None and ended.stderr is not None
        return Ended(ended.returncode, ended.stdout, ended.stderr, str(ended.exit))

    def run_by_the_engine(self, folder: Path) -> Ended:
        """Under the engine's own WASI."""
        root = self.files(folder)
        config = wasmtime.WasiConfig()
        config.argv = [self.program.stem, *self.args]
        config.env = list(self.env.items())
        for name in ("stdin", "stdout", "stderr"):
            (folder / name).touch()
            setattr(config, f"{name}_file", str(folder / name))
        if root is not None:
            config.preopen_dir(str(root), "/")
        engine = wasmtime.Engine()
        store = wasmtime.Store(engine)
        store.set_wasi(config)
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        instance = linker.instantiate(store, wasmtime.Module.from_file(engine, str(self.program)))
        start = instance.exports(store)["_start"]
        assert isinstance(start, wasmtime.Func)
        code, why = 0, ""
        try:
            start(store)
        except wasmtime.ExitTrap as trap:
            code = trap.code
        except wasmtime.Trap as trap:
            code, why = 134, str(trap)
        stdout, stderr = ((folder / name).read_bytes() for name in ("stdout", "stderr"))
        return Ended(code, stdout, stderr, why)
