"""Finding and opening the engine's shared library.

Law: the library is opened once per process, from the installed `wasmtime`
wheel, without importing the wheel's own Python layer (which takes longer than
running a small program).
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder

from wasmos import _core

# What the tests cover; pyproject.toml asks for the same range.
SUPPORTED = (50,)

_PLATFORMS = {"linux": "linux", "darwin": "darwin"}
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


def wheel_folder() -> str:
    """The folder of the installed `wasmtime` package."""
    spec = PathFinder.find_spec("wasmtime")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("the engine is missing; install it with: pip install 'wasmtime>=50,<51'")
    return next(iter(spec.submodule_search_locations))


def wheel_version(folder: str) -> str:
    """The version of the wheel, read from its metadata folder's name:
    `importlib.metadata` would take longer than all the rest."""
    for name in os.listdir(os.path.dirname(folder)):
        if name.startswith("wasmtime-") and name.endswith(".dist-info"):
            return name[len("wasmtime-") : -len(".dist-info")]
    return "unknown"


def library_path() -> str:
    """The engine's shared library for this machine. Raises ImportError when
    there is none, or its version is not one that wasmos was tested with."""
    folder = wheel_folder()
    version = wheel_version(folder)
    if version != "unknown" and int(version.split(".")[0]) not in SUPPORTED:
        raise ImportError(
            f"wasmos needs wasmtime {SUPPORTED[0]}.x and found {version}; "
            f"run: pip install 'wasmtime>={SUPPORTED[0]},<{SUPPORTED[0] + 1}'"
        )
    system = _PLATFORMS.get(sys.platform)
    machine = _MACHINES.get(os.uname().machine.lower())
    suffix = "dylib" if system == "darwin" else "so"
    path = os.path.join(folder, f"{system}-{machine}", f"_libwasmtime.{suffix}")
    if not os.path.exists(path):
        raise ImportError(f"the wasmtime wheel has no engine for this machine: {path} is missing")
    return path


def open_library() -> str:
    """Open the engine; idempotent. Returns its path."""
    path = library_path()
    _core.load_library(path)
    return path
