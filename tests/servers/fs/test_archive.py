"""Archives: what they show, and what is refused in them."""

from __future__ import annotations

import io
import random
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.fs import trees
from tests.servers.fs.worlds import names, outcome, read, reading
from wasmos.abi import ErrorCode
from wasmos.errors import UsageError
from wasmos.servers.fs import archive as module
from wasmos.servers.fs import imageworld
from wasmos.servers.fs.archive import Archive, ArchiveWorld, check_archive
from wasmos.servers.fs.image import ImageError
from wasmos.servers.fs.imageworld import ImageWorld
from wasmos.servers.fs.overlay import lay_over
from wasmos.servers.fs.world import CREATE, SYMBOLIC_LINK, TO_READ, TO_WRITE, World

LARGE = bytes(range(256)) * 1000


def link(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.create_system = 3
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


def make_zip(path: Path, method: int) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("f", b"file")
        archive.writestr("d/sub/deep", b"deep")
        archive.writestr("e/", b"")
        archive.writestr("large", LARGE)
        archive.writestr(link("l"), b"d/sub/deep")
        archive.writestr(link("out"), b"../../etc/passwd")


def make_tar(path: Path, dialect: int) -> None:
    with tarfile.open(path, "w", format=dialect) as archive:
        for name, data in [("f", b"file"), ("d/sub/deep", b"deep"), ("large", LARGE)]:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1_000_000_000
            archive.addfile(member, io.BytesIO(data))
        for name, kind, target in [
            ("e", tarfile.DIRTYPE, ""),
            ("l", tarfile.SYMTYPE, "d/sub/deep"),
            ("out", tarfile.SYMTYPE, "../../etc/passwd"),
        ]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)


MAKERS = {
    "stored": lambda path: make_zip(path, zipfile.ZIP_STORED),
    "deflated": lambda path: make_zip(path, zipfile.ZIP_DEFLATED),
    "ustar": lambda path: make_tar(path, tarfile.USTAR_FORMAT),
    "gnu": lambda path: make_tar(path, tarfile.GNU_FORMAT),
    "pax": lambda path: make_tar(path, tarfile.PAX_FORMAT),
}


