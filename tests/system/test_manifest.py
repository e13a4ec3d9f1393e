"""Manifests: every key, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from wasmos import Limits, ManifestError
from wasmos.system.manifest import SERVERS, Manifest, load

EVERYTHING = """
[system]
name = "a name"
programs = ["programs", "/abs", "~/home"]
servers = ["vm", "fs"]

[fs]
files = { "a.txt" = "text", "d/b" = "" }
load = "from.tar"
save = "to"

[tcpip]
listen = ["1:2", "0.0.0.0:3-5:6"]
connect = "any"

[task.one]
module = "./mine/one.wasm"
args = ["a", "b"]
allow = ["fs", "*"]
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
allow = ["console"]
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
        return load(str(path))

    return read


def test_every_key(read, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "here.wasm").touch()
    m = read(EVERYTHING)
    assert (m.name, m.servers) == ("a name", ["vm", "fs"])
    home = str(Path("~/home").expanduser())
    assert m.programs == [f"{tmp_path}/programs", "/abs", home]
    assert m.fs_files == {"a.txt": "text", "d/b": ""}
    assert (m.fs_load, m.fs_save) == (f"{tmp_path}/from.tar", f"{tmp_path}/to")
    assert (m.listen, m.connect) == (["1:2", "0.0.0.0:3-5:6"], ["any"])
    one, two, third = m.tasks.values()
    assert (one.name, one.path, one.args) == ("one", f"{tmp_path}/./mine/one.wasm", ["a", "b"])
    assert (one.allow, one.service, one.priority) == (["fs", "*"], "uno", 15)
    assert one.limits == Limits(
        memory_bytes=1 << 20, cpu_seconds=1.0, deadline_seconds=2.5, table_elements=10, mailbox=0
    )
    assert (two.name, two.module, two.path, two.allow) == ("two", "two", None, [])
    assert (two.args, two.service, two.priority, two.limits) == ([], None, 8, Limits())
    assert (third.name, third.path) == ("a b", f"{tmp_path}/here.wasm")
    assert (m.spawn.allow, m.spawn.priority) == (["console"], 0)
    assert m.spawn.limits == Limits(
        memory_bytes=65536, cpu_seconds=1.0, deadline_seconds=60.0, table_elements=1, mailbox=2
    )


def test_nothing_is_a_manifest_too(read) -> None:  # type: ignore[no-untyped-def]
    m = read("")
    assert (m.name, m.servers, m.tasks) == ("system", list(SERVERS), {})
    assert (m.listen, m.connect, m.programs, m.fs_files) == ([], ["none"], [], {})
    assert m.spawn.allow == []


def test_the_demonstration_is_one() -> None:
    m = load()
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
    assert load("sub/system.toml").programs == [f"{tmp_path}/sub/p"]


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
        "[task.a]\nallow = []\n[task.b]\nalow = []",
        "4: unknown key 'alow' in [task.b]; did you mean 'allow'?",
    ),
    "unknown key of spawn": (
        '[spawn]\nservice = "x"',
        "2: unknown key 'service' in [spawn]; there are: allow, priority,",
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
    "allow": ('[task.a]\nallow = ["fs", ""]', "2: '' can't be a service's name"),
    "allow text": ('[task.a]\nallow = "fs"', "2: allow is a list of strings"),
    "path with a nul": ('[task.a]\nmodule = "/a\\u0000"', r": '/a\x00' can't be a path"),
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
        load(str(tmp_path / "none.toml"))
    with pytest.raises(ManifestError, match=r": is a directory$"):
        load(str(tmp_path))
