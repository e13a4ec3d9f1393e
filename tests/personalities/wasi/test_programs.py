"""Programs in C, with a C library, as people build them."""

from __future__ import annotations

import io
import os
import resource
from pathlib import Path
from typing import Any

import pytest
import wasmtime

import wasmos
from tests.personalities.wasi.conftest import EVERYTHING, Machine
from tests.personalities.wasi.languages import toolchains

SOURCE = Path(__file__).with_name("programs.c")


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    program = tmp_path_factory.mktemp("wasi") / "programs.wasm"
    toolchains.c(SOURCE, program)
    return program.read_bytes()


class Ran:
    def __init__(self, machine: Machine, ended: wasmos.Exit) -> None:
        self.code, self.cause = ended.code, ended.cause
        self.out, self.err = (b"".join(machine.console.printed[n]).decode() for n in (1, 2))


def run(
    machine: Machine, programs: bytes, *arguments: str, allow: tuple[str, ...] = EVERYTHING
) -> Ran:
    machine.arguments = ["programs", *arguments]
    return Ran(machine, machine.start(programs, allow))


def test_hello(machine: Machine, programs: bytes) -> None:
    ran = run(machine, programs, "hello")
    assert (ran.code, ran.out, ran.err) == (0, "hello, world\n", "and an error\n")


def test_hello_leaves_no_trace_of_what_it_does_not_use(machine: Machine, programs: bytes) -> None:
    run(machine, programs, "hello", allow=("args", "console"))
    assert [event for event in machine.kernel.events() if event.kind == "denial"] == []


def test_arguments_and_environment(machine: Machine, programs: bytes) -> None:
    machine.environment = {"HOME": "/home", "EMPTY": ""}
    ran = run(machine, programs, "arguments", "a b", "ü")
    assert ran.out.splitlines() == [
        "0=programs", "1=arguments", "2=a b", "3=ü", "EMPTY=", "HOME=/home", "HOME is /home",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, 4096, 100_000])
