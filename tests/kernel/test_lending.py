"""Lent memory: who may use it, and when; what becomes of it if somebody ends meanwhile."""

from __future__ import annotations

import gc
import threading
from typing import ClassVar

import pytest

import wasmos
from tests.kernel.lending import (
    ABORTED,
    NOT_ALLOWED,
    PAGE,
    UADDR,
    Slow,
    Taker,
    assert_over,
    code,
    fill,
    lend,
    lender,
    lending,
    spawn,
    uses,
)
from tests.support.wat import settle
from wasmos import _core, abi

BOTH_CLOCKS = True


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
