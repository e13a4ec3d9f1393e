"""poll_oneoff: waiting for one of several things."""

from __future__ import annotations

import struct

import pytest

from tests.personalities.wasi.calls import RIGHTS, Calls, Loaded, Result
from tests.personalities.wasi.conftest import Machine
from tests.personalities.wasi.fakes import FakeTcpip
from wasmos.kernel import Personality
from wasmos.personalities import wasi

BADF, INVAL, NOTCAPABLE = 8, 28, 76
CLOCK, FD_READ, FD_WRITE = 0, 1, 2
POLL = 1 << 27  # the right
MS = 1_000_000
SUBSCRIPTIONS, EVENTS, BEFORE, AFTER = 1000, 2000, 3000, 3008


def clock(
    userdata: int, timeout_ns: int, *, id: int = 1, absolute: bool = False, old: bool = False
) -> bytes:
    first = struct.pack("<QQQ" if old else "<QQ", *(userdata, CLOCK, 99)[: 3 if old else 2])
    return first + struct.pack("<I4xQQH6x", id, timeout_ns, 0, absolute)


def descriptor(userdata: int, kind: int, fd: int) -> bytes:
    return struct.pack("<QB7xI4x24x", userdata, kind, fd)


def waiting(*subscriptions: bytes, personality: Personality = wasi.PREVIEW1) -> Calls:
    calls = Calls(personality)
    calls.put(SUBSCRIPTIONS, b"".join(subscriptions))
    calls.add("clock_time_get", 1, 0, BEFORE)
    calls.add("poll_oneoff", SUBSCRIPTIONS, EVENTS, len(subscriptions), 0)
    calls.add("clock_time_get", 1, 0, AFTER)
    return calls


def events(result: Result) -> list[tuple[int, ...]]:
    """userdata, error, type, bytes, flags"""
    assert result.errnos[1] == 0
    return [
        struct.unpack_from("<QHB5xQH6x", result.memory, EVENTS + 32 * n)
        for n in range(result.u32(0))
    ]


def waited_ms(result: Result) -> int:
    return (result.u64(AFTER) - result.u64(BEFORE)) // MS


@pytest.mark.parametrize("id", [0, 1])
@pytest.mark.parametrize("old", [False, True])
def test_sleep(machine: Machine, id: int, old: bool) -> None:
    personality = wasi.UNSTABLE if old else wasi.PREVIEW1
    result = machine.run(waiting(clock(7, 50 * MS, id=id, old=old), personality=personality))
    assert events(result) == [(7, 0, CLOCK, 0, 0)]
    assert waited_ms(result) == 50


def test_the_first_of_several_clocks(machine: Machine) -> None:
    result = machine.run(
        waiting(clock(1, 90 * MS), clock(2, 30 * MS), clock(3, 30 * MS, id=0), clock(4, 2**64 - 1))
    )
    assert [event[0] for event in events(result)] == [2, 3]
    assert waited_ms(result) == 30


@pytest.mark.parametrize("id", [0, 1])
def test_a_time_that_is_told(machine: Machine, id: int) -> None:
    """Absolute: past, and to come."""
    machine.serve()
    now = machine.kernel.now_ns
    past = machine.run(waiting(clock(1, 0, id=id, absolute=True), clock(2, 60 * MS)))
    assert [event[0] for event in events(past)] == [1]
    assert waited_ms(past) == 0
    result = machine.run(waiting(clock(1, now + 10_000 * MS, id=1, absolute=True)))
    assert [event[0] for event in events(result)] == [1]
    assert result.u64(AFTER) >= now + 10_000 * MS


def test_a_clock_that_stands_still_does_not_keep_anybody(machine: Machine) -> None:
    for extra in ([], [descriptor(9, FD_READ, 0)]):
        machine.console.arrives_after, machine.console.polls = 1e9, 1
        result = machine.run(
            waiting(clock(1, 50 * MS), *extra), ['clock(at="1970-01-02")', "console"]
        )
        assert [event[0] for event in events(result)] == [1]


@pytest.mark.parametrize("timeout", [0, 5 * MS])
def test_input_or_a_timeout(machine: Machine, timeout: int) -> None:
    machine.console.arrives_after, machine.console.polls = 1e9, 1  # never
    result = machine.run(waiting(descriptor(1, FD_READ, 0), clock(2, timeout)))
    assert events(result) == [(2, 0, CLOCK, 0, 0)]
    assert waited_ms(result) == timeout // MS


def test_input_that_arrives(machine: Machine) -> None:
    machine.console.arrives_after = 0.02
    result = machine.run(waiting(clock(2, 500 * MS), descriptor(1, FD_READ, 0)))
    assert events(result) == [(1, 0, FD_READ, 1, 0)]
    assert waited_ms(result) == 20


def test_input_without_a_timeout(machine: Machine) -> None:
    machine.console.arrives_after = 0.02
    result = machine.run(waiting(descriptor(1, FD_READ, 0)))
    assert events(result) == [(1, 0, FD_READ, 1, 0)]


def test_what_is_left_from_an_earlier_wait_does_no_harm(machine: Machine) -> None:
    """The first wait ends by its timeout, the input's message comes after it."""
    machine.console.arrives_after = 0.02
    calls = waiting(clock(1, 10 * MS), descriptor(2, FD_READ, 0))
    calls.put(1500, clock(3, 100 * MS))
    calls.add("poll_oneoff", 1500, 2500, 1, 4)
    calls.put(1600, clock(4, 30 * MS) + descriptor(5, FD_READ, 9))
    calls.add("poll_oneoff", SUBSCRIPTIONS, 2600, 2, 8)
    result = machine.run(calls)
    assert result.errnos == [0] * 5
    assert events(result) == [(1, 0, CLOCK, 0, 0)]
    assert (result.u32(4), result.u64(2500)) == (1, 3)
    assert (result.u32(8), result.u64(2600)) == (1, 2)


