"""Manifests: every key, and what is said of wrong ones. What is granted is in test_policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from wasmos import Limits, ManifestError
from wasmos.kernel import Rule
from wasmos.system.manifest.manifest import SERVERS, Manifest, load, registers
from wasmos.system.manifest.manifest import read as read_manifest
from wasmos.system.supervisor import Restart

LONGEST = (128 << 10) - 1  # bytes that a program can be told at once

EVERYTHING = """
[system]
name = "a name"
programs = ["programs", "/abs", "~/home"]
servers = ["vm", "fs"]
policy = "p.toml"

[fs]
files = { "a.txt" = "text", "d/b" = "" }
load = "from.tar"
save = "to"
max_open_files = 100

[tcpip]
listen = ["1:2", "0.0.0.0:3-5:6"]
connect = "any"

[task.one]
module = "./mine/one.wasm"
args = ["a", "b"]
use = ["fs", "*", '"a b"']
env = { A = "1" }
restart = "on-failure"
backoff = "1s"
max_restarts = 9
service = "uno"
priority = 15
memory = "1MiB"
cpu_time = "1s"
deadline = 2.5
table_elements = 10
mailbox = 0

[task.two]

[task."a b"]
module = "here.wasm"

[spawn]
use = ["console"]
priority = 0
memory = 65536
cpu_time = 1
deadline = "1m"
table_elements = 1
mailbox = 2
"""


@pytest.fixture
def read(tmp_path: Path):  # type: ignore[no-untyped-def]
    def read(text: str | bytes) -> Manifest:
        path = tmp_path / "system.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_manifest(str(path))

    return read


def test_every_key(read, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "here.wasm").touch()
    m = read(EVERYTHING)
    assert (m.name, m.servers) == ("a name", ["vm", "fs"])
    home = str(Path("~/home").expanduser())
    assert m.programs == [f"{tmp_path}/programs", "/abs", home]
    assert m.fs_files == {"a.txt": "text", "d/b": ""}
    assert (m.fs_load, m.fs_save) == (f"{tmp_path}/from.tar", f"{tmp_path}/to")
    assert m.fs_max_open_files == 100
    assert (m.listen, m.connect) == (["1:2", "0.0.0.0:3-5:6"], ["any"])
    one, two, third = m.tasks.values()
    assert (one.name, one.path, one.args) == ("one", f"{tmp_path}/./mine/one.wasm", ["a", "b"])
    assert [str(right.rule) for right in one.use] == ["fs", "*", '"a b"']
    assert one.use[1].origin == f"{tmp_path}/system.toml:21"
    assert (one.allow, one.deny, one.service, one.priority) == ([], [], "uno", 15)
    assert one.env == {"A": "1"}
    assert one.restart == Restart("on-failure", 1.0, 9)
    assert m.policy == f"{tmp_path}/p.toml"
    assert one.limits == Limits(
        memory_bytes=1 << 20, cpu_seconds=1.0, deadline_seconds=2.5, table_elements=10, mailbox=0
    )
    assert (two.name, two.module, two.path, two.use) == ("two", "two", None, [])
    assert two.restart == Restart("never", 0.1, 5)
    assert (two.args, two.service, two.priority, two.limits) == ([], None, 8, Limits())
    assert (third.name, third.path) == ("a b", f"{tmp_path}/here.wasm")
    assert ([str(right.rule) for right in m.spawn.use], m.spawn.priority) == (["console"], 0)
    assert m.spawn.limits == Limits(
        memory_bytes=65536, cpu_seconds=1.0, deadline_seconds=60.0, table_elements=1, mailbox=2
    )


def test_nothing_is_a_manifest_too(read) -> None:  # type: ignore[no-untyped-def]
    m = read("")
    assert (m.name, m.servers, m.tasks) == ("system", list(SERVERS), {})
    assert (m.listen, m.connect, m.programs, m.fs_files) == ([], None, [], {})
    assert m.spawn.use == []


def test_the_demonstration_is_one() -> None:
    m = load()
    assert [str(right.rule) for right in m.tasks["webserver"].allow] == [
        "tcpip.listen(listen_port=80)", "console.write",
    ]  # fmt: skip
    assert [str(right.rule) for right in m.tasks["pong"].allow] == ["vm.service_register"]
    assert m.name == "demonstration"
    assert m.programs == [f"{Path.cwd()}/boot"]


def test_a_module_that_looks_like_a_file_but_is_none_is_a_name(read) -> None:  # type: ignore[no-untyped-def]
    plan = read('[task.x]\nmodule = "hello.wasm"').tasks["x"]
    assert (plan.module, plan.path) == ("hello.wasm", None)


def test_relative_to_the_file_and_not_to_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "system.toml").write_text('[system]\nprograms = ["p"]')
    monkeypatch.chdir(tmp_path)
    assert read_manifest("sub/system.toml").programs == [f"{tmp_path}/sub/p"]


CASES = {
    "unknown section": ("\n[sytem]", "2: unknown section 'sytem'; did you mean 'system'?"),
    "unlike any section": (
        "[x]",
        "1: unknown section 'x'; there are: system, fs, tcpip, task, spawn",
    ),
    "key outside": ("name = 1", "1: unknown section 'name'; there are: "),
    "section as a value": ("system = 1", "1: system is a section: write [system]"),
    "section as a list": ("[[fs]]", "1: fs is a section: write [fs]"),
    "unknown key": (
        '[system]\nnmae = "x"',
        "2: unknown key 'nmae' in [system]; did you mean 'name'?",
    ),
    "unknown key of a task": (
        "[task.a]\nuse = []\n[task.b]\nusse = []",
        "4: unknown key 'usse' in [task.b]; did you mean 'use'?",
    ),
    "unknown key of spawn": (
        '[spawn]\nservice = "x"',
        "2: unknown key 'service' in [spawn]; there are: use, priority,",
    ),
    "unknown key of tcpip": (
        "[tcpip]\nlisen = []",
        "2: unknown key 'lisen' in [tcpip]; did you mean 'listen'?",
    ),
    "unknown key of fs": (
        "[fs]\npath = 1",
        "2: unknown key 'path' in [fs]; there are: load, save, files",
    ),
    "unknown server": (
        '[system]\nservers = [\n  "vm",\n  "tcip",\n]',
        "4: unknown server 'tcip'; did you mean 'tcpip'?",
    ),
    "server twice": ('[system]\nservers = ["vm", "fs", "vm"]', "2: server 'vm' is listed twice"),
    "a text, not a list": (
        '[system]\nservers = "vm"',
        "2: servers is a list of strings: servers = [",
    ),
    "a list of numbers": ("[tcpip]\nlisten = [80]", "2: listen is a list of strings"),
    "a number, not a text": ("[system]\nname = 3", '2: name is a string: name = "…"'),
    "files as a list": ("[fs]\nfiles = []", "2: files is a table"),
    "a file of numbers": ('[fs]\nfiles = { "a" = 1 }', "2: a is a string"),
    "task as a value": ("[task]\nx = 1", "2: write [task.x]"),
    "task without a name": ('[task.""]', ": '' can't be a task's name"),
    "task with a trick": ('[task."a\\u001b[2J"]', r": 'a\x1b[2J' can't be a task's name"),
    "priority": ("[task.a]\npriority = 16", "2: priority is a number from 0 to 15, not 16"),
    "priority of another task": (
        "[task.a]\npriority = 1\n[task.b] # priority\npriority = -1",
        "4: priority is a number",
    ),
    "priority true": (
        "[task.a]\npriority = true",
        "2: priority is a number from 0 to 15, not True",
    ),
    "priority with a comma": ("[task.a]\npriority = 1.0", "2: priority is a number"),
    "memory": ('[task.a]\nmemory = "1x"', "2: memory: '1x' is not a size like 64MiB"),
    "memory true": ("[task.a]\nmemory = true", "2: memory: 'True' is not a size"),
    "memory list": ("[task.a]\nmemory = [1]", "2: memory: '[1]' is not a size"),
    "memory without bounds": ("[task.a]\nmemory = 99999999999999999999", "2: memory: "),
    "memory that is a date": ("[task.a]\nmemory = 2020-01-01", "2: memory: "),
    "time": ("[spawn]\ncpu_time = -1", "2: cpu_time: '-1' is not a time like 5s or 250ms"),
    "time nan": ("[spawn]\ndeadline = nan", "2: deadline: 'nan' is not a time"),
    "time without bounds": ("[spawn]\ndeadline = 1e300", "2: deadline: '1e+300' is too much"),
    "mailbox": (
        '[task.a]\nmailbox = "12"',
        "2: mailbox is a number from 0 to 1,073,741,824, not '12'",
    ),
    "mailbox without bounds": (
        "[task.a]\nmailbox = 99999999999999999999",
        "2: mailbox is a number",
    ),
    "table": ("[task.a]\ntable_elements = 1.5", "2: table_elements is a number"),
    "service": ('[task.a]\nservice = ""', "2: '' can't be a service's name"),
    "service all": ('[task.a]\nservice = "x\\n"', r"2: 'x\n' can't be a service's name"),
    "service too long": (f'[task.a]\nservice = "{"x" * 64}"', f"2: '{'x' * 64}' can't be"),
    "allow": (
        '[task.a]\nallow = ["fs"]',
        "2: a manifest asks, and grants nothing: write `use` here, and let a policy grant it, as "
        "`allow` of [task.a] in ",
    ),
    "allow of spawn": ('[spawn]\nallow = ["fs"]', "2: a manifest asks, and grants nothing: write"),
    "use text": ('[task.a]\nuse = "fs"', "2: use is a list of strings"),
    "use number": ('[task.a]\nuse = [\n"fs",\n7]', "4: use is a list of strings"),
    "use nothing": ('[task.a]\nuse = ["fs",\n""]', '3: rule "": column 1: expected a service'),
    "use service": (
        '[task.a]\nuse = [\n  "fs",  # "consol"\n  "consol",\n]',
        "4: rule \"consol\": no service 'consol'; did you mean 'console'?",
    ),
    "use message": (
        '[task.a]\nuse = ["fs"]\n[task.b]\nuse = [\n\n"tcpip.lisen"]',
        "6: rule \"tcpip.lisen\": tcpip has no message 'lisen'; did you mean 'listen'?",
    ),
    "use field": (
        "task = { a = { use = [\n'tcpip.listen(listen_prt=80)'] } }",
        "2: rule \"tcpip.listen(listen_prt=80)\": unknown field 'listen_prt' of tcpip.listen; "
        "did you mean 'listen_port'?",
    ),
    "use value": (
        "[task]\n[task.a]\nuse = ['tcpip.listen(listen_port=99999)']",
        '3: rule "tcpip.listen(listen_port=99999)": listen_port is a number from 0 to 65,535',
    ),
    "use badge": (
        "[task.a]\nuse = ['fs(dri=\"x\")']",
        "2: rule \"fs(dri=\"x\")\": fs has no badge parameter 'dri'; did you mean 'dir'?",
    ),
    "use badge's value": (
        "[task.a]\nuse = ['fs(mode=\"wr\")']",
        '2: rule "fs(mode="wr")": fs: mode \'wr\' is neither ro',
    ),
    "use directory": (
        "[task.a]\nuse = ['fs(dir=\"nowhere\")']",
        '2: rule "fs(dir=',
    ),
    "use bind": (
        "[task.a]\nuse = ['tcpip.listen(listen_port=80, bind=\"x\")']",
        '2: rule "tcpip.listen(bind="x", listen_port=80)": tcpip: bind \'x\': ',
    ),
    "open files": ("[fs]\nmax_open_files = 0", "2: 0 open files: a task may have 1 to 65,536"),
    "open files text": ('[fs]\nmax_open_files = "9"', "2: max_open_files is a number"),
    "use archive": ("[task.a]\nuse = ['fs(archive=\"nowhere.zip\")']", '2: rule "fs(archive='),
    "env": ("[task.a]\nenv = ['A']", "2: env is a table: env = "),
    "env number": ("[task.a.env]\nA = 'x'\nB = 1", "3: B is a string"),
    "env name": ("[task.a]\nenv = { 'A=' = 'x' }", "2: 'A=' can't be a variable's name"),
    "env nul": ("[task.a.env]\nA = 'x'\nB = \"\\u0000\"", "3: variable B has a NUL in it, where a"),
    "env too long": (
        f"[task.a.env]\nA = '{'x' * LONGEST}'",
        "2: variable A has 131,073 bytes, the",
    ),
    "args": ("[task.a]\nargs = 'x'", "2: args is a list of strings"),
    "args nul": (
        '[task.a]\nargs = ["x",\n"a\\u0000b"]',
        "3: argument 2 has a NUL in it, where a program would take it to end",
    ),
    "args too long": (
        f"[task.a]\nargs = ['x', 'x',\n'{'x' * (LONGEST + 1)}']",
        "3: argument 3 has 131,072 bytes, the most is 131,071; pass it in a file or as input",
    ),
    "args too many": (
        f"[task.a]\nargs = {['x' * LONGEST] * 9}",
        "2: the arguments have 1,179,648 bytes together, the most is 1,048,576",
    ),
    "restart": (
        '[task.a]\nrestart = "on-failur"',
        "2: unknown restart 'on-failur'; did you mean 'on-failure'?",
    ),
    "restart true": ("[task.a]\nrestart = true", "2: restart is a string"),
    "backoff": ("[task.a]\nbackoff = 'x'", "2: backoff: 'x' is not a time"),
    "max_restarts": ("[task.a]\nmax_restarts = -1", "2: max_restarts is a number from 0"),
    "policy": ("[system]\npolicy = ['x']", "2: policy is a string"),
    "policy with a nul": ('[system]\npolicy = "\\u0000"', "2: '\\x00' can't be a path"),
    "path with a nul": ('[task.a]\nmodule = "/a\\u0000"', r"2: '/a\x00' can't be a path"),
    "port": ('[tcpip]\nlisten = ["8080:80",\n"80"]', "3: port '80': write HOST:GUEST"),
    "port twice": ('[tcpip]\nlisten = ["1:80", "1:81"]', "2: port '1:81': 127.0.0.1:1 is taken"),
    "destination": ('[tcpip]\nconnect = "al"', "2: no destination 'al'; did you mean 'all'?"),
    "destinations": ('[tcpip]\nconnect = ["any:443",\n"1.2.3"]', "3: destination '1.2.3': write"),
    "none and others": ('[tcpip]\nconnect = ["none", "any"]', '2: destination "none" stands alone'),
    "destination number": ("[tcpip]\nconnect = 1", "2: connect is a list of strings"),
    "inline table": ("system = { nmae = 1 }", "1: unknown key 'nmae' in [system]"),
    "dots": ("task.a.priority = 99", "1: priority is a number"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_and_where(read, tmp_path: Path, case: str) -> None:  # type: ignore[no-untyped-def]
    text, error = CASES[case]
    with pytest.raises(ManifestError) as caught:
        read(text)
    told = str(caught.value).removeprefix(f"{tmp_path}/system.toml")
    if error.startswith(": "):
        assert error in told
    else:
        assert told.startswith(f":{error}")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[system\n", "(at line 1, column 8)"),
        ("a = 1\na = 2\n", "(at line 2, column 6)"),
        ("[task.a]\n[task.a]\n", "(at line 2, column 8)"),
        ("[system]\nname = 'x\n", "(at end of document)"),
        (b"[system]\nname = '\xff'", "not UTF-8, which TOML is, at byte 17"),
        ("a = " + "[" * 2000, "nested too deeply"),
        ("a = " + "9" * 5000, ""),
    ],
)
def test_what_is_not_toml(read, tmp_path: Path, text: str | bytes, error: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ManifestError) as caught:
        read(text)
    assert str(caught.value).startswith(f"{tmp_path}/system.toml: ")
    assert str(caught.value).endswith(error)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.toml: no such file or directory$"):
        read_manifest(str(tmp_path / "none.toml"))
    with pytest.raises(ManifestError, match=r": is a directory$"):
        read_manifest(str(tmp_path))


# --- services -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    ["[task.kv]", "[task.x]\nservice = 'kv'",
     "[task.x]\nuse = ['vm.service_register(name=\"kv\")']",
     "[spawn]\nuse = ['vm.service_register(name=[\"a\", \"kv\"])']"],
)  # fmt: skip
def test_what_a_task_provides_is_a_service(read, other: str) -> None:  # type: ignore[no-untyped-def]
    assert "kv" in read(f"[task.user]\nuse = ['kv', 'kv.ping']\n{other}").services


def test_a_service_that_only_looks_like_one(read) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ManifestError, match="no service 'kv'; did you mean 'kv2'"):
        read("[task.user]\nuse = ['kv']\n[task.x]\nuse = ['vm.service_register(name=\"kv2\")']")


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ("vm", []), ("*", []), ("vm.service_register", []), ("vm.service_lookup(name=\"a\")", []),
        ('vm.service_register(name="a")', ["a"]),
        ('vm.service_register(name=["b", "a"])', ["a", "b"]),
        ('vm.service_register(name="a*")', []),
    ],
)  # fmt: skip
def test_the_names_that_a_rule_lists(rule: str, names: list[str]) -> None:
    assert registers(Rule.parse(rule)) == names


# --- directories --------------------------------------------------------------------------------


def test_a_directory_is_relative_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub" / "data").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sub" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "sub" / "system.toml").write_text(
        """[task.a]\nuse = ['fs(dir="data/")', 'fs(dir="./data/../data", mode="ro") for 5s', """
        """'fs(dir="link/..")']"""
    )
    monkeypatch.chdir(tmp_path)
    use = read_manifest("sub/system.toml").tasks["a"].use
    assert [str(right.rule) for right in use] == [
        f'fs(dir="{tmp_path}/sub/data")',
        f'fs(dir="{tmp_path}/sub/data", mode="ro") for 5s',
        f'fs(dir="{tmp_path}")',  # where the link leads, and back from there
    ]
    assert use[0].text == 'fs(dir="data/")'
    assert use[0].origin == "sub/system.toml:2"
