"""Guests that talk, on the console above all, for tests of the shell and the command line."""

from __future__ import annotations

from tests.support import wat
from tests.support.wat import M
from wasmos import abi

WRITE, READ, READ_REPLY = abi.ConsoleWrite.TYPE, abi.ConsoleRead.TYPE, abi.ConsoleReadReply.TYPE
DATA, LENGTH = 8, 1032  # both messages have their bytes at the same place


def _bytes(at: int, content: bytes) -> str:
    escaped = "".join(f"\\{byte:02x}" for byte in content)
    return f'(data (i32.const {at}) "{escaped}")'


def _say(length: int) -> str:
    """Print what lies at M + DATA already."""
    return (
        f"(i32.store #{M} #{WRITE}) (i32.store offset={LENGTH} #{M} #{length}) "
        f"(drop (call $call @console #{M}))"
    )


def printer(text: str | bytes, code: int = 0, then: str = "", first: str = "") -> str:
    """Does `first`, prints a text of at most 1,024 bytes, does `then`, and returns `code`."""
    content = text.encode() if isinstance(text, str) else text
    return wat.program(
        f"{first} {_say(len(content))} {then} #{code}", fields=_bytes(M + DATA, content)
    )


def flooder(text: str) -> str:
    """Prints a text again and again, whatever the console says to it."""
    content = text.encode()
    again = f"(loop $again {_say(len(content))} (br $again)) #0"
    return wat.program(again, fields=_bytes(M + DATA, content))


def reader(prompt: str = "", *, at_end: int = 0, once: bool = False) -> str:
    """Prints a prompt; then what it reads, each piece with its first letter in the other case, to
    the end of its input, or only `once`. Exit code: `at_end`, or 1 for another error."""
    loop = f"""
      (loop $more
        (i32.store #{M} #{READ}) (i32.store offset={DATA} #{M} #1024)
        (drop (call $call @console #{M}))
        (if (i32.ne (i32.load #{M}) #{READ_REPLY}) (then
          (return (select #{at_end} #1 (i32.eq (i32.load #{M}) #{int(abi.ErrorCode.EOF)})))))
        (i32.store8 offset={DATA} #{M} (i32.xor (i32.load8_u offset={DATA} #{M}) #32))
        (i32.store #{M} #{WRITE})
        (drop (call $call @console #{M}))
        (br_if $more #{int(not once)})) #0"""
    content = prompt.encode()
    first = _say(len(content)) if content else ""
    return wat.program(first + loop, fields=_bytes(M + DATA, content) if content else "")


# For `then` of a printer: wait for a line of input; print the first four bytes of what lies there.
PAUSE = (
    f"(i32.store #{M} #{READ}) (i32.store offset={DATA} #{M} #1024) "
    f"(drop (call $call @console #{M}))"
)
AGAIN = _say(4)
ENDLESS = printer("round and round\n", then=wat.forever())
WAITS = "(drop (call $recv #0 #1024)) #0"  # for a message that nobody sends

# A program for WASI, whose `_start` does what is put in.
WASI = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_size"
    (func $resize (param i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "\\10\\00\\00\\00\\06\\00\\00\\00Hello\\n")
  (func (export "_start") {}))"""

# Another one: prints what it is called, and its arguments, a space after each.
SAYS_ARGUMENTS = """(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 17)
  (func (export "_start") (local $at i32)
    (drop (call $sizes (i32.const 0) (i32.const 20)))
    (drop (call $get (i32.const 64) (i32.const 1024)))
    (local.set $at (i32.const 1024))
    (loop $each
      (if (i32.eqz (i32.load8_u (local.get $at)))
        (then (i32.store8 (local.get $at) (i32.const 32))))
      (br_if $each (i32.lt_u
        (local.tee $at (i32.add (local.get $at) (i32.const 1)))
        (i32.add (i32.const 1024) (i32.load (i32.const 20))))))
    (i32.store (i32.const 16) (i32.const 1024))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8)))))"""


def connecting(port: int) -> str:
    """Connects to 127.0.0.1. Exit code: the type of the answer, or of the call's failure."""
    return wat.program(f"""
        (i32.store #1024 #{abi.TcpipConnect.TYPE}) (i32.store offset=8 #1024 #0x7f000001)
        (i32.store16 offset=12 #1024 #{port})
        (local.set $i (call $call @tcpip #1024))
        (select (local.get $i) (i32.load #1024) (local.get $i))""")
