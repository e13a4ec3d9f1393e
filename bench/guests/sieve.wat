;; Primes below 65,536 by the sieve of Eratosthenes, {count} times over, a byte
;; for each number. Returns how many there are, 6,542. Short loops around one
;; store: the hardest case for a check at every turn of a loop.
(module
  (memory (export "memory") 2)
  (func $sieve (result i32)
    (local $i i32) (local $j i32) (local $primes i32)
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
    (local.set $i (i32.const 2))
    (loop $numbers
      (if (i32.eqz (i32.load8_u (local.get $i)))
        (then
          (local.set $primes (i32.add (local.get $primes) (i32.const 1)))
          (local.set $j (i32.shl (local.get $i) (i32.const 1)))
          (block $crossed
            (loop $multiples
              (br_if $crossed (i32.ge_u (local.get $j) (i32.const 65536)))
              (i32.store8 (local.get $j) (i32.const 1))
              (local.set $j (i32.add (local.get $j) (local.get $i)))
              (br $multiples)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $numbers (i32.lt_u (local.get $i) (i32.const 65536))))
    (local.get $primes))
  (func (export "main") (result i32)
    (local $n i32) (local $found i32)
    (loop $again
      (local.set $found (call $sieve))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $n) (i32.const {count}))))
    (local.get $found)))
