"""Learning: what a program needed, all of it and no more."""

from __future__ import annotations

import io
import os
import signal
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import wasmos
from tests.support.command import GUESTS, HELLO
from tests.support.sender import sends
from tests.support.wat import forever, program
from tests.system.learn.harness import rules, visit
from wasmos import abi
from wasmos.kernel import Rule
from wasmos.servers.args import Args
from wasmos.servers.console import Console
from wasmos.servers.fs import Fs, Image
from wasmos.servers.tcpip import Tcpip
from wasmos.servers.tcpip.fake import FakeNetwork
from wasmos.system.learn.learn import Learnt, learn
from wasmos.system.learn.learner import Learner
from wasmos.system.learn.learnt import Need, lines, text
from wasmos.system.prompt import Prompter

WEBSERVER = str(GUESTS / "webserver.wasm")
PUBLIC, PRIVATE = 0x5DB8D70E, 0x0A000005  # 93.184.215.14, 10.0.0.5


def learnt_of(*messages: tuple[str, abi.Message], **options: Any) -> list[str]:
    """What a program is learnt to need that sends these messages and is denied none of them."""
    numbers = options.pop("numbers_of", None)
    found = learn(sends(*messages, numbers_of=numbers), output=io.BytesIO(), **options)
    assert found.exit is not None and found.exit.code == 0, found.notes
    return rules(found)


class Run:
    """A program that runs under some rules: what it printed, and what it was denied."""

    def __init__(self, source: str, allow: list[str], args: list[str] | None = None) -> None:
        self.kernel = wasmos.Kernel()
        self.output = io.BytesIO()
        self.denied: list[dict[str, Any]] = []
        self.kernel.audit(self._hear)
        arguments: dict[int, list[str]] = {}
        self.kernel.serve(Console(self.output))
        self.kernel.serve(Args(arguments))
        self.tcpip = Tcpip(ports=["0:80"], connect="any")
        self.kernel.serve(self.tcpip)
        self.task = self.kernel.spawn(source, allow=allow)
        arguments[self.task.id] = [self.task.name, *(args or [])]

    def _hear(self, entries: list[dict[str, Any]]) -> None:
        self.denied += [entry for entry in entries if entry["event"] == "denial"]

    def over(self) -> bool:
        return self.task.exit is not None or bool(self.tcpip.bound.get(80))

    def fetch(self) -> bytes:
        """The page, b"" if there is none."""
        self.kernel.run(self.over)
        if not self.tcpip.bound.get(80):
            return b""
        page: list[bytes] = []
        port = self.tcpip.bound[80][0].port

        def client() -> None:
            page.append(visit(port))
            self.kernel.loop.call_soon_threadsafe(self.kernel.kick)

        visitor = threading.Thread(target=client)
        visitor.start()
        self.kernel.run(lambda: bool(page) or self.task.exit is not None, timeout=5)
        visitor.join()
        return b"".join(page)

    def close(self) -> None:
        self.kernel.take_records()
        self.kernel.close()


def interrupt() -> None:
    ident = threading.main_thread().ident
    assert ident is not None
    signal.pthread_kill(ident, signal.SIGINT)


# --- the demonstration's web server -----------------------------------------------------------


def learn_webserver() -> Learnt:
    """A client fetches a page meanwhile, then somebody types Ctrl-C."""
    pages: list[bytes] = []

    def client(port: int) -> None:
        try:
            pages.append(visit(port))
        finally:
            interrupt()

    def log(line: str) -> None:
        if line.startswith("tcpip: port 80 is 127.0.0.1:"):
            threading.Thread(target=client, args=[int(line.rpartition(":")[2])]).start()

    found = learn(WEBSERVER, output=io.BytesIO(), log=log)
    assert found.exit is None
    assert pages and b"Hello from WasmOS" in pages[0]
    return found


def works(allow: list[str]) -> bool:
    """The page is served, the start message appears, and nothing is denied."""
    run = Run(WEBSERVER, allow)
    try:
        page = run.fetch()
    finally:
        run.close()
    printed = b"webserver: listening on port 80" in run.output.getvalue()
    return b"Hello from WasmOS" in page and printed and not run.denied