def test_output_and_files_never_wait(machine: Machine) -> None:
    machine.plant({"f": b"0123456789"})
    calls = Calls()
    calls.add("path_open", 3, 0, *calls.text("f"), 0, RIGHTS, 0, 0, 8)
    calls.add("fd_seek", Loaded(8), 4, 0, 16)
    calls.put(SUBSCRIPTIONS, b"".join([
        descriptor(1, FD_WRITE, 1), descriptor(2, FD_WRITE, 2), descriptor(3, FD_READ, 4),
        descriptor(4, FD_WRITE, 4), clock(5, 50 * MS),
    ]))  # fmt: skip
    calls.add("poll_oneoff", SUBSCRIPTIONS, EVENTS, 5, 0)
    calls.add("fd_seek", Loaded(8), 0, 2, 16)
    calls.add("poll_oneoff", SUBSCRIPTIONS + 96, 2500, 1, 24)
    result = machine.run(calls)
    assert result.errnos == [0] * 5
    assert events(result) == [(1, 0, FD_WRITE, 1, 0), (2, 0, FD_WRITE, 1, 0),
                              (3, 0, FD_READ, 6, 0), (4, 0, FD_WRITE, 1, 0)]  # fmt: skip
    assert struct.unpack_from("<QHB5xQH", result.memory, 2500) == (3, 0, FD_READ, 0, 1)


@pytest.mark.parametrize(
    ("subscription", "errno"),
    [
        (descriptor(1, FD_READ, 1), BADF), (descriptor(1, FD_WRITE, 0), BADF),
        (descriptor(1, FD_READ, 9), BADF), (descriptor(1, FD_READ, 3), BADF),
        (descriptor(1, 3, 0), INVAL), (clock(1, 1, id=2), INVAL), (clock(1, 1, id=9), INVAL),
    ],
)  # fmt: skip
def test_what_can_not_be_waited_for(machine: Machine, subscription: bytes, errno: int) -> None:
    """Nothing is said of the others."""
    result = machine.run(waiting(descriptor(5, FD_WRITE, 1), subscription))
    assert result.errnos == [0, errno, 0]
    assert result.bytes(EVENTS, 64) == bytes(64)


@pytest.mark.parametrize(
    ("kept", "errors"),
    [
        (POLL, [NOTCAPABLE, NOTCAPABLE]), (POLL | 1 << 1, [0, NOTCAPABLE]),
        (POLL | 1 << 6, [NOTCAPABLE, 0]), (1 << 1 | 1 << 6, [NOTCAPABLE, NOTCAPABLE]),
    ],
)  # fmt: skip
def test_who_may_not_read_does_not_wait_for_it(
    machine: Machine, kept: int, errors: list[int]
) -> None:
    machine.plant({"f": b"0123456789"})
    calls = Calls()
    calls.put(SUBSCRIPTIONS, descriptor(1, FD_READ, 4) + descriptor(2, FD_WRITE, 4))
    calls.add("path_open", 3, 0, *calls.text("f"), 0, RIGHTS, 0, 0, 8)
    calls.add("poll_oneoff", SUBSCRIPTIONS, EVENTS, 2, 0)
    calls.add("fd_fdstat_set_rights", 4, kept, 0)
    calls.add("poll_oneoff", SUBSCRIPTIONS, EVENTS, 2, 0)
    result = machine.run(calls)
    assert result.errnos == [0, 0, 0, 0]
    assert [event[:2] for event in events(result)] == [*enumerate(errors, 1)]


def test_a_listener_is_neither_read_nor_written(machine: Machine) -> None:
    """To wait for a connection takes the right to wait alone: it has no other to keep."""
    machine.tcpip = FakeTcpip([80], [b"hello"])
    calls = Calls()
    calls.put(SUBSCRIPTIONS, descriptor(1, FD_READ, 4))
    calls.add("fd_fdstat_set_rights", 4, POLL | 1 << 29, 0)
    calls.add("poll_oneoff", SUBSCRIPTIONS, EVENTS, 1, 0)
    result = machine.run(calls)
    assert result.errnos == [0, 0]
    assert [event[:2] for event in events(result)] == [(1, 0)]


def test_nothing_to_wait_for(machine: Machine) -> None:
    assert machine.run(waiting()).errnos[1] == INVAL


def test_without_a_clock(machine: Machine) -> None:
    calls = Calls()
    calls.put(SUBSCRIPTIONS, clock(1, MS))
    calls.add("poll_oneoff", SUBSCRIPTIONS, EVENTS, 1, 0)
    assert machine.run(calls, ["console"]).errnos == [NOTCAPABLE]


def test_a_socket_that_becomes_ready(machine: Machine) -> None:
    machine.tcpip = FakeTcpip([80], [b"hello"])
    machine.tcpip.arrives_after = 0.02
    result = machine.run(waiting(descriptor(1, FD_READ, 4), clock(2, 500 * MS)))
    assert events(result) == [(1, 0, FD_READ, 7, 0)]
    assert waited_ms(result) == 20


def test_many(machine: Machine) -> None:
    result = machine.run(waiting(*(descriptor(n, FD_WRITE, 1) for n in range(12))))
    assert [event[0] for event in events(result)] == [*range(12)]
