"""Guests print: nothing is lost, mixed up, or beyond its limit."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

import wasmos
from tests.servers.console.callers import code, put, write
from tests.servers.segments import segment
from tests.support.wat import program
from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.servers.console import Console
from wasmos.servers.console.server import PUT_BYTES

# --- output --------------------------------------------------------------------------------------


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


# --- output of any length ------------------------------------------------------------------------


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
