"""Guests read, or wait for input: each of them gets what is its own, and nothing is lost."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import pty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from unittest import mock

import pytest

import wasmos
from tests.servers.console.callers import (
    Reading,
    Taking,
    code,
    mail,
    nothing,
    poll,
    read,
    settle,
    take,
)
from tests.support.wat import program
from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.servers.console import Console
from wasmos.servers.pong import Pong

# --- input ---------------------------------------------------------------------------------------


def test_no_input_is_the_end(kernel: wasmos.Kernel) -> None:
    kernel.serve(Console(io.BytesIO()))
    assert code(read, kernel.client()) == ErrorCode.EOF


def test_read_from_memory(kernel: wasmos.Kernel) -> None:
    kernel.serve(Console(io.BytesIO(), io.BytesIO(b"hello" + bytes(3000))))
    client = kernel.client()
    assert read(client, 0) == b""
    assert read(client, 2) == b"he"
    assert read(client, 3) == b"llo"
    assert read(client, 2**32 - 1) == bytes(1024)
    assert read(client) + read(client) == bytes(3000 - 1024)
    assert code(read, client) == ErrorCode.EOF
    assert code(read, client) == ErrorCode.EOF
    assert read(client, 0) == b""


def test_read_from_a_file(kernel: wasmos.Kernel, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"from a file")
    with (tmp_path / "input").open("rb") as source:
        kernel.serve(Console(io.BytesIO(), source))
        client = kernel.client()
        assert read(client, 4) == b"from"
        assert read(client) == b" a file"
        assert code(read, client) == ErrorCode.EOF


def test_read_from_nothing(kernel: wasmos.Kernel) -> None:
    with open(os.devnull, "rb") as source:
        kernel.serve(Console(io.BytesIO(), source))
        assert code(read, kernel.client()) == ErrorCode.EOF


def test_read_what_has_arrived(kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO]) -> None:
    source, sink = pipe
    kernel.serve(Console(io.BytesIO(), source))
    client = kernel.client()
    sink.write(b"one line\n")
    assert read(client) == b"one line\n"
    sink.write(b"x" * 1030)
    assert read(client) == b"x" * 1024
    sink.close()
    assert read(client) == b"x" * 6
    assert code(read, client) == ErrorCode.EOF


def test_others_go_on_while_one_reads(
    kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    source, sink = pipe
    kernel.serve(Pong())
    kernel.serve(Console(io.BytesIO(), source))
    reading = Reading(kernel)
    assert kernel.call("pong", abi.Ping(1)).value == 42
    assert not reading.done
    sink.write(b"at last")
    assert reading.finish() == b"at last"


def test_readers_take_turns(kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO]) -> None:
    source, sink = pipe
    kernel.serve(Pong())
    kernel.serve(Console(io.BytesIO(), source))
    readings = [Reading(kernel, 2) for _ in range(4)]
    sink.write(b"aabbccdd")
    assert [reading.finish() for reading in readings] == [b"aa", b"bb", b"cc", b"dd"]


@pytest.mark.parametrize("who", [0, 1, 2])
def test_a_reader_that_ends_takes_nothing(
    kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO], who: int
) -> None:
    source, sink = pipe
    kernel.serve(Pong())
    kernel.serve(Console(io.BytesIO(), source))
    readings = [Reading(kernel, 2) for _ in range(3)]
    readings.pop(who).client.kill()
    sink.write(b"aabb")
    assert [reading.finish() for reading in readings] == [b"aa", b"bb"]


def test_a_reader_that_ends_when_its_data_arrives(
    kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    """Killed at every turn of the loop between the arrival and the answer: the next one gets
    what it would have got."""
    source, sink = pipe
    kernel.serve(Pong())
    console = Console(io.BytesIO(), source)
    kernel.serve(console)
    for turns in range(8):
        doomed, other = Reading(kernel), Reading(kernel)
        sink.write(b"precious")
        for _ in range(turns):
            kernel.loop.run_until_complete(nothing())
        was_read = doomed.done or doomed.client.account()["state"] == "idle"
        doomed.client.kill()
        if was_read:
            other.client.kill()
        else:
            assert other.finish() == b"precious"
        settle(kernel)
        assert console._undelivered == {}
    assert was_read


def test_input_that_breaks_is_an_error(kernel: wasmos.Kernel) -> None:
    leader, follower = pty.openpty()
    os.close(follower)
    with open(leader, "rb", buffering=0) as source:  # nobody is at the other end
        kernel.serve(Console(io.BytesIO(), source))
        assert code(read, kernel.client()) == ErrorCode.UNEXPECTED


# --- input of any length -------------------------------------------------------------------------


def test_take_without_input_is_the_end(kernel: wasmos.Kernel) -> None:
    kernel.serve(Console(io.BytesIO()))
    client = kernel.client()
    assert poll(client)
    assert take(client, 10) == b""


def pieces() -> Iterator[bytes]:
    yield from (b"he", b"", b"llo ", b"world" * 20_000)


@pytest.mark.parametrize(
    "source",
    [
        b"hello " + b"world" * 20_000,
        bytearray(b"hello " + b"world" * 20_000),
        io.BytesIO(b"hello " + b"world" * 20_000),
        pieces(),
        [b"hello ", b"world" * 20_000],
        iter([b"hello ", b"world" * 20_000]).__next__,
    ],
    ids=["bytes", "bytearray", "stream", "generator", "list", "function"],
)
def test_take_from_memory(kernel: wasmos.Kernel, source: Any) -> None:
    kernel.serve(Console(io.BytesIO(), _ended(source)))
    client = kernel.client()
    assert poll(client)
    assert take(client, 0) == b""
    found = take(client, 3)
    assert b"hello".startswith(found)
    while data := take(client, 70_000):
        found += data
    assert found == b"hello " + b"world" * 20_000
    assert take(client, 3) == b""
    assert poll(client)


def _ended(source: Any) -> Any:
    """A function that says at the end that it is the end."""
    if not callable(source):
        return source

    def piece() -> bytes:
        try:
            found: bytes = source()
        except StopIteration:
            return b""
        return found

    return piece


def test_what_gives_no_bytes_is_no_input() -> None:
    for source in ("text", 7):
        with pytest.raises(wasmos.UsageError, match="an input is"):
            Console(io.BytesIO(), source)  # type: ignore[arg-type]


def test_take_from_a_file(kernel: wasmos.Kernel, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"x" * 200_000)
    with (tmp_path / "in").open("rb") as source:
        kernel.serve(Console(io.BytesIO(), source))
        client = kernel.client()
        assert poll(client)
        size = 0
        while data := take(client, 100_000):
            size += len(data)
        assert size == 200_000


def test_takers_and_readers_take_turns(
    kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    source, sink = pipe
    kernel.serve(Pong())
    kernel.serve(Console(io.BytesIO(), source))
    takings = [Taking(kernel, 2), Reading(kernel, 2), Taking(kernel, 2)]
    assert not any(each.done for each in takings)
    sink.write(b"aabbcc")
    assert [each.finish() for each in takings] == [b"aa", b"bb", b"cc"]
    taking = Taking(kernel)
    sink.close()
    assert taking.finish() == b""


def test_a_taker_that_ends_when_its_data_arrives(
    kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    source, sink = pipe
    kernel.serve(Pong())
    console = Console(io.BytesIO(), source)
    kernel.serve(console)
    for turns in range(8):
        doomed, other = Taking(kernel), Taking(kernel)
        sink.write(b"precious")
        for _ in range(turns):
            kernel.loop.run_until_complete(nothing())
        was_taken = doomed.done or doomed.client.account()["state"] == "idle"
        doomed.client.kill()
        if was_taken:
            other.client.kill()
        else:
            assert other.finish() == b"precious"
        settle(kernel)
        assert console._undelivered == {}
    assert was_taken


@pytest.mark.parametrize("forbid", [wasmos.Kernel.revoke, wasmos.Kernel.deny])
def test_a_taker_whose_right_is_gone_when_its_data_arrives(
    kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO], forbid: Callable[..., object]
) -> None:
    """Also when the bytes were taken for it, and it hasn't heard of them yet."""
    source, sink = pipe
    kernel.serve(Pong())
    console = Console(io.BytesIO(), source)
    kernel.serve(console)
    were_taken = 0
    for turns in range(8):
        doomed, other = Taking(kernel), Taking(kernel)
        sink.write(b"precious")
        for _ in range(turns):
            kernel.loop.run_until_complete(nothing())
        were_taken += bool(console._undelivered)
        forbid(kernel, doomed.client, "*")
        settle(kernel)
        try:
            assert doomed.finish() == b"precious"
            other.client.kill()
        except wasmos.CapabilityDenied:
            assert other.finish() == b"precious"
        settle(kernel)
        assert console._undelivered == {}
    assert were_taken


