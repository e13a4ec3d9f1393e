"""Rules that look into a message: each value of a field, to the byte."""

from __future__ import annotations

import pytest

import wasmos
from tests.support.services import NOT_ALLOWED, Anything, admits, send
from wasmos import abi

LEAST, MOST = -(2**31), 2**31 - 1


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ("-5..3", [-5, -1, 0, 3], [-6, 4, LEAST, MOST]),
        ("..-1", [LEAST, -1], [0, 1, MOST]),
        ("0..", [0, MOST], [-1, LEAST]),
        (f"{LEAST}", [LEAST], [LEAST + 1, MOST, 0]),
        (f"{MOST}", [MOST], [-1, LEAST, MOST - 1]),
        ("[1, 3, 10..12]", [1, 3, 10, 11, 12], [0, 2, 4, 9, 13]),
        ("-8..-5", [-8, -5], [-9, -4, 5, 8]),
        ("[-2, 2]", [-2, 2], [-1, 0, 1]),
    ],
)
def test_int32(kernel: wasmos.Kernel, rule: str, yes: list[int], no: list[int]) -> None:
    for value in yes + no:
        assert admits(kernel, f"pong.ping(value={rule})", abi.Ping(value)) == (value in yes), value
        assert admits(kernel, "pong", abi.Ping(value), f"pong.ping(value={rule})") == (value in no)


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        (f"{2**31}..", [2**31, 2**32 - 1], [0, 1, 2**31 - 1]),
        (f"..{2**31}", [0, 2**31 - 1, 2**31], [2**31 + 1, 2**32 - 1]),
        (f"{2**32 - 1}", [2**32 - 1], [2**31 - 1, 0]),
        (f"[0, {2**31 + 5}]", [0, 2**31 + 5], [5, 2**31]),
        ("256..511", [256, 511], [255, 512, 0]),
        (f"{2**31}..{2**32 - 1}", [2**31, 2**32 - 1], [2**31 - 1]),
    ],
)
def test_uint32(kernel: wasmos.Kernel, rule: str, yes: list[int], no: list[int]) -> None:
    for value in yes + no:
        assert admits(kernel, f"fs.read(len={rule})", abi.FsRead(0, value)) == (value in yes), value
        assert admits(kernel, "fs", abi.FsRead(0, value), f"fs.read(len={rule})") == (value in no)


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ("80", [80], [79, 81, 80 + 256, 0]),
        ("[80, 443, 8000..8100]", [80, 443, 8000, 8100], [442, 7999, 8101]),
        ("65535", [65535], [65534, 0]),
        ("1024..", [1024, 65535], [1023, 0]),
        ("32768..65535", [32768, 65535], [32767]),
    ],
)
def test_uint16(kernel: wasmos.Kernel, rule: str, yes: list[int], no: list[int]) -> None:
    for value in yes + no:
        rule_text = f"tcpip.listen(listen_port={rule})"
        assert admits(kernel, rule_text, abi.TcpipListen(value)) == (value in yes), value


@pytest.mark.parametrize("above", [0, 0x5555, 0xFFFF])
def test_a_uint16_is_two_bytes(kernel: wasmos.Kernel, above: int) -> None:
    """What lies behind it is none of its business, and not the message's either."""
    raw = kernel.encode(abi.TcpipListen(80))[:10] + above.to_bytes(2, "little") + bytes(8)
    assert admits(kernel, "tcpip.listen(listen_port=80)", raw)
    assert not admits(kernel, "tcpip.listen(listen_port=81)", raw)


