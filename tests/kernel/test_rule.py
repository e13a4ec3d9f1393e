"""Rules: what they say, what they refuse to say, and that covering is never claimed wrongly."""

from __future__ import annotations

import copy
import itertools
import subprocess
import sys

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import wasmos
from tests.support.rules import (
    REQUESTS,
    VOCABULARY,
    After,
    Later,
    Mix,
    Names,
    Told,
    encoded,
    messages,
    passes,
    rule_texts,
)
from wasmos import RuleError, abi
from wasmos.abi.networks import PUBLIC
from wasmos.kernel.rule import Rule, covered, exactly, split
from wasmos.kernel.spoken import SPOKEN


def lab(text: str) -> Rule:
    return Rule.parse(text, VOCABULARY)


# --- the language ---

GOOD = {
    "console": "console",
    " console ": "console",
    "*": "*",
    "my-own_service2": "my-own_service2",
    '"two words"': '"two words"',
    "'console'": "console",
    '"a.b(c)"': '"a.b(c)"',
    "tcpip.listen": "tcpip.listen",
    "tcpip.tcpip_listen": "tcpip.listen",
    "blk_device.blk_read": "blk_device.blk_read",
    "pong.ping": "pong.ping",
    "echo.echo": "echo.echo",
    "mine.fs_open": "mine.fs_open",
    "tcpip.listen(listen_port=80)": "tcpip.listen(listen_port=80)",
    "tcpip.listen ( listen_port = 0x50 ) ": "tcpip.listen(listen_port=80)",
    "tcpip.listen(listen_port=[443, 80, 80])": "tcpip.listen(listen_port=[80, 443])",
    "tcpip.listen(listen_port=[80,81,83..90,82])": "tcpip.listen(listen_port=80..90)",
    "tcpip.listen(listen_port=0..)": "tcpip.listen(listen_port=0..)",
    "tcpip.listen(listen_port=..1023)": "tcpip.listen(listen_port=..1023)",
    "tcpip.listen(listen_port= 1024 .. 65535 )": "tcpip.listen(listen_port=1024..)",
    "pong.ping(value=[-5..-2, -1])": "pong.ping(value=-5..-1)",
    "fs.write(len(data)=..512)": "fs.write(len(data)=..512)",
    "fs.write( len ( data ) = [0, 5..])": "fs.write(len(data)=[0, 5..])",
    "fs.read(len=7)": "fs.read(len=7)",
    'fs.open(len(path)=3, path="/a/*")': 'fs.open(path="/a/*", len(path)=3)',
    "tcpip.dns_resolve(hostname='*.Example.COM.')": 'tcpip.dns_resolve(hostname="*.example.com")',
    'tcpip.dns_resolve(hostname="")': 'tcpip.dns_resolve(hostname="")',
    'fs.open(path="data/")': 'fs.open(path="/data")',
    'fs.open(path=["**", "/"])': 'fs.open(path=["/", "/**"])',
    'fs.open(path="a?***b")': 'fs.open(path="/a?**b")',
    r'fs.open(path="\\*\\?\\\\")': r'fs.open(path="/\\*\\?\\\\")',
    'vm.spawn_task(name="a*")': 'vm.spawn_task(name="a*")',
    'vm.service_register(name=["b", "a"])': 'vm.service_register(name=["a", "b"])',
    'tcpip.connect(dst_addr="10.0.0.0/8")': 'tcpip.connect(dst_addr="10.0.0.0/8")',
    'tcpip.connect(dst_addr="10.0.0.1/32")': 'tcpip.connect(dst_addr="10.0.0.1")',
    "tcpip.connect(dst_addr=any)": 'tcpip.connect(dst_addr="any")',
    "tcpip.connect(dst_addr=[all, any])": 'tcpip.connect(dst_addr="all")',
    'tcpip.connect(dst_addr="0.0.0.0/0")': 'tcpip.connect(dst_addr="all")',
    "tcpip.connect(dst_addr=0x7f000001)": 'tcpip.connect(dst_addr="127.0.0.1")',
    "tcpip.connect(dst_addr=['10.0.0.0/9','10.128.0.0/9'])": 'tcpip.connect(dst_addr="10.0.0.0/8")',
    'tcpip.connect(dst_addr=["10.0.0.0/8", any])': 'tcpip.connect(dst_addr=["any", "10.0.0.0/8"])',
    "tcpip.connect(dst_addr=1..3)": 'tcpip.connect(dst_addr=["0.0.0.1", "0.0.0.2/31"])',
    "tcpip.connect(dst_addr=1..100000)": "tcpip.connect(dst_addr=1..100000)",
    "tcpip.connect(dst_port=1, dst_addr=all)": 'tcpip.connect(dst_addr="all", dst_port=1)',
    'fs(mode="ro", dir="/srv/d")': 'fs(dir="/srv/d", mode="ro")',
    'files(dir="/srv")': 'files(dir="/srv")',
    'tcpip.connect(dst_port=443, host="example.com")': (
        'tcpip.connect(host="example.com", dst_port=443)'
    ),
    r'fs(dir="\x41é\u00e9\U0001F600\n\t\"\'\\")': r"""fs(dir="Aéé😀\n\x09\"'\\")""",
    r'fs(dir="\u202e\udcff\udcc3\udca9")': r'fs(dir="\u202e\udcffé")',
    "console for 60s": "console for 1m",
    "console for 60": "console for 1m",
    "console for 1.5 min": "console for 90s",
    "console for 250ms": "console for 250ms",
    "console for .5s": "console for 500ms",
    "console for 7200s": "console for 2h",
    "console for 1ns": "console for 1ns",
    "console once": "console once",
    "console 1 times": "console once",
    "console 3 times": "console 3 times",
    "console once for 5s": "console for 5s once",
    "console for 60 2 times": "console for 1m 2 times",
    "console for 60 once": "console for 1m once",
    "* for 1h": "* for 1h",
    "tcpip.listen(listen_port=80)once": "tcpip.listen(listen_port=80) once",
}


