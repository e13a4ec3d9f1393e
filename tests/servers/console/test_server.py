"""Guests print and read: nothing is lost, mixed up, or beyond its limit."""

from __future__ import annotations

import io
import os
import pty
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

import wasmos
from tests.servers.segments import segment
from tests.support.wat import program
from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.servers.console import Console
from wasmos.servers.pong import Pong


def write(client: wasmos.Client, data: bytes) -> int:
    written: int = client.call("console", abi.ConsoleWrite(data)).written_len
    return written


def read(client: wasmos.Client, length: int = 1024) -> bytes:
    data: bytes = client.call("console", abi.ConsoleRead(length)).data
    return data


def code(call: Any, *arguments: object) -> int:
    with pytest.raises(wasmos.ServiceError) as refused:
        call(*arguments)
    return refused.value.code


class Reading:
    """A read that has begun."""

    def __init__(self, kernel: wasmos.Kernel, length: int = 1024) -> None:
        self.kernel = kernel
        self.client = kernel.client()
        self.done = False
        self.client.begin("console", abi.ConsoleRead(length), self._over)
        # Let it get as far as it can.
        settle(kernel)

    def _over(self) -> None:
        self.done = True

    def finish(self) -> bytes:
        self.kernel.run(lambda: self.done)
        data: bytes = self.client.finish().data
        return data


def settle(kernel: wasmos.Kernel) -> None:
    """Everything happens that can happen by now."""
    for _ in range(5):
        kernel.call("pong", abi.Ping(0))
        kernel.loop.run_until_complete(nothing())


async def nothing() -> None:
    return


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """What is written to the second comes out of the first."""
    reader, writer = os.pipe()
    with open(reader, "rb") as source, open(writer, "wb", buffering=0) as sink:
        yield source, sink


# --- output -----------------------------------------------------------------------------------


def test_write(kernel: wasmos.Kernel) -> None:
    output = io.BytesIO()
    kernel.serve(Console(output))
    client = kernel.client()
    assert write(client, b"hello ") == 6
    assert write(client, b"") == 0
    assert write(client, b"world\x1b\xff\n") == 8
    assert output.getvalue() == b"hello world\x1b\xff\n"


def test_a_guest_prints(kernel: wasmos.Kernel) -> None:
    output = io.BytesIO()
    kernel.serve(Console(output))
    guest = program(
        "(drop (call $call @console #2048)) (i32.load #2056)",
        fields=segment(2048, abi.ConsoleWrite(b"hello\n")),
    )
    assert kernel.wait(kernel.spawn(guest, allow=["console"], trusted=True)).code == 6
    assert output.getvalue() == b"hello\n"


def test_write_goes_to_standard_output(
    kernel: wasmos.Kernel, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    with open(os.dup(1), "wb") as output:
        kernel.serve(Console(output))
        write(kernel.client(), b"now")
        assert capfdbinary.readouterr().out == b"now"  # and not only when it is closed


def test_standard_output_is_the_default(
    kernel: wasmos.Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, write_through=True))
    kernel.serve(Console())
    write(kernel.client(), b"\x1b")
    assert output.getvalue() == b"\x1b"


def test_a_terminal_gets_no_commands(kernel: wasmos.Kernel) -> None:
    output = io.BytesIO()
    kernel.serve(Console(output, terminal=True))
    assert write(kernel.client(), b"a\x1b[2J\n") == 6
    assert output.getvalue() == b"a^[[2J\n"


def test_two_guests_together_make_no_command(kernel: wasmos.Kernel) -> None:
    output = io.BytesIO()
    kernel.serve(Console(output, terminal=True))
    one, two = kernel.client(), kernel.client()
    assert write(one, b"\xc2") == 1
    write(two, b"\x9b2J")
    assert output.getvalue() == "�2J".encode()
    write(one, b"\xa9")
    assert output.getvalue() == "�2J©".encode()


def test_a_real_terminal_is_noticed(kernel: wasmos.Kernel) -> None:
    leader, follower = pty.openpty()
    with open(leader, "rb", buffering=0) as screen, open(follower, "wb", buffering=0) as output:
        kernel.serve(Console(output))
        write(kernel.client(), b"\x1b[2J")
        assert screen.read(5) == b"^[[2J"


def test_output_is_limited_by_task(kernel: wasmos.Kernel) -> None:
    output = io.BytesIO()
    cut: list[int] = []
    console = Console(output, output_limit=10, on_cut=cut.append)
    kernel.serve(console)
    one, two = kernel.client(), kernel.client()
    assert write(one, b"12345678") == 8
    assert write(one, b"90abc") == 2
    assert cut == [one.id]
    assert code(write, one, b"x") == ErrorCode.NO_RESOURCES
    assert write(one, b"") == 0
    assert cut == [one.id]  # once
    assert write(two, b"two") == 3
    assert output.getvalue() == b"1234567890two"
    one.kill()
    assert console._written == {two.id: 3} and not console._cut


def test_a_broken_pipe_is_an_error(kernel: wasmos.Kernel) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb", buffering=0) as output:
        kernel.serve(Console(output))
        client = kernel.client()
        for _ in range(3):
            assert code(write, client, b"x") == ErrorCode.UNEXPECTED


def test_a_closed_stream_is_an_error(kernel: wasmos.Kernel) -> None:
    output = io.BytesIO()
    kernel.serve(Console(output))
    output.close()
    assert code(write, kernel.client(), b"x") == ErrorCode.UNEXPECTED


@pytest.mark.parametrize("buffering", [0, 16, 8192])
def test_a_full_pipe_that_does_not_block(
    kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO], buffering: int
) -> None:
    """Then the guest is told to try again, and what was taken arrives once and whole."""
    source, sink = pipe
    os.set_blocking(sink.fileno(), False)
    os.set_blocking(source.fileno(), False)
    with open(os.dup(sink.fileno()), "wb", buffering=buffering) as output:
        kernel.serve(Console(output))
        client = kernel.client()
        sent = bytearray()
        received = bytearray()
        full = 0
        for number in range(300):
            piece = number.to_bytes(2, "big") * 512
            try:
                sent += piece[: write(client, piece)]
            except wasmos.ServiceError as error:
                assert error.code == ErrorCode.TRY_AGAIN
                full += 1
                received += drain(source)
        assert full
        received += drain(source)
        write(client, b"")
        kernel.kill(kernel.service_id("console"))
        received += drain(source)
        output.flush()
        received += drain(source)
    assert received == sent


def drain(source: BinaryIO) -> bytes:
    found = bytearray()
    try:
        while data := os.read(source.fileno(), 1 << 16):
            found += data
    except BlockingIOError:
        pass
    return bytes(found)


# --- input ------------------------------------------------------------------------------------


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


def test_a_terminal_is_read_by_lines(kernel: wasmos.Kernel) -> None:
    leader, follower = pty.openpty()
    with open(leader, "wb", buffering=0) as keyboard, open(follower, "rb") as source:
        kernel.serve(Pong())
        kernel.serve(Console(io.BytesIO(), source))
        reading = Reading(kernel)
        keyboard.write(b"half a ")
        settle(kernel)
        assert not reading.done
        keyboard.write(b"line\n")
        assert reading.finish() == b"half a line\n"
        reading = Reading(kernel)
        keyboard.write(b"\x04")
        with pytest.raises(wasmos.ServiceError) as ended:
            reading.finish()
        assert ended.value.code == ErrorCode.EOF


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
