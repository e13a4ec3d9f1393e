"""From and to the host: nothing outside of what was named is read or written."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from wasmos.servers.fs import Image, ImageError, host
from wasmos.servers.fs.host import load, save, save_directory, save_tar


def tree(image: Image) -> dict[str, bytes | None]:
    """Every path and its contents; None for directories."""
    found = {}
    for path, node in image.walk():
        data = getattr(node, "data", None)
        found[path] = None if data is None else bytes(data)
    return found


def contents(directory: Path) -> dict[str, bytes | None]:
    """The same of a host directory; links by where they lead."""
    found: dict[str, bytes | None] = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = b"-> " + os.fsencode(path.readlink())
        else:
            found[name] = None if path.is_dir() else path.read_bytes()
    return found


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A directory next to those of the test, which must stay as it is."""
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "secret").write_bytes(b"secret")

    def digest() -> str:
        return hashlib.sha256(repr(contents(outside)).encode()).hexdigest()

    before = digest()
    yield outside
    assert digest() == before


@pytest.fixture
def inside(tmp_path: Path, canary: Path) -> Path:
    """A directory with a bit of everything an image can have."""
    inside = tmp_path / "inside"
    (inside / "d" / "sub").mkdir(parents=True)
    (inside / "empty").mkdir()
    (inside / "f").write_bytes(b"file")
    (inside / "d" / "sub" / "deep").write_bytes(bytes(range(256)) * 5000)
    return inside


TREE = {
    "d": None,
    "d/sub": None,
    "d/sub/deep": bytes(range(256)) * 5000,
    "empty": None,
    "f": b"file",
}


@pytest.fixture
def image() -> Image:
    image = Image()
    for path, data in TREE.items():
        if data is None:
            image.make_directory(path)
        else:
            image.put(path, data)
    return image


# --- loading a directory ----------------------------------------------------------------------


def test_load_takes_all_of_it(inside: Path) -> None:
    image = Image()
    assert load(inside, image) == []
    assert tree(image) == TREE
    assert image.used_bytes == sum(len(data or b"") for data in TREE.values())


def test_load_follows_no_links(inside: Path, canary: Path) -> None:
    (inside / "abs").symlink_to(canary / "secret")
    (inside / "rel").symlink_to("../outside/secret")
    (inside / "dir").symlink_to(canary)
    (inside / "loop").symlink_to("loop")
    (inside / "d" / "up").symlink_to("..")
    (inside / "good").symlink_to("f")
    (inside / "dangling").symlink_to("nowhere")
    image = Image()
    skipped = load(inside, image)
    assert tree(image) == TREE
    assert sorted(path for path, _ in skipped) == [
        "abs", "d/up", "dangling", "dir", "good", "loop", "rel",
    ]  # fmt: skip
    assert {reason for _, reason in skipped} == {"a symbolic link"}


