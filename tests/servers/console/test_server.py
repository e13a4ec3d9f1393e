"""Guests print and read: nothing is lost, mixed up, or beyond its limit."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import pty
import resource
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from unittest import mock

import pytest

import wasmos
from tests.servers.segments import segment
from tests.support.wat import program
from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.servers.console import Console
from wasmos.servers.console.server import PUT_BYTES
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


# --- output of any length ------------------------------------------------------------------------


def put(client: wasmos.Client, data: bytes, stream: int = 1) -> int:
    return int(client.call("console", abi.ConsolePut(stream, data)).len)


def test_put_goes_on_whole(kernel: wasmos.Kernel, tmp_path: Path) -> None:
    big = os.urandom(1 << 20)
    with (tmp_path / "out").open("wb") as output:
        kernel.serve(Console(output))
        client = kernel.client()
        assert put(client, big) == len(big)
        for size in (0, 1, 1023, 1024, 1025):
            assert put(client, big[:size]) == size
        assert (tmp_path / "out").read_bytes() == big + b"".join(
            big[:size] for size in (1, 1023, 1024, 1025)
        )


@pytest.mark.parametrize("limit", [None, 100 << 20])
@pytest.mark.parametrize("sort", ["file", "memory", "function", "terminal"])
def test_one_put_is_only_so_long(
    kernel: wasmos.Kernel, tmp_path: Path, sort: str, limit: int | None
) -> None:
    """Nobody else runs while a file takes what it is given: a gigabyte, if we let it."""
    pieces: list[int] = []
    with (tmp_path / "out").open("wb") as file:
        outputs = {"file": file, "memory": io.BytesIO(), "terminal": io.BytesIO()}
        output = outputs.get(sort, lambda data: pieces.append(len(data)))
        terminal = sort == "terminal" or None
        kernel.serve(Console(output, terminal=terminal, output_limit=limit))
        client = kernel.client()
        whole = bytes(PUT_BYTES + 1)
        for _ in range(2):  # at first, and when its way is known
            assert put(client, whole) == PUT_BYTES
        assert max(pieces, default=0) <= PUT_BYTES


def test_a_guest_puts(kernel: wasmos.Kernel) -> None:
    """Memory that it lends is the memory that is written, whatever its size."""
    output = io.BytesIO()
    kernel.serve(Console(output))
    for size in (5, 5000):
        guest = program(
            f"(i32.store #1024 #{abi.ConsolePut.TYPE}) (i32.store #1032 #2)"
            f"(i32.store #1036 #32768) (i32.store #1040 #{size})"
            "(drop (call $call @console #1024)) (i32.load #1032)",
            fields='(data (i32.const 32768) "hello")',
        )
        assert kernel.wait(kernel.spawn(guest, allow=["console"], trusted=True)).code == size
    assert output.getvalue() == b"hello" + b"hello" + bytes(4995)


def test_two_streams(kernel: wasmos.Kernel) -> None:
    output, errors = io.BytesIO(), io.BytesIO()
    kernel.serve(Console(output, errors=errors))
    client = kernel.client()
    for _ in range(2):
        assert put(client, b"out ") == 4
        assert put(client, b"err ", 2) == 4
    write(client, b"old")
    assert (output.getvalue(), errors.getvalue()) == (b"out out old", b"err err ")
    for stream in (0, 3, -1):
        assert code(put, client, b"x", stream) == ErrorCode.INVALID_ARG


def test_errors_go_where_output_does(kernel: wasmos.Kernel) -> None:
    output = io.BytesIO()
    kernel.serve(Console(output))
    client = kernel.client()
    put(client, b"one ")
    put(client, b"two ", 2)
    put(client, b"three")
    assert output.getvalue() == b"one two three"


def test_standard_errors_are_the_default_beside_standard_output(
    kernel: wasmos.Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, errors = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(errors))
    kernel.serve(Console())
    put(kernel.client(), b"oh", 2)
    assert (output.getvalue(), errors.getvalue()) == (b"", b"oh")


def test_what_the_host_has_printed_comes_first(
    kernel: wasmos.Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first bytes, and again when a task has ended: then the host may have gone on."""
    with (tmp_path / "out").open("w") as text:
        monkeypatch.setattr(sys, "stdout", text)
        kernel.serve(Console())
        client = kernel.client()
        text.write("host ")
        put(client, b"guest ")
        put(client, b"guest ")
        client.kill()
        text.write("host ")
        put(kernel.client(), b"guest")
        assert (tmp_path / "out").read_text() == "host guest guest host guest"


