;; Calls a host function {count} times with a running number and adds up what
;; it returns.
(module
  (import "host" "next" (func $next (param i32) (result i32)))
  (func (export "main") (result i64)
    (local $i i32) (local $sum i64)
    (loop $again
      (local.set $sum (i64.add (local.get $sum)
        (i64.extend_i32_u (call $next (local.get $i)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const {count}))))
    (local.get $sum)))
