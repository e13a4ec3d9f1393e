"""Lent memory: who may use it, and when; what becomes of it if somebody ends meanwhile."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

import wasmos
from tests.idl.guest import compile_guest
from tests.support.wat import M, passive, program, settle
from wasmos import _core, abi
from wasmos.kernel.rule import Rule
from wasmos.servers.vm import Vm

BOTH_CLOCKS = True
NOT_FOUND, NOT_ALLOWED, UADDR, ABORTED = -7, -8, -15, -21
PAGE = 1 << 16

# The number in the answer, or the error that there was instead.
RESULT = f"""(func $result (param i32) (result i32)
  (if (local.get 0) (then (return (local.get 0))))
  (if (i32.lt_s (i32.load #{M}) #0) (then (return (i32.load #{M}))))
  (i32.load offset=8 #{M}))"""
TEXT = '(data (i32.const 100) "from the program")'


def lend(at: int, size: int, to: str = "taker") -> str:
    return f"""(i32.store #{M} #{abi.ConsolePut.TYPE}) (i32.store #{M + 8} #1)
      (i32.store #{M + 12} #{at}) (i32.store #{M + 16} #{size})
      (call $result (call $call @{to} #{M}))"""


def fill(at: int, size: int, to: str = "taker") -> str:
    return f"""(i32.store #{M} #{abi.ConsoleTake.TYPE})
      (i32.store #{M + 8} #{at}) (i32.store #{M + 12} #{size})
      (call $result (call $call @{to} #{M}))"""


def lender(body: str) -> str:
    return program(body, fields=RESULT + TEXT, pages="1 3")


def spawn(kernel: wasmos.Kernel, source: str, *allow: str, **options: Any) -> wasmos.Task:
    return kernel.spawn(source, allow=allow or ["taker"], trusted=True, **options)


def code(kernel: wasmos.Kernel, source: str, *allow: str) -> int | None:
    return kernel.wait(spawn(kernel, source, *allow)).code


def uses(lent: wasmos.Lent) -> list[Callable[[], object]]:
    return [lent.read, lent.view, lambda: memoryview(lent), lambda: lent.write(b"x")]


def assert_over(lent: wasmos.Lent) -> None:
    assert lent.over
    for use in uses(lent):
        with pytest.raises(BufferError, match="gone with its answer"):
            use()


class Taker(wasmos.Service):
    """Takes what it is lent, and keeps the Lent."""

    name = "taker"

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.lents: list[wasmos.Lent] = []

    def console_put(self, caller: wasmos.Caller, stream: int, data: wasmos.Lent) -> int:
        self.lents.append(data)
        self.got.append(data.read())
        return len(data)

    def console_take(self, caller: wasmos.Caller, into: wasmos.Lent) -> int:
        self.lents.append(into)
        return into.write(b"from the service")

    def ping(self, caller: wasmos.Caller, value: int) -> int:
        return value


class Slow(Taker):
    """Keeps the memory for as long as it isn't told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = False
        self.view: memoryview | None = None
        self.cancelled: list[wasmos.Lent] = []

    async def console_take(self, caller: wasmos.Caller, into: wasmos.Lent) -> int:
        self.lents.append(into)
        self.view = into.view()
        try:
            while not self.go_on:
                await self.kernel.sleep(0.001)
        except BaseException:
            assert_over(into)
            self.cancelled.append(into)
            raise
        return into.write(b"from the service")

    @property
    def lent(self) -> wasmos.Lent:
        return self.lents[-1]


@pytest.fixture
def taker(kernel: wasmos.Kernel) -> Taker:
    taker = Taker()
    kernel.serve(taker)
    return taker


@pytest.fixture
def slow(kernel: wasmos.Kernel) -> Slow:
    slow = Slow()
    kernel.serve(slow)
    return slow


def lending(kernel: wasmos.Kernel, slow: Slow) -> wasmos.Task:
    """A task that waits for `slow` to fill 16 of its bytes, and ends with what it was told."""
    task = spawn(kernel, lender(fill(100, 16)))
    kernel.run(lambda: slow.view is not None)
    assert task.account()["state"] == "awaiting reply"
    return task


# --- what a call lends ---------------------------------------------------------------------------


def test_an_ordinary_program_lends_its_memory(kernel: wasmos.Kernel, taker: Taker) -> None:
    assert code(kernel, lender(lend(100, 16))) == 16
    assert taker.got == [b"from the program"]
    body = f"(drop {fill(200, 8)}) (i32.load8_u #207)"
    assert code(kernel, lender(body)) == ord("e")


@pytest.mark.parametrize(
    ("at", "size", "result"),
    [(PAGE - 4, 4, 4), (PAGE - 3, 4, UADDR), (PAGE, 0, 0), (PAGE + 1, 0, UADDR), (0, PAGE, PAGE),
     (0, PAGE + 1, UADDR), (0, -1, UADDR), (-1, 1, UADDR), (-1, -1, UADDR), (-4, 8, UADDR)],
)  # fmt: skip
def test_it_has_to_be_there(
    kernel: wasmos.Kernel, taker: Taker, at: int, size: int, result: int
) -> None:
    assert code(kernel, lender(lend(at, size))) == result
    assert bool(taker.lents) is (result >= 0)


def test_reading_and_writing_in_parts(kernel: wasmos.Kernel) -> None:
    class Parts(Taker):
        def console_take(self, caller: wasmos.Caller, into: wasmos.Lent) -> int:
            assert (len(into), into.size, into.writable, into.over) == (16, 16, True, False)
            assert into.read(4) == b"from"
            assert into.read(4, 5) == into.read(size=4, offset=5) == b"the "
            assert into.read(100, 9) == b"program"
            assert into.read(0) == into.read(4, 16) == into.read(4, 1000) == b""
            assert into.write(b"FROM") == 4
            assert into.write(bytearray(b"PROGRAMS"), 9) == 7
            assert into.write(memoryview(b"x"), 16) == into.write(b"") == 0
            assert into.write(into.view()[5:], 0) == 11  # of the same memory, one over the other
            assert into.read() == b"the PROGRAMOGRAM"
            for wrong in (-1, 1 << 64):
                with pytest.raises(OverflowError):
                    into.read(wrong)
                with pytest.raises(OverflowError):
                    into.read(1, wrong)
            with pytest.raises(TypeError):
                into.write("text")  # type: ignore[arg-type]
            return 0

    kernel.serve(Parts())
    assert code(kernel, lender(fill(100, 16))) == 0
    room = bytearray(b"from the program")
    assert kernel.call("taker", abi.ConsoleTake(room)).len == 0
    assert room == b"the PROGRAMOGRAM"


def test_a_view_is_the_memory_itself(kernel: wasmos.Kernel) -> None:
    class Viewer(Taker):
        def console_take(self, caller: wasmos.Caller, into: wasmos.Lent) -> int:
            with into.view() as view:
                assert (view.nbytes, view.readonly, view.format) == (16, False, "B")
                view[:4] = b"FROM"
            assert into.read(4) == b"FROM"  # it isn't the only view
            return into.view()[0]

        def console_put(self, caller: wasmos.Caller, stream: int, data: wasmos.Lent) -> int:
            with data.view() as view:
                assert view.readonly
                with pytest.raises(TypeError):
                    view[0] = 1
            with pytest.raises(BufferError, match="to be read"):
                data.write(b"x")
            return 0

    kernel.serve(Viewer())
    assert code(kernel, lender(fill(100, 16))) == ord("F")
    assert kernel.call("taker", abi.ConsoleTake(bytearray(16))).len == ord("F")
    assert code(kernel, lender(lend(100, 16))) == 0
    assert kernel.call("taker", abi.ConsolePut(1, bytearray(16))).len == 0


def test_nobody_else_makes_one() -> None:
    with pytest.raises(TypeError, match="lent with a message"):
        wasmos.Lent()
    forged = wasmos.Lent.__new__(wasmos.Lent)
    assert len(forged) == 0
    for use in (*uses(forged), lambda: forged.over):
        with pytest.raises(TypeError, match="nobody has lent it"):
            use()


def test_it_belongs_to_the_kernels_thread(kernel: wasmos.Kernel, slow: Slow) -> None:
    """A view doesn't: it can be filled by another thread while its task waits."""
    task = lending(kernel, slow)
    seen: list[BaseException] = []

    def elsewhere() -> None:
        assert slow.view is not None
        slow.view[8:] = b"a thread"
        for use in uses(slow.lent):
            try:
                use()
            except wasmos.UsageError as error:
                seen.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(seen) == 4
    assert slow.lent.read() == b"from thea thread"
    slow.view = None
    task.kill()


# --- when it is over -----------------------------------------------------------------------------


def test_after_the_answer(kernel: wasmos.Kernel, slow: Slow) -> None:
    task = lending(kernel, slow)
    assert not slow.lent.over
    slow.go_on, slow.view = True, None
    assert kernel.wait(task).code == 16
    assert_over(slow.lent)


def test_the_client_is_killed(kernel: wasmos.Kernel, slow: Slow) -> None:
    """What was lent can't be used any more; a view that is kept does no harm."""
    before = _core.live_objects()["stores"]
    task = lending(kernel, slow)
    task.kill()
    settle(kernel)
    kernel.run(lambda: bool(slow.cancelled), timeout=1)
    assert slow.cancelled == [slow.lent]
    assert_over(slow.lent)
    assert slow.view is not None
    assert bytes(slow.view) == b"from the program"
    slow.view[:] = bytes(16)
    assert _core.live_objects()["stores"] == before + 1  # its memory is there for the view
    slow.view.release()
    assert _core.live_objects()["stores"] == before


def test_the_client_traps_in_another_life(kernel: wasmos.Kernel, slow: Slow) -> None:
    """A task's id is never given twice: what one had lent, no other one lends."""
    lending(kernel, slow).kill()
    first, slow.view = slow.lent, None
    second = lending(kernel, slow)
    assert_over(first)
    assert not slow.lent.over
    slow.view = None
    second.kill()


def test_the_service_is_killed(kernel: wasmos.Kernel, slow: Slow) -> None:
    task = lending(kernel, slow)
    kernel.kill(slow.task)
    assert kernel.wait(task).code == ABORTED
    assert_over(slow.lent)
    assert slow.view is not None
    assert bytes(slow.view) == b"from the program"
    slow.view = None


def test_the_kernel_is_closed(slow: Slow, kernel: wasmos.Kernel) -> None:
    lending(kernel, slow)
    kernel.close()
    assert_over(slow.lent)
    assert slow.view is not None
    assert bytes(slow.view) == b"from the program"
    slow.view = None


def test_a_kernel_is_forgotten_with_a_view_of_it() -> None:
    """A circle: the kernel has the service, that has a view, and that is of the kernel's memory.
    The fixture looks whether it is freed."""
    kernel = wasmos.Kernel()
    slow = Slow()
    kernel.serve(slow)
    lending(kernel, slow)
    kernel.close()


def test_the_grant_is_revoked(kernel: wasmos.Kernel, slow: Slow) -> None:
    task = spawn(kernel, lender(fill(100, 16)), "taker.console_take")
    kernel.run(lambda: slow.view is not None)
    (grant,) = task.grants
    grant.revoke()
    assert_over(slow.lent)
    slow.view = None
    assert kernel.wait(task).code == NOT_ALLOWED
    kernel.run(lambda: bool(slow.cancelled), timeout=1)
    assert slow.cancelled == [slow.lent]


def test_another_grant_admits_what_one_no_longer_does(kernel: wasmos.Kernel, slow: Slow) -> None:
    task = spawn(kernel, lender(fill(100, 16)), "taker.console_take", "taker")
    kernel.run(lambda: slow.view is not None)
    task.grants[0].revoke()
    assert not slow.lent.over
    slow.go_on, slow.view = True, None
    assert kernel.wait(task).code == 16


def test_memory_grows_between_two_calls(kernel: wasmos.Kernel) -> None:
    """It doesn't move: the first view shows what the program does to that memory later on."""

    class Keeper(Taker):
        views: ClassVar[list[memoryview]] = []

        def console_put(self, caller: wasmos.Caller, stream: int, data: wasmos.Lent) -> int:
            self.views.append(data.view())
            return super().console_put(caller, stream, data)

    keeper = Keeper()
    kernel.serve(keeper)
    body = f"""(drop {lend(100, 16)}) (drop (memory.grow #1))
      (i32.store8 #100 #70) (i32.store8 #{2 * PAGE - 1} #33)
      (drop {lend(2 * PAGE - 4, 4)}) {lend(2 * PAGE - 4, 5)}"""
    assert code(kernel, lender(body)) == UADDR
    assert keeper.got == [b"from the program", b"\0\0\0!"]
    assert [bytes(view) for view in keeper.views] == [b"From the program", b"\0\0\0!"]
    keeper.views.clear()


def test_one_of_before_is_of_no_use_in_the_next_call(kernel: wasmos.Kernel) -> None:
    class Stale(Taker):
        def console_put(self, caller: wasmos.Caller, stream: int, data: wasmos.Lent) -> int:
            for old in self.lents:
                assert_over(old)
            return super().console_put(caller, stream, data)

    stale = Stale()
    kernel.serve(stale)
    assert code(kernel, lender(f"(drop {lend(100, 16)}) (drop {lend(0, 0)}) {lend(100, 4)}")) == 4
    for data in (b"one", b"two", b"three"):
        kernel.call("taker", abi.ConsolePut(1, data))
    assert stale.got == [b"from the program", b"", b"from", b"one", b"two", b"three"]


def test_a_call_that_lends_nothing_ends_what_was_lent(kernel: wasmos.Kernel, taker: Taker) -> None:
    class Curious(wasmos.Service):
        name = "curious"

        def ping(self, caller: wasmos.Caller, value: int) -> int:
            assert_over(taker.lents[0])
            assert self.kernel.read_lent(caller.id, self.task, 0, 4) is None
            return value

    kernel.serve(Curious())
    body = f"(drop {lend(100, 16)}) (call $result (call $ask @curious #9 #5))"
    assert code(kernel, lender(body), "*") == 5


# --- Python clients ------------------------------------------------------------------------------


def test_a_buffer_is_the_clients_again(kernel: wasmos.Kernel, taker: Taker) -> None:
    """As long as somebody has a view of it, a bytearray can't change its size."""
    room = bytearray(4)
    assert kernel.call("taker", abi.ConsoleTake(room)).len == 4
    taker.lents.clear()
    room.extend(b"!")
    assert room == b"from!"


def test_a_buffer_is_the_clients_again_after_a_denial(kernel: wasmos.Kernel, taker: Taker) -> None:
    room = bytearray(4)
    client = kernel.client("c", allow=["taker.ping"])
    with pytest.raises(wasmos.CapabilityDenied):
        client.call("taker", abi.ConsoleTake(room))
    room.extend(b"!")


def test_a_buffer_is_the_clients_again_after_an_abort(kernel: wasmos.Kernel, slow: Slow) -> None:
    room = bytearray(4)
    client = kernel.client("c")
    client.begin("taker", abi.ConsoleTake(room), lambda: None)
    kernel.run(lambda: slow.view is not None)
    kernel.kill(slow.task)
    settle(kernel)
    with pytest.raises(wasmos.ServiceError, match="aborted"):
        client.finish()
    kernel.run(lambda: bool(slow.cancelled), timeout=1)
    slow.view = None
    slow.lents.clear()
    slow.cancelled.clear()
    gc.collect()  # the frames that the cancelled coroutine was in
    room.extend(b"!")


def test_bytes_sent_by_hand_lend_nothing_of_before(kernel: wasmos.Kernel, slow: Slow) -> None:
    client = kernel.client("c", allow=["taker.ping"])
    with pytest.raises(wasmos.CapabilityDenied):
        client.call("taker", abi.ConsolePut(1, b"secret"))
    kernel.grant(client, "taker")
    raw = kernel.encode(abi.ConsolePut(1, b"public"))
    kernel.send(client.id, kernel.service_id("taker"), raw)
    settle(kernel)
    assert kernel.reply_of(client.id)[:4] == UADDR.to_bytes(4, "little", signed=True)
    assert not slow.lents


def test_what_can_be_lent(kernel: wasmos.Kernel, taker: Taker) -> None:
    import array

    kernel.call("taker", abi.ConsolePut(1, array.array("I", [1, 2])))  # type: ignore[arg-type]
    assert taker.got == [b"\1\0\0\0\2\0\0\0"]
    for wrong in ("text", 5, None, memoryview(b"abcd")[::2]):
        with pytest.raises(TypeError):
            kernel.call("taker", abi.ConsolePut(1, wrong))  # type: ignore[arg-type]
    for fixed in (b"x", memoryview(b"x")):
        with pytest.raises(TypeError, match="has to be writable"):
            kernel.call("taker", abi.ConsoleTake(fixed))  # type: ignore[arg-type]
    assert kernel.call("taker", abi.ConsoleTake()).len == 0


# --- services that are WebAssembly ---------------------------------------------------------------

# Takes and fills what it is lent, through `vm`. Memory to be filled gets each byte plus 1; memory
# to be read, too, which is refused. A ping asks for four bytes of the task that it names, or for
# what came of reading after the answer.
SERVICE = """
#include "wasmos.h"
static uint8_t bytes[4096];
static int late = 1;

static error_t take(task_t task, uint32_t offset, uint32_t len) {
    struct message m;
    m.type = LENT_READ_MSG;
    m.lent_read.task = task;
    m.lent_read.offset = offset;
    m.lent_read.len = len;
    error_t err = ipc_ask(VM_SERVER, &m);
    if (IS_ERROR(err)) return err;
    memcpy(bytes + offset, m.lent_read_reply.data, m.lent_read_reply.data_len);
    return (error_t)m.lent_read_reply.data_len;
}

static error_t give(task_t task, uint32_t offset, uint32_t len) {
    struct message m;
    m.type = LENT_WRITE_MSG;
    m.lent_write.task = task;
    m.lent_write.offset = offset;
    memcpy(m.lent_write.data, bytes + offset, len);
    m.lent_write.data_len = len;
    return ipc_ask(VM_SERVER, &m);
}

static int handle(struct message *m) {
    bool fills = m->type == CONSOLE_TAKE_MSG;
    uint32_t size = fills ? m->console_take.into_len : m->console_put.data_len;
    uint32_t at = 0;
    for (int got = 0; at < size; at += (uint32_t)got) {
        got = take(m->src, at, 2000);
        if (got <= 0) return got;
        for (int i = 0; i < got; i++) bytes[at + (uint32_t)i]++;
        error_t err = give(m->src, at, (uint32_t)got);
        if (IS_ERROR(err)) return err;
    }
    if (take(m->src, at, 4) != 0) return -100;
    if (fills && give(m->src, at - 2, 4) != ERR_TOO_LARGE) return -101;
    return (int)at;
}

int main(void) {
    for (;;) {
        struct message m;
        if (IS_ERROR(ipc_recv(IPC_ANY, &m))) return 1;
        task_t client = m.src;
        int32_t type = m.type;
        if (type == PING_MSG) {
            m.ping_reply.value = m.ping.value ? take(m.ping.value, 0, 4) : late;
        } else {
            m.console_put_reply.len = (uint32_t)handle(&m);
        }
        m.type = type + 1;
        ipc_reply(client, &m);
        if (type != PING_MSG) late = take(client, 0, 4);
    }
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = ("-Wno-sign-conversion", "-Wno-sign-compare")
    return compile_guest(SERVICE, tmp_path_factory.mktemp("service"), *options)


@pytest.fixture
def wasm(kernel: wasmos.Kernel, compiled: Path) -> wasmos.Task:
    """The service `wasm`, which may use what it is lent."""
    kernel.serve(Vm())
    rules = ["vm.lent_read", "vm.lent_write"]
    return kernel.spawn(compiled, name="wasm", service="wasm", allow=rules, trusted=True)


def asked(kernel: wasmos.Kernel, value: int) -> int:
    return int(kernel.call("wasm", abi.Ping(value)).value)


def test_a_wasm_service_fills_a_programs_memory(kernel: wasmos.Kernel, wasm: wasmos.Task) -> None:
    """In pieces: 2,500 bytes are more than a message holds."""
    body = f"""(memory.fill #5000 #7 #2500) (i32.store8 #7499 #9) (i32.store8 #7500 #50)
      (if (i32.ne {fill(5000, 2500, "wasm")} #2500) (then (return #-1)))
      (i32.add (i32.load8_u #5000) (i32.add (i32.load8_u #7499) (i32.load8_u #7500)))"""
    assert code(kernel, lender(body), "wasm") == 8 + 10 + 50


def test_a_wasm_service_fills_a_python_clients_memory(
    kernel: wasmos.Kernel, wasm: wasmos.Task
) -> None:
    room = bytearray(range(250)) * 10
    assert kernel.call("wasm", abi.ConsoleTake(room)).len == 2500
    assert room == bytearray(range(1, 251)) * 10


def test_a_wasm_service_reads_and_does_not_write(kernel: wasmos.Kernel, wasm: wasmos.Task) -> None:
    """What is lent to be read stays as it is."""
    answer = kernel.call("wasm", abi.ConsolePut(1, bytes(2500))).len
    assert answer - (1 << 32) == NOT_ALLOWED  # it is told as an unsigned number
    body = f"(drop {lend(100, 16, 'wasm')}) (i32.load8_u #100)"
    assert code(kernel, lender(body), "wasm") == ord("f")


def test_it_has_to_be_there_for_a_wasm_service_too(
    kernel: wasmos.Kernel, wasm: wasmos.Task
) -> None:
    assert code(kernel, lender(fill(PAGE - 3, 4, "wasm")), "wasm") == UADDR


def test_nobody_lends_it_anything(kernel: wasmos.Kernel, wasm: wasmos.Task, slow: Slow) -> None:
    elsewhere = lending(kernel, slow)
    assert asked(kernel, elsewhere.id) == NOT_FOUND  # it lends to another service
    assert asked(kernel, slow.task) == NOT_FOUND
    assert asked(kernel, wasm.id) == NOT_FOUND
    assert asked(kernel, 1) == NOT_FOUND
    assert asked(kernel, 12345) == NOT_FOUND
    client = kernel.client("c")
    assert (
        client.call("wasm", abi.Ping(client.id)).value == NOT_FOUND
    )  # it calls, and lends nothing
    slow.view = None
    elsewhere.kill()


def test_one_that_still_waits_to_be_received_lends_nothing(kernel: wasmos.Kernel) -> None:
    """Its service hasn't got the message, so it knows of nothing that is lent."""
    never = program(f"(call $recv @taker #{M})")
    kernel.serve(Taker())
    service = spawn(kernel, never, "taker", service="busy")
    queued = spawn(kernel, lender(lend(100, 16, "busy")), "busy")
    settle(kernel)
    assert queued.account()["state"] == "sending"
    assert kernel.read_lent(queued.id, service.id, 0, 4) is None
    assert kernel.write_lent(queued.id, service.id, 0, b"x") is None


def test_after_its_answer_it_reads_nothing(kernel: wasmos.Kernel, wasm: wasmos.Task) -> None:
    assert kernel.call("wasm", abi.ConsoleTake(bytearray(16))).len == 16
    settle(kernel)
    assert asked(kernel, 0) == NOT_FOUND
    code(kernel, lender(fill(100, 16, "wasm")), "wasm")
    settle(kernel)
    assert asked(kernel, 0) == NOT_FOUND


def test_a_wasm_service_needs_the_right_to_it(kernel: wasmos.Kernel, compiled: Path) -> None:
    kernel.serve(Vm())
    kernel.spawn(compiled, service="wasm", allow=["vm.ping"], trusted=True)
    room = bytearray(16)
    assert kernel.call("wasm", abi.ConsoleTake(room)).len - (1 << 32) == NOT_ALLOWED
    assert room == bytes(16)


READ_FIRST = f"""(call $put #{M} #{abi.LentRead.TYPE} (i32.load offset=4 (local.get $m)))
  (i32.store #{M + 12} #0) (i32.store #{M + 16} #4)
  (local.set $i (call $call @vm #{M}))
  (i32.store (local.get $m) #{abi.ConsolePutReply.TYPE})
  (i32.store offset=8 (local.get $m) (select (local.get $i) (i32.load offset=8 #{M})
    (local.get $i)))"""


def test_a_passive_service_on_a_fibre(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    source = passive(READ_FIRST, fibre=True)
    kernel.spawn(source, service="taker", allow=["vm.lent_read"], trusted=True)
    wanted = int.from_bytes(b"from", "little")
    assert code(kernel, lender(lend(100, 16))) == wanted
    assert kernel.call("taker", abi.ConsolePut(1, b"from Python")).len == wanted


def test_a_passive_service_that_is_called_in_place(kernel: wasmos.Kernel, taker: Taker) -> None:
    """It imports nothing, so all that it sees is the message: an address that is not of its own
    memory, and a length."""
    answer = f"""(i32.store (local.get $m) #{abi.ConsolePutReply.TYPE})
      (i32.store offset=8 (local.get $m) (i32.add (i32.load offset=12 (local.get $m))
        (i32.load offset=16 (local.get $m))))"""
    kernel.spawn(passive(answer), service="place", trusted=True)
    body = f"(drop {lend(100, 16)}) {lend(200, 30, 'place')}"
    assert code(kernel, lender(body), "taker", "place") == 230
    assert_over(taker.lents[0])
    # A Python client's memory has no address that a message could tell.
    assert kernel.call("place", abi.ConsolePut(1, bytes(30))).len == 30


# --- rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "admitted"), [(0, True), (64, True), (65, False), (-1, False)])
def test_a_rule_bounds_what_is_lent(
    kernel: wasmos.Kernel, taker: Taker, size: int, admitted: bool
) -> None:
    source = lender(lend(0, size))
    result = code(kernel, source, "taker.console_put(len(data)=..64)")
    assert result == (size if admitted else NOT_ALLOWED)
    with_a_denial = spawn(kernel, source, "taker", deny=["taker.console_put(len(data)=65..)"])
    assert kernel.wait(with_a_denial).code == result
    assert len(taker.lents) == 2 * admitted


def test_a_rule_bounds_what_is_lent_to_be_filled(kernel: wasmos.Kernel, taker: Taker) -> None:
    rule = "taker.console_take(len(into)=[1..3, 16])"
    for size, result in ((0, NOT_ALLOWED), (3, 3), (4, NOT_ALLOWED), (16, 16), (17, NOT_ALLOWED)):
        assert code(kernel, lender(fill(0, size)), rule) == result
    client = kernel.client("c", allow=[rule])
    assert client.call("taker", abi.ConsoleTake(bytearray(16))).len == 16
    with pytest.raises(wasmos.CapabilityDenied):
        client.call("taker", abi.ConsoleTake(bytearray(4)))


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("console.put(data=5)", r"only its length has bounds, as in len\(data\)=..4294967295"),
        ('console.put(data="x")', "only its length has bounds"),
        ("console.put(len(data)=-1)", "from 0 to 4,294,967,295, not -1"),
        ("console.put(len(data)=4294967296)", "from 0 to 4,294,967,295"),
        ("fs.read_at(offset=9223372036854775808)", "9,223,372,036,854,775,807"),
        ("fs.read_at(len(offset)=1)", "is a number and has no length"),
    ],
)
def test_a_rule_that_makes_no_sense(rule: str, problem: str) -> None:
    with pytest.raises(wasmos.RuleError, match=problem):
        Rule.parse(rule)


class Files(wasmos.Service):
    name = "fs"

    def fs_read_at(self, caller: wasmos.Caller, fd: int, offset: int, into: wasmos.Lent) -> int:
        return len(into)


TOP = 1 << 62
# Numbers that are alike in 32 bits, or nearly so.
OFFSETS = (0, 1, 5, 1023, 1024, -1, -5, -1024, -1025, (1 << 32) - 1, 1 << 32, (1 << 32) + 5,
           -(1 << 32), 5 - (1 << 32), TOP - 1, TOP, TOP + 1, TOP + 1023, TOP + 1024, -TOP, -TOP + 5,
           (1 << 63) - 1, -(1 << 63))  # fmt: skip


@pytest.mark.parametrize(
    "wanted",
    ["0", "5", "-1", "-5", "0..1023", "-1024..-1", "-1024..1023", "..-1", "0..", "4294967296",
     "4294967295", f"{TOP}", f"{TOP}..{TOP + 1023}", f"-{TOP}", f"..-{TOP}", f"{TOP}..",
     "[0, 4294967296]", f"[-1, 5, {TOP}]", f"[-{TOP}, 0..1023, 4294967301]",
     "-9223372036854775808", "9223372036854775807", "0..4294967295"],
)  # fmt: skip
def test_a_rule_about_64_bits(kernel: wasmos.Kernel, wanted: str) -> None:
    """All of them count: a table by 32 of them must not decide."""
    kernel.serve(Files())
    rule = Rule.parse(f"fs.read_at(fd=3, offset={wanted})")
    others = [f"fs.read_at(fd={fd}, offset={fd})" for fd in range(10, 30)]
    allowed = kernel.client("allowed", allow=[*others, rule])
    denied = kernel.client("denied", allow=["fs"], deny=[f"fs.read_at(offset={wanted})"])
    verdicts = []
    for offset in OFFSETS:
        message = abi.FsReadAt(3, offset, bytearray(4))
        row = []
        for client in (allowed, denied):
            try:
                row.append(client.call("fs", message).len == 4)
            except wasmos.CapabilityDenied:
                row.append(False)
        verdicts.append(row)
    assert verdicts == [[expected(wanted, n), not expected(wanted, n)] for n in OFFSETS]
    admits = [rule.admits(abi.FsReadAt(3, offset)) for offset in OFFSETS]
    assert admits == [row[0] for row in verdicts]


def expected(wanted: str, number: int) -> bool:
    """What the words of a rule say, read in the simplest way."""
    for part in wanted.strip("[]").split(", "):
        low, dots, high = part.partition("..")
        least = int(low) if low else -(1 << 63)
        most = (int(high) if high else (1 << 63) - 1) if dots else least
        if least <= number <= most:
            return True
    return False


# --- denied, and asked about ---------------------------------------------------------------------


def test_what_was_sent_is_lent_when_somebody_was_asked(kernel: wasmos.Kernel, taker: Taker) -> None:
    """The message is what it was when it was sent, whatever becomes of the object."""
    client = kernel.client("c", allow=[])
    message = abi.ConsolePut(1, b"as it was sent")

    def ask(denial: wasmos.Denial) -> bool:
        assert denial.fields == {"stream": 1, "data": {"len": 14}}
        message.data, message.stream = b"something else", 2
        kernel.grant(client, denial.rule)
        return True

    kernel.ask(client, ask)
    assert client.call("taker", message).len == 14
    assert taker.got == [b"as it was sent"]
    assert_over(taker.lents[0])


def test_a_program_lends_when_somebody_was_asked(kernel: wasmos.Kernel, taker: Taker) -> None:
    """Later, and by another rule: what it lends is what its message said."""
    task = spawn(kernel, lender(f"(drop {fill(200, 4)}) {lend(100, 16)}"), "taker.console_take")
    denials: list[wasmos.Denial] = []
    kernel.ask(task, denials.append)  # type: ignore[arg-type]
    kernel.run(lambda: bool(denials))
    settle(kernel)
    assert task.account()["state"] == "asking"
    assert_over(taker.lents[0])
    assert kernel.read_lent(task.id, taker.task, 0, 4) is None
    kernel.grant(task, "taker.console_put(len(data)=16)")
    kernel.answer_asked(task.id)
    assert kernel.wait(task).code == 16
    assert taker.got == [b"from the program"]


def test_a_no_lends_nothing(kernel: wasmos.Kernel, taker: Taker) -> None:
    task = spawn(kernel, lender(lend(100, 16)), "taker.ping")
    kernel.ask(task, lambda denial: False)
    assert kernel.wait(task).code == NOT_ALLOWED
    room = bytearray(4)
    client = kernel.client("c", allow=["taker.ping"])
    kernel.ask(client, lambda denial: False)
    with pytest.raises(wasmos.CapabilityDenied):
        client.call("taker", abi.ConsoleTake(room))
    room.extend(b"!")
    assert not taker.lents


def test_the_service_ends_while_somebody_is_asked(kernel: wasmos.Kernel, taker: Taker) -> None:
    task = spawn(kernel, lender(lend(100, 16)), "taker.ping")
    denials: list[wasmos.Denial] = []
    kernel.ask(task, denials.append)  # type: ignore[arg-type]
    kernel.run(lambda: bool(denials))
    kernel.kill(taker.task)
    assert kernel.wait(task).code == ABORTED
    assert not taker.lents


# --- audit ---------------------------------------------------------------------------------------


def test_of_what_is_lent_an_audit_has_the_length(kernel: wasmos.Kernel, taker: Taker) -> None:
    entries: list[dict[str, Any]] = []
    kernel.audit(entries.extend, calls=True)
    client = kernel.client("c", allow=["taker.console_take", "fs"])
    kernel.serve(Files())
    client.call("taker", abi.ConsoleTake(bytearray(b"secret")))
    client.call("fs", abi.FsReadAt(3, -TOP, bytearray(b"secret")))
    with pytest.raises(wasmos.CapabilityDenied):
        client.call("taker", abi.ConsolePut(2, b"a secret"))
    assert code(kernel, lender(lend(100, 16)), "taker.ping") == NOT_ALLOWED
    kernel.take_records()
    kernel.end_audit(entries.extend)
    told = [(e["event"], e["message"], e.get("fields")) for e in entries if "decision" in e]
    assert told == [
        ("call", "taker.console_take", None),
        ("call", "fs.read_at", None),
        ("denial", "taker.console_put", {"stream": 2, "data": {"len": 8}}),
        ("denial", "taker.console_put", {"stream": 1, "data": {"len": 16}}),
    ]
    assert "secret" not in repr(entries)


def test_a_denial_names_the_rule_that_would_allow_it(kernel: wasmos.Kernel, taker: Taker) -> None:
    client = kernel.client("c", allow=["taker.ping"])
    with pytest.raises(wasmos.CapabilityDenied):
        client.call("taker", abi.ConsolePut(2, b"a secret"))
    kernel.take_records()
    (denial,) = client.denials
    assert "secret" not in denial.rule
    kernel.grant(client, denial.rule)
    assert client.call("taker", abi.ConsolePut(2, b"a secret")).len == 8
