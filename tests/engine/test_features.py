"""Proposals that are off the list stay off: in our judgement, and in the engine by itself.

The engine turns proposals on by default as they mature. Each module here is tried twice: through
the front door, and on the engine alone, as if our own judgement had missed it.
"""

from __future__ import annotations

import pytest

import wasmos
from tests.support import wasmgen as gen
from tests.support.wat import PASSIVE, program
from wasmos import _core, abi
from wasmos.engine import library, policy

MAIN = '(func (export "main") (result i32) (i32.const 0))'

# Off the list, in the text format: at least one way to use each.
OFF = {
    "memory64": f"(module {MAIN} (memory i64 1))",
    "memory64 table": f"(module {MAIN} (table i64 1 funcref))",
    "multi-memory": f"(module {MAIN} (memory 1) (memory 1))",
    "shared memory": f"(module {MAIN} (memory 1 1 shared))",
    "gc struct": f"(module {MAIN} (type (struct (field i32))))",
    "gc array": f"(module {MAIN} (type (array i8)))",
    "gc i31": f"(module {MAIN} (func (drop (ref.i31 (i32.const 1)))))",
    "gc anyref local": f"(module {MAIN} (func (local anyref)))",
    "legacy exceptions": f"(module {MAIN} (func (try (do) (catch_all))))",
    "wide arithmetic": f"""(module {MAIN} (func (param i64 i64) (result i64 i64)
        (i64.mul_wide_u (local.get 0) (local.get 1))))""",
    "custom page sizes": f"(module {MAIN} (memory 1 (pagesize 1)))",
    "stack switching": f"(module {MAIN} (type $f (func)) (type (cont $f)))",
    "function references": f"""(module {MAIN} (type $f (func)) (func (param (ref $f))
        (call_ref $f (local.get 0))))""",
    "typed null": f"(module {MAIN} (type $f (func)) (func (drop (ref.null $f))))",
    "component": "(component)",
    "component with a module": "(component (core module))",
    "component with a function": '(component (import "f" (func)))',
    "shared-everything threads": f"(module {MAIN} (global (shared i32) (i32.const 0)))",
}


def binary(what: str) -> bytes:
    """Encoded by the engine's own tool; what that doesn't know isn't in the engine."""
    try:
        return _core.wat2wasm(OFF[what].encode())
    except ValueError:
        return b""


KNOWN = [what for what in OFF if what not in ("legacy exceptions", "shared-everything threads")]


@pytest.fixture(scope="module")
def engine() -> _core.Engine:
    library.open_library()
    return _core.Engine(stack_bytes=512 << 10, tick_ns=0)


def test_they_are_real(engine: _core.Engine) -> None:
    """Each of them is a module that the engine's tools accept: refusals aren't mistakes of ours."""
    assert [what for what in KNOWN if not binary(what)] == []


@pytest.mark.parametrize("what", OFF)
def test_refused_at_the_door(kernel: wasmos.Kernel, what: str) -> None:
    with pytest.raises(wasmos.ModuleRefused):
        kernel.load(OFF[what])
    assert kernel.tasks == []


@pytest.mark.parametrize("what", [what for what in KNOWN if what != "shared memory"])
def test_refused_by_the_engine_alone(engine: _core.Engine, what: str) -> None:
    with pytest.raises(ValueError):
        _core.Module.compile(engine, binary(what))


def test_shared_memory_is_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine compiles what says so, since it knows atomic instructions, but makes none."""
    monkeypatch.setenv("WASMOS_NO_CACHE", "1")  # what is let through here is for no other test
    monkeypatch.setattr(policy, "_check_features", lambda info: None)
    with wasmos.Kernel(virtual_clock=True) as kernel:
        ended = kernel.wait(kernel.spawn(OFF["shared memory"], trusted=True))
    assert ended.cause == "refused" and "shared memor" in ended.message


def test_the_list_names_every_proposal_that_the_engine_can_switch() -> None:
    """A new version of the engine with a new switch: decide about it, then list it."""
    import wasmtime._bindings as wheel

    switches = {
        name.removeprefix("_wasmtime_config_").removesuffix("_set")
        for name in vars(wheel)
        if name.startswith(("_wasmtime_config_wasm_", "_wasmtime_config_shared_memory"))
    }
    assert switches - set(_core.ENGINE_FEATURES) == {
        # parts of what is off
        *(name for name in switches if name.startswith("wasm_component_model_")),
    }


# --- what works -------------------------------------------------------------------------------

ON = {
    "simd": """(drop (i32x4.add (v128.const i32x4 1 2 3 4) (v128.const i32x4 1 2 3 4)))
        (i32x4.extract_lane 2 (i32x4.splat #42))""",
    "relaxed simd": """(i32x4.extract_lane 0 (i32x4.relaxed_trunc_f32x4_s
        (f32x4.splat (f32.const 42))))""",
    "relaxed simd on a machine of another kind": """(i32.add #42 (i32x4.extract_lane 0
        (i32x4.relaxed_trunc_f32x4_s (f32x4.splat (f32.const nan)))))""",
    "bulk memory": "(memory.fill #0 #42 #8) (memory.copy #64 #0 #8) (i32.load8_u #71)",
    "multi-value": "(call $two) (drop)",
    "tail calls": "(return_call $forty_two)",
    "reference types": "(if (ref.is_null (table.get $t #0)) (then (return #42))) #0",
    "sign extension": "(i32.add (i32.extend8_s #0xFF) #43)",
    "saturating conversion": "(i32.add (i32.trunc_sat_f32_s (f32.const nan)) #42)",
    "atomics": """(i32.atomic.store #0 #40) (drop (i32.atomic.rmw.add #0 #2)) (atomic.fence)
        (drop (memory.atomic.notify #0 #1)) (i32.atomic.load #0)""",
    "exceptions": """(block $caught (result i32)
        (try_table (result i32) (catch $tag $caught) (throw $tag #42)))""",
    "references to exceptions": """(block $again (result i32)
        (try_table (result i32) (catch $tag $again) (block $first (result exnref)
        (try_table (result exnref) (catch_all_ref $first) (throw $tag #42))) (throw_ref)))""",
    "mutable globals": "(global.set $g #42) (global.get $g)",
}
FIELDS = """(func $two (result i32 i32) #42 #1) (func $forty_two (result i32) #42)
    (table $t 1 funcref) (global $g (mut i32) #0) (tag $tag (param i32))"""


@pytest.mark.parametrize("what", ON)
def test_works_inside_functions(kernel: wasmos.Kernel, what: str) -> None:
    task = kernel.spawn(program(ON[what], fields=FIELDS), trusted=True)
    assert kernel.wait(task).code == 42


# --- signatures that abort the engine ---------------------------------------------------------


@pytest.mark.parametrize("name", sorted(gen.ABORTS_ENGINE))
def test_signatures_that_abort_are_refused(kernel: wasmos.Kernel, name: str) -> None:
    """And the process lives: it goes on serving."""
    with pytest.raises(wasmos.ModuleRefused):
        kernel.spawn(gen.made(gen.HOSTILE[name]))
    kernel.spawn(PASSIVE, service="s", trusted=True)
    assert kernel.call("s", abi.Ping(1)) == abi.PingReply(2)


@pytest.mark.parametrize("name", sorted(gen.HOSTILE))
def test_hostile_modules_are_refused(kernel: wasmos.Kernel, name: str) -> None:
    """Through the kernel's own door, with a message about the module."""
    with pytest.raises(wasmos.ModuleRefused) as seen:
        kernel.spawn(gen.made(gen.HOSTILE[name]))
    assert len(str(seen.value)) < 2_000
    assert kernel.tasks == []
