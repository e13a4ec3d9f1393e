"""A flood of denials: few lines, every one counted, and nobody else's is lost."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.audit import denial
from wasmos.system.audit.flood import MAX_KINDS, REASON, WINDOW_NS, Flood

Records = list[dict[str, Any]]
LONG = 10 * WINDOW_NS


def lookup(name: str = "nobody", **more: Any) -> dict[str, Any]:
    """A service that isn't there."""
    record = denial(**{"time_ns": 0, "service": name, "message": f"{name} (lookup)", **more})
    del record["fields"]
    return record


def sent(value: int = 0, **more: Any) -> dict[str, Any]:
    return denial(**{"time_ns": 0, "fields": {"listen_port": value}, **more})


def spawn(task: int, by: int = 0) -> dict[str, Any]:
    return {"event": "spawn", "task": task, "time_ns": 0} | ({"by": by} if by else {})


def told(flood: Flood, batches: Iterable[Records]) -> Records:
    """All lines, also what is written at the end."""
    return [line for batch in batches for line in flood.lines(batch)] + flood.rest()


def total(lines: Records) -> int:
    return sum(line.get("count", 1) for line in lines)


def test_the_same_again_is_one_line_more() -> None:
    lines = told(Flood(), ([lookup(time_ns=n)] for n in range(100_000)))
    assert [line.get("count", 1) for line in lines] == [1, 99_999]
    assert [line["time_ns"] for line in lines] == [0, 1]
    assert {line["message"] for line in lines} == {"nobody (lookup)"}


def test_the_same_in_one_batch_is_one_line() -> None:
    lines = told(Flood(), [[sent(n % 3) for n in range(3000)]])
    assert [line["count"] for line in lines] == [1000] * 3


def test_different_ones_are_written_up_to_a_bound_and_then_counted() -> None:
    for make in (lambda n: [lookup(f"no{n}")], lambda n: [sent(n)]):
        lines = told(Flood(), map(make, range(50_000)))
        assert [line["event"] for line in lines] == ["denial"] * MAX_KINDS + ["dropped"] * 2
        assert total(lines) == 50_000
        assert lines[-1] == {
            "event": "dropped", "time_ns": 0, "task": 9, "name": "webapi", "decision": "denied",
            "count": 50_000 - MAX_KINDS - 1, "reason": REASON,
        }  # fmt: skip


def test_that_some_are_left_out_is_said_at_once() -> None:
    flood = Flood()
    flood.lines([sent(n) for n in range(MAX_KINDS)])
    assert [line["event"] for line in flood.lines([sent(-1)])] == ["dropped"]
    assert flood.lines([sent(-2)]) == []


def test_the_next_window_has_room_again() -> None:
    flood = Flood()
    for number in range(10):
        begin = number * WINDOW_NS
        flood.lines([sent(n, time_ns=begin) for n in range(MAX_KINDS)])
        flood.lines([sent(-n, time_ns=begin + 1) for n in range(1, 100)])
        flood.lines([sent(0, time_ns=begin + WINDOW_NS - 1)])
    lines = flood.lines([sent(time_ns=LONG)])  # what was held, and this
    assert [(line["event"], line.get("count", 1)) for line in lines] == [("denial", 1)] * 2


def test_what_is_held_is_written_when_the_window_is_over_whoever_is_heard_of() -> None:
    flood = Flood()
    flood.lines([sent()])
    assert flood.lines([sent(count=7)]) == []
    assert flood.lines([lookup(task=3, time_ns=WINDOW_NS - 1)]) != []
    again, other = flood.lines([spawn(5) | {"time_ns": WINDOW_NS}])
    assert (again["event"], again["count"], other["event"]) == ("denial", 7, "spawn")
    assert flood.rest() == []


def test_nobody_else_is_left_out() -> None:
    flood = Flood()
    flood.lines([sent(n) for n in range(10 * MAX_KINDS)])
    [line] = flood.lines([sent(1, task=3)])
    assert (line["event"], line["task"]) == ("denial", 3)


def test_a_flood_of_one_message_hides_no_other() -> None:
    flood = Flood()
    flood.lines([sent(n) for n in range(2 * MAX_KINDS)])
    flood.lines([lookup(f"no{n}") for n in range(2 * MAX_KINDS)])
    secret = sent(fields={"path": "/etc/shadow"}, message="fs.open", service="fs")
    assert flood.lines([secret]) == [secret]
    assert flood.lines([{**secret, "fields": {"path": "/etc/passwd"}}]) == []  # one of each


def test_messages_that_a_guest_invents_get_no_room_by_that() -> None:
    flood = Flood()
    flood.lines([sent(n) for n in range(2 * MAX_KINDS)])
    made = (sent(message=f"bank.{n}", fields={}) for n in range(1000))
    assert [line for one in made for line in flood.lines([one])] == []


def test_children_have_no_room_of_their_own() -> None:
    """Otherwise a new child now and then would be all that a flood takes."""
    flood = Flood()
    lines: Records = []
    for child in range(100, 200):
        lines += flood.lines([spawn(child, by=9)])
        lines += flood.lines([spawn(child + 1000, by=child)])
        lines += flood.lines([sent(n, task=child) for n in range(50)])
        lines += flood.lines([sent(n, task=child + 1000) for n in range(50)])
        lines += flood.lines([{"event": "exit", "task": child, "time_ns": 0}])
    lines += flood.rest()
    denials = [line for line in lines if line["event"] == "denial"]
    assert len(denials) == MAX_KINDS
    left_out = [line for line in lines if line["event"] == "dropped"]
    assert total(denials) + total(left_out) == 10_000


def test_tasks_of_the_system_have_room_each() -> None:
    flood = Flood()
    lines = told(flood, ([spawn(t), *(sent(n, task=t) for n in range(50))] for t in range(10)))
    assert len(lines) == 510


def test_what_was_denied_before_something_happened_is_written_before() -> None:
    flood = Flood()
    lines = flood.lines([sent(), sent()])
    lines += flood.lines([sent(time_ns=1)])
    lines += flood.lines([{"event": "grant", "task": 3, "time_ns": 1}])  # of somebody else
    lines += flood.lines([sent(time_ns=2), {"event": "exit", "task": 9, "time_ns": 2}])
    shown = [(line["event"], line["time_ns"], line.get("count", 1)) for line in lines]
    assert shown == [("denial", 0, 2), ("grant", 1, 1), ("denial", 1, 2), ("exit", 2, 1)]


def test_little_is_remembered() -> None:
    flood = Flood()
    for number in range(5000):
        task = 10 + number
        flood.lines([spawn(task, by=9), lookup(f"no{number}", task=task)])
        flood.lines([{"event": "exit", "task": task, "time_ns": 0}])
    assert len(flood._windows) == 1 and not flood._payers
    assert len(flood._windows[9].kinds) <= MAX_KINDS + 1
    flood.lines([spawn(1) | {"time_ns": LONG}])
    assert not flood._windows


records = st.lists(
    st.builds(
        sent, st.integers(0, 300), task=st.integers(1, 3), time_ns=st.integers(0, LONG),
        count=st.integers(1, 5),
    ) | st.builds(spawn, st.integers(1, 3), st.integers(0, 3)),
)  # fmt: skip


@given(st.lists(records, max_size=20))
def test_every_denial_is_counted_once(batches: list[Records]) -> None:
    before = deepcopy(batches)
    lines = told(Flood(), batches)
    assert batches == before  # and stays as it is
    wanted = [record for batch in batches for record in batch if record["event"] == "denial"]
    assert total([x for x in lines if x["event"] != "spawn"]) == total(wanted)
