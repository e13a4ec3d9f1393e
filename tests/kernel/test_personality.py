"""A personality: a foreign interface, turned into messages in the program's own store."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator

import pytest

import wasmos
from tests.support.wat import M, program
from wasmos import _core, abi
from wasmos.kernel import Personality
from wasmos.personalities import wasi
from wasmos.servers.clock import Clock
from wasmos.servers.random import Random

# An interface of our own: "toy" has functions to ask for a pong, to end, to copy and to lend.
ADAPTER = f"""
(module
  (import "env" "ipc_lookup" (func $lookup (param i32) (result i32)))
  (import "env" "ipc_call" (func $call (param i32 i32) (result i32)))
  (import "env" "program_read" (func $read (param i32 i32 i32) (result i32)))
  (import "env" "program_write" (func $write (param i32 i32 i32) (result i32)))
  (import "env" "program_lookup" (func $seek (param i32) (result i32)))
  (import "env" "program_exit" (func $exit (param i32)))
  (memory (export "memory") 1 1)
  (data (i32.const 8) "pong\\00\\00\\00\\00clock\\00\\00\\00random\\00\\00taker\\00")
  (func $ask (param $name i32) (result i32)
    (local $error i32)
    (local.set $error (call $call (call $lookup (local.get $name)) (i32.const 64)))
    (select (local.get $error) (i32.load (i32.const 64)) (local.get $error)))
  (func (export "ping") (param i32) (result i32)
    (i32.store (i32.const 64) (i32.const {abi.Ping.TYPE}))
    (i32.store (i32.const 72) (local.get 0))
    (drop (call $ask (i32.const 8)))
    (i32.load (i32.const 72)))
  (func (export "now") (param $id i32) (param $to i32) (result i32)
    (i32.store (i32.const 64) (i32.const {abi.ClockGet.TYPE}))
    (i32.store (i32.const 72) (local.get $id))
    (if (i32.lt_s (call $ask (i32.const 16)) (i32.const 0))
      (then (return (i32.load (i32.const 64)))))
    (call $write (local.get $to) (i32.const 72) (i32.const 8)))
  (func (export "random") (param $to i32) (param $size i32) (result i32)
    (i32.store (i32.const 64) (i32.const {abi.RandomGet.TYPE}))
    (i32.store (i32.const 72) (local.get $to)) (i32.store (i32.const 76) (local.get $size))
    (call $ask (i32.const 24)))
  (func (export "lend") (param $at i32) (param $size i32) (result i32)
    (i32.store (i32.const 64) (i32.const {abi.ConsolePut.TYPE}))
    (i32.store (i32.const 72) (i32.const 1))
    (i32.store (i32.const 76) (local.get $at)) (i32.store (i32.const 80) (local.get $size))
    (if (i32.lt_s (call $ask (i32.const 32)) (i32.const 0))
      (then (return (i32.load (i32.const 64)))))
    (i32.load (i32.const 72)))
  (func (export "fill") (param $at i32) (param $size i32) (result i32)
    (i32.store (i32.const 64) (i32.const {abi.ConsoleTake.TYPE}))
    (i32.store (i32.const 72) (local.get $at)) (i32.store (i32.const 76) (local.get $size))
    (if (i32.lt_s (call $ask (i32.const 32)) (i32.const 0))
      (then (return (i32.load (i32.const 64)))))
    (i32.load (i32.const 72)))
  (func (export "read") (param i32 i32 i32) (result i32)
    (call $read (local.get 0) (local.get 1) (local.get 2)))
  (func (export "write") (param i32 i32 i32) (result i32)
    (call $write (local.get 0) (local.get 1) (local.get 2)))
  (func (export "find") (param $quietly i32) (result i32)
    (if (result i32) (local.get $quietly)
      (then (call $seek (i32.const 16))) (else (call $lookup (i32.const 16)))))
  (func (export "leave") (param i32) (call $exit (local.get 0))))
