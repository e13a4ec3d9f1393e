"""Memory of tasks: limits, growth while messages are under way, and nothing left for the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import wasmos
from tests.support import wat
from tests.support.wat import M, passive, program, repeat, settle
from wasmos import _core, abi

BOTH_CLOCKS = True

PAGE = 65536


def ended(kernel: wasmos.Kernel, source: str, **options: object) -> wasmos.Exit:
    task = kernel.spawn(source, trusted=True, **({"allow": ["*"]} | options))  # type: ignore[arg-type]
    return kernel.wait(task)


# --- limits -----------------------------------------------------------------------------------

GROW = """(loop $more (br_if $more (i32.ne (memory.grow #{step}) #-1))) (memory.size)"""


@pytest.mark.parametrize("pages", [1, 2, 7, 64, 1024])
def test_memory_stops_growing_at_the_limit(kernel: wasmos.Kernel, pages: int) -> None:
    limits = wasmos.Limits(memory_bytes=pages * PAGE)
    assert ended(kernel, program(GROW.format(step=1)), limits=limits).code == pages


@pytest.mark.parametrize("step", [2, 65535, 65536, -1])
def test_growing_too_much_at_once_fails_in_the_guest(kernel: wasmos.Kernel, step: int) -> None:
    limits = wasmos.Limits(memory_bytes=2 * PAGE)
    assert ended(kernel, program(GROW.format(step=step)), limits=limits).code == 1


def test_a_limit_within_a_page_counts_down(kernel: wasmos.Kernel) -> None:
    limits = wasmos.Limits(memory_bytes=3 * PAGE - 1)
    assert ended(kernel, program(GROW.format(step=1)), limits=limits).code == 2


@pytest.mark.parametrize(
    ("pages", "end", "may_lack"),
    [
        (33, "unreachable", True),
        (64, "unreachable", True),
        (32, "unreachable", False),  # as much again was there
        (33, "(return #1)", False),  # as for any other reason
        (60, "(return #1)", False),
        (61, "(return #1)", True),
        (64, "(return #0)", False),
    ],
)
def test_an_end_that_may_be_for_want_of_memory(
    kernel: wasmos.Kernel, pages: int, end: str, may_lack: bool
) -> None:
    """Of all that the engine refuses nobody is told, so it is told by what there was."""
    limits = wasmos.Limits(memory_bytes=64 * PAGE)
    found = ended(kernel, program(f"(drop (memory.grow #{pages - 1})) {end}"), limits=limits)
    assert (found.memory_bytes, found.memory_limit) == (pages * PAGE, 64 * PAGE)
    assert found.may_lack_memory == may_lack
    said = f"; it had {pages * PAGE:,} of 4,194,304 bytes of memory"
    assert str(found).endswith(said) == may_lack


def test_who_is_ended_lacks_time_and_no_memory(kernel: wasmos.Kernel) -> None:
    task = kernel.spawn(program("(drop (memory.grow #63)) (drop (call $recv #0 #1024)) #0"),
                        limits=wasmos.Limits(memory_bytes=64 * PAGE))  # fmt: skip
    settle(kernel)
    kernel.kill(task, "because")
    found = kernel.wait(task)
    assert (found.memory_bytes, found.may_lack_memory) == (64 * PAGE, False)
    assert str(found).endswith("was killed: because")


def test_memory_that_is_not_shown_is_not_known(kernel: wasmos.Kernel) -> None:
    found = ended(kernel, '(module (memory 1) (func (export "main") unreachable))')
    assert (found.memory_bytes, found.may_lack_memory) == (0, False)


def test_who_serves_has_no_memory(kernel: wasmos.Kernel) -> None:
    found = wasmos.Exit(1, "t", "trapped")
    assert not found.may_lack_memory


def test_memory_that_begins_too_large_is_refused(kernel: wasmos.Kernel) -> None:
    with pytest.raises(wasmos.ModuleRefused, match="memory"):
        kernel.spawn(program("#0", pages="3"), limits=wasmos.Limits(memory_bytes=2 * PAGE))


@pytest.mark.parametrize("elements", [0, 1, 100, 20_000])
def test_tables_stop_growing_at_the_limit(kernel: wasmos.Kernel, elements: int) -> None:
    body = """(loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) #1) #-1)))
        (table.size $t)"""
    source = program(body, fields="(table $t 0 funcref)")
    limits = wasmos.Limits(table_elements=elements)
    assert ended(kernel, source, limits=limits).code == elements


def test_each_limit_of_a_cached_program_is_its_own(kernel: wasmos.Kernel) -> None:
    """The same bytes, compiled once, spawned with different limits."""
    source = program(GROW.format(step=1))
    for pages in (5, 2, 9):
        limits = wasmos.Limits(memory_bytes=pages * PAGE)
        assert ended(kernel, source, limits=limits).code == pages


def test_account_shows_the_memory(kernel: wasmos.Kernel) -> None:
    task = kernel.spawn(program(f"(drop (memory.grow #3)) {wat.RECEIVE} #0"), trusted=True)
    settle(kernel)
    assert task.account()["memory_bytes"] == 4 * PAGE


# --- memory that moves ------------------------------------------------------------------------


@pytest.fixture(params=["on demand", "pooled"])
def growing(request: pytest.FixtureRequest, no_leaks: None) -> Iterator[wasmos.Kernel]:
    pool = 16 if request.param == "pooled" else None
    with wasmos.Kernel(virtual_clock=True, pool_tasks=pool) as kernel:
        yield kernel


def test_server_grows_while_a_call_waits(growing: wasmos.Kernel) -> None:
    """Between the receive and the answer, with the next caller's message pending."""
    at_end = "(i32.sub (i32.mul (memory.size) #65536) #1512)"
    server = repeat(
        20,
        f"""(drop (memory.grow #8)) (local.set $j {at_end})
        (drop (call $recv #0 (local.get $j))) (drop (memory.grow #8))
        (call $put (local.get $j) #10 (i32.add (i32.load offset=8 (local.get $j)) #1))
        (call $reply (i32.load offset=4 (local.get $j)) (local.get $j))""",
    )
    growing.spawn(program(server + "#0"), service="s", trusted=True)
    client = repeat(
        10,
        """(if (call $ask @s #9 (local.get $i)) (then (return #1)))
        (if (i32.ne (call $value) (i32.add (local.get $i) #1)) (then (return #2)))""",
    )
    tasks = [growing.spawn(program(client + "#0"), allow=["s"], trusted=True) for _ in range(2)]
    assert [growing.wait(task).code for task in tasks] == [0, 0]


@pytest.mark.parametrize("fibre", [False, True])
def test_passive_service_grows_in_its_handler(growing: wasmos.Kernel, fibre: bool) -> None:
    body = "(drop (memory.grow #16)) (call $answer (i32.add (local.get $in) #1))"
    growing.spawn(passive(body, fibre=fibre), service="s", trusted=True)
    client = repeat(
        30,
        """(drop (memory.grow #8)) (if (call $ask @s #9 (local.get $i)) (then (return #1)))
        (if (i32.ne (call $value) (i32.add (local.get $i) #1)) (then (return #2)))""",
    )
    assert ended(growing, program(client + "#0")).code == 0


def test_client_uses_memory_that_it_just_got(growing: wasmos.Kernel) -> None:
    """Where the old size would refuse, the new one is what counts."""
    growing.serve(wat.Plus())
    body = repeat(
        50,
        """(local.set $j (i32.mul (memory.size) #65536)) (drop (memory.grow #1))
        (call $put (local.get $j) #9 (local.get $i))
        (if (call $call @plus (local.get $j)) (then (return #1)))
        (if (i32.ne (i32.load offset=8 (local.get $j)) (i32.add (local.get $i) #1))
          (then (return #2)))""",
    )
    assert ended(growing, program(body + "#0")).code == 0


@pytest.mark.parametrize("offset", range(4))
def test_unaligned_messages(kernel: wasmos.Kernel, offset: int) -> None:
    """On either side, for every sort of service."""
    at = 2048 + offset
    server = program(
        f"""(drop (call $recv #0 #{at})) (call $put #{at} #10 (i32.load offset=8 #{at}))
        (call $reply (i32.load offset=4 #{at}) #{at}) #0"""
    )
    inbox = wat.INBOX + offset
    kernel.spawn(server, service="active", trusted=True)
    for name, fibre in (("direct", False), ("fibre", True)):
        source = passive("(call $answer (local.get $in))", fibre=fibre, inbox=inbox)
        kernel.spawn(source, service=name, trusted=True)
    kernel.serve(wat.Plus(0))
    for name in ("active", "direct", "fibre", "plus"):
        body = f"""(call $put #{at} #9 #77) (if (call $call @{name} #{at}) (then (return #1)))
            (i32.load offset=8 #{at})"""
        assert ended(kernel, program(body)).code == 77


def test_message_in_place_of_another(kernel: wasmos.Kernel) -> None:
    """A client's and a service's messages may lie at the same address of their memories."""
    kernel.spawn(passive("(call $answer #3)", inbox=M), service="s", trusted=True)
    assert ended(kernel, program("(drop (call $ask @s #9 #1)) (call $value)")).code == 3


@pytest.mark.parametrize("inbox", [PAGE - 1511, PAGE, 2**32 - 1, 2**31, 2**32 - 1512])
@pytest.mark.parametrize("fibre", [False, True])
def test_passive_service_with_a_buffer_outside(
    kernel: wasmos.Kernel, inbox: int, fibre: bool
) -> None:
    task = kernel.spawn(passive("", inbox=inbox, fibre=fibre), service="s", trusted=True)
    assert kernel.wait(task).cause == "refused"


@pytest.mark.parametrize("fibre", [False, True])
def test_passive_service_with_a_buffer_at_the_very_end(kernel: wasmos.Kernel, fibre: bool) -> None:
    source = passive("(call $answer #3)", inbox=PAGE - 1512, fibre=fibre)
    kernel.spawn(source, service="s", trusted=True)
    assert kernel.call("s", abi.Ping(1)) == abi.PingReply(3)


# --- reuse ------------------------------------------------------------------------------------

# Fills all it can get, tables and globals included.
SPY = """(memory.fill #0 #0x5A (i32.mul (memory.size) #65536)) (drop (memory.grow #15))
    (memory.fill #65536 #0x5A (i32.mul #15 #65536)) (global.set $g #0x5A5A5A5A)
    (table.fill $t #0 (ref.func $f) #64) #0"""
# The number of things that aren't as a new task finds them.
LOOK = """(drop (memory.grow #15))
    (loop $next
      (if (i64.ne (i64.load (local.get $i)) (i64.const 0))
        (then (local.set $j (i32.add (local.get $j) #1))))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) #8))
        (i32.mul (memory.size) #65536))))
    (if (global.get $g) (then (local.set $j (i32.add (local.get $j) #1))))
    (if (i32.eqz (ref.is_null (table.get $t #63)))
      (then (local.set $j (i32.add (local.get $j) #1))))
    (local.get $j)"""
FIELDS = "(global $g (mut i32) #0) (table $t 64 funcref) (func $f) (elem declare func $f)"


@pytest.mark.parametrize("pool", [None, 4])
def test_no_byte_of_one_task_is_seen_by_another(pool: int | None) -> None:
    with wasmos.Kernel(virtual_clock=True, pool_tasks=pool) as kernel:
        for _ in range(12):
            spies = [kernel.spawn(program(SPY, fields=FIELDS), trusted=True) for _ in range(3)]
            assert [kernel.wait(spy).code for spy in spies] == [0] * 3
            lookers = [kernel.spawn(program(LOOK, fields=FIELDS), trusted=True) for _ in range(4)]
            assert [kernel.wait(looker).code for looker in lookers] == [0] * 4


@pytest.mark.parametrize("how", ["killed", "trapped", "blocked"])
def test_nor_after_a_violent_end(how: str) -> None:
    with wasmos.Kernel(virtual_clock=True, pool_tasks=2) as kernel:
        for _ in range(6):
            tail = {"killed": wat.forever(), "trapped": "unreachable", "blocked": wat.RECEIVE}[how]
            spy = kernel.spawn(
                program(SPY[:-2] + tail + " #0", fields=FIELDS),
                trusted=True,
            )
            kernel.step(10_000_000)
            spy.kill()
            looker = kernel.spawn(program(LOOK, fields=FIELDS), trusted=True)
            assert kernel.wait(looker).code == 0


@pytest.mark.parametrize("source", [wat.SLEEP, wat.PASSIVE, wat.PASSIVE_FIBRE, wat.SPIN])
def test_a_full_pool(no_leaks: None, source: str) -> None:
    """One task too many is refused, the others live, and when one ends there is room again."""
    with wasmos.Kernel(virtual_clock=True, pool_tasks=3) as kernel:
        tasks = [kernel.spawn(source, trusted=True) for _ in range(3)]
        with pytest.raises(wasmos.ServiceError, match="room for 3") as seen:
            kernel.spawn(source, trusted=True)
        assert seen.value.code == -16
        for _ in range(5):
            kernel.step(1_000_000)
        assert [task.exit for task in tasks] == [None] * 3
        for _ in range(10):
            tasks.pop().kill()
            assert ended(kernel, program("#7")).code == 7
            tasks.append(kernel.spawn(source, trusted=True))


def test_a_pool_takes_code_from_the_compiler(no_leaks: None) -> None:
    """Compiled in a child that has no pool."""
    with wasmos.Kernel(virtual_clock=True, pool_tasks=3) as kernel:
        assert kernel.wait(kernel.spawn(program("#7"))).code == 7


def test_nothing_of_an_answer_shows_behind_its_data(kernel: wasmos.Kernel) -> None:
    """A short answer in the place of a long one: its field is zeros behind the data."""

    class Echo(wasmos.Service):
        name = "echo"

        def echo(self, caller: wasmos.Caller, data: bytes) -> bytes:
            return b"x" * 1000 if data else b""

    kernel.serve(Echo())
    body = f"""(i32.store offset={8 + 1024} #{M} #1) (drop (call $ask @echo #65 #1))
        (i32.store #{M + 8 + 1024} #0) (i32.store #{M} #65) (drop (call $call @echo #{M}))
        {repeat(1024, f"(if (i32.load8_u offset={M + 8} (local.get $i)) (then (return #1)))")}
        (i32.load #{M + 8 + 1024})"""
    assert ended(kernel, program(body)).code == 0


def test_padding_of_an_answer_is_zero(kernel: wasmos.Kernel) -> None:
    """Layouts with gaps: what is between the fields isn't the kernel's own memory."""

    class Ask(abi.Message):
        TYPE, NAME, SIZE = 3000, "ask", 8

    class Told(abi.Message):
        __slots__ = ("number",)
        TYPE, NAME, SIZE = 3001, "told", 512
        FIELDS = (abi.Field("number", abi.INT32, 508, 4),)

        def __init__(self, number: int) -> None:
            self.number = number

    kernel.define_messages([Ask, Told], [])
    request, reply = kernel.layout(3000), kernel.layout(3001)
    assert request is not None
    handler = _core.Handler(lambda caller: 5, request, reply, False)
    id = kernel.add_service({3000: handler}, 8)
    body = f"""(memory.fill #{M} #0xFF #512) (if (call $ask #{id} #3000 #0) (then (return #-1)))
        {repeat(500, f"(if (i32.load8_u offset={M + 8} (local.get $i)) (then (return #1)))")}
        (i32.load #{M + 508})"""
    assert ended(kernel, program(body)).code == 5
    kernel._tasks[id] = wasmos.Task(kernel, id, "gaps")  # so that closing finds it
