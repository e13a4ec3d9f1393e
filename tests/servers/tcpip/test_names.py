"""What is remembered of name servers' answers: by task, for a while, and not without end."""

from __future__ import annotations

from wasmos.servers.tcpip.names import Names


def test_a_name_counts_for_its_address_and_its_task() -> None:
    names = Names(most=4, seconds=10)
    names.learn(1, "a.example", 7, now=0)
    names.learn(1, "b.example", 7, now=0)
    names.learn(1, "c.example", 8, now=0)
    assert names.of(1, 7, now=0) == ["a.example", "b.example"]
    assert names.of(1, 8, now=0) == ["c.example"]
    assert names.of(1, 9, now=0) == []
    assert names.of(2, 7, now=0) == []


def test_an_answer_grows_old_and_is_renewed() -> None:
    names = Names(most=4, seconds=10)
    names.learn(1, "a.example", 7, now=100)
    assert names.of(1, 7, now=109.9) == ["a.example"]
    assert names.of(1, 7, now=110) == []
    names.learn(1, "a.example", 7, now=110)
    assert names.of(1, 7, now=119.9) == ["a.example"]


def test_the_oldest_answer_is_forgotten_first() -> None:
    names = Names(most=3, seconds=10)
    for address in (1, 2, 3):
        names.learn(1, "a.example", address, now=0)
    names.learn(1, "a.example", 1, now=0)  # again: the latest now
    names.learn(1, "a.example", 4, now=0)
    assert [address for address in range(6) if names.of(1, address, now=0)] == [1, 3, 4]
    names.learn(2, "b.example", 1, now=0)  # of another task: no matter
    assert names.of(1, 3, now=0) == ["a.example"]


def test_nothing_is_left_of_a_task() -> None:
    names = Names(most=3, seconds=10)
    names.learn(1, "a.example", 1, now=0)
    names.forget(1)
    names.forget(2)
    assert names._answers == {}
