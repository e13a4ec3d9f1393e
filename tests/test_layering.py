"""The architecture, as a test: arrows between layers point down, and importing stays cheap."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import wasmos
from tests.support.imports import EXPENSIVE, PACKAGE, imported_by, imports_of, module_of

# What each layer may import of the others; itself always, and `errors`, which imports nothing.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": {"abi"},  # a number's name, when an error is printed
    "abi": set(),
    "idl": set(),
    "engine": {"_core"},
    "kernel": {"_core", "abi", "engine"},
    "servers": {"kernel", "abi", "idl"},
    "personalities": {"kernel", "abi", "idl"},
    "system": {"kernel", "abi", "idl", "servers", "personalities"},
    "cli": {"kernel", "abi", "idl", "servers", "personalities", "system"},
    # The package itself re-exports; each of these is a single file.
    "__init__": {"kernel", "abi", "system", "servers"},
    "__main__": {"cli"},
}
TESTS = Path(__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def target_layer(module: str) -> str | None:
    """The layer of an imported module, None for what isn't ours."""
    parts = module.split(".")
    if parts[0] != "wasmos":
        return None
    return parts[1] if len(parts) > 1 else "__init__"


IDS = [str(path.relative_to(PACKAGE)) for path in SOURCES]


def test_every_layer_is_known() -> None:
    """A new folder gets its place in the order first."""
    assert {layer_of(path) for path in SOURCES} <= set(MAY_IMPORT)
    assert len(SOURCES) > 20


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_arrows_point_down(path: Path) -> None:
    layer = layer_of(path)
    allowed = MAY_IMPORT[layer] | {layer, "errors"}
    if layer in ("servers", "personalities", "system", "cli"):
        allowed.add("__init__")  # `import wasmos`: the public API
    wrong = [
        f"{path}:{line}: {layer} imports {module}"
        for line, module in imports_of(path)
        if (target := target_layer(module)) is not None and target not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_those_above_the_kernel_use_its_public_names(path: Path) -> None:
    """`aio` is one of them, in a module of its own because asyncio is slow to import."""
    inner = [module for _, module in imports_of(path) if module.startswith("wasmos.kernel.")]
    assert layer_of(path) == "kernel" or set(inner) <= {"wasmos.kernel.aio"}


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if layer_of(p) not in ("engine", "kernel")],
    ids=[i for p, i in zip(SOURCES, IDS, strict=True) if layer_of(p) not in ("engine", "kernel")],
)  # fmt: skip
def test_only_engine_and_kernel_know_the_core(path: Path) -> None:
    assert [line for line, module in imports_of(path) if "_core" in module.split(".")] == []
    assert "_core" not in {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if layer_of(p) != "engine"],
    ids=[i for p, i in zip(SOURCES, IDS, strict=True) if layer_of(p) != "engine"],
)  # fmt: skip
def test_only_the_engine_knows_wasmtime(path: Path) -> None:
    """No import, and no path to the library."""
    assert [line for line, module in imports_of(path) if module.startswith("wasmtime")] == []
    assert not re.search(r"_libwasmtime|wasmtime_|wasm_engine", path.read_text())


def test_every_module_is_imported_by_another() -> None:
    """But for what is run, the verbs, which are imported by their names, and what is shipped for
    other people's tests."""
    used = {module for path in SOURCES for _, module in imports_of(path)}
    used |= {"wasmos.engine.compile_child", "wasmos.servers.tcpip.fake"}
    verbs = "".join(path.read_text() for path in PACKAGE.glob("cli/parser*.py"))
    alone = [
        module_of(path)
        for path in SOURCES
        if path.stem not in ("__init__", "__main__")
        and module_of(path) not in used
        and not (layer_of(path) == "cli" and f'"{path.stem}"' in verbs)
    ]
    assert alone == []


def test_what_tests_share_is_in_no_test_file() -> None:
    """It stands beside them, under a name that says what it is."""
    shared = [
        f"{path}:{line}: {module}"
        for path in sorted(TESTS.rglob("*.py"))
        for line, module in imports_of(path)
        if module.rpartition(".")[2].startswith("test_")
    ]
    assert shared == []


def test_the_symbols_of_the_library_are_in_one_file() -> None:
    """Apart from settings that are looked up by name."""
    for path in PACKAGE.rglob("*.p[xy][xi]"):
        if path.name == "capi.pxi":
            continue
        symbols = set(re.findall(r'b"(wasm\w*)"', path.read_text()))
        assert not {s for s in symbols if not s.startswith("wasmtime_pooling_")}, path


def test_the_core_is_small_enough_to_read() -> None:
    """Blank lines and comments included. Of about 5,490, a third decides on messages by their
    fields, and 500 are what programs with an interface of their own need: adapters, memory that a
    message lends, clocks and randomness without a Python method in between, functions that are
    called by name."""
    lines = sum(
        len(path.read_text().splitlines())
        for pattern in ("*.pyx", "*.pxi")
        for path in PACKAGE.rglob(pattern)
    )
    assert lines < 5_500


# --- the cost of importing --------------------------------------------------------------------


def test_import_wasmos_is_cheap() -> None:
    modules = imported_by("import wasmos")
    assert "wasmos.kernel.kernel" in modules
    assert modules & EXPENSIVE == set()


def test_running_a_guest_is_cheap() -> None:
    modules = imported_by(
        "import wasmos; kernel = wasmos.Kernel(virtual_clock=True);"
        "kernel.wait(kernel.spawn('(module (func (export \"main\")))', trusted=True));"
        "kernel.close()"
    )
    assert modules & EXPENSIVE == set()


def test_abi_imports_nothing_of_wasmos() -> None:
    modules = {
        module
        for path in SOURCES
        if layer_of(path) == "abi"
        for _, module in imports_of(path)
        if module.startswith("wasmos")
    }
    assert {target_layer(module) for module in modules} <= {"abi"}


def test_names_that_are_imported_late_can_be_found() -> None:

    assert {"run", "AsyncKernel", "Completed", "backtrace", "__version__"} <= set(dir(wasmos))
    assert all(getattr(wasmos, name) is not None for name in dir(wasmos))
