"""Our declarations of the C API against the wheel's own, made for ctypes.

The extension declares structures and functions by hand; nothing but these tests compares them
with the library's.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest
import wasmtime
import wasmtime._bindings as wheel
import wasmtime._ffi as ffi

from wasmos import _core
from wasmos.engine import library

CAPI = (Path(__file__).parents[2] / "src/wasmos/engine/capi.pxi").read_text()
ENGINE = (Path(__file__).parents[2] / "src/wasmos/engine/engine.pxi").read_text()

# --- structures -------------------------------------------------------------------------------

SIZES = _core.struct_sizes()

# The fields of each of our structs: (ours, the wheel's), in the order of memory.
FIELDS = {
    "wasm_byte_vec_t": [("size", "size"), ("data", "data")],
    "wasmtime_func_t": [("store_id", "store_id"), ("private", "__private")],
    "wasmtime_instance_t": [("store_id", "store_id"), ("private", "__private")],
    "wasmtime_extern_t": [("kind", "kind"), ("of", "of")],
    "wasmtime_val_t": [("kind", "kind"), ("of", "of")],
    "wasmtime_async_continuation_t": [
        ("callback", "callback"), ("env", "env"), ("finalizer", "finalizer"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_size_of_struct(name: str) -> None:
    theirs = getattr(wheel, name)
    assert SIZES[name] == ctypes.sizeof(theirs)


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_struct(name: str) -> None:
    """The same fields in the same order; with C's rules and the size that settles the offsets."""
    theirs = [field[0] for field in getattr(wheel, name)._fields_]
    assert theirs == [theirs_name for _, theirs_name in FIELDS[name]]
    declared = re.search(rf"ctypedef struct {name}:\n((?:    .*\n)+)", CAPI)
    assert declared is not None
    listed = [
        re.sub(r"^.*?\(\*(\w+)\).*$|^.*?(\w+)$", r"\1\2", line.strip())
        for line in declared[1].strip().splitlines()
    ]
    assert listed == [ours_name for ours_name, _ in FIELDS[name]]


@pytest.mark.parametrize(("name", "field"), [("wasmtime_extern_t", "of"), ("wasmtime_val_t", "of")])
def test_unions_begin_at_8(name: str, field: str) -> None:
    """As ours do: a byte, then a union aligned like its widest member."""
    assert getattr(getattr(wheel, name), field).offset == 8


def test_a_memory_is_opaque() -> None:
    """Private to the library: we only hand it back, whole."""
    theirs = wheel.wasmtime_memory_t
    assert ctypes.sizeof(theirs) == 24 and ctypes.alignment(theirs) == 8


# --- constants --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("EXTERN_FUNC", ffi.WASMTIME_EXTERN_FUNC),
        ("EXTERN_MEMORY", ffi.WASMTIME_EXTERN_MEMORY),
        ("VALKIND_I32", ffi.WASMTIME_I32),
        ("TRAP_INTERRUPT", wasmtime.TrapCode.INTERRUPT),
    ],
)
def test_constants(ours: str, theirs: ctypes.c_uint8 | wasmtime.TrapCode) -> None:
    declared = re.search(rf"^    {ours} = (\d+)$", CAPI, re.MULTILINE)
    assert declared is not None
    assert int(declared[1]) == theirs.value


# --- functions --------------------------------------------------------------------------------


def declared_functions() -> dict[str, tuple[str, int]]:
    """Symbol → (what it returns, how many parameters), as capi.pxi says."""
    block = CAPI[CAPI.index("cdef struct Api:") : CAPI.index("# Written once by")]
    block = re.sub(r"#.*", "", block)
    pattern = r"^    ([\w ]+?[ *]+)\(\*(\w+)\)\((.*?)\) noexcept nogil$"
    symbols = re.findall(r'^    b"(\w+)",$', CAPI, re.MULTILINE)
    rows = []
    for statement in re.split(r"\n(?=    \S)", block)[1:]:
        found = re.match(pattern, " ".join(statement.split()).join(["    ", ""]))
        assert found is not None, statement
        rows.append((found[1].strip(), parameters(found[3])))
    assert len(rows) == len(symbols)
    return dict(zip(symbols, rows, strict=True))


def parameters(text: str) -> int:
    """How many there are, not counting commas within a parameter's own type."""
    while "(" in text:
        text = re.sub(r"\([^()]*\)", "", text)
    return len([part for part in text.split(",") if part.strip()])


FUNCTIONS = declared_functions()


def test_every_function_was_found() -> None:
    assert len(FUNCTIONS) > 40
    assert FUNCTIONS["wasmtime_linker_define_async_func"] == ("void *", 9)
    assert FUNCTIONS["wasm_config_new"] == ("void *", 0)


@pytest.mark.parametrize("symbol", FUNCTIONS)
def test_function_exists_and_takes_as_many_parameters(symbol: str) -> None:
    theirs = getattr(wheel, f"_{symbol}")
    result, count = FUNCTIONS[symbol]
    assert count == len(theirs.argtypes)
    assert (result == "void") == (theirs.restype is None)
    if result.endswith("*"):
        assert ctypes.sizeof(theirs.restype) == ctypes.sizeof(ctypes.c_void_p)
    elif result != "void":
        sizes = {"bool_t": 1, "size_t": 8, "uint32_t": 4}
        assert sizes[result] == ctypes.sizeof(theirs.restype)


def test_configuration_setters_exist() -> None:
    """Those that are looked up by name when an engine is made, with the type we pass."""
    for name in _core.ENGINE_FEATURES:
        setter = getattr(wheel, f"_wasmtime_config_{name}_set")
        assert setter.argtypes[1] is ctypes.c_bool
    calls = re.findall(r'config_(bool|size|byte)\(config, "(\w+)"', ENGINE)
    assert len(calls) >= 6
    widths = {"bool": 1, "size": 8, "byte": 1}
    for kind, name in calls:
        setter = getattr(wheel, f"_wasmtime_config_{name}_set")
        assert ctypes.sizeof(setter.argtypes[1]) == widths[kind]


def test_pool_settings_exist() -> None:
    rows = re.search(r"rows = \{(.*?)\n    \}", ENGINE, re.DOTALL)
    assert rows is not None
    names = re.findall(r'"(\w+)":', rows[1])
    assert len(names) >= 8
    for name in names:
        setter = getattr(wheel, f"_wasmtime_pooling_allocation_config_{name}_set")
        narrow = name.startswith(("total_", "max_memories", "max_tables"))
        assert ctypes.sizeof(setter.argtypes[1]) == (4 if narrow else 8)


# --- finding the library ----------------------------------------------------------------------


def test_the_library_is_the_wheels_own() -> None:
    assert Path(library.library_path()) == Path(ffi.dll._name)


def test_a_missing_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    with pytest.raises(ImportError, match="pip install 'wasmtime>=50,<51'"):
        library.library_path()


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "wasmtime"
    package.mkdir()
    (package / "__init__.py").touch()
    (tmp_path / "wasmtime-49.0.0.dist-info").mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(ImportError, match=r"found 49\.0\.0"):
        library.library_path()


def test_a_wheel_without_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "wasmtime"
    package.mkdir()
    (package / "__init__.py").touch()
    (tmp_path / "wasmtime-50.0.1.dist-info").mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(ImportError, match="no engine for this machine"):
        library.library_path()
