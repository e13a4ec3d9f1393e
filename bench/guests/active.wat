;; A service on a fibre of its own: answers as passive.wat does, for ever.
(module
  (import "env" "ipc_recv" (func $recv (param i32 i32) (result i32)))
  (import "env" "ipc_reply" (func $reply (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "main") (result i32)
    (loop $again
      (if (call $recv (i32.const 0) (i32.const 1024))
        (then (return (i32.const 1))))
      (i32.store (i32.const 1024)
        (i32.add (i32.load (i32.const 1024)) (i32.const 1)))
      (i32.store (i32.const 1032)
        (i32.add (i32.load (i32.const 1032)) (i32.const 1)))
      (call $reply (i32.load (i32.const 1028)) (i32.const 1024))
      (br $again))
    (i32.const 0)))
