"""Open files and directories."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests.personalities.wasi.calls import RIGHTS, Calls, Loaded, Result
from tests.personalities.wasi.conftest import EVERYTHING, Machine
from tests.personalities.wasi.host_files import RecordingFs
from wasmos.personalities import wasi

BADF, INVAL, NOTCAPABLE, NOTDIR, MFILE = 8, 28, 76, 54, 33
READ, WRITE = 1 << 1, 1 << 6
SET, CUR, FROM_END = 0, 1, 2
APPEND, DSYNC, NONBLOCK, RSYNC, SYNC = 1, 2, 4, 8, 16
DATASYNC_RIGHT, SYNC_RIGHT = 1 << 0, 1 << 4
LATELY = 1_700_000_000 * 10**9


def opened(path: str = "f", rights: int = RIGHTS, *, fdflags: int = 0) -> Calls:
    """Calls that begin with an open file, whose number is at 0."""
    calls = Calls()
    calls.add("path_open", 3, 1, *calls.text(path), 0, rights, rights, fdflags, 0)
    return calls


@pytest.fixture
def files(machine: Machine) -> Machine:
    machine.plant({"f": b"0123456789", "d": None, "d/inner": b"x", "link": "f"})
    return machine


F = Loaded(0)


def test_reading_moves_on(files: Machine) -> None:
    calls = opened()
    calls.add("fd_read", F, *calls.parts((100, 3), (0, 0), (110, 4)), 4)
    calls.add("fd_tell", F, 8)
    calls.add("fd_read", F, *calls.parts((120, 100), (300, 100)), 16)
    calls.add("fd_read", F, *calls.parts((200, 100)), 20)
    calls.add("fd_pread", F, *calls.parts((220, 2), (230, 2)), 8, 24)
    calls.add("fd_tell", F, 32)
    result = files.run(calls)
    assert result.errnos == [0] * 7
    assert [result.u32(at) for at in (0, 4, 16, 20, 24)] == [4, 7, 3, 0, 2]
    assert (result.u64(8), result.u64(32)) == (7, 10)
    assert result.bytes(100, 3) + result.bytes(110, 4) + result.bytes(120, 3) == b"0123456789"
    assert result.bytes(220, 3) == b"89\0"


def test_writing_moves_on(files: Machine) -> None:
    calls = opened()
    calls.add("fd_write", F, *calls.parts(calls.text("ab"), (0, 0), calls.text("c")), 4)
    calls.add("fd_pwrite", F, *calls.parts(calls.text("XY")), 8, 8)
    calls.add("fd_write", F, *calls.parts(calls.text("d")), 12)
    calls.add("fd_tell", F, 16)
    result = files.run(calls)
    assert result.errnos == [0] * 5
    assert [result.u32(at) for at in (4, 8, 12)] == [3, 2, 1]
    assert result.u64(16) == 4
    assert (files.root / "f").read_bytes() == b"abcd4567XY"


def test_to_the_end(files: Machine) -> None:
    calls = opened(fdflags=APPEND)
    calls.add("fd_write", F, *calls.parts(calls.text("ab")), 4)
    calls.add("fd_tell", F, 8)
    calls.add("fd_pwrite", F, *calls.parts(calls.text("c")), 0, 4)
    calls.add("fd_fdstat_set_flags", F, 0)
    calls.add("fd_pwrite", F, *calls.parts(calls.text("X")), 0, 4)
    result = files.run(calls)
    assert result.errnos == [0] * 6
    assert result.u64(8) == 12
    assert (files.root / "f").read_bytes() == b"X123456789abc"


@pytest.mark.parametrize(
    ("delta", "whence", "where"),
    [(3, SET, 3), (100, SET, 100), (-1, SET, None), (2, CUR, 6), (-4, CUR, 0), (-5, CUR, None),
     (0, FROM_END, 10), (-10, FROM_END, 0), (-11, FROM_END, None), (5, FROM_END, 15),
     (2**63 - 1, CUR, None), (2**63 - 1, SET, 2**63 - 1), (-(2**63), CUR, None), (0, 3, None)],
)  # fmt: skip
def test_seek(files: Machine, delta: int, whence: int, where: int | None) -> None:
    calls = opened()
    calls.add("fd_seek", F, 4, SET, 8)
    calls.add("fd_seek", F, delta, whence, 16)
    calls.add("fd_tell", F, 24)
    result = files.run(calls)
    assert result.errnos == [0, 0, 0 if where is not None else INVAL, 0]
    assert result.u64(24) == (4 if where is None else where)
    assert result.u64(16) == (where or 0)


def test_whence_of_the_older_interface(files: Machine) -> None:
    """Its numbers: from here, from the end, from the start."""
    calls = Calls(wasi.UNSTABLE)
    calls.add("path_open", 3, 1, *calls.text("f"), 0, RIGHTS, RIGHTS, 0, 0)
    for whence, delta in ((2, 4), (0, 1), (1, -3)):
        calls.add("fd_seek", F, delta, whence, 16 + 8 * whence)
    result = files.run(calls)
    assert result.errnos == [0] * 4
    assert [result.u64(at) for at in (32, 16, 24)] == [4, 5, 7]


def test_a_place_that_is_none(files: Machine) -> None:
    calls = opened()
    calls.add("fd_pread", F, *calls.parts((100, 3)), -1, 4)
    calls.add("fd_pwrite", F, *calls.parts((100, 3)), -1, 4)
    calls.add("fd_allocate", F, 1, 2**63 - 1)
    calls.add("fd_filestat_set_size", F, -1)
    calls.add("fd_advise", F, 0, 0, 6)
    calls.add("fd_advise", F, -1, 1, 0)
    assert files.run(calls).errnos == [0] + [INVAL] * 5 + [0]


def test_only_what_it_was_opened_for(tmp_path: Path) -> None:
    for rights, errnos in ((READ, [0, BADF]), (WRITE, [BADF, 0]), (READ | WRITE, [0, 0]),
                           (0, [0, BADF])):  # fmt: skip
        machine = Machine(tmp_path / str(rights))
        machine.plant({"f": b"0123"})
        with machine.kernel:
            calls = opened(rights=rights)
            calls.add("fd_read", F, *calls.parts((100, 3)), 4)
            calls.add("fd_write", F, *calls.parts((100, 3)), 4)
            calls.add("fd_fdstat_get", F, 8)
            result = machine.run(calls)
            assert result.errnos == [0, *errnos, 0]
            assert result.u64(16) & READ == (0 if errnos[0] else READ)
            assert result.u64(16) & WRITE == (0 if errnos[1] else WRITE)


def check_filestat(result: Result, at: int, kind: int, found: os.stat_result) -> None:
    assert struct.unpack_from("<QQB7xQQQQQ", result.memory, at) == (
        found.st_dev, found.st_ino, kind, found.st_nlink, found.st_size, found.st_atime_ns,
        2_000, found.st_ctime_ns,
    )  # fmt: skip


def test_what_is_known(files: Machine) -> None:
    calls = opened()
    calls.add("fd_filestat_get", F, 100)
    calls.add("fd_filestat_get", 3, 200)
    calls.add("path_filestat_get", 3, 1, *calls.text("link"), 300)
    calls.add("path_filestat_get", 3, 0, *calls.text("link"), 400)
    result = files.run(calls)
    assert result.errnos == [0] * 5
    check_filestat(result, 100, 4, (files.root / "f").stat())
    check_filestat(result, 200, 3, files.root.stat())
    check_filestat(result, 300, 4, (files.root / "f").stat())
    check_filestat(result, 400, 7, (files.root / "link").lstat())


def test_what_is_known_in_the_older_layout(files: Machine) -> None:
    calls = Calls(wasi.UNSTABLE)
    calls.add("path_filestat_get", 3, 1, *calls.text("f"), 100)
    result = files.run(calls)
    assert result.errnos == [0]
    found = (files.root / "f").stat()
    assert struct.unpack_from("<QQB3xIQQQQ", result.memory, 100) == (
        found.st_dev, found.st_ino, 4, 1, 10, 1_000, 2_000, found.st_ctime_ns,
    )  # fmt: skip
    assert result.bytes(156, 8) == bytes(8)


def times(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_atime_ns, found.st_mtime_ns


def test_times(files: Machine) -> None:
    calls = opened()
    calls.add("fd_filestat_set_times", F, 5, 6, 1 | 4)
    calls.add("path_filestat_set_times", 3, 0, *calls.text("link"), 7, 0, 1 | 8)
    calls.add("fd_filestat_set_times", 3, 0, 0, 2)
    for flags in (3, 12, 16):
        calls.add("fd_filestat_set_times", F, 5, 6, flags)
        calls.add("path_filestat_set_times", 3, 0, *calls.text("link"), 5, 6, flags)
    calls.add("fd_filestat_set_times", F, -1, 0, 1)
    result = files.run(calls)
    assert result.errnos == [0] * 4 + [INVAL] * 7
    assert times(files.root / "f") == (5, 6)
    accessed, modified = times(files.root / "link")
    assert accessed == 7 and modified > LATELY
    accessed, modified = times(files.root)
    assert accessed > LATELY and modified == 2_000


def test_size_room_advice_and_disk(files: Machine) -> None:
    calls = opened()
    calls.add("fd_filestat_set_size", F, 4)
    calls.add("fd_allocate", F, 2, 4)
    calls.add("fd_advise", F, 1, 2, 5)
    calls.add("fd_sync", F)
    calls.add("fd_datasync", F)
    assert files.run(calls).errnos == [0] * 6
    assert (files.root / "f").read_bytes() == b"0123\0\0"
    assert files.fs.asked[1:] == [("advise", 1, 2, 5), ("sync", 0), ("sync", 1)]


def test_entries(files: Machine) -> None:
    calls = opened("d", READ)
    calls.add("fd_readdir", F, 100, 200, 0, 4)
    calls.add("fd_readdir", F, 300, 200, 2, 8)
    calls.add("fd_readdir", 3, 500, 30, 0, 12)
    calls.add("fd_readdir", F, 600, 200, -1, 16)
    result = files.run(calls)
    assert result.errnos == [0] * 5
    inner = struct.pack("<QQII", 3, (files.root / "d/inner").stat().st_ino, 5, 4)
    assert result.bytes(300, result.u32(8)) == inner + b"inner"
    assert result.bytes(100, result.u32(4)).endswith(inner + b"inner")
    assert (result.u32(12), result.u32(16)) == (30, 0)
    assert result.bytes(500 + 20, 5) == b"\3\0\0\0."


def test_a_directory_is_no_file(files: Machine) -> None:
    calls = opened("d", READ)
    for name, more in {
        "fd_read": (100, 0, 8), "fd_write": (100, 0, 8), "fd_pread": (100, 0, 0, 8),
        "fd_pwrite": (100, 0, 0, 8), "fd_seek": (0, 1, 8), "fd_tell": (8,), "fd_sync": (),
        "fd_datasync": (), "fd_allocate": (0, 1), "fd_advise": (0, 1, 0),
        "fd_filestat_set_size": (0,), "fd_fdstat_set_flags": (0,),
    }.items():  # fmt: skip
        calls.add(name, F, *more)
    assert files.run(calls).errnos == [0] + [BADF] * 12


def test_nothing_is_open_there(files: Machine) -> None:
    calls = Calls()
    names = {
        "fd_read": (100, 0, 8), "fd_write": (100, 0, 8), "fd_pread": (100, 0, 0, 8),
        "fd_pwrite": (100, 0, 0, 8), "fd_seek": (0, 1, 8), "fd_tell": (8,), "fd_sync": (),
        "fd_datasync": (), "fd_allocate": (0, 1), "fd_advise": (0, 1, 0), "fd_close": (),
        "fd_filestat_set_size": (0,), "fd_fdstat_set_flags": (0,), "fd_fdstat_get": (0,),
        "fd_filestat_get": (0,), "fd_filestat_set_times": (0, 0, 0), "fd_renumber": (3,),
        "fd_readdir": (0, 0, 0, 8), "fd_prestat_get": (8,), "fd_prestat_dir_name": (8, 8),
        "fd_fdstat_set_rights": (0, 0), "path_open": (0, 100, 1, 0, 0, 0, 0, 8),
        "path_unlink_file": (100, 1), "sock_accept": (0, 8), "sock_recv": (0, 0, 0, 8, 12),
        "sock_send": (0, 0, 0, 8), "sock_shutdown": (1,),
    }  # fmt: skip
    for fd in (4, 1023, 1024, -1):
        for name, more in names.items():
            calls.add(name, fd, *more)
    assert set(files.run(calls).errnos) == {BADF}


# --- numbers ------------------------------------------------------------------------------------


def test_the_highest_number_that_was_freed(files: Machine) -> None:
    calls = Calls()
    path = calls.text("f")
    for at in (0, 4, 8):
        calls.add("path_open", 3, 0, *path, 0, READ, 0, 0, at)
    calls.add("fd_close", Loaded(4))
    calls.add("fd_close", 0)
    for at in (12, 16, 20):
        calls.add("path_open", 3, 0, *path, 0, READ, 0, 0, at)
    result = files.run(calls)
    assert result.errnos == [0] * 8
    assert [result.u32(at) for at in range(0, 24, 4)] == [4, 5, 6, 5, 0, 7]


def test_renumber(files: Machine) -> None:
    calls = opened()
    calls.add("path_open", 3, 0, *calls.text("f"), 0, READ, 0, 0, 4)
    calls.add("fd_seek", F, 3, SET, 8)
    calls.add("fd_renumber", F, Loaded(4))
    calls.add("fd_tell", Loaded(4), 8)
    calls.add("fd_tell", F, 16)
    calls.add("fd_renumber", Loaded(4), Loaded(4))
    calls.add("fd_renumber", Loaded(4), 99)
    result = files.run(calls)
    assert result.errnos == [0, 0, 0, 0, 0, BADF, 0, BADF]
    assert result.u64(8) == 3
    assert files.fs.left_open == 1  # the other one was closed


def test_a_directory_over_another(files: Machine) -> None:
    calls = opened("d", READ)
    calls.add("fd_renumber", F, 3)
    calls.add("path_open", 3, 0, *calls.text("inner"), 0, READ, 0, 0, 4)
    calls.add("fd_prestat_get", 3, 8)
    calls.add("path_open", F, 0, *calls.text("inner"), 0, READ, 0, 0, 4)
    assert files.run(calls).errnos == [0, 0, 0, BADF, NOTDIR]  # 4 is the file now


@pytest.mark.parametrize("number", [0, 1])
def test_a_directory_by_the_number_of_a_stream(machine: Machine, number: int) -> None:
    """It stays the same one, whatever becomes of others."""
    machine.plant({"a": None, "b": None, "b/in": b"", "c": None})
    calls = Calls()
    for at, name in enumerate("ab"):
        calls.add("path_open", 3, 0, *calls.text(name), 0, READ, 0, 0, 4 * at)
    calls.add("fd_renumber", Loaded(4), number)
    calls.add("fd_close", Loaded(0))
    calls.add("path_open", 3, 0, *calls.text("c"), 0, READ, 0, 0, 0)
    calls.add("path_filestat_get", number, 0, *calls.text("in"), 64)
    calls.add("path_rename", 3, *calls.text("b"), 3, *calls.text("renamed"))
    calls.add("path_filestat_get", number, 0, *calls.text("in"), 64)
    calls.add("fd_close", Loaded(0))
    calls.add("fd_close", number)
    result = machine.run(calls)
    assert result.exit.ok
    assert result.errnos == [0] * 10


def test_there_is_an_end_to_numbers(machine: Machine) -> None:
    machine.plant_in_memory({"f": b""})
    calls = Calls()
    path = calls.text("f")
    for _ in range(1021):
        calls.add("path_open", 3, 0, *path, 0, READ, 0, 0, 0)
    calls.add("fd_close", 77)
    calls.add("path_open", 3, 0, *path, 0, READ, 0, 0, 0)
    result = machine.run(calls)
    assert result.errnos == [0] * 1020 + [MFILE, 0, 0]
    assert result.u32(0) == 77


def test_there_is_an_end_to_open_files(files: Machine) -> None:
    files.fs = RecordingFs(max_open_files=1)
    calls = opened()
    calls.add("path_open", 3, 0, *calls.text("f"), 0, READ, 0, 0, 4)
    assert files.run(calls).errnos == [0, MFILE]


# --- directories that were granted ----------------------------------------------------------------


def test_roots(machine: Machine) -> None:
    machine.plant({"data": None, "data/f": b"x"}, roots=["/", "/data"])
    calls = Calls()
    for fd, at in ((3, 0), (4, 8), (5, 16), (2, 24)):
        calls.add("fd_prestat_get", fd, at)
    calls.add("fd_prestat_dir_name", 4, 100, 5)
    calls.add("fd_prestat_dir_name", 4, 200, 4)
    calls.add("fd_prestat_dir_name", 3, 300, 10)
    calls.add("path_open", 4, 0, *calls.text("f"), 0, READ, 0, 0, 32)
    calls.add("fd_prestat_dir_name", Loaded(32), 200, 4)
    calls.add("fd_fdstat_get", 3, 400)
    result = machine.run(calls)
    assert result.errnos == [0, 0, BADF, BADF, 0, 37, 0, 0, NOTDIR, 0]
    assert result.bytes(0, 16) == struct.pack("<IIII", 0, 1, 0, 5)
    assert (result.bytes(100, 6), result.bytes(300, 2)) == (b"/data\0", b"/\0")
    assert struct.unpack_from("<BxHxxxxQQ", result.memory, 400) == (3, 0, 0x7BFFE00 & ~(1 << 19)
        & ~(1 << 22), 0xFFFFFFF & ~(1 << 19))  # fmt: skip


def test_without_files_there_are_no_roots(machine: Machine) -> None:
    calls = Calls()
    calls.add("fd_prestat_get", 3, 0)
    assert machine.run(calls, ["console"]).errnos == [BADF]


def test_what_is_not_used_is_not_asked_for(machine: Machine) -> None:
    """A program that only prints leaves no trace of what it wasn't granted."""
    calls = Calls()
    calls.add("fd_write", 1, *calls.parts(calls.text("hello")), 0)
    machine.run(calls, ["console"])
    assert not [event for event in machine.kernel.events() if event.kind == "denial"]


