"""Images from and to tar files.

Law: an archive is a stranger's. Every header is checked, what isn't a plain file or directory
with a path below the root is refused by name, and no number in a header decides how much memory
is used.

Reading is done here and not by `tarfile`, which is lenient by design: it guesses, skips and
repairs, and programs that disagree about what an archive contains are how checks are passed by.
"""

from __future__ import annotations

from wasmos.errors import ServiceError
from wasmos.servers.fs.image import Directory, File, Image, ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO, Protocol

    class Members(Protocol):
        """Who is told what is in an archive."""

        def directory(self, path: str, modified_s: int) -> None: ...

        def link(self, path: str, target: str, modified_s: int) -> None: ...

        def file(self, path: str, offset: int, size: int, modified_s: int) -> None: ...


BLOCK = 512
CHUNK_BYTES = 1 << 20
MAX_EXTENSION_BYTES = 64 << 10  # of a header that doesn't fit a block
_ZEROS = bytes(BLOCK)
_COMPRESSED = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a fifo",
    b"K": "a link",
    b"S": "a sparse file",
}


class _Member:
    """One header of an archive."""

    __slots__ = ("kind", "modified_s", "path", "size", "target")

    def __init__(self, block: bytes) -> None:
        if not _has_checksum(block):
            raise ImageError("a damaged tar file")
        self.path = _text(block[:100])
        # Only the standard's own format keeps the rest of long paths there.
        if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
            self.path = f"{prefix}/{self.path}"
        self.size = _number(block[124:136], f"{self.path}: its size")
        self.kind = block[156:157]
        self.target = _text(block[157:257])
        self.modified_s = _seconds(block[136:148])


def _has_checksum(block: bytes) -> bool:
    digits = block[148:156].strip(b" \0")
    total = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
    return bool(digits) and not digits.strip(b"01234567") and int(digits, 8) == total


def _headers(file: BinaryIO, kinds: str) -> Iterator[bytes]:
    """The blocks that should be headers: after each, the file is behind what that is about. Of a
    file that doesn't begin like an archive it is said that it is neither a directory nor one of
    these kinds, and not what is wrong with it."""
    block = file.read(BLOCK)
    if block[257:262] != b"ustar" and block != _ZEROS and not _has_checksum(block):
        raise ImageError(_compressed(block) or f"neither a directory nor {kinds}")
    while len(block) == BLOCK and block != _ZEROS:
        yield block
        block = file.read(BLOCK)
    if len(block) != BLOCK:
        raise ImageError("the archive is cut off")


def _members(file: BinaryIO, kinds: str, extensions: bytes) -> Iterator[_Member]:
    """What is in an archive, each with what extensions of these kinds say about it."""
    extended: dict[str, str] = {}  # about the member that follows
    for block in _headers(file, kinds):
        member = _Member(block)
        if member.kind in extensions:
            _extend(extended, member, _extension(file, member))
            continue
        member.path = extended.pop("path", member.path)
        member.target = extended.pop("linkpath", member.target)
        member.size = _decimal(extended.pop("size", str(member.size)), member.path)
        yield member


def _compressed(begin: bytes) -> str:
    for magic, name in _COMPRESSED:
        if begin.startswith(magic):
            return f"compressed, by {name}; unpack it to a tar file"
    return ""


def scan_tar(file: BinaryIO, size: int, members: Members) -> None:
    """Tell `members` what is in an archive of `size` bytes, and read no contents. Raises
    ImageError, which names the member."""
    for member in _members(file, "a zip or tar file", b"xgLK"):
        path, length = member.path, member.size
        if member.kind == b"2":
            if length:
                raise ImageError(f"{path}: a link with contents")
            members.link(path, member.target, member.modified_s)
        elif _is_directory(member.kind, path, length):
            members.directory(path, member.modified_s)
        else:
            offset = file.tell()
            end = offset + length + -length % BLOCK
            if end > size:
                raise ImageError("the archive is cut off")
            members.file(path, offset, length, member.modified_s)
            file.seek(end)


def read_tar(file: BinaryIO, image: Image) -> None:
    """Fill an image from an archive. Raises ImageError, which names the member."""
    seen: set[str] = set()
    for member in _members(file, "a tar file", b"xgL"):
        path = member.path
        names = _names(path)
        try:
            if _is_directory(member.kind, path, member.size):
                _add_directory(image, names, path, seen)
            else:
                _add_file(image, names, path, file, member.size, seen)
        except ServiceError as error:
            raise ImageError(f"{path}: {error}") from None


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise ImageError("the archive is cut off")
    return data


