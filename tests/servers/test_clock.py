"""Clocks that are asked from Python or stand under a badge, waits and alarms. What the core answers
itself is in tests/kernel/test_personality.py."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

import wasmos
from tests.support.wat import program
from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.servers.clock import MAX_ALARMS, MAX_NS, Clock, check_badge, fixed_ns
from wasmos.servers.pong import Pong

REALTIME, MONOTONIC, PROCESS_CPU, THREAD_CPU = range(4)
S = 1_000_000_000


def get(client: wasmos.Client, id: int = MONOTONIC) -> int:
    return int(client.call("clock", abi.ClockGet(id)).ns)


def wait(client: wasmos.Client, until_ns: int, id: int = MONOTONIC) -> None:
    client.call("clock", abi.ClockWait(id, until_ns))


def set_alarm(client: wasmos.Client, token: int, until_ns: int, id: int = MONOTONIC) -> None:
    client.call("clock", abi.ClockSetAlarm(token, id, until_ns))


def clear(client: wasmos.Client, token: int) -> None:
    client.call("clock", abi.ClockClearAlarm(token))


def rung(client: wasmos.Client) -> list[int]:
    """The tokens of the alarms that have come."""
    found = []
    while (mail := client.receive()) is not None:
        assert isinstance(mail[1], abi.ClockAlarm)
        found.append(mail[1].token)
    return found


def code(call: Callable[..., object], *arguments: object) -> int:
    with pytest.raises(wasmos.ServiceError) as refused:
        call(*arguments)
    return refused.value.code


@pytest.fixture
def client(kernel: wasmos.Kernel) -> wasmos.Client:
    kernel.serve(Clock())
    return kernel.client()


def at(kernel: wasmos.Kernel, text: str, name: str = "fixed") -> wasmos.Client:
    return kernel.client(name, allow=[f'clock(at="{text}")'])


# --- reading ---


def test_get(kernel: wasmos.Kernel, client: wasmos.Client) -> None:
    kernel.run(timeout=2)
    assert [get(client, id) for id in (REALTIME, MONOTONIC)] == [kernel.now_ns] * 2
    assert get(client, PROCESS_CPU) == get(client, THREAD_CPU) == 0  # a client computes nothing
    assert client.call("clock", abi.ClockResolution(MONOTONIC)).ns == 1


def test_get_by_the_machines_clock(real_kernel: wasmos.Kernel) -> None:
    real_kernel.serve(Clock())
    client = real_kernel.client()
    before = time.time_ns(), time.monotonic_ns()
    found = get(client, REALTIME), get(client, MONOTONIC)
    assert before[0] <= found[0] <= time.time_ns()
    assert before[1] <= found[1] <= time.monotonic_ns()


@pytest.mark.parametrize("id", [-1, 4, 2**31 - 1])
def test_no_such_clock(client: wasmos.Client, id: int) -> None:
    assert code(get, client, id) == ErrorCode.INVALID_ARG
    assert code(client.call, "clock", abi.ClockResolution(id)) == ErrorCode.INVALID_ARG
    assert code(wait, client, 0, id) == ErrorCode.INVALID_ARG
    assert code(set_alarm, client, 1, 0, id) == ErrorCode.INVALID_ARG


@pytest.mark.parametrize("id", [PROCESS_CPU, THREAD_CPU])
def test_processor_time_is_not_waited_for(client: wasmos.Client, id: int) -> None:
    assert code(wait, client, 0, id) == ErrorCode.INVALID_ARG
    assert code(set_alarm, client, 1, 0, id) == ErrorCode.INVALID_ARG


# --- waiting ---


@pytest.mark.parametrize("id", [REALTIME, MONOTONIC])
def test_wait(kernel: wasmos.Kernel, client: wasmos.Client, id: int) -> None:
    for until_ns in (1, S + 1, 3 * S, 1_234_567_891_234_567_891):
        wait(client, until_ns, id)
        assert kernel.now_ns == until_ns, "not a nanosecond too early or too late"


@pytest.mark.parametrize("until_ns", [-(2**63), -1, 0, 5 * S - 1, 5 * S])
def test_what_is_over_is_not_waited_for(
    kernel: wasmos.Kernel, client: wasmos.Client, until_ns: int
) -> None:
    kernel.run(lambda: False, timeout=5)
    kernel.advance(5 * S)
    wait(client, until_ns)
    assert kernel.now_ns == 5 * S


def test_waiting_for_ever(kernel: wasmos.Kernel, client: wasmos.Client) -> None:
    """A virtual clock goes as far as it can, and still runs."""
    wait(client, MAX_NS)
    far = kernel.now_ns
    assert far >= 1 << 61
    wait(client, MAX_NS)
    set_alarm(client, 7, MAX_NS)
    kernel.run()
    assert rung(client) == [7]
    assert kernel.now_ns >= far
    assert kernel.wait(kernel.spawn(program("#3"), trusted=True)).code == 3


def test_others_go_on_while_one_waits(kernel: wasmos.Kernel, client: wasmos.Client) -> None:
    kernel.serve(Pong())
    done: list[int] = []
    client.begin("clock", abi.ClockWait(MONOTONIC, 10 * S), lambda: done.append(1))
    assert kernel.call("pong", abi.Ping(1)).value == 42
    assert not done and kernel.uptime < 1
    kernel.run(lambda: bool(done))
    client.finish()
    assert kernel.uptime == 10


def test_who_ends_while_it_waits_leaves_nothing(
    kernel: wasmos.Kernel, client: wasmos.Client
) -> None:
    client.begin("clock", abi.ClockWait(MONOTONIC, 10 * S), lambda: None)
    kernel.run(lambda: False, timeout=1)
    client.kill()
    kernel.run()
    assert kernel.uptime < 10
    assert kernel.timers.next_ns() is None


def test_a_guest_waits(kernel: wasmos.Kernel) -> None:
    kernel.serve(Clock())
    guest = program(
        f"(i32.store #1024 #{abi.ClockWait.TYPE}) (i32.store #1032 #1)"
        "(i64.store #1036 (i64.const 7000000000)) (drop (call $call @clock #1024)) "
        "(i32.load #1024)"
    )
    assert [field.offset for field in abi.ClockWait.FIELDS] == [8, 12]
    task = kernel.spawn(guest, allow=["clock"], trusted=True)
    assert kernel.wait(task).code == abi.ClockWaitReply.TYPE
    assert 7 <= kernel.uptime < 7.001


def test_waiting_by_the_machines_clock(real_kernel: wasmos.Kernel) -> None:
    real_kernel.serve(Clock())
    client = real_kernel.client()
    for id in (REALTIME, MONOTONIC):
        until_ns = get(client, id) + 3_000_001
        wait(client, until_ns, id)
        assert get(client, id) >= until_ns


# --- alarms ---


def test_alarms_ring_in_their_order(kernel: wasmos.Kernel, client: wasmos.Client) -> None:
    for token, seconds in ((3, 3), (1, 1), (2, 2), (-5, 1)):
        set_alarm(client, token, seconds * S, REALTIME if token == 2 else MONOTONIC)
    kernel.run(timeout=1.5)
    assert rung(client) == [1, -5]
    kernel.run()
    assert rung(client) == [2, 3]
    assert kernel.uptime == 3


def test_an_alarm_rings_once(kernel: wasmos.Kernel, client: wasmos.Client) -> None:
    set_alarm(client, 1, S)
    kernel.run()
    kernel.run(timeout=10)
    assert rung(client) == [1]
    clear(client, 1)  # which is fine
    set_alarm(client, 1, 20 * S)
    kernel.run()
    assert rung(client) == [1]


def test_an_alarm_in_the_past_rings_at_once(kernel: wasmos.Kernel, client: wasmos.Client) -> None:
    kernel.run(lambda: False, timeout=5)
    set_alarm(client, 1, -1)
    set_alarm(client, 2, 0)
    kernel.run()
    assert rung(client) == [1, 2]


def test_a_cleared_alarm_is_silent(kernel: wasmos.Kernel, client: wasmos.Client) -> None:
    set_alarm(client, 1, S)
    set_alarm(client, 2, 2 * S)
    clear(client, 1)
    clear(client, 9)
    kernel.run()
    assert rung(client) == [2]


def test_an_alarm_that_is_set_again_has_the_new_time(
    kernel: wasmos.Kernel, client: wasmos.Client
) -> None:
    set_alarm(client, 1, S)
    set_alarm(client, 1, 5 * S)
    kernel.run(timeout=4)
    assert rung(client) == []
    kernel.run()
    assert rung(client) == [1]
    assert kernel.uptime == 5


def test_what_is_refused_changes_nothing(kernel: wasmos.Kernel, client: wasmos.Client) -> None:
    set_alarm(client, 1, S)
    assert code(set_alarm, client, 1, 5 * S, PROCESS_CPU) == ErrorCode.INVALID_ARG
    kernel.run()
    assert (rung(client), kernel.uptime) == ([1], 1)


def test_alarms_are_each_tasks_own(kernel: wasmos.Kernel, client: wasmos.Client) -> None:
    other = kernel.client()
    set_alarm(client, 1, S)
    set_alarm(other, 1, 2 * S)
    clear(other, 1)
    kernel.run()
    assert (rung(client), rung(other)) == ([1], [])


def test_there_are_so_many_alarms_and_no_more(kernel: wasmos.Kernel, client: wasmos.Client) -> None:
    for token in range(MAX_ALARMS):
        set_alarm(client, token, S)
    assert code(set_alarm, client, MAX_ALARMS, S) == ErrorCode.NO_RESOURCES
    set_alarm(client, 0, 2 * S)  # is no new one
    set_alarm(kernel.client(), 0, S)
    clear(client, 5)
    set_alarm(client, MAX_ALARMS, S)
    kernel.run()
    assert sorted(rung(client)) == sorted({*range(MAX_ALARMS + 1)} - {5})


@pytest.mark.parametrize("how", ["revoke", "expire"])
def test_an_alarm_ends_with_the_right_it_was_set_by(kernel: wasmos.Kernel, how: str) -> None:
    kernel.serve(Clock())
    # With something left for the clock it can hear of alarms.
    client = kernel.client("sleeper", allow=["clock.resolution"])
    grant = kernel.grant(client, "clock", seconds=2 if how == "expire" else None)
    set_alarm(client, 1, 3 * S)
    kernel.run(lambda: False, timeout=1)
    if how == "revoke":
        grant.revoke()
    kernel.run(timeout=10)
    assert rung(client) == []


def test_an_alarm_by_the_last_use_of_a_right_rings(kernel: wasmos.Kernel) -> None:
    kernel.serve(Clock())
    client = kernel.client("once", allow=["clock.set_alarm once", "clock.resolution"])
    set_alarm(client, 1, S)
    kernel.run()
    assert rung(client) == [1]
    kernel.authority.sweep(everything=True)
    assert [grant.rule.message for grant in client.grants] == ["resolution"]


def test_the_last_use_of_a_right_can_be_taken_back(kernel: wasmos.Kernel) -> None:
    kernel.serve(Clock())
    client = kernel.client("once", allow=["clock.set_alarm once", "clock.resolution"])
    once = client.grants[0]
    set_alarm(client, 1, S)
    kernel.revoke(once)
    kernel.run(timeout=10)
    assert rung(client) == []


def fill_mailbox(kernel: wasmos.Kernel, client: wasmos.Client) -> None:
    while kernel.notify(kernel.service_id("clock"), client.id, abi.ClockAlarm(99)):
        pass


def test_an_alarm_waits_for_room(kernel: wasmos.Kernel, client: wasmos.Client) -> None:
    fill_mailbox(kernel, client)
    for token in (1, 2):
        set_alarm(client, token, token * S)
    kernel.run(timeout=3)
    assert set(rung(client)) == {99}
    kernel.run(timeout=1)
    assert sorted(rung(client)) == [1, 2]


def test_an_alarm_that_waits_for_room_can_still_be_cleared(
    kernel: wasmos.Kernel, client: wasmos.Client
) -> None:
    """And another one that is set in its place doesn't ring before its time."""
    fill_mailbox(kernel, client)
    set_alarm(client, 1, S)
    set_alarm(client, 2, S)
    kernel.run(timeout=3)
    clear(client, 1)
    set_alarm(client, 2, 9 * S)
    rung(client)
    kernel.run(timeout=1)
    assert rung(client) == []
    kernel.run()
    assert (rung(client), kernel.uptime) == ([2], 9)