def test_the_web_server_works_by_what_was_learnt_and_not_by_less() -> None:
    allow = rules(learn_webserver())
    assert allow == ["console.write", 'tcpip.listen(bind="0", listen_port=80)']
    assert works(allow)
    for line in allow:
        assert not works([rule for rule in allow if rule != line]), line


def test_the_same_run_gives_the_same_policy() -> None:
    assert learn_webserver().policy == learn_webserver().policy


# --- hello ------------------------------------------------------------------------------------


def test_hello_works_by_what_was_learnt_and_not_by_less() -> None:
    found = learn(HELLO, ["Ann", "Bob"], output=io.BytesIO())
    allow = rules(found)
    assert allow == ["args.get", "console.write"]

    def hello(allow: list[str]) -> tuple[bytes, int]:
        run = Run(HELLO, allow, ["Ann", "Bob"])
        run.kernel.wait(run.task)
        run.close()
        return run.output.getvalue(), len(run.denied)

    wanted = b"Hello from WasmOS!\nMy arguments: Ann, Bob\n"
    assert hello(allow) == (wanted, 0)
    for line in allow:
        printed, denied = hello([rule for rule in allow if rule != line])
        assert printed != wanted and denied, line


# --- files and names --------------------------------------------------------------------------


def files_and_names(network: FakeNetwork, folder: Path, *, write: bool) -> tuple[str, Learnt]:
    (folder / "in.txt").write_text("text")
    messages: list[tuple[str, abi.Message]] = [
        ("tcpip", abi.TcpipDnsResolve("example.com")),
        ("tcpip", abi.TcpipConnect(0, 443)),
        ("fs", abi.FsOpen("/data/in.txt", 0)),
        ("fs", abi.FsRead(1, 10)),
    ]
    if write:
        messages.append(("fs", abi.FsMkfile("/data/out.txt")))
    source = sends(*messages, numbers_of={1: 0})
    return source, learn(source, network=network, dirs=[f"{folder}::/data"])


def serving(source: str, allow: list[str], network: FakeNetwork) -> int | None:
    """How many messages the program was denied."""
    with wasmos.Kernel() as kernel:
        kernel.serve(Tcpip(connect="any", network=network))
        kernel.serve(Fs(Image()))
        return kernel.wait(kernel.spawn(source, allow=allow)).code


@pytest.mark.parametrize("write", [False, True])
def test_files_and_names(tmp_path: Path, write: bool) -> None:
    network = Offering({"example.com": "93.184.215.14"})
    source, found = files_and_names(network, tmp_path, write=write)
    assert found.exit is not None and found.exit.code == 0, found.notes
    allow = rules(found)
    assert allow == [
        f'fs(dir="{tmp_path}", at="/data", mode="{"rw" if write else "ro"}")',
        'tcpip.connect(host="example.com", dst_port=443)',
        'tcpip.dns_resolve(hostname="example.com")',
    ]
    (tmp_path / "out.txt").unlink(missing_ok=True)
    assert serving(source, allow, network) == 0
    for line in allow:
        assert serving(source, [rule for rule in allow if rule != line], network), line


class Offering(FakeNetwork):
    """Whoever is connected to is there."""

    def connect(self, loop: Any, endpoint: Any, events: Any) -> Any:
        if endpoint not in self._listeners:
            self.offer(endpoint.host, endpoint.port)
        return super().connect(loop, endpoint, events)


def test_paths_are_listed_in_a_comment(tmp_path: Path) -> None:
    network = Offering({"example.com": "93.184.215.14"})
    _, found = files_and_names(network, tmp_path, write=True)
    assert "; used: /data/in.txt, /data/out.txt\n" in found.policy


def test_an_unused_directory_needs_no_line(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "f").write_text("")
    dirs = [f"{tmp_path}::/a", f"{other}::/b"]
    allow = learnt_of(("fs", abi.FsOpen("/a/f", 0)), dirs=dirs)
    assert allow == [f'fs(dir="{tmp_path}", at="/a", mode="ro")']