def _skip_padding(file: BinaryIO, size: int) -> None:
    _exactly(file, -size % BLOCK)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _number(field: bytes, what: str) -> int:
    """Octal digits, or for large numbers a first byte of 0x80 and then the number."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        raise ImageError(f"{what}: no number; the archive is damaged")
    return int(digits, 8)


def _seconds(field: bytes) -> int:
    """A time nobody relies on: what is none is 1970."""
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else 0


def _decimal(digits: str, path: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise ImageError(f"{path}: its size is no number")
    return int(digits)


# --- extensions: headers about the member after them ---


def _extension(file: BinaryIO, member: _Member) -> bytes:
    if member.size > MAX_EXTENSION_BYTES:
        raise ImageError(f"{member.path}: an extended header of {member.size:,} bytes")
    data = _exactly(file, member.size)
    _skip_padding(file, member.size)
    return data


def _extend(extended: dict[str, str], member: _Member, data: bytes) -> None:
    if member.kind in b"LK":
        extended["path" if member.kind == b"L" else "linkpath"] = _text(data)
        return
    for key, value in _records(data, member.path):
        if key.startswith("GNU.sparse."):
            raise ImageError(f"{member.path}: {_REFUSED[b'S']}")
        if key in ("path", "size", "linkpath"):
            if member.kind == b"g":
                raise ImageError(f"{member.path}: a {key} for all members makes no sense")
            extended[key] = value


def _records(data: bytes, path: str) -> list[tuple[str, str]]:
    """`length key=value` lines, where the length is that of the whole line."""
    records = []
    while data:
        length, space, _ = data[:8].partition(b" ")
        size = int(length) if space and length.isdigit() else 0
        line, data = data[len(length) + 1 : size], data[size:]
        key, equals, value = line[:-1].partition(b"=")
        if not equals or not line.endswith(b"\n") or len(length) + 1 + len(line) != size:
            raise ImageError(f"{path}: a damaged extended header")
        records.append(
            (key.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
        )
    return records


# --- members ---


def _names(path: str) -> list[str]:
    if path.startswith("/"):
        raise ImageError(f"{path}: an absolute path")
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names:
        raise ImageError(f"{path}: a path that goes up")
    return names


def _is_directory(kind: bytes, path: str, size: int) -> bool:
    # The oldest archives have no type for directories, only the slash.
    if kind == b"5" or (kind == b"\0" and path.endswith("/")):
        if size:
            raise ImageError(f"{path}: a directory with contents")
        return True
    if kind not in (b"0", b"\0"):
        raise ImageError(f"{path}: {_REFUSED.get(kind, f'of the unknown type {kind!r}')}")
    if path.endswith("/"):  # readers disagree about what that is
        raise ImageError(f"{path}: a file with a directory's name")
    return False


def _add_directory(image: Image, names: list[str], path: str, seen: set[str]) -> None:
    if not names:
        return  # the root, which is there
    _once(names, path, seen)
    image.make_directories("/".join(names))


def _add_file(
    image: Image, names: list[str], path: str, file: BinaryIO, size: int, seen: set[str]
) -> None:
    if not names:
        raise ImageError(f"{path!r}: a file without a name")
    _once(names, path, seen)
    # Also those that the archive doesn't mention, or mentions later.
    image.make_directories("/".join(names[:-1]))
    node = image.make_file("/".join(names))
    left = size
    while left:
        left -= image.write(node, len(node.data), _exactly(file, min(left, CHUNK_BYTES)))
    _skip_padding(file, size)


def _once(names: list[str], path: str, seen: set[str]) -> None:
    if "/".join(names) in seen:
        raise ImageError(f"{path}: there twice")
    seen.add("/".join(names))


# --- writing ---


def write_tar(image: Image, file: BinaryIO) -> None:
    """Write an image as an archive; the same image as the same bytes. Links are left out: whoever
    unpacks it elsewhere would have them lead elsewhere."""
    import io
    import tarfile

    with tarfile.open(
        fileobj=file,
        mode="w",
        format=tarfile.GNU_FORMAT,
        encoding="utf-8",
        errors="surrogateescape",
    ) as archive:
        for path, node in image.walk():
            member = tarfile.TarInfo(path)
            if isinstance(node, Directory):
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            elif isinstance(node, File):
                member.size = len(node.data)
                archive.addfile(member, io.BytesIO(node.data))
