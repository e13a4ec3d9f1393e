"""The texts that map ports."""

from __future__ import annotations

import pytest

from wasmos.errors import UsageError
from wasmos.servers.tcpip.ports import PortMap, parse


def chosen(ports: PortMap, guest_port: int) -> list[list[str]]:
    return [[str(each) for each in choice] for choice in ports.choices(guest_port)]


@pytest.mark.parametrize(
    ("text", "endpoint", "guest_port"),
    [
        ("8080:80", "127.0.0.1:8080", 80),
        ("80:80", "127.0.0.1:80", 80),
        ("0:80", "127.0.0.1:0", 80),
        ("1:1", "127.0.0.1:1", 1),
        ("65535:65535", "127.0.0.1:65535", 65535),
        ("08080:080", "127.0.0.1:8080", 80),
        ("127.0.0.1:8080:80", "127.0.0.1:8080", 80),
        ("127.0.0.2:8080:80", "127.0.0.2:8080", 80),
        ("0.0.0.0:8080:80", "0.0.0.0:8080", 80),
        ("192.168.1.7:0:80", "192.168.1.7:0", 80),
        ("[::1]:8080:80", "[::1]:8080", 80),
        ("[::]:8080:80", "[::]:8080", 80),
        ("[0:0:0:0:0:0:0:1]:8080:80", "[::1]:8080", 80),
        ("[2001:db8::7]:0:80", "[2001:db8::7]:0", 80),
    ],
)
def test_meant(text: str, endpoint: str, guest_port: int) -> None:
    [found], port = parse(text)
    assert (str(found), port) == (endpoint, guest_port)


def test_a_range() -> None:
    found, port = parse("[::1]:8080-8082:80")
    assert [str(each) for each in found] == ["[::1]:8080", "[::1]:8081", "[::1]:8082"]
    assert port == 80
    [choice] = chosen(PortMap(["8080-8082:80"]), 80)
    assert choice == ["127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:8082"]


@pytest.mark.parametrize(
    "text",
    [
        "8-7:80", "0-3:80", "1-2000:80", "1-:80", "-2:80", "1-2-3:80",
        "", ":", "::", "80", ":80", "80:", "8080:0", "65536:80", "80:65536", "-1:80", "80:-1",
        "8_0:80", " 80:80", "80:80 ", "+80:80", "0x50:80", "٨٠:80", "²:80", "a:80", "80:http",
        "999999999999:80", "localhost:8080:80", ":8080:80", "*:8080:80", "127.1:8080:80",
        "127.0.0.01:8080:80", "256.0.0.1:8080:80", "::1:8080:80", "[::1:8080:80", "::1]:8080:80",
        "[]:8080:80", "[127.0.0.1]:8080:80", "[fe80::1%eth0]:8080:80", "[::1]8080:80",
        "127.0.0.1:8080:80:80", "http://x:8080:80", "127.0.0.1::80",
    ],
)  # fmt: skip
def test_not_meant(text: str) -> None:
    with pytest.raises(UsageError, match="port"):
        PortMap([text])


def test_several_endpoints_for_one_guest_port() -> None:
    ports = PortMap(["8080:80", "[::1]:8080:80", "8443:443", "0:80", "0:80"])
    assert chosen(ports, 80) == [
        ["127.0.0.1:8080"],
        ["[::1]:8080"],
        ["127.0.0.1:0"],
        ["127.0.0.1:0"],
    ]
    assert ports.guest_ports == [80, 443]
    assert ports.choices(81) == []


def test_one_text_is_no_list_of_letters() -> None:
    assert PortMap("8080:80").guest_ports == [80]


def test_the_same_endpoint_twice() -> None:
    with pytest.raises(UsageError, match="taken by '8080:80'"):
        PortMap(["8080:80", "127.0.0.1:8080:81"])


def test_unmapped() -> None:
    assert chosen(PortMap(unmapped="loopback"), 81) == [["127.0.0.1:81"]]
    any_free = PortMap(["8080:80"], unmapped="any")
    assert chosen(any_free, 81) == [["127.0.0.1:0"]]
    assert chosen(any_free, 80) == [["127.0.0.1:8080"]]
    with pytest.raises(UsageError, match="unmapped"):
        PortMap(unmapped="all")
