"""Badges: what makes sense, what they match, and what is said of the rest."""

from __future__ import annotations

import pytest

import wasmos
from wasmos import abi
from wasmos.servers.tcpip import badges, check_badge
from wasmos.servers.tcpip.badges import endpoints_of, is_for


@pytest.mark.parametrize(
    "badge",
    [
        {},
        {"host": "example.com"},
        {"host": "*.example.com"},
        {"host": "*"},
        {"host": "example.com."},
        {"bind": "8080"},
        {"bind": "0"},
        {"bind": "127.0.0.1:8080"},
        {"bind": "0.0.0.0:0"},
        {"bind": "[::1]:8080"},
        {"bind": "8080-8089"},
        {"bind": "[::1]:8080-8089", "host": "db.internal"},
    ],
    ids=str,
)
def test_good_badges(badge: dict[str, str]) -> None:
    check_badge(badge)


@pytest.mark.parametrize(
    ("badge", "problem"),
    [
        ({"hots": "a"}, "tcpip: no badge parameter 'hots'; there are host, bind"),
        ({"host": ""}, "tcpip: host '' is no name; any name is \"*\""),
        ({"host": "."}, "is no name"),
        ({"host": "example.com:443"}, "has a colon in it; for a port write dst_port"),
        ({"host": "http://example.com"}, "is no name of a host"),
        ({"host": "10.0.0.0/8"}, "for an address or a network write dst_addr"),
        ({"host": "10.0.0.1"}, "for an address or a network write dst_addr"),
        ({"host": "2130706433"}, "for an address or a network write dst_addr"),
        ({"host": "a b"}, "has a space"),
        ({"host": "a\n"}, "has a space or a control character"),
        ({"host": "a\\b"}, "what follows a backslash"),
        ({"host": "foo..bar"}, "tcpip: host 'foo..bar' can't be a name: a part of it is empty"),
        ({"host": "a" * 64}, "a part of it is longer than 63 characters"),
        ({"host": "ü.de"}, "can't be a name: names are letters"),
        ({"host": "a" * 300}, "255 bytes at most"),
        ({"bind": ""}, "tcpip: bind '': '' is no port; a port is 0 to 65535"),
        ({"bind": "x"}, "'x' is no port"),
        ({"bind": "65536"}, "'65536' is no port"),
        ({"bind": "-1"}, "'' is no port"),
        ({"bind": ":80"}, "nothing stands before the first colon"),
        ({"bind": "8080:80"}, "'8080' is no numeric address"),
        ({"bind": "localhost:80"}, 'as in "[::1]:8080"'),
        ({"bind": "::1:80"}, "'::1' is no numeric address"),
        ({"bind": "[::1%lo]:80"}, "is no numeric address"),
        ({"bind": "0-10"}, "a range has 1 to 1000 ports"),
        ({"bind": "20-10"}, "a range has 1 to 1000 ports"),
        ({"bind": "1-1001"}, "a range has 1 to 1000 ports"),
    ],
    ids=str,
)
def test_bad_badges(badge: dict[str, str], problem: str) -> None:
    with pytest.raises(wasmos.UsageError) as caught:
        check_badge(badge)
    assert problem in str(caught.value)
    assert str(caught.value).startswith("tcpip: ")


def test_where_a_port_is() -> None:
    assert [str(each) for each in endpoints_of("8080")] == ["127.0.0.1:8080"]
    assert [str(each) for each in endpoints_of("[::]:1-3")] == ["[::]:1", "[::]:2", "[::]:3"]


NAMES = [
    ("example.com", "example.com", True),
    ("example.com", "EXAMPLE.com.", True),
    ("Example.COM.", "example.com", True),
    ("example.com", "www.example.com", False),
    ("example.com", "notexample.com", False),
    ("example.com", "example.com.evil.test", False),
    ("*.example.com", "a.example.com", True),
    ("*.example.com", "a.b.example.com.", True),
    ("*.example.com", "example.com", False),
    ("*.example.com", ".example.com", False),
    ("*.example.com", "evilexample.com", False),
    ("*.example.com", "a.example.com.evil.test", False),
    ("*", "anything.test", True),
    ("a?.example", "ab.example", True),
    ("a?.example", "abc.example", False),
    ("example.com", "exam\u212ale.com", False),
    ("kelvin.example", "\u212aelvin.example", False),
    ("*.example.com", "a\u3002example.com", False),
    ("*.example.com", "\udcff.example.com", True),
    ("a\\b", "ab", False),  # no pattern at all
    ('a"b', 'a"b', True),
]


@pytest.mark.parametrize(("pattern", "name", "fits"), NAMES)
def test_what_a_host_is_for(pattern: str, name: str, fits: bool) -> None:
    assert is_for(pattern, name) == fits
    assert is_for(pattern, name) == fits  # and once more, from what is known


def test_a_host_is_what_a_hostname_in_a_rule_is() -> None:
    with wasmos.Kernel() as kernel:
        for pattern, name, fits in NAMES:
            if "\\" in pattern or '"' in pattern:
                continue
            rule = kernel.parse_rule(f'tcpip.dns_resolve(hostname="{pattern}")')
            assert rule.admits(abi.TcpipDnsResolve(name)) == fits


def test_what_is_known_of_patterns_is_bounded() -> None:
    for number in range(1000):
        assert is_for(f"{number}.example", f"{number}.example")
    assert len(badges._known) <= badges.MAX_KNOWN