@pytest.mark.parametrize(("text", "canonical"), GOOD.items())
def test_what_can_be_written(text: str, canonical: str) -> None:
    rule = Rule.parse(text)
    assert str(rule) == canonical
    assert str(Rule.parse(canonical)) == canonical
    assert Rule.parse(canonical) == rule


BAD = {
    "": "column 1: expected a service, and the text ends",
    " ": "column 2: expected a service, and the text ends",
    ".listen": "column 1: expected a service",
    '""': "a service's name has 1 to 63 bytes, not 0",
    "é" * 32: "column 1: expected a service",
    f'"{"é" * 32}"': "a service's name has 1 to 63 bytes, not 64",
    "a" * 64: "a service's name has 1 to 63 bytes, not 64",
    '"*"': "no service can be called '*'; without quotes, it is all",
    "*.ping": "column 2: '*' is everything, so nothing can follow it but a lifetime",
    '*(dir="/")': "column 2: '*' is everything, so nothing can follow it but a lifetime",
    "straße": "column 5: a name with other characters than a-z A-Z 0-9 _ - needs quotes",
    "console,fs": "column 8: a name with other characters than a-z A-Z 0-9 _ - needs quotes",
    "con\tsole": r"column 4 is a control character; within quotes, write \x09",
    "con\nsole": r"column 4 is a control character; within quotes, write \n",
    "fs(dir='\u202e')": r"column 9 is a control character; within quotes, write \u202e",
    "fs(dir='\udcff')": r"column 9 is a control character; within quotes, write \udcff",
    "tcpip.": "column 7: expected a message, and the text ends",
    "tcpip.lisen(listen_port=80)": "tcpip has no message 'lisen'; did you mean 'listen'?",
    "tcpip.data": "tcpip has no message 'data'; there are: connect, listen, destroy, write, read, "
    "dns_resolve, listener, accept, receive, send, shutdown, poll",
    "tcpip.fs_open": "tcpip has no message 'fs_open'; there are: connect, listen, destroy, write, "
    "read, dns_resolve, listener, accept, receive, send, shutdown, poll",
    "echo.say": "echo has no message 'say'; there is: echo",
    "tcpp.listen": "no message 'listen' for a service 'tcpp'; did you mean 'tcpip'?",
    "mine.listen": "no message 'listen' for a service 'mine'; it is a message of tcpip",
    "mine.fs_opne": "no message 'fs_opne' for a service 'mine'; did you mean 'fs_open'?",
    "mine.notify": "no message 'notify' for a service 'mine'; a service that no interface knows "
    "takes the full names of requests, such as 'ping'",
    "mine.tcpip_data": "no message 'tcpip_data' for a service 'mine'; did you mean 'tcpip_accept'?",
    "tcpip.listen(": "column 14: expected a field, and the text ends",
    "tcpip.listen()": "column 14: expected a field",
    "tcpip.listen(listen_port)": "column 25: expected '='",
    "tcpip.listen(listen_port=)": "column 26: expected a value: a number, a range like 1..9, or a "
    'text in "quotes"',
    "tcpip.listen(listen_port=80": "column 28: expected ',' or ')', and the text ends",
    "tcpip.listen(listen_port=80,)": "column 29: expected a field",
    "tcpip.listen(listen_port=80))": "column 29: expected 'for', 'once' or a number of 'times', "
    "or the end",
    "tcpip.listen(listen_port=[])": "column 27: a list has at least one value",
    "tcpip.listen(listen_port=[80": "column 29: expected ',' or ']', and the text ends",
    "tcpip.listen(listen_port=[80,])": "column 30: a list has at least one value",
    "tcpip.listen(listen_port=70000)": "listen_port is a number from 0 to 65,535, not 70000",
    "tcpip.listen(listen_port=-1)": "listen_port is a number from 0 to 65,535, not -1",
    "tcpip.listen(listen_port=1..65536)": "listen_port is a number from 0 to 65,535, not 65536",
    'tcpip.listen(listen_port="80")': 'listen_port is a number from 0 to 65,535, not "80"',
    "tcpip.listen(listen_port=any)": "listen_port is a number from 0 to 65,535, not any",
    "tcpip.listen(listen_port=90..80)": "90..80 is empty; did you mean 80..90?",
    "tcpip.listen(listen_port=..)": "a range has at least one end: 1.., ..9 or 1..9",
    "tcpip.listen(listen_port=080)": "a number has no leading zeros",
    "tcpip.listen(listen_port=80a)": "column 28: a number ends here; expected ',' or ')'",
    "tcpip.listen(listen_port=1_000)": "column 27: a number ends here; expected ',' or ')'",
    "tcpip.listen(listen_port=8.5)": "column 27: expected ',' or ')'",
    "tcpip.listen(listen_port=0x)": "column 26: expected a value: a number, a range like 1..9, or "
    'a text in "quotes"',
    f"tcpip.listen(listen_port=0x{'f' * 4000})": "no field holds a number of that size",
    "tcpip.listen(listen_port=1, listen_port=2)": "listen_port stands there twice; several values "
    "are a list: listen_port=[…, …]",
    "fs.write(len(data)=1, len(data)=2)": "len(data) stands there twice; several values are a "
    "list: len(data)=[…, …]",
    'fs(dir="/a", dir="/b")': "dir stands there twice; several values are a list: dir=[…, …]",
    "tcpip.listen(port=80)": "unknown field 'port' of tcpip.listen; there is: listen_port",
    "tcpip.listen(listen_prt=80)": "unknown field 'listen_prt' of tcpip.listen; did you mean "
    "'listen_port'?",
    "tcpip.connect(hots='a')": "unknown field 'hots' of tcpip.connect; did you mean 'host'?",
    "vm.watch_tasks(name='a')": "unknown field 'name' of vm.watch_tasks; there is none",
    "tcpip.listen(sock=1)": "unknown field 'sock' of tcpip.listen; there is: listen_port",
    'tcpip.connect(dst_addr="10.0.0.0/33")': 'dst_addr: "10.0.0.0/33" is no network; write "any", '
    '"all", an address, or a network such as "10.0.0.0/8"',
    'tcpip.connect(dst_addr="10.1.2.3/8")': 'dst_addr: "10.1.2.3/8" has bits behind the first 8; '
    'did you mean "10.0.0.0/8"?',
    "tcpip.connect(dst_addr=4294967296)": "dst_addr is a number from 0 to 4,294,967,295, not "
    "4294967296",
    "fs.write(data='a')": "data is bytes: only its length has bounds, as in len(data)=..1024",
    "fs.write(len(data)=..1025)": "len(data) is a number from 0 to 1,024, not 1025",
    "fs.write(len(fd)=1)": "fd is a number and has no length",
    "fs.open(len(path)=256)": "len(path) is a number from 0 to 255, not 256",
    "fs.open(path=5)": "path is a text in quotes, not a number",
    "fs.open(path=any)": 'path is a text in quotes, not any; any is "**"',
    "tcpip.dns_resolve(hostname=any)": 'hostname is a text in quotes, not any; any is "*"',
    "fs.open(path='a/../b')": """path: "a/../b": no path with a component '..' is ever allowed""",
    "fs.open(path='./b')": """path: "./b": no path with a component '.' is ever allowed""",
    "fs.open(path='a//b')": 'path: "a//b": no path with an empty component is ever allowed',
    "fs.open(path='///')": 'path: "///": no path with an empty component is ever allowed',
    r"fs.open(path='\\a')": r'path: "\\a": what follows a backslash in a pattern is *, ? or a '
    "backslash",
    "vm.spawn_task(name='" + "a" * 32 + "')": "name holds 31 bytes at most, not 32",
    "vm.spawn_task(name='" + "é" * 16 + "*')": "name holds 31 bytes at most, not 32",
    "fs.open(path='a": "the text from column 14 on has no end quote",
    "fs.open(path='a\\": "the text from column 14 on has no end quote",
    r"fs.open(path='a\q')": r"unknown escape \q; there are \" \\ \n \r \t \xNN \uNNNN "
    r"\UNNNNNNNN, and a literal * in a pattern is \\*",
    r"fs.open(path='\x4')": r"unknown escape \x4'; there are \" \\ \n \r \t \xNN \uNNNN "
    r"\UNNNNNNNN, and a literal * in a pattern is \\*",
    r"fs.open(path='\U00110000')": r"unknown escape \U00110000; there are \" \\ \n \r \t \xNN "
    r"\uNNNN \UNNNNNNNN, and a literal * in a pattern is \\*",
    r"fs.open(path='a\x00')": "no text holds a NUL",
    r"fs.open(path='\ud800')": r"half a character; \udc80 to \udcff stand for single bytes",
    'fs(path="/x")': "fs has no badge parameter 'path'; it is a field of fs.open",
    'fs(dri="/x")': "fs has no badge parameter 'dri'; did you mean 'dir'?",
    'console(dir="/x")': "console has no badge parameter 'dir'; there is none",
    "console(len(data)=1)": "console has no badge parameter 'len(data)'; it is a field of "
    "console.write",
    r'"\x1b".ping(x=1)': r"unknown field 'x' of \x1b.ping; there is: value",
    "fs(dir=5)": "dir is one text in quotes",
    "fs(dir=any)": "dir is one text in quotes",
    "fs(dir=['/a'])": "dir is one text in quotes",
    "console x": "column 9: expected 'for TIME', 'once' or 'N times', not 'x'",
    "console once once": "column 14: expected 'for TIME', 'once' or 'N times', not 'once'",
    "console for 1s for 2s": "column 16: expected 'for TIME', 'once' or 'N times', not 'for'",
    "console 3 time": "column 9: expected 'for TIME', 'once' or 'N times', not '3'",
    "console 0 times": "1 to 2,147,483,647 times, not 0",
    "console 2147483648 times": "1 to 2,147,483,647 times, not 2147483648",
    "console for": "'' is not a time like 5s or 250ms",
    "console for ever": "'ever' is not a time like 5s or 250ms",
    "console for 5x": "'5x' is not a time like 5s or 250ms",
    "console for 1.2.3s": "'1.2.3s' is not a time like 5s or 250ms",
    "console for -5s": "'-5s' is not a time like 5s or 250ms",
    "console for 0s": "a lifetime is 1ns to 1,000,000,000s",
    "console for 0.1ns": "a lifetime is 1ns to 1,000,000,000s",
    f"console for {'9' * 400}.5h": "a lifetime is 1ns to 1,000,000,000s",
    "console for 5s;": "column 15: expected 'for', 'once' or a number of 'times', or the end",
}


