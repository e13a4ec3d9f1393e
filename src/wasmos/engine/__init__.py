"""The engine: libwasmtime from the `wasmtime` wheel, and what guards its door.

Law: nothing outside this folder and `_core` knows which engine this is.

Reading order: `binary` (what a module declares), `policy` (may it run),
`compiler` (turned into machine code, in a child process), `library` (where the
engine is found), and `capi.pxi`, `engine.pxi` (the bindings).
"""