def test_put_to_a_function(kernel: wasmos.Kernel) -> None:
    got: list[bytes] = []
    kernel.serve(Console(got.append))
    client = kernel.client()
    assert put(client, b"hello") == 5
    assert put(client, b"") == 0
    assert write(client, b"there") == 5
    assert got == [b"hello", b"there"]


def test_put_to_anything_that_writes(kernel: wasmos.Kernel) -> None:
    lines: list[bytes] = []

    class Log:
        def write(self, data: bytes) -> None:  # as many do, it says nothing
            lines.append(data)

    kernel.serve(Console(Log()))
    client = kernel.client()
    assert put(client, b"hello") == 5
    assert write(client, b"there") == 5
    assert write(client, b"!") == 1
    assert lines == [b"hello", b"there", b"!"]


def test_what_takes_no_bytes_is_no_output() -> None:
    with pytest.raises(wasmos.UsageError, match="binary stream"):
        Console(7)


def test_put_to_a_terminal_has_no_commands(kernel: wasmos.Kernel) -> None:
    output = io.BytesIO()
    kernel.serve(Console(output, terminal=True))
    client = kernel.client()
    data = b"\x1b" * 10_000 + "é".encode()
    assert put(client, data) == len(data)
    assert put(client, b"\xc2") == 1
    assert put(client, b"\x9b", 2) == 1  # the other half, on another stream
    assert output.getvalue() == b"^[" * 10_000 + "é�".encode()


def test_a_real_terminal_is_noticed_by_stream(kernel: wasmos.Kernel, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    with (
        open(leader, "rb", buffering=0) as screen,
        open(follower, "wb", buffering=0) as errors,
        open(os.dup(follower), "rb") as source,
        (tmp_path / "out").open("wb") as output,
    ):
        kernel.serve(Console(output, source, errors=errors))
        client = kernel.client()
        assert client.call("console", abi.ConsoleTerminals()).bits == 0b101
        put(client, b"\x1b[2J", 2)
        put(client, b"\x1b[2J", 1)
        assert screen.read(5) == b"^[[2J"
        assert (tmp_path / "out").read_bytes() == b"\x1b[2J"


def test_a_terminal_that_is_to_get_all(
    kernel: wasmos.Kernel, terminal: tuple[BinaryIO, BinaryIO]
) -> None:
    screen, output = terminal
    kernel.serve(Console(output, terminal=False))
    client = kernel.client()
    assert client.call("console", abi.ConsoleTerminals()).bits == 0b110
    assert put(client, b"\x1b[31m") == 5
    assert write(client, b"\x1b[2J") == 4
    assert drain(screen) == b"\x1b[31m\x1b[2J"


def test_terminals_by_hand(kernel: wasmos.Kernel) -> None:
    kernel.serve(Console(io.BytesIO(), b"", terminal=True))
    assert kernel.call("console", abi.ConsoleTerminals()).bits == 0b110


def test_both_streams_and_both_messages_are_limited_together(kernel: wasmos.Kernel) -> None:
    output, errors = io.BytesIO(), io.BytesIO()
    console = Console(output, errors=errors, output_limit=10)
    kernel.serve(console)
    one, two = kernel.client(), kernel.client()
    assert put(one, b"123") == 3
    assert put(one, b"45", 2) == 2
    assert write(one, b"67") == 2
    assert put(one, b"890ab", 2) == 3
    for stream in (1, 2):
        assert code(put, one, b"x", stream) == ErrorCode.NO_RESOURCES
        assert put(one, b"", stream) == 0
    assert code(write, one, b"x") == ErrorCode.NO_RESOURCES
    assert put(two, b"!") == 1
    assert (output.getvalue(), errors.getvalue()) == (b"12367!", b"45890")
    one.kill()
    assert console._written == {two.id: 1}


@pytest.mark.parametrize("buffering", [0, 8192])
def test_put_to_nobody(kernel: wasmos.Kernel, buffering: int) -> None:
    reader, writer = os.pipe()
    with open(writer, "wb", buffering=buffering) as output:
        kernel.serve(Console(output))
        client = kernel.client()
        assert put(client, b"x") == 1
        os.close(reader)
        for _ in range(3):
            assert code(put, client, b"x") == ErrorCode.BROKEN_PIPE


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_put_to_what_the_host_has_closed(kernel: wasmos.Kernel, kind: str) -> None:
    """It is not written to whatever has the descriptor's number by then."""
    output = io.BytesIO() if kind == "memory" else open(os.devnull, "wb")  # noqa: SIM115
    kernel.serve(Console(output))
    client = kernel.client()
    assert put(client, b"x") == 1
    output.close()
    assert code(put, client, b"x") == ErrorCode.BROKEN_PIPE


def test_put_to_a_full_disk(kernel: wasmos.Kernel) -> None:
    with open("/dev/full", "wb", buffering=0) as output:
        kernel.serve(Console(output))
        assert code(put, kernel.client(), b"x") == ErrorCode.NO_SPACE


class Printing:
    """A `console_put` that has begun, or a `console_write`."""

    def __init__(self, kernel: wasmos.Kernel, data: bytes, *, older: bool = False) -> None:
        self.kernel = kernel
        self.client = kernel.client()
        self.done = False
        message = abi.ConsoleWrite(data) if older else abi.ConsolePut(1, data)
        self.client.begin("console", message, self._over)
        settle(kernel)

    def _over(self) -> None:
        self.done = True

    def finish(self) -> int:
        self.kernel.run(lambda: self.done)
        answer = self.client.finish()
        return int(answer.written_len if isinstance(answer, abi.ConsoleWriteReply) else answer.len)


@pytest.mark.parametrize("buffering", [0, 16, 8192])
def test_a_full_pipe_that_does_not_block(
    kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO], buffering: int
) -> None:
    """What was taken arrives once and whole."""
    source, sink = pipe
    os.set_blocking(sink.fileno(), False)
    os.set_blocking(source.fileno(), False)
    kernel.serve(Pong())
    with open(os.dup(sink.fileno()), "wb", buffering=buffering) as output:
        kernel.serve(Console(output))
        sent = bytearray()
        received = bytearray()
        full = 0
        for number in range(100):
            piece = number.to_bytes(2, "big") * 512
            printing = Printing(kernel, piece, older=True)
            if not printing.done:
                full += 1
                received += drain(source)
            assert printing.finish() == len(piece)
            sent += piece
        assert full
        received += drain(source)
    assert received == sent