@pytest.mark.parametrize(("text", "problem"), BAD.items())
def test_what_is_refused(text: str, problem: str) -> None:
    with pytest.raises(RuleError) as caught:
        Rule.parse(text)
    assert isinstance(caught.value, wasmos.UsageError)
    shown = text
    for hidden, shows in {
        "\t": r"\x09",
        "\n": r"\n",
        "\u202e": r"\u202e",
        "\udcff": r"\udcff",
    }.items():
        shown = shown.replace(hidden, shows)
    assert str(caught.value) == f'rule "{shown}": {problem}'
    assert caught.value.text == text
    assert 1 <= caught.value.column <= len(text) + 1
    if problem.startswith("column "):
        assert problem.split()[1].strip(":") == str(caught.value.column)


def test_arrays_of_bytes_have_no_constraints() -> None:
    for text in ("lab.lab_mix(mac='abcdef')", "lab.lab_mix(len(mac)=6)"):
        with pytest.raises(RuleError, match="mac is an array of bytes, which no rule can constra"):
            lab(text)


def test_too_long() -> None:
    most = "fs.open(path=[" + ",".join(["'a'"] * 1020) + "])"
    assert len(most) <= 4096
    assert str(Rule.parse(most)) == 'fs.open(path="/a")'
    for text in (most[:-2] + ",'a'" * 10 + "])", "fs(dir='" + "é" * 2044 + "')"):
        with pytest.raises(RuleError, match=r"longer than 4,096 bytes$") as caught:
            Rule.parse(text)
        assert len(str(caught.value)) < 200


