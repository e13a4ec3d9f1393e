"""The state of a connection, without a network."""

from __future__ import annotations

import errno

from hypothesis import given
from hypothesis import strategies as st

from wasmos import abi
from wasmos.servers.tcpip.connection import Connection
from wasmos.servers.tcpip.network import Stream

BOUND = 32


class Still(Stream):
    """A stream that does nothing but count."""

    full = False

    def __init__(self) -> None:
        self.resumed = 0

    def resume(self) -> None:
        self.resumed += 1


def connection(*, known: bool = False) -> Connection:
    made = Connection(BOUND, known=known, changed=lambda: None)
    made.stream = Still()
    return made


def tell(made: Connection) -> list[str]:
    """Say all that is due."""
    said = []
    while (notice := made.due()) is not None:
        made.said(notice)
        said.append(notice.NAME.removeprefix("tcpip_"))
    return said


def test_nothing_is_due_at_first() -> None:
    assert tell(connection()) == []
    assert tell(connection(known=True)) == []


def test_ends() -> None:
    """What is due after an end, by what was there before."""
    unknown = connection()
    unknown.ended()
    assert tell(unknown) == ["data", "closed"]

    known = connection(known=True)
    known.ended()
    assert tell(known) == ["closed"]

    unread = connection()
    unread.received(b"x")
    unread.ended()
    assert tell(unread) == ["data"]
    unread.take(1)
    assert tell(unread) == ["closed"]


def test_breaks() -> None:
    unread = connection()
    unread.received(b"xy")
    unread.broken(ConnectionResetError(errno.ECONNRESET, "reset"))
    assert tell(unread) == ["data", "closed"]
    assert unread.take(1) == b"x"
    assert tell(unread) == []
    assert unread.take(9) == b"y"

    stillborn = connection()
    stillborn.broken(ConnectionResetError(errno.ECONNRESET, "reset"))
    assert stillborn.is_stillborn


def test_resumes_at_half() -> None:
    full = connection()
    full.received(bytes(BOUND))
    assert isinstance(full.stream, Still)
    full.take(BOUND // 2 - 1)
    assert full.stream.resumed == 0
    full.take(1)
    assert full.stream.resumed == 1


steps = st.lists(
    st.sampled_from(["receive", "end", "break", "tell"]) | st.integers(1, BOUND), max_size=40
)


@given(known=st.booleans(), steps=steps)
def test_laws(known: bool, steps: list[str | int]) -> None:
    """Nothing lost, nothing twice: a task that reads when told reads everything."""
    made = connection(known=known)
    sent = read = b""
    said: list[str] = []
    over = False
    for step in [*steps, "end", *["tell", BOUND] * 3, "tell"]:
        if step == "receive" and not over and made.room():
            data = bytes([len(sent) & 0xFF]) * min(7, made.room())
            sent += data
            made.received(data)
        elif step == "end" and not over:
            over = True
            made.ended()
        elif step == "break" and made.error is None:
            over = True
            made.broken(ConnectionResetError(errno.ECONNRESET, "reset"))
        elif step == "tell":
            news = tell(made)
            assert news.count("data") <= 1, "two of them with no read between"
            assert "closed" not in said or not news, "nothing comes after closed"
            said += news
        elif isinstance(step, int):
            read += made.take(step)
        assert 0 <= made.room() <= BOUND
    assert read == sent
    assert said.count("closed") == 1
    assert known or said[0] == "data", "the first that is heard of a connection"


def test_the_notices_are_messages() -> None:
    made = connection()
    made.received(b"x")
    assert made.due() is abi.TcpipData