"""
SIGNATURES = {
    "ping": "(param i32) (result i32)",
    "now": "(param i32 i32) (result i32)",
    "random": "(param i32 i32) (result i32)",
    "lend": "(param i32 i32) (result i32)",
    "fill": "(param i32 i32) (result i32)",
    "read": "(param i32 i32 i32) (result i32)",
    "write": "(param i32 i32 i32) (result i32)",
    "find": "(param i32) (result i32)",
    "leave": "(param i32)",
}
IMPORTS = "\n".join(
    f'(import "toy" "{name}" (func ${name} {signature}))' for name, signature in SIGNATURES.items()
)
TOY = Personality("toy", lambda: _core.wat2wasm(ADAPTER.encode()))


def toy(body: str, more: str = "") -> str:
    """A program that ends itself with what `body` leaves on the stack."""
    return f"""(module {IMPORTS} (memory (export "memory") 1 3) {more}
      (data (i32.const 100) "from the program")
      (func (export "_start") (call $leave {body}) unreachable))"""


class Taker(wasmos.Service):
    """Takes what it is lent, and keeps what it shouldn't."""

    name = "taker"

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.kept: list[object] = []

    def console_put(self, caller: wasmos.Caller, stream: int, data: _core.Lent) -> int:
        self.got.append(data.read())
        self.kept += [data, data.view()]
        return len(data)

    def console_take(self, caller: wasmos.Caller, into: _core.Lent) -> int:
        self.kept += [into, into.view()]
        return into.write(b"from the service")


class Toys:
    def __init__(self) -> None:
        self.kernel = wasmos.Kernel(personalities=[TOY])
        self.taker = Taker()
        for service in (self.taker, Clock(), Random()):
            self.kernel.serve(service)

    def run(self, source: str, *allow: str, **options: object) -> wasmos.Exit:
        task = self.kernel.spawn(source, allow=allow or ["taker", "clock", "random"], trusted=True)
        return self.kernel.wait(task)


@pytest.fixture
def toys() -> Iterator[Toys]:
    toys = Toys()
    yield toys
    toys.taker.kept.clear()
    toys.kernel.close()


def test_a_call_becomes_a_message(toys: Toys) -> None:
    from wasmos.servers.pong import Pong

    toys.kernel.serve(Pong())
    assert toys.run(toy("(call $ping (i32.const 9))"), "pong").code == 42
    assert toys.run(toy("(call $ping (i32.const 9))"), "clock").code == 9  # denied


@pytest.mark.parametrize("code", [0, 7, 256, -1])
def test_it_ends_itself(toys: Toys, code: int) -> None:
    """Whatever the stack looks like, and without a trap's marks."""
    ended = toys.run(toy(f"(i32.const {code})"))
    assert (ended.code, ended.cause, ended.backtrace) == (code, "returned", ())


def test_it_ends_itself_before_it_has_begun(toys: Toys) -> None:
    start = "(func $s (call $leave (i32.const 5))) (start $s)"
    assert toys.run(toy("(i32.const 1)", start)).code == 5


def test_a_reactor_is_initialized_and_over(toys: Toys) -> None:
    source = f'(module {IMPORTS} (func (export "_initialize") (call $leave (i32.const 3))))'
    assert toys.run(source).code == 3
    assert toys.run(f'(module {IMPORTS} (func (export "_initialize")))').code == 0


END = 1 << 16


@pytest.mark.parametrize(
    ("from_", "to", "size", "error"),
    [(100, 200, 4, 0), (END - 4, 0, 4, 0), (END - 3, 0, 4, -15), (0, END - 4, 4, 0),
     (0, END - 3, 4, -15), (END, 0, 0, 0), (END + 1, 0, 0, -15), (-1, 0, 1, -15),
     (-1, 0, -1, -15), (0, 0, -1, -15), (0, -4, 8, -15)],
)  # fmt: skip
@pytest.mark.parametrize("call", ["read", "write"])
def test_addresses_between_the_two_memories(
    toys: Toys, call: str, from_: int, to: int, size: int, error: int
) -> None:
    """Both have one page."""
    first, second = (from_, to) if call == "read" else (to, from_)
    body = f"(call ${call} (i32.const {first}) (i32.const {second}) (i32.const {size}))"
    assert toys.run(toy(body)).code == error


def test_a_program_without_a_memory(toys: Toys) -> None:
    body = "(call $read (i32.const 0) (i32.const 0) (i32.const 1))"
    source = f'(module {IMPORTS} (func (export "_start") (call $leave {body})))'
    assert toys.run(source).code == -15


def test_the_memories_are_apart(toys: Toys) -> None:
    """What the adapter writes to its own memory, the program doesn't see."""
    body = """(drop (call $read (i32.const 100) (i32.const 300) (i32.const 4)))
      (drop (call $write (i32.const 500) (i32.const 300) (i32.const 4)))
      (call $leave (i32.add (i32.load (i32.const 300)) (i32.load8_u (i32.const 500))))
      (i32.const 0)"""
    assert toys.run(toy(body)).code == ord("f")


# --- lending ------------------------------------------------------------------------------------


def test_lent_memory_is_the_programs(toys: Toys) -> None:
    assert toys.run(toy("(call $lend (i32.const 100) (i32.const 16))")).code == 16
    assert toys.taker.got == [b"from the program"]