# --- rights -------------------------------------------------------------------------------------


def test_rights_that_were_given_up(files: Machine) -> None:
    calls = opened()
    calls.add("fd_fdstat_get", F, 8)
    calls.add("fd_fdstat_set_rights", F, READ | 1 << 2, 0)
    calls.add("fd_read", F, *calls.parts((100, 3)), 4)
    calls.add("fd_write", F, *calls.parts((100, 3)), 4)
    calls.add("fd_sync", F)
    calls.add("fd_tell", F, 4)
    calls.add("fd_fdstat_set_rights", F, READ | WRITE, 0)
    calls.add("fd_fdstat_set_rights", F, READ, 1)
    calls.add("fd_fdstat_set_rights", F, 1 << 30, 0)
    calls.add("fd_fdstat_get", F, 40)
    result = files.run(calls)
    assert result.errnos == [0, 0, 0, 0, NOTCAPABLE, NOTCAPABLE, 0, *[NOTCAPABLE] * 2, INVAL, 0]
    assert (result.u64(48), result.u64(56)) == (READ | 1 << 2, 0)


def test_what_is_opened_below_lacks_them_too(files: Machine) -> None:
    calls = opened("d", READ)
    calls.add("fd_fdstat_get", F, 8)
    calls.add("fd_fdstat_set_rights", F, 1 << 13, READ)  # path_open; only to read
    inner = calls.text("inner")
    calls.add("path_open", F, 0, *inner, 0, READ | WRITE, 0, 0, 4)
    calls.add("path_open", F, 0, *inner, 0, READ, 0, 0, 4)
    calls.add("fd_tell", Loaded(4), 32)
    calls.add("path_open", F, 0, *inner, 1, READ, 0, 0, 4)  # create
    calls.add("path_filestat_get", F, 0, *inner, 100)
    result = files.run(calls)
    assert result.errnos == [0, 0, 0, NOTCAPABLE, 0, NOTCAPABLE, NOTCAPABLE, NOTCAPABLE]


