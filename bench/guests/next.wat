;; One exported function: the number after.
(module
  (func (export "next") (param i32) (result i32)
    (i32.add (local.get 0) (i32.const 1))))
