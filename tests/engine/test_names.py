"""Names of functions: read for people, in bounded time, and never by the engine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wasmos
from tests.support import wasmgen as gen
from wasmos import _core
from wasmos.engine import binary

MAX_NAMES, MAX_NAME_LENGTH, MAX_WANTED = 1_000_000, 1024, 32


def names(entries: bytes, count: int) -> bytes:
    """A subsection of functions' names."""
    return b"\x01" + gen.sized(gen.uleb(count) + entries)


def entry(index: int, name: bytes) -> bytes:
    return gen.uleb(index) + gen.sized(name)


def read(section: bytes, *wanted: int) -> dict[int, str]:
    """As a part of something larger."""
    module = b"before" + section + b"\x01\x04\x01\x00\x01x"
    return _core.names_of(module, 6, 6 + len(section), wanted)


def test_names_of_functions() -> None:
    section = (
        b"\x00" + gen.sized(gen.name("module")) + names(entry(0, b"main") + entry(300, b"x"), 2)
    )
    assert read(section, 0, 300, 5) == {0: "main", 300: "x"}
    assert read(section) == {}


ONE = names(entry(0, b"main") + entry(1, b"second"), 2)


@pytest.mark.parametrize(
    "section",
    [
        b"",
        b"\x01",
        b"\x00\x05\x04mi",
        b"\x01\xff\xff\xff\xff\x0f" + ONE[2:],  # longer than there is
        b"\x01\x80\x80\x80\x80\x80\x01",  # no number
        b"\x02" + ONE[1:],  # of locals, not of functions
        names(b"", 0),
        names(b"", 0xFFFFFFFF),
        names(b"\x80", 1),
        names(b"\x01\xff\xff\xff\xff\x0fx", 1),
        names(b"\x01\x02x", 1),
    ],
)
def test_damaged(section: bytes) -> None:
    assert read(section, 0, 1) == {}


def test_what_comes_before_the_damage() -> None:
    assert read(names(entry(0, b"main") + b"\x01\x09second", 2), 0, 1) == {0: "main"}


@given(st.binary(max_size=60), st.lists(st.integers(0, 2**32 - 1), max_size=3))
def test_anything(section: bytes, wanted: list[int]) -> None:
    for found in (read(section, 0, 1, *wanted), read(names(section, 3), 0, 1, *wanted)):
        assert set(found) <= {0, 1, *wanted}


def test_only_so_many_are_looked_through() -> None:
    before = entry(0, b"") * (MAX_NAMES - 1)
    assert read(names(before + entry(1, b"last"), MAX_NAMES), 1) == {1: "last"}
    assert read(names(before + entry(0, b"") + entry(1, b""), MAX_NAMES + 1), 1) == {}


def test_only_so_many_are_wanted() -> None:
    section = names(b"".join(entry(n, b"x") for n in range(40)), 40)
    assert list(read(section, *range(40))) == list(range(MAX_WANTED))


def test_the_rest_of_a_long_name() -> None:
    section = names(entry(0, b"a" * 5000) + entry(1, b"\xff"), 2)
    assert read(section, 0, 1) == {0: "a" * MAX_NAME_LENGTH, 1: "\ufffd"}


# --- and the engine -------------------------------------------------------------------------------

TRAPS = """(module $module (memory (export "memory") 1)
    (func $innermost unreachable)
    (func $main (export "main") (result i32) (call $innermost) i32.const 0))"""


@pytest.mark.parametrize("trusted", [False, True])
def test_the_engine_gets_none(kernel: wasmos.Kernel, trusted: bool) -> None:
    """It would decipher what C++ and Rust made of them, however long that takes."""
    program = kernel.load(TRAPS, trusted=trusted)
    ended = kernel.wait(kernel.spawn(program))
    assert [name for _, name, _, _ in ended.backtrace] == ["innermost", "main"]
    assert program.module is not None
    assert b"innermost" not in program.module.serialize()


def test_everything_else_is_where_it_was() -> None:
    data = _core.wat2wasm(TRAPS.encode()) + gen.custom("other") + gen.custom("name", ONE)
    info = binary.parse(data)
    without = binary.parse(info.without_names())
    assert [each.name for each in without.custom_sections] == ["none", "other", "none"]
    assert len(without.data) == len(data)
    assert without.data.replace(b"\x04none", b"\x04name") == data
    assert without.without_names() is without.data
