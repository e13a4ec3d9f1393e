"""Two trees, one inside of a granted directory and one outside: what is outside must stay as it
is, and stay unread."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wasmos.servers.fs.resolve import Openat2, Resolver, Walk, best

SECRET = b"outside"
# Both wherever the machine has both; elsewhere the one there is.
RESOLVERS: list[Resolver] = [Walk(), best()] if isinstance(best(), Openat2) else [Walk()]
NAMES = [type(resolver).__name__ for resolver in RESOLVERS]


def digest(directory: Path) -> str:
    """Of everything below: names, kinds, modes, identities, times of change, contents."""
    found = hashlib.sha256()
    for path in [directory, *sorted(directory.rglob("*"))]:
        status = path.lstat()
        kind = (status.st_mode, status.st_ino, status.st_nlink, status.st_mtime_ns)
        found.update(repr((str(path), kind)).encode())
        if stat.S_ISREG(status.st_mode):
            found.update(path.read_bytes())
        elif stat.S_ISLNK(status.st_mode):
            found.update(os.fsencode(path.readlink()))
    return found.hexdigest()


def make_outside(where: Path) -> Path:
    outside = where / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "empty").mkdir()
    (outside / "secret").write_bytes(SECRET)
    (outside / "sub" / "deep").write_bytes(SECRET)
    return outside


def make_inside(where: Path) -> Path:
    """A file `f`, an empty directory `e`, and `d/sub/deep` with something in it."""
    inside = where / "inside"
    (inside / "d" / "sub").mkdir(parents=True)
    (inside / "e").mkdir()
    (inside / "f").write_bytes(b"file")
    (inside / "d" / "sub" / "deep").write_bytes(b"deep")
    return inside


# Each link that a tree may have planted, and where it leads; {outside} and {inside} are absolute.
LINKS = {
    "abs": "{outside}/secret",
    "absdir": "{outside}",
    "rel": "../outside/secret",
    "reldir": "../outside",
    "dots": "./.././outside/secret",
    "up": "..",
    "upslash": "../",
    "d/up2": "../..",
    "d/sub/up3": "../../../outside",
    "viadir": "d/sub/../../../outside/secret",
    "slashes": "..//outside//secret",
    "slashroot": "/",
    "manyslashes": "///",
    "inabs": "{inside}/f",  # it leads inside, but not from the directory that was granted
    "back": "../inside/f",  # out, and in again
    "chain1": "chain2",
    "chain2": "d/chain3",
    "d/chain3": "../reldir",
    "chainup": "up/outside/secret",
    "tofile": "reldir/secret",
    "dangling": "../outside/new",
    "danglingabs": "{outside}/new",
    "procroot": "/proc/self/root",
    "procfd": "/proc/self/fd",
    "procfd0": "/proc/self/fd/0",
    "proccwd": "/proc/self/cwd",
    "procexe": "/proc/self/exe",
    "proctask": "/proc/thread-self/root",
    "devfd": "/dev/fd",
    "devnull": "/dev/null",
    "deepup": "../" * 64,
}
LOOPS = {"loop": "loop", "loopa": "loopb", "loopb": "./loopa", "loopdir": "loopdir/x"}


def plant(inside: Path, outside: Path) -> None:
    for name, target in (LINKS | LOOPS).items():
        (inside / name).symlink_to(target.format(inside=inside, outside=outside))


def renew(inside: Path, outside: Path) -> None:
    """What a thief may have taken away or exchanged."""
    for name, target in (LINKS | LOOPS).items():
        text = target.format(inside=inside, outside=outside)
        with suppress(OSError):
            if os.readlink(inside / name) == text:
                continue
        with suppress(OSError):
            os.unlink(inside / name)
        with suppress(OSError):
            os.symlink(text, inside / name)
    (inside / "victim").write_bytes(b"victim")
    with suppress(OSError):
        os.unlink(inside / "e" / "taken")


@contextmanager
def plant_specials(inside: Path) -> Iterator[list[str]]:
    """A fifo, a socket, links to them, and devices if we may make some."""
    os.mkfifo(inside / "fifo")
    (inside / "tofifo").symlink_to("fifo")
    names = ["fifo", "socket", "tofifo", "tosocket", "e/../fifo"]
    (inside / "tosocket").symlink_to("socket")
    if os.geteuid() == 0:
        for name, kind in (("chr", stat.S_IFCHR), ("blk", stat.S_IFBLK)):
            try:
                os.mknod(inside / name, kind | 0o666, os.makedev(1, 3))
            except PermissionError:  # in a container
                continue
            names.append(name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str((inside / "socket").relative_to(Path.cwd())))
        yield names


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))