def test_too_long_when_written_out() -> None:
    """A rule can always be read again from its canonical text."""
    with pytest.raises(RuleError, match=r"longer than 4,096 bytes when written out$"):
        Rule.parse("tcpip.connect(dst_addr=[" + ",".join(map(str, range(0, 1000, 2))) + "])")


@pytest.mark.parametrize("text", [None, b"console", 5, ["console"]])
def test_a_rule_is_a_text(text: object) -> None:
    with pytest.raises(wasmos.UsageError, match="a rule is a text like"):
        Rule.parse(text)  # type: ignore[arg-type]


@given(text=rule_texts())
def test_reading_the_canonical_text_gives_the_same_rule(text: str) -> None:
    rule = lab(text)
    again = lab(str(rule))
    assert again == rule
    assert str(again) == str(rule)
    assert hash(again) == hash(rule)
    assert again.tests("a") == rule.tests("a")
    assert (again.badge, again.uses, again.seconds) == (rule.badge, rule.uses, rule.seconds)
    assert str(rule).isprintable()


@given(text=st.text(st.sampled_from("abfs.*\"'()[]=,\\ 019-xopenpathdirforncetimes\u00e9\x00")))
def test_any_text_is_a_rule_or_refused(text: str) -> None:
    try:
        rule = Rule.parse(text)
    except RuleError as error:
        assert str(error).isprintable()
    else:
        assert Rule.parse(str(rule)) == rule


@given(name=st.text(min_size=1))
def test_any_name_can_be_that_of_a_service(name: str) -> None:
    from wasmos.kernel.rule_text import quote

    assume("\0" not in name and len(name.encode("utf-8", "surrogatepass")) < 64 and name != "*")
    assume(not any("\ud800" <= c <= "\udfff" for c in name))
    rule = Rule.parse(quote(name))
    assert rule.service == name
    assert Rule.parse(str(rule)) == rule


# --- what a rule is ---


