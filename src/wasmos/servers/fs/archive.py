"""A zip or tar file as a tree that nobody changes.

Law: an archive is a stranger's. All names are checked when it is opened: nothing absolute, nothing
that goes up, nothing twice, and only files, directories and symbolic links, which are texts. Of
contents, only what is asked for is read, from the archive's own descriptor; how much memory that
takes is bounded by what we allow and not by what the archive says.

A zip is compressed and can't be read from the middle, so a file in it is unpacked as a whole as
long as somebody has it open.
"""

from __future__ import annotations

import os
import stat

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError, UsageError
from wasmos.servers.fs.host import open_archive
from wasmos.servers.fs.image import Directory, File, Found, Image, ImageError, Link
from wasmos.servers.fs.imageworld import ImageWorld
from wasmos.servers.fs.sources import Bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO
    from zipfile import ZipFile, ZipInfo

    from wasmos.servers.fs.image import Node

MAX_ENTRIES = 262_144
MAX_DIRECTORY_BYTES = 16 << 20  # of the part of a zip that lists what is in it
MAX_FILE_BYTES = 64 << 20  # of one compressed file, unpacked
MAX_UNPACKED_BYTES = 128 << 20  # of all that are open
MAX_RATIO = 256  # unpacked to packed, of files above
FREE_BYTES = 1 << 20
MAX_LINK_BYTES = 4096  # forty long ones after each other are a path that takes long to walk
CHUNK_BYTES = 1 << 20  # unpacked at once
# Stored and deflate. What bzip2 and lzma unpack to, `zipfile` bounds by nothing: three kilobytes
# that claim to be 500 become gigabytes before anybody can count them.
_METHODS = (0, 8)
_ENCRYPTED = 0x1


def check_archive(path: str) -> None:
    """Raises UsageError if it can't be shown."""
    try:
        Archive(path).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"fs: archive {path!r}: {reason}; name a zip or tar file") from None
    except ImageError as error:
        raise UsageError(f"fs: archive {path!r}: {error}") from None


class Archive:
    """An archive that is open, and what it shows. Raises OSError, and ImageError, which names the
    member."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.descriptor = open_archive(path)
        try:
            found = os.fstat(self.descriptor)
            self.identity = found.st_dev, found.st_ino
            self.size = found.st_size
            self.unpacked = Budget(MAX_UNPACKED_BYTES)
            self._zip: ZipFile | None = None
            self.image = Image(max_entries=MAX_ENTRIES, max_bytes=MAX_DIRECTORY_BYTES)
            self._read()
        except BaseException:
            os.close(self.descriptor)
            raise

    def _read(self) -> None:
        if os.pread(self.descriptor, 4, 0) in (b"PK\3\4", b"PK\5\6"):
            self._zip = _read_zip(self)
        else:
            from wasmos.servers.fs.tar import scan_tar

            with os.fdopen(os.dup(self.descriptor), "rb") as file:
                file.seek(0)
                scan_tar(file, self.size, _Tar(self))

    def close(self) -> None:
        """What is open in it must have been closed before."""
        if self._zip is not None:
            self._zip.close()
        os.close(self.descriptor)

    def add(self, path: str, node: Node, modified_ns: int = 0) -> None:
        """A member, and the directories above it, as far as they are missing."""
        names = _names(path)
        if not names:
            if isinstance(node, Directory):
                return  # the root, which is there
            raise ImageError(f"{path!r}: a file without a name")
        try:
            self._add(names, path, node)
        except ServiceError as error:
            raise ImageError(f"{path}: {error}") from None
        modified_ns = min(modified_ns, (1 << 63) - 1)
        node.accessed_ns = node.modified_ns = node.changed_ns = modified_ns

    def _add(self, names: list[str], path: str, node: Node) -> None:
        """By names, where no link is followed: programs disagree about what is below one."""
        here = self.image.root
        for name in names[:-1]:
            inner = here.nodes.get(name)
            if inner is None:
                inner = Directory()
                self.image.add(Found(here, name, None, False), inner)
            if not isinstance(inner, Directory):
                raise ImageError(f"{path}: below what is no directory")
            here = inner
        there = here.nodes.get(names[-1])
        if there is None:
            self.image.add(Found(here, names[-1], None, False), node)
        elif not (isinstance(there, Directory) and isinstance(node, Directory)):
            raise ImageError(f"{path}: there twice")


class ArchiveWorld(ImageWorld):
    """What an archive shows."""

    def __init__(self, archive: Archive) -> None:
        super().__init__(archive.image, read_only=True)
        self._archive = archive

    def close(self) -> None:
        self._archive.close()


class Budget:
    """How much is unpacked."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0

    def take(self, size: int) -> None:
        if self.used + size > self.most:
            raise ServiceError(ErrorCode.NO_MEMORY, f"at most {self.most:,} bytes unpacked")
        self.used += size

    def give(self, size: int) -> None:
        self.used -= size


