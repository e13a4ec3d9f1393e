"""Streams with two ends: what comes out of them, and what programs print to."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from typing import BinaryIO

import pytest


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """What is written to the second comes out of the first."""
    reader, writer = os.pipe()
    with open(reader, "rb") as source, open(writer, "wb", buffering=0) as sink:
        yield source, sink


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


@pytest.fixture
def terminal() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """What its reader sees comes out of the first; programs print to the second."""
    leader, follower = pty.openpty()
    os.set_blocking(leader, False)
    with open(leader, "rb", buffering=0) as screen, open(follower, "wb", buffering=0) as output:
        yield screen, output
