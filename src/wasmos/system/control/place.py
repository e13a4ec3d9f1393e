"""Where the sockets of running systems are.

Law: a folder that isn't its owner's alone is not used, neither to listen nor to connect: whoever
could write there could put a socket of his own in the place of ours. A socket under its final name
is being listened to; one that isn't, and whose process is gone, is removed by who finds it.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from itertools import count

from wasmos.errors import ControlError
from wasmos.system.control.later import VARIABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

MAX_PATH_BYTES = 103  # what macOS has room for; Linux has four more
MAX_NAME = 32
ENDING = ".sock"
NEW = ".new"  # what isn't listened to yet
_SOCKET = re.compile(r"(?P<name>[\w.-]+?)-(?P<pid>\d{1,10})(-\d+)?\.sock(\.new)?", re.ASCII)
_serial = count(1)  # more than one system of a process


class Address:
    """The socket of a system: its `name`, the `pid` of its process, and the `path`."""

    __slots__ = ("name", "path", "pid")

    def __init__(self, path: str, name: str, pid: int) -> None:
        self.path = path
        self.name = name
        self.pid = pid

    def __repr__(self) -> str:
        return f"<Address {self.path}>"


def folders(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Where sockets can be: the best place first."""
    chosen = environment.get(VARIABLE, "")
    if os.path.isabs(chosen):
        return [chosen]
    found = []
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and _is_ours(runtime):
        found.append(os.path.join(runtime, "wasmos"))
    return [*found, f"/tmp/wasmos-{os.geteuid()}"]


def _is_ours(folder: str) -> bool:
    """Whether nobody else can rename what is in it. `sudo` may leave another user's here."""
    try:
        found = os.stat(folder)
    except OSError:
        return False
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


def choose(name: str) -> tuple[str, str]:
    """A folder, made if need be, and a new socket's name in it. Raises ControlError, OSError."""
    serial = next(_serial)
    more = "" if serial == 1 else f"-{serial}"
    file = f"{short(name)}-{os.getpid()}{more}{ENDING}"
    for folder in folders():
        if len(os.fsencode(os.path.join(folder, file + NEW))) <= MAX_PATH_BYTES:
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            check(folder)
            return folder, file
    raise ControlError(f"{folders()[0]}: the path is too long for a socket; set {VARIABLE}")


def short(name: str) -> str:
    """A system's name as a part of a file's."""
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name)[:MAX_NAME].strip(".") or "system"


def check(folder: str) -> None:
    """Raises ControlError if a folder isn't its owner's alone, OSError if it isn't there."""
    found = os.lstat(folder)
    problem = ""
    if stat.S_ISLNK(found.st_mode):
        problem = "is a symbolic link"
    elif not stat.S_ISDIR(found.st_mode):
        problem = "is not a directory"
    elif found.st_uid != os.geteuid():
        problem = f"belongs to user {found.st_uid}"
    elif found.st_mode & 0o077:
        problem = f"is open to others (mode {stat.S_IMODE(found.st_mode):o})"
    elif not _holds(os.path.dirname(folder)):
        problem = "is in a directory where others can rename it"
    if problem:
        raise ControlError(
            f"control: {folder} {problem}, so it is not used; "
            f"remove it, or set {VARIABLE} to a directory of your own"
        )


def _holds(parent: str) -> bool:
    """Whether others can't take away what is ours in it."""
    found = os.stat(parent)
    trusted = found.st_uid in (0, os.geteuid())
    return trusted and bool(found.st_mode & stat.S_ISVTX or not found.st_mode & 0o022)


def addresses() -> list[Address]:
    """The systems that run, by name; what dead ones left is removed. Raises ControlError if none
    was found, and a folder where one could be isn't used."""
    found, refused = [], None
    for folder in folders():
        try:
            check(folder)
        except FileNotFoundError:
            continue
        except ControlError as error:
            # Anybody can make one of these in /tmp: that mustn't hide those in the other place.
            refused = error
            continue
        found += [address for address in _in(folder) if not _is_stale(address)]
    if refused is not None and not found:
        raise refused
    return sorted(found, key=lambda address: (address.name, address.pid))


def sweep(folder: str) -> None:
    """Remove what dead systems left."""
    for address in _in(folder, new=True):
        _is_stale(address)


def _in(folder: str, new: bool = False) -> list[Address]:
    found = []
    for file in os.listdir(folder):
        match = _SOCKET.fullmatch(file)
        if match is None or (match[4] and not new):
            continue
        path = os.path.join(folder, file)
        try:
            is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
        except FileNotFoundError:
            continue
        if is_socket:
            found.append(Address(path, match["name"], int(match["pid"])))
    return found


def _is_stale(address: Address) -> bool:
    """Whether nobody listens there; it is removed if nobody ever will again."""
    if not _is_dead(address.pid):
        return False
    # A process of another container has a number of its own, so ask the socket.
    if _listens(address.path):
        return False
    with suppress(FileNotFoundError):
        os.unlink(address.path)
    return True


def _is_dead(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return False


def _listens(path: str) -> bool:
    connection = new_socket()
    try:
        connection.settimeout(1.0)
        connection.connect(path)
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except OSError:
        return True  # busy
    finally:
        connection.close()
    return True


def new_socket() -> socket.socket:
    import socket

    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def listen(name: str) -> tuple[socket.socket, str]:
    """A socket that is listened to, and its path. Raises ControlError, OSError."""
    folder, file = choose(name)
    sweep(folder)
    path = os.path.join(folder, file)
    listening = new_socket()
    try:
        # Under another name until it listens: what doesn't is taken for a dead one's.
        _bind(listening, path + NEW)
        listening.listen(16)
        listening.setblocking(False)
        os.rename(path + NEW, path)
    except OSError:
        listening.close()
        raise
    return listening, path


def _bind(listening: socket.socket, path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)  # of a process that had our number
    listening.bind(path)
    os.chmod(path, 0o600)
