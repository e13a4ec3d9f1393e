;; Loops in its start function, which runs when the module is instantiated, before `main`.
;; Expected: limits and deadline are set before that, and end it.
(module
  (memory (export "memory") 1)
  (func $forever
    (loop $again
      (br $again)))
  (func (export "main") (result i32)
    (i32.const 0))
  (start $forever))
