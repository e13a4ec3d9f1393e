"""An archive is a stranger's: what isn't a plain file or directory below the root is refused."""

from __future__ import annotations

import contextlib
import importlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmos.servers.fs import Image, ImageError
from wasmos.servers.fs.tar import BLOCK, read_tar

END = bytes(2 * BLOCK)
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def header(
    name: bytes,
    kind: bytes = b"0",
    size: bytes | int = 0,
    *,
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
) -> bytes:
    """One header, with a right checksum and whatever else is wanted."""
    field = size.ljust(12, b"\0") if isinstance(size, bytes) else f"{size:011o}\0".encode()
    block = name.ljust(100, b"\0") + b"0000644\0" * 3 + field + b"00000000000\0"
    block += b" " * 8 + kind + bytes(100) + magic.ljust(88, b"\0") + prefix
    block = block.ljust(BLOCK, b"\0")
    return block[:148] + f"{sum(block):06o}\0 ".encode() + block[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def pax(kind: bytes = b"x", **records: bytes) -> bytes:
    data = b""
    for key, value in records.items():
        rest = b" " + key.replace("__", ".").encode() + b"=" + value + b"\n"
        length = len(rest) + 1
        while len(str(length)) + len(rest) != length:
            length = len(str(length)) + len(rest)
        data += str(length).encode() + rest
    return header(b"pax", kind, len(data)) + padded(data)


def read(data: bytes, **limits: int) -> dict[str, bytes | None]:
    image = Image(**limits)
    read_tar(io.BytesIO(data), image)
    found = {}
    for path, node in image.walk():
        contents = getattr(node, "data", None)
        found[path] = None if contents is None else bytes(contents)
    return found


def refusal(data: bytes, **limits: int) -> str:
    with pytest.raises(ImageError) as refused:
        read(data, **limits)
    return str(refused.value)


# --- what is taken ----------------------------------------------------------------------------


def test_files_and_directories() -> None:
    archive = header(b"d/", b"5") + header(b"d/f", size=3) + padded(b"abc") + header(b"e") + END
    assert read(archive) == {"d": None, "d/f": b"abc", "e": b""}


def test_forms_of_the_same_path() -> None:
    archive = header(b"./", b"5") + header(b"./d", b"5") + header(b"d//./f") + END
    assert read(archive) == {"d": None, "d/f": b""}


def test_directories_may_be_missing_or_late() -> None:
    assert read(header(b"a/b/c") + header(b"a", b"5") + END) == {
        "a": None,
        "a/b": None,
        "a/b/c": b"",
    }


def test_old_formats() -> None:
    """The oldest have no magic, a NUL as the type, and a slash for directories."""
    assert read(header(b"d/", b"\0", magic=b"") + header(b"f", b"\0", magic=b"") + END) == {
        "d": None,
        "f": b"",
    }


def test_long_paths_of_each_format() -> None:
    long = b"n" * 120
    for archive in (
        header(b"n" * 50, prefix=b"p" * 60),
        pax(path=long) + header(b"short"),
        header(b"././@LongLink", b"L", len(long) + 1) + padded(long + b"\0") + header(b"short"),
    ):
        [path] = [path for path, data in read(archive + END).items() if data is not None]
        assert len(path) > 100
    # What looks like a prefix is something else in the GNU format.
    assert read(header(b"f", prefix=b"12345", magic=b"ustar  \0") + END) == {"f": b""}


def test_sizes_of_each_format() -> None:
    data = padded(b"abc")
    base256 = b"\x80" + (3).to_bytes(11, "big")
    assert read(header(b"f", size=base256) + data + END) == {"f": b"abc"}
    assert read(header(b"f", size=b"         3 \0") + data + END) == {"f": b"abc"}
    assert read(pax(size=b"3", mtime=b"1.5") + header(b"f") + data + END) == {"f": b"abc"}


def test_extensions_are_for_one_member() -> None:
    archive = pax(path=b"long", size=b"3") + header(b"x") + padded(b"abc") + header(b"y") + END
    assert read(archive) == {"long": b"abc", "y": b""}


def test_comments_for_all_members_are_nothing() -> None:
    assert read(pax(b"g", comment=b"made by git") + header(b"f") + END) == {"f": b""}


def test_what_follows_the_end_is_nothing() -> None:
    assert read(header(b"f") + END + b"rubbish") == {"f": b""}
    assert read(END) == {}


# --- what is refused --------------------------------------------------------------------------

PATHS = [
    (b"/abs", "an absolute path"),
    (b"//abs", "an absolute path"),
    (b"..", "goes up"),
    (b"../x", "goes up"),
    (b"a/../../x", "goes up"),
    (b"a/..", "goes up"),
    (b"./../x", "goes up"),
]


@pytest.mark.parametrize(("path", "reason"), PATHS)
def test_paths_that_leave(path: bytes, reason: str) -> None:
    for archive in (
        header(path),
        header(path, b"5"),
        pax(path=path) + header(b"innocent"),
        header(b"././@LongLink", b"L", len(path)) + padded(path) + header(b"innocent"),
    ):
        assert refusal(archive + END) == f"{path.decode()}: " + (
            "a path that goes up" if reason == "goes up" else reason
        )
    assert reason in refusal(header(b"x", prefix=path) + END)


KINDS = [
    (b"1", "a hard link"),
    (b"2", "a symbolic link"),
    (b"3", "a device"),
    (b"4", "a device"),
    (b"6", "a fifo"),
    (b"7", "of the unknown type b'7'"),
    (b"S", "a sparse file"),
    (b"K", "a link"),
    (b"D", "of the unknown type b'D'"),
    (b"V", "of the unknown type b'V'"),
]


@pytest.mark.parametrize(("kind", "reason"), KINDS)
def test_members_that_are_no_files(kind: bytes, reason: str) -> None:
    assert refusal(header(b"evil", kind) + END) == f"evil: {reason}"


def test_sparse_files_in_extensions() -> None:
    archive = pax(GNU__sparse__major=b"1", GNU__sparse__minor=b"0") + header(b"f") + END
    assert "a sparse file" in refusal(archive)


def test_duplicates() -> None:
    for second in (header(b"f"), header(b"./f"), header(b"f", b"5")):
        assert "f: there twice" in refusal(header(b"f") + second + END).replace("./", "")
    assert "d: there twice" in refusal(header(b"d", b"5") * 2 + END)


def test_a_file_where_a_directory_is() -> None:
    assert "a: already exists" in refusal(header(b"a/b") + header(b"a") + END)
    assert "a/b: not a directory" in refusal(header(b"a") + header(b"a/b") + END)


def test_limits() -> None:
    big = header(b"big", size=2000) + padded(bytes(2000)) + END
    assert refusal(big, max_bytes=1000).startswith("big: no space")
    assert refusal(big, max_file_bytes=1000).startswith("big: too large")
    many = b"".join(header(b"%d" % number) for number in range(5)) + END
    assert refusal(many, max_entries=4).startswith("4: no space")
    assert refusal(pax(path=b"n" * 256) + header(b"x") + END).endswith("at most 255 bytes")


@pytest.mark.parametrize(
    "size",
    [b"77777777777\0", b"\x80" + b"\xff" * 11, b"\x80" + bytes(7) + b"\xff" * 4],
    ids=["octal", "88 bits", "32 bits"],
)
def test_sizes_that_lie_cost_nothing(size: bytes) -> None:
    assert refusal(header(b"liar", size=size) + padded(b"abc") + END)
    assert refusal(header(b"liar", b"x", size=size) + padded(b"abc") + END)
    assert refusal(header(b"liar", b"L", size=size) + padded(b"abc") + END)


@pytest.mark.parametrize(
    "size",
    [
        b"-0000000003\0",
        b"0x3\0",
        b"1_0\0",
        b"\xff" * 12,
        bytes(12),
        b"9\0",
        b"3 3\0",
        b"\x81" + bytes(11),
    ],
)
def test_sizes_that_are_no_numbers(size: bytes) -> None:
    assert (
        refusal(header(b"f", size=size) + END) == "f: its size: no number; the archive is damaged"
    )


@pytest.mark.parametrize("size", [b"-1", b"", b"1_0", b"0x1", b" 1", b"9" * 20, "٣".encode()])
def test_extended_sizes_that_are_no_numbers(size: bytes) -> None:
    assert refusal(pax(size=size) + header(b"f") + END) == "f: its size is no number"


def test_a_directory_with_contents() -> None:
    assert refusal(header(b"d", b"5", 3) + padded(b"abc") + END) == "d: a directory with contents"
    old = header(b"d/", b"\0", 3, magic=b"")
    assert refusal(old + padded(b"abc") + END) == "d/: a directory with contents"
    assert refusal(header(b"d/") + END) == "d/: a file with a directory's name"


@pytest.mark.parametrize("name", [b"", b".", b"./."])
def test_files_without_a_name(name: bytes) -> None:
    assert "a file without a name" in refusal(header(name) + END)


@pytest.mark.parametrize(
    "data",
    [
        b"6 a=b\n7",
        b"5 a=b\n",
        b"7 a=b\n",
        b"99 a=b\n",
        b"0 a=b\n",
        b"a=b\n",
        b"6  a=b",
        b"6 a-b\n",
        b"-6 a=b\n",
        b"1",
        b"\n" * 9,
    ],
)
def test_damaged_extensions(data: bytes) -> None:
    archive = header(b"e", b"x", len(data)) + padded(data) + header(b"f") + END
    assert refusal(archive) == "e: a damaged extended header"


def test_a_path_for_all_members() -> None:
    assert "makes no sense" in refusal(pax(b"g", path=b"x") + header(b"f") + END)


def test_a_nul_in_an_extended_path() -> None:
    assert "invalid argument" in refusal(pax(path=b"a\0b") + header(b"f") + END)


@pytest.mark.parametrize("length", [262, 511, 513, 1023, 1024, 1025, 1535, 1536])
def test_cut_off(length: int) -> None:
    whole = header(b"f", size=600) + padded(b"x" * 600) + END
    assert refusal(whole[:length]) == "the archive is cut off"


@pytest.mark.parametrize(
    "data",
    [b"", b"a", b"a text\n" * 20, b"a text\n" * 2000, b"PK\3\4" * 200, b"\xff" * 512, bytes(511),
     header(b"f")[:261]],
)  # fmt: skip
def test_not_an_archive(data: bytes) -> None:
    assert refusal(data) == "neither a directory nor a tar file"


@pytest.mark.parametrize("name", ["gzip", "bz2", "lzma"])
def test_a_compressed_archive(name: str) -> None:
    data = importlib.import_module(name).compress(header(b"f") + END)
    by = {"bz2": "bzip2", "lzma": "xz"}.get(name, name)
    assert refusal(data) == f"compressed, by {by}; unpack it to a tar file"


def test_what_is_no_header_later_is_damaged() -> None:
    assert refusal(header(b"f") + b"a text\n" * 200) == "a damaged tar file"


def test_a_bit_that_flipped() -> None:
    block = bytearray(header(b"f") + END)
    for at in (0, 100, 130, 156, 300, 511):
        block[at] ^= 1
        assert "damaged" in refusal(bytes(block))
        block[at] ^= 1


# --- two readers agree ------------------------------------------------------------------------

NAMES = st.text("ab./é\n ", min_size=1, max_size=130)


@given(
    members=st.dictionaries(NAMES, st.none() | st.binary(max_size=1500), max_size=4),
    tar_format=st.sampled_from(FORMATS),
)
def test_what_the_standard_library_writes(
    members: dict[str, bytes | None], tar_format: int
) -> None:
    """Either refused, or exactly what `tarfile` finds in it as well."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            if data is None:
                member.type = tarfile.DIRTYPE
            member.size = len(data or b"")
            try:
                archive.addfile(member, io.BytesIO(data or b""))
            except ValueError:  # too long for the format
                return
    try:
        found = read(buffer.getvalue())
    except ImageError:
        return
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as archive:
        for member in archive:
            names = [name for name in member.name.split("/") if name not in ("", ".")]
            if member.isdir():
                assert not names or found.pop("/".join(names)) is None
            else:
                extracted = archive.extractfile(member)
                assert extracted is not None
                assert found.pop("/".join(names)) == extracted.read()
    # What is left are directories that only their contents told of.
    assert set(found.values()) <= {None}


@given(data=st.binary(max_size=2048), at=st.integers(0, 2048), size=st.integers(0, 64))
def test_any_bytes_are_an_archive_or_refused(data: bytes, at: int, size: int) -> None:
    whole = pax(path=b"long/path", size=b"3") + header(b"f") + padded(b"abc") + END
    for archive in (data, whole[:at] + data[:size] + whole[at + size :]):
        with contextlib.suppress(ImageError):
            read(archive, max_bytes=4096, max_entries=8)


def test_what_the_hosts_tar_writes(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d" / "f").write_bytes(b"file")
    (tree / ("n" * 200)).write_bytes(b"long")
    made = subprocess.run(["tar", "-cf", "-", "-C", tree, "."], capture_output=True, check=True)
    assert read(made.stdout) == {"d": None, "d/f": b"file", "n" * 200: b"long"}
