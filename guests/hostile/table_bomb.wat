;; Declares a table of 200 million entries: 1.6 GB for the host, and not a byte of memory.
;; Expected: refused before it runs, with a message that names the table.
(module
  (memory (export "memory") 1)
  (table 200000000 funcref)
  (func (export "main") (result i32)
    (i32.const 0)))
