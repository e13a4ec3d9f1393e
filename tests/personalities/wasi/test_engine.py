"""The same calls here and under the engine's own WASI: the same errnos, but for what the page of
the reference says."""

from __future__ import annotations

import functools
import struct
from pathlib import Path

import pytest
import wasmtime

from tests.personalities.wasi.calls import ERRNOS, Calls
from tests.personalities.wasi.conftest import Machine
from tests.personalities.wasi.host_files import plant

TREE: dict[str, bytes | str | None] = {
    "f": b"0123456789", "d": None, "d/inner": b"x", "link": "f", "loop": "loop", "dl": "d",
    "dangling": "nowhere", "d/up": "../f",
}  # fmt: skip
READ, WRITE = 1 << 1, 1 << 6
CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
PATHS = ["", "/", "/f", ".", "./", "..", "../f", "d/..", "d/../..", "a\0", "\0", "f", "./f", "d/.",
         "d/./inner", "d//inner", "none", "f/x", "link", "loop", "dl", "dl/inner", "dl/../f",
         "dl/up", "d/up", "n" * 5000, b"\xff", b"/\xff", "d/inner/..", "d/none/../inner",
         "dl/../..", "f/", "f/.", "none/", "none/.", "d/", "d//", "link/", "link/.", "dl/", "dl/.",
         "dangling", "dangling/", "dangling/x", "loop/", "loop/x", "d/up/", "n" * 255, "n" * 256,
         "n" * 300, "d/" + "n" * 256, "ä" * 128, "n" * 256 + "/x", "./..", "d/../d", "dl/up/",
         "d/none", "none/x", "d/inner/x", "d/./.."]  # fmt: skip

Call = tuple[str, *tuple[int | str | bytes, ...]]


def program(*calls: Call) -> Calls:
    """Texts stand for their addresses and sizes. A part of memory is described at 100."""
    made = Calls()
    made.put(100, struct.pack("<II", 300, 4))
    text = functools.cache(made.text)
    for name, *arguments in calls:
        flat: list[int] = []
        for argument in arguments:
            flat += [argument] if isinstance(argument, int) else text(argument)
        made.add(name, *flat)
    return made


def under_the_engine(calls: Calls, folder: Path) -> list[int]:
    root = folder / "root"
    plant(root, TREE)
    (folder / "in").write_bytes(b"input")
    engine = wasmtime.Engine()
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    config = wasmtime.WasiConfig()
    config.preopen_dir(str(root), "/")
    config.stdin_file = str(folder / "in")
    config.stdout_file = str(folder / "out")
    config.stderr_file = str(folder / "memory")
    store = wasmtime.Store(engine)
    store.set_wasi(config)
    instance = linker.instantiate(store, wasmtime.Module(engine, calls.source))
    start = instance.exports(store)["_start"]
    assert isinstance(start, wasmtime.Func)
    start(store)
    memory = (folder / "memory").read_bytes()[-65536:]
    return [*struct.unpack_from(f"<{len(calls)}I", memory, ERRNOS)]


def check(machine: Machine, tmp_path: Path, *calls: Call) -> None:
    machine.plant(TREE)
    machine.console.input = b"input"
    made = program(*calls)
    ours, engines = machine.run(made).errnos, under_the_engine(made, tmp_path)
    differing = [
        f"{call}: {one}, engine {other}"
        for call, one, other in zip(calls, ours, engines, strict=True)
        if one != other
    ]
    assert differing == []


# What changes nothing that another path could see; the others get a program for each path.
LOOKING: list[tuple[str, tuple[int | str, ...], tuple[int | str, ...]]] = [
    ("path_open", (3, 0), (0, READ, 0, 0, 0)),
    ("path_open", (3, 1), (0, READ, 0, 0, 0)),
    ("path_open", (3, 1), (2, READ, 0, 0, 0)),
    ("path_filestat_get", (3, 0), (0,)),
    ("path_filestat_get", (3, 1), (0,)),
    ("path_readlink", (3,), (200, 50, 0)),
    ("path_filestat_set_times", (3, 0), (5, 5, 5)),
    ("path_filestat_set_times", (3, 1), (5, 5, 5)),
    ("path_open", (3, 0), (DIRECTORY, READ, 0, 0, 0)),
    ("path_open", (3, 1), (0, READ | WRITE, 0, 0, 0)),
    ("path_open", (3, 0), (CREAT | EXCL, READ, 0, 0, 0)),
    ("path_open", (3, 1), (CREAT | EXCL, READ, 0, 0, 0)),
    ("path_open", (3, 0), (EXCL, READ, 0, 0, 0)),
]
CHANGING: list[tuple[str, tuple[int | str, ...], tuple[int | str, ...]]] = [
    ("path_create_directory", (3,), ()),
    ("path_remove_directory", (3,), ()),
    ("path_unlink_file", (3,), ()),
    ("path_rename", (3,), (3, "new")),
    ("path_rename", (3, "f", 3), ()),
    ("path_link", (3, 0), (3, "new")),
    ("path_link", (3, 0, "f", 3), ()),
    ("path_symlink", (), (3, "new")),
    ("path_symlink", ("x", 3), ()),
    ("path_open", (3, 0), (CREAT, READ, 0, 0, 0)),
    ("path_open", (3, 1), (CREAT, READ | WRITE, 0, 0, 0)),
    ("path_open", (3, 1), (TRUNC, WRITE, 0, 0, 0)),
    ("path_open", (3, 0), (CREAT | TRUNC, READ, 0, 0, 0)),
]


