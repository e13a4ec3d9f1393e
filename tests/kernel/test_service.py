"""Services written in Python: values in and out, errors, and methods that misbehave."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

import wasmos
from tests.support import wat
from tests.support.wat import M, program, repeat, settle
from wasmos import _core, abi

NOT_SUPPORTED, UNEXPECTED, INVALID_ARG, ABORTED = -9, -10, -11, -21


def service(name: str = "s", **methods: Any) -> wasmos.Service:
    """An object of a service class with these methods."""
    made: wasmos.Service = type("Made", (wasmos.Service,), {"name": name, **methods})()
    return made


def ping(result: object) -> wasmos.Service:
    """A service whose `ping` returns, or raises, this."""

    def ping(self: object, caller: wasmos.Caller, value: int) -> object:
        if isinstance(result, BaseException):
            raise result
        return result

    return service(ping=ping)


def slow_ping(result: object) -> wasmos.Service:
    """The same as a coroutine that takes a while."""

    async def ping(self: wasmos.Service, caller: wasmos.Caller, value: int) -> object:
        await self.kernel.sleep(0.5)
        if isinstance(result, BaseException):
            raise result
        return result

    return service(ping=ping)


def error_of(kernel: wasmos.Kernel, message: abi.Message | None = None) -> int:
    with pytest.raises(wasmos.ServiceError) as seen:
        kernel.call("s", message or abi.Ping(1))
    return seen.value.code


# --- values -----------------------------------------------------------------------------------


class Everything(wasmos.Service):
    """A method for each kind of field, and each way to answer."""

    name = "s"

    def __init__(self) -> None:
        self.got: list[tuple[object, ...]] = []

    def fs_open(self, caller: wasmos.Caller, path: str, flags: int) -> int:
        self.got.append((path, flags))
        return 3

    def fs_close(self, caller: wasmos.Caller, fd: int) -> None:
        self.got.append((fd,))

    def blk_write(self, caller: wasmos.Caller, sector: int, offset: int, data: bytes) -> None:
        self.got.append((sector, offset, data))

    def fs_readdir(self, caller: wasmos.Caller, path: str, index: int) -> tuple[str, int, int]:
        return "näme", -255, 2**32 - 1

    def net_open(self, caller: wasmos.Caller) -> abi.NetOpenReply:
        self.got.append(())
        return abi.NetOpenReply(b"\x01\x02\x03\x04\x05\xff")

    def tcpip_connect(self, caller: wasmos.Caller, dst_addr: int, dst_port: int) -> int:
        self.got.append((dst_addr, dst_port))
        return -1

    def echo(self, caller: wasmos.Caller, data: bytes) -> bytes:
        return data


def test_fields_of_every_kind(kernel: wasmos.Kernel) -> None:
    every = Everything()
    kernel.serve(every)
    assert kernel.call("s", abi.FsOpen("/a/ß", -5)) == abi.FsOpenReply(3)
    assert kernel.call("s", abi.FsClose(2**31 - 1)) == abi.FsCloseReply()
    assert kernel.call("s", abi.BlkWrite(2**32 - 1, 0, bytes(range(256)))) == abi.BlkWriteReply()
    assert kernel.call("s", abi.FsReaddir("", 0)) == abi.FsReaddirReply("näme", -255, 2**32 - 1)
    assert kernel.call("s", abi.NetOpen()) == abi.NetOpenReply(b"\x01\x02\x03\x04\x05\xff")
    assert kernel.call("s", abi.TcpipConnect(0x7F000001, 65535)) == abi.TcpipConnectReply(-1)
    assert every.got == [
        ("/a/ß", -5), (2**31 - 1,), (2**32 - 1, 0, bytes(range(256))), (), (0x7F000001, 65535),
    ]  # fmt: skip


@pytest.mark.parametrize("length", [0, 1, 1023, 1024])
def test_bytes_of_every_length(kernel: wasmos.Kernel, length: int) -> None:
    kernel.serve(Everything())
    data = bytes(n & 0xFF for n in range(length))
    assert kernel.call("s", abi.Echo(data)) == abi.EchoReply(data)


def test_text_that_is_not_utf8_survives(kernel: wasmos.Kernel) -> None:
    every = Everything()
    kernel.serve(every)
    body = f"(i32.store #{M + 8} #0x00FEFF2F) (call $call @s #{M})"
    task = kernel.spawn(program(f"(i32.store #{M} #35) {body}"), allow=["s"], trusted=True)
    assert kernel.wait(task).code == 0
    assert every.got == [("/\udcff\udcfe", 0)]


def test_the_caller(kernel: wasmos.Kernel) -> None:
    """One object for each task, with its id and name, that outlives it."""
    callers: list[wasmos.Caller] = []

    def ping(self: object, caller: wasmos.Caller, value: int) -> int:
        callers.append(caller)
        return value

    kernel.serve(service(ping=ping))
    source = program("(drop (call $ask @s #9 #1)) (call $ask @s #9 #1)")
    task = kernel.spawn(source, name="me", allow=["s"], trusted=True)
    kernel.wait(task)
    first, second = callers
    assert first is second and (first.id, first.name) == (task.id, "me")
    assert not first.alive
    assert first.notify(kernel._services[kernel.services["s"]], abi.TaskDestroyed(1))


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [ping, slow_ping])
@pytest.mark.parametrize("code", [-1, -7, -27, -128])
def test_service_errors(kernel: wasmos.Kernel, make: Any, code: int) -> None:
    kernel.serve(make(wasmos.ServiceError(code)))
    assert error_of(kernel) == code
    assert error_of(kernel) == code


def test_denied_by_a_service_reads_like_denied_by_the_kernel(kernel: wasmos.Kernel) -> None:
    kernel.serve(ping(wasmos.CapabilityDenied("this one")))
    with pytest.raises(wasmos.CapabilityDenied):
        kernel.call("s", abi.Ping(1))


@pytest.mark.parametrize("make", [ping, slow_ping])
@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"), MemoryError(), RecursionError(), StopIteration(), GeneratorExit(),
        asyncio.CancelledError(), wasmos.ServiceError(0), wasmos.ServiceError(5),
        wasmos.ServiceError(-129), wasmos.ServiceError(-(2**40)),
    ],
    ids=repr,
)  # fmt: skip
def test_a_bug_in_a_service_is_an_error_for_its_caller(
    kernel: wasmos.Kernel, caplog: pytest.LogCaptureFixture, make: Any, error: BaseException
) -> None:
    """The caller hears -10 (or -21 of what was cancelled), the log tells, the service goes on."""
    if make is slow_ping and isinstance(error, (GeneratorExit, StopIteration)):
        error = RuntimeError("what a coroutine makes of it")
    kernel.serve(make(error))
    for _ in range(2):
        if isinstance(error, Exception) or make is slow_ping:
            assert error_of(kernel) == (
                ABORTED if isinstance(error, asyncio.CancelledError) else UNEXPECTED
            )
        else:
            with pytest.raises(type(error)):
                kernel.call("s", abi.Ping(1))
    if not isinstance(error, asyncio.CancelledError):
        assert "'s' failed on Ping" in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_interrupts_reach_whoever_runs_the_kernel(
    kernel: wasmos.Kernel, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    """And the caller isn't left waiting: the kernel can run on."""
    kernel.serve(ping(error))
    task = kernel.spawn(
        program(f"(drop (call $ask @s #9 #1)) (i32.load #{M})"), allow=["s"], trusted=True
    )
    with pytest.raises(type(error)):
        kernel.wait(task)
    assert kernel.wait(task).code == UNEXPECTED