def test_parts() -> None:
    rule = Rule.parse('tcpip.connect(host="a", dst_port=[1, 2], dst_addr=all) for 1m 3 times')
    assert rule.service == "tcpip"
    assert rule.message == "connect"
    assert list(rule.constraints) == ["dst_addr", "dst_port"]
    assert rule.badge == {"host": "a"}
    assert rule.uses == 3
    assert rule.seconds == 60.0
    plain = Rule.parse("*")
    assert (plain.service, plain.message, plain.uses, plain.seconds) == ("*", None, None, None)
    assert (dict(plain.constraints), dict(plain.badge)) == ({}, {})


def test_rules_do_not_change() -> None:
    rule = Rule.parse('fs(dir="/a")')
    with pytest.raises(AttributeError):
        rule.service = "tcpip"
    with pytest.raises(TypeError):
        rule.badge["dir"] = "/"  # type: ignore[index]
    assert copy.deepcopy([rule]) == [rule] == copy.copy([rule])
    assert {rule: 1}[Rule.parse("fs( dir='/a' )")] == 1
    assert rule != "fs"
    assert repr(rule) == '<Rule fs(dir="/a")>'


def test_another_lifetime() -> None:
    rule = Rule.parse("fs.open for 5s")
    assert str(rule.replace(uses=2, seconds=None)) == "fs.open 2 times"
    assert str(rule.replace(uses=None, seconds=0.25)) == "fs.open for 250ms"
    for uses, seconds in ((0, None), (None, 1e10), (1 << 31, None)):
        with pytest.raises(wasmos.UsageError):
            rule.replace(uses=uses, seconds=seconds)


def test_what_a_message_covers() -> None:
    assert Rule.parse("tcpip").messages is None
    assert Rule.parse("*").messages is None
    assert Rule.parse("tcpip.dns_resolve").messages == {61}
    assert Rule.parse("tcpip.listen").messages == {53, 55, 57, 59, 155, 157, 159, 161, 163, 165}
    assert lab("lab.lab_mix").messages == {Mix.TYPE, After.TYPE, Later.TYPE}  # over two steps


def test_denying_one_message_denies_no_other() -> None:
    assert Rule.parse("tcpip.listen").denied == {53}
    assert Rule.parse("tcpip").denied is None


INTS = (
    ("int", 8, 4, True, ((-1, -1), (3, 5))),
    ("int", 12, 4, False, ((0, 7),)),
    ("int", 16, 2, False, ((1024, 65535),)),
)


def test_the_form_of_tests() -> None:
    rule = lab('lab.lab_mix(whole=[-1, 3..5], count=..7, port=1024.., text="a?*", len(text)=2.., '
               "len(data)=[1, 3..4], addr=5)")  # fmt: skip
    assert rule.tests("x") == {
        Mix.TYPE: (
            *INTS,
            ("text", 18, 6, "plain", (("like", (97, 256, 258)),)),
            ("strlen", 18, 6, ((2, 5),)),
            ("int", 32, 4, False, ((1, 1), (3, 4))),
            ("int", 44, 4, False, ((5, 5),)),
        ),
        # The others have nothing but their own defaults.
        After.TYPE: (("int", 8, 4, False, PUBLIC),),
    }


def test_the_form_of_patterns() -> None:
    rule = lab('lab.names(host=["*.B.", "*b", "a"], path=["*/b", "/a/**"], me="*")')
    assert rule.tests("x")[Names.TYPE] == (
        ("text", 8, 8, "hostname",
         (("is", b"a"), ("ends", b".b"), ("like", (258, 98)))),
        ("text", 16, 8, "path",
         (("like", (97, 47, 258)), ("like", (257, 47, 98)))),
        ("text", 24, 4, "plain", (("like", (258,)),)),
    )  # fmt: skip


def test_defaults() -> None:
    assert Rule.parse("console").tests("me") == {}
    assert Rule.parse("*").tests("me") == {}
    public = ("int", 8, 4, False, PUBLIC)
    assert Rule.parse("tcpip").tests("me") == {51: (public,)}
    assert Rule.parse("tcpip.connect").tests("me") == {51: (public,)}
    assert Rule.parse("tcpip.listen").tests("me") == {}
    own = ("text", 8, 64, "plain", (("is", b"m\xff"),))
    assert Rule.parse("vm.service_register").tests("m\udcff") == {17: (own,)}
    assert Rule.parse("vm").tests("m\udcff") == {17: (own,)}
    assert Rule.parse("vm.service_register(len(name)=2)").tests("m\udcff") == {
        17: (own, ("strlen", 8, 64, ((2, 2),)))
    }
    # Whoever is behind an own name may understand any request.
    assert Rule.parse("mine").tests("m\udcff") == {51: (public,), 17: (own,)}


def test_a_denial_has_no_defaults() -> None:
    for text in ("tcpip", "tcpip.connect", "vm.service_register", "*"):
        assert Rule.parse(text).tests("me", deny=True) == {}
    rule = Rule.parse("tcpip.connect(dst_port=25)")
    assert rule.tests("me", deny=True) == {51: (("int", 12, 2, False, ((25, 25),)),)}
    local = abi.TcpipConnect(0x7F000001, 25)
    assert rule.admits(local, "me", deny=True)
    assert not rule.admits(local, "me")
    assert not rule.admits(abi.TcpipWrite(1, b""), "me", deny=True)
    assert Rule.parse('fs.open(path="/a")').admits(abi.FsOpen("x/../a"), deny=True)


