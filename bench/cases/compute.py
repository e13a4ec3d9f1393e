"""A program that computes and sends no message: what preemption and the
kernel around it cost."""

from __future__ import annotations

import wasmos
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
from bench.peers import wheel

AIM = Aim("<=", 1.02)
# program → how often, and for quick runs
PROGRAMS = {"mix": (8_000_000, 100_000), "mandelbrot": (1_000, 100), "sieve": (800, 10)}


def compute(settings: Settings) -> list[Row]:
    rows = []
    with one_core(settings.core), wasmos.Kernel() as our:
        for name, counts in PROGRAMS.items():
            source = guests.text(name, count=counts[settings.quick])
            expected = _result(source)
            ours, bare, epochs = interleave(
                [
                    _measure(our, source, expected),
                    wheel.computing(source, expected),
                    wheel.computing(source, expected, epochs=True),
                ],
                settings.turns(2),
            )
            rows.append(Row(f"compute {name}", ours, "wheel, default config", bare, AIM))
            rows.append(Row(f"compute {name}", ours, "wheel, epoch checks on", epochs, TIMES_OURS))
    return rows


def _measure(our: wasmos.Kernel, source: str, expected: int) -> Measure:
    program = our.load(source)

    def work() -> None:
        check(our.wait(our.spawn(program)).code, expected, "the computing guest")

    return lambda: timed(work)


def _result(source: str) -> int:
    """What the program returns, by a third configuration of the engine: the
    slow one that is used for nothing else here."""
    import wasmtime

    config = wasmtime.Config()
    config.cranelift_opt_level = "none"
    store = wasmtime.Store(wasmtime.Engine(config))
    instance = wasmtime.Instance(store, wasmtime.Module(store.engine, source), [])
    main = instance.exports(store)["main"]
    assert isinstance(main, wasmtime.Func)
    return int(main(store))
