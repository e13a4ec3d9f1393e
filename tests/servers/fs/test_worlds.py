"""What every world answers to the second generation of operations: as POSIX has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.servers.fs import worlds
from tests.servers.fs.worlds import names, outcome, read, reading
from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.servers.fs.world import (
    CREATE,
    DIRECTORY,
    EMPTY,
    EXCLUSIVE,
    IS_DIRECTORY,
    KEEP,
    NO_FOLLOW,
    NOW,
    REGULAR,
    SYMBOLIC_LINK,
    TO_READ,
    TO_WRITE,
    Opened,
    World,
)

NOT_FOUND, EXISTS, NOT_DIR, IS_DIR = (
    ErrorCode.NOT_FOUND,
    ErrorCode.ALREADY_EXISTS,
    ErrorCode.NOT_A_DIR,
    ErrorCode.NOT_A_FILE,
)
LEAVES, LOOP, INVALID, BUSY, NOT_EMPTY = (
    ErrorCode.NOT_ALLOWED,
    ErrorCode.TOO_MANY_LINKS,
    ErrorCode.INVALID_ARG,
    ErrorCode.BUSY,
    ErrorCode.NOT_EMPTY,
)


@pytest.fixture(params=worlds.KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with worlds.make(request.param, tmp_path / "root") as world:
        yield world


def opening(world: World, path: str, flags: int) -> int:
    """The kind of what was opened, or the error's code."""
    try:
        opened = world.open_file(path, flags)
    except ServiceError as error:
        return error.code
    opened.close()
    return opened.kind


ALL = ["abs", "d", "dangling", "e", "f", "l", "ld", "loop", "out", "outdir"]

# --- opening ----------------------------------------------------------------------------------

OPENING = [
    ("f", TO_READ, REGULAR),
    ("f", 0, REGULAR),
    ("/f", TO_READ | TO_WRITE, REGULAR),
    ("l", TO_READ, REGULAR),
    ("ld/up", TO_READ, REGULAR),
    ("d/../l", TO_READ, REGULAR),
    ("d", TO_READ, DIRECTORY),
    ("d/", TO_READ | IS_DIRECTORY, DIRECTORY),
    ("ld", TO_READ | IS_DIRECTORY, DIRECTORY),
    ("ld/", TO_READ | NO_FOLLOW, DIRECTORY),
    ("ld/.", NO_FOLLOW, DIRECTORY),
    (".", TO_READ, DIRECTORY),
    ("/", TO_READ, DIRECTORY),
    ("f", IS_DIRECTORY, NOT_DIR),
    ("l", IS_DIRECTORY, NOT_DIR),
    ("f/", TO_READ, NOT_DIR),
    ("f/x", TO_READ, NOT_DIR),
    ("f/..", TO_READ, NOT_DIR),
    ("l/", TO_READ, NOT_DIR),
    ("x", TO_READ, NOT_FOUND),
    ("x/y", TO_READ | CREATE, NOT_FOUND),
    ("dangling", TO_READ, NOT_FOUND),
    ("l", NO_FOLLOW, LOOP),
    ("dangling", NO_FOLLOW, LOOP),
    ("ld", NO_FOLLOW | IS_DIRECTORY, LOOP),
    ("d/up", NO_FOLLOW | IS_DIRECTORY, LOOP),
    ("d/up", NO_FOLLOW, LOOP),
    ("d/up", CREATE | NO_FOLLOW, LOOP),
    ("loop", TO_READ, LOOP),
    ("loop/x", TO_READ, LOOP),
    ("loop", CREATE, LOOP),
    ("l", CREATE | NO_FOLLOW, LOOP),
    ("dangling", CREATE | NO_FOLLOW, LOOP),
    ("d", TO_WRITE, IS_DIR),
    ("d", EMPTY, IS_DIR),
    ("d", CREATE, IS_DIR),
    ("ld", TO_WRITE, IS_DIR),
    ("f", CREATE | EXCLUSIVE, EXISTS),
    ("d", CREATE | EXCLUSIVE, EXISTS),
    ("l", CREATE | EXCLUSIVE, EXISTS),
    ("dangling", CREATE | EXCLUSIVE, EXISTS),
    ("out", CREATE | EXCLUSIVE, EXISTS),
    ("f", EXCLUSIVE, REGULAR),
    ("f", CREATE, REGULAR),
    ("l", CREATE | TO_WRITE, REGULAR),
    ("x/", CREATE, IS_DIR),
    ("f/", CREATE, IS_DIR),
    ("l/", CREATE | EXCLUSIVE, IS_DIR),
    ("loop/", CREATE, IS_DIR),
    ("d/", CREATE | EXCLUSIVE, IS_DIR),
    ("x/y/", CREATE, NOT_FOUND),
    ("d/..", CREATE, IS_DIR),
    ("d/../", CREATE | EXCLUSIVE, EXISTS),
    ("d/../", CREATE, IS_DIR),
    ("./", CREATE | TO_WRITE, IS_DIR),
    ("/", CREATE, IS_DIR),
    ("..", TO_READ, LEAVES),
    ("../root/f", TO_READ, LEAVES),
    ("d/../../f", TO_READ, LEAVES),
    ("out", TO_READ, LEAVES),
    ("out", CREATE | TO_WRITE, LEAVES),
    ("out", NO_FOLLOW, LOOP),
    ("abs", TO_READ, LEAVES),
    ("abs", CREATE, LEAVES),
    ("outdir/root/f", TO_READ, LEAVES),
    ("outdir/new", CREATE, LEAVES),
    ("a" * 256, TO_READ, ErrorCode.NAME_TOO_LONG),
    ("a" * 256, CREATE, ErrorCode.NAME_TOO_LONG),
    ("ä" * 128, CREATE, ErrorCode.NAME_TOO_LONG),
    ("", TO_READ, INVALID),
    ("a\0", CREATE, INVALID),
]