def test_public_is_what_is_left_over() -> None:
    assert PUBLIC[0] == (0x01000000, 0x09FFFFFF)
    assert PUBLIC[-1][1] == 0xDFFFFFFF
    assert all(low <= high for low, high in PUBLIC)
    assert all(a[1] + 1 < b[0] for a, b in itertools.pairwise(PUBLIC))


def test_messages_as_numbers_and_fields() -> None:
    rule = Rule.parse("tcpip.connect(dst_port=0)")
    assert rule.admits((51, {"dst_addr": 0x08080808}))
    assert not rule.admits((51, {"dst_addr": 0x08080808, "dst_port": 1}))
    assert not rule.admits((51, {}))  # 0.0.0.0 is not public
    assert rule.admits((57, {}))
    assert not rule.admits((61, {}))
    assert Rule.parse("tcpip").admits((12345, {}))


def test_a_service_is_asked_nothing_of_messages_that_are_not_its_own() -> None:
    local = abi.TcpipConnect(0x7F000001, 80)
    assert Rule.parse("console").admits(local)
    assert not Rule.parse("tcpip").admits(local)
    assert not Rule.parse("mine").admits(local)


# --- evaluation, three times ---


@settings(max_examples=300)
@given(text=rule_texts(), message=messages(), deny=st.booleans(), own=st.sampled_from(["", "a"]))
def test_tests_say_what_admits_does(text: str, message: abi.Message, deny: bool, own: str) -> None:
    rule = lab(text)
    raw = encoded(message)
    types = rule.denied if deny else rule.messages
    tests = rule.tests(own, deny=deny).get(message.TYPE, ())
    said = (types is None or message.TYPE in types) and all(
        passes(test, raw, unsure=deny) for test in tests
    )
    # A service that doesn't take the message is asked nothing of it.
    assert rule.admits(message, own, deny=deny) == said
    values = {field.name: getattr(message, field.name) for field in message.FIELDS}
    assert rule.admits((message.TYPE, values), own, deny=deny) == said


@given(text=rule_texts())
def test_tests_are_in_the_form_that_the_kernel_reads(text: str) -> None:
    rule = lab(text)
    types = {cls.TYPE: cls for cls in REQUESTS} | abi.MESSAGES
    for number, tests in rule.tests("a").items():
        assert rule.messages is None or number in rule.messages
        assert tests
        for kind, offset, size, *rest in tests:
            assert offset >= 8
            assert offset + size <= types[number].SIZE
            if kind == "text":
                assert rest[1]
                assert all(p[1] or p[0] != "ends" for p in rest[1])
            else:
                intervals = rest[-1]
                assert intervals
                assert all(low <= high for low, high in intervals)
                assert all(a[1] + 1 < b[0] for a, b in itertools.pairwise(intervals))


# --- covering ---