@pytest.fixture
def full_pipe(pipe: tuple[BinaryIO, BinaryIO]) -> tuple[BinaryIO, BinaryIO]:
    """One that doesn't block, and has no room."""
    source, sink = pipe
    os.set_blocking(source.fileno(), False)
    os.set_blocking(sink.fileno(), False)
    while sink.write(bytes(1 << 16)) is not None:
        pass
    while sink.write(b"\0") is not None:
        pass
    return source, sink


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("older", [False, True])
def test_a_slow_reader_holds_up_its_writers_only(
    kernel: wasmos.Kernel, full_pipe: tuple[BinaryIO, BinaryIO], terminal: bool, older: bool
) -> None:
    source, sink = full_pipe
    kernel.serve(Pong())
    kernel.serve(Console(sink, terminal=terminal))
    one, two = Printing(kernel, b"one ", older=older), Printing(kernel, b"two ")
    assert kernel.call("pong", abi.Ping(1)).value == 42
    assert not one.done and not two.done
    drain(source)
    assert (one.finish(), two.finish()) == (4, 4)
    assert put(kernel.client(), b"three") == 5
    assert drain(source) == b"one two three"


@pytest.mark.parametrize("asks", ["by a flag", "by an unknown flag", "before"])
@pytest.mark.parametrize("older", [False, True])
def test_a_pipe_that_blocks_holds_up_its_writers_only(
    kernel: wasmos.Kernel,
    full_pipe: tuple[BinaryIO, BinaryIO],
    monkeypatch: pytest.MonkeyPatch,
    asks: str,
    older: bool,
) -> None:
    """And stays as it is: others have it, too."""
    if asks == "before":
        monkeypatch.delattr(os, "RWF_NOWAIT", raising=False)
    elif asks == "by an unknown flag":
        monkeypatch.setattr(os, "RWF_NOWAIT", 1 << 30, raising=False)
    source, sink = full_pipe
    os.set_blocking(sink.fileno(), True)
    kernel.serve(Pong())
    kernel.serve(Console(sink))
    one, two = Printing(kernel, b"one "), Printing(kernel, b"two ", older=older)
    assert kernel.call("pong", abi.Ping(1)).value == 42
    assert not one.done and not two.done
    drain(source)
    assert (one.finish(), two.finish()) == (4, 4)
    long = put(kernel.client(), bytes(1 << 20))
    assert len(drain(source)) == 8 + long
    assert os.get_blocking(sink.fileno())


@pytest.fixture
def terminal() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """What its reader sees comes out of the first; programs print to the second."""
    leader, follower = pty.openpty()
    os.set_blocking(leader, False)
    with open(leader, "rb", buffering=0) as screen, open(follower, "wb", buffering=0) as output:
        yield screen, output