@pytest.mark.parametrize(("path", "flags", "expected"), OPENING)
def test_opening(world: World, path: str, flags: int, expected: int) -> None:
    assert opening(world, path, flags) == expected
    assert names(world) == ALL
    assert names(world, "e") == []
    assert read(world, "f") == (b"" if flags & EMPTY and expected == REGULAR else b"file")


@pytest.mark.parametrize("flags", [CREATE, CREATE | EXCLUSIVE, CREATE | EMPTY | TO_WRITE])
def test_creating(world: World, flags: int) -> None:
    assert opening(world, "d/new", flags) == REGULAR
    assert world.status("d/new", follow=False)[4] == 0
    assert names(world, "d") == ["new", "sub", "up"]


def test_creating_at_the_end_of_a_link(world: World) -> None:
    worlds.put(world, "dangling", b"made")
    assert read(world, "e/new") == read(world, "dangling") == b"made"
    assert world.status("dangling", follow=False)[0] == SYMBOLIC_LINK


@pytest.mark.parametrize("flags", [EMPTY, EMPTY | TO_READ, EMPTY | TO_WRITE, EMPTY | CREATE])
def test_emptying(world: World, flags: int) -> None:
    assert opening(world, "l", flags) == REGULAR
    assert read(world, "f") == b""


def test_long_paths(world: World) -> None:
    path = "/".join(["d", "sub", "..", ".."] * 80) + "/f"
    assert len(path) > 700
    assert read(world, path) == b"file"


# --- what is open -----------------------------------------------------------------------------


@pytest.fixture
def opened(world: World) -> Iterator[Opened]:
    opened = world.open_file("f", TO_READ | TO_WRITE)
    yield opened
    opened.close()


def test_reading(opened: Opened) -> None:
    assert reading(opened, 0, 100) == b"file"
    assert reading(opened, 1, 2) == b"il"
    assert reading(opened, 3, 0) == b""
    for offset in (4, 5, 1 << 40, (1 << 63) - 1):
        assert outcome(reading, opened, offset, 10) in (b"", INVALID)