COVERS = [
    ("*", "*", True),
    ("*", 'fs(dir="/a")', False),
    ("*", "console once", True),
    ("* for 5s", "console", False),
    ("console", "*", False),
    ("console", "console", True),
    ("console", "console.write", True),
    ("console.write", "console", False),
    ("console.write", "console.read", False),
    ("console", "fs", False),
    ("echo.echo", "echo", False),  # which is also what nobody has heard of
    ("tcpip.connect", "tcpip.write", True),
    ("tcpip.write", "tcpip.connect", False),
    ("tcpip.listen", "tcpip.listen(listen_port=80)", True),
    ("tcpip.listen(listen_port=80)", "tcpip.listen", False),
    ("tcpip.listen(listen_port=0..)", "tcpip.listen", True),
    ("tcpip.listen(listen_port=[80, 443])", "tcpip.listen(listen_port=443)", True),
    ("tcpip.listen(listen_port=443)", "tcpip.listen(listen_port=[80, 443])", False),
    ("tcpip.listen(listen_port=80..90)", "tcpip.listen(listen_port=[80, 85..90])", True),
    ("tcpip", "tcpip.connect", True),
    ("tcpip", "tcpip.connect(dst_addr='8.8.8.8')", True),
    ("tcpip", "tcpip.connect(dst_addr='10.0.0.1')", False),
    ("tcpip.connect", "tcpip.connect(dst_addr=any)", True),
    ("tcpip.connect(dst_addr=any)", "tcpip.connect", True),
    ("tcpip.connect(dst_addr=all)", "tcpip.connect", True),
    ("tcpip.connect", "tcpip.connect(dst_addr=all)", False),
    ("tcpip.connect(dst_port=80)", "tcpip.connect(dst_addr='8.8.8.8', dst_port=80)", True),
    ("tcpip.connect(dst_addr='8.8.8.8', dst_port=80)", "tcpip.connect(dst_port=80)", False),
    ("fs.write(len(data)=..512)", "fs.write(len(data)=..100)", True),
    ("fs.write(len(data)=..100)", "fs.write(len(data)=..512)", False),
    ("fs.open(path='/a/**')", "fs.open(path=['/a/b', 'a/*/c', '/a/**/d'])", True),
    ("fs.open(path='/a/*')", "fs.open(path='/a/**')", False),
    ("fs.open(path='/a/*')", "fs.open(path='/a/b/c')", False),
    ("fs.open(path='/a/*')", "fs.open(path='/a/?b*')", True),
    ("fs.open(path='**')", "fs.open", False),  # also what has no end
    ("tcpip.dns_resolve(hostname='*.b.c')", "tcpip.dns_resolve(hostname='*.a.b.c')", True),
    ("tcpip.dns_resolve(hostname='*.a.b.c')", "tcpip.dns_resolve(hostname='*.b.c')", False),
    ("tcpip.dns_resolve(hostname='*.b.c')", "tcpip.dns_resolve(hostname='b.c')", False),
    ("tcpip.dns_resolve(hostname='*.b.c')", "tcpip.dns_resolve(hostname='.b.c')", False),
    ("tcpip.dns_resolve(hostname='*b.c')", "tcpip.dns_resolve(hostname='*.b.c')", True),
    ("vm.service_register", "vm.service_register(name='me')", True),
    ("vm.service_register", "vm.service_register(name='you')", False),
    ("vm.service_register(name=['me', 'you'])", "vm.service_register", True),
    ("vm", "vm.service_register", True),
    ("fs", 'fs(dir="/a")', False),
    ('fs(dir="/a")', "fs", False),
    ('fs(dir="/a")', 'fs(dir="/a")', True),
    ('fs(dir="/a")', 'fs.open(dir="/a")', True),
    ('fs(dir="/a")', 'fs(dir="/b")', False),
    ('fs(dir="/a")', 'fs(dir="/a", mode="ro")', True),
    ('fs(dir="/a", mode="rw")', 'fs(dir="/a", mode="ro")', True),
    ('fs(dir="/a", mode="ro")', 'fs(dir="/a", mode="rw")', False),
    ('fs(dir="/a", mode="ro")', 'fs(dir="/a")', False),
    ('fs(dir="/a", mode="rw")', 'fs(dir="/b", mode="ro")', False),
    ('fs(dir="/a", mode="x")', 'fs(dir="/a", mode="ro")', False),
    ("console once", "console", False),
    ("console", "console once", True),
    ("console 3 times", "console 2 times", True),
    ("console 2 times", "console 3 times", False),
    ("console for 5s", "console for 5s", True),
    ("console for 5s", "console for 6s", False),
    ("console for 5s", "console once", False),
]


@pytest.mark.parametrize(("mine", "other", "yes"), COVERS)
def test_covering(mine: str, other: str, yes: bool) -> None:
    assert Rule.parse(mine).covers(Rule.parse(other), "me") is yes


def test_an_own_name_is_that_of_the_holder() -> None:
    rule = Rule.parse("vm.service_register")
    assert rule.covers(rule, "me")
    assert not rule.covers(rule, "me", "child")
    assert Rule.parse('vm.service_register(name="child")').covers(rule, "me", "child")


@settings(max_examples=500)
@given(
    mine=rule_texts(lifetimes=False, services=False),
    others=rule_texts(lifetimes=False, services=False),
    sent=st.lists(messages(), min_size=1, max_size=5),
)
@example("lab.names(host='*.b')", "lab.names(host='*b')", [Names(host=".b")])
def test_what_is_covered_is_admitted(mine: str, others: str, sent: list[abi.Message]) -> None:
    """Sound in both directions of the two."""
    for a, b in ((lab(mine), lab(others)), (lab(others), lab(mine))):
        if a.covers(b, "a"):
            for message in sent:
                assert a.admits(message, "a") or not b.admits(message, "a")


@given(text=rule_texts())
def test_every_rule_covers_itself_and_is_covered_by_all(text: str) -> None:
    """But what a badge stands for is nobody's to choose: `*` isn't every directory of the host."""
    rule = lab(text)
    assert rule.covers(rule, "a")
    assert lab("*").covers(rule, "a") == (dict(rule.badge) in ({}, {"mode": "ro"}))
    assert covered([rule], rule, "a")


@given(message=messages(), other=messages())
def test_an_exact_rule_is_for_one_message(message: abi.Message, other: abi.Message) -> None:
    rule = exactly("lab", message, VOCABULARY)
    assume(rule is not None)
    assert rule.admits(message, "zzz")
    assert lab(str(rule)) == rule
    if type(other) is type(message) and rule.admits(other, "zzz"):
        again = exactly("lab", other, VOCABULARY)
        assert again == rule