@pytest.mark.parametrize("name", ["new", "inner"])
def test_below_a_directory_files_are_written(files: Machine, name: str) -> None:
    """A C library asks for what a directory says can be had below it, and no more: whatever that
    directory itself was opened for."""
    calls = opened("d", READ)
    calls.add("fd_fdstat_get", F, 8)
    calls.add("path_open", F, 0, *calls.text(name), 1, Loaded(24), Loaded(24), 0, 4)  # create
    calls.add("fd_write", Loaded(4), *calls.parts(calls.text("written")), 40)
    result = files.run(calls)
    assert result.errnos == [0, 0, 0, 0]
    assert (files.root / "d" / name).read_bytes() == b"written"


@pytest.mark.parametrize(("lacking", "errno"), [(0, 0), (1 << 22, NOTCAPABLE)])
def test_who_gives_up_something_else_can_still_empty_files(
    files: Machine, lacking: int, errno: int
) -> None:
    """What a directory doesn't report can't be kept by its name. `lacking`: to change sizes."""
    base, inheriting = 1 << 13, (READ | WRITE | 1 << 22) & ~lacking
    calls = opened("d", READ)
    for fd in (3, F):
        calls.add("fd_fdstat_set_rights", fd, base, inheriting)
    calls.add("path_open", 3, 0, *calls.text("f"), 8, WRITE, 0, 0, 8)
    calls.add("path_open", F, 0, *calls.text("inner"), 8, WRITE, 0, 0, 8)
    assert files.run(calls).errnos == [0, 0, 0, errno, errno]