def test_writing(world: World, opened: Opened) -> None:
    assert opened.write_from(2, memoryview(b"LEAF")) == 4
    assert read(world, "f") == b"fiLEAF"
    assert opened.write_from(9, memoryview(b"x")) == 1
    assert opened.write_from(100, memoryview(b"")) == 0
    assert reading(opened, 0, 100) == b"fiLEAF\0\0\0x"
    assert opened.append(memoryview(b"end")) == (3, 13)
    assert opened.write_from(0, memoryview(b"F")) == 1
    assert read(world, "f") == b"FiLEAF\0\0\0xend"


def test_writing_far_out_takes_no_memory(world: World, opened: Opened) -> None:
    """It is too much for an image, and a hole on a disk, or too large for that as well."""
    for offset in (1 << 62, (1 << 63) - 2):
        assert outcome(opened.write_from, offset, memoryview(b"x")) in (
            1,
            ErrorCode.TOO_LARGE,
            ErrorCode.INVALID_ARG,
        )


def test_resizing(world: World, opened: Opened) -> None:
    opened.resize(2)
    assert read(world, "f") == b"fi"
    opened.resize(4)
    assert read(world, "f") == b"fi\0\0"
    opened.resize(0)
    opened.resize(3)
    assert read(world, "f") == b"\0\0\0"
    assert outcome(opened.resize, (1 << 63) - 1) in (None, ErrorCode.TOO_LARGE)


def test_allocating(opened: Opened) -> None:
    if outcome(opened.allocate, 2, 10) == ErrorCode.NOT_SUPPORTED:
        pytest.skip("not on this disk")
    assert opened.status()[4] == 12
    opened.allocate(0, 1)
    assert opened.status()[4] == 12
    assert outcome(opened.allocate, 0, (1 << 63) - 1) == ErrorCode.TOO_LARGE


def test_the_rest_does_no_harm(opened: Opened) -> None:
    opened.sync(data_only=True)
    opened.sync(data_only=False)
    for advice in range(6):
        opened.advise(0, 10, advice)
    assert outcome(opened.entries) == NOT_DIR


def test_a_directory_is_no_file(world: World) -> None:
    opened = world.open_file("d", TO_READ)
    assert outcome(opened.read_into, 0, memoryview(bytearray(1))) == IS_DIR
    assert opened.status()[0] == DIRECTORY
    assert opened.status()[2] == world.status("d", follow=True)[2]
    opened.sync(data_only=False)
    opened.close()


def test_what_is_removed_goes_on(world: World, opened: Opened) -> None:
    world.remove_file("f")
    worlds.put(world, "f", b"new")
    assert reading(opened, 0, 100) == b"file"
    assert opened.write_from(0, memoryview(b"old")) == 3
    assert opened.status()[3] == 0
    assert read(world, "f") == b"new"


def test_entries(world: World) -> None:
    opened = world.open_file(".", TO_READ)
    found = {name.decode(): (inode, kind) for name, inode, kind in opened.entries()}
    assert sorted(found) == ALL
    for name, entry in found.items():
        kind, _, inode, *_ = world.status(name, follow=False)
        assert entry == (inode, kind)
    world.remove_file("l")
    assert "l" not in [name.decode() for name, _, _ in opened.entries()]
    opened.close()


def test_a_removed_directory_is_empty(world: World) -> None:
    opened = world.open_file("e", TO_READ)
    world.remove_directory("e")
    assert opened.entries() == []
    opened.close()


# --- what is known ----------------------------------------------------------------------------


