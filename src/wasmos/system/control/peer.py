"""Who is at the other end of a Unix socket, as the operating system says.

Law: what the other end says of itself counts for nothing here.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

SYSTEM = os.uname().sysname
_LOCAL_PEERPID = 2  # macOS
_SOL_LOCAL = 0


def peer(connection: socket.socket) -> tuple[int, int]:
    """The user's number, and the process's, 0 if the system doesn't say. Raises OSError."""
    import socket

    if SYSTEM == "Linux":  # elsewhere the option means something else, if anything
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, uid = (int.from_bytes(raw[at : at + 4], sys.byteorder) for at in (0, 4))
        return uid, pid
    return _getpeereid(connection), _pid(connection)


def _getpeereid(connection: socket.socket) -> int:
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    uid, gid = ctypes.c_uint32(), ctypes.c_uint32()
    if library.getpeereid(connection.fileno(), ctypes.byref(uid), ctypes.byref(gid)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return uid.value


def _pid(connection: socket.socket) -> int:
    if SYSTEM != "Darwin":
        return 0
    try:
        return connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID)
    except OSError:
        return 0
