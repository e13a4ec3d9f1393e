"""Lent memory and services that are WebAssembly: what they read and write of it, and how."""

from __future__ import annotations

from pathlib import Path

import pytest

import wasmos
from tests.idl.guest import compile_guest
from tests.kernel.lending import (
    NOT_ALLOWED,
    NOT_FOUND,
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
)
from tests.support.wat import M, passive, program, settle
from wasmos import abi
from wasmos.servers.vm import Vm

BOTH_CLOCKS = True

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