def test_copy(machine: Machine, programs: bytes, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    machine.plant({"data": None, "data/from": content})
    ran = run(machine, programs, "copy", "/data/from", "data/to")
    assert (ran.code, ran.err) == (0, "")
    assert (machine.root / "data/to").read_bytes() == content
    assert machine.fs.left_open == 0


def test_copy_of_nothing(machine: Machine, programs: bytes) -> None:
    ran = run(machine, programs, "copy", "/none", "/to")
    assert (ran.code, ran.err) == (1, "copy: No such file or directory\n")


def test_files_in_several_directories(machine: Machine, programs: bytes) -> None:
    machine.plant({"a": None, "b": None, "a/f": b"content", "c": None, "c/f": b""},
                        roots=["/a", "/b"])  # fmt: skip
    assert run(machine, programs, "copy", "/a/f", "/b/g").code == 0
    assert (machine.root / "b/g").read_bytes() == b"content"
    assert run(machine, programs, "copy", "/c/f", "/b/g").code == 1


@pytest.mark.parametrize("count", [0, 3, 300])
def test_list(machine: Machine, programs: bytes, count: int) -> None:
    names = {f"d/name-{n:04d}-" + "x" * (n % 50): b"y" * n for n in range(count)}
    machine.plant({"d": None, "d/sub": None, **names})
    ran = run(machine, programs, "list", "/d")
    assert (ran.code, ran.err) == (0, "")
    sizes = {path: (machine.root / "d" / path).stat().st_size for path in (".", "..", "sub")}
    assert sorted(ran.out.splitlines()) == sorted([
        *(f"{path}/ {size}" for path, size in sizes.items()),
        *(f"{name[2:]} {len(data)}" for name, data in names.items()),
    ])  # fmt: skip


def test_sleep(machine: Machine, programs: bytes) -> None:
    machine.console.arrives_after, machine.console.polls = 1e9, 1
    ran = run(machine, programs, "sleeps")
    assert ran.out == "150 ms, 0 ready\n"


def test_chance(machine: Machine, programs: bytes) -> None:
    first = run(machine, programs, "chance").out
    both = run(machine, programs, "chance").out
    assert len(first) == 64 and both[64:] != first


def test_chance_that_was_not_granted(machine: Machine, programs: bytes) -> None:
    ran = run(machine, programs, "chance", allow=("args", "console"))
    assert (ran.code, ran.err) == (1, "chance: Capabilities insufficient\n")


def test_names_are_changed(machine: Machine, programs: bytes) -> None:
    ran = run(machine, programs, "changes")
    assert (ran.code, ran.err) == (0, "")
    assert sorted(path.name for path in machine.root.iterdir()) == ["dir", "link"]
    assert (machine.root / "dir/moved").read_bytes() == b"01"
    assert machine.fs.left_open == 0


def test_input(machine: Machine, programs: bytes) -> None:
    machine.console.input = b"one\ntwo\nthree"
    assert run(machine, programs, "echo").out == "> one\n> two\n> three"


@pytest.mark.parametrize("code", [0, 3, 255])
def test_exit(machine: Machine, programs: bytes, code: int) -> None:
    ran = run(machine, programs, "leaves", str(code))
    assert (ran.code, ran.cause, ran.out) == (code, "returned", "not flushed yet")


def test_abort(machine: Machine, programs: bytes) -> None:
    assert run(machine, programs, "aborts").cause == "trapped"


class Needy(io.BytesIO):
    """Output that takes descriptors of this process when something is written to it."""

    def write(self, data: Any) -> int:
        taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
        for descriptor in taken:
            os.close(descriptor)
        return super().write(data)


@pytest.mark.parametrize("options", [{}, {"max_open_files": 5000}, {"max_open_files": 200}])
def test_who_opens_without_end_leaves_the_host_its_own(
    programs: bytes, tmp_path: Path, options: dict[str, int]
) -> None:
    """Of 400 descriptors 32 aren't for guests, whoever has the others."""
    (tmp_path / "f").touch()
    output = Needy()
    free = 400 - 32 - len(os.listdir("/dev/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    try:
        done = wasmos.run(programs, ["opens", "/f"], dirs={tmp_path: "/"}, output=output, **options)  # type: ignore[arg-type]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    count, reason = map(int, output.getvalue().split())
    assert (done.returncode, reason) == (0, 1)
    assert count == 200 if options.get("max_open_files") == 200 else free - 20 < count < 368


@pytest.mark.parametrize(("arguments", "code"), [([], None), (["politely"], 1)])
def test_a_program_that_is_refused_memory(
    programs: bytes, arguments: list[str], code: int | None
) -> None:
    done = wasmos.run(
        programs, ["hoards", *arguments], limits=wasmos.Limits(memory_bytes=32 << 20),
        capture_output=True,
    )  # fmt: skip
    assert done.exit.code == code and done.exit.may_lack_memory
    assert "of 33,554,432 bytes of memory" in str(done.exit)


def test_without_a_console(machine: Machine, programs: bytes) -> None:
    """What it prints is lost, and it goes on."""
    machine.arguments = ["programs", "hello"]
    assert machine.start(programs, ["args"]).code == 0


# Where a user of wasmtime has a directory seen, and under which name: of `--dir HOST` it is HOST.
NAMES = [
    (".", "."),
    (".::.", "."),
    (".::/", "/"),
    (".::./", "./"),
    ("data", "data"),
    ("./data", "./data"),
    ("data/", "data/"),
    ("data::.", "."),
    ("data::x", "x"),
    ("data::x/", "x/"),
    ("data::./x", "./x"),
    ("data::x/y", "x/y"),
    ("{here}/data", "{here}/data"),
]
REACHED = [
    f"{start}{name}"
    for name in ("file", "data/file", "x/file", "x/y/file", "data/../file", "{here}/data/file")
    for start in ("", "./", "/", "//", "/./", ".//")
]


@pytest.mark.parametrize(("text", "name"), NAMES)
def test_the_paths_that_work_elsewhere_work(
    programs: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str
) -> None:
    here = tmp_path / "here"
    (here / "data").mkdir(parents=True)
    (here / "file").write_text("in .")
    (here / "data" / "file").write_text("in data")
    monkeypatch.chdir(here)
    text, name = (each.replace("{here}", str(here)) for each in (text, name))
    arguments = ["reach", *(path.replace("{here}", str(here)) for path in REACHED)]
    done = wasmos.run(programs, arguments, dirs=text, name="programs", capture_output=True)
    assert done.stdout is not None and done.returncode == 0
    host = text.partition("::")[0]
    assert done.stdout == under_the_engine(programs, arguments, {host: name}, tmp_path)
    assert b": in " in done.stdout


def under_the_engine(
    program: bytes, arguments: list[str], directories: dict[str, str], folder: Path
) -> bytes:
    """What it prints under the engine's own WASI."""
    config = wasmtime.WasiConfig()
    config.argv = ["programs", *arguments]
    config.stdout_file = str(folder / "out")
    for host, name in directories.items():
        config.preopen_dir(host, name)
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    store.set_wasi(config)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    instance = linker.instantiate(store, wasmtime.Module(engine, program))
    start = instance.exports(store)["_start"]
    assert isinstance(start, wasmtime.Func)
    start(store)
    return (folder / "out").read_bytes()