def test_a_directory_on_the_way_to_others_needs_all_that_it_shows(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    dirs = [f"{tmp_path}/{name}::/{name}" for name in ("a", "b")]
    wanted = [f'fs(dir="{tmp_path}/{name}", at="/{name}", mode="ro")' for name in ("a", "b")]
    assert learnt_of(("fs", abi.FsReaddir("/", 0)), dirs=dirs) == wanted
    assert learnt_of(("fs", abi.FsOpenFile("/", 2 | 32)), dirs=dirs) == wanted
    assert learnt_of(("fs", abi.FsStat("/", 0)), dirs=dirs) == wanted[:1]


def test_what_was_not_moved_was_not_written(tmp_path: Path) -> None:
    """Between two places nothing is, whatever their modes."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "f").write_text("")
    dirs = [f"{tmp_path}/{name}::/{name}" for name in ("a", "b")]
    allow = learnt_of(("fs", abi.FsRename("/a/f", "/b/f")), dirs=dirs)
    assert allow == [f'fs(dir="{tmp_path}/{name}", at="/{name}", mode="ro")' for name in "ab"]


def test_files_in_memory_are_named_one_by_one() -> None:
    allow = learnt_of(
        ("fs", abi.FsMkfile("b")), ("fs", abi.FsOpen("b", 0)), ("fs", abi.FsRead(1, 5)),
        ("fs", abi.FsReaddir("/", 0)), ("fs", abi.FsDelete("b")),
    )  # fmt: skip
    assert allow == [
        'fs.delete(path="/b")', 'fs.mkfile(path="/b")', 'fs.open(path="/b")',
        'fs.readdir(path="/")',
    ]  # fmt: skip


def test_a_file_that_is_written_to_makes_a_wider_rule_which_says_so() -> None:
    found = learn(
        sends(("fs", abi.FsMkfile("b")), ("fs", abi.FsOpen("b", 0)), ("fs", abi.FsWrite(1, b"x")))
    )
    assert found.exit is not None and found.exit.code == 0
    assert rules(found) == ["fs"]
    assert "GENERALISED" in found.lines[0].comment and "used: b" in found.lines[0].comment


def test_an_address_that_no_name_had() -> None:
    network = Offering({"db.test": "10.0.0.5"})
    connect = ("tcpip", abi.TcpipConnect(PUBLIC, 80))
    assert learnt_of(connect, network=network) == [
        'tcpip.connect(dst_addr="93.184.215.14", dst_port=80)'
    ]
    # One that has a name but isn't public is named as well: a name alone doesn't allow it.
    allow = learnt_of(
        ("tcpip", abi.TcpipDnsResolve("db.test")), ("tcpip", abi.TcpipConnect(0, 5432)),
        network=network, numbers_of={1: 0},
    )  # fmt: skip
    assert allow == [
        'tcpip.connect(host="db.test", dst_addr="10.0.0.5", dst_port=5432)',
        'tcpip.dns_resolve(hostname="db.test")',
    ]


# --- sets, and what covers what ---------------------------------------------------------------


def needs_of(*rules: str) -> list[Need]:
    return [Need(Rule.parse(rule)) for rule in rules]


def connects(*pairs: tuple[int, int]) -> list[str]:
    needs = [
        Need(Rule.parse(f"tcpip.connect(dst_addr={address}, dst_port={port})"))
        for address, port in pairs
    ]
    return [str(line.rule) for line in lines(needs)]


def test_values_of_one_field_are_a_set() -> None:
    assert connects((PUBLIC, 443), (PUBLIC, 80)) == [
        'tcpip.connect(dst_addr="93.184.215.14", dst_port=[80, 443])'
    ]
    assert connects((PUBLIC, 443), (PRIVATE, 443)) == [
        'tcpip.connect(dst_addr=["10.0.0.5", "93.184.215.14"], dst_port=443)'
    ]


def test_sets_of_two_fields_are_never_all_with_all() -> None:
    """Not port 443 of the second one, which nobody saw."""
    assert connects((PUBLIC, 80), (PUBLIC, 443), (PRIVATE, 80)) == [
        'tcpip.connect(dst_addr="10.0.0.5", dst_port=80)',
        'tcpip.connect(dst_addr="93.184.215.14", dst_port=[80, 443])',
    ]
    assert len(connects((1, 1), (1, 2), (2, 1), (2, 2))) == 1  # but here somebody did


def test_many_values_are_all_listed_or_it_says_so() -> None:
    hosts = [f"h{n}.example.com" for n in range(40)]
    needs = [Need(Rule.parse(f'tcpip.dns_resolve(hostname="{host}")')) for host in hosts]
    (line,) = lines(needs)
    assert all(line.rule.admits(abi.TcpipDnsResolve(host)) for host in hosts)
    assert not line.rule.admits(abi.TcpipDnsResolve("h40.example.com"))
    assert "GENERALISED" not in line.comment
    (wide,) = lines(needs, generalise=True)
    assert str(wide.rule) == 'tcpip.dns_resolve(hostname="*.example.com")'
    assert wide.comment.endswith("GENERALISED from 40 values of hostname")


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ('fs.open(path="/d/{n}/x")', 'fs.open(path="/d/**")'),
        ('fs.open(path="/{n}/x")', "fs.open"),
        ('tcpip.dns_resolve(hostname="{n}.com")', "tcpip.dns_resolve"),
        ('tcpip.connect(dst_addr="8.8.{n}.1", dst_port=1)',
         'tcpip.connect(dst_addr="any", dst_port=1)'),
        ('tcpip.connect(dst_addr="10.8.{n}.1", dst_port=1)',
         'tcpip.connect(dst_addr="all", dst_port=1)'),
        ('tcpip.connect(dst_addr="8.8.8.8", dst_port={n}1)',
         'tcpip.connect(dst_addr="8.8.8.8")'),
    ],
)  # fmt: skip
def test_generalising(template: str, wanted: str) -> None:
    rules = [Rule.parse(template.format(n=n)) for n in range(1, 41, 2)]
    (line,) = lines([Need(rule) for rule in rules], generalise=True)
    assert line.rule == Rule.parse(wanted)
    assert all(line.rule.covers(rule) for rule in rules)
    assert "GENERALISED from 20 values" in line.comment
    few = lines([Need(rule) for rule in rules[:16]], generalise=True)
    assert "GENERALISED" not in few[0].comment


def test_a_rule_that_would_be_too_long_is_several() -> None:
    paths = [f'"/{"x" * 100}{n}"' for n in range(200)]
    found = lines([Need(Rule.parse(f"fs.open(path={path})")) for path in paths])
    assert len(found) > 1
    values = [value for line in found for value in line.rule.constraints["path"].values()]
    assert sorted(values) == sorted(paths)


def test_what_another_rule_is_for_needs_no_line() -> None:
    """Whoever listens may write; so the order in which they came doesn't matter."""
    needs = needs_of("tcpip.write", "tcpip.read", "tcpip.listen(listen_port=80)", "console.write")
    wanted = ["console.write", "tcpip.listen(listen_port=80)"]
    assert [str(line.rule) for line in lines(needs)] == wanted
    assert [str(line.rule) for line in lines(needs[::-1])] == wanted


def test_what_is_wider_makes_what_is_narrower_superfluous() -> None:
    needs = needs_of("tcpip.listen(listen_port=80)", "tcpip.listen", "fs", "fs.open", "fs.open")
    assert [str(line.rule) for line in lines(needs)] == ["fs", "tcpip.listen"]


def test_thousands_of_paths_take_no_time() -> None:
    """By squaring them it would be minutes."""
    needs = [Need(Rule.parse(f'fs.open(path="/{n}")')) for n in range(4096)]
    found = lines([*needs, Need(Rule.parse("fs.read"))])
    assert sum(len(line.rule.constraints["path"].values()) for line in found) == 4096


# --- what isn't learnt ------------------------------------------------------------------------


def test_what_is_denied_stays_denied() -> None:
    found = learn(
        sends(
            ("pong", abi.Ping(1)), ("tcpip", abi.TcpipListen(25)), ("tcpip", abi.TcpipListen(80))
        ),
        deny=["tcpip.listen(listen_port=25)"],
    )
    assert found.exit is not None and found.exit.code == 1
    assert rules(found) == ["pong.ping", 'tcpip.listen(bind="0", listen_port=80)']
    section = tomllib.loads(found.policy)["task"]["module"]
    assert section["deny"] == ["tcpip.listen(listen_port=25)"]
    assert found.notes == ["tcpip.listen(listen_port=25): a rule denies it"]
    assert "#   tcpip.listen(listen_port=25): a rule denies it\n" in found.policy


def test_what_the_world_refuses_is_noted_and_not_learnt(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    found = learn(
        sends(("fs", abi.FsOpen("/d/f", 0)), ("fs", abi.FsMkfile("/d/new")), ("pong", abi.Ping(1))),
        dirs=[f"{tmp_path}::/d:ro"],
    )
    assert found.exit is not None and found.exit.code == 1
    assert rules(found) == [f'fs(dir="{tmp_path}", at="/d", mode="ro")', "pong.ping"]
    assert [note.partition(":")[0] for note in found.notes] == ['fs.mkfile(path="/d/new")']
    assert not (tmp_path / "new").exists()


class Moody(wasmos.Service):
    """Refuses each first time of a port, or always port 1."""

    name = "tcpip"

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def tcpip_listen(self, caller: wasmos.Caller, listen_port: int) -> int:
        if listen_port == 1 or listen_port not in self.seen:
            self.seen.add(listen_port)
            raise wasmos.CapabilityDenied("not mapped")
        return 7


def test_what_its_service_refuses_each_time_is_not_learnt(kernel: wasmos.Kernel) -> None:
    kernel.serve(Moody())
    listens = [("tcpip", abi.TcpipListen(port)) for port in (1, 1, 2, 2)]
    task = kernel.spawn(sends(*listens), trusted=True)
    learner = Learner(kernel, task)
    kernel.ask(task, learner)
    assert kernel.wait(task).code == 3
    learner.finish()
    assert [str(line.rule) for line in learner.lines()] == ["tcpip.listen(listen_port=2)"]
    assert list(learner.notes) == [
        "tcpip.listen(listen_port=1): not mapped", "tcpip.listen(listen_port=2): not mapped",
    ]  # fmt: skip


def test_lookups_alone_need_nothing() -> None:
    found = learn(program("(drop @tcpip) (drop @nobody) #0"))
    assert rules(found) == []
    assert found.notes == [
        "looked up the service nobody, and there is none",
        "looked up the service tcpip, and sent it nothing that is allowed here",
    ]


def test_a_path_that_no_rule_can_name() -> None:
    found = learn(sends(("env", abi.EnvGet("HOME")), ("fs", abi.FsOpen("a/../b", 0))))
    assert rules(found)[0] == 'env.get(name="HOME")'
    (line,) = [line for line in found.lines if line.rule.service == "fs"]
    assert "GENERALISED, all files" in line.comment and "a/../b" in line.comment


def test_who_reads_all_variables_needs_all() -> None:
    with mock.patch.dict(os.environ, {"A": "1", "B": "2"}, clear=True):
        found = learn(sends(("env", abi.EnvRead(bytearray()))), deny=['env.get(name="B")'])
    assert rules(found) == ['env.get(name="A")', "env.list"]


def test_who_reads_all_variables_is_given_those_that_somebody_allows() -> None:
    """The question is about the list, and no yes to each that there is."""
    questions: list[str] = []

    def ask(kernel: wasmos.Kernel, task: wasmos.Task) -> Callable[[wasmos.Denial], bool]:
        def answer(denial: wasmos.Denial) -> bool:
            questions.append(denial.rule)
            kernel.grant(task, denial.rule)
            return True

        return answer

    with mock.patch.dict(os.environ, {"A": "1", "B": "2"}, clear=True):
        asks = sends(("env", abi.EnvGet("A")), ("env", abi.EnvRead(bytearray())))
        found = learn(asks, ask=ask)
    assert questions == ['env.get(name="A")', "env.list"]
    assert rules(found) == questions


def test_a_message_that_nobody_has_defined(kernel: wasmos.Kernel) -> None:
    kernel.serve(wasmos_pong := wasmos_service())
    source = program(f"(call $ask @{wasmos_pong.name} #200 #1)")
    for generalise, wanted in ((False, []), (True, ["own"])):
        task = kernel.spawn(source, trusted=True)
        learner = Learner(kernel, task, generalise=generalise)
        kernel.ask(task, learner)
        kernel.wait(task)
        learner.finish()
        assert [str(line.rule) for line in learner.lines()] == wanted


def wasmos_service() -> wasmos.Service:
    class Own(wasmos.Service):
        name = "own"

    return Own()


def test_nothing_new_is_allowed_beyond_a_bound(
    kernel: wasmos.Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wasmos.system.learn.learner.MAX_NEEDS", 3)
    kernel.serve(Moody())
    listens = [("tcpip", abi.TcpipListen(port)) for port in (2, 2, 3, 3, 4, 4, 5, 5, 2)]
    task = kernel.spawn(sends(*listens), trusted=True)
    learner = Learner(kernel, task)
    kernel.ask(task, learner)
    kernel.wait(task)
    learner.finish()
    assert [str(line.rule) for line in learner.lines()] == ["tcpip.listen(listen_port=2..4)"]


# --- asking -----------------------------------------------------------------------------------


def test_what_is_asked_for_is_what_is_learnt() -> None:
    asked: list[str] = []

    def ask(kernel: wasmos.Kernel, task: wasmos.Task) -> Callable[[wasmos.Denial], bool]:
        def answer(denial: wasmos.Denial) -> bool:
            asked.append(denial.rule)
            if denial.service == "pong":
                return False
            kernel.grant(task, denial.rule)
            return True

        return answer

    ping, listen = ("pong", abi.Ping(1)), ("tcpip", abi.TcpipListen(80))
    echo = ("echo", abi.Echo(b"x"))
    found = learn(sends(ping, listen, echo, echo), ask=ask, allow=["echo"])
    assert found.exit is not None and found.exit.code == 1
    assert rules(found) == ["echo.echo", 'tcpip.listen(bind="0", listen_port=80)']
    assert asked == ["pong.ping", "tcpip.listen(listen_port=80)"]
    assert found.notes == ["pong.ping: no rule grants it"]


Asking = Callable[[wasmos.Kernel, wasmos.Task], Prompter]


def answering(*answers: str) -> Asking:
    """Somebody who gives these answers, one after the other."""
    left = iter(answers)
    return lambda kernel, _: Prompter(kernel, lambda _: next(left), lambda _: None)


def reaches(*addresses: int, name: str = "evil.example") -> list[tuple[str, abi.Message]]:
    """Looks up a name, and connects to these addresses."""
    found: list[tuple[str, abi.Message]] = [("tcpip", abi.TcpipDnsResolve(name))]
    return found + [("tcpip", abi.TcpipConnect(address, 443)) for address in addresses]


def asked_of(*messages: tuple[str, abi.Message], answers: str, **options: Any) -> Learnt:
    net = FakeNetwork({"evil.example": ["93.184.215.14"], "in.example": ["10.0.0.5"]})
    return learn(
        sends(*messages), ask=answering(*answers), network=net, output=io.BytesIO(),
        allow=options.pop("allow", ["tcpip.dns_resolve"]), **options,
    )  # fmt: skip


def test_an_answer_is_about_an_address_whatever_the_guest_calls_it() -> None:
    """Who answers knows the address; what it is called at some other time is up to others."""
    found = asked_of(*reaches(PUBLIC), answers="r")
    assert rules(found)[0] == 'tcpip.connect(dst_addr="93.184.215.14", dst_port=443)'
    assert "host=" not in found.policy
    assert "it looked up evil.example and was told this address" in found.policy


def test_what_is_allowed_without_a_question_is_not_named_either() -> None:
    """--allow is an answer in advance, and about an address as well."""
    allow = ["tcpip.dns_resolve", 'tcpip.connect(dst_addr="10.0.0.0/8")']
    found = asked_of(*reaches(PRIVATE, name="in.example"), answers="", allow=allow)
    assert 'tcpip.connect(dst_addr="10.0.0.5", dst_port=443)' in rules(found)
    assert "host=" not in found.policy


def test_once_is_no_rule_for_good() -> None:
    found = asked_of(*reaches(PUBLIC), answers="o")
    assert rules(found) == ['tcpip.dns_resolve(hostname="evil.example")']
    assert [str(line.rule) for line in found.once] == [
        'tcpip.connect(dst_addr="93.184.215.14", dst_port=443)'
    ]
    [line] = [line for line in found.policy.splitlines() if "once" in line]
    text = "    # once: 'tcpip.connect(dst_addr=\"93.184.215.14\", dst_port=443)',  # may connect"
    assert line.startswith(text)


def test_what_was_allowed_once_can_be_taken_in_by_hand() -> None:
    found = asked_of(*reaches(PUBLIC), answers="o")
    section = tomllib.loads(found.policy.replace("# once: ", ""))["task"][found.name]
    assert section["allow"] == [str(line.rule) for line in (*found.lines, *found.once)]


def test_nothing_but_what_was_allowed_once() -> None:
    found = asked_of(("pong", abi.Ping(1)), ("pong", abi.Ping(2)), answers="oo", allow=[])
    assert rules(found) == []
    assert found.policy.count("# once: 'pong.ping'") == 1
    assert found.notes == []


def test_for_a_while_is_no_rule_for_good_either() -> None:
    def ask(kernel: wasmos.Kernel, task: wasmos.Task) -> Callable[[wasmos.Denial], bool]:
        return lambda denial: bool(kernel.grant(task, denial.rule, seconds=60))

    found = learn(sends(("pong", abi.Ping(1))), ask=ask)
    assert rules(found) == [] and [str(line.rule) for line in found.once] == ["pong.ping"]


def test_once_and_then_for_good_is_for_good() -> None:
    found = asked_of(("pong", abi.Ping(1)), ("pong", abi.Ping(2)), answers="or", allow=[])
    assert rules(found) == ["pong.ping"]
    assert found.once == [] and "once" not in found.policy


def test_what_was_allowed_once_and_refused_by_its_service_is_not_learnt() -> None:
    messages = [*reaches(PUBLIC), ("tcpip", abi.TcpipWrite(77, b"x"))]
    found = asked_of(*messages, answers="oo")
    assert [line.rule.message for line in found.once] == ["connect", "write"]
    denied = asked_of(*messages, answers="on")
    assert [line.rule.message for line in denied.once] == ["connect"]


# --- the text ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "with space", "q\"uo'te", "new\nline\x1b[31m", "ü"])
def test_whatever_names_hold_the_file_is_one(name: str) -> None:
    rule = Rule.parse(f'"{"a b"}"')
    written = text(name, lines([Need(rule, comment=name)]), notes=[f"{name}: [task.x]"])
    assert tomllib.loads(written) == {"task": {name: {"allow": [str(rule)]}}}
    assert "\x1b" not in written


def test_nothing_is_a_policy_too() -> None:
    assert tomllib.loads(text("a", [])) == {"task": {"a": {"allow": []}}}


def test_a_deadline_ends_it_and_what_was_learnt_is_not_lost() -> None:
    source = program(f"(drop (call $ask @pong #9 #1)) {forever()}")
    found = learn(source, limits=wasmos.Limits(cpu_seconds=0.05))
    assert found.exit is not None and found.exit.cause == "cpu_limit"
    assert rules(found) == ["pong.ping"]


def test_waiting_for_ever_ends_it_as_well() -> None:
    found = learn(program("(drop (call $ask @pong #9 #1)) (drop (call $recv #0 #1024)) #0"))
    assert rules(found) == ["pong.ping"]


def test_rules_that_need_no_question_need_somebody_who_asks() -> None:
    with pytest.raises(wasmos.UsageError, match="allow= goes with ask="):
        learn(HELLO, allow=["console"])
