"""The second generation of messages, from a client through the kernel: numbers, rights, places in a
directory, and what a grant's end does to them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wasmos
from tests.servers.fs import trees
from tests.servers.fs.clients import User, entries
from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.servers.fs import Fs, Image
from wasmos.servers.fs import files as module
from wasmos.servers.fs.world import (
    APPEND,
    CREATE,
    DATA_SYNC,
    DIRECTORY,
    EMPTY,
    EXCLUSIVE,
    IS_DIRECTORY,
    KEEP,
    NO_WAIT,
    NOW,
    REGULAR,
    SYMBOLIC_LINK,
    SYNC,
    TO_READ,
    TO_WRITE,
)

BOTH = TO_READ | TO_WRITE
DENIED, BAD, INVALID = ErrorCode.NOT_ALLOWED, ErrorCode.BAD_FILE, ErrorCode.INVALID_ARG


@pytest.fixture
def fs() -> Fs:
    image = Image()
    image.put("i", b"image")
    return Fs(image, max_open_files=5)


@pytest.fixture
def kernel(fs: Fs) -> Iterator[wasmos.Kernel]:
    before = trees.open_descriptors()
    kernel = wasmos.Kernel()
    kernel.serve(fs)
    yield kernel
    kernel.close()
    assert trees.open_descriptors() <= before
    assert not (fs._files or fs._under or fs._numbers or fs._listings or fs._listed_bytes)


def rule(directory: Path, at: str, mode: str = "rw") -> str:
    return f'fs(dir="{directory}", at="{at}", mode="{mode}")'


@pytest.fixture(params=["host", "image", "overlay"])
def user(request: pytest.FixtureRequest, kernel: wasmos.Kernel, fs: Fs, inside: Path) -> User:
    """With the same things in `/data`, wherever they are."""
    if request.param != "image":
        mode = "rw" if request.param == "host" else "overlay"
        return User(kernel, rule(inside, "/data", mode))
    for path in ("d/sub", "e"):
        fs.image.make_directories(path)
    fs.image.put("f", b"file")
    fs.image.put("d/sub/deep", b"deep")
    fs.image.delete("i")
    return User(kernel, 'fs(at="/data")')


# --- what is open -----------------------------------------------------------------------------


def test_reading_and_writing(user: User) -> None:
    fd = user.open("/data/f", BOTH)
    assert user.ask(abi.FsOpenFile("/data/d", TO_READ)).kind == DIRECTORY
    assert user.read(fd) == b"file"
    assert user.read(fd, 2, 1) == b"il"
    assert user.read(fd, 2, 4) == b""
    answer = user.ask(abi.FsWriteAt(fd, 2, b"LEAF"))
    assert (answer.len, answer.offset) == (4, 6)
    assert user.get("/data/f") == b"fiLEAF"
    user.ask(abi.FsResize(fd, 1))
    assert user.ask(abi.FsStatFile(fd)).size == 1
    user.ask(abi.FsSync(fd, 0))
    user.ask(abi.FsSync(fd, 1))
    user.ask(abi.FsAdvise(fd, 0, 0, 3))
    user.ask(abi.FsCloseFile(fd))
    assert user.code(abi.FsReadAt(fd, 0, bytearray(1))) == BAD
    assert user.code(abi.FsCloseFile(fd)) == BAD


def test_appending(user: User) -> None:
    fd = user.open("/data/f", TO_WRITE | APPEND)
    answer = user.ask(abi.FsWriteAt(fd, 0, b"more"))
    assert (answer.len, answer.offset) == (4, 8)
    user.ask(abi.FsSetFlags(fd, DATA_SYNC | NO_WAIT))
    user.ask(abi.FsWriteAt(fd, 0, b"F"))
    user.ask(abi.FsSetFlags(fd, APPEND | SYNC))
    assert user.ask(abi.FsWriteAt(fd, 3, b"!")).offset == 9
    assert user.get("/data/f") == b"Filemore!"
    for flags in (TO_WRITE, CREATE, 4096):
        assert user.code(abi.FsSetFlags(fd, flags)) == INVALID


def test_a_file_is_used_as_it_was_opened(user: User) -> None:
    to_read, to_write, neither = (user.open("/data/f", how) for how in (TO_READ, TO_WRITE, 0))
    assert user.code(abi.FsWriteAt(to_read, 0, b"x")) == BAD
    assert user.code(abi.FsResize(to_read, 0)) == INVALID
    assert user.code(abi.FsAllocate(to_read, 0, 1)) == BAD
    assert user.code(abi.FsReadAt(to_write, 0, bytearray(1))) == BAD
    assert user.code(abi.FsReadAt(neither, 0, bytearray(1))) == BAD
    user.ask(abi.FsCloseFile(to_write))
    emptied = user.open("/data/f", TO_READ | EMPTY)
    assert user.code(abi.FsWriteAt(emptied, 0, b"x")) == BAD
    assert user.get("/data/f") == b""


BIG = (1 << 63) - 1


def test_values_that_make_no_sense(user: User) -> None:
    fd = user.open("/data/f", BOTH)
    for message in [
        abi.FsReadAt(fd, -1, bytearray(1)),
        abi.FsWriteAt(fd, -1, b"x"),
        abi.FsResize(fd, -1),
        abi.FsAllocate(fd, -1, 1),
        abi.FsAllocate(fd, 0, 0),
        abi.FsAllocate(fd, 0, -1),
        abi.FsAdvise(fd, 0, 0, 6),
        abi.FsAdvise(fd, 0, 0, -1),
        abi.FsAdvise(fd, -1, 0, 0),
        abi.FsAdvise(fd, 0, -1, 0),
        abi.FsSync(fd, 2),
        abi.FsSetFileTimes(fd, -3, 0),
        abi.FsSetTimes("/data/f", 0, 0, -3),
        abi.FsSetTimes("/data/f", 2, 0, 0),
        abi.FsStat("/data/f", 2),
        abi.FsList(fd, -1, bytearray(1)),
        abi.FsRoot(-1),
        abi.FsOpenFile("/data/f", 2048),
        abi.FsOpenFile("/data/f", -1 & 0xFFFFFFFF),
        abi.FsOpenFile("/data/x", CREATE | IS_DIRECTORY),
        abi.FsOpenFile("/data/d", EMPTY | IS_DIRECTORY),
        abi.FsOpenFile("", TO_READ),
        abi.FsLink("/data/f", "/data/g", 2),
    ]:
        assert user.code(message) == INVALID, message
    assert user.code(abi.FsAllocate(fd, BIG, BIG)) == ErrorCode.TOO_LARGE
    assert user.code(abi.FsAllocate(fd, 0, BIG)) == ErrorCode.TOO_LARGE
    assert user.code(abi.FsList(fd, 0, bytearray(1))) == ErrorCode.NOT_A_DIR
    assert user.get("/data/f") == b"file"


def test_what_one_message_moves_is_bounded(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MOVED", 3)
    fd = user.open("/data/f", BOTH)
    assert user.read(fd, 3) == user.read(fd, 4) == b"fil"
    assert user.ask(abi.FsWriteAt(fd, 0, b"abcdef")).len == 3
    assert user.read(fd, 3) == b"abc"
    assert len(user.listed(user.open("/data"), size=100)) == 3


def test_numbers_are_few_and_come_back(user: User) -> None:
    numbers = [user.open("/data/f") for _ in range(5)]
    assert numbers == [1, 2, 3, 4, 5]
    for _ in range(3):
        assert user.code(abi.FsOpenFile("/data/f", TO_READ)) == ErrorCode.NO_RESOURCES
        assert user.code(abi.FsOpen("/data/f", 0)) == ErrorCode.NO_RESOURCES
        assert user.code(abi.FsOpenFile("/data/f", BOTH | EMPTY)) == ErrorCode.NO_RESOURCES
        assert user.code(abi.FsOpenFile("/data/new", CREATE)) == ErrorCode.NO_RESOURCES
    assert user.read(1) == b"file"
    assert user.code(abi.FsStat("/data/new", 0)) == ErrorCode.NOT_FOUND
    user.ask(abi.FsCloseFile(2))
    assert user.open("/data/f") == 2


def test_the_two_generations_dont_share_numbers(user: User) -> None:
    old = user.ask(abi.FsOpen("/data/f", 0)).fd
    assert user.code(abi.FsReadAt(old, 0, bytearray(1))) == BAD
    user.ask(abi.FsClose(old))
    new = user.open("/data/f")
    assert user.code(abi.FsRead(new, 1)) == INVALID


@pytest.mark.parametrize("fd", [0, -1, 2, 1 << 30, -(1 << 31)])
def test_numbers_that_nobody_opened(kernel: wasmos.Kernel, user: User, fd: int) -> None:
    """Also those of another task."""
    other = User(kernel, "fs")
    for _ in range(3):
        other.open("/")
    user.open("/data/f", BOTH)
    for message in [
        abi.FsReadAt(fd, 0, bytearray(1)),
        abi.FsWriteAt(fd, 0, b"x"),
        abi.FsStatFile(fd),
        abi.FsSetFileTimes(fd, 0, 0),
        abi.FsResize(fd, 0),
        abi.FsAllocate(fd, 0, 1),
        abi.FsAdvise(fd, 0, 0, 0),
        abi.FsSync(fd, 0),
        abi.FsSetFlags(fd, 0),
        abi.FsList(fd, 0, bytearray(1)),
        abi.FsCloseFile(fd),
    ]:
        assert user.code(message) == BAD, message


# --- listings ---------------------------------------------------------------------------------


def test_listing(user: User) -> None:
    fd = user.open("/data", TO_READ | IS_DIRECTORY)
    found = entries(user.listed(fd))
    assert [name for *_, name in found[:2]] == [".", ".."]
    assert sorted(name for *_, name in found) == [".", "..", "d", "e", "f"]
    assert [place for place, *_ in found] == [1, 2, 3, 4, 5]
    kinds = {name: kind for _, _, kind, name in found}
    assert kinds == {".": DIRECTORY, "..": DIRECTORY, "d": DIRECTORY, "e": DIRECTORY, "f": REGULAR}
    for _, inode, _, name in found:
        if name != "..":
            assert inode == user.ask(abi.FsStat(f"/data/{name}", 0)).inode
    assert user.listed(fd, 5) == user.listed(fd, 6) == user.listed(fd, BIG) == b""


@pytest.mark.parametrize("size", [0, 1, 23, 24, 25, 26, 50, 51, 76, 100])
def test_a_listing_is_cut_off_where_the_memory_ends(user: User, size: int) -> None:
    fd = user.open("/data")
    whole = user.listed(fd)
    assert user.listed(fd, 0, size) == whole[:size]
    last = entries(whole)[2][0]
    assert user.listed(fd, last, size) == whole[len(whole) - 2 * 25 :][:size]


def test_places_stay_while_entries_come_and_go(user: User) -> None:
    fd = user.open("/data")
    for number in range(10):
        user.ask(abi.FsCloseFile(user.open(f"/data/e/{number}", CREATE)))
    fd = user.open("/data/e")
    before = entries(user.listed(fd))
    for number in range(5):
        user.ask(abi.FsRemoveFile(f"/data/e/{number}"))
    user.ask(abi.FsCloseFile(user.open("/data/e/new", CREATE)))
    for at, entry in enumerate(before):
        assert entries(user.listed(fd, entry[0])) == before[at + 1 :]
    names = [name for *_, name in entries(user.listed(fd))]
    assert sorted(names) == [".", "..", "5", "6", "7", "8", "9", "new"]


def test_long_names(user: User) -> None:
    name = "ä" * 127
    user.ask(abi.FsCloseFile(user.open(f"/data/e/{name}", CREATE)))
    assert entries(user.listed(user.open("/data/e")))[2][3] == name


def test_listings_that_are_kept_are_bounded(
    user: User, fs: Fs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LISTED_BYTES", 150)
    one, two = user.open("/data"), user.open("/data")
    listed = user.listed(one)
    assert user.listed(two) == listed
    assert len(fs._listings) == 1
    assert user.listed(one, 2) == listed[51:]  # it is made again
    for fd in (one, two):
        user.ask(abi.FsCloseFile(fd))
    assert fs._listed_bytes == 0


# --- the tree ---------------------------------------------------------------------------------


def test_changing_the_tree(user: User) -> None:
    user.ask(abi.FsMakeDirectory("/data/n"))
    user.ask(abi.FsRename("/data/f", "/data/n/g"))
    user.ask(abi.FsLink("/data/n/g", "/data/h", 0))
    user.ask(abi.FsMakeLink("n/g", "/data/l"))
    found = user.ask(abi.FsStat("/data/l", 1))
    assert (found.kind, found.size, found.links) == (REGULAR, 4, 2)
    assert user.ask(abi.FsStat("/data/l", 0)).kind == SYMBOLIC_LINK
    text = bytearray(2)
    assert user.ask(abi.FsReadLink("/data/l", text)).len == 2
    assert text == b"n/"
    user.ask(abi.FsSetTimes("/data/l", 1, 5, 7))
    fd = user.open("/data/h")
    assert user.ask(abi.FsStatFile(fd)).modified_ns == 7
    user.ask(abi.FsSetFileTimes(fd, KEEP, NOW))
    assert user.ask(abi.FsStatFile(fd)).accessed_ns == 5
    assert user.code(abi.FsRemoveDirectory("/data/n")) == ErrorCode.NOT_EMPTY
    user.ask(abi.FsRemoveFile("/data/n/g"))
    user.ask(abi.FsRemoveDirectory("/data/n"))
    assert user.get("/data/h") == b"file"


# --- rights -----------------------------------------------------------------------------------

CHANGES = [
    abi.FsOpenFile("/ro/new", CREATE),
    abi.FsOpenFile("/ro/new", CREATE | EXCLUSIVE),
    abi.FsOpenFile("/ro/f", CREATE),
    abi.FsOpenFile("/ro/f", EMPTY),
    abi.FsOpenFile("/ro/f", TO_READ | EMPTY),
    abi.FsOpenFile("/ro/f", TO_WRITE),
    abi.FsOpenFile("/ro/f", BOTH | APPEND),
    abi.FsSetTimes("/ro/f", 0, 0, 0),
    abi.FsSetTimes("/ro", 1, 0, 0),
    abi.FsMakeDirectory("/ro/new"),
    abi.FsRemoveDirectory("/ro/e"),
    abi.FsRemoveFile("/ro/f"),
    abi.FsRename("/ro/f", "/ro/g"),
    abi.FsLink("/ro/f", "/ro/g", 0),
    abi.FsMakeLink("f", "/ro/g"),
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_grant_to_read_changes_nothing(
    kernel: wasmos.Kernel, inside: Path, change: abi.Message
) -> None:
    before = trees.digest(inside)
    user = User(kernel, rule(inside, "/ro", "ro"), rule(inside, "/rw"))
    assert user.code(change) == DENIED
    assert trees.digest(inside) == before


def test_what_was_opened_to_read_stays_so(kernel: wasmos.Kernel, inside: Path) -> None:
    """Though there is another grant, to write, for the same files."""
    before = trees.digest(inside)
    user = User(kernel, rule(inside, "/ro", "ro"), rule(inside, "/rw"))
    fd = user.open("/ro/f")
    assert user.code(abi.FsSetFileTimes(fd, 0, 0)) == DENIED
    assert user.code(abi.FsWriteAt(fd, 0, b"x")) == BAD
    assert user.code(abi.FsResize(fd, 0)) == INVALID
    user.ask(abi.FsSync(fd, 0))
    user.ask(abi.FsSetFlags(fd, APPEND))
    assert trees.digest(inside) == before


@pytest.mark.parametrize("make", [abi.FsRename, lambda old, new: abi.FsLink(old, new, 0)])
def test_nothing_goes_from_grant_to_grant(
    kernel: wasmos.Kernel, tmp_path: Path, inside: Path, make: Any
) -> None:
    (tmp_path / "other").mkdir()
    before = trees.digest(inside)
    user = User(
        kernel,
        rule(inside, "/ro", "ro"),
        rule(inside, "/rw"),
        rule(inside / "d", "/part"),
        rule(tmp_path / "other", "/other"),
        "fs",
    )
    for old, new in [
        ("/ro/f", "/rw/g"),
        ("/rw/f", "/ro/g"),
        ("/rw/f", "/part/g"),
        ("/part/sub", "/rw/sub"),
        ("/rw/f", "/other/f"),
        ("/ro/f", "/other/f"),
        ("/i", "/rw/i"),
        ("/rw/f", "/f"),
        ("/rw/f", "/rw/../other/f"),
    ]:
        assert user.code(make(old, new)) == ErrorCode.CROSS_DEVICE, (old, new)
    assert trees.digest(inside) == before


def test_another_grant_for_the_same_files(kernel: wasmos.Kernel, inside: Path) -> None:
    """One is to open, the other to write: as long as both are for the same place."""
    where = f'dir="{inside}", at="/data"'
    user = User(kernel, f"fs.open_file({where})", f"fs.write_at({where})")
    fd = user.open("/data/f", BOTH)
    user.ask(abi.FsWriteAt(fd, 0, b"F"))
    assert (inside / "f").read_bytes() == b"File"
    user = User(kernel, f"fs.open_file({where})", f'fs.write_at(dir="{inside}", at="/x")')
    fd = user.open("/data/f", BOTH)
    assert user.code(abi.FsWriteAt(fd, 0, b"x")) == DENIED


def test_rules_on_paths(kernel: wasmos.Kernel, inside: Path) -> None:
    user = User(kernel, f'fs.open_file(path="/d/**", dir="{inside}")')
    user.open("/d/sub/deep", BOTH)
    assert user.code(abi.FsOpenFile("/f", TO_READ)) == DENIED
    assert user.code(abi.FsStat("/d/sub", 0)) == DENIED


def test_a_grants_end_closes_what_was_opened_under_it(kernel: wasmos.Kernel, inside: Path) -> None:
    user = User(kernel, rule(inside, "/data"), rule(inside, "/data", "ro"))
    before = trees.open_descriptors()
    fd, directory = user.open("/data/f", BOTH), user.open("/data")
    user.listed(directory)
    held = [grant for grant in kernel.grants if grant.holder == user.client.id]
    grant = min(held, key=lambda grant: grant.id)
    kernel.revoke(grant)
    assert trees.open_descriptors() <= before
    for message in [
        abi.FsReadAt(fd, 0, bytearray(1)),
        abi.FsWriteAt(fd, 0, b"x"),
        abi.FsStatFile(fd),
        abi.FsList(directory, 2, bytearray(100)),
    ]:
        assert user.code(message) == DENIED
    user.ask(abi.FsCloseFile(fd))
    assert user.code(abi.FsCloseFile(fd)) == BAD


# --- places -----------------------------------------------------------------------------------


def test_roots(kernel: wasmos.Kernel, inside: Path) -> None:
    user = User(kernel, rule(inside, "/b"), rule(inside, "/a/x"), rule(inside, "/b", "ro"), "fs")
    found = []
    with contextlib.suppress(ServiceError):
        while True:
            found.append(user.ask(abi.FsRoot(len(found))).path)
    assert found == ["/b", "/a/x", "/"]
    assert user.code(abi.FsRoot(3)) == ErrorCode.EOF


def test_directories_on_the_way_to_grants(kernel: wasmos.Kernel, inside: Path) -> None:
    user = User(kernel, rule(inside, "/d/x"), rule(inside, "/y"), rule(inside, "/"))
    root = entries(user.listed(user.open("/")))
    assert sorted(name for *_, name in root) == [".", "..", "d", "e", "f", "y"]
    way = entries(user.listed(user.open("/d")))
    assert [name for *_, name in way] == [".", "..", "x", "sub"]
    one, two = (user.ask(abi.FsStat(path, 0)) for path in ("/", "/d"))
    assert (one.kind, two.kind) == (DIRECTORY, DIRECTORY)
    assert (one.device, one.inode) != (two.device, two.inode)
    for path, expected in [("/", ErrorCode.BUSY), ("/d", ErrorCode.BUSY), ("/y", ErrorCode.BUSY)]:
        assert user.code(abi.FsRemoveDirectory(path)) == expected
        assert user.code(abi.FsRename(path, "/new")) in (expected, ErrorCode.CROSS_DEVICE)
        assert user.code(abi.FsMakeDirectory(path)) == ErrorCode.ALREADY_EXISTS
        assert user.code(abi.FsRemoveFile(path)) == ErrorCode.NOT_A_FILE
        assert user.code(abi.FsOpenFile(path, TO_WRITE)) == ErrorCode.NOT_A_FILE
    assert user.code(abi.FsSetTimes("/d", 0, 0, 0)) == DENIED
    assert user.code(abi.FsReadLink("/d", bytearray(1))) == INVALID
    assert user.code(abi.FsMakeLink("x", "/d")) == ErrorCode.ALREADY_EXISTS
    assert sorted(os.listdir(inside)) == ["d", "e", "f"]


def test_what_a_directory_on_the_way_is(kernel: wasmos.Kernel, inside: Path) -> None:
    """What its own grant has there, if that is one: a program may ask whether it is the parent."""
    (inside / "f2").symlink_to("d")
    places = ("/d/x", "/f/x", "/f2/x", "/n/x")
    user = User(kernel, rule(inside, "/"), *[rule(inside, place) for place in places])
    for path, there in [
        ("/", inside), ("/d", inside / "d"), ("/d/..", inside), ("/f2", inside / "d"),
    ]:  # fmt: skip
        opened = user.open(path)
        for found in (user.ask(abi.FsStat(path, 0)), user.ask(abi.FsStatFile(opened))):
            host = there.stat()
            assert (found.device, found.inode) == (host.st_dev, host.st_ino)
            assert found.kind == DIRECTORY
        user.ask(abi.FsCloseFile(opened))
    for path in ("/f", "/n"):
        opened = user.open(path)
        for found in (user.ask(abi.FsStat(path, 0)), user.ask(abi.FsStatFile(opened))):
            assert (found.kind, found.device, found.modified_ns) == (DIRECTORY, 0, 0)
        user.ask(abi.FsCloseFile(opened))


@pytest.mark.parametrize("gone", ["/", "/d/x"])
def test_a_directory_on_the_way_is_closed_with_either_grant(
    kernel: wasmos.Kernel, inside: Path, gone: str
) -> None:
    """With the one that it is on the way to, and the one that shows what is there otherwise."""
    user = User(kernel, rule(inside, "/"), rule(inside, "/d/x"))
    way = user.open("/d")
    assert [name for *_, name in entries(user.listed(way))] == [".", "..", "x", "sub"]
    kernel.revoke(user.client, rule(inside, gone))
    (inside / "d" / "later").mkdir()
    assert user.code(abi.FsList(way, 0, bytearray(4096))) == DENIED
    assert user.code(abi.FsStatFile(way)) == DENIED
    user.ask(abi.FsCloseFile(way))
    names = [name for *_, name in entries(user.listed(user.open("/d")))]
    assert sorted(names[2:]) == (["x"] if gone == "/" else ["later", "sub"])


def test_nothing_where_no_grant_is(kernel: wasmos.Kernel, inside: Path) -> None:
    user = User(kernel, rule(inside, "/data"))
    for message in (abi.FsOpenFile("/x", TO_READ), abi.FsStat("/x", 0)):
        assert user.code(message) == ErrorCode.NOT_FOUND
    for message in (abi.FsOpenFile("/x", CREATE), abi.FsMakeDirectory("/x")):
        assert user.code(message) == DENIED
    assert user.code(abi.FsRename("/x", "/data/x")) == ErrorCode.NOT_FOUND
    assert user.code(abi.FsRename("/data/f", "/x")) == DENIED
    assert [name for *_, name in entries(user.listed(user.open("/")))] == [".", "..", "data"]


# --- overlays and archives --------------------------------------------------------------------


def test_an_overlay_is_its_tasks_own(kernel: wasmos.Kernel, inside: Path) -> None:
    before = trees.digest(inside)
    one, two = (User(kernel, rule(inside, "/data", "overlay")) for _ in range(2))
    one.ask(abi.FsWriteAt(one.open("/data/f", TO_WRITE), 0, b"F"))
    one.ask(abi.FsRemoveFile("/data/d/sub/deep"))
    assert one.get("/data/f") == b"File"
    assert two.get("/data/f") == b"file"
    assert two.get("/data/d/sub/deep") == b"deep"
    old = one.ask(abi.FsOpen("/data/f", 0)).fd
    assert one.ask(abi.FsRead(old, 10)).data == b"File"
    assert trees.digest(inside) == before


def test_two_overlays_at_one_place_are_two(kernel: wasmos.Kernel, inside: Path) -> None:
    """What may be read in one that was passed on can't be written by a right to one's own."""
    giver = User(kernel, rule(inside, "/data", "overlay"))
    user = User(kernel)
    giver.client.grants[0].delegate(user.client, "fs.open_file")
    kernel.grant(user.client, rule(inside, "/data", "overlay"))
    fd = user.open("/data/f", BOTH)
    assert user.code(abi.FsWriteAt(fd, 0, b"F")) == DENIED
    assert user.code(abi.FsSetFileTimes(fd, 0, 0)) == DENIED
    assert giver.get("/data/f") == user.read(fd) == b"file"


def test_an_archive(kernel: wasmos.Kernel, tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lib/a.py", b"print(1)")
    before = path.read_bytes()
    user = User(
        kernel, f'fs(archive="{path}", at="/lib")', f'fs(archive="{path}", at="/w", mode="overlay")'
    )
    assert user.get("/lib/lib/a.py") == b"print(1)"
    for message in [
        abi.FsOpenFile("/lib/lib/a.py", TO_WRITE),
        abi.FsOpenFile("/lib/new", CREATE),
        abi.FsRemoveFile("/lib/lib/a.py"),
        abi.FsMakeDirectory("/lib/new"),
        abi.FsSetTimes("/lib/lib", 0, 0, 0),
    ]:
        assert user.code(message) == ErrorCode.READ_ONLY, message
    assert user.code(abi.FsDelete("/lib/lib/a.py")) == DENIED
    fd = user.open("/w/lib/a.py", BOTH)
    user.ask(abi.FsWriteAt(fd, 0, b"P"))
    assert user.get("/w/lib/a.py") == b"Print(1)"
    assert path.read_bytes() == before
