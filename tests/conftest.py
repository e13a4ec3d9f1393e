"""Fixtures for all tests: kernels that are closed, guests that are built, no leaks."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wasmos
from tests.support import descriptors, wat
from wasmos import _core

BUILT = Path(__file__).parents[1] / "build" / "guests" / "hostile"


@pytest.fixture(scope="session", autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests compile is kept for other tests, and not among the developer's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WASMOS_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.delenv("WASMOS_NO_CACHE", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> None:
    """A shell has its jobs in the background ignore Ctrl-C, and nohup the end of the terminal; what
    tests start inherits that, and they would wait for ever."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """For tests that count descriptors."""
    with descriptors.uncollected():
        yield


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Every test frees the tasks, stores, fibres and messages that it made."""
    before = _core.live_objects()
    yield
    if _core.live_objects() != before:
        gc.collect()
    assert _core.live_objects() == before, "the test left live objects of the kernel behind"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A file that says `BOTH_CLOCKS = True` gets each of its kernels twice: calls that wait and
    preemption work in another way by each clock."""
    if "kernel" in metafunc.fixturenames and getattr(metafunc.module, "BOTH_CLOCKS", False):
        metafunc.parametrize("clock", ["virtual", "real"])


@pytest.fixture
def clock() -> str:
    return "virtual"


@pytest.fixture
def kernel(no_leaks: None, clock: str) -> Iterator[wasmos.Kernel]:
    """A kernel whose time is counted in instructions, so that every run is the same."""
    with wasmos.Kernel(virtual_clock=clock == "virtual") as kernel:
        yield kernel


@pytest.fixture
def real_kernel(no_leaks: None) -> Iterator[wasmos.Kernel]:
    """A kernel with the machine's clock: preemption by the ticker."""
    with wasmos.Kernel() as kernel:
        yield kernel


@pytest.fixture
def report(kernel: wasmos.Kernel) -> wat.Reporter:
    """The service `report` of `kernel`."""
    reporter = wat.Reporter()
    kernel.serve(reporter)
    return reporter


@pytest.fixture(scope="session")
def hostile() -> Callable[[str], Path]:
    """The path of a compiled program of guests/hostile/."""

    def path(name: str) -> Path:
        found = BUILT / f"{name}.wasm"
        assert found.exists(), f"{found} isn't built: run `make test`, which compiles the guests"
        return found

    return path