def test_status(world: World) -> None:
    kind, device, inode, links, size, *_ = world.status("f", follow=True)
    assert (kind, links, size) == (REGULAR, 1, 4)
    for path in ("l", "d/up", "ld/../f", "d/up"):
        assert world.status(path, follow=True)[:5] == (kind, device, inode, links, size)
    assert world.status("l", follow=False)[0] == SYMBOLIC_LINK
    assert world.status("l", follow=False)[4] == 1
    assert world.status("ld/", follow=False)[0] == DIRECTORY
    assert world.status(".", follow=False)[0] == DIRECTORY
    assert world.status("e", follow=True)[1:3] != world.status("d", follow=True)[1:3]
    for path, follow, expected in [
        ("x", False, NOT_FOUND),
        ("dangling", True, NOT_FOUND),
        ("out", True, LEAVES),
        ("abs", True, LEAVES),
        ("loop", True, LOOP),
        ("f/", False, NOT_DIR),
        ("l/", False, NOT_DIR),
        ("..", False, LEAVES),
    ]:
        assert outcome(world.status, path, follow=follow) == expected, path
    for path in ("dangling", "out", "abs", "loop"):
        assert world.status(path, follow=False)[0] == SYMBOLIC_LINK


def times(world: World, path: str) -> tuple[int, ...]:
    return world.status(path, follow=False)[5:7]


def test_times(world: World) -> None:
    for path in ("f", "d", "e"):
        world.set_times(path, 1_000_000_001, 2_000_000_002, follow=False)
        assert times(world, path) == (1_000_000_001, 2_000_000_002)
        world.set_times(path, KEEP, 3_000_000_003, follow=True)
        assert times(world, path) == (1_000_000_001, 3_000_000_003)
        world.set_times(path, KEEP, KEEP, follow=True)
        assert times(world, path) == (1_000_000_001, 3_000_000_003)
        world.set_times(path, NOW, KEEP, follow=True)
        assert times(world, path)[0] > 10**18
        assert times(world, path)[1] == 3_000_000_003


def test_times_of_links(world: World) -> None:
    world.set_times("l", 5, 6_000_000_000, follow=True)
    assert times(world, "f") == (5, 6_000_000_000)
    world.set_times("l", 7, 8_000_000_000, follow=False)
    assert times(world, "f") == (5, 6_000_000_000)
    assert times(world, "l") == (7, 8_000_000_000)
    for path, follow, expected in [
        ("x", False, NOT_FOUND),
        ("dangling", True, NOT_FOUND),
        ("out", True, LEAVES),
        ("abs", True, LEAVES),
        ("outdir", True, LEAVES),
    ]:
        assert outcome(world.set_times, path, 1, 1, follow=follow) == expected
    world.set_times("out", 1, 1, follow=False)


def test_times_of_what_is_open(world: World, opened: Opened) -> None:
    opened.set_times(11, 12_000_000_000)
    assert times(world, "f") == (11, 12_000_000_000)
    opened.set_times(NOW, KEEP)
    assert times(world, "f")[1] == 12_000_000_000
    opened.write_from(0, memoryview(b"x"))
    assert times(world, "f")[1] > 10**18


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("new", None),
        ("new/", None),
        ("d/sub/new//", None),
        ("ld/new", None),
        ("f", EXISTS),
        ("f/", EXISTS),
        ("d", EXISTS),
        ("l", EXISTS),
        ("dangling", EXISTS),
        ("dangling/", EXISTS),
        (".", EXISTS),
        ("/", EXISTS),
        ("d/..", EXISTS),
        ("x/y", NOT_FOUND),
        ("f/x", NOT_DIR),
        ("../x", LEAVES),
        ("..", LEAVES),
        ("out/x", LEAVES),
        ("outdir/x", LEAVES),
        ("abs/x", LEAVES),
        ("a" * 256, ErrorCode.NAME_TOO_LONG),
        ("\udcff\udc80", None),
    ],
)
def test_making_directories(world: World, path: str, expected: int | None) -> None:
    assert outcome(world.add_directory, path) == expected
    if expected is None:
        assert world.status(path, follow=False)[0] == DIRECTORY
        world.remove_directory(path)
    assert names(world) == ALL


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("e", None),
        ("e/", None),
        ("ld/sub", NOT_EMPTY),
        ("d", NOT_EMPTY),
        ("ld", NOT_DIR),
        ("ld/", NOT_DIR),
        ("f", NOT_DIR),
        ("f/", NOT_DIR),
        ("x", NOT_FOUND),
        ("x/", NOT_FOUND),
        ("/", BUSY),
        (".", BUSY),
        ("e/.", INVALID),
        ("d/sub/..", INVALID),
        ("e/..", INVALID),
        ("dangling/", NOT_FOUND),
        ("loop/", LOOP),
        ("abs/", LEAVES),
        ("..", LEAVES),
        ("outdir", NOT_DIR),
        ("outdir/x", LEAVES),
    ],
)
def test_removing_directories(world: World, path: str, expected: int | None) -> None:
    assert outcome(world.remove_directory, path) == expected
    assert names(world) == (ALL if expected else [name for name in ALL if name != "e"])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("f", None),
        ("l", None),
        ("dangling", None),
        ("out", None),
        ("abs", None),
        ("loop", None),
        ("ld", None),
        ("f/", NOT_DIR),
        ("l/", NOT_DIR),
        ("ld/", IS_DIR),
        ("dangling/", NOT_FOUND),
        ("loop/", LOOP),
        ("d", IS_DIR),
        ("d/", IS_DIR),
        (".", IS_DIR),
        ("d/..", IS_DIR),
        ("x", NOT_FOUND),
        ("x/", NOT_FOUND),
        ("f/x", NOT_DIR),
        ("../x", LEAVES),
        ("outdir/x", LEAVES),
    ],
)
def test_removing_files(world: World, path: str, expected: int | None) -> None:
    assert outcome(world.remove_file, path) == expected
    assert names(world) == (ALL if expected else [name for name in ALL if name != path])


