"""The directories of `wasi_unstable`: each by its name and by its relative one."""

from __future__ import annotations

import pytest

import wasmos
from tests.personalities.wasi.calls import RIGHTS, Calls, Loaded
from tests.personalities.wasi.conftest import EVERYTHING, Machine
from tests.personalities.wasi.fakes import FakeTcpip
from tests.personalities.wasi.host_files import RecordingFs
from wasmos.abi import ErrorCode
from wasmos.personalities import wasi

BADF, EXIST, MFILE, NAMETOOLONG, NOMEM, NOTCAPABLE, NOTDIR, PERM = 8, 20, 33, 37, 48, 76, 54, 63
READ, DIRECTORY = 2, 2
STRIDE = 16  # of where a name goes


@pytest.fixture
def files(machine: Machine) -> Machine:
    """3 is "/" and 4 "/data", 5 is "." and 6 "data"."""
    machine.plant({"data": None, "data/f": b"x", "data/d": None}, roots=["/", "/data"])
    return machine


def names(machine: Machine, *fds: int, before: Calls | None = None) -> list[bytes | None]:
    """What these directories are called, after some calls; None for what is none."""
    calls = Calls(wasi.UNSTABLE) if before is None else before
    done = len(calls)
    for number, fd in enumerate(fds):
        at = 4096 + STRIDE * number
        calls.add("fd_prestat_get", fd, at)
        calls.add("fd_prestat_dir_name", fd, at + 8, Loaded(at + 4))
    result = machine.run(calls)
    assert set(result.errnos[:done]) <= {0}
    return [
        None
        if result.errnos[done + 2 * number]
        else result.bytes(4096 + STRIDE * number + 8, result.u32(4096 + STRIDE * number + 4))
        for number in range(len(fds))
    ]


def test_names(files: Machine) -> None:
    assert names(files, 2, 3, 4, 5, 6, 7) == [None, b"/", b"/data", b".", b"data", None]


def test_the_newer_interface_has_each_once(files: Machine) -> None:
    assert names(files, 3, 4, 5, before=Calls()) == [b"/", b"/data", None]


def test_room_for_a_name(files: Machine) -> None:
    calls = Calls(wasi.UNSTABLE)
    for fd, size in ((5, 0), (5, 1), (6, 3), (6, 4), (6, 100)):
        calls.add("fd_prestat_dir_name", fd, 100, size)
    result = files.run(calls)
    assert result.errnos == [NAMETOOLONG, 0, NAMETOOLONG, 0, 0]
    assert result.bytes(100, 5) == b"data\0"


def test_messages_have_the_whole_path(files: Machine) -> None:
    calls = Calls(wasi.UNSTABLE)
    calls.add("path_create_directory", 5, *calls.text("a"))
    calls.add("path_create_directory", 6, *calls.text("b"))
    calls.add("path_open", 6, 0, *calls.text("."), 0, READ, 0, 0, 0)
    calls.add("fd_filestat_get", 5, 100)  # which opens it
    calls.add("fd_filestat_get", 6, 200)
    calls.add("path_create_directory", 6, *calls.text("../c"))
    assert files.run(calls).errnos == [0] * 5 + [PERM]
    assert [what[1] for what in files.fs.asked] == ["/a", "/data/b", "/data", "/", "/data"]


def test_rules_are_about_the_whole_path(machine: Machine) -> None:
    machine.plant_in_memory({"f": b"", "d": None, "d/inner": b"x"})
    allow = [rule for rule in EVERYTHING if rule != "fs"]
    calls = Calls(wasi.UNSTABLE)
    for path in ("f", "d/inner"):
        calls.add("path_open", 4, 1, *calls.text(path), 0, READ, READ, 0, 0)
    result = machine.run(calls, [*allow, "fs.root", 'fs.open_file(path="/d/*")'])
    assert result.errnos == [PERM, 0]


def test_entries(files: Machine) -> None:
    calls = Calls(wasi.UNSTABLE)
    calls.add("fd_readdir", 4, 1000, 1000, 0, 0)
    calls.add("fd_readdir", 6, 3000, 1000, 0, 4)
    result = files.run(calls)
    assert result.errnos == [0, 0]
    assert result.u32(0) == result.u32(4) > 0
    assert result.bytes(1000, 1000) == result.bytes(3000, 1000)


@pytest.mark.parametrize(
    ("closed", "left"),
    [
        ((3,), [None, b"/data", b".", b"data"]),
        ((4,), [b"/", None, b".", b"data"]),
        ((6, 3), [None, b"/data", b".", None]),
        ((5, 4), [b"/", None, None, b"data"]),
        ((4, 5, 6, 3), [None] * 4),
    ],
)
def test_one_is_closed_and_the_other_stays(
    files: Machine, closed: tuple[int, ...], left: list[bytes | None]
) -> None:
    calls = Calls(wasi.UNSTABLE)
    for fd in (3, 4, 5, 6):
        calls.add("fd_filestat_get", fd, 100)  # all are open
    for fd in closed:
        calls.add("fd_close", fd)
    assert names(files, 3, 4, 5, 6, before=calls) == left
    for fd, name in zip((3, 4, 5, 6), left, strict=True):
        calls = Calls(wasi.UNSTABLE)
        for each in closed:
            calls.add("fd_close", each)
        calls.add("path_filestat_get", fd, 0, *calls.text("data/f" if fd % 2 else "f"), 100)
        assert files.run(calls).errnos[-1] == (BADF if name is None else 0)