def test_alarms_that_nobody_hears_are_no_more_than_are_set(
    kernel: wasmos.Kernel, client: wasmos.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a task that reads nothing replaces them."""
    waits: dict[Callable[[], object], None] = {}
    monkeypatch.setattr(kernel, "when_room", waits.setdefault)
    fill_mailbox(kernel, client)
    for turn in range(100):
        set_alarm(client, turn % 2, 1)
        kernel.run(timeout=1)
    assert len(waits) == 1
    assert set(rung(client)) == {99}
    next(iter(waits))()
    assert sorted(rung(client)) == [0, 1]


def test_the_alarms_of_who_ended_are_gone(kernel: wasmos.Kernel, client: wasmos.Client) -> None:
    set_alarm(client, 1, 10 * S)
    full = kernel.client()
    fill_mailbox(kernel, full)
    set_alarm(full, 1, 1)
    kernel.run(timeout=1)
    client.kill()
    full.kill()
    kernel.run()
    assert kernel.uptime < 10


def test_alarms_end_with_the_service(kernel: wasmos.Kernel, client: wasmos.Client) -> None:
    set_alarm(client, 1, 10 * S)
    kernel.kill(kernel.service_id("clock"))
    kernel.run()
    assert (rung(client), kernel.uptime) == ([], 0)


def test_a_guest_gets_an_alarm(kernel: wasmos.Kernel) -> None:
    kernel.serve(Clock())
    guest = program(
        f"(i32.store #1024 #{abi.ClockSetAlarm.TYPE}) (i32.store #1032 #77)"
        "(i32.store #1036 #1) (i64.store #1040 (i64.const 2000000000))"
        "(drop (call $call @clock #1024)) (drop (call $recv #0 #1024))"
        "(i32.load #1032)"
    )
    assert [field.offset for field in abi.ClockSetAlarm.FIELDS] == [8, 12, 16]
    task = kernel.spawn(guest, allow=["clock"], trusted=True)
    assert kernel.wait(task).code == 77
    assert kernel.uptime >= 2


def test_no_alarm_for_who_holds_nothing_any_more(
    kernel: wasmos.Kernel, client: wasmos.Client
) -> None:
    set_alarm(client, 1, S)
    kernel.revoke(client)
    kernel.run()
    assert rung(client) == []


# --- under the badge ---


def test_time_that_stands_still(kernel: wasmos.Kernel) -> None:
    kernel.serve(Clock())
    fixed = at(kernel, "2026-01-02T03:04:05Z")
    kernel.run(lambda: False, timeout=5)
    for _ in range(2):
        assert get(fixed, REALTIME) == 1_767_323_045 * S
        assert [get(fixed, id) for id in (MONOTONIC, PROCESS_CPU, THREAD_CPU)] == [1, 0, 0]


def test_only_waiting_moves_it(kernel: wasmos.Kernel) -> None:
    """For who waits: a program that sleeps until some time comes there, and no time passes."""
    kernel.serve(Clock())
    fixed, other = at(kernel, "1970-01-02"), at(kernel, "1970-01-02")
    wait(fixed, 3 * S + 1)
    assert (get(fixed), get(fixed, REALTIME)) == (3 * S + 1, 86_403 * S)
    wait(fixed, 86_405 * S, REALTIME)
    wait(fixed, 1)
    assert (get(fixed), get(fixed, REALTIME)) == (5 * S + 1, 86_405 * S)
    assert (get(other), get(other, REALTIME)) == (1, 86_400 * S)
    assert kernel.uptime == 0


def test_a_loop_until_some_time_ends(kernel: wasmos.Kernel) -> None:
    kernel.serve(Clock())
    fixed = at(kernel, "0")
    rounds = 0
    while get(fixed) < 10 * S:
        wait(fixed, get(fixed) + S)
        rounds += 1
    assert rounds == 10


def test_alarms_move_it_when_they_ring(kernel: wasmos.Kernel) -> None:
    kernel.serve(Clock())
    fixed = at(kernel, "0")
    set_alarm(fixed, 1, 5 * S)
    kernel.run()
    assert (rung(fixed), get(fixed), kernel.uptime) == ([1], 5 * S, 0)
    set_alarm(fixed, 2, 3 * S)
    kernel.run()
    assert (rung(fixed), get(fixed)) == ([2], 5 * S)


def test_waiting_for_ever_under_the_badge(kernel: wasmos.Kernel) -> None:
    kernel.serve(Clock())
    fixed = at(kernel, "2262-01-01")
    wait(fixed, MAX_NS)
    assert (get(fixed), get(fixed, REALTIME)) == (MAX_NS, MAX_NS)
    wait(fixed, MAX_NS, REALTIME)


def test_the_next_task_begins_anew(kernel: wasmos.Kernel) -> None:
    clock = Clock()
    kernel.serve(clock)
    fixed = at(kernel, "0")
    wait(fixed, S)
    fixed.kill()
    assert clock._waited == {}
    assert get(at(kernel, "0")) == 1


def test_a_badge_that_nobody_checked_is_no_right(kernel: wasmos.Kernel) -> None:
    kernel.serve(Clock())
    for call in (get, lambda client: get(client, REALTIME)):
        client = at(kernel, "noon")
        if call is get:
            assert call(client) == 1
        else:
            assert code(call, client) == ErrorCode.NOT_ALLOWED


# --- what a badge may say ---


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("0", 0),
        ("12", 12 * S),
        ("12.5", 12 * S + S // 2),
        ("1.0000000019", S + 1),
        ("1970-01-01", 0),
        ("1970-01-01T00:00:01", S),
        ("1970-01-01 00:00:01.000002", S + 2000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00Z", 0),
        ("9223372036.854775807", MAX_NS),
    ],
)
def test_times(text: str, ns: int) -> None:
    assert fixed_ns(text) == ns
    check_badge({"at": text})


@pytest.mark.parametrize(
    "text",
    ["", ".", "-1", "noon", "1969-12-31", "2026-13-01", "1e3", "9" * 5000, "0x10", "inf", "1.2.3",
     "9223372036.854775808", "9999-12-31"],
)  # fmt: skip
def test_no_times(text: str) -> None:
    with pytest.raises(wasmos.UsageError, match="clock: at"):
        check_badge({"at": text})


def test_other_parameters() -> None:
    with pytest.raises(wasmos.UsageError, match="there is at"):
        check_badge({"seed": "1"})
    check_badge({})