@pytest.fixture(params=MAKERS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    MAKERS[request.param](tmp_path / "archive")
    check_archive(str(tmp_path / "archive"))
    before = trees.open_descriptors()
    archive = Archive(tmp_path / "archive")
    world = ArchiveWorld(archive)
    yield world
    assert archive.unpacked.used == 0
    world.close()
    assert trees.open_descriptors() <= before  # others may have left theirs to the collector


def test_what_it_shows(world: World) -> None:
    assert names(world) == ["d", "e", "f", "l", "large", "out"]
    assert names(world, "e") == []
    assert read(world, "f") == b"file"
    assert read(world, "l") == read(world, "d/sub/deep") == b"deep"
    assert world.status("l", follow=False)[0] == SYMBOLIC_LINK
    assert world.read_link("out") == b"../../etc/passwd"
    assert outcome(read, world, "out") == ErrorCode.NOT_ALLOWED
    assert world.status("large", follow=True)[4] == len(LARGE)
    opened = world.open("f", writable=False)
    assert opened.read(1, 2) == b"il"
    opened.close()


def test_reading_anywhere(world: World) -> None:
    opened = world.open_file("large", TO_READ)
    data = bytearray(1000)
    for offset in (0, 100_000, 255_999, 7, 255_500):
        count = opened.read_into(offset, memoryview(data))
        assert data[:count] == LARGE[offset : offset + 1000]
    assert opened.read_into(256_000, memoryview(data)) == 0
    assert opened.read_into(1 << 62, memoryview(data)) == 0
    opened.close()


def test_nothing_changes_it(world: World) -> None:
    for change in [
        lambda: world.open_file("f", TO_WRITE),
        lambda: world.open_file("new", CREATE),
        lambda: world.remove_file("f"),
        lambda: world.remove_directory("e"),
        lambda: world.rename("f", "g"),
        lambda: world.link("f", "g", follow=False),
        lambda: world.make_link("f", "g"),
        lambda: world.add_directory("g"),
        lambda: world.set_times("f", 1, 1, follow=True),
    ]:
        assert outcome(change) == ErrorCode.READ_ONLY
    opened = world.open_file("f", TO_READ)
    for call in [
        lambda: opened.write_from(0, memoryview(b"x")),
        lambda: opened.append(memoryview(b"x")),
        lambda: opened.resize(0),
        lambda: opened.set_times(1, 1),
    ]:
        assert outcome(call) == ErrorCode.READ_ONLY
    opened.close()
    assert outcome(world.delete, "f") == ErrorCode.NOT_ALLOWED


def test_an_overlay_over_it(world: World) -> None:
    over = ImageWorld(lay_over(world))
    opened = over.open_file("large", TO_WRITE | TO_READ)
    opened.write_from(1, memoryview(b"XY"))
    opened.close()
    assert read(over, "large")[:4] == b"\0XY\3"
    over.rename("d", "moved")
    assert read(over, "moved/sub/deep") == b"deep"
    over.remove_file("f")
    assert names(over) == ["e", "l", "large", "moved", "out"]
    assert read(world, "f") == b"file"


def refusal(path: Path) -> str:
    with pytest.raises(ImageError) as refused:
        Archive(path)
    with pytest.raises(UsageError, match="fs: archive"):
        check_archive(str(path))
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../x", "a path that goes up"),
        ("a/../../x", "a path that goes up"),
        ("/etc/passwd", "an absolute path"),
        ("f", "there twice"),
        ("./f", "there twice"),
        ("f/x", "below what is no directory"),
        ("l/x", "below what is no directory"),
        ("x" * 256, "name too long"),
        ("a/" * 200 + "x", "name too long"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    path = tmp_path / "archive"
    make_zip(path, zipfile.ZIP_STORED)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"")
    assert reason in refusal(path)
    with tarfile.open(path, "w") as tar:
        for each in ("f", "d/sub/deep", name):
            tar.addfile(tarfile.TarInfo(each))
        if name == "l/x":
            return
    assert reason in refusal(path)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"1", b"S"])
def test_kinds_that_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "t", "w") as archive:
        member = tarfile.TarInfo("x")
        member.type = kind
        archive.addfile(member)
    assert refusal(tmp_path / "t").startswith("x: a")
    member = zipfile.ZipInfo("x")
    member.create_system, member.external_attr = 3, stat.S_IFIFO << 16
    with zipfile.ZipFile(tmp_path / "z", "w") as zipped:
        zipped.writestr(member, b"")
    assert "neither a file" in refusal(tmp_path / "z")


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "z"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(2 << 20))
    assert "zeros: 2,097,152 bytes out of" in refusal(path)
    monkeypatch.setattr(module, "MAX_RATIO", 5000)
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 1 << 20)
    assert "more than 1,048,576 bytes" in refusal(path)
    monkeypatch.setattr(module, "MAX_DIRECTORY_BYTES", 20)
    assert "more than 20 bytes that list" in refusal(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_more_bytes_than_may_list_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: int
) -> None:
    """How much is read at once has nothing to do with how large a file may be."""
    monkeypatch.setattr(module, "MAX_DIRECTORY_BYTES", 1 << 20)
    data = random.Random(1).randbytes((2 << 20) + 1)
    with zipfile.ZipFile(tmp_path / "z", "w", method) as archive:
        archive.writestr("f", data)
    world = ArchiveWorld(Archive(tmp_path / "z"))
    opened = world.open_file("f", TO_READ)
    assert reading(opened, 0, len(data) + 1) == data
    opened.close()
    world.close()