@pytest.mark.parametrize(
    ("moved", "to", "left"),
    [
        (5, 3, [b".", b"/data", None, b"data"]),
        (3, 5, [None, b"/data", b"/", b"data"]),
        (6, 3, [b"data", b"/data", b".", None]),
        (4, 6, [b"/", None, b".", b"/data"]),
    ],
)
def test_a_name_moves_with_its_number(
    files: Machine, moved: int, to: int, left: list[bytes | None]
) -> None:
    calls = Calls(wasi.UNSTABLE)
    calls.add("fd_renumber", moved, to)
    calls.add("path_create_directory", to, *calls.text("new"))
    assert names(files, 3, 4, 5, 6, before=calls) == left
    assert files.fs.asked == [("mkdir", "/new" if moved % 2 else "/data/new")]


def test_what_was_opened_has_no_name(files: Machine) -> None:
    """Also under a number that had one."""
    calls = Calls(wasi.UNSTABLE)
    calls.add("path_open", 5, 0, *calls.text("data"), DIRECTORY, READ, 0, 0, 0)
    calls.add("fd_renumber", Loaded(0), 6)
    calls.add("fd_prestat_dir_name", 6, 8, 10)
    assert files.run(calls).errnos == [0, 0, NOTDIR]


def test_rights_are_given_up_of_one(files: Machine) -> None:
    calls = Calls(wasi.UNSTABLE)
    calls.add("fd_fdstat_set_rights", 3, 0, 0)
    for fd in (3, 5):
        calls.add("path_create_directory", fd, *calls.text("new"))
    assert files.run(calls).errnos == [0, NOTCAPABLE, 0]


@pytest.mark.parametrize(("opener", "renamer"), [(3, 4), (4, 3), (4, 4)])
def test_a_directory_that_was_renamed_while_open(
    machine: Machine, opener: int, renamer: int
) -> None:
    """Whichever it was opened in, and whichever it is renamed in."""
    machine.plant({"a": None, "a/b": None})
    calls = Calls(wasi.UNSTABLE)
    for at, path in ((0, "a"), (4, "a/b")):
        calls.add("path_open", opener, 0, *calls.text(path), DIRECTORY, READ, 0, 0, at)
    calls.add("path_rename", renamer, *calls.text("a"), 7 - renamer, *calls.text("new"))
    for fd in (Loaded(0), Loaded(4), 3, 4):
        calls.add("path_create_directory", fd, *calls.text("x"))
    assert machine.run(calls).errnos == [0] * 6 + [EXIST]  # 3 and 4 are one directory
    assert [what[1] for what in machine.fs.asked[2:]] == ["/new/x", "/new/b/x", "/x", "/x"]


def test_paths_take_room_for_each(machine: Machine) -> None:
    name = "n" * 250
    machine.plant({name: None}, roots=[f"/{name}"])
    machine.fs = RecordingFs(max_open_files=2000)
    calls = Calls(wasi.UNSTABLE)
    dot = calls.text(".")
    for _ in range(65536 // 251 - 1):
        calls.add("path_open", 3, 0, *dot, 0, READ, 0, 0, 0)
    calls.add("fd_close", 4)
    for _ in range(2):
        calls.add("path_open", 3, 0, *dot, 0, READ, 0, 0, 0)
    calls.add("path_create_directory", Loaded(0), *calls.text("x"))
    assert machine.run(calls).errnos == [*[0] * 259, NOMEM, 0, 0, NOMEM, 0]
    assert machine.fs.asked[-1] == ("mkdir", f"/{name}/x")


def test_listeners_come_after_both(files: Machine) -> None:
    files.tcpip = FakeTcpip([80])
    calls = Calls(wasi.UNSTABLE)
    for fd in (6, 7, 8):
        calls.add("fd_fdstat_get", fd, 32 * fd)
    result = files.run(calls)
    assert result.errnos == [0, 0, BADF]
    assert (result.u8(32 * 6), result.u8(32 * 7)) == (3, 6)


class OtherRoots(RecordingFs):
    def __init__(self, *roots: str) -> None:
        super().__init__()
        self.roots = roots

    def fs_root(self, caller: wasmos.Caller, index: int) -> str:
        if index >= len(self.roots):
            raise wasmos.ServiceError(ErrorCode.EOF)
        return self.roots[index]


def test_a_root_that_is_relative_anyway(machine: Machine) -> None:
    machine.fs = OtherRoots("/a", "b", "/c")
    assert names(machine, 3, 4, 5, 6, 7, 8) == [b"/a", b"b", b"/c", b"a", b"c", None]


def test_there_is_an_end_to_numbers(machine: Machine) -> None:
    """Whatever there is no number for is left out: the relative names first."""
    machine.fs = OtherRoots(*(f"/{number}" for number in range(600)))
    found = names(machine, 3, 602, 603, 1023, 1024)
    assert found == [b"/0", b"/599", b"0", b"420", None]
    calls = Calls(wasi.UNSTABLE)
    calls.add("path_open", 3, 0, *calls.text("f"), 1, RIGHTS, RIGHTS, 0, 0)
    assert machine.run(calls).errnos == [MFILE]