def test_lent_memory_can_be_filled(toys: Toys) -> None:
    body = """(drop (call $fill (i32.const 200) (i32.const 5)))
      (i32.load8_u (i32.const 204))"""
    assert toys.run(toy(body)).code == ord(" ")
    body = "(drop (call $fill (i32.const 200) (i32.const 5))) (i32.load8_u (i32.const 205))"
    assert toys.run(toy(body)).code == 0


@pytest.mark.parametrize(
    ("at", "size", "result"),
    [
        (END - 4, 4, 4),
        (END - 3, 4, -15),
        (0, -1, -15),
        (-1, 1, -15),
        (END, 0, 0),
        (END + 1, 0, -15),
    ],
)
@pytest.mark.parametrize("call", ["lend", "fill"])
def test_what_is_lent_has_to_be_there(
    toys: Toys, call: str, at: int, size: int, result: int
) -> None:
    ended = toys.run(toy(f"(call ${call} (i32.const {at}) (i32.const {size}))"))
    assert ended.code == result
    assert result >= 0 or not toys.taker.kept


def test_after_the_answer_nothing_is_lent(toys: Toys) -> None:
    toys.run(toy("(call $lend (i32.const 100) (i32.const 16))"))
    lent = toys.taker.kept[0]
    assert isinstance(lent, _core.Lent) and lent.over
    for use in (lent.read, lent.view, lambda: memoryview(lent), lambda: lent.write(b"x")):
        with pytest.raises(BufferError, match="gone with its answer"):
            use()


def test_a_view_that_was_kept_outlives_its_task(toys: Toys) -> None:
    """The memory is freed with the last view, and not before."""
    before = _core.live_objects()["stores"]
    toys.run(toy("(call $lend (i32.const 100) (i32.const 16))"))
    view = toys.taker.kept[1]
    assert isinstance(view, memoryview)
    assert _core.live_objects()["stores"] == before + 1
    assert bytes(view) == b"from the program"
    toys.kernel.close()
    assert bytes(view) == b"from the program"
    copies = view, view[4:8]
    toys.taker.kept.clear()
    view.release()
    assert bytes(copies[1]) == b" the"
    copies[1].release()
    del copies, view
    assert _core.live_objects()["stores"] == before


def test_what_is_lent_to_be_read_is_not_written(toys: Toys) -> None:
    class Writer(Taker):
        def console_put(self, caller: wasmos.Caller, stream: int, data: _core.Lent) -> int:
            with pytest.raises(BufferError, match="to be read"):
                data.write(b"x")
            assert data.view().readonly and not data.writable
            return 1

    with wasmos.Kernel(personalities=[TOY]) as kernel:
        kernel.serve(Writer())
        source = toy("(call $lend (i32.const 100) (i32.const 16))")
        assert kernel.wait(kernel.spawn(source, allow=["taker"], trusted=True)).code == 1


def test_a_client_in_python_lends_buffers(toys: Toys) -> None:
    call = toys.kernel.call
    assert call("taker", abi.ConsolePut(1, b"bytes")).len == 5
    assert call("taker", abi.ConsolePut(1, memoryview(bytearray(b"view"))[1:])).len == 3
    room = bytearray(20)
    assert call("taker", abi.ConsoleTake(room)).len == 16
    assert room == b"from the service\0\0\0\0"
    assert toys.taker.got == [b"bytes", b"iew"]
    with pytest.raises(TypeError, match="has to be writable"):
        call("taker", abi.ConsoleTake(b"fixed"))  # type: ignore[arg-type]


def test_a_message_made_by_hand_lends_nothing(toys: Toys) -> None:
    """Bytes that a client sends name no memory."""
    client = toys.kernel.client()
    raw = toys.kernel.encode(abi.ConsolePut(1, b"abc"))
    toys.kernel.send(client.id, toys.kernel.service_id("taker"), raw)
    toys.kernel.run(lambda: not toys.kernel.busy)
    assert toys.kernel.reply_of(client.id)[:4] == (-15).to_bytes(4, "little", signed=True)


class Ends:
    """A number that ends the call before it says what it is."""

    def __init__(self, end: Callable[[], object]) -> None:
        self.end = end

    def __index__(self) -> int:
        self.end()
        return 1 << 20


