"""What a message does, in words for people, where its name isn't English.

Law: it stands after "may"; nothing is decided by it.
"""

from __future__ import annotations

SPOKEN = {
    "args_read": "read all of its arguments",
    "clock_get": "read clocks",
    "clock_resolution": "ask how exact clocks are",
    "clock_wait": "wait for a time",
    "clock_set_alarm": "set alarms",
    "clock_clear_alarm": "clear alarms",
    "console_put": "print",
    "console_take": "read input",
    "console_poll": "ask whether there is input",
    "console_terminals": "ask whether it has a terminal",
    "env_read": "read all of its variables",
    "fs_root": "ask which places it has",
    "fs_open_file": "open",
    "fs_close_file": "close what is open",
    "fs_read_at": "read from what is open",
    "fs_write_at": "write to what is open",
    "fs_list": "list what is open",
    "fs_stat": "look",
    "fs_set_times": "set times",
    "fs_make_directory": "make a directory",
    "fs_remove_directory": "remove a directory",
    "fs_remove_file": "remove a file",
    "fs_make_link": "make a link",
    "fs_read_link": "read a link",
    "random_get": "have random bytes",
    "tcpip_listener": "ask which ports it has",
}
