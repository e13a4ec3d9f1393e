;; A client: calls the service "svc" {count} times with a message of type
;; {type} that carries a running number, and checks every answer: type
;; {reply}, and the number plus one. Returns 0 if all of them were right.
(module
  (import "env" "ipc_lookup" (func $lookup (param i32) (result i32)))
  (import "env" "ipc_call" (func $call (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "svc\00")
  (func (export "main") (result i32)
    (local $dst i32) (local $i i32)
    (local.set $dst (call $lookup (i32.const 16)))
    (if (i32.le_s (local.get $dst) (i32.const 0)) (then (return (i32.const 1))))
    (loop $again
      (i32.store (i32.const 1024) (i32.const {type}))
      (i32.store (i32.const 1032) (local.get $i))
      (if (call $call (local.get $dst) (i32.const 1024))
        (then (return (i32.const 2))))
      (if (i32.ne (i32.load (i32.const 1024)) (i32.const {reply}))
        (then (return (i32.const 3))))
      (if (i32.ne (i32.load (i32.const 1032))
                  (i32.add (local.get $i) (i32.const 1)))
        (then (return (i32.const 4))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const {count}))))
    (i32.const 0)))