def test_a_call_that_ends_while_its_memory_is_asked_for(toys: Toys) -> None:
    """By what a size is made of: the memory is gone then, and isn't read."""

    class Killer(Taker):
        def console_put(self, caller: wasmos.Caller, stream: int, data: _core.Lent) -> int:
            with pytest.raises(BufferError, match="gone with its answer"):
                data.read(Ends(lambda: self.kernel.kill(caller.id)))  # type: ignore[arg-type]
            return 1

    with wasmos.Kernel(personalities=[TOY]) as kernel:
        kernel.serve(Killer())
        source = toy("(call $lend (i32.const 0) (i32.const 65536))")
        task = kernel.spawn(source, allow=["taker"], trusted=True)
        assert kernel.wait(task).cause == "killed"


@pytest.mark.parametrize("threshold", range(1, 9))
def test_a_call_that_a_finalizer_ends(toys: Toys, threshold: int) -> None:
    """At any moment at which the collector may run."""
    ends: list[Callable[[], object]] = []

    class Garbage:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            for end in ends:
                end()

    class Filler(Taker):
        def console_take(self, caller: wasmos.Caller, into: _core.Lent) -> int:
            data = bytes(len(into))
            ends.append(lambda: self.kernel.kill(caller.id))
            Garbage()
            before = gc.get_threshold()
            gc.set_threshold(threshold)
            try:
                into.write(data)
            except BufferError:
                pass
            finally:
                gc.set_threshold(*before)
                ends.clear()
                gc.collect()
            return 1

    with wasmos.Kernel(personalities=[TOY]) as kernel:
        kernel.serve(Filler())
        source = toy("(call $fill (i32.const 0) (i32.const 65536))")
        task = kernel.spawn(source, allow=["taker"], trusted=True)
        assert kernel.wait(task).cause in ("returned", "killed")


# --- what the core itself answers ---------------------------------------------------------------


def test_time_from_the_core(toys: Toys) -> None:
    body = """(drop (call $now (i32.const 1) (i32.const 8)))
      (drop (call $now (i32.const 1) (i32.const 16)))
      (i64.le_u (i64.load (i32.const 8)) (i64.load (i32.const 16)))"""
    assert toys.run(toy(body)).code == 1
    for id in (0, 1, 2, 3):
        assert toys.run(toy(f"(call $now (i32.const {id}) (i32.const 8))")).code == 0
    assert toys.run(toy("(call $now (i32.const 4) (i32.const 8))")).code == -11
    assert toys.run(toy("(call $now (i32.const 1) (i32.const 8))"), "taker").code != 0


def test_time_that_stands_still(toys: Toys) -> None:
    body = """(drop (call $now (i32.const 0) (i32.const 8)))
      (i32.wrap_i64 (i64.div_u (i64.load (i32.const 8)) (i64.const 1000000000)))"""
    assert toys.run(toy(body), 'clock(at="1970-01-02")').code == 86400
    assert toys.run(toy(body), 'clock(at="12.5")').code == 12


def test_randomness_from_the_core(toys: Toys) -> None:
    body = "(drop (call $random (i32.const 200) (i32.const {0}))) (i32.load (i32.const 200))"
    for size in (16, 5000):
        assert len({toys.run(toy(body.format(size))).code for _ in range(4)}) == 4
    assert toys.run(toy("(call $random (i32.const 65530) (i32.const 16))")).code == -15
    assert toys.run(toy("(call $random (i32.const 0) (i32.const 1048577))")).code == -17
    with pytest.raises(wasmos.ServiceError, match="too large"):
        toys.kernel.call("random", abi.RandomGet(bytearray(1048577)))


def test_a_method_of_a_subclass_answers_instead_of_the_core(kernel: wasmos.Kernel) -> None:
    """Or what it keeps back would be told all the same."""

    class Coarse(Clock):
        def clock_get(self, caller: wasmos.Caller, id: int) -> int:
            return super().clock_get(caller, id) // 1_000_000_000 + 77

    class Quick(Coarse):
        native = ("clock_get",)

    kernel.serve(Coarse())
    kernel.serve(Quick(), name="quick")
    assert Coarse.native == ("clock_resolution",)
    assert Quick.native == ("clock_get",)
    ask = "(drop (call $ask @{} #{} #1)) (i32.load offset=8 #{})"
    for name, answer in ("clock", 77), ("quick", None):
        guest = program(ask.format(name, abi.ClockGet.TYPE, M))
        code = kernel.wait(kernel.spawn(guest, allow=[name], trusted=True)).code
        assert (code == 77) == (answer == 77)