# What is said of these must not depend on what the calls before have left.
ODD = ["f/", "f/.", "none/", "none/.", "d/.", "link/", "dl/", "dangling", "dangling/", "loop/",
       "d/..", "n" * 300]  # fmt: skip


def removes_with_slash(name: str, path: str | bytes) -> bool:
    """The engine takes away no directory that has a slash after its name (EINVAL); POSIX does."""
    return name == "path_remove_directory" and path[-1:] in ("/", b"/")


@pytest.mark.parametrize(("name", "before", "after"), LOOKING)
def test_looking_at_paths(
    machine: Machine,
    tmp_path: Path,
    name: str,
    before: tuple[int | str, ...],
    after: tuple[int | str, ...],
) -> None:
    check(machine, tmp_path, *((name, *before, path, *after) for path in PATHS))


@pytest.mark.parametrize("path", PATHS)
def test_changing_paths(machine: Machine, tmp_path: Path, path: str | bytes) -> None:
    """One call after the other, each where the ones before it have left things."""
    check(
        machine,
        tmp_path,
        *(
            (name, *before, path, *after)
            for name, before, after in CHANGING
            if not removes_with_slash(name, path)
        ),
    )


@pytest.mark.parametrize(("name", "before", "after"), CHANGING)
@pytest.mark.parametrize("path", ODD)
def test_changing_a_path(
    machine: Machine,
    tmp_path: Path,
    name: str,
    before: tuple[int | str, ...],
    after: tuple[int | str, ...],
    path: str | bytes,
) -> None:
    if not removes_with_slash(name, path):
        check(machine, tmp_path, (name, *before, path, *after))


@pytest.mark.parametrize(
    ("path", "errno"), [("d/inner/", 54), ("d/", 55), ("e/", 0), ("dl/", 54), ("none/", 44)]
)
def test_removing_a_directory_with_a_slash(machine: Machine, path: str, errno: int) -> None:
    machine.plant({**TREE, "e": None})
    assert machine.run(program(("path_remove_directory", 3, path))).errnos == [errno]


# Without those that differ on purpose.
ON_DESCRIPTORS: dict[str, tuple[int, ...]] = {
    "fd_read": (100, 1, 8), "fd_write": (100, 1, 8), "fd_pread": (100, 1, 0, 8),
    "fd_pwrite": (100, 1, 0, 8), "fd_seek": (0, 1, 8), "fd_tell": (8,), "fd_sync": (),
    "fd_datasync": (), "fd_advise": (0, 1, 0), "fd_close": (), "fd_filestat_set_size": (0,),
    "fd_fdstat_get": (8,), "fd_filestat_get": (8,), "fd_filestat_set_times": (0, 0, 0),
    "fd_renumber": (4,), "fd_readdir": (0, 0, 0, 8), "fd_prestat_get": (8,),
    "fd_prestat_dir_name": (8, 8), "sock_accept": (0, 8), "sock_recv": (0, 0, 0, 8, 12),
    "sock_send": (0, 0, 0, 8), "sock_shutdown": (1,),
}  # fmt: skip


@pytest.mark.parametrize("name", ON_DESCRIPTORS)
def test_descriptors(machine: Machine, tmp_path: Path, name: str) -> None:
    """3 is the root, 4 a file, 5 another directory."""
    check(
        machine,
        tmp_path,
        ("path_open", 3, 0, "f", 0, READ | WRITE, 0, 0, 4),
        ("path_open", 3, 0, "d", 0, READ, 0, 0, 4),
        *((name, fd, *ON_DESCRIPTORS[name]) for fd in (99, 5, 4, 3, 1, 0)),
    )


@pytest.mark.parametrize(
    "call",
    [
        ("fd_seek", 4, -1, 0, 8), ("fd_seek", 4, -100, 1, 8), ("fd_seek", 4, -11, 2, 8),
        ("fd_seek", 4, 2**63 - 1, 0, 8), ("fd_pread", 4, 100, 1, -1, 8),
        ("fd_pwrite", 4, 100, 1, -1, 8), ("fd_advise", 4, -1, 1, 0),
        ("fd_filestat_set_size", 4, -1), ("fd_fdstat_set_flags", 4, 5),
        ("fd_filestat_set_times", 4, 0, 0, 3), ("proc_raise", 6), ("sched_yield",),
        ("poll_oneoff", 0, 100, 0, 200),
    ],
)  # fmt: skip
def test_odd_numbers(machine: Machine, tmp_path: Path, call: Call) -> None:
    check(machine, tmp_path, ("path_open", 3, 0, "f", 0, READ | WRITE, 0, 0, 4), call)


@pytest.mark.parametrize("rights", [READ, WRITE])
@pytest.mark.parametrize("name", ["fd_read", "fd_write", "fd_pread", "fd_pwrite"])
def test_what_it_was_not_opened_for(
    machine: Machine, tmp_path: Path, name: str, rights: int
) -> None:
    more = (0,) if name.startswith("fd_p") else ()
    opened: Call = ("path_open", 3, 0, "f", 0, rights, 0, 0, 4)
    check(machine, tmp_path, opened, (name, 4, 100, 1, *more, 8))