def test_several_cover_one_message_by_message() -> None:
    both = [Rule.parse("tcpip.connect(dst_port=80)"), Rule.parse("tcpip.write")]
    assert covered(both, Rule.parse("tcpip.connect(dst_port=80)"))
    # The covered ones are in the one rule, and the message itself in the other.
    parts = [lab("lab.after(addr=all)"), lab("lab.lab_mix(whole=5)")]
    assert covered(parts, lab("lab.lab_mix(whole=5)"))
    assert covered(parts, lab("lab.after"))
    assert not covered(parts, lab("lab.lab_mix"))
    assert not covered([], Rule.parse("console"))
    everything = [Rule.parse("console.write"), Rule.parse("console.read")]
    assert not covered(everything, Rule.parse("console"))  # not what nobody has heard of
    apart = [lab("lab.names(me='*')"), lab("lab")]
    assert covered(apart, lab("lab"), "me", "you")
    assert not covered(apart[1:], lab("lab"), "me", "you")


# --- around it ---


def test_a_rule_for_just_one_message() -> None:
    made = {
        "tcpip": abi.TcpipConnect(0x0A000001, 443),
        "fs": abi.FsOpen("/a*/b/", 1),
        "vm": abi.ServiceRegister("web"),
        "console": abi.ConsoleWrite(b"x"),
    }
    assert [str(exactly(service, message)) for service, message in made.items()] == [
        'tcpip.connect(dst_addr="10.0.0.1", dst_port=443)',
        r'fs.open(path="/a\\*/b")',
        'vm.service_register(name="web")',
        "console.write",
    ]
    assert str(exactly("tcpip", (53, {"listen_port": 80}))) == "tcpip.listen(listen_port=80)"
    assert exactly("fs", abi.FsOpen("/a/../b")) is None
    assert exactly("fs", abi.TcpipListen(80)) is None
    assert exactly("fs", (12345, {})) is None


DESCRIBED = {
    "*": "may use everything",
    "console": "may use console",
    'fs(dir="/a", mode="ro")': 'may use fs with dir "/a", mode "ro"',
    "tcpip.listen(listen_port=80)": "may listen on port 80 (tcpip)",
    "tcpip.listen(listen_port=[80, 1024..]) once": (
        "may listen on ports 80 or 1024 or more (tcpip) once"
    ),
    "tcpip.connect(dst_port=443)": "may connect to any public address on port 443 (tcpip)",
    "tcpip.connect(dst_addr=all)": "may connect to any address (tcpip)",
    'tcpip.connect(dst_addr=["10.0.0.0/8", "127.0.0.1"])': (
        "may connect to 10.0.0.0/8 or 127.0.0.1 (tcpip)"
    ),
    'tcpip.dns_resolve(hostname="*.a.b")': 'may dns resolve for "*.a.b" (tcpip)',
    'fs.open(path=["/a", "/b"], flags=0)': 'may open at "/a" or "/b" with flags 0 (fs)',
    "fs.write(len(data)=..512) for 60s": "may write with up to 512 bytes of data (fs) for 1m",
    "fs.read(len=3..5)": "may read with len 3 to 5 (fs)",
    "console.put": "may print (console)",
    'fs.open_file(path="/a")': 'may open at "/a" (fs)',
    'fs.rename(path="/a", new_path="/b")': 'may rename at "/a" as "/b" (fs)',
    "random.get(len(into)=..16)": "may have random bytes with up to 16 bytes of into (random)",
    "vm.service_register": "may service register under its own name (vm)",
    r'"\x1b[2J"': r'may use "\x1b[2J"',
    r'"\x1b".ping(value=1)': r'may ping with value 1 ("\x1b")',
}


def test_words_are_for_messages_that_there_are() -> None:
    assert set(SPOKEN) <= set(abi.RPCS)


@pytest.mark.parametrize(("text", "english"), DESCRIBED.items())
def test_in_english(text: str, english: str) -> None:
    assert Rule.parse(text).describe() == english


def test_splitting() -> None:
    assert split("") == split("  ") == []
    assert split("console") == ["console"]
    assert split("console, tcpip.connect(dst_port=[1,2], host='a,)b') once ,fs") == [
        "console", "tcpip.connect(dst_port=[1,2], host='a,)b') once", "fs",
    ]  # fmt: skip
    assert split(r'fs(dir="a\",b"),x') == [r'fs(dir="a\",b")', "x"]
    for text in (",", "a,", ",a", "a,,b", "a, ,b"):
        with pytest.raises(RuleError, match="there is nothing beside a comma"):
            split(text)


def test_own_messages() -> None:
    assert Told.TYPE in (lab("lab.told").messages or ())
    assert lab("lab.mix").messages == {1011}  # a full name comes before a short one
    assert str(lab("lab.lab_mix")) == "lab.lab_mix"
    assert lab("mine.lab_told").messages == {Told.TYPE}
    assert lab("lab2.ping").messages == {9}
    with pytest.raises(RuleError, match="lab has no message 'heard'"):
        lab("lab.heard")
    with pytest.raises(RuleError, match="no message 'lab_told' for a service 'mine'"):
        Rule.parse("mine.lab_told")


def test_names_of_services_cost_next_to_nothing() -> None:
    """No module is imported that other rules need."""
    script = (
        "import sys, wasmos; from wasmos.kernel.rule import Rule; before = set(sys.modules);"
        "Rule.parse('console').tests('me'); Rule.parse('*').tests('me');"
        "print(*set(sys.modules) - before, *{'re', 'difflib', 'ipaddress'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {script}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == ([], "")
