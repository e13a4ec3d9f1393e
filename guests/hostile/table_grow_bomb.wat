;; Grows its table until that is refused.
;; Expected: refused at the task's limit. Exit code: how many entries it got.
(module
  (memory (export "memory") 1)
  (table $table 0 funcref)
  (func (export "main") (result i32)
    (loop $again
      (br_if $again
        (i32.ne (i32.const -1)
                (table.grow $table (ref.null func) (i32.const 1000)))))
    (table.size $table)))
