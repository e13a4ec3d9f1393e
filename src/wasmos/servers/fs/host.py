"""Images from and to the host: directories, and the choice between them and archives.

Law: nothing outside of what the host named is read or written. Symbolic links are never
followed, each step is taken from an opened directory, and what stands at the destination is the
old contents or all of the new ones.
"""

from __future__ import annotations

import os
import stat

from wasmos.errors import ServiceError
from wasmos.servers.fs.image import Directory, File, Image, ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    PathLike: TypeAlias = str | os.PathLike[str]
    # A path within the directory, and why it isn't in the image.
    Skipped: TypeAlias = tuple[str, str]

CHUNK_BYTES = 1 << 20
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A fifo that took a file's place must not make us wait for its writer.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


def load(source: PathLike, image: Image) -> list[Skipped]:
    """Fill an image from a host directory or a tar file.

    Returns what a directory has that an image can't have: links, devices, fifos, sockets. In an
    archive these are errors. Raises ImageError, which names the entry, and then the image is
    half full: throw it away; or OSError for the source itself.
    """
    if os.path.isdir(source):
        return load_directory(source, image)
    from wasmos.servers.fs.tar import read_tar

    with os.fdopen(open_archive(source), "rb") as file:
        read_tar(file, image)
    return []


def open_archive(path: PathLike) -> int:
    """A file that may be an archive, to be read. Raises OSError, and ImageError for what can't be
    one: of that nothing is opened, as opening waits for somebody or makes a device do something."""
    _check_regular(os.stat(path).st_mode)
    descriptor = os.open(path, _OPEN_FILE & ~os.O_NOFOLLOW)
    try:
        _check_regular(os.fstat(descriptor).st_mode)  # another may have taken its place
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ImageError(f"{kind_of(mode)} and no archive")


def kind_of(mode: int) -> str:
    """What something of the host is, for people."""
    if stat.S_ISREG(mode):
        return "a file"
    return "a directory" if stat.S_ISDIR(mode) else _KINDS.get(stat.S_IFMT(mode), "of no kind")


def save(image: Image, target: PathLike, *, replace: bool = False) -> None:
    """Write an image to a tar file, if the name ends in `.tar`, or else to a directory. A file with
    several names becomes several files. Links are left out: a guest wrote their texts, and what
    they say inside of an image may lead to anything of the host's."""
    if os.fspath(target).endswith(".tar"):
        save_tar(image, target)
    else:
        save_directory(image, target, replace=replace)


# --- from a directory ---


def load_directory(source: PathLike, image: Image) -> list[Skipped]:
    """Fill an image from a host directory; what was left out. Errors as `load`."""
    skipped: list[Skipped] = []
    root = os.open(source, _OPEN_DIRECTORY)
    try:
        _load_below(root, "", image, skipped)
    finally:
        os.close(root)
    return skipped


def _load_below(directory: int, prefix: str, image: Image, skipped: list[Skipped]) -> None:
    for raw, mode in _list(directory, prefix, image.max_entries - len(skipped)):
        path = prefix + raw.decode("utf-8", "surrogateescape")
        kind = stat.S_IFMT(mode)
        if kind in _KINDS:
            skipped.append((path, _KINDS[kind]))
            continue
        try:
            if kind == stat.S_IFDIR:
                _load_child(directory, raw, path, image, skipped)
            else:
                _load_file(directory, raw, path, image)
        except ServiceError as error:
            raise ImageError(f"{path}: {error}") from None
        except OSError as error:
            raise ImageError(f"{path}: {error.strerror}") from None


def _list(directory: int, prefix: str, most: int) -> list[tuple[bytes, int]]:
    """Names and modes, in order; `most` bounds what a host's directory makes us remember."""
    found: list[tuple[bytes, int]] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if len(found) >= most:
                raise ImageError(f"{prefix or '.'}: more entries than an image can have")
            found.append((os.fsencode(entry.name), entry.stat(follow_symlinks=False).st_mode))
    return sorted(found)