def _names(path: str) -> list[str]:
    if path.startswith("/"):
        raise ImageError(f"{path}: an absolute path")
    if "\0" in path:
        raise ImageError(f"{path!r}: no path")
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names:
        raise ImageError(f"{path}: a path that goes up")
    return names


# --- zip ---


class _Bounded:
    """The archive as zipfile reads it: it asks for as much as the archive says, so somebody else
    has to say how much is too much. Positions are its own, whoever else reads."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        left = max(self._size - self._at, 0)
        wanted = left if size < 0 else min(size, left)
        if wanted > MAX_DIRECTORY_BYTES:
            raise ImageError(f"more than {MAX_DIRECTORY_BYTES:,} bytes that list what is in it")
        data = os.pread(self._descriptor, wanted, self._at)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._at, self._size)[whence]
        if base + offset < 0:
            raise OSError("before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        """The archive closes its descriptor itself."""


def _read_zip(archive: Archive) -> ZipFile:
    import zipfile

    file: BinaryIO = _Bounded(archive.descriptor, archive.size)  # type: ignore[assignment]
    try:
        opened = zipfile.ZipFile(file)
    except ImageError:
        raise
    except Exception as error:  # whatever a damaged one makes of the parser
        raise ImageError(f"a damaged zip file ({error})") from None
    for member in opened.infolist():
        _add_member(archive, opened, member)
    return opened


def _add_member(archive: Archive, opened: ZipFile, member: ZipInfo) -> None:
    path = member.orig_filename
    mode = member.external_attr >> 16 if member.create_system == 3 else 0
    kind = stat.S_IFMT(mode)
    modified_ns = _modified_ns(member)
    if path.endswith("/") or kind == stat.S_IFDIR:
        archive.add(path, Directory(), modified_ns)
        return
    if kind not in (0, stat.S_IFREG, stat.S_IFLNK):
        raise ImageError(f"{path}: neither a file, a directory nor a link")
    if member.flag_bits & _ENCRYPTED:
        raise ImageError(f"{path}: encrypted")
    if member.compress_type not in _METHODS:
        raise ImageError(f"{path}: compressed in a way that isn't known here")
    if member.file_size > max(FREE_BYTES, MAX_RATIO * member.compress_size):
        raise ImageError(
            f"{path}: {member.file_size:,} bytes out of {member.compress_size:,}; "
            f"at most {MAX_RATIO} times as much"
        )
    if member.file_size > MAX_FILE_BYTES:
        raise ImageError(f"{path}: more than {MAX_FILE_BYTES:,} bytes, compressed")
    contents = _Packed(archive, opened, member)
    if kind == stat.S_IFLNK:
        archive.add(path, _link(contents, path), modified_ns)
        return
    file = File()
    file.source = contents
    archive.add(path, file, modified_ns)


def _check_link(size: int, path: str) -> None:
    if size > MAX_LINK_BYTES:
        raise ImageError(f"{path}: a link of {size:,} bytes")


def _link(contents: _Packed, path: str) -> Link:
    _check_link(contents.size, path)
    try:
        return Link(contents.all(MAX_LINK_BYTES).decode("utf-8", "surrogateescape"))
    except ServiceError as error:
        raise ImageError(f"{path}: {error}") from None


def _modified_ns(member: ZipInfo) -> int:
    import calendar

    try:
        return calendar.timegm((*member.date_time, 0, 0, 0)) * 1_000_000_000
    except (ValueError, OverflowError):
        return 0


class _Packed(Bytes):
    """A file in a zip."""

    __slots__ = ("_archive", "_data", "_member", "_opened", "size")

    def __init__(self, archive: Archive, opened: ZipFile, member: ZipInfo) -> None:
        self._archive = archive
        self._opened = opened
        self._member = member
        self._data: bytearray | None = None
        self.size = member.file_size

    def open(self) -> None:
        self._archive.unpacked.take(self.size)
        try:
            self._data = self.all(self.size)
        except BaseException:
            self._archive.unpacked.give(self.size)
            raise

    def close(self) -> None:
        if self._data is not None:
            self._data = None
            self._archive.unpacked.give(self.size)

    def read_into(self, offset: int, view: memoryview) -> int:
        assert self._data is not None
        with memoryview(self._data) as data, data[offset : offset + len(view)] as found:
            count = len(found)
            view[:count] = found
        return count

    def all(self, most: int) -> bytearray:
        """As much as the archive said, checked; never more."""
        if self.size > most:
            raise ServiceError(ErrorCode.NO_SPACE, f"more than {most:,} bytes")
        if self._data is not None:
            return bytearray(self._data)
        try:
            data = self._unpack()
        except Exception:  # whatever a damaged one makes of the parser
            raise ServiceError(ErrorCode.IO_ERROR, "damaged") from None
        if len(data) != self.size:
            raise ServiceError(ErrorCode.IO_ERROR, "damaged")
        return data

    def _unpack(self) -> bytearray:
        """What is there; of what is more than it should be only the next byte."""
        data = bytearray()
        with self._opened.open(self._member) as file:
            while piece := file.read(min(CHUNK_BYTES, self.size + 1 - len(data))):
                data += piece
        return data


# --- tar ---


class _Tar:
    """What the members of a tar file become."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def directory(self, path: str, modified_s: int) -> None:
        self._archive.add(path, Directory(), modified_s * 1_000_000_000)

    def link(self, path: str, target: str, modified_s: int) -> None:
        link = Link(target)
        _check_link(link.size, path)
        self._archive.add(path, link, modified_s * 1_000_000_000)

    def file(self, path: str, offset: int, size: int, modified_s: int) -> None:
        file = File()
        file.source = _Range(self._archive.descriptor, offset, size)
        self._archive.add(path, file, modified_s * 1_000_000_000)


class _Range(Bytes):
    """A part of the archive itself."""

    __slots__ = ("_descriptor", "_offset", "size")

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self.size = size

    def read_into(self, offset: int, view: memoryview) -> int:
        most = min(len(view), max(self.size - offset, 0))
        if not most:
            return 0
        with view[:most] as part:
            try:
                return os.preadv(self._descriptor, (part,), self._offset + offset)
            except OSError:
                raise ServiceError(ErrorCode.IO_ERROR) from None

    def all(self, most: int) -> bytearray:
        if self.size > most:
            raise ServiceError(ErrorCode.NO_SPACE, f"more than {most:,} bytes")
        data = bytearray(self.size)
        with memoryview(data) as view:
            at = 0
            while at < self.size:
                with view[at:] as rest:
                    count = self.read_into(at, rest)
                if not count:
                    raise ServiceError(ErrorCode.IO_ERROR, "the archive is cut off")
                at += count
        return data
