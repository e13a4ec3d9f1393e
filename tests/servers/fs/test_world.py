"""What every world answers: an image, and a host directory by both ways of resolving.

The paths are the image's own, whose tests say what it answers to each: see test_image.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.servers.fs import trees
from tests.servers.fs.paths import MISSING, OUTSIDE, ROOT, SAME_DIRECTORY, SAME_FILE, UNDER_FILE
from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.servers.fs import Image
from wasmos.servers.fs.beneath import Beneath
from wasmos.servers.fs.hostworld import Budget, HostWorld
from wasmos.servers.fs.imageworld import ImageWorld
from wasmos.servers.fs.resolve import Resolver
from wasmos.servers.fs.world import Opened, World

Make = Callable[[], World]


def code(call: Callable[..., object], *arguments: object, **options: object) -> int:
    with pytest.raises(ServiceError) as refused:
        call(*arguments, **options)
    return refused.value.code


def host_world(directory: Path, resolver: Resolver) -> HostWorld:
    directory.mkdir()
    return HostWorld(Beneath(directory, resolver=resolver), Budget(100))


@pytest.fixture(params=["Image", *trees.NAMES])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "Image":
        yield ImageWorld(Image())
        return
    before = trees.open_descriptors()
    resolver = trees.RESOLVERS[trees.NAMES.index(request.param)]
    world = host_world(tmp_path / "root", resolver)
    yield world
    world.close()
    assert trees.open_descriptors() <= before
    assert world._budget.used == 0


def put(world: World, path: str, data: bytes) -> None:
    world.make_file(path)
    opened = world.open(path, writable=True)
    assert opened.write(0, data) == len(data)
    opened.close()


@pytest.fixture
def world(empty: World) -> World:
    """As in test_image: a file `f`, an empty directory `e`, and `d/sub/deep`."""
    put(empty, "f", b"file")
    empty.make_directory("e")
    empty.make_directory("d")
    empty.make_directory("d/sub")
    put(empty, "d/sub/deep", b"deep")
    return empty


def read(world: World, path: str) -> bytes:
    opened = world.open(path, writable=False)
    try:
        return opened.read(0, 1024)
    finally:
        opened.close()


def tree(world: World, path: str = "") -> dict[str, bytes | None]:
    """All that is there; None for directories."""
    found: dict[str, bytes | None] = {}
    for name in world.names(path or "/"):
        inner = f"{path}{name}"
        is_directory, size = world.entry(path or "/", name)
        if is_directory:
            found |= {inner: None, **tree(world, inner + "/")}
        else:
            found[inner] = read(world, inner) if size else b""
    return found


TREE = {"d": None, "d/sub": None, "d/sub/deep": b"deep", "e": None, "f": b"file"}

# --- paths ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SAME_FILE)
def test_names_of_one_file(world: World, path: str) -> None:
    assert read(world, path) == b"file"
    assert code(world.names, path) == ErrorCode.NOT_A_DIR
    assert code(world.make_file, path) == ErrorCode.ALREADY_EXISTS
    assert code(world.make_directory, path) == ErrorCode.ALREADY_EXISTS
    world.delete(path)
    assert code(read, world, "f") == ErrorCode.NOT_FOUND


@pytest.mark.parametrize("path", SAME_DIRECTORY)
def test_names_of_one_directory(world: World, path: str) -> None:
    assert list(world.names(path)) == ["deep"]
    assert code(read, world, path) == ErrorCode.NOT_A_FILE
    assert code(world.delete, path) == ErrorCode.NOT_EMPTY
    assert code(world.make_file, path) == ErrorCode.ALREADY_EXISTS
    assert code(world.make_directory, path) == ErrorCode.ALREADY_EXISTS


@pytest.mark.parametrize("path", ROOT)
def test_names_of_the_root(world: World, path: str) -> None:
    assert list(world.names(path)) == ["d", "e", "f"]
    assert code(world.make_file, path) == ErrorCode.ALREADY_EXISTS
    assert code(world.make_directory, path) == ErrorCode.ALREADY_EXISTS
    assert code(world.delete, path) == ErrorCode.NOT_ALLOWED


WRONG = [
    *[(path, ErrorCode.INVALID_ARG) for path in ["", "a\0b", "\0", "f\0", *OUTSIDE]],
    *[(path, ErrorCode.NOT_FOUND) for path in MISSING],
    *[(path, ErrorCode.NOT_A_DIR) for path in UNDER_FILE],
]


@pytest.mark.parametrize(("path", "expected"), WRONG)
def test_paths_that_name_nothing(world: World, path: str, expected: int) -> None:
    for writable in (False, True):
        assert code(world.open, path, writable=writable) == expected
    assert code(world.names, path) == expected
    assert code(world.delete, path) == expected
    if expected != ErrorCode.NOT_FOUND:
        assert code(world.make_file, path) == expected
        assert code(world.make_directory, path) == expected
    assert tree(world) == TREE


@pytest.mark.parametrize("path", ["x/y", "x/y/z", "e/x/y", "x/.", "x/./"])
def test_nothing_is_made_below_what_is_missing(world: World, path: str) -> None:
    assert code(world.make_file, path) == ErrorCode.NOT_FOUND
    assert code(world.make_directory, path) == ErrorCode.NOT_FOUND


@pytest.mark.parametrize(
    "name", ["x", "e/x", "ä", "\udcff\udc80", " ", "...", "a" * 255, "CON", "a:b", "-"]
)
def test_names_that_can_be_made(world: World, name: str) -> None:
    where, _, leaf = name.rpartition("/")
    world.make_file(name)
    assert leaf in world.names(where or "/")
    assert world.entry(where or "/", leaf) == (False, 0)
    world.delete(name)
    world.make_directory(name)
    assert world.entry(where or "/", leaf) == (True, 0)
    world.delete(name)
    assert tree(world) == TREE


def test_a_slash_at_the_end_is_for_directories(world: World) -> None:
    assert code(world.make_file, "x/") == ErrorCode.INVALID_ARG
    world.make_directory("x/")
    world.make_directory("y//")
    assert list(world.names("y")) == []
    world.delete("x/")
    world.delete("y/.")
    assert tree(world) == TREE


@pytest.mark.parametrize("name", ["a" * 256, "ä" * 128, "e/" + "a" * 254, "\udcff" * 256])
def test_names_that_are_too_long(world: World, name: str) -> None:
    assert code(world.make_file, name) == ErrorCode.TOO_LARGE
    assert code(world.make_directory, name) == ErrorCode.TOO_LARGE


def test_names_without_bytes(world: World) -> None:
    assert code(world.make_file, "\ud800") == ErrorCode.INVALID_ARG


def test_names_are_in_order(world: World) -> None:
    names = ["b", "a", "ä", "Z", "a.txt", "a-b", "10", "9", "\udcff"]
    for name in names:
        world.make_file("e/" + name)
    assert list(world.names("e")) == sorted(names)
    world.delete("e/a")
    assert list(world.names("e")) == sorted(set(names) - {"a"})


# --- what is open -----------------------------------------------------------------------------


@pytest.fixture
def opened(world: World) -> Iterator[Opened]:
    opened = world.open("f", writable=True)
    yield opened
    opened.close()


def test_reading_up_to_the_end(opened: Opened) -> None:
    assert opened.read(0, 1024) == b"file"
    assert opened.read(1, 2) == b"il"
    assert opened.read(3, 0) == b""
    for offset in (4, 5, 1 << 40):
        assert code(opened.read, offset, 1024) == ErrorCode.EOF
        assert code(opened.read, offset, 0) == ErrorCode.EOF


def test_writing_replaces_and_extends(world: World, opened: Opened) -> None:
    assert opened.writable
    assert opened.write(2, b"LEAF") == 4
    assert opened.write(6, b"") == 0
    assert read(world, "f") == b"fiLEAF"
    assert world.entry("/", "f") == (False, 6)


def test_a_directory_can_be_opened_and_closed(world: World) -> None:
    for path in ("d", "/", "e/"):
        opened = world.open(path, writable=True)
        assert code(opened.read, 0, 1) == ErrorCode.NOT_A_FILE
        assert code(opened.write, 0, b"") == ErrorCode.NOT_A_FILE
        opened.close()


def test_what_is_deleted_goes_on(world: World, opened: Opened) -> None:
    world.delete("f")
    put(world, "f", b"new")
    assert opened.read(0, 1024) == b"file"
    assert opened.write(0, b"old") == 3
    assert read(world, "f") == b"new"


# --- any operations ---------------------------------------------------------------------------

PATHS = st.lists(st.sampled_from(["a", "b", "c", "a", "b", "", ".", ".."]), max_size=5).map(
    "/".join
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["file", "directory", "delete", "names", "write", "read"]), PATHS),
    max_size=30,
)


def outcome(world: World, kind: str, path: str) -> object:
    """What a step gives, or its error's code."""
    try:
        if kind == "file":
            return world.make_file(path)
        if kind == "directory":
            return world.make_directory(path)
        if kind == "delete":
            return world.delete(path)
        if kind == "names":
            return [(name, world.entry(path, name)) for name in world.names(path)]
        return used(world.open(path, writable=kind == "write"), kind, path)
    except ServiceError as error:
        return error.code


def used(opened: Opened, kind: str, path: str) -> object:
    try:
        return opened.write(0, path.encode()) if kind == "write" else opened.read(0, 100)
    finally:
        opened.close()


@pytest.mark.parametrize("resolver", trees.RESOLVERS, ids=trees.NAMES)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_a_host_directory_is_like_an_image(
    tmp_path_factory: pytest.TempPathFactory, resolver: Resolver, steps: list[tuple[str, str]]
) -> None:
    """No difference is known for what guests can make: files and directories."""
    image = ImageWorld(Image())
    world = host_world(tmp_path_factory.mktemp("same") / "root", resolver)
    try:
        for kind, path in steps:
            assert outcome(world, kind, path) == outcome(image, kind, path), (kind, path)
        assert tree(world) == tree(image)
    finally:
        world.close()