def _load_child(parent: int, raw: bytes, path: str, image: Image, skipped: list[Skipped]) -> None:
    image.make_directory(path)
    child = os.open(raw, _OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        _load_below(child, path + "/", image, skipped)
    finally:
        os.close(child)


def _load_file(parent: int, raw: bytes, path: str, image: Image) -> None:
    file = image.make_file(path)
    descriptor = os.open(raw, _OPEN_FILE, dir_fd=parent)
    try:
        # It may have been exchanged since it was listed.
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ImageError(f"{path}: changed while it was read")
        while chunk := os.read(descriptor, CHUNK_BYTES):
            image.write(file, len(file.data), chunk)
    finally:
        os.close(descriptor)


# --- to a directory or an archive ---


def save_directory(image: Image, target: PathLike, *, replace: bool = False) -> None:
    """Write an image to a directory that is new or empty.

    replace: whether one with something in it may be replaced; all of it goes, also what an
        image can't have.
    """

    def write(parent: int, temporary: str) -> None:
        os.mkdir(temporary, dir_fd=parent)
        descriptor = os.open(temporary, _OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            _save_below(descriptor, "", image.root)
        finally:
            os.close(descriptor)

    _write_beside(target, stat.S_IFDIR, write, _exchange if replace else _rename)


def save_tar(image: Image, target: PathLike) -> None:
    """Write an image to a tar file, in place of one that is there. The same image always
    becomes the same bytes."""

    def write(parent: int, temporary: str) -> None:
        from wasmos.servers.fs.tar import write_tar

        with os.fdopen(os.open(temporary, _CREATE, 0o666, dir_fd=parent), "wb") as file:
            write_tar(image, file)
            file.flush()
            os.fsync(file.fileno())

    _write_beside(target, stat.S_IFREG, write, _rename)


def _save_below(directory: int, prefix: str, tree: Directory) -> None:
    for name in tree.names:
        path, node = prefix + name, tree.nodes[name]
        raw = _checked(name, path)
        try:
            if isinstance(node, Directory):
                os.mkdir(raw, dir_fd=directory)
                child = os.open(raw, _OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
                try:
                    _save_below(child, path + "/", node)
                finally:
                    os.close(child)
            elif isinstance(node, File):
                with os.fdopen(os.open(raw, _CREATE, 0o666, dir_fd=directory), "wb") as file:
                    file.write(node.data)
        except FileExistsError:
            # On a host that takes `A` and `a` for the same.
            raise ImageError(f"{path}: the host takes it for another entry") from None
        except OSError as error:
            raise ImageError(f"{path}: {error.strerror}") from None


def _checked(name: str, path: str) -> bytes:
    """A name as the host's bytes. An image has no such names: whoever put one there by hand
    must not get out of the directory by it."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ImageError(f"{path!r}: not a name")
    return name.encode("utf-8", "surrogateescape")


def _write_beside(
    target: PathLike,
    kind: int,
    write: Callable[[int, str], None],
    take_place: Callable[[int, str, str], None],
) -> None:
    """Let `write` make something under a new name next to `target`, then let it take its place."""
    where, name = os.path.split(os.path.abspath(target))
    temporary = f".wasmos-{os.urandom(8).hex()}"
    parent = os.open(where, _OPEN_DIRECTORY)
    try:
        _check_target(parent, name, kind, os.fspath(target))
        try:
            write(parent, temporary)
            take_place(parent, temporary, name)
        except BaseException as error:
            _remove(parent, temporary)
            if isinstance(error, OSError):
                raise ImageError(f"{os.fspath(target)}: {error.strerror}") from None
            raise
    finally:
        os.close(parent)


def _check_target(parent: int, name: str, kind: int, target: str) -> None:
    if not name:
        raise ImageError(f"{target}: can't be replaced")
    try:
        found = stat.S_IFMT(os.lstat(name, dir_fd=parent).st_mode)
    except FileNotFoundError:
        return
    if found != kind:
        raise ImageError(f"{target}: {kind_of(found)} is there; name another place")


def _rename(parent: int, temporary: str, name: str) -> None:
    os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)


def _exchange(parent: int, temporary: str, name: str) -> None:
    """Between the two steps nothing is there; the old contents come back if the second fails."""
    old = temporary + "-old"
    try:
        _rename(parent, name, old)
    except FileNotFoundError:
        _rename(parent, temporary, name)
        return
    try:
        _rename(parent, temporary, name)
    except BaseException:
        _rename(parent, old, name)
        raise
    _remove(parent, old)


def _remove(parent: int, name: str) -> None:
    """Away with what we made, or replaced; it may not be there."""
    import shutil

    try:
        if stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            shutil.rmtree(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
