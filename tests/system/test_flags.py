"""Shorthands of the command line: what each stands for, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from wasmos import UsageError
from wasmos.kernel import Rule
from wasmos.system import flags


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("./data::/data:ro", 'fs(dir="{cwd}/data", at="/data", mode="ro")'),
        ("data::/a/b", 'fs(dir="{cwd}/data", at="/a/b", mode="rw")'),
        ("data::/data:rw", 'fs(dir="{cwd}/data", at="/data", mode="rw")'),
        ("data", 'fs(dir="{cwd}/data", at="/data", mode="rw")'),
        ("./a/b/:ro", 'fs(dir="{cwd}/a/b", at="/a/b", mode="ro")'),
        (".", 'fs(dir="{cwd}", at="/", mode="rw")'),
        ("/srv/www", 'fs(dir="/srv/www", at="/srv/www", mode="rw")'),
        ("/srv/../etc::/etc", 'fs(dir="/etc", at="/etc", mode="rw")'),
        ('a"b\\c::/x', r'fs(dir="{cwd}/a\"b\\c", at="/x", mode="rw")'),
        ("a\n::/x", r'fs(dir="{cwd}/a\n", at="/x", mode="rw")'),
        ("a:b::/x", 'fs(dir="{cwd}/a:b", at="/x", mode="rw")'),
        # There is no other beginning than the root.
        (".::.", 'fs(dir="{cwd}", at="/", mode="rw")'),
        (".::.:ro", 'fs(dir="{cwd}", at="/", mode="ro")'),
        (".::/.", 'fs(dir="{cwd}", at="/", mode="rw")'),
        ("data::x", 'fs(dir="{cwd}/data", at="/x", mode="rw")'),
        ("data::./x/./y//", 'fs(dir="{cwd}/data", at="/x/y", mode="rw")'),
        ("data:://x", 'fs(dir="{cwd}/data", at="/x", mode="rw")'),
        # A colon in a path is one where the mode is said, too.
        ("a::/x:y:ro", 'fs(dir="{cwd}/a", at="/x:y", mode="ro")'),
        ("a::/data:r0:rw", 'fs(dir="{cwd}/a", at="/data:r0", mode="rw")'),
        ("data::/data:overlay", 'fs(dir="{cwd}/data", at="/data", mode="overlay")'),
        ("ro", 'fs(dir="{cwd}/ro", at="/ro", mode="rw")'),
        ("..data", 'fs(dir="{cwd}/..data", at="/..data", mode="rw")'),
        # A file is an archive.
        ("lib.zip::/lib", 'fs(archive="{cwd}/lib.zip", at="/lib", mode="ro")'),
        ("./lib.zip:ro", 'fs(archive="{cwd}/lib.zip", at="/lib.zip", mode="ro")'),
        ("lib.zip::/lib:overlay", 'fs(archive="{cwd}/lib.zip", at="/lib", mode="overlay")'),
        ("a:b:ro", 'fs(dir="{cwd}/a:b", at="/a:b", mode="ro")'),
    ],
)
def test_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, rule: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lib.zip").touch()
    found = Rule.parse(flags.directory(text))
    assert str(found) == str(Rule.parse(rule.replace("{cwd}", str(tmp_path))))


def test_directories_as_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lib.zip").touch()
    home = f'fs(dir="{tmp_path}'
    zipped = f'fs(archive="{tmp_path}/lib.zip", at="/lib.zip", mode="ro")'
    cases: list[tuple[object, str]] = [
        (Path("data"), f'{home}/data", at="/data", mode="rw")'),
        (tmp_path, f'{home}", at="{tmp_path}", mode="rw")'),
        (Path(), f'{home}", at="/", mode="rw")'),
        # Nothing of a path is another one, or a mode.
        (Path("a::b:ro"), f'{home}/a::b:ro", at="/a::b:ro", mode="rw")'),
        (Path("lib.zip"), zipped),
        ((Path("data"), "/x"), f'{home}/data", at="/x", mode="rw")'),
        (("a::b:ro", "/x:ro"), f'{home}/a::b:ro", at="/x", mode="ro")'),
        (("~", "."), f'{home}/~", at="/", mode="rw")'),
        ((Path("data"), Path("/x")), f'{home}/data", at="/x", mode="rw")'),
    ]
    for given, rule in cases:
        assert str(Rule.parse(flags.directory(given))) == str(Rule.parse(rule))
    assert flags.directories(Path("lib.zip")) == [("lib.zip", zipped)]
    found = flags.directories({Path("data"): "/x:ro", "b": "/y"})
    assert [text for text, _ in found] == ["data::/x:ro", "b::/y"]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (5, "a directory is a text or a path, not 5"),
        (b"data", "a directory is a text or a path, not b'data'"),
        (("data", None), "a directory is a text or a path, not None"),
        (("data", "/x:r0"), "directory 'data::/x:r0': 'r0' is no mode"),
        (("data", ""), "write HOST::GUEST"),
        (Path("../x"), "say where the program sees it"),
        ((Path(), Path("a"), Path("b")), "a directory is a path and where it is seen, not "),
    ],
)
def test_what_is_no_directory(given: object, error: str) -> None:
    with pytest.raises(UsageError) as caught:
        flags.directory(given)
    assert error in str(caught.value)


def test_the_parent_of_a_link_is_where_it_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/away")
    monkeypatch.chdir(tmp_path)
    assert Rule.parse(flags.directory("link/..::/x")).badge["dir"] == f"{tmp_path}/far"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", 'write HOST::GUEST, for example "./data::/data:ro"'),
        ("::/x", "write HOST::GUEST"), (":ro", "write HOST::GUEST"),
        ("data::", "write HOST::GUEST"), ("data:::ro", "write HOST::GUEST"),
        ("..", 'say where the program sees it, for example "..::/data"'),
        # They may be anywhere, and not where they seem to be.
        ("link/..", 'say where the program sees it, for example "link/..::/data"'),
        ("link/../x:ro", 'for example "link/../x::/x"'), ("/link/../x", "say where"),
        ("~/..", "say where"), ("~/../x", "say where"),
        # What was to be read only isn't writable at another path.
        (".::/data:r0", "directory '.::/data:r0': 'r0' is no mode; write \":ro\", \":rw\" or "
                        '":overlay", or, if it is in the path, ".::/data:r0:rw"'),
        (".::/data:RO", "'RO' is no mode"), (".::/data:ro ", "'ro ' is no mode"),
        (".::/data:", "'' is no mode"), (".::/data:ro,", "'ro,' is no mode"),
        (".::/a:b/c", "'b/c' is no mode"), ("data:RO", "'RO' is no mode"), ("data:r", "'r' is no"),
        (".:/data", "'/data' is no mode; write HOST::GUEST, for example \".::/data\""),
        ("../other", 'say where the program sees it, for example "../other::/other"'),
    ],
)  # fmt: skip
def test_wrong_directories(text: str, error: str) -> None:
    with pytest.raises(UsageError) as caught:
        flags.directory(text)
    assert error in str(caught.value)


def test_an_archive_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "lib.tar").touch()
    with pytest.raises(UsageError, match="a file is an archive, which stays as it is; write"):
        flags.directory(f"{tmp_path}/lib.tar::/lib:rw")


@pytest.mark.parametrize(
    ("ports", "rules", "mapped"),
    [
        (["8080:80"], ['tcpip.listen(bind="127.0.0.1:8080", listen_port=80)'], []),
        (["0:80"], ['tcpip.listen(bind="127.0.0.1:0", listen_port=80)'], []),
        (["0.0.0.0:1-9:80"], ['tcpip.listen(bind="0.0.0.0:1-9", listen_port=80)'], []),
        (["[::1]:1:443"], ['tcpip.listen(bind="[::1]:1", listen_port=443)'], []),
        (
            ["1:80", "2:81"],
            [f'tcpip.listen(bind="127.0.0.1:{n}", listen_port={79 + n})' for n in (1, 2)],
            [],
        ),
        (["1:80", "2:80"], ["tcpip.listen(listen_port=80)"], ["1:80", "2:80"]),
    ],
)
def test_ports(ports: list[str], rules: list[str], mapped: list[str]) -> None:
    found, left = flags.listening(ports)
    assert ([str(Rule.parse(rule)) for rule in found], left) == (rules, mapped)


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("example.com:443", ['tcpip.dns_resolve(hostname="example.com")',
                             'tcpip.connect(host="example.com", dst_port=443)']),
        ("x.org.", ['tcpip.dns_resolve(hostname="x.org")', 'tcpip.connect(host="x.org.")']),
        ("a_b-1.x.org:1", ['tcpip.dns_resolve(hostname="a_b-1.x.org")',
                           'tcpip.connect(host="a_b-1.x.org", dst_port=1)']),
        ("*.x.org", ['tcpip.dns_resolve(hostname="*.x.org")', 'tcpip.connect(host="*.x.org")']),
        ("10.0.0.0/8", ['tcpip.connect(dst_addr="10.0.0.0/8")']),
        ("93.184.216.34:80", ['tcpip.connect(dst_addr="93.184.216.34", dst_port=80)']),
        ("any", ["tcpip.connect", "tcpip.dns_resolve"]),
        ("any:443", ["tcpip.connect(dst_port=443)", "tcpip.dns_resolve"]),
        ("all", ['tcpip.connect(dst_addr="all")', "tcpip.dns_resolve"]),
        ("none", []),
    ],
)  # fmt: skip
def test_destinations(text: str, rules: list[str]) -> None:
    assert [str(Rule.parse(rule)) for rule in flags.connecting(text)] == rules


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("al", "no destination 'al'; did you mean 'all'?"),
        ("anny:443", "no destination 'anny:443'; did you mean 'any'?"),
        ("db:80", "no destination 'db:80'; a name has a dot in it; or write \"any\" or \"all\""),
        ("", "no destination ''; "), (":80", "no destination ':80'; "),
        ("localhost:80", "'localhost:80': that is this host; write 127.0.0.1:80"),
        ("localhost", "'localhost': that is this host; write 127.0.0.1"),
        ("10.0.0.0/99", 'a network such as "10.1.0.0/16"'),
        ("1.2.3", 'write a name, "any", an IPv4'),
        ("any:0", "'0' is no port; a port is 1 to 65535"), ("x.com:http", "'http' is no port"),
        ("x.com:99999", "is no port"), ("x.com:00008099999", "is no port"),
        (f"x.com:000001{'1' * 5000}", "is no port"),
        ("http://x.com", "destination 'http://x.com' is a URL; write x.com:80"),
        ("https://u:p@x.com:8443/a?b#c", "is a URL; write x.com:8443"),
        ("https://x.com/a", "is a URL; write x.com:443"),
        ("ftp://x.com/", "a URL; write x.com:PORT"),
        ("http://", "'http://' is a URL; write HOST:PORT"),
        ("http://[::1]:80/", "is a URL; write HOST:PORT"), ("http://x:y/", "write HOST:PORT"),
        ("[::1]:80", "is no IPv4 address or name"), ("::1", "is no IPv4 address or name"),
        ("fe80::1:80", "tcpip connects over IPv4"),
        ("foo..bar:443", "'foo..bar' can't be a name: a part of it is empty"),
        (".foo.bar", "a part of it is empty"), ("foo.bar..", "a part of it is empty"),
        (f"{'a' * 64}.com", "a part of it is longer than 63 characters"),
        (".".join(["a" * 60] * 5), "it is longer than 253 characters"),
        ("f/o.bar:80", "letters, digits"), ("f o.bar", "letters, digits"), ("ü.de", "xn--"),
        ("*..com", "a part of it is empty"), ("*.com:0", "is no port"),
        ("10.0.0.1/8:443", "has bits behind the first 8; did you mean \"10.0.0.0/8\"?"),
        ("10.0.0.1/8", "destination '10.0.0.1/8': \"10.0.0.1/8\" has bits behind the first 8"),
        ("010.0.0.1", 'write a name, "any", an IPv4 address'),
        ("all:443", "'all' stands without a port; with one there are \"any:443\" and "
                    '"0.0.0.0/0:443"'),
        ("none:1", "'none' stands without a port"),
    ],
)  # fmt: skip
def test_wrong_destinations(text: str, error: str) -> None:
    with pytest.raises(UsageError) as caught:
        flags.connecting(text)
    assert error in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [("A", "A", None), ("A=", "A", ""), ("A=b=c", "A", "b=c"), ("é.x", "é.x", None)],
)
def test_variables(text: str, name: str, value: str | None) -> None:
    found = flags.variable(text)
    assert found[:2] == (name, value)
    assert str(Rule.parse(found[2])) == f'env.get(name="{name}")'


@pytest.mark.parametrize("text", ["", "=x", "A*", "*", "A\n=x"])
def test_wrong_variables(text: str) -> None:
    """A star would be a pattern in the rule: for more than one variable."""
    with pytest.raises(UsageError, match="write NAME or NAME=VALUE"):
        flags.variable(text)


@pytest.mark.parametrize(
    "texts",
    [
        ["/a::/d:ro", "/b::/d"],
        ["/a::/d", "/b::/d/"],
        ["/a::/d", "/x::/e", "/a::/d"],
        ["/a::/", "/b::/."],
    ],
)
def test_two_directories_at_one_place(texts: list[str]) -> None:
    """One would hide the other, and what it says of writing."""
    with pytest.raises(UsageError, match="are both at /"):
        flags.directories(texts)


def test_directories_beside_and_in_each_other() -> None:
    rules = [rule for _, rule in flags.directories(["/a::/d", "/b::/d/e:ro", "/a::/f"])]
    assert rules == [flags.directory(text) for text in ("/a::/d", "/b::/d/e:ro", "/a::/f")]