def test_load_waits_for_no_fifo_and_no_socket(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(inside / "fifo")
    monkeypatch.chdir(inside)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        image = Image()
        assert load(inside, image) == [("fifo", "a fifo"), ("socket", "a socket")]
    assert tree(image) == TREE


def test_load_of_devices() -> None:
    """Of one level only: what is below it on this machine may be anything."""
    directory = os.open("/dev", os.O_RDONLY | os.O_DIRECTORY)
    try:
        modes = dict(host._list(directory, "", 10_000))
    finally:
        os.close(directory)
    assert host._KINDS[stat.S_IFMT(modes[b"null"])] == "a device"


def test_load_through_a_link_that_the_host_named(inside: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("inside")
    image = Image()
    assert load(tmp_path / "link", image) == []
    assert tree(image) == TREE


@pytest.mark.parametrize("swapped", ["file", "directory"])
def test_load_notices_an_exchange(
    inside: Path, canary: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    """Between the listing and the opening a link, or a fifo, takes the entry's place."""
    real = host._list

    def list_then_swap(directory: int, prefix: str, most: int) -> list[tuple[bytes, int]]:
        found = real(directory, prefix, most)
        if not prefix and swapped == "file":
            (inside / "f").unlink()
            (inside / "f").symlink_to(canary / "secret")
        elif not prefix:
            (inside / "empty").rmdir()
            (inside / "empty").symlink_to(canary)
        return found

    monkeypatch.setattr(host, "_list", list_then_swap)
    image = Image()
    with pytest.raises(ImageError, match=r"^(f|empty): "):
        load(inside, image)
    assert b"secret" not in tree(image).values()


def test_load_does_not_wait_for_a_fifo_in_a_files_place(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = host._list

    def list_then_swap(directory: int, prefix: str, most: int) -> list[tuple[bytes, int]]:
        found = real(directory, prefix, most)
        if not prefix:
            (inside / "f").unlink()
            os.mkfifo(inside / "f")
        return found

    monkeypatch.setattr(host, "_list", list_then_swap)
    with pytest.raises(ImageError, match="f: changed while it was read"):
        load(inside, Image())


def test_load_is_bounded(inside: Path) -> None:
    with pytest.raises(ImageError, match=r"d/sub/deep: .*at most 1,000 bytes"):
        load(inside, Image(max_bytes=1000))
    with pytest.raises(ImageError, match=r"d/sub/deep: too large"):
        load(inside, Image(max_file_bytes=1000))
    with pytest.raises(ImageError, match=r"f: .*at most 4 entries"):
        load(inside, Image(max_entries=4))
    with pytest.raises(ImageError, match="more entries"):
        load(inside, Image(max_entries=2))


def test_load_of_an_endless_file_ends(inside: Path) -> None:
    """Its size says nothing: it is read until the image is full."""
    with (inside / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ImageError, match="sparse: no space"):
        load(inside, Image(max_bytes=4 << 20))


def test_load_refuses_paths_that_no_message_can_carry(inside: Path) -> None:
    deep = inside.joinpath("x" * 100, "y" * 100, "z" * 100)
    deep.mkdir(parents=True)
    with pytest.raises(ImageError, match="at most 255 bytes"):
        load(inside, Image())


def test_load_keeps_names_that_are_not_text(inside: Path) -> None:
    (inside / os.fsdecode(b"\xff\xfe")).write_bytes(b"x")
    image = Image()
    load(inside, image)
    assert image.get("\udcff\udcfe") == b"x"


def test_load_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing", Image())
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ImageError, match="a fifo and no archive"):
        load(tmp_path / "fifo", Image())


def test_load_on_top_of_something(inside: Path) -> None:
    image = Image()
    image.put("f", b"")
    with pytest.raises(ImageError, match="f: already exists"):
        load(inside, image)


# --- saving to a directory --------------------------------------------------------------------


def test_save_is_what_load_takes(image: Image, tmp_path: Path, canary: Path) -> None:
    save(image, tmp_path / "new")
    assert contents(tmp_path / "new") == TREE
    again = Image()
    assert load(tmp_path / "new", again) == []
    assert tree(again) == TREE


def test_save_to_an_empty_directory(image: Image, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    save(image, tmp_path / "empty/")
    assert contents(tmp_path / "empty") == TREE


def test_save_replaces_only_if_told(image: Image, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "precious").write_bytes(b"x")
    with pytest.raises(ImageError, match="target: Directory not empty"):
        save(image, target)
    assert contents(target) == {"precious": b"x"}
    save(image, target, replace=True)
    assert contents(target) == TREE
    save(image, tmp_path / "new", replace=True)
    assert contents(tmp_path / "new") == TREE
    assert sorted(os.listdir(tmp_path)) == ["new", "target"]


def test_replacing_follows_no_links(image: Image, tmp_path: Path, canary: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "f").symlink_to(canary / "secret")
    (target / "d").symlink_to(canary)
    save(image, target, replace=True)
    assert contents(target) == TREE


@pytest.mark.parametrize("replace", [False, True])
def test_save_through_no_link(image: Image, tmp_path: Path, canary: Path, replace: bool) -> None:
    (tmp_path / "link").symlink_to("outside")
    (tmp_path / "link.tar").symlink_to("outside/secret")
    for target in ("link", "link/", "link.tar"):
        with pytest.raises(ImageError, match="a symbolic link is there"):
            save(image, str(tmp_path / target), replace=replace)


def test_save_where_something_else_is(image: Image, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "dir.tar").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("file", "dir.tar", "fifo"):
        with pytest.raises(ImageError, match=f"{name}: a .* is there"):
            save(image, tmp_path / name, replace=True)
    with pytest.raises(ImageError, match="can't be replaced"):
        save_directory(image, "/", replace=True)
    with pytest.raises(FileNotFoundError):
        save(image, tmp_path / "no" / "such")


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../out", "/abs", "a\0b"])
def test_names_that_no_image_has_get_nowhere(tmp_path: Path, canary: Path, name: str) -> None:
    """Even if something put them there: the tree is checked again when it is written."""
    image = Image()
    image.put("x", b"evil")
    image.root.names.append(name)
    image.root.nodes[name] = image.root.nodes["x"]
    with pytest.raises(ImageError, match="not a name"):
        save_directory(image, tmp_path / "target")
    assert os.listdir(tmp_path) == ["outside"]


@pytest.mark.parametrize("target", ["out", "out.tar"])
def test_save_that_fails_leaves_nothing(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(ImageError, match="No space left"):
        save(image, tmp_path / target)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_replacing_that_fails_keeps_the_old(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "precious").write_bytes(b"x")
    real, calls = os.rename, []

    def second_fails(*arguments: str, **options: int) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        real(*arguments, **options)

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(ImageError, match="Input/output error"):
        save(image, target, replace=True)
    assert contents(target) == {"precious": b"x"}
    assert os.listdir(tmp_path) == ["target"]


def test_a_host_that_takes_two_names_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image()
    image.put("A", b"")
    image.put("a", b"")
    monkeypatch.setattr(host, "_checked", lambda name, path: name.lower().encode())
    with pytest.raises(ImageError, match="a: the host takes it for another entry"):
        save(image, tmp_path / "out")


# --- saving to an archive ---------------------------------------------------------------------


def test_archive_is_what_load_takes(image: Image, tmp_path: Path) -> None:
    save(image, tmp_path / "image.tar")
    again = Image()
    assert load(tmp_path / "image.tar", again) == []
    assert tree(again) == TREE


def test_archive_is_always_the_same(image: Image, tmp_path: Path) -> None:
    save_tar(image, tmp_path / "one.tar")
    save_tar(image, tmp_path / "two.tar")
    save_tar(image, tmp_path / "one.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["one.tar", "two.tar"]


def test_archive_of_odd_names(tmp_path: Path) -> None:
    image = Image()
    names = ["n" * 255, "ä" * 127, "\udcff", "d" * 150 + "/" + "e" * 104, " ", "a\nb"]
    for name in names:
        image.put(name, b"x")
    save(image, tmp_path / "odd.tar")
    again = Image()
    load(tmp_path / "odd.tar", again)
    assert tree(again) == tree(image)