RENAMES = [
    ("f", "new", None),
    ("f", "e/f", None),
    ("f", "d/sub/deep", None),
    ("f", "l", None),
    ("l", "f", None),
    ("l", "new", None),
    ("dangling", "new", None),
    ("out", "e/out", None),
    ("d", "new", None),
    ("d/", "new", None),
    ("d", "new/", None),
    ("d", "e", None),
    ("d/sub", "e", None),
    ("e", "d/sub/e", None),
    ("f", "f", None),
    ("d", "d", None),
    ("d", "ld/../d", None),
    ("f", "e", IS_DIR),
    ("d/up", "d", NOT_EMPTY),
    ("d/sub/deep", "d", NOT_EMPTY),
    ("d/sub", "d", NOT_EMPTY),
    ("f", "new/", NOT_DIR),
    ("f/", "new", NOT_DIR),
    ("l/", "new", NOT_DIR),
    ("ld/", "new", NOT_DIR),
    ("f", "f/", NOT_DIR),
    ("f/", "f", NOT_DIR),
    ("f/", "f/", NOT_DIR),
    ("ld/", "ld", NOT_DIR),
    ("d", "d/", None),
    ("d", "f", NOT_DIR),
    ("d", "ld", NOT_DIR),
    ("e", "d", NOT_EMPTY),
    ("d", "d/x", INVALID),
    ("d", "d/sub/x", INVALID),
    ("d", "ld/x", INVALID),
    ("x", "new", NOT_FOUND),
    ("f", "x/new", NOT_FOUND),
    ("f", "f/x", NOT_DIR),
    (".", "new", BUSY),
    ("e", ".", BUSY),
    ("d/.", "new", BUSY),
    ("d/sub/..", "new", BUSY),
    ("..", "new", LEAVES),
    ("f", "../new", LEAVES),
    ("f", "outdir/new", LEAVES),
    ("outdir/x", "new", LEAVES),
    ("f", "a" * 256, ErrorCode.NAME_TOO_LONG),
]


@pytest.mark.parametrize(("old", "new", "expected"), RENAMES)
def test_renaming(world: World, old: str, new: str, expected: int | None) -> None:
    before = None if expected else world.status(old, follow=False)[1:3]
    assert outcome(world.rename, old, new) == expected
    if expected is None:
        assert world.status(new, follow=False)[1:3] == before
        if old not in (new, "d") or new in ("new", "e"):
            assert outcome(world.status, old, follow=False) == NOT_FOUND
    else:
        assert names(world) == ALL


