"""A log that nobody reads holds up nobody."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import select
import threading
from collections.abc import Iterator
from typing import BinaryIO
from unittest import mock

import pytest

from wasmos.cli import lines
from wasmos.cli.lines import MAX_KEPT, Lines
from wasmos.servers.console.sink import Sink


@pytest.fixture
def pipe() -> Iterator[tuple[int, BinaryIO]]:
    """What is written to the second, which blocks, comes out of the first."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with open(writer, "wb") as stream:
        yield reader, stream
    os.close(reader)


def read(reader: int) -> str:
    found = bytearray()
    try:
        while data := os.read(reader, 1 << 16):
            found += data
    except BlockingIOError:
        pass
    return found.decode()


def test_lines(pipe: tuple[int, BinaryIO]) -> None:
    reader, stream = pipe
    log = Lines(stream)
    log.put("one")
    log.put("two \x1b[2J\n\udcff")
    assert read(reader) == "one\ntwo ^[[2J^J\\udcff\n"
    log.close()


def test_nobody_reads(pipe: tuple[int, BinaryIO]) -> None:
    reader, stream = pipe
    said = [f"line {n} {'x' * 200}" for n in range(3000)]

    async def use() -> str:
        log = Lines(stream)
        for line in said:
            log.put(line)
        text = ""
        while "left out" not in text:
            text += read(reader)
            await asyncio.sleep(0)
        log.put("again")
        text += read(reader)
        log.close()
        return text

    text = asyncio.run(use())
    *written, count, last = text.splitlines()
    left_out = int(count.removesuffix(" lines left out: nobody read them").replace(",", ""))
    assert written == said[: len(said) - left_out] and last == "again"
    assert 0 < left_out < len(said) - MAX_KEPT


def test_closed_while_it_waits(pipe: tuple[int, BinaryIO], monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits no longer than for a reader who is slow; each line is there once."""
    monkeypatch.setattr(lines, "CLOSING_SECONDS", 0.01)
    reader, stream = pipe

    async def use() -> None:
        log = Lines(stream)
        for n in range(3000):
            log.put(f"{n} {'x' * 200}")
        await asyncio.sleep(0)
        log.close()

    asyncio.run(use())
    numbers = [int(line.split()[0]) for line in read(reader).splitlines()[:-1]]
    assert numbers == list(range(len(numbers))) and numbers


def test_what_could_not_be_waited_for_goes_on_with_the_next_line(
    pipe: tuple[int, BinaryIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when no more are kept."""
    reader, stream = pipe

    async def use() -> str:
        log = Lines(stream)
        with monkeypatch.context() as patch:
            patch.setattr(os, "dup", mock.Mock(side_effect=OSError(errno.EMFILE, "too many")))
            for n in range(3 * MAX_KEPT):
                log.put(f"{n} {'x' * 200}")
            await asyncio.sleep(0)
        text = ""
        for _ in range(100):
            text += read(reader)
            log.put("more")
            await asyncio.sleep(0)
        log.close()
        return text

    assert "lines left out" in asyncio.run(use())


def test_others_wait_for_the_stream_as_well(pipe: tuple[int, BinaryIO]) -> None:
    """Guests print to it, too."""
    reader, stream = pipe

    async def use() -> str:
        log = Lines(stream)
        for n in range(500):
            log.put(f"{n} {'x' * 200}")
        room = asyncio.ensure_future(Sink(stream).room())
        await asyncio.sleep(0)
        log.put("last")
        text = ""
        while "last" not in text or not room.done():
            text += read(reader)
            await asyncio.sleep(0)
        log.close()
        return text

    assert len(asyncio.run(use()).splitlines()) == 501


def test_a_slow_reader_gets_all_in_the_end(pipe: tuple[int, BinaryIO]) -> None:
    reader, stream = pipe
    said = [f"{n} {'x' * 200}" for n in range(1000)]
    found: list[str] = []

    async def use() -> None:
        log = Lines(stream)
        for line in said:
            log.put(line)
        thread.start()
        log.close()

    def drain() -> None:
        while len(found) < len(said):
            select.select([reader], (), ())
            text.append(read(reader))
            found[:] = "".join(text).splitlines()

    text: list[str] = []
    thread = threading.Thread(target=drain)
    asyncio.run(use())
    thread.join()
    assert found == said


def test_nobody_is_there() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb", buffering=0) as stream:
        log = Lines(stream)
        for _ in range(MAX_KEPT + 5):
            log.put("line")
        log.close()


def test_any_stream() -> None:
    stream = io.BytesIO()
    log = Lines(stream)
    log.put("line")
    log.close()
    assert stream.getvalue() == b"line\n"