def test_addresses(kernel: wasmos.Kernel) -> None:
    """By default, only public ones; a rule names the others."""
    public, private, loopback = 0x5DB8D822, 0x0A010203, 0x7F000001

    def to(address: int) -> abi.Message:
        return abi.TcpipConnect(address, 80)

    for rule, allowed in {
        "tcpip": [public], "tcpip.connect": [public], "tcpip.connect(dst_port=80)": [public],
        'tcpip.connect(dst_addr="10.0.0.0/8")': [private],
        'tcpip.connect(dst_addr=["10.0.0.0/8", "127.0.0.1"])': [private, loopback],
        'tcpip.connect(dst_addr="all")': [public, private, loopback],
        'tcpip.connect(dst_addr="128.0.0.0/1")': [], "tcpip.listen": [],
    }.items():  # fmt: skip
        for address in (public, private, loopback):
            assert admits(kernel, rule, to(address)) == (address in allowed), rule
    # Everything is everything, and what denies has no defaults.
    client = kernel.client("all", allow=["*"])
    assert send(client, "tcpip", to(loopback)) != NOT_ALLOWED
    assert not admits(kernel, 'tcpip.connect(dst_addr="all")', to(private), "tcpip.connect")


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ('"HOME"', ["HOME"], ["home", "HOM", "HOMES", "", "HOME "]),
        ('"LC_*"', ["LC_", "LC_ALL"], ["LC", "XLC_ALL", "lc_all"]),
        ('"*_PATH"', ["_PATH", "MAN_PATH"], ["PATH", "MAN_PATHS"]),
        ('"A?C"', ["ABC", "A/C"], ["AC", "ABBC"]),
        ('"a*b*c"', ["abc", "aXbYc", "abcbc"], ["ab", "acb", "abcd"]),
        ('["A", "B*"]', ["A", "B", "BA"], ["AB", "C"]),
        ('""', [""], ["A"]),
        ('"\\\\*"', ["*"], ["A", "", "**"]),
        ('"ä"', ["ä"], ["a", "Ä"]),
    ],
)
def test_plain_texts(kernel: wasmos.Kernel, rule: str, yes: list[str], no: list[str]) -> None:
    for name in yes + no:
        assert admits(kernel, f"env.get(name={rule})", abi.EnvGet(name)) == (name in yes), name
        assert admits(kernel, "env", abi.EnvGet(name), f"env.get(name={rule})") == (name in no)


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ("example.com", ["example.com", "EXAMPLE.com", "example.com.", "Example.Com."],
         ["example.com..", ".example.com", "www.example.com", "example.co", "", "."]),
        ("Example.COM.", ["example.com", "example.com."], ["example.org"]),
        ("*.example.com", ["www.example.com", "a.b.Example.Com", "x.example.com."],
         ["example.com", ".example.com", "badexample.com", "www.example.com.evil.org", "com"]),
        ("db?.local", ["db1.local", "DB2.LOCAL."], ["db.local", "db12.local"]),
        ("*", ["a", "a.b.", ""], []),
    ],
)  # fmt: skip
def test_hostnames(kernel: wasmos.Kernel, rule: str, yes: list[str], no: list[str]) -> None:
    for name in yes + no:
        message = abi.TcpipDnsResolve(name)
        text = f'tcpip.dns_resolve(hostname="{rule}")'
        assert admits(kernel, text, message) == (name in yes), name
        assert admits(kernel, "tcpip", message, text) == (name in no), name


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ("/data/a", ["/data/a", "data/a", "/data/a/", "data/a/"], ["/data", "/data/A", "/data/ab"]),
        ("/data/*", ["/data/a", "data/.a"], ["/data", "/data/a/b", "/datax/a"]),
        ("/data/**", ["/data/a", "/data/a/b/c"], ["/data", "/dat"]),
        ("/**", ["/", "", "/a", "/a/b"], []),
        ("/*.txt", ["/a.txt", "/.txt"], ["/a/b.txt", "/a.tx"]),
    ],
)
def test_paths(kernel: wasmos.Kernel, rule: str, yes: list[str], no: list[str]) -> None:
    for path in yes + no:
        text = f'fs.open(path="{rule}")'
        assert admits(kernel, text, abi.FsOpen(path, 0)) == (path in yes), path
        assert admits(kernel, "fs", abi.FsOpen(path, 0), text) == (path in no), path


@pytest.mark.parametrize("path", ["/data/../etc", "/data/./a", "/data//a", "..", "/a/..", "///",
                                  "/data/a//"])  # fmt: skip
def test_a_path_that_leads_elsewhere_fits_no_rule(kernel: wasmos.Kernel, path: str) -> None:
    """And every one that denies."""
    assert not admits(kernel, 'fs.open(path="/**")', abi.FsOpen(path, 0))
    assert not admits(kernel, 'fs.open(path="/data/**")', abi.FsOpen(path, 0))
    assert not admits(kernel, "fs", abi.FsOpen(path, 0), 'fs.open(path="/secret")')
    assert not admits(kernel, "fs", abi.FsOpen(path, 0), 'fs.open(path="/s*")')
    assert admits(kernel, "fs", abi.FsOpen(path, 0))  # who may open everything may open that


UNENDED = {
    "env": ("env.get(name=%s)", abi.EnvGet),
    "fs": ("fs.open(path=%s)", abi.FsOpen),
    "tcpip": ("tcpip.dns_resolve(hostname=%s)", abi.TcpipDnsResolve),
}


