"""Which addresses are public, in all their forms, and what rules allow."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmos.errors import UsageError
from wasmos.servers.tcpip.addresses import NOT_PUBLIC_V4, Destinations, is_public

PUBLIC = """
    1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 93.184.215.14 100.63.255.255 100.128.0.0
    126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0
    191.255.255.255 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0
    198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0
    223.255.255.255
    2606:4700:4700::1111 2a00:1450:4001:80b::200e 2001:4860:4860::8888 2001:200::
    2001:db9::1 2003::1 3ffe:ffff::1 64:ff9b::8.8.8.8 ::ffff:8.8.8.8 ::ffff:808:808
"""

NOT_PUBLIC = """
    0.0.0.0 0.0.0.1 0.255.255.255 10.0.0.0 10.0.0.1 10.255.255.255 100.64.0.0 100.100.100.200
    100.127.255.255 127.0.0.0 127.0.0.1 127.0.0.53 127.1.2.3 127.255.255.255 169.254.0.0
    169.254.169.254 169.254.170.2 169.254.255.255 172.16.0.0 172.17.0.1 172.31.255.255
    192.0.0.0 192.0.0.192 192.0.0.255 192.0.2.1 192.88.99.1 192.168.0.0 192.168.0.1
    192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.7 203.0.113.7 224.0.0.0 224.0.0.1
    239.255.255.250 240.0.0.0 255.255.255.254 255.255.255.255
    :: ::1 ::127.0.0.1 ::8.8.8.8 0:0:0:0:0:0:0:1
    ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0.0.0.0
    ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::a9fe:a9fe
    64:ff9b:1::8.8.8.8 100::1 2001::1 2001:0:53aa:64c::1 2001:2::1 2001:10::1 2001:20::1
    2001:db8::1 2002:7f00:1:: 2002:a00:1::1 2002:808:808::1 3fff::1 5f00::1 fc00::1 fd00::1
    fd00:ec2::254 fe80::1 febf::1 fec0::1 ff02::1 ff0e::1 4000::1 ffff::
"""


@pytest.mark.parametrize("text", PUBLIC.split())
def test_public(text: str) -> None:
    assert is_public(text)


@pytest.mark.parametrize("text", NOT_PUBLIC.split())
def test_not_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize(
    "text",
    [
        "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1",
        "127.0.0.1.", " 127.0.0.1", "127.0.0.1\n", "127.0.0.1/8", "127.0.0.1:80", "[::1]",
        "127。0。0。1", "①②⑦.0.0.1", "localhost", "", "::1/128", ":::1", "::ffff:0177.0.0.1",
    ],
)  # fmt: skip
def test_other_forms_are_no_addresses(text: str) -> None:
    """A name is resolved before it is judged; nothing is guessed from its looks."""
    with pytest.raises(ValueError, match=r".*"):
        is_public(text)


@given(number=st.integers(0, 0xFFFF_FFFF))
def test_every_form_of_one_address_is_judged_alike(number: int) -> None:
    address = IPv4Address(number)
    judged = is_public(address)
    assert judged == (not any(address in network for network in NOT_PUBLIC_V4))
    assert is_public(number) == judged
    assert is_public(str(address)) == judged
    assert is_public(f"::ffff:{address}") == judged
    assert is_public(f"64:ff9b::{address}") == judged


@given(number=st.integers(0, 0xFFFF_FFFF))
def test_what_is_public_is_global(number: int) -> None:
    """Ours is the stricter table."""
    if is_public(number):
        assert IPv4Address(number).is_global


@pytest.mark.parametrize(
    ("rules", "address", "port", "allowed"),
    [
        (["any"], "93.184.215.14", 80, True),
        (["any"], "127.0.0.1", 80, False),
        (["any"], "10.0.0.1", 80, False),
        (["any", "10.0.0.1"], "10.0.0.1", 80, True),
        (["any", "10.0.0.1"], "10.0.0.2", 80, False),
        (["10.1.0.0/16"], "10.1.255.255", 80, True),
        (["10.1.0.0/16"], "10.2.0.0", 80, False),
        (["10.1.0.0/16"], "93.184.215.14", 80, False),
        (["any:443"], "93.184.215.14", 443, True),
        (["any:443"], "93.184.215.14", 80, False),
        (["127.0.0.1:5432"], "127.0.0.1", 5432, True),
        (["127.0.0.1:5432"], "127.0.0.1", 5433, False),
        (["10.0.0.0/8:80", "any:443"], "10.0.0.1", 443, False),
        (["0.0.0.0/0"], "127.0.0.1", 1, True),
        ([], "93.184.215.14", 80, False),
    ],
)
def test_rules(rules: list[str], address: str, port: int, allowed: bool) -> None:
    assert Destinations(rules).allow(IPv4Address(address), port) is allowed


@pytest.mark.parametrize(
    "rule",
    ["", "all", "none", "*", "10.0.0.1/8", "10.0.0.0/33", "any:", "any:0", "any:65536", "any:-1",
     "any:x", "any:80:80", "example.org", "::1", "[::1]:80", "10.0.0", "any:99999999999",
     "any:00008099999", f"any:000001{'1' * 5000}"],
)  # fmt: skip
def test_no_rules(rule: str) -> None:
    with pytest.raises(UsageError, match="destination"):
        Destinations([rule])
