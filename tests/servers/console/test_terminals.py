"""Terminals: they are noticed, get no commands, and are used and left as they are."""

from __future__ import annotations

import errno
import io
import os
import pty
import termios
from pathlib import Path
from typing import BinaryIO
from unittest import mock

import pytest

import wasmos
from tests.servers.console.callers import Printing, Reading, drain, put, settle, write
from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.servers.console import Console
from wasmos.servers.pong import Pong

# --- what they get -------------------------------------------------------------------------------


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


def test_put_to_a_terminal_has_no_commands(kernel: wasmos.Kernel) -> None:
    output = io.BytesIO()
    kernel.serve(Console(output, terminal=True))
    client = kernel.client()
    data = b"\x1b" * 10_000 + "é".encode()
    assert put(client, data) == len(data)
    assert put(client, b"\xc2") == 1
    assert put(client, b"\x9b", 2) == 1  # the other half, on another stream
    assert output.getvalue() == b"^[" * 10_000 + "é�".encode()


def test_a_real_terminal_is_noticed(kernel: wasmos.Kernel) -> None:
    leader, follower = pty.openpty()
    with open(leader, "rb", buffering=0) as screen, open(follower, "wb", buffering=0) as output:
        kernel.serve(Console(output))
        write(kernel.client(), b"\x1b[2J")
        assert screen.read(5) == b"^[[2J"


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


# --- how they are used ---------------------------------------------------------------------------


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
    uncollected: None,
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
