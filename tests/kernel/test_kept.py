"""Programs that needn't be compiled again: by the next kernel, if nothing has changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import wasmos
from tests.support.imports import PACKAGE, imports_of
from tests.support.wat import program
from wasmos import _core
from wasmos.engine import compiler
from wasmos.engine.cache import Cache
from wasmos.kernel import Personality, kept
from wasmos.kernel import program as program_module

SEVEN, EIGHT = program("#7"), program("#8")
PAGES = '(module (memory (export "memory") 3) (table 5 funcref) (func (export "main")))'


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(str(tmp_path / "cache"), str(tmp_path / "secrets"))


def test_all_who_judge_are_asked_about() -> None:
    """A verdict of before is nothing worth when one of them has changed."""
    judges = ["wasmos.engine.policy"]
    for judge in judges:
        path = PACKAGE.parent.joinpath(*judge.split(".")).with_suffix(".py")
        imported = {module for _, module in imports_of(path) if ".engine." in module}
        judges += imported.difference(judges)
    assert {*judges, "wasmos._core"} == {module.__name__ for module in kept._JUDGES}


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """From now on there is none, and no judge."""

    def judge(*_arguments: object, **_options: object) -> None:
        raise AssertionError("it was judged anew")

    monkeypatch.setattr(program_module.policy, "admit", judge)
    monkeypatch.setattr(compiler, "_CHILD", "/nonexistent")
    return monkeypatch


def code_of(cache: Cache | bool, source: Any, **options: Any) -> int | None:
    with wasmos.Kernel(cache=cache, **options) as kernel:
        return kernel.wait(kernel.spawn(source)).code


def test_the_next_kernel_finds_it(
    cache: Cache, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (code_of(cache, SEVEN), code_of(cache, EIGHT)) == (7, 8)
    request.getfixturevalue("without_compiler")
    assert (code_of(cache, SEVEN), code_of(cache, EIGHT)) == (7, 8)


def test_what_is_trusted_is_kept_too(cache: Cache, request: pytest.FixtureRequest) -> None:
    with wasmos.Kernel(cache=cache) as kernel:
        kernel.load(SEVEN, trusted=True)
    request.getfixturevalue("without_compiler")
    assert code_of(cache, SEVEN) == 7


@pytest.mark.parametrize("source", [SEVEN, PAGES])
def test_what_a_kernel_knows_of_it_is_the_same(cache: Cache, source: str) -> None:
    programs = []
    for _ in range(2):
        with wasmos.Kernel(cache=cache) as kernel:
            programs.append(kernel.load(source))
    first, second = programs
    assert repr(first.shape) == repr(second.shape)
    assert first.verdict[1] == second.verdict[1]
    assert second.info.exports.keys() == first.info.exports.keys()


# --- what it depends on -----------------------------------------------------------------------


def compiled(cache: Cache) -> int:
    return len(cache.entries())


@pytest.mark.parametrize("options", [{"stack_bytes": 256 << 10}, {"virtual_clock": True}])
def test_other_settings(cache: Cache, options: dict[str, Any]) -> None:
    assert code_of(cache, SEVEN) == code_of(cache, SEVEN, **options) == 7
    assert compiled(cache) == 2


@pytest.mark.parametrize("what", ["library", "core", "judge"])
def test_another_engine_or_judge(cache: Cache, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Known by the files that they are."""
    code_of(cache, SEVEN)
    state = kept._state
    name = {"library": "_libwasmtime", "core": "_core", "judge": "policy"}[what]

    def changed(path: str) -> tuple[str, int, int]:
        found = state(path)
        return (*found[:2], found[2] + 1) if os.path.basename(path).startswith(name) else found

    monkeypatch.setattr(kept, "_state", changed)
    assert code_of(cache, SEVEN) == 7
    assert compiled(cache) == 2


def test_other_personalities(cache: Cache) -> None:
    """Another adapter, another verdict."""
    first, second = (
        _core.wat2wasm(f'(module (memory {n}) (func (export "hello")))'.encode()) for n in (1, 2)
    )
    for adapter in first, second, first:
        with wasmos.Kernel(
            cache=cache, personalities=[Personality("toy", lambda wasm=adapter: wasm)]
        ) as kernel:
            kernel.load('(module (import "toy" "hello" (func)) (func (export "_start")))')
    assert compiled(cache) == 2


