;; One function of WASI, {count} times: `operation` says which. Every result is checked; a wrong one
;; is a trap. `opened` is how the file "f" is opened for it, or -1 for standard output.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close"
    (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir"
    (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get"
    (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get"
    (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 100) "f")
  (global $fd (mut i32) (i32.const 1))
  (global $last (mut i64) (i64.const 0))

  ;; 8: a result; 16: one buffer of {size} bytes at 1024; 100: a name.
  (func $open (param $rights i64) (param $how i32) (result i32)
    (call $path_open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 1) (local.get $how)
      (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 8)))

  (func $write (result i32)
    (i32.or (call $fd_write (global.get $fd) (i32.const 16) (i32.const 1) (i32.const 8))
            (i32.ne (i32.load (i32.const 8)) (i32.const {size}))))

  (func $read (result i32)
    (i32.or (call $fd_read (global.get $fd) (i32.const 16) (i32.const 1) (i32.const 8))
            (i32.or (i32.ne (i32.load (i32.const 8)) (i32.const {size}))
                    (i32.ne (i32.load8_u (i32.add (i32.const 1023) (i32.const {size})))
                            (i32.const 120)))))

  (func $open_and_close (result i32)
    (i32.or (call $open (i64.const 2) (i32.const 0))
            (call $fd_close (i32.load (i32.const 8)))))

  (func $list (result i32)
    (i32.or (call $fd_readdir (i32.const 3) (i32.const 1024) (i32.const 65536) (i64.const 0)
              (i32.const 8))
            (i32.ne (i32.load (i32.const 8)) (i32.const {size}))))

  (func $time (result i32)
    (i32.or (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 1024))
            (i64.lt_u (i64.load (i32.const 1024)) (global.get $last)))
    (global.set $last (i64.load (i32.const 1024))))

  (func $chance (result i32)
    (i32.or (call $random_get (i32.const 1024) (i32.const {size}))
            (i64.eq (i64.load (i32.const 1024)) (global.get $last)))
    (global.set $last (i64.load (i32.const 1024))))

  (func (export "_start") (local $left i32)
    (i32.store (i32.const 16) (i32.const 1024))
    (i32.store (i32.const 20) (i32.const {size}))
    (if (i32.ge_s (i32.const {opened}) (i32.const 0))
      (then
        (if (call $open (i64.const 0x42) (i32.const {opened})) (then unreachable))
        (global.set $fd (i32.load (i32.const 8)))))
    (local.set $left (i32.const {count}))
    (loop $again
      (if (call ${operation}) (then unreachable))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))
