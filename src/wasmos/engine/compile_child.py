"""The child that compiles one module: reads it from standard input, answers on
standard output with `+`, the machine code's length in eight bytes and the code, or `-` and what is
wrong.

Law: runs as a script with `-I -S`, imports nothing but the extension, and sets
its own limits before it reads the first byte. Dying at a limit is its answer.
"""

import importlib.util
import os
import resource
import sys
import types


def limit(memory_bytes: int, seconds: int) -> None:
    for what, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        most = resource.getrlimit(what)[1]  # who runs us may have less, and raise it can't be
        if most != resource.RLIM_INFINITY:
            value = min(value, most)
        if value >= 0:
            resource.setrlimit(what, (value, value))


def load_extension(path: str) -> types.ModuleType:
    """`wasmos._core` alone. The package around it is a stand-in without an
    `__init__`: that would import what is of no use here."""
    package = types.ModuleType("wasmos")
    package.__path__ = [os.path.dirname(path)]
    sys.modules["wasmos"] = package
    spec = importlib.util.spec_from_file_location("wasmos._core", path)
    assert spec is not None and spec.loader is not None
    core = importlib.util.module_from_spec(spec)
    sys.modules["wasmos._core"] = core
    spec.loader.exec_module(core)
    return core


def answer(mark: bytes, data: bytes) -> None:
    with open(1, "wb", closefd=False) as out:
        out.write(mark)
        out.write(data)


def main() -> None:
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # whatever the parent left open
    core_path, library, memory_bytes, seconds, threads, *options = sys.argv[1:]
    os.environ["RAYON_NUM_THREADS"] = threads  # the library would take one for each processor
    core = load_extension(core_path)
    core.load_library(library)
    engine = core.Engine(
        parallel=True, **{key: int(value) for key, value in (o.split("=") for o in options)}
    )
    limit(int(memory_bytes), int(seconds))
    wasm = sys.stdin.buffer.read()
    try:
        code = core.Module.compile(engine, wasm).serialize()
    except ValueError as error:
        answer(b"-", str(error).encode())
    else:
        answer(b"+" + len(code).to_bytes(8, "little"), code)
    # Nothing to tidy up that the end of the process would not.
    os._exit(0)


main()