@pytest.mark.parametrize(
    ("service", "message"),
    [("random", abi.ClockGet), ("random", abi.ClockResolution), ("clock", abi.RandomGet)],
)
def test_the_core_answers_only_for_whose_message_it_is(
    toys: Toys, service: str, message: type[abi.Message]
) -> None:
    """Who may have anything of `random` learns no time by that, nor randomness of `clock`."""
    body = f"(drop (call $ask @{service} #{message.TYPE} #0)) (i32.load #{M})"
    assert toys.run(program(body), service).code == abi.ErrorCode.NOT_SUPPORTED


def test_no_randomness_is_given_twice(toys: Toys) -> None:
    """Across the end of what the host gave at once."""
    lines = "".join(
        f"(drop (call $random (i32.const {1000 + 16 * n}) (i32.const 16)))" for n in range(600)
    )
    body = f"{lines} (drop (call $lend (i32.const 1000) (i32.const 9600))) (i32.const 0)"
    toys.run(toy(body))
    (data,) = toys.taker.got
    assert len({data[at : at + 16] for at in range(0, 9600, 16)}) == 600


def test_randomness_that_repeats(toys: Toys) -> None:
    body = "(drop (call $random (i32.const 200) (i32.const 8))) (i32.load (i32.const 200))"
    codes = [toys.run(toy(body), f'random(seed="{seed}")').code for seed in (1, 1, 2)]
    assert codes[0] == codes[1] != codes[2]


# --- what is no adapter, and no program for one -------------------------------------------------


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ('(module (import "toy" "fly" (func)) (func (export "_start")))', "'fly'"),
        ('(module (import "toy" "leave" (func)) (func (export "_start")))', "wanted as"),
        (f"(module {IMPORTS})", "nothing to run"),
        (f'(module {IMPORTS} (func (export "_start") (param i32)))', "_start"),
        ('(module (import "toy" "leave" (func (param i32))) '
         '(import "env" "ipc_reply" (func (param i32 i32))) (func (export "_start")))', "reply"),
        ('(module (import "env" "program_exit" (func (param i32))) (func (export "main")))',
         "program_exit"),
    ],
)  # fmt: skip
def test_what_is_refused(toys: Toys, source: str, error: str) -> None:
    with pytest.raises(wasmos.ModuleRefused, match=error):
        toys.kernel.spawn(source)


@pytest.mark.parametrize("module", [each.name for each in wasi.ALL])
def test_a_program_for_wasi_is_told_what_its_kernel_lacks(toys: Toys, module: str) -> None:
    source = f'''(module (import "{module}" "sched_yield" (func $yield (result i32)))
        (import "other" "call" (func)) (memory (export "memory") 1) (func (export "_start")))'''
    told = "it is a program for WASI, .* personalities=wasmos.personalities.wasi.ALL"

    async def load() -> None:
        async with wasmos.AsyncKernel() as kernel:
            await kernel.load(source)

    with pytest.raises(wasmos.ModuleRefused, match=told):
        toys.kernel.load(source)
    with pytest.raises(wasmos.ModuleRefused, match=told):
        asyncio.run(load())
    with (
        wasmos.Kernel(personalities=wasi.ALL) as kernel,
        pytest.raises(wasmos.ModuleRefused, match=r"import 'other'\.'call'"),
    ):
        kernel.load(source)


def test_a_program_that_imports_nothing(toys: Toys) -> None:
    assert toys.run('(module (func (export "_start")))').code == 0


@pytest.mark.parametrize("quietly", [0, 1])
def test_what_a_program_may_do_without_is_sought_quietly(toys: Toys, quietly: int) -> None:
    body = f"(call $find (i32.const {quietly}))"
    assert toys.run(toy(body), "clock").code == toys.kernel.service_id("clock")
    assert toys.run(toy(body), "taker").code == -8
    denials = [event for event in toys.kernel.events() if event.kind == "denial"]
    assert len(denials) == 1 - quietly


@pytest.mark.parametrize("quietly", [0, 1])
def test_where_somebody_is_asked_it_is_found(toys: Toys, quietly: int) -> None:
    """What it then sends is asked about; that it was found is nobody's business."""
    body = f"(call $find (i32.const {quietly}))"
    task = toys.kernel.spawn(toy(body), allow=["taker"])
    toys.kernel.ask(task, lambda _: False)
    assert toys.kernel.wait(task).code == toys.kernel.service_id("clock")
    assert not task.denied and not task.denials
    denials = [event for event in toys.kernel.events() if event.kind == "denial"]
    assert len(denials) == 1 - quietly


def test_without_the_personality_it_is_refused() -> None:
    with wasmos.Kernel() as kernel, pytest.raises(wasmos.ModuleRefused, match="toy"):
        kernel.spawn(toy("(i32.const 0)"))