@pytest.mark.parametrize(
    ("rights", "errnos"),
    [
        (0, [NOTCAPABLE, NOTCAPABLE, NOTCAPABLE]),
        (1 << 5, [0, 0, NOTCAPABLE]),  # to tell
        (1 << 2, [0, 0, 0]),  # to seek, which is more
    ],
)
def test_to_be_told_where_it_is(files: Machine, rights: int, errnos: list[int]) -> None:
    """By either function: to seek without moving is to ask."""
    calls = opened()
    calls.add("fd_fdstat_set_rights", F, rights, 0)
    calls.add("fd_tell", F, 8)
    calls.add("fd_seek", F, 0, 1, 8)
    calls.add("fd_seek", F, 1, 1, 8)
    assert files.run(calls).errnos == [0, 0, *errnos]


@pytest.mark.parametrize(
    ("kept", "flag", "errno"),
    [
        (0, 0, 0), (0, DSYNC, NOTCAPABLE), (0, RSYNC, NOTCAPABLE), (0, SYNC, NOTCAPABLE),
        (DATASYNC_RIGHT, DSYNC, 0), (DATASYNC_RIGHT, SYNC, NOTCAPABLE),
        (SYNC_RIGHT, SYNC, 0), (SYNC_RIGHT, RSYNC, 0),
    ],
)  # fmt: skip
def test_a_flag_that_writes_to_the_disk_is_a_right(
    files: Machine, kept: int, flag: int, errno: int
) -> None:
    calls = Calls()
    calls.add("fd_fdstat_set_rights", 3, 1 << 13, READ | kept)
    calls.add("path_open", 3, 0, *calls.text("f"), 0, READ, 0, flag, 0)
    assert files.run(calls).errnos == [0, errno]


def test_flags(files: Machine) -> None:
    calls = opened(fdflags=NONBLOCK)
    calls.add("fd_fdstat_get", F, 8)
    calls.add("fd_fdstat_set_flags", F, APPEND)
    calls.add("fd_fdstat_get", F, 32)
    calls.add("fd_fdstat_set_flags", F, 32)
    result = files.run(calls)
    assert result.errnos == [0, 0, 0, 0, INVAL]
    assert (result.u8(8), result.u16(10), result.u16(34)) == (4, NONBLOCK, APPEND)


def test_a_rule_decides(machine: Machine) -> None:
    """What a program may do, its capabilities say; what the adapter reports is no authority."""
    machine.plant_in_memory({"f": b"", "d": None, "d/inner": b"x"})
    allow = [rule for rule in EVERYTHING if rule != "fs"]
    calls = opened()
    calls.add("path_open", 3, 1, *calls.text("d/./inner"), 0, READ, READ, 0, 0)
    result = machine.run(calls, [*allow, "fs.root", 'fs.open_file(path="/d/*")'])
    assert result.errnos == [63, 0]
