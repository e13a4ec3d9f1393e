"""The engine through the `wasmtime` package's own Python layer.

Law: what is measured is what its documentation shows, with its defaults
unless a row says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import wasmtime

from bench import guests
from bench.harness import Measure, check, timed


def engine(*, epochs: bool = False) -> wasmtime.Engine:
    if not epochs:
        return wasmtime.Engine()
    config = wasmtime.Config()
    config.epoch_interruption = True
    return wasmtime.Engine(config)


def host_function(count: int) -> Measure:
    """Wasm calls a Python function."""
    store = wasmtime.Store(engine())
    module = wasmtime.Module(store.engine, guests.text("host_function", count=count))
    i32 = wasmtime.ValType.i32()
    function = wasmtime.Func(store, wasmtime.FuncType([i32], [i32]), lambda value: value + 1)
    main = _exported(store, wasmtime.Instance(store, module, [function]), "main")

    def work() -> None:
        check(main(store), count * (count + 1) // 2, "sum of the host function's results")

    return lambda: timed(work, count)


def exported_function(count: int) -> Measure:
    """Python calls a Wasm function."""
    store = wasmtime.Store(engine())
    module = wasmtime.Module(store.engine, guests.text("next"))
    function = _exported(store, wasmtime.Instance(store, module, []), "next")

    def work() -> None:
        for number in range(count):
            check(function(store, number), number + 1, "exported function")

    return lambda: timed(work, count)


def computing(source: str, expected: int, *, epochs: bool = False) -> Measure:
    """A whole module, instance and all; compiled before. With epochs on,
    nobody moves them: it is the checks that are measured."""
    shared = engine(epochs=epochs)
    module = wasmtime.Module(shared, source)

    def work() -> None:
        store = wasmtime.Store(shared)
        if epochs:
            store.set_epoch_deadline(1)
        main = _exported(store, wasmtime.Instance(store, module, []), "main")
        check(main(store), expected, "the engine alone")

    return lambda: timed(work)


def instances(source: str, count: int) -> Measure:
    """A store and an instance in it, made and dropped."""
    shared = engine()
    module = wasmtime.Module(shared, source)

    def work() -> None:
        for _ in range(count):
            wasmtime.Instance(wasmtime.Store(shared), module, [])

    return lambda: timed(work, count)


def _exported(store: wasmtime.Store, instance: wasmtime.Instance, name: str) -> wasmtime.Func:
    function = instance.exports(store)[name]
    assert isinstance(function, wasmtime.Func)
    return function


def live_instances(source: str, most: int) -> int:
    """How many instances, each in its store, can be alive: at most `most`."""
    shared = engine()
    module = wasmtime.Module(shared, source)
    kept: list[tuple[wasmtime.Store, wasmtime.Instance]] = []
    try:
        while len(kept) < most:
            store = wasmtime.Store(shared)
            kept.append((store, wasmtime.Instance(store, module, [])))
    except (wasmtime.WasmtimeError, MemoryError):
        pass
    return len(kept)


def wasi(source: str, directory: str, output: str) -> Callable[[], Callable[[], None]]:
    """A program under the package's own WASI: what makes it ready returns what runs it."""
    shared = engine()
    module = wasmtime.Module(shared, source)
    linker = wasmtime.Linker(shared)
    linker.define_wasi()

    def start() -> Callable[[], None]:
        config = wasmtime.WasiConfig()
        config.preopen_dir(directory, "/")
        config.stdout_file = output
        store = wasmtime.Store(shared)
        store.set_wasi(config)
        main = _exported(store, linker.instantiate(store, module), "_start")
        return lambda: main(store)

    return start
