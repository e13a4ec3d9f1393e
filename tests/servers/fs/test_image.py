"""An image changes within its limits, and a path names nothing outside of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.servers.fs.paths import MISSING, OUTSIDE, ROOT, SAME_DIRECTORY, SAME_FILE, UNDER_FILE
from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.servers.fs import Directory, File, Image
from wasmos.servers.fs.image import MAX_PATH_BYTES


def code(call: Callable[..., object], *arguments: object) -> int:
    with pytest.raises(ServiceError) as refused:
        call(*arguments)
    return refused.value.code


@pytest.fixture
def image() -> Image:
    """A file `f`, an empty directory `e`, and `d/sub/deep` with something in it."""
    image = Image()
    image.put("f", b"file")
    image.make_directory("e")
    image.put("d/sub/deep", b"deep")
    return image


@pytest.mark.parametrize("path", SAME_FILE)
def test_names_of_one_file(image: Image, path: str) -> None:
    assert image.get(path) == b"file"
    assert code(image.directory, path) == ErrorCode.NOT_A_DIR


@pytest.mark.parametrize("path", SAME_DIRECTORY)
def test_names_of_one_directory(image: Image, path: str) -> None:
    assert image.directory(path) is image.directory("d/sub")
    assert code(image.file, path) == ErrorCode.NOT_A_FILE
    assert code(image.delete, path) == ErrorCode.NOT_EMPTY


@pytest.mark.parametrize("path", ROOT)
def test_names_of_the_root(image: Image, path: str) -> None:
    assert image.find(path) is image.root
    assert code(image.make_file, path) == ErrorCode.ALREADY_EXISTS
    assert code(image.make_directory, path) == ErrorCode.ALREADY_EXISTS
    assert code(image.delete, path) == ErrorCode.NOT_ALLOWED
    assert code(Image().delete, "/") == ErrorCode.NOT_ALLOWED


PATHS = [
    *[(path, ErrorCode.INVALID_ARG) for path in ["", "a\0b", "\0", *OUTSIDE]],
    *[(path, ErrorCode.NOT_FOUND) for path in MISSING],
    *[(path, ErrorCode.NOT_A_DIR) for path in UNDER_FILE],
]


@pytest.mark.parametrize(("path", "expected"), PATHS)
def test_paths_that_name_nothing(image: Image, path: str, expected: int) -> None:
    before = [path for path, _ in image.walk()]
    for call in (image.find, image.directory, image.file, image.get, image.delete):
        assert code(call, path) == expected
    if expected != ErrorCode.NOT_FOUND:
        assert code(image.make_file, path) == expected
        assert code(image.make_directory, path) == expected
    assert [path for path, _ in image.walk()] == before


@pytest.mark.parametrize("path", ["x/y", "x/y/z", "e/x/y", "x/.", "x/./"])
def test_nothing_is_made_below_what_is_missing(image: Image, path: str) -> None:
    assert code(image.make_file, path) == ErrorCode.NOT_FOUND
    assert code(image.make_directory, path) == ErrorCode.NOT_FOUND


@pytest.mark.parametrize(
    "name", ["x", "e/x", "ä", "\udcff\udc80", " ", "...", "a" * 255, "CON", "a:b", "-"]
)
def test_names_that_can_be_made(image: Image, name: str) -> None:
    file = image.make_file(name)
    assert image.file("/" + name if len(name) < 255 else name) is file


def test_a_slash_at_the_end_is_for_directories(image: Image) -> None:
    assert code(image.make_file, "x/") == ErrorCode.INVALID_ARG
    image.make_directory("x/")
    image.make_directory("y//")
    assert image.directory("y").names == []
    image.delete("x/")
    assert code(image.find, "x") == ErrorCode.NOT_FOUND


@pytest.mark.parametrize("name", ["a" * 256, "ä" * 128, "e/" + "a" * 254, "\udcff" * 256])
def test_names_that_are_too_long(image: Image, name: str) -> None:
    assert code(image.make_file, name) == ErrorCode.TOO_LARGE


def test_names_without_bytes(image: Image) -> None:
    """Python has strings that no encoding knows; no message can carry them."""
    assert code(image.make_file, "\ud800") == ErrorCode.INVALID_ARG


def test_depth_ends_with_what_a_path_can_say() -> None:
    image = Image()
    path = ""
    while len(path) < MAX_PATH_BYTES - 1:
        path += "d/"
        image.make_directory(path[:-1])
    assert code(image.make_directory, path + "dd") == ErrorCode.TOO_LARGE
    assert len(list(image.walk())) == 127


def test_names_are_in_order(image: Image) -> None:
    names = ["b", "a", "ä", "Z", "a.txt", "a-b", "10", "9", "\udcff"]
    for name in names:
        image.make_file("e/" + name)
    assert image.directory("e").names == sorted(names)
    image.delete("e/a")
    assert image.directory("e").names == sorted(set(names) - {"a"})


def test_walk_is_from_above(image: Image) -> None:
    found = [(path, isinstance(node, Directory)) for path, node in image.walk()]
    assert found == [("d", True), ("d/sub", True), ("d/sub/deep", False), ("e", True), ("f", False)]


# --- writing ----------------------------------------------------------------------------------


def test_write_replaces_and_extends(image: Image) -> None:
    file = image.file("f")
    assert image.write(file, 2, b"LEAF") == 4
    assert image.get("f") == b"fiLEAF"
    assert image.used_bytes == 6 + 4
    assert image.write(file, 0, b"FI") == 2
    assert image.get("f") == b"FILEAF"
    assert image.used_bytes == 6 + 4
    assert image.write(file, 6, b"") == 0


# --- limits -----------------------------------------------------------------------------------


def test_bytes_are_limited() -> None:
    image = Image(max_bytes=10)
    one, two = image.make_file("one"), image.make_file("two")
    image.write(one, 0, b"123456")
    assert code(image.write, two, 0, b"12345") == ErrorCode.NO_SPACE
    assert image.get("two") == b""
    image.write(two, 0, b"1234")
    image.write(one, 0, b"654321")
    assert code(image.write, one, 6, b"7") == ErrorCode.NO_SPACE
    image.delete("one")
    image.write(two, 4, b"567890")
    assert image.used_bytes == 10


def test_a_file_is_limited() -> None:
    image = Image(max_file_bytes=4)
    file = image.make_file("f")
    assert code(image.write, file, 0, b"12345") == ErrorCode.TOO_LARGE
    image.write(file, 0, b"1234")
    assert code(image.write, file, 4, b"5") == ErrorCode.TOO_LARGE


def test_no_limit_is_beyond_what_an_answer_can_tell() -> None:
    assert Image(max_file_bytes=1 << 40).max_file_bytes == (1 << 32) - 1


def test_entries_are_limited() -> None:
    image = Image(max_entries=2)
    image.make_file("a")
    image.make_directory("b")
    assert code(image.make_file, "c") == ErrorCode.NO_SPACE
    assert code(image.make_directory, "b/c") == ErrorCode.NO_SPACE
    image.delete("a")
    image.make_file("b/c")
    assert image.entries == 2


def test_what_is_held_counts_until_it_is_released() -> None:
    image = Image(max_bytes=4, max_entries=2)
    image.put("f", b"1234")
    file = image.file("f")
    image.hold(file)
    image.hold(file)
    image.delete("f")
    image.make_file("g")
    assert code(image.put, "h", b"") == ErrorCode.NO_SPACE
    assert code(image.write, image.file("g"), 0, b"x") == ErrorCode.NO_SPACE
    image.release(file)
    assert (image.used_bytes, image.entries) == (4, 2)
    image.release(file)
    assert (image.used_bytes, image.entries) == (0, 1)


# --- whole files ------------------------------------------------------------------------------


def test_put_makes_the_directories_above() -> None:
    image = Image()
    image.put("/a/b/c", b"1")
    image.put("a/b/d", b"2")
    assert [path for path, _ in image.walk()] == ["a", "a/b", "a/b/c", "a/b/d"]


def test_put_that_does_not_fit_leaves_no_file() -> None:
    image = Image(max_bytes=3)
    assert code(image.put, "a", b"1234") == ErrorCode.NO_SPACE
    assert list(image.walk()) == []
    assert (image.used_bytes, image.entries) == (0, 0)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("f", ErrorCode.ALREADY_EXISTS),
        ("f/x", ErrorCode.NOT_A_DIR),
        ("../x", ErrorCode.INVALID_ARG),
    ],
)
def test_put_where_it_can_not_be(image: Image, path: str, expected: int) -> None:
    assert code(image.put, path, b"") == expected


# --- in general -------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", ".", "..", "", "c.txt", "ä"])


@given(names=st.lists(NAMES, max_size=6), kind=st.booleans())
def test_any_path_is_made_or_refused(names: list[str], kind: bool) -> None:
    """What was made is found again, and the counts are those of the tree."""
    image = Image()
    image.put("a/b", b"1")
    path = "/".join(names)
    make = image.make_file if kind else image.make_directory
    try:
        node: File | Directory = make(path)
    except ServiceError as error:
        assert error.code in (
            ErrorCode.INVALID_ARG,
            ErrorCode.NOT_FOUND,
            ErrorCode.NOT_A_DIR,
            ErrorCode.ALREADY_EXISTS,
        )
    else:
        assert image.find(path) is node
    assert image.entries == len(list(image.walk()))
