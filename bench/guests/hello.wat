;; Hello through the console service.
(module
  (import "env" "ipc_lookup" (func $lookup (param i32) (result i32)))
  (import "env" "ipc_call" (func $call (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "console\00")
  (data (i32.const 32) "Hello!\n")
  (func (export "main") (result i32)
    (i32.store (i32.const 1024) (i32.const {type}))
    (memory.copy (i32.const 1032) (i32.const 32) (i32.const 7))
    (i32.store (i32.const 2056) (i32.const 7))
    (call $call (call $lookup (i32.const 16)) (i32.const 1024))))