@pytest.mark.parametrize("older", [False, True])
def test_a_stopped_terminal_holds_up_its_writers_only(
    kernel: wasmos.Kernel, terminal: tuple[BinaryIO, BinaryIO], older: bool
) -> None:
    """As after Ctrl-S. It stays as it is: others have it, too."""
    screen, output = terminal
    kernel.serve(Pong())
    kernel.serve(Console(output))
    assert put(kernel.client(), b"before ") == 7
    termios.tcflow(output.fileno(), termios.TCOOFF)
    one, two = Printing(kernel, b"one ", older=older), Printing(kernel, b"two ")
    assert kernel.call("pong", abi.Ping(1)).value == 42
    assert not one.done and not two.done
    one.client.kill()
    termios.tcflow(output.fileno(), termios.TCOON)
    assert two.finish() == 4
    assert drain(screen) == b"before one two "
    assert os.get_blocking(output.fileno())


def test_a_terminal_that_nobody_reads(
    kernel: wasmos.Kernel, terminal: tuple[BinaryIO, BinaryIO]
) -> None:
    screen, output = terminal
    kernel.serve(Pong())
    kernel.serve(Console(output))
    printing = Printing(kernel, b"x" * 1_000_000)
    assert not printing.done
    received = drain(screen)
    while not printing.done:
        settle(kernel)
        received += drain(screen)
    assert received == b"x" * printing.finish()


@pytest.mark.parametrize("reopens", ["a name", "no name", "another one's name"])
def test_a_terminal_is_opened_by_its_name(
    kernel: wasmos.Kernel,
    terminal: tuple[BinaryIO, BinaryIO],
    monkeypatch: pytest.MonkeyPatch,
    reopens: str,
) -> None:
    """Without one, it is used as it is."""
    screen, output = terminal
    leader, other = pty.openpty()
    if reopens == "no name":
        monkeypatch.setattr(os, "ttyname", mock.Mock(side_effect=OSError))
    elif reopens == "another one's name":
        monkeypatch.setattr(os, "ttyname", mock.Mock(return_value=os.ttyname(other)))
    names = len(os.listdir("/dev/fd"))
    console = Console(output)
    kernel.serve(console)
    assert put(kernel.client(), b"hello") == 5
    assert drain(screen) == b"hello"
    assert len(os.listdir("/dev/fd")) == names + (reopens == "a name")
    kernel.kill(kernel.service_id("console"))
    assert len(os.listdir("/dev/fd")) == names
    os.close(leader)
    os.close(other)


