;; The Mandelbrot set on a grid of {count} times {count} points, 50 steps a
;; point at most. Returns how many of them are inside, modulo 2^31.
(module
  (memory (export "memory") 1)
  (func (export "main") (result i32)
    (local $px i32) (local $py i32) (local $step i32) (local $inside i32)
    (local $cx f64) (local $cy f64) (local $x f64) (local $y f64)
    (local $xx f64) (local $yy f64)
    (loop $lines
      (local.set $px (i32.const 0))
      (local.set $cy (f64.sub (f64.div
        (f64.mul (f64.convert_i32_u (local.get $py)) (f64.const 2.5))
        (f64.const {count})) (f64.const 1.25)))
      (loop $points
        (local.set $cx (f64.sub (f64.div
          (f64.mul (f64.convert_i32_u (local.get $px)) (f64.const 2.5))
          (f64.const {count})) (f64.const 2)))
        (local.set $x (f64.const 0))
        (local.set $y (f64.const 0))
        (local.set $step (i32.const 0))
        (block $outside
          (loop $steps
            (local.set $xx (f64.mul (local.get $x) (local.get $x)))
            (local.set $yy (f64.mul (local.get $y) (local.get $y)))
            (br_if $outside (f64.gt (f64.add (local.get $xx) (local.get $yy))
                                    (f64.const 4)))
            (local.set $y (f64.add (f64.mul (f64.mul (f64.const 2)
              (local.get $x)) (local.get $y)) (local.get $cy)))
            (local.set $x (f64.add (f64.sub (local.get $xx) (local.get $yy))
                                   (local.get $cx)))
            (local.set $step (i32.add (local.get $step) (i32.const 1)))
            (br_if $steps (i32.lt_u (local.get $step) (i32.const 50))))
          (local.set $inside (i32.add (local.get $inside) (i32.const 1))))
        (local.set $px (i32.add (local.get $px) (i32.const 1)))
        (br_if $points (i32.lt_u (local.get $px) (i32.const {count}))))
      (local.set $py (i32.add (local.get $py) (i32.const 1)))
      (br_if $lines (i32.lt_u (local.get $py) (i32.const {count}))))
    (local.get $inside)))
