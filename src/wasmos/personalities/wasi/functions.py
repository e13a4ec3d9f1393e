"""The functions of WASI: what each becomes.

Law: this table is what there is. The adapter exports these functions and no others, each sends
these messages and no others, and docs/reference/wasi.md is made from it.
"""

from __future__ import annotations

FULL = "full"
REFUSED = "refused"


class Function:
    """`messages`: what it may send, apart from looking for directories and listeners when the
    first descriptor above 2 is used. `note`: what differs from the specification, or from what
    one would think."""

    __slots__ = ("level", "messages", "name", "note", "unstable")

    def __init__(
        self,
        name: str,
        *messages: str,
        level: str = FULL,
        note: str = "",
        unstable: bool = True,
    ) -> None:
        self.name = name
        self.messages = messages
        self.level = level
        self.note = note
        self.unstable = unstable  # whether `wasi_unstable` has it, too


# What is sent, once, when the first descriptor above 2 is used.
PREPARING = ("fs_root", "tcpip_listener", "tcpip_listen")

_READ = ("console_poll", "console_take", "fs_read_at", "tcpip_receive")
_WRITE = ("console_put", "fs_write_at", "tcpip_send")
_CLOCKS = "all four clocks; ENOTCAPABLE without `clock`"
_FOLLOWS = "`..` above the directory is EPERM, whatever links there are"

FUNCTIONS = (
    Function("args_get", "args_read", note="none without `args`; the first is the file's name"),
    Function("args_sizes_get", "args_read", note="none without `args`"),
    Function("environ_get", "env_read", note="none without `env`; only those it may read"),
    Function("environ_sizes_get", "env_read", note="as `environ_get`"),
    Function("clock_res_get", "clock_resolution", note=_CLOCKS),
    Function("clock_time_get", "clock_get", note=_CLOCKS),
    Function("fd_advise", "fs_advise"),
    Function("fd_allocate", "fs_allocate"),
    Function("fd_close", "fs_close_file", "tcpip_destroy"),
    Function("fd_datasync", "fs_sync"),
    Function("fd_fdstat_get", "console_terminals"),
    Function("fd_fdstat_set_flags", "fs_set_flags", note="files; for input and sockets NONBLOCK"),
    Function("fd_fdstat_set_rights", note="what was given up is missing from then on: ENOTCAPABLE"),
    Function("fd_filestat_get", "fs_open_file", "fs_stat_file", "console_terminals"),
    Function("fd_filestat_set_size", "fs_resize"),
    Function("fd_filestat_set_times", "fs_open_file", "fs_set_file_times"),
    Function("fd_pread", "fs_read_at"),
    Function("fd_prestat_get"),
    Function("fd_prestat_dir_name"),
    Function("fd_pwrite", "fs_write_at", note="goes to the end of a file that was opened so"),
    Function("fd_read", *_READ, note="EBADF for input without `console`"),
    Function("fd_readdir", "fs_open_file", "fs_list"),
    Function("fd_renumber", "fs_close_file", "tcpip_destroy"),
    Function("fd_seek", "fs_stat_file"),
    Function("fd_sync", "fs_sync"),
    Function("fd_tell"),
    Function("fd_write", *_WRITE, note="EBADF for output without `console`"),
    Function("path_create_directory", "fs_make_directory", note=_FOLLOWS),
    Function("path_filestat_get", "fs_stat", note=_FOLLOWS),
    Function("path_filestat_set_times", "fs_set_times", note=_FOLLOWS),
    Function("path_link", "fs_link", note=_FOLLOWS),
    Function("path_open", "fs_open_file", note=_FOLLOWS),
    Function("path_readlink", "fs_read_link", note=_FOLLOWS),
    Function("path_remove_directory", "fs_remove_directory", note=_FOLLOWS),
    Function("path_rename", "fs_rename", note=_FOLLOWS),
    Function("path_symlink", "fs_make_link", note="EPERM for a target that begins with `/`"),
    Function("path_unlink_file", "fs_remove_file", note=_FOLLOWS),
    Function(
        "poll_oneoff",
        "clock_get", "clock_wait", "clock_set_alarm", "clock_clear_alarm",
        "console_poll", "fs_stat_file", "tcpip_poll",
    ),
    Function("proc_exit", note="any code"),
    Function("proc_raise", level=REFUSED, note="ENOTSUP: there are no signals"),
    Function("sched_yield"),
    Function("random_get", "random_get", note="ENOTCAPABLE without `random`"),
    Function("sock_accept", "tcpip_accept", unstable=False),
    Function("sock_recv", "tcpip_receive"),
    Function("sock_send", "tcpip_send"),
    Function("sock_shutdown", "tcpip_shutdown"),
)  # fmt: skip
