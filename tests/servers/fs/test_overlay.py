"""Overlays: what lies below stays as it is; and what an image and an overlay have room for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.fs import trees, worlds
from tests.servers.fs.worlds import names, outcome, read
from wasmos.abi import ErrorCode
from wasmos.servers.fs import Image, hostworld
from wasmos.servers.fs import overlay as module
from wasmos.servers.fs.beneath import Beneath
from wasmos.servers.fs.hostworld import Budget, HostWorld
from wasmos.servers.fs.imageworld import ImageWorld
from wasmos.servers.fs.overlay import lay_over
from wasmos.servers.fs.resolve import Walk
from wasmos.servers.fs.world import CREATE, EMPTY, IS_DIRECTORY, TO_READ, TO_WRITE

FULL = ErrorCode.NO_SPACE


@pytest.fixture
def host(inside: Path) -> Iterator[HostWorld]:
    before = trees.open_descriptors()
    host = HostWorld(Beneath(inside), Budget(100))
    yield host
    host.close()
    assert host._budget.used == 0
    assert trees.open_descriptors() == before


def test_only_what_is_changed_is_copied(host: HostWorld, inside: Path) -> None:
    over = ImageWorld(lay_over(host, max_bytes=6))
    assert read(over, "f") == b"file"
    over.rename("f", "g")
    over.link("g", "h", follow=False)
    assert over.image.used_bytes == 0
    worlds.put(over, "g", b"F")
    assert (read(over, "h"), over.image.used_bytes) == (b"File", 4)
    assert outcome(worlds.put, over, "d/sub/deep", b"D") == FULL
    assert read(over, "d/sub/deep") == b"deep"
    over.remove_file("g")
    over.remove_file("h")
    worlds.put(over, "d/sub/deep", b"D")
    assert read(over, "d/sub/deep") == b"Deep"


def test_what_is_too_large_is_not_read(
    host: HostWorld, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else is served while as much of it is read as would have been allowed."""
    with (inside / "f").open("r+b") as file:
        file.truncate(10 << 30)
    over = ImageWorld(lay_over(host))
    opened = over.open_file("f", TO_READ | TO_WRITE)
    monkeypatch.setattr(hostworld._Descriptor, "read_into", None)
    assert outcome(opened.write_from, 0, memoryview(b"x")) == FULL
    assert outcome(opened.resize, 10) == FULL
    opened.close()
    assert over.image.used_bytes == 0


def test_to_empty_a_file_copies_nothing(host: HostWorld, inside: Path) -> None:
    (inside / "f").write_bytes(bytes(1000))
    over = ImageWorld(lay_over(host, max_bytes=0))
    opened = over.open_file("f", TO_WRITE | EMPTY)
    assert opened.status()[4] == 0
    opened.close()
    assert read(over, "f") == b""


def test_who_reads_sees_what_is_written(host: HostWorld) -> None:
    """Also if he opened the file when its bytes were below."""
    over = ImageWorld(lay_over(host))
    opened = over.open_file("f", TO_READ)
    worlds.put(over, "f", b"F")
    data = bytearray(4)
    assert opened.read_into(0, memoryview(data)) == 4
    assert data == b"File"
    opened.close()


def test_what_is_known_comes_from_below(host: HostWorld, inside: Path) -> None:
    os.utime(inside / "f", ns=(5, 7))
    os.utime(inside / "d", ns=(8, 9))
    over = ImageWorld(lay_over(host))
    assert over.status("f", follow=True)[4:7] == (4, 5, 7)
    assert over.status("d", follow=True)[5:7] == (8, 9)


def test_what_is_gone_below(host: HostWorld, inside: Path) -> None:
    over = ImageWorld(lay_over(host))
    assert names(over) == ["d", "e", "f"]
    (inside / "f").unlink()
    (inside / "e").rmdir()
    assert outcome(over.open_file, "f", TO_READ) == ErrorCode.NOT_FOUND
    assert outcome(names, over, "e") == ErrorCode.NOT_FOUND
    over.remove_file("f")
    assert names(over) == ["d", "e"]


def test_what_was_exchanged_below_isnt_followed(host: HostWorld, inside: Path) -> None:
    outside = trees.make_outside(inside.parent)
    before = trees.digest(outside)
    over = ImageWorld(lay_over(host))
    assert names(over) == ["d", "e", "f"]
    (inside / "f").unlink()
    (inside / "f").symlink_to("../outside/secret")
    (inside / "e").rmdir()
    (inside / "e").symlink_to("../outside")
    assert outcome(over.open_file, "f", TO_READ) == ErrorCode.TOO_MANY_LINKS
    assert outcome(names, over, "e") == ErrorCode.TOO_MANY_LINKS
    assert trees.digest(outside) == before


def test_specials_arent_shown(
    host: HostWorld, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inside.parent)
    with trees.plant_specials(inside):
        over = ImageWorld(lay_over(host))
        assert names(over) == ["d", "e", "f", "tofifo", "tosocket"]
        assert outcome(read, over, "tofifo") == ErrorCode.NOT_FOUND


