"""Streams that take nothing: who is told, who waits, and that each byte is written once."""

from __future__ import annotations

import io
import os
import resource
from typing import Any, BinaryIO

import pytest

import wasmos
from tests.servers.console.callers import Printing, code, drain, put, settle, write
from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.servers.console import Console
from wasmos.servers.pong import Pong

# --- broken, closed ------------------------------------------------------------------------------


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


# --- full ----------------------------------------------------------------------------------------


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
