"""What each function of preview 1 takes."""

from __future__ import annotations

N, L = "i32", "i64"
SIGNATURES = {
    "args_get": (N, N), "args_sizes_get": (N, N), "environ_get": (N, N),
    "environ_sizes_get": (N, N), "clock_res_get": (N, N), "clock_time_get": (N, L, N),
    "fd_advise": (N, L, L, N), "fd_allocate": (N, L, L), "fd_close": (N,), "fd_datasync": (N,),
    "fd_fdstat_get": (N, N), "fd_fdstat_set_flags": (N, N), "fd_fdstat_set_rights": (N, L, L),
    "fd_filestat_get": (N, N), "fd_filestat_set_size": (N, L),
    "fd_filestat_set_times": (N, L, L, N), "fd_pread": (N, N, N, L, N), "fd_prestat_get": (N, N),
    "fd_prestat_dir_name": (N, N, N), "fd_pwrite": (N, N, N, L, N), "fd_read": (N, N, N, N),
    "fd_readdir": (N, N, N, L, N), "fd_renumber": (N, N), "fd_seek": (N, L, N, N), "fd_sync": (N,),
    "fd_tell": (N, N), "fd_write": (N, N, N, N), "path_create_directory": (N, N, N),
    "path_filestat_get": (N, N, N, N, N), "path_filestat_set_times": (N, N, N, N, L, L, N),
    "path_link": (N, N, N, N, N, N, N), "path_open": (N, N, N, N, N, L, L, N, N),
    "path_readlink": (N, N, N, N, N, N), "path_remove_directory": (N, N, N),
    "path_rename": (N, N, N, N, N, N), "path_symlink": (N, N, N, N, N),
    "path_unlink_file": (N, N, N), "poll_oneoff": (N, N, N, N), "proc_exit": (N,),
    "proc_raise": (N,), "sched_yield": (), "random_get": (N, N), "sock_accept": (N, N, N),
    "sock_recv": (N, N, N, N, N, N), "sock_send": (N, N, N, N, N), "sock_shutdown": (N, N),
}  # fmt: skip
