"""A call of every function that has a pointer, with nothing wrong in it."""

from __future__ import annotations

import struct

from tests.personalities.wasi.calls import RIGHTS, Calls

PART, NAME, OTHER, SUBSCRIPTION = 512, 600, 616, 640


class P(int):
    """A valid address, and how many bytes from there on are used."""

    size: int

    def __new__(cls, at: int, size: int) -> P:
        made = super().__new__(cls, at)
        made.size = size
        return made


# Descriptors: 3 is "/", 4 a listener, 5 a file, 6 a connection. At PART stands a part of memory
# (NAME, 1), at NAME and OTHER a name each.
RESULT, LONG = P(0, 4), P(0, 8)
VALID: list[tuple[str, tuple[int, ...]]] = [
    ("args_get", (P(0, 4), P(16, 8))),
    ("args_sizes_get", (RESULT, P(4, 4))),
    ("environ_get", (P(0, 4), P(16, 4))),
    ("environ_sizes_get", (RESULT, P(4, 4))),
    ("clock_res_get", (0, LONG)),
    ("clock_time_get", (0, 0, LONG)),
    ("fd_fdstat_get", (5, P(0, 24))),
    ("fd_filestat_get", (5, P(0, 64))),
    ("fd_filestat_get", (1, P(0, 64))),
    ("fd_pread", (5, P(PART, 8), 1, 0, RESULT)),
    ("fd_prestat_get", (3, LONG)),
    ("fd_prestat_dir_name", (3, P(0, 1), 1)),
    ("fd_pwrite", (5, P(PART, 8), 1, 0, RESULT)),
    ("fd_read", (0, P(PART, 8), 1, RESULT)),
    ("fd_read", (5, P(PART, 8), 1, RESULT)),
    ("fd_read", (6, P(PART, 8), 1, RESULT)),
    ("fd_readdir", (3, P(16, 100), 100, 0, RESULT)),
    ("fd_seek", (5, 1, 0, LONG)),
    ("fd_tell", (5, LONG)),
    ("fd_write", (1, P(PART, 8), 1, RESULT)),
    ("fd_write", (1, P(PART, 16), 2, RESULT)),
    ("fd_write", (5, P(PART, 8), 1, RESULT)),
    ("fd_write", (6, P(PART, 8), 1, RESULT)),
    ("path_create_directory", (3, P(OTHER, 3), 3)),
    ("path_filestat_get", (3, 0, P(NAME, 1), 1, P(0, 64))),
    ("path_filestat_set_times", (3, 0, P(NAME, 1), 1, 7, 7, 5)),
    ("path_link", (3, 0, P(NAME, 1), 1, 3, P(OTHER, 3), 3)),
    ("path_open", (3, 0, P(OTHER, 3), 3, 1, RIGHTS, 0, 0, RESULT)),
    ("path_readlink", (3, P(NAME + 1, 1), 1, P(16, 9), 9, RESULT)),
    ("path_remove_directory", (3, P(NAME + 2, 1), 1)),
    ("path_rename", (3, P(NAME, 1), 1, 3, P(OTHER, 3), 3)),
    ("path_symlink", (P(NAME, 1), 1, 3, P(OTHER, 3), 3)),
    ("path_unlink_file", (3, P(NAME, 1), 1)),
    ("poll_oneoff", (P(SUBSCRIPTION, 48), P(16, 32), 1, RESULT)),
    ("random_get", (P(0, 16), 16)),
    ("sock_accept", (4, 0, RESULT)),
    ("sock_recv", (6, P(PART, 8), 1, 0, RESULT, P(4, 2))),
    ("sock_send", (6, P(PART, 8), 1, 0, RESULT)),
]


def prepared() -> tuple[Calls, int]:
    """Calls that have opened what VALID speaks of; how many bytes they wrote, from 1000 on."""
    calls = Calls()
    calls.put(PART, struct.pack("<IIII", NAME, 1, NAME, 1))
    calls.put(NAME, b"fldx")
    calls.put(OTHER, b"new")
    calls.put(SUBSCRIPTION, struct.pack("<QQI4xQQQ", 5, 0, 1, 1000, 0, 0))
    calls.add("path_open", 3, 0, NAME, 1, 0, 0x42, 0, 0, 1000)
    calls.add("sock_accept", 4, 0, 1004)
    return calls, 8