def test_a_terminal_that_is_written_to_while_descriptors_are_short(
    kernel: wasmos.Kernel,
    terminal: tuple[BinaryIO, BinaryIO],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is opened as soon as it can be: until then, who stops it stops everybody."""
    screen, output = terminal
    kernel.serve(Pong())
    kernel.serve(Console(output))
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", mock.Mock(side_effect=OSError(errno.EMFILE, "too many")))
        assert put(kernel.client(), b"short ") == 6
    assert put(kernel.client(), b"before ") == 7
    termios.tcflow(output.fileno(), termios.TCOOFF)
    printing = Printing(kernel, b"after")
    assert not printing.done
    termios.tcflow(output.fileno(), termios.TCOON)
    assert printing.finish() == 5
    assert drain(screen) == b"short before after"


def test_a_descriptor_that_is_led_elsewhere(
    kernel: wasmos.Kernel, terminal: tuple[BinaryIO, BinaryIO]
) -> None:
    screen, output = terminal
    leader, other = pty.openpty()
    os.set_blocking(leader, False)
    with open(leader, "rb", buffering=0) as screen_of_other:
        kernel.serve(Console(output))
        assert put(kernel.client(), b"here") == 4
        assert drain(screen) == b"here"
        os.dup2(other, output.fileno())
        os.close(other)
        assert put(kernel.client(), b"there") == 5
        assert drain(screen_of_other) == b"there"


def test_a_writer_that_ends_while_it_waits_has_written_nothing(
    kernel: wasmos.Kernel, full_pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    source, sink = full_pipe
    kernel.serve(Pong())
    kernel.serve(Console(sink))
    for victim in (0, 1):
        puttings = [Printing(kernel, b"one "), Printing(kernel, b"two ")]
        puttings.pop(victim).client.kill()
        settle(kernel)
        drain(source)
        assert puttings[0].finish() == 4
        assert drain(source) == (b"two ", b"one ")[victim]
        while sink.write(bytes(1 << 16)) is not None:
            pass


def test_a_reader_that_leaves_a_writer_waiting(
    kernel: wasmos.Kernel, full_pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    source, sink = full_pipe
    kernel.serve(Pong())
    kernel.serve(Console(sink))
    putting = Printing(kernel, b"x")
    source.close()
    assert code(putting.finish) == ErrorCode.BROKEN_PIPE


def test_a_long_put_to_a_slow_reader(
    kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    """Parts are taken, each once, by two who write in turns."""
    source, sink = pipe
    os.set_blocking(source.fileno(), False)
    os.set_blocking(sink.fileno(), False)
    kernel.serve(Pong())
    console = Console(sink)
    kernel.serve(console)
    data = {name: name * 300_000 for name in (b"a", b"b")}
    taken = dict.fromkeys(data, 0)
    puttings: dict[bytes, Printing] = {}
    received = bytearray()
    while any(taken[name] < len(data[name]) for name in data):
        for name, whole in data.items():
            if name not in puttings and taken[name] < len(whole):
                puttings[name] = Printing(kernel, whole[taken[name] :])
            if name in puttings and puttings[name].done:
                taken[name] += puttings.pop(name).finish()
        received += drain(source)
        settle(kernel)
    received += drain(source)
    assert received.count(b"a") == received.count(b"b") == 300_000
    assert console._sinks[1].waiting == 0
    assert all(sink.unsent == b"" for sink in console._sinks.values())


def test_a_full_stream_that_cant_be_waited_for(kernel: wasmos.Kernel) -> None:
    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> None:
            return None

    kernel.serve(Console(Full()))
    assert code(put, kernel.client(), b"x") == ErrorCode.TRY_AGAIN


@pytest.mark.parametrize("send", [put, write])
def test_what_such_a_stream_takes_in_part_is_written_once(kernel: wasmos.Kernel, send: Any) -> None:
    class Narrow(io.RawIOBase):
        room = 2
        written = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int | None:  # type: ignore[override]
            taken = data[: self.room]
            self.room -= len(taken)
            self.written += taken
            return len(taken) or None

    output = Narrow()
    kernel.serve(Console(output, terminal=True))
    client = kernel.client()
    assert send(client, b"abc") == 3
    assert code(send, client, b"def") == ErrorCode.TRY_AGAIN
    output.room = 9
    assert send(client, b"def") == 3
    assert output.written == b"abcdef"


# --- input of any length -------------------------------------------------------------------------


def take(client: wasmos.Client, size: int) -> bytes:
    room = bytearray(size)
    taken: int = client.call("console", abi.ConsoleTake(room)).len
    return bytes(room[:taken])


def poll(client: wasmos.Client) -> bool:
    return bool(client.call("console", abi.ConsolePoll()).is_ready)


@pytest.mark.parametrize("answer", [None, True, False, -1, 1000, "text"])
def test_a_function_may_return_anything(kernel: wasmos.Kernel, answer: object) -> None:
    """Only what can be the size of a part is taken for one."""
    said: list[bytes] = []

    def output(data: bytes) -> object:
        said.append(data)
        return answer

    kernel.serve(Console(output))
    client = kernel.client()
    assert write(client, b"hello") == 5
    assert client.call("console", abi.ConsolePut(1, b" world")).len == 6
    assert said == [b"hello", b" world"]


def test_a_pipe_with_a_large_number_on_an_older_system(
    kernel: wasmos.Kernel, pipe: tuple[BinaryIO, BinaryIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One where writing can't be told not to wait. More than fit the bit sets of `select`."""
    source, sink = pipe
    monkeypatch.delattr(os, "RWF_NOWAIT", raising=False)
    number = 1_500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (2_048, hard))
    try:
        os.dup2(sink.fileno(), number)
        with open(number, "wb", buffering=0) as output:
            kernel.serve(Console(output))
            assert write(kernel.client(), b"hello") == 5
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert os.read(source.fileno(), 100) == b"hello"


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


class Taking(Reading):
    """A `console_take` that has begun."""

    def __init__(self, kernel: wasmos.Kernel, size: int = 1024) -> None:
        self.kernel = kernel
        self.client = kernel.client()
        self.done = False
        self.room = bytearray(size)
        self.client.begin("console", abi.ConsoleTake(self.room), self._over)
        settle(kernel)

    def finish(self) -> bytes:
        self.kernel.run(lambda: self.done)
        taken: int = self.client.finish().len
        return bytes(self.room[:taken])


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


def mail(kernel: wasmos.Kernel, client: wasmos.Client) -> list[str]:
    settle(kernel)
    found = []
    while (received := client.receive()) is not None:
        found.append(received[1].NAME)
    return found


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
