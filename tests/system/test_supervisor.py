"""When a task is started again, by an imagined clock."""

from __future__ import annotations

import pytest

from wasmos.kernel import Exit
from wasmos.system.supervisor import MAX_BACKOFF_SECONDS, WINDOW_SECONDS, Lives, Restart

GOOD = Exit(1, "t", "returned", 0)
BAD = Exit(1, "t", "returned", 3)
ENDS = {cause: Exit(1, "t", cause) for cause in ("trapped", "refused", "cpu_limit", "deadline")}
KILLED = Exit(1, "t", "killed")


@pytest.mark.parametrize(
    ("mode", "applies", "not_applies"),
    [
        ("never", [], [GOOD, BAD, KILLED, None, *ENDS.values()]),
        ("on-failure", [BAD, None, *ENDS.values()], [GOOD, KILLED]),
        ("always", [GOOD, BAD, KILLED, None, *ENDS.values()], []),
    ],
)
def test_which_ends_count(
    mode: str, applies: list[Exit | None], not_applies: list[Exit | None]
) -> None:
    for exit in (*applies, *not_applies):
        lives = Lives(Restart(mode))
        lives.began(0)
        assert (lives.ended(1, exit) is not None) == (exit in applies)
        assert not lives.given_up


def delays(lives: Lives, life: float, count: int, start: float = 0.0) -> list[float | None]:
    """The waits between lives that all last so long."""
    now, found = start, []
    for _ in range(count):
        lives.began(now)
        now += life
        found.append(lives.ended(now, BAD))
        now += found[-1] or 0
    return found


def test_it_waits_longer_and_longer() -> None:
    lives = Lives(Restart("always", 0.1, max_restarts=1000))
    assert delays(lives, 1, 9) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10])


def test_a_longer_first_wait_is_not_shortened() -> None:
    assert delays(Lives(Restart("always", 30, max_restarts=9)), 1, 3) == [30, 30, 30]
    assert MAX_BACKOFF_SECONDS == 10


def test_who_lives_for_long_begins_anew() -> None:
    lives = Lives(Restart("always", 0.1, max_restarts=1000))
    assert delays(lives, 1, 3) == [0.1, 0.2, 0.4]
    assert delays(lives, WINDOW_SECONDS - 1, 1, 100) == [0.8]
    assert delays(lives, WINDOW_SECONDS, 2, 1000) == [0.1, 0.1]


def test_too_many_within_a_minute() -> None:
    lives = Lives(Restart("on-failure", 0.1, max_restarts=3))
    assert delays(lives, 0.5, 4) == [0.1, 0.2, 0.4, None]
    assert lives.given_up
    lives.began(1000)  # somebody has started it again
    assert not lives.given_up


def test_those_of_a_minute_ago_do_not_count() -> None:
    lives = Lives(Restart("on-failure", 0.1, max_restarts=3))
    # It lives for 30 s each time: there are never three within a minute.
    assert None not in delays(lives, 30, 20)
    lives = Lives(Restart("on-failure", 0.1, max_restarts=1))
    assert delays(lives, 30, 2) == [0.1, None]


def test_none_at_all() -> None:
    lives = Lives(Restart("always", max_restarts=0))
    assert delays(lives, 100, 1) == [None]
    assert lives.given_up


def test_an_end_that_is_none_to_go_on_from_is_not_given_up() -> None:
    lives = Lives(Restart("on-failure"))
    lives.began(0)
    assert (lives.ended(1, GOOD), lives.given_up) == (None, False)


def test_what_could_not_be_started_waits_longer_too() -> None:
    """It has no life that could be long."""
    lives = Lives(Restart("on-failure", 1, max_restarts=9))
    assert [lives.ended(now) for now in (0, 100, 200)] == [1, 2, 4]


def test_a_rule_is_a_value() -> None:
    one = Restart("always", 2.0, 7)
    assert one == Restart("never").replace(mode="always", backoff_seconds=2.0, max_restarts=7)
    assert one != Restart("always") and hash(one) == hash(one.replace())
    assert repr(one) == "<Restart always, 2 s, 7 times>"
