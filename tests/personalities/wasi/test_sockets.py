"""Sockets: listeners that were granted, and the connections that are accepted on them."""

from __future__ import annotations

import pytest

from tests.personalities.wasi.calls import Calls, Loaded
from tests.personalities.wasi.conftest import Machine
from tests.personalities.wasi.fakes import FakeTcpip

BADF, INVAL, AGAIN, NOTCONN, NOTSOCK, SPIPE, NOTCAPABLE = 8, 28, 6, 53, 57, 70, 76
READ, WRITE = 1 << 1, 1 << 6
NONBLOCK = 4
S = Loaded(0)


@pytest.fixture
def net(machine: Machine) -> Machine:
    machine.tcpip = FakeTcpip([80, 81], [b"from outside", b"second"])
    return machine


def accepted(flags: int = 0) -> Calls:
    """3 is the root directory, 4 and 5 are listeners."""
    calls = Calls()
    calls.add("sock_accept", 4, flags, 0)
    return calls


def test_receive_and_send(net: Machine) -> None:
    calls = accepted()
    calls.add("sock_recv", S, *calls.parts((100, 4), (0, 0)), 1, 4, 8)
    calls.add("sock_recv", S, *calls.parts((110, 4), (120, 4)), 0, 12, 16)
    calls.add("fd_read", S, *calls.parts((130, 100)), 20)
    calls.add("fd_read", S, *calls.parts((130, 100)), 24)
    calls.add("sock_send", S, *calls.parts(calls.text("to "), calls.text("outside")), 0, 28)
    calls.add("fd_write", S, *calls.parts(calls.text("!")), 32)
    calls.add("sock_shutdown", S, 2)
    calls.add("fd_close", S)
    calls.add("fd_close", S)
    result = net.run(calls)
    assert result.errnos == [0] * 9 + [BADF]
    assert [result.u32(at) for at in (0, 4, 12, 20, 24, 28, 32)] == [6, 4, 4, 8, 0, 10, 1]
    assert result.bytes(100, 4) == b"from"
    assert result.bytes(110, 4) == b"from"
    assert result.bytes(130, 8) == b" outside"
    assert net.tcpip.sent[5000] == b"to outside!"
    assert net.tcpip.asked[-2:] == [("shutdown", 5000, 2), ("destroy", 5000)]


def test_flags_of_a_receive(net: Machine) -> None:
    calls = accepted(NONBLOCK)
    for flags in (0, 1, 2, 3):
        calls.add("sock_recv", S, *calls.parts((100, 1)), flags, 4, 8)
    calls.add("fd_fdstat_set_flags", S, 0)
    calls.add("sock_recv", S, *calls.parts((100, 1)), 0, 4, 8)
    assert net.run(calls).errnos == [0] * 7
    assert [asked[2] for asked in net.tcpip.asked[1:]] == [1, 3, 5, 7, 0]


def test_who_waits_for_all_gets_all_parts_filled(net: Machine) -> None:
    """Of what is only looked at each part would show the same: there it is one."""
    peek, whole = 1, 2
    calls = accepted()
    calls.add("sock_recv", S, *calls.parts((100, 4), (0, 0), (110, 3)), peek | whole, 4, 8)
    calls.add("sock_recv", S, *calls.parts((100, 4), (0, 0), (110, 3)), whole, 12, 16)
    calls.add("sock_recv", S, *calls.parts((120, 4), (130, 4)), whole, 20, 24)
    result = net.run(calls)
    assert result.errnos == [0] * 4
    assert [result.u32(at) for at in (4, 12, 20)] == [4, 7, 5]
    assert result.bytes(100, 4) + result.bytes(110, 3) == b"from ou"
    assert result.bytes(120, 4) + result.bytes(130, 1) == b"tside"


def test_a_listener_that_does_not_wait(net: Machine) -> None:
    calls = Calls()
    calls.add("fd_fdstat_set_flags", 4, NONBLOCK)
    for _ in range(3):
        calls.add("sock_accept", 4, 0, 0)
    assert net.run(calls).errnos == [0, 0, 0, AGAIN]
    assert {asked[2] for asked in net.tcpip.asked} == {1}


def test_what_is_known(net: Machine) -> None:
    calls = accepted(NONBLOCK)
    for fd, at in ((4, 100), (5, 200), (6, 300)):
        calls.add("fd_fdstat_get", fd, at)
        calls.add("fd_filestat_get", fd, at + 24)
    result = net.run(calls)
    assert result.errnos == [0] * 7
    assert [result.u8(at) for at in (100, 200, 300, 124 + 16)] == [6] * 4
    assert [result.u16(at + 2) for at in (100, 300)] == [0, NONBLOCK]


def test_a_listener_can_keep_what_its_connections_need(net: Machine) -> None:
    """It is neither read nor written itself, but what is accepted on it is."""
    calls = Calls()
    calls.add("fd_fdstat_get", 4, 8)
    calls.add("fd_fdstat_set_rights", 4, Loaded(16), READ | WRITE)
    calls.add("sock_accept", 4, 0, 0)
    calls.add("sock_recv", S, *calls.parts((100, 4)), 0, 40, 48)
    calls.add("sock_send", S, *calls.parts((100, 4)), 0, 40)
    calls.add("sock_shutdown", S, 1)
    result = net.run(calls)
    assert result.errnos == [0, 0, 0, 0, 0, NOTCAPABLE]
    assert result.u64(24) & (READ | WRITE) == READ | WRITE


def test_what_does_not_fit(net: Machine) -> None:
    calls = accepted()
    calls.add("sock_accept", S, 0, 4)
    calls.add("sock_accept", 3, 0, 4)
    calls.add("sock_accept", 4, 32, 4)
    calls.add("sock_recv", 4, *calls.parts((100, 1)), 0, 4, 8)
    calls.add("sock_recv", S, *calls.parts((100, 1)), 4, 4, 8)
    calls.add("sock_send", 4, *calls.parts((100, 1)), 0, 4)
    calls.add("sock_send", S, *calls.parts((100, 1)), 1, 4)
    calls.add("sock_shutdown", S, 0)
    calls.add("sock_shutdown", S, 4)
    calls.add("sock_shutdown", 4, 1)
    calls.add("fd_seek", S, 0, 1, 8)
    calls.add("fd_pread", S, *calls.parts((100, 1)), 0, 8)
    calls.add("fd_read", 4, *calls.parts((100, 1)), 8)
    assert net.run(calls).errnos == [
        0, INVAL, NOTSOCK, INVAL, NOTCONN, INVAL, NOTCONN, INVAL, INVAL, INVAL, NOTCONN, SPIPE,
        SPIPE, BADF,
    ]  # fmt: skip


def test_a_port_that_is_taken_is_left_out(machine: Machine) -> None:
    machine.tcpip = FakeTcpip([1, 80], [b"x"])
    assert machine.run(accepted()).errnos == [0]
    assert machine.tcpip.asked[0] == ("accept", 1080, 0)


def test_without_a_grant_there_are_no_listeners(net: Machine) -> None:
    assert net.run(accepted(), ["console", "fs"]).errnos == [BADF]
