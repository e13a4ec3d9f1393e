"""Compilers of several languages, and what they made: kept, by what it was made of."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KEPT = Path(__file__).parents[4] / "build" / "languages"
ASSEMBLYSCRIPT = "assemblyscript@0.28.20"
ZIG = [sys.executable, "-m", "ziglang"]
SECONDS = 300  # the first program in Go takes its library with it


def c(source: Path, program: Path) -> None:
    _run(*ZIG, "cc", "-target", "wasm32-wasi", "-O1", "-o", program, source)


def cpp(source: Path, program: Path) -> None:
    flags = ("-std=c++20", "-fno-exceptions", "-target", "wasm32-wasi", "-O1")
    _run(*ZIG, "c++", *flags, "-o", program, source)


def zig(source: Path, program: Path) -> None:
    found = _run(*ZIG, "version")
    if tuple(map(int, found.split(".")[:2])) < (0, 16):
        pytest.skip(f"Zig {found} has another standard library than 0.16 and later")
    flags = ("-target", "wasm32-wasi", "-O", "ReleaseSmall")
    _run(*ZIG, "build-exe", *flags, f"-femit-bin={program}", source)


def go(source: Path, program: Path) -> None:
    """Of the interpreter's environment, or the host's."""
    command = shutil.which("go", path=os.pathsep.join([str(Path(sys.executable).parent), _path()]))
    if command is None:
        pytest.skip("no Go: `make test` installs it where its package is to be had")
    target = {"GOOS": "wasip1", "GOARCH": "wasm", "GOTOOLCHAIN": "local", "GO111MODULE": "off"}
    own = {"GOCACHE": str(KEPT / "go"), "GOENV": "off"}
    _run(command, "build", "-o", program, source, environment={**target, **own})


def rust(source: Path, program: Path) -> None:
    """Of the host, if it has the library for one of WASI's targets. `RUSTC` names another one."""
    command = os.environ.get("RUSTC") or shutil.which("rustc")
    if command is None:
        pytest.skip("no Rust")
    try:
        root = Path(_run(command, "--print", "sysroot"), "lib", "rustlib")
    except AssertionError:  # a front of rustup's, without anything behind it
        pytest.skip(f"no Rust that works: {command} --print sysroot")
    found = [each for each in ("wasm32-wasip1", "wasm32-wasi") if (root / each / "lib").is_dir()]
    if not found:
        pytest.skip(f"Rust without a library for WASI: no {root / 'wasm32-wasip1'}")
    _run(command, "--edition", "2021", "-O", "--target", found[0], "-o", program, source)


def assemblyscript(source: Path, program: Path) -> None:
    if not (shutil.which("node") and (npm := shutil.which("npm"))):
        pytest.skip("no Node.js and npm")
    modules = KEPT / ASSEMBLYSCRIPT
    compiler = modules / "node_modules" / ".bin" / "asc"
    if not compiler.exists():
        modules.mkdir(parents=True, exist_ok=True)
        quiet = ("--no-audit", "--no-fund", "--ignore-scripts")
        _run(npm, "install", *quiet, "--prefix", modules, ASSEMBLYSCRIPT)
    flags = ("--runtime", "stub", "--use", "abort=", "-O")
    _run(compiler, source.name, "--outFile", program, *flags, where=source.parent)


COMPILERS: Mapping[str, Callable[[Path, Path], None]] = {
    "c": c, "cpp": cpp, "zig": zig, "go": go, "rs": rust, "ts": assemblyscript,
}  # fmt: skip


def program(language: str) -> Path:
    """The tour in this language. Skips the test if there is no compiler for it."""
    source = HERE / f"tour.{language}"
    made_of = source.read_bytes() + Path(__file__).read_bytes()
    kept = KEPT / f"{language}-{hashlib.sha256(made_of).hexdigest()[:16]}.wasm"
    if not kept.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        new = KEPT / f"{language}-new-{os.getpid()}.wasm"
        COMPILERS[language](source, new)
        new.rename(kept)  # nobody finds half of one
    return kept


def _run(
    *command: str | Path,
    environment: Mapping[str, str] | None = None,
    where: Path = HERE,
) -> str:
    words: Sequence[str] = [str(word) for word in command]
    inherited = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, cwd=where, timeout=SECONDS,
        env={**inherited, **(environment or {})},
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def _path() -> str:
    return os.environ.get("PATH", os.defpath)