@pytest.mark.parametrize("service", UNENDED)
@pytest.mark.parametrize("like", ['"A"', '"*A"', '"A*"', '"*"', '"**"', '"*.a"'])
def test_a_text_without_an_end_is_never_allowed(
    kernel: wasmos.Kernel, service: str, like: str
) -> None:
    """It can't be told what it is, so no rule that cares allows it, and each one that does denies
    it: whatever it says."""
    rule, cls = UNENDED[service]
    raw = cls.TYPE.to_bytes(4, "little") + bytes(4) + b"A" * 256 + bytes(64)
    assert not admits(kernel, rule % like, raw)
    assert not admits(kernel, service, raw, rule % like)
    assert admits(kernel, service, raw)
    short = raw[:8] + b"A" * 255 + bytes(65)
    assert admits(kernel, service, short, rule % '"B"')


def test_a_length_of_a_text_without_an_end(kernel: wasmos.Kernel) -> None:
    raw = abi.EnvGet.TYPE.to_bytes(4, "little") + bytes(4) + b"A" * 256
    assert not admits(kernel, "env.get(len(name)=..255)", raw)
    assert not admits(kernel, "env", raw, "env.get(len(name)=7)")


def test_lengths(kernel: wasmos.Kernel) -> None:
    for size in (0, 1, 511, 512, 513, 1024):
        message = abi.FsWrite(3, b"x" * size)
        assert admits(kernel, "fs.write(len(data)=..512)", message) == (size <= 512)
        assert admits(kernel, "fs.write(len(data)=[0, 512])", message) == (size in (0, 512))
        assert admits(kernel, "fs", message, "fs.write(len(data)=512..)") == (size < 512)
        assert admits(kernel, "env.get(len(name)=3..)", abi.EnvGet("A" * (size % 7))) == (
            size % 7 >= 3
        )


@pytest.mark.parametrize("length", [1025, 2**31, 2**32 - 1])
def test_a_length_that_is_none(kernel: wasmos.Kernel, length: int) -> None:
    raw = kernel.encode(abi.FsWrite(3, b"x"))
    raw = raw[:1036] + length.to_bytes(4, "little") + raw[1040:]
    assert not admits(kernel, "fs.write(len(data)=..1024)", raw)


def test_all_fields_have_to_be_right(kernel: wasmos.Kernel) -> None:
    rule = 'tcpip.connect(dst_addr="8.8.8.8", dst_port=53)'
    for address, port in [(0x08080808, 53), (0x08080808, 54), (0x08080809, 53), (0, 0)]:
        right = (address, port) == (0x08080808, 53)
        assert admits(kernel, rule, abi.TcpipConnect(address, port)) == right


TWO = [("8.8.8.8", 53), ("9.9.9.9", 80)]


def test_of_two_rules_neither_lends_the_other_a_field(kernel: wasmos.Kernel) -> None:
    kernel.serve(Anything("tcpip"))
    rules = [f'tcpip.connect(dst_addr="{a}", dst_port={b})' for a, b in TWO]
    client = kernel.client("me", allow=rules)
    for address, port, right in [(8, 53, True), (9, 80, True), (8, 80, False), (9, 53, False)]:
        code = send(client, "tcpip", abi.TcpipConnect(address * 0x01010101, port))
        assert (code != NOT_ALLOWED) == right


def test_own_name(kernel: wasmos.Kernel) -> None:
    for rule in ("vm", "vm.service_register"):
        assert admits(kernel, rule, abi.ServiceRegister("web"), name="web")
        assert not admits(kernel, rule, abi.ServiceRegister("web"), name="we")
    assert admits(kernel, 'vm.service_register(name="web")', abi.ServiceRegister("web"), name="x")


def test_what_a_message_made_comes_with_it(kernel: wasmos.Kernel) -> None:
    """Who may open may read and close; but not who may write."""
    assert admits(kernel, 'fs.open(path="/a")', abi.FsClose(3))
    assert admits(kernel, 'fs.open(path="/a")', abi.FsRead(3, 9))
    assert not admits(kernel, 'fs.open(path="/a")', abi.FsWrite(3, b""))
    assert not admits(kernel, "fs.close", abi.FsOpen("/a", 0))


def test_types_that_nobody_has_heard_of(kernel: wasmos.Kernel) -> None:
    for type in (0, 5000, 2**31 - 1):
        raw = type.to_bytes(4, "little") + bytes(12)
        assert admits(kernel, "pong", raw)
        assert not admits(kernel, "pong.ping", raw)
        assert admits(kernel, "pong", raw, "pong.ping")
        assert not admits(kernel, "pong", raw, "pong")
        assert not admits(kernel, "pong", raw, "*")