def test_a_path_is_walked_once_for_a_directory(inside: Path) -> None:
    """And not for each name in it, of which there may be many."""
    walked = []

    class Counting(Walk):
        def open(self, root: int, path: bytes, flags: int) -> int:
            walked.append(path)
            return super().open(root, path, flags)

    for index in range(20):
        (inside / "d/sub" / f"f{index}").write_bytes(b"")
        (inside / "d/sub" / f"l{index}").symlink_to("deep")
    host = HostWorld(Beneath(inside, resolver=Counting()), Budget(100))
    over = ImageWorld(lay_over(host))
    assert len(names(over, "d/sub")) == 41
    assert len(walked) <= 3 * 2  # directories, looked at and opened
    host.close()


@pytest.mark.skipif(not os.path.ismount("/proc"), reason="nothing is mounted in /")
def test_another_file_system_isnt_shown() -> None:
    host = HostWorld(Beneath("/"), Budget(100))
    over = ImageWorld(lay_over(host))
    assert "etc" in names(over)
    assert "proc" not in names(over)
    host.close()


def test_names_of_what_is_open(host: HostWorld) -> None:
    for world in (host, ImageWorld(lay_over(host))):
        directory = world.open_file("d/sub", TO_READ | IS_DIRECTORY)
        status = world.status("d/sub/deep", follow=False)
        assert directory.look(b"deep") == status
        assert outcome(directory.look, b"none") == ErrorCode.NOT_FOUND
        assert outcome(directory.read_link, b"deep") == ErrorCode.INVALID_ARG
        directory.close()
        root = world.open_file(".", TO_READ | IS_DIRECTORY)
        assert outcome(root.read_link, b"none") == ErrorCode.NOT_FOUND
        root.close()


def test_how_much_may_lie_below(host: HostWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SHOWN", 4)
    over = ImageWorld(lay_over(host))
    assert names(over) == ["d", "e", "f"]
    assert names(over, "d") == ["sub"]
    assert outcome(names, over, "d/sub") == ErrorCode.NO_RESOURCES


def test_what_lies_below_takes_no_room(host: HostWorld) -> None:
    over = ImageWorld(lay_over(host, max_entries=2))
    assert names(over) == ["d", "e", "f"]
    worlds.put(over, "d/1", b"")
    over.make_link("x", "d/2")
    assert outcome(over.open_file, "d/3", CREATE) == FULL
    over.remove_file("d/1")
    over.add_directory("d/3")


# --- images -----------------------------------------------------------------------------------


def image(**limits: int) -> ImageWorld:
    world = ImageWorld(Image(**limits))  # type: ignore[arg-type]
    world.open_file("f", CREATE).close()
    return world


@pytest.mark.parametrize("offset", [11, 1 << 32, 1 << 62, (1 << 63) - 2])
def test_far_out_is_no_room(offset: int) -> None:
    world = image(max_bytes=10)
    opened = world.open_file("f", TO_WRITE)
    expected = FULL if offset == 11 else ErrorCode.TOO_LARGE
    assert outcome(opened.write_from, offset, memoryview(b"x")) == expected
    assert outcome(opened.resize, offset) == expected
    assert outcome(opened.allocate, offset, 1) == expected
    assert opened.status()[4] == world.image.used_bytes == 0
    opened.close()


def test_holes_and_links_count() -> None:
    world = image(max_bytes=10)
    opened = world.open_file("f", TO_WRITE)
    opened.write_from(5, memoryview(b"x"))
    assert outcome(world.make_link, "12345", "l") == FULL
    world.make_link("1234", "l")
    assert outcome(opened.append, memoryview(b"x")) == FULL
    world.remove_file("l")
    opened.append(memoryview(b"abcd"))
    world.link("f", "g", follow=False)
    world.remove_file("f")
    assert world.image.used_bytes == 10
    world.remove_file("g")
    assert world.image.used_bytes == 10  # it is open
    opened.close()
    assert (world.image.used_bytes, world.image.entries) == (0, 0)


def test_every_name_counts() -> None:
    world = image(max_entries=2)
    world.link("f", "g", follow=False)
    assert outcome(world.link, "f", "h", follow=False) == FULL
    world.rename("f", "h")
    world.rename("g", "h")  # the same file: both stay
    world.remove_file("h")
    world.link("g", "h", follow=False)
    world.remove_file("g")
    world.remove_file("h")
    assert world.image.entries == 0


def test_a_tree_is_only_so_deep() -> None:
    """Also by moving what is deep to where it is deep."""
    world = ImageWorld(Image())
    path = "/".join("d" * 100)
    world.image.make_directories(path)
    world.add_directory("e")
    for number in range(28):
        world.add_directory("e" + "/e" * (number + 1))
    assert outcome(world.rename, "d", "e" + "/e" * 28 + "/d") == ErrorCode.NAME_TOO_LONG
    world.rename("d", "e/d")
    assert world.status("e/" + path, follow=True)[0] == 3