INTERRUPTIONS = [KeyboardInterrupt(), MemoryError(), RecursionError(), SystemExit()]


@pytest.mark.parametrize("error", INTERRUPTIONS, ids=repr)
def test_interrupted_in_a_lookup(no_leaks: None, error: BaseException) -> None:
    """The guest's lookup isn't lost: it is answered when the kernel runs on."""
    interruptions = [error]

    class Interrupted(wasmos.Kernel):
        def _lookup(self, id: int, name: str, quietly: bool) -> int | None:
            if interruptions:
                raise interruptions.pop()
            return super()._lookup(id, name, quietly)

    with Interrupted(virtual_clock=True) as kernel:
        server = kernel.serve(ping(1))
        task = kernel.spawn(program("@s"), allow=["s"], trusted=True)
        with pytest.raises(type(error)):
            kernel.wait(task)
        assert kernel.wait(task).code == server.id


@pytest.mark.parametrize("error", INTERRUPTIONS, ids=repr)
def test_interrupted_in_a_lookup_that_waits(no_leaks: None, error: BaseException) -> None:
    """It is looked up again, waits once, and is answered once."""
    interruptions = [error]

    class Interrupted(wasmos.Kernel):
        def _lookup(self, id: int, name: str, quietly: bool) -> int | None:
            answer = super()._lookup(id, name, quietly)
            if interruptions:
                raise interruptions.pop()
            return answer

    with Interrupted(virtual_clock=True) as kernel:
        task = kernel.spawn(program("@s"), allow=["s"], trusted=True)
        with pytest.raises(type(error)):
            kernel.wait(task)
        settle(kernel)
        server = kernel.serve(ping(1))
        assert kernel.wait(task).code == server.id