def test_an_adapter_is_kept_too(cache: Cache) -> None:
    toy = _core.wat2wasm(b'(module (memory (export "memory") 1) (func (export "hello")))')
    source = (
        '(module (import "toy" "hello" (func)) (memory (export "memory") 1) '
        '(func (export "_start") (call 0)))'
    )
    for _ in range(2):
        with wasmos.Kernel(cache=cache, personalities=[Personality("toy", lambda: toy)]) as kernel:
            assert kernel.wait(kernel.spawn(source)).code == 0
    assert sorted(entry.facts["kind"] for entry in cache.entries()) == ["active", "adapter"]


def test_limits_that_it_does_not_fit(cache: Cache) -> None:
    """Found by what fits; refused in words by what doesn't, and that isn't kept."""
    with wasmos.Kernel(cache=cache) as kernel:
        kernel.load(PAGES)
        for limits, what in (
            (wasmos.Limits(memory_bytes=2 << 16), "memory begins with 196,608 bytes"),
            (wasmos.Limits(table_elements=4), "tables begin with 5 elements"),
        ):
            with pytest.raises(wasmos.ModuleRefused, match=what):
                kernel.load(PAGES, limits=limits)
        kernel.load(PAGES, limits=wasmos.Limits(memory_bytes=3 << 16, table_elements=5))
    assert compiled(cache) == 1


def test_code_that_is_more_than_may_be(cache: Cache) -> None:
    """The limit holds for what was compiled before, too."""
    code_of(cache, SEVEN)
    with wasmos.Kernel(cache=cache) as kernel:
        with pytest.raises(wasmos.CompileLimitExceeded, match="machine code"):
            kernel.load(SEVEN, compile_limits=wasmos.CompileLimits(code_bytes=1_000))
        kernel.load(SEVEN)


# --- damage -----------------------------------------------------------------------------------


def test_damage_costs_a_compilation(cache: Cache) -> None:
    code_of(cache, SEVEN)
    (file,) = Path(cache.folder).iterdir()
    good = file.read_bytes()
    file.write_bytes(good[:-1] + b"\xff")
    file.chmod(0o600)
    assert code_of(cache, SEVEN) == 7
    assert file.read_bytes() == good
    assert compiled(cache) == 1


def test_what_the_engine_refuses_is_compiled(cache: Cache) -> None:
    """Authentic, and for a processor that can more, or an engine that is set in another way: an
    error of the engine's, and a miss."""
    code_of(cache, SEVEN)
    (entry,) = cache.entries()
    code = cache.code(entry.key, 1 << 20)
    assert code is not None
    start = code.index(b"x86_64") if b"x86_64" in code else 64
    for at in range(start, start + 1_000, 37):
        bad = bytearray(code)
        bad[at] ^= 0x20
        with wasmos.Kernel(cache=False) as kernel:
            try:
                _core.Module.load(kernel.engine, bytes(bad))
            except ValueError:
                continue
    facts = {k: v for k, v in entry.facts.items() if k not in ("bytes", "digest")}
    cache.store(entry.key, facts, code.replace(b"x86_64", b"x86_65").replace(b"aarch", b"aarcx"))
    assert code_of(cache, SEVEN) == 7
    assert cache.code(entry.key, 1 << 20) == code


@pytest.mark.parametrize("off", ["option", "environment"])
def test_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off: str) -> None:
    monkeypatch.setenv("WASMOS_CACHE_DIR", str(tmp_path / "cache"))
    if off == "environment":
        monkeypatch.setenv("WASMOS_NO_CACHE", "1")
    assert code_of(off != "option", SEVEN) == 7
    assert not (tmp_path / "cache").exists()
    monkeypatch.delenv("WASMOS_NO_CACHE", raising=False)
    assert code_of(True, SEVEN) == 7
    assert len([*(tmp_path / "cache").iterdir()]) == 1


def test_a_pool_finds_what_others_compiled(cache: Cache) -> None:
    assert code_of(cache, SEVEN) == code_of(cache, SEVEN, pool_tasks=4) == 7
    assert compiled(cache) == 1


def test_a_trap_of_a_kept_program_reads_nothing_of_it_but_names(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Declarations can take more than a second to read, and nobody runs meanwhile."""
    source = '(module (func $boom (export "main") unreachable))'
    code_of(cache, source)
    monkeypatch.setattr(program_module.binary, "parse", None)
    with wasmos.Kernel(cache=cache) as kernel:
        exit = kernel.wait(kernel.spawn(source))
    assert [name for _, name, _, _ in exit.backtrace] == ["boom"]
