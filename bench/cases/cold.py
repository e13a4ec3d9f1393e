"""The command line, cold: a whole process from its start to its end."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import wasmtime

import bench.peers
from bench import guests
from bench.harness import (
    TIMES_OURS,
    Aim,
    Measure,
    Row,
    Settings,
    check,
    interleave,
    one_core,
    timed,
)
from wasmos import abi

AIM = Aim("<=", 1.0)
NAME = "wasmos run hello"
ANEW = f"{NAME} --no-cache"
GREETING = b"Hello!\n"
RUN_NODE = Path(bench.peers.__file__).parent / "hello.mjs"


def hello(settings: Settings) -> list[Row]:
    """`wasmos run` and `node` print the same line from equivalent modules."""
    command = _wasmos()
    node = shutil.which("node")
    with tempfile.TemporaryDirectory(prefix="wasmos-bench-") as folder, one_core(settings.core):
        module = _module(Path(folder), "hello", type=abi.ConsoleWrite.TYPE)
        wasi_module = _module(Path(folder), "hello_wasi")
        environment = _environment(Path(folder))
        measures = {"python": _process([sys.executable, "-c", ""], b"", environment)}
        if node is not None:
            argv = [node, "--no-warnings", str(RUN_NODE), str(wasi_module)]
            measures["node"] = _process(argv, GREETING, environment)
        note = "there is no command line yet"
        if command is not None:
            argv = [*command, "run", "--allow", "console", str(module)]
            done = subprocess.run(argv, capture_output=True, check=False, env=environment)
            if done.returncode == 0 and done.stdout == GREETING:
                note = ""
                measures["ours"] = _process(argv, GREETING, environment)
                anew = [*command, "run", "--no-cache", *argv[len(command) + 1 :]]
                measures["anew"] = _process(anew, GREETING, environment)
            else:
                note = f"it failed: {_last_line(done.stderr or done.stdout)}"
        rounds = settings.turns(3)
        times = dict(zip(measures, interleave(list(measures.values()), rounds), strict=True))
    install = None if node else "apt install nodejs"
    ours = times.get("ours")
    return [
        Row(NAME, ours, "node:wasi", times.get("node"), AIM, install=install, note=note),
        Row(NAME, ours, "python startup", times["python"], TIMES_OURS),
        Row(ANEW, times.get("anew"), "node:wasi", times.get("node"), TIMES_OURS, install=install),
    ]


def _wasmos() -> list[str] | None:
    """The command as it is installed, or else as a module of this interpreter."""
    beside = Path(sys.executable).with_name("wasmos")
    if beside.exists():
        return [str(beside)]
    if importlib.util.find_spec("wasmos.__main__") is not None:
        return [sys.executable, "-m", "wasmos"]
    if importlib.util.find_spec("wasmos.cli") is not None:
        return [sys.executable, "-c", "import sys; from wasmos.cli import main; sys.exit(main())"]
    return None


def _module(folder: Path, name: str, **numbers: int) -> Path:
    path = folder / f"{name}.wasm"
    path.write_bytes(wasmtime.wat2wasm(guests.text(name, **numbers)))
    return path


def _last_line(output: bytes) -> str:
    return (output.decode(errors="replace").strip().splitlines() or ["no output"])[-1]


def _environment(folder: Path) -> dict[str, str]:
    """With bytecode compiled once, as that of an installed package is, and a cache of its own."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    kept.pop("WASMOS_NO_CACHE", None)
    return {
        **kept,
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        "WASMOS_CACHE_DIR": str(folder / "cache"),
        "XDG_STATE_HOME": str(folder / "state"),
    }


def _process(argv: list[str], expected: bytes, environment: dict[str, str]) -> Measure:
    def work() -> None:
        done = subprocess.run(argv, capture_output=True, check=False, env=environment)
        check((done.returncode, done.stdout), (0, expected), " ".join(argv))

    return lambda: timed(work)
