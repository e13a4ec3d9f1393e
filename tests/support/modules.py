"""Modules that import nothing of the kernel: a library of functions, and programs for WASI."""

from __future__ import annotations

_TYPES = ("i32", "i64", "f32", "f64")
_SAME = "".join(
    f'(func (export "{type}") (param {type}) (result {type}) (local.get 0))' for type in _TYPES
)
LIBRARY = f"""(module {_SAME}
  (func (export "turn") (param i32 i64 f32 f64) (result f64 f32 i64 i32)
    (local.get 3) (local.get 2) (local.get 1) (local.get 0))
  (func (export "nothing"))
  (func (export "traps") (unreachable))
  (func (export "spins") (loop (br 0))))"""

_IMPORTS = {
    "path_open": "(param i32 i32 i32 i32 i32 i64 i64 i32 i32)",
    "path_unlink_file": "(param i32 i32 i32)",
    "sock_accept": "(param i32 i32 i32)",
}


def looks(end: str, *imports: str, looks: bool = True) -> str:
    """A program that looks for its directories, as C libraries do, and ends; it may call what it
    imports besides, and doesn't."""
    imported = "".join(
        f'(import "wasi_snapshot_preview1" "{name}" (func {_IMPORTS[name]} (result i32)))'
        for name in imports
    )
    look = "(drop (call $prestat (i32.const 3) (i32.const 0)))" if looks else ""
    return f"""(module
      (import "wasi_snapshot_preview1" "fd_prestat_get"
        (func $prestat (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) {imported}
      (memory (export "memory") 1) (func (export "_start") {look} {end}))"""


EXIT_1 = "(call $exit (i32.const 1))"