def test_a_renamed_directory_keeps_what_is_in_it(world: World) -> None:
    world.rename("d", "e/moved")
    assert read(world, "e/moved/sub/deep") == b"deep"
    assert outcome(read, world, "e/moved/up") == NOT_FOUND
    assert world.read_link("e/moved/up") == b"../f"
    assert names(world, "e/moved/sub/../..") == ["moved"]


def test_renaming_to_another_name_of_the_same_file(world: World) -> None:
    world.link("f", "g", follow=False)
    world.rename("f", "g")
    assert {"f", "g"} <= set(names(world))


LINKING = [
    ("f", "new", False, None),
    ("f", "d/sub/new", True, None),
    ("l", "new", True, None),
    ("l", "new", False, None),
    ("dangling", "new", False, None),
    ("out", "new", False, None),
    ("f", "l", False, EXISTS),
    ("f", "dangling", False, EXISTS),
    ("f", "f", False, EXISTS),
    ("f", "d", False, EXISTS),
    ("f", "new/", False, NOT_FOUND),
    ("f", "f/", False, NOT_DIR),
    ("f", "l/", False, NOT_DIR),
    ("f", "d/", False, EXISTS),
    ("f", "ld/", False, EXISTS),
    ("f", "dangling/", False, NOT_FOUND),
    ("f", "loop/", False, LOOP),
    ("f/", "new", False, NOT_DIR),
    ("ld/", "new", False, LEAVES),
    ("ld/", "f", False, EXISTS),
    ("dangling/", "new", False, NOT_FOUND),
    ("d", "new", False, LEAVES),
    ("ld", "new", True, LEAVES),
    (".", "new", False, LEAVES),
    ("dangling", "new", True, NOT_FOUND),
    ("out", "new", True, LEAVES),
    ("abs", "new", True, LEAVES),
    ("loop", "new", True, LOOP),
    ("x", "new", False, NOT_FOUND),
    ("f", "x/new", False, NOT_FOUND),
    ("f", "../new", False, LEAVES),
    ("../f", "new", False, LEAVES),
    ("f", "outdir/new", False, LEAVES),
    ("outdir/f", "new", False, LEAVES),
]


@pytest.mark.parametrize(("old", "new", "follow", "expected"), LINKING)
def test_linking(world: World, old: str, new: str, follow: bool, expected: int | None) -> None:
    assert outcome(world.link, old, new, follow=follow) == expected
    if expected is not None:
        assert names(world) == ALL
        return
    found = world.status(new, follow=False)
    assert found[:5] == world.status(old, follow=follow)[:5]
    assert found[3] == 2
    world.remove_file(old if not follow else "f")
    assert world.status(new, follow=False)[2:4] == (found[2], 1)


def test_another_name_is_the_same_file(world: World, opened: Opened) -> None:
    world.link("f", "g", follow=False)
    opened.write_from(0, memoryview(b"F"))
    world.remove_file("f")
    assert read(world, "g") == b"File"


@pytest.mark.parametrize(
    ("target", "path", "expected"),
    [
        ("f", "new", None),
        ("nowhere", "new", None),
        ("../../..", "new", None),
        ("/", "new", None),
        ("/proc/self/root", "ld/new", None),
        ("ä\udcff", "new", None),
        ("x" * 700, "new", None),
        ("", "new", NOT_FOUND),
        ("f", "l", EXISTS),
        ("f", "dangling", EXISTS),
        ("f", "d", EXISTS),
        ("f", "d/", EXISTS),
        ("f", ".", EXISTS),
        ("f", "new/", NOT_FOUND),
        ("f", "f/", NOT_DIR),
        ("f", "l/", NOT_DIR),
        ("f", "ld/", EXISTS),
        ("f", "dangling/", NOT_FOUND),
        ("f", "loop/", LOOP),
        ("f", "x/y", NOT_FOUND),
        ("f", "f/x", NOT_DIR),
        ("f", "../x", LEAVES),
        ("f", "outdir/x", LEAVES),
    ],
)
def test_making_links(world: World, target: str, path: str, expected: int | None) -> None:
    assert outcome(world.make_link, target, path) == expected
    if expected is None:
        assert world.read_link(path) == target.encode("utf-8", "surrogateescape")
        world.remove_file(path)
    assert names(world) == ALL