@pytest.mark.parametrize("error", INTERRUPTIONS, ids=repr)
def test_interrupted_when_a_call_is_over(kernel: wasmos.Kernel, error: BaseException) -> None:
    """By what a client wants done then: the others' calls go on."""
    kernel.serve(ping(1))
    client = kernel.client()

    def done() -> None:
        raise error

    client.begin("s", abi.Ping(1), done)
    task = kernel.spawn(program("(call $ask @s #9 #1)"), allow=["s"], trusted=True)
    with pytest.raises(type(error)):
        kernel.wait(task)
    assert kernel.wait(task).code == 0
    assert client.finish() == abi.PingReply(1)


@pytest.mark.parametrize("error", INTERRUPTIONS, ids=repr)
def test_interrupted_when_a_task_ends(
    kernel: wasmos.Kernel, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    """By whoever watches: the task is over all the same, and so is the next one. Errors are
    logged, interrupts reach whoever runs the kernel."""
    first, second = (kernel.spawn(program("#3"), trusted=True) for _ in range(2))

    def watch(ended: wasmos.Exit) -> None:
        if ended.task == first.id:
            raise error

    kernel.watch(watch)
    if isinstance(error, Exception):
        assert kernel.wait(first).code == 3
        assert type(error).__name__ in caplog.text
    else:
        with pytest.raises(type(error)):
            kernel.wait(first)
    assert kernel.wait(second).code == 3
    assert kernel.find(first.id) is None and first.exit is not None


@pytest.mark.parametrize("error", [ValueError(), RecursionError(), KeyboardInterrupt()], ids=repr)
def test_one_way_methods_that_raise(
    kernel: wasmos.Kernel, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    """The next messages are read all the same, however full the mailbox was."""
    got: list[int] = []

    def task_destroyed(self: object, caller: wasmos.Caller, task: int) -> None:
        got.append(task)
        raise error

    server = kernel.serve(service(task_destroyed=task_destroyed))
    client = kernel.client()
    sent = sum(kernel.notify(client.id, server.id, abi.TaskDestroyed(n)) for n in range(300))
    assert sent == wasmos.Limits().mailbox
    for _ in range(sent):
        try:
            if not kernel.step(1_000_000):
                break
        except KeyboardInterrupt:
            continue
    assert got == list(range(sent))
    assert kernel.notify(client.id, server.id, abi.TaskDestroyed(999))


def test_endless_recursion_in_a_method(
    kernel: wasmos.Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    def ping(self: Any, caller: wasmos.Caller, value: int) -> int:
        deeper: int = self.ping(caller, value)
        return deeper + 1

    kernel.serve(service(ping=ping))
    assert error_of(kernel) == UNEXPECTED
    assert "RecursionError" in caplog.text


@pytest.mark.parametrize(
    "result",
    [
        None, "text", 1.5, 2**31, -(2**31) - 1, 2**100, b"1", (1, 2), [], object(),
        abi.FsOpenReply(1), abi.Ping(1),
    ],
    ids=lambda result: "object()" if type(result) is object else repr(result),
)  # fmt: skip
@pytest.mark.parametrize("make", [ping, slow_ping])
def test_results_that_are_none(
    kernel: wasmos.Kernel, caplog: pytest.LogCaptureFixture, make: Any, result: object
) -> None:
    kernel.serve(make(result))
    assert error_of(kernel) == UNEXPECTED
    assert "'s' failed" in caplog.text


@pytest.mark.parametrize(
    "data", [b"x" * 1025, 5, 2**62, None, "text", [1, 2, 300], memoryview(b"x" * 2000)], ids=type
)
def test_bytes_that_do_not_fit(
    kernel: wasmos.Kernel, caplog: pytest.LogCaptureFixture, data: object
) -> None:
    def echo(self: object, caller: wasmos.Caller, data_: bytes) -> object:
        return data

    def wrapped(self: object, caller: wasmos.Caller, data: bytes) -> object:
        return echo(self, caller, data)

    kernel.serve(service(echo=wrapped))
    # Numbers as well: bytes(5) is five zeros, and bytes(2**40) all the memory there is.
    assert error_of(kernel, abi.Echo(b"")) == UNEXPECTED


@pytest.mark.parametrize("name", ["x" * 256, "a\0b", "ü" * 128])
def test_text_that_does_not_fit(
    kernel: wasmos.Kernel, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    def fs_readdir(self: object, caller: wasmos.Caller, path: str, index: int) -> object:
        return name, 0, 0

    kernel.serve(service(fs_readdir=fs_readdir))
    assert error_of(kernel, abi.FsReaddir("", 0)) == UNEXPECTED


def test_an_answer_whose_attributes_misbehave(
    kernel: wasmos.Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    """Storing a result may run code of the service, which may end the caller, or itself."""

    class Number:
        def __int__(self) -> int:
            return self.__index__()

        def __index__(self) -> int:
            kernel.kill(task)
            kernel.kill(kernel.services.get("s", 0))
            return 5

    kernel.serve(ping(Number()))
    task = kernel.spawn(program("(call $ask @s #9 #1)"), allow=["s"], trusted=True)
    assert kernel.wait(task).cause == "killed"
    assert kernel.services == {}


# --- malformed requests -----------------------------------------------------------------------

DATA, LENGTH = M + 8, M + 8 + 1024
MALFORMED = {
    "length beyond the array": f"(i32.store #{M} #65) (i32.store #{LENGTH} #1025)",
    "negative length": f"(i32.store #{M} #65) (i32.store #{LENGTH} #-1)",
    "string without an end": f"(i32.store #{M} #35) (memory.fill #{DATA} #65 #256)",
    "length beyond, not first": f"(i32.store #{M} #28) (i32.store #{M + 1040} #0x7FFFFFFF)",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_requests(kernel: wasmos.Kernel, what: str) -> None:
    """-11, and the method isn't called."""
    every = Everything()
    kernel.serve(every)
    body = f"{MALFORMED[what]} (if (call $call @s #{M}) (then (return #1))) (i32.load #{M})"
    task = kernel.spawn(program(body), allow=["s"], trusted=True)
    assert kernel.wait(task).code == INVALID_ARG
    assert every.got == []


def test_malformed_one_way_messages(
    kernel: wasmos.Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    """Dropped; a guest can't fill the host's log with them."""
    got: list[bytes] = []

    def net_recv(self: object, caller: wasmos.Caller, payload: bytes) -> None:
        got.append(payload)

    kernel.serve(service(net_recv=net_recv))
    body = f"""(local.set $j @s) (i32.store #{M} #32) (i32.store #{M + 1508} #1501)
        (call $reply (local.get $j) #{M}) (drop @s)
        (i32.store #{M + 1508} #3) (call $reply (local.get $j) #{M}) {wat.RECEIVE} #0"""
    kernel.spawn(program(body), allow=["s"], trusted=True)
    while kernel.step(1_000_000):
        pass
    assert got == [bytes(3)]
    assert caplog.text == ""


# --- one-way messages -------------------------------------------------------------------------


def test_one_way_methods(kernel: wasmos.Kernel, caplog: pytest.LogCaptureFixture) -> None:
    got: list[int] = []

    def tcpip_data(self: object, caller: wasmos.Caller, sock: int) -> None:
        got.append(sock)

    server = kernel.serve(service(tcpip_data=tcpip_data, ping=lambda self, caller, value: 1))
    client = kernel.client()
    for number in range(3):
        assert kernel.notify(client.id, server.id, abi.TcpipData(number))
    assert kernel.notify(client.id, server.id, abi.TcpipClosed(7))  # no method for it
    assert kernel.notify(client.id, server.id, abi.Ping(7))  # a request that nobody awaits
    kernel.run()
    assert got == [0, 1, 2]
    assert len([event for event in kernel.events() if event.kind == "lost"]) == 2


def test_calling_a_one_way_method(kernel: wasmos.Kernel) -> None:
    kernel.serve(service(tcpip_data=lambda self, caller, sock: None))
    assert error_of(kernel, abi.TcpipData(1)) == NOT_SUPPORTED


# --- coroutines -------------------------------------------------------------------------------


def test_coroutines_let_the_others_run(kernel: wasmos.Kernel) -> None:
    """Answered in the order of their times, not of their calls."""

    async def ping(self: wasmos.Service, caller: wasmos.Caller, value: int) -> int:
        await self.kernel.sleep(value)
        return value

    kernel.serve(service(ping=ping))
    order: list[int] = []
    for seconds in (3, 1, 2):
        task = kernel.spawn(program(f"(drop (call $ask @s #9 #{seconds})) (call $value)"),
                            allow=["s"], trusted=True)  # fmt: skip
        task.when_ended(lambda ended: order.append(ended.code or 0))
    kernel.run(lambda: len(order) == 3)
    assert order == [1, 2, 3]
    assert 3 <= kernel.uptime < 4


def test_a_plain_method_that_sometimes_waits(kernel: wasmos.Kernel) -> None:
    """It returns a coroutine then; its errors are answers, too."""

    async def later(self: wasmos.Service, value: int) -> int:
        await self.kernel.sleep(1)
        if value == 3:
            raise wasmos.ServiceError(INVALID_ARG)
        return value

    def ping(self: wasmos.Service, caller: wasmos.Caller, value: int) -> object:
        return 7 if value == 1 else later(self, value)

    kernel.serve(service(ping=ping))
    assert kernel.call("s", abi.Ping(1)).value == 7
    assert kernel.uptime < 1
    assert kernel.call("s", abi.Ping(2)).value == 2
    assert 1 <= kernel.uptime < 2
    assert error_of(kernel, abi.Ping(3)) == INVALID_ARG


@pytest.mark.parametrize("who", ["caller", "service"])
def test_a_coroutine_is_cancelled(kernel: wasmos.Kernel, who: str) -> None:
    """When its caller ends: nobody wants its answer; when its service ends, too."""
    ends: list[str] = []

    async def ping(self: wasmos.Service, caller: wasmos.Caller, value: int) -> int:
        try:
            await self.kernel.sleep(10)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        ends.append("done")
        return value

    server = kernel.serve(service(ping=ping))
    task = kernel.spawn(program("(call $ask @s #9 #1)"), allow=["s"], trusted=True)
    kernel.run(lambda: False, timeout=1)
    (task if who == "caller" else server).kill()
    kernel.run(lambda: bool(ends), timeout=100)
    assert ends == ["cancelled"]
    assert kernel.uptime < 10
    if who == "service":
        assert kernel.wait(task).code == ABORTED


def test_coroutines_end_with_the_kernel(no_leaks: None) -> None:
    ends: list[str] = []

    async def ping(self: wasmos.Service, caller: wasmos.Caller, value: int) -> int:
        try:
            await self.kernel.sleep(10)
        finally:
            ends.append("over")
        return value

    with wasmos.Kernel(virtual_clock=True) as kernel:
        kernel.serve(service(ping=ping))
        kernel.spawn(program("(call $ask @s #9 #1)"), allow=["s"], trusted=True)
        kernel.run(lambda: False, timeout=1)
    assert ends == ["over"]


def test_a_late_answer_is_not_the_next_calls(kernel: wasmos.Kernel) -> None:
    """A coroutine that ignores its cancellation can't answer what was asked later."""

    async def ping(self: wasmos.Service, caller: wasmos.Caller, value: int) -> int:
        try:
            await self.kernel.sleep(5)
        except asyncio.CancelledError:
            await self.kernel.sleep(1)
        return value

    kernel.serve(service(ping=ping))
    client = kernel.client()
    with pytest.raises(TimeoutError):
        client.call("s", abi.Ping(1), timeout=1)
    assert kernel.call("s", abi.Ping(2)) == abi.PingReply(2)


def test_an_answer_is_for_one_call_of_one_client(kernel: wasmos.Kernel) -> None:
    """Late, twice, to a stranger or from one: nothing happens, and the right one still counts."""

    async def ping(self: wasmos.Service, caller: wasmos.Caller, value: int) -> int:
        await self.kernel.sleep(1000)
        return value

    server = kernel.serve(service(ping=ping))
    other = kernel.serve(wat.Plus())
    source = program("(drop (call $ask @s #9 #1)) (call $value)")
    task = kernel.spawn(source, allow=["s"], trusted=True)
    waiting = kernel.spawn(source, allow=["s"], trusted=True)
    kernel.run(timeout=0.1)
    request, reply = kernel.layout(abi.Ping.TYPE), kernel.layout(abi.PingReply.TYPE)
    assert request is not None
    handler = _core.Handler(ping, request, reply, True)
    serial = task.account()["calls"]
    for who, whom, call in (
        (server.id, task.id, serial - 1), (server.id, task.id, serial + 1),
        (other.id, task.id, serial), (server.id, 99, serial), (99, task.id, serial),
    ):  # fmt: skip
        kernel.answer(who, whom, call, handler, 666)
        kernel.answer_error(who, whom, call, handler, wasmos.ServiceError(-7))
    kernel.run(timeout=0.1)
    assert task.account()["state"] == "awaiting reply"
    kernel.answer(server.id, task.id, serial, handler, 5)
    kernel.answer(server.id, task.id, serial, handler, 6)
    assert kernel.wait(task).code == 5
    assert waiting.account()["state"] == "awaiting reply"


# --- Python calls -----------------------------------------------------------------------------


def test_a_service_that_waits_for_the_kernel(
    kernel: wasmos.Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    """Would be a deadlock: it is told so, and its caller hears -10."""

    def ping(self: wasmos.Service, caller: wasmos.Caller, value: int) -> int:
        self.kernel.call("plus", abi.Ping(value))
        return value

    kernel.serve(wat.Plus())
    kernel.serve(service(ping=ping))
    assert error_of(kernel) == UNEXPECTED
    assert "async def" in caplog.text


def test_timeout_of_a_call(kernel: wasmos.Kernel) -> None:
    kernel.serve(slow_ping(1))
    with pytest.raises(TimeoutError, match="no answer from 's'"):
        kernel.call("s", abi.Ping(1), timeout=0.1)
    assert kernel.call("s", abi.Ping(1), timeout=1) == abi.PingReply(1)


def test_calling_nobody(kernel: wasmos.Kernel) -> None:
    with pytest.raises(LookupError, match="nobody is the service 'x'"):
        kernel.call("x", abi.Ping(1))


@pytest.mark.parametrize("result", [1, wasmos.ServiceError(-7)], ids=["answers", "errors"])
def test_calls_from_python_leave_nothing(kernel: wasmos.Kernel, result: object) -> None:
    kernel.serve(ping(result))
    for _ in range(50):
        if result == 1:
            kernel.call("s", abi.Ping(1))
        else:
            error_of(kernel)
    assert kernel.live <= 3


def test_a_client_that_was_killed_is_not_used_again(kernel: wasmos.Kernel) -> None:
    kernel.serve(ping(1))
    kernel.call("s", abi.Ping(1))
    for task in kernel.tasks:
        if isinstance(task, wasmos.Client):
            task.kill()
    assert kernel.call("s", abi.Ping(1)) == abi.PingReply(1)


def test_a_client_that_ends_while_its_message_is_encoded(kernel: wasmos.Kernel) -> None:
    class Number:
        def __index__(self) -> int:
            client.kill()
            return 1

    kernel.serve(ping(1))
    client = kernel.client()
    with pytest.raises(LookupError):
        client.call("s", abi.Ping(Number()))  # type: ignore[arg-type]
    assert kernel.call("s", abi.Ping(1)) == abi.PingReply(1)


def test_a_message_that_cannot_be_encoded(kernel: wasmos.Kernel) -> None:
    """The client is as it was, and can call again."""
    kernel.serve(ping(1))
    client = kernel.client()
    for wrong in (2**31, "text", None, 1.5):
        with pytest.raises((TypeError, ValueError)):
            client.call("s", abi.Ping(wrong))  # type: ignore[arg-type]
    assert client.call("s", abi.Ping(1)) == abi.PingReply(1)


def test_one_call_at_a_time(kernel: wasmos.Kernel) -> None:
    kernel.serve(slow_ping(1))
    client = kernel.client()
    client.begin("s", abi.Ping(1), lambda: None)
    with pytest.raises(wasmos.ServiceError):
        client.call("s", abi.Ping(1))
    assert kernel.call("s", abi.Ping(1)) == abi.PingReply(1)


def test_mail_and_calls_of_a_client(kernel: wasmos.Kernel) -> None:
    """One-way messages may come before, during and after its calls; each is announced."""

    def ping(self: wasmos.Service, caller: wasmos.Caller, value: int) -> int:
        caller.notify(self, abi.TaskDestroyed(value))
        return value

    server = kernel.serve(service(ping=ping))
    client = kernel.client()
    mail: list[tuple[int, abi.Message] | None] = []
    client.on_mail = lambda: mail.append(client.receive())
    assert kernel.notify(server.id, client.id, abi.TaskDestroyed(1))
    assert client.call("s", abi.Ping(2)) == abi.PingReply(2)
    assert client.call("s", abi.Ping(3)) == abi.PingReply(3)
    assert kernel.notify(server.id, client.id, abi.TaskDestroyed(4))
    kernel.run()
    while (left := client.receive()) is not None:
        mail.append(left)
    assert mail == [(server.id, abi.TaskDestroyed(n)) for n in range(1, 5)]


def test_mail_during_a_call_to_a_guest_is_announced(kernel: wasmos.Kernel) -> None:
    body = wat.RECEIVE + wat.answer("#5") + f"(call $put #{M} #21 #6) (call $reply #3 #{M}) #0"
    kernel.spawn(program(body), service="s", trusted=True)
    client = kernel.client()
    mail: list[tuple[int, abi.Message] | None] = []
    client.on_mail = lambda: mail.append(client.receive())
    assert client.id == 3
    assert client.call("s", abi.Ping(2)) == abi.PingReply(5)
    kernel.run()
    assert mail == [(2, abi.TaskDestroyed(6))]


def test_a_short_message_shows_nothing_of_an_earlier_one(kernel: wasmos.Kernel) -> None:
    """Raw messages of undefined types are carried whole: the rest of the buffer is zeros."""
    seen = program(
        "(memory.fill #1024 #0xFF #1512)" + wat.RECEIVE
        + f"(call $put #{M} #10 (i32.load #{M + 1400})) (call $reply {wat.SRC} #{M}) #0"
    )  # fmt: skip
    kernel.serve(Everything())
    kernel.spawn(seen, service="raw", trusted=True)
    client = kernel.client()
    assert client.call("s", abi.Echo(b"secret" * 170)) == abi.EchoReply(b"secret" * 170)
    kernel.define_messages([], [])
    result = kernel.send(client.id, kernel.services["raw"], (5000).to_bytes(4, "little") + bytes(4))
    assert result is None or result == 0
    kernel.run(lambda: kernel.find(kernel.services.get("raw", 0)) is None)
    assert kernel.reply_of(client.id)[8:12] == bytes(4)


def test_a_notification_shorter_than_its_type_is_zeros(kernel: wasmos.Kernel) -> None:
    """And not whatever lies behind it in the kernel's memory."""
    server = kernel.serve(Everything())
    body = f"""(memory.fill #{M} #0xFF #1512) {wat.RECEIVE}
        {repeat(1504, f"(if (i32.load8_u offset={M + 8} (local.get $i)) (then (return #1)))")}"""
    task = kernel.spawn(program(body + "#0"), allow=["s"], trusted=True)
    kernel.step(1_000_000)
    short = (32).to_bytes(4, "little") + bytes(4)
    assert kernel._notify(server.id, task.id, short) == 0
    assert kernel.wait(task).code == 0


# --- definition -------------------------------------------------------------------------------


def test_signatures_are_checked(no_leaks: None) -> None:
    with pytest.raises(wasmos.UsageError, match=r"ping\(self, caller, number\) should be ping"):
        service(ping=lambda self, caller, number: 1)
    with pytest.raises(wasmos.UsageError, match="should be fs_close"):
        service(fs_close=lambda self, caller: None)
    with pytest.raises(wasmos.UsageError, match="plain method"):
        service(ping=5)


def test_methods_are_inherited(kernel: wasmos.Kernel) -> None:
    class Child(wat.Plus):
        def echo(self, caller: wasmos.Caller, data: bytes) -> bytes:
            return data[::-1]

    kernel.serve(Child(), name="s")
    assert kernel.call("s", abi.Ping(1)) == abi.PingReply(2)
    assert kernel.call("s", abi.Echo(b"ab")) == abi.EchoReply(b"ba")


def test_one_way_coroutines_are_refused(kernel: wasmos.Kernel) -> None:
    async def tcpip_data(self: object, caller: wasmos.Caller, sock: int) -> None:
        pass

    with pytest.raises(wasmos.UsageError, match="plain method"):
        kernel.serve(service(tcpip_data=tcpip_data))
    assert kernel.tasks == []


def test_a_service_without_a_name(kernel: wasmos.Kernel) -> None:
    with pytest.raises(wasmos.UsageError, match="no name"):
        kernel.serve(service("", ping=lambda self, caller, value: 1))


def test_a_service_that_handles_nothing(kernel: wasmos.Kernel) -> None:
    """It may still send; but a method that is meant to be called and can't be is a mistake."""
    with pytest.raises(wasmos.UsageError, match="did you mean ping"):
        service(pnig=lambda self, caller, value: 1)
    with pytest.raises(wasmos.UsageError, match="instance"):
        kernel.serve(type(service()))  # type: ignore[arg-type]
    assert kernel.tasks == []
    assert kernel.serve(service()).services == ["s"]


def test_hooks_of_a_service(kernel: wasmos.Kernel) -> None:
    said: list[object] = []

    class Hooked(wat.Plus):
        name = "hooked"

        def started(self) -> None:
            said.append(("started", self.task, self.kernel is kernel))

        def stopped(self) -> None:
            said.append("stopped")

        def task_ended(self, task: int) -> None:
            said.append(task)

    task = kernel.serve(Hooked())
    other = kernel.spawn(program("#0"), trusted=True)
    kernel.wait(other)
    task.kill()
    assert said == [("started", task.id, True), other.id, "stopped"]


def test_nothing_is_logged_when_all_is_well(
    kernel: wasmos.Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    kernel.serve(ping(1))
    kernel.call("s", abi.Ping(1))
    assert caplog.records == []
