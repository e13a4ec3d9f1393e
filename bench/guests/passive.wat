;; A passive service without imports: answers a number with the next, and a
;; message of one type with the type after it.
(module
  (memory (export "memory") 1)
  (func (export "ipc_buffer") (result i32) (i32.const 1024))
  (func (export "ipc_handle") (param $m i32)
    (i32.store (local.get $m)
      (i32.add (i32.load (local.get $m)) (i32.const 1)))
    (i32.store offset=8 (local.get $m)
      (i32.add (i32.load offset=8 (local.get $m)) (i32.const 1)))))