def test_reading_links(world: World) -> None:
    for path, target in worlds.LINKS.items():
        assert world.read_link(path) == target.encode()
    for path, expected in [
        ("f", INVALID),
        ("d", INVALID),
        (".", INVALID),
        ("ld/", INVALID),
        ("l/", NOT_DIR),
        ("x", NOT_FOUND),
        ("outdir/x", LEAVES),
        ("..", LEAVES),
    ]:
        assert outcome(world.read_link, path) == expected, path


@pytest.mark.parametrize("count", [40, 41])
def test_as_many_links_as_linux_follows(world: World, count: int) -> None:
    world.make_link("f", "e/1")
    world.remove_file("e/1")
    world.make_link("../f", "e/1")
    for number in range(2, count + 1):
        world.make_link(str(number - 1), f"e/{number}")
    assert opening(world, f"e/{count}", TO_READ) == (REGULAR if count == 40 else LOOP)


# --- any operations ---------------------------------------------------------------------------

NAMES = ["a", "b", "c", "a", "b", "", ".", ".."]
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join).filter(bool)
FLAGS = st.sampled_from(
    [
        TO_READ,
        TO_WRITE,
        TO_READ | IS_DIRECTORY,
        TO_READ | NO_FOLLOW,
        CREATE | TO_WRITE,
        CREATE | EXCLUSIVE,
        CREATE | TO_WRITE | EMPTY,
        CREATE | NO_FOLLOW,
        EMPTY,
    ]
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), PATHS, FLAGS),
        st.tuples(st.sampled_from(["mkdir", "rmdir", "unlink", "read", "readlink"]), PATHS),
        st.tuples(st.sampled_from(["mkdir", "mkdir", "mkdir"]), PATHS),
        st.tuples(st.sampled_from(["rename", "link", "linkto", "symlink"]), PATHS, PATHS),
        st.tuples(st.sampled_from(["stat", "lstat"]), PATHS),
    ),
    max_size=25,
)


def step(world: World, kind: str, path: str, more: object = None) -> object:
    """What it gives, by every world the same."""
    if kind == "open":
        assert isinstance(more, int)
        opened = world.open_file(path, more)
        try:
            if more & TO_WRITE:
                return opened.write_from(0, memoryview(b"abc"))
            return opened.kind
        finally:
            opened.close()
    if kind == "read":
        opened = world.open_file(path, TO_READ)
        try:
            if opened.kind == DIRECTORY:
                return sorted((name, kind) for name, _, kind in opened.entries())
            return reading(opened, 0, 100)
        finally:
            opened.close()
    if kind in ("stat", "lstat"):
        found = world.status(path, follow=kind == "stat")
        return found[0], 0 if found[0] == DIRECTORY else found[3:5]
    calls: dict[str, Callable[[], object]] = {
        "mkdir": lambda: world.add_directory(path),
        "rmdir": lambda: world.remove_directory(path),
        "unlink": lambda: world.remove_file(path),
        "readlink": lambda: world.read_link(path),
        "rename": lambda: world.rename(path, str(more)),
        "link": lambda: world.link(path, str(more), follow=False),
        "linkto": lambda: world.link(path, str(more), follow=True),
        "symlink": lambda: world.make_link(path, str(more)),
    }
    return calls[kind]()


@pytest.mark.parametrize("kind", worlds.KINDS[1:])
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_all_worlds_are_alike(
    tmp_path_factory: pytest.TempPathFactory, kind: str, steps: list[tuple[str, str, object]]
) -> None:
    where = tmp_path_factory.mktemp("same") / "root"
    with (
        worlds.make("Image", where, empty=True) as one,
        worlds.make(kind, where, empty=True) as two,
    ):
        for number in range(len(steps)):
            expected = outcome(step, two, *steps[number])
            assert outcome(step, one, *steps[number]) == expected, steps[: number + 1]
