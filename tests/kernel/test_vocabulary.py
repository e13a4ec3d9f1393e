"""What a vocabulary makes of interfaces."""

from __future__ import annotations

from types import SimpleNamespace

from tests.support.rules import Bare, Mix, Told, vocabulary
from wasmos import abi
from wasmos.kernel.vocabulary import Vocabulary, nearest

# What is covered by a capability for `tcpip_listen`.
LISTEN = {53, 55, 57, 59, 155, 157, 159, 161, 163, 165}


def test_the_usual_one_is_that_of_the_abi() -> None:
    words = Vocabulary.default()
    assert words is Vocabulary.default()
    assert words.services == tuple(abi.SERVICES)
    assert {name: tuple(words.takes(name)) for name in abi.SERVICES} == abi.SERVICES
    for service, badges in abi.BADGES.items():
        assert words.badges(service) == badges
    assert words.badges("console") == ()


def test_short_names_are_read_as_long_ones() -> None:
    words = vocabulary()
    for service in words.services:
        for name, request in words.takes(service).items():
            short = words.short(service, request)
            assert words.request(service, short) is request
            assert words.request(service, name) is request


def test_a_full_name_comes_first() -> None:
    words = vocabulary()
    assert words.request("lab", "mix") is Bare
    assert words.short("lab", Mix) == "lab_mix"
    assert words.request("lab", "told") is Told


def test_nobody_sends_what_services_send() -> None:
    words = vocabulary()
    assert words.request("tcpip", "data") is None
    assert words.request("lab", "heard") is None
    requests = words.takes("somebody's own")
    assert "fs_open" in requests
    assert "lab_told" in requests
    assert not {"tcpip_data", "lab_heard", "notify", "page_fault"} & set(requests)


def test_what_covers_what() -> None:
    words = vocabulary()
    assert words.covers(53) == LISTEN
    assert words.covers(55) == {55}
    assert words.covers(1001) == {1001, 1005, 1007}
    for covered, by in abi.COVERED_BY.items():
        assert all(covered in words.covers(number) for number in by)


def test_two_that_cover_each_other() -> None:
    words = Vocabulary(SimpleNamespace(COVERED_BY={1: (3,), 3: (1,), 5: (5,)}))
    assert words.covers(1) == words.covers(3) == {1, 3}
    assert words.covers(5) == {5}


def test_an_own_name_has_every_parameter() -> None:
    words = vocabulary()
    assert words.badges("lab") == ("dir", "mode")
    assert set(words.badges("mine")) == {b for badges in abi.BADGES.values() for b in badges}


def test_what_it_was_made_of() -> None:
    words = vocabulary()
    assert words.knows("lab")
    assert list(words.takes("lab2")) == ["lab_mix", "ping"]
    assert words.message(1001) is Mix
    assert words.message(99999) is None
    assert words.guarded("lab") == (1001, 1003, 1005)
    assert words.guarded("console") == ()


def test_what_it_was_not_made_of() -> None:
    words = Vocabulary()
    assert not words.knows("lab")
    assert "lab_mix" not in words.takes("lab")
    assert words.covers(1001) == {1001}
    assert words.message(1001) is None


def test_a_module_of_before_badges_will_do() -> None:
    old = SimpleNamespace(
        MESSAGES={}, RPCS={}, ONEWAYS={}, SERVICES={"old": ()}, EVENTS={}, KERNEL_ONLY=frozenset()
    )
    words = Vocabulary(abi, old)
    assert words.badges("old") == ()
    assert words.takes("old") == {}
    assert words.covers(53) == LISTEN


def test_the_nearest() -> None:
    assert nearest("lisen", ["listen", "write"]) == "did you mean 'listen'?"
    assert nearest("x", ["listen", "write"]) == "there are: listen, write"
    assert nearest("x", ["listen"]) == "there is: listen"
    assert nearest("x", []) == "there is none"