def test_take_what_breaks_is_an_error(kernel: wasmos.Kernel) -> None:
    leader, follower = pty.openpty()
    os.close(follower)
    with open(leader, "rb", buffering=0) as source:
        kernel.serve(Console(io.BytesIO(), source))
        client = kernel.client()
        assert poll(client)
        assert code(take, client, 1) == ErrorCode.IO_ERROR


# --- waiting for input ---------------------------------------------------------------------------


def test_who_polls_is_told(kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO]) -> None:
    source, sink = pipe
    kernel.serve(Pong())
    kernel.serve(Console(io.BytesIO(), source))
    one, two = kernel.client(), kernel.client()
    assert [poll(client) for client in (one, one, two)] == [False] * 3
    assert mail(kernel, one) == []
    sink.write(b"xy")
    assert mail(kernel, one) == mail(kernel, two) == ["console_ready"]
    assert poll(one)
    assert take(one, 2) == b"xy"
    assert not poll(two)
    assert mail(kernel, one) == []
    sink.close()
    assert mail(kernel, two) == ["console_ready"]
    assert mail(kernel, one) == []
    assert poll(two)
    assert take(two, 1) == b""


def test_a_guest_waits_for_input(
    real_kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    """Nobody is stuck while the console watches for input."""
    source, sink = pipe
    real_kernel.serve(Console(io.BytesIO(), source))
    guest = program(
        f"(i32.store #1024 #{abi.ConsolePoll.TYPE}) (drop (call $call @console #1024))"
        "(drop (call $recv #0 #1024)) (i32.load #1024)"
    )
    task = real_kernel.spawn(guest, allow=["console"], trusted=True)
    real_kernel.run(lambda: task.account()["state"] == "receiving")
    sink.write(b"x")
    assert real_kernel.wait(task, timeout=30).code == abi.ConsoleReady.TYPE


def test_who_polls_is_told_as_long_as_it_has_the_right_it_polled_by(
    kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    source, sink = pipe
    kernel.serve(Pong())
    kernel.serve(Console(io.BytesIO(), source))
    rules = ["console.put", "console.take"]
    one, two = kernel.client("one", allow=rules), kernel.client("two", allow=rules)
    assert not poll(one) and not poll(two)
    one.grants[1].revoke()
    sink.write(b"x")
    assert mail(kernel, two) == ["console_ready"]
    assert mail(kernel, one) == []


def test_who_polls_by_its_last_use_is_told(
    kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    source, sink = pipe
    kernel.serve(Pong())
    kernel.serve(Console(io.BytesIO(), source))
    rules = ["console.put", "console.poll once"]
    one, two = kernel.client("one", allow=rules), kernel.client("two", allow=rules)
    once = two.grants[1]
    assert not poll(one) and not poll(two)
    kernel.revoke(once)
    sink.write(b"x")
    assert mail(kernel, one) == ["console_ready"]
    assert mail(kernel, two) == []


def test_a_poller_that_ends_is_forgotten(
    kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    """And with the last of them the watch, or the kernel would wait for it for ever."""
    source, _ = pipe
    console = Console(io.BytesIO(), source)
    kernel.serve(console)
    one, two = kernel.client(), kernel.client()
    assert not poll(one) and not poll(two)
    one.kill()
    assert console._watch is not None
    two.kill()
    assert kernel.run()
    assert console._watch is None and console._pollers == {}


def test_two_kernels_in_one_loop_wait_for_one_stream(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    """A loop knows of one who waits for a number."""
    source, sink = pipe

    async def use() -> list[bytes]:
        async with wasmos.AsyncKernel() as one, wasmos.AsyncKernel() as other:
            reads = []
            for kernel in (one, other):
                kernel.serve(Console(io.BytesIO(), source))
                reads.append(asyncio.ensure_future(kernel.call("console", abi.ConsoleRead(3))))
                while not kernel.sync.waits_for_outside():
                    await asyncio.sleep(0)
                await asyncio.sleep(0)
            async with asyncio.timeout(30):
                sink.write(b"abc")
                await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
                sink.write(b"def")
                return [(await each).data for each in reads]

    assert sorted(asyncio.run(use())) == [b"abc", b"def"]


def test_input_that_cant_be_waited_for_for_want_of_descriptors(
    kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an error of whoever reads: to read all the same would hold up everybody."""
    source, sink = pipe
    kernel.serve(Pong())
    kernel.serve(Console(io.BytesIO(), source))
    poller, client = kernel.client(), kernel.client()
    with monkeypatch.context() as patch:
        patch.setattr(os, "dup", mock.Mock(side_effect=OSError(errno.EMFILE, "too many")))
        assert code(take, client, 1) == ErrorCode.IO_ERROR
        assert not poll(poller)
        assert mail(kernel, poller) == ["console_ready"]
    sink.write(b"x")
    assert take(client, 1) == b"x"


def test_who_polls_when_the_last_poller_has_just_ended(
    kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    """The watch that was for that one hasn't even begun."""
    source, sink = pipe
    kernel.serve(Pong())
    console = Console(io.BytesIO(), source)
    kernel.serve(console)
    one, two = kernel.client(), kernel.client()
    assert not poll(one)
    one.kill()
    assert not poll(two)
    settle(kernel)
    sink.write(b"x")
    assert mail(kernel, two) == ["console_ready"]
    assert console._watch is None


def test_polling_while_another_one_takes(
    kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    """It is somebody else's turn first."""
    source, sink = pipe
    kernel.serve(Pong())
    kernel.serve(Console(io.BytesIO(), source))
    taking, poller = Taking(kernel), kernel.client()
    assert not poll(poller)
    sink.write(b"first")
    assert taking.finish() == b"first"
    mail(kernel, poller)
    assert not poll(poller)


def test_a_full_mailbox_is_told_later(
    kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    source, sink = pipe
    kernel.serve(Pong())
    console = Console(io.BytesIO(), source)
    kernel.serve(console)
    client = kernel.client()
    assert not poll(client)
    while kernel.notify(console.task, client.id, abi.ConsoleReady()):
        pass
    sink.write(b"x")
    assert len(mail(kernel, client)) == 256
    assert mail(kernel, client) == ["console_ready"]
    assert mail(kernel, client) == []