def test_a_directory_that_is_too_large_to_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be used. Above it, and over it, nothing is different from one of the host."""
    monkeypatch.setattr(imageworld, "MAX_LISTED", 10)
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        for index in range(10):
            archive.writestr(f"d/{index}", b"")
            archive.writestr(f"e/{index}", b"")
        archive.writestr("e/x", b"data")
    world = ArchiveWorld(Archive(tmp_path / "z"))
    assert len(names(world, "d")) == 10
    assert outcome(names, world, "e") == ErrorCode.TOO_LARGE
    assert read(world, "e/x") == b"data"
    over = ImageWorld(lay_over(world))
    assert outcome(over.status, "e/x", follow=True) == ErrorCode.TOO_LARGE
    assert names(over) == ["d", "e"]
    world.close()


@pytest.mark.parametrize("dialect", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_link_is_only_so_long(tmp_path: Path, dialect: int) -> None:
    """Forty links of 64 KiB after each other would be a walk of a fifth of a second."""
    for size in (4096, 4097):
        member = tarfile.TarInfo("l")
        member.type, member.linkname = tarfile.SYMTYPE, "x" * size
        with tarfile.open(tmp_path / "t", "w", format=dialect) as archive:
            archive.addfile(member)
        if size == 4096:
            Archive(tmp_path / "t").close()
    assert refusal(tmp_path / "t") == "l: a link of 4,097 bytes"


def test_what_is_unpacked_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNPACKED_BYTES", 300_000)
    make_zip(tmp_path / "z", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "z", "a") as archive:
        archive.writestr("other", LARGE)
    world = ArchiveWorld(Archive(tmp_path / "z"))
    held = [world.open_file("large", TO_READ) for _ in range(3)]  # once for all
    assert outcome(world.open_file, "other", TO_READ) == ErrorCode.NO_MEMORY
    for opened in held:
        opened.close()
    world.open_file("other", TO_READ).close()
    world.close()


@pytest.mark.parametrize("data", [b"", b"x", b"PK\3\4", bytes(511), b"\1" * 9999])
def test_what_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    assert refusal(tmp_path / "x")


def test_damage(tmp_path: Path) -> None:
    """No byte that is changed brings the server down."""
    path = tmp_path / "z"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("f", b"file" * 20)
    data = path.read_bytes()
    for at in range(len(data)):
        for value in (0, 0xFF, data[at] ^ 0x10):
            path.write_bytes(data[:at] + bytes([value]) + data[at + 1 :])
            try:
                world = ArchiveWorld(Archive(path))
            except ImageError:
                continue
            for name in names(world):
                assert outcome(read, world, name) in (
                    b"file" * 20,
                    ErrorCode.IO_ERROR,
                    ErrorCode.NOT_A_FILE,
                    b"",
                )
            world.close()


@pytest.mark.parametrize("size", [0, 5, 511, 512, 5000])
def test_a_file_that_is_no_archive(tmp_path: Path, size: int) -> None:
    (tmp_path / "text").write_text("a" * size)
    with pytest.raises(ImageError) as caught:
        Archive(tmp_path / "text")
    assert str(caught.value) == "neither a directory nor a zip or tar file"


def test_an_archive_that_is_cut_off_says_so(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    whole = (tmp_path / "tar").read_bytes()
    for size in (300, 511, 513, 1000):
        (tmp_path / "tar").write_bytes(whole[:size])
        with pytest.raises(ImageError, match=r"^the archive is cut off$"):
            Archive(tmp_path / "tar")


def test_an_archive_must_be_a_file(tmp_path: Path) -> None:
    for path, reason in [
        (tmp_path, "a directory and no archive"),
        (tmp_path / "none", "no such file"),
    ]:
        with pytest.raises(UsageError, match=reason):
            check_archive(str(path))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_nobody_can_bound_is_not_unpacked(tmp_path: Path, method: int) -> None:
    """What these unpack to doesn't depend on what a member claims."""
    make_zip(tmp_path / "archive", method)
    with pytest.raises(ImageError, match="compressed in a way that isn't known here"):
        Archive(tmp_path / "archive")
