"""The table of functions, and what is made from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.personalities.wasi.conftest import Machine
from tests.personalities.wasi.fake_fs import FakeFs
from tests.personalities.wasi.fakes import FakeTcpip
from tests.personalities.wasi.test_faults import VALID, prepared
from wasmos import abi
from wasmos.engine import binary
from wasmos.kernel import Personality
from wasmos.personalities import wasi
from wasmos.personalities.wasi.functions import FUNCTIONS, PREPARING
from wasmos.personalities.wasi.page import page

ROOT = Path(__file__).parents[3]
I, L = "i32", "i64"
# The types of preview 1.
SIGNATURES = {
    "args_get": (I, I), "args_sizes_get": (I, I), "environ_get": (I, I),
    "environ_sizes_get": (I, I), "clock_res_get": (I, I), "clock_time_get": (I, L, I),
    "fd_advise": (I, L, L, I), "fd_allocate": (I, L, L), "fd_close": (I,), "fd_datasync": (I,),
    "fd_fdstat_get": (I, I), "fd_fdstat_set_flags": (I, I), "fd_fdstat_set_rights": (I, L, L),
    "fd_filestat_get": (I, I), "fd_filestat_set_size": (I, L),
    "fd_filestat_set_times": (I, L, L, I), "fd_pread": (I, I, I, L, I), "fd_prestat_get": (I, I),
    "fd_prestat_dir_name": (I, I, I), "fd_pwrite": (I, I, I, L, I), "fd_read": (I, I, I, I),
    "fd_readdir": (I, I, I, L, I), "fd_renumber": (I, I), "fd_seek": (I, L, I, I), "fd_sync": (I,),
    "fd_tell": (I, I), "fd_write": (I, I, I, I), "path_create_directory": (I, I, I),
    "path_filestat_get": (I, I, I, I, I), "path_filestat_set_times": (I, I, I, I, L, L, I),
    "path_link": (I, I, I, I, I, I, I), "path_open": (I, I, I, I, I, L, L, I, I),
    "path_readlink": (I, I, I, I, I, I), "path_remove_directory": (I, I, I),
    "path_rename": (I, I, I, I, I, I), "path_symlink": (I, I, I, I, I),
    "path_unlink_file": (I, I, I), "poll_oneoff": (I, I, I, I), "proc_exit": (I,),
    "proc_raise": (I,), "sched_yield": (), "random_get": (I, I), "sock_accept": (I, I, I),
    "sock_recv": (I, I, I, I, I, I), "sock_send": (I, I, I, I, I), "sock_shutdown": (I, I),
}  # fmt: skip


@pytest.mark.parametrize("personality", wasi.ALL, ids=lambda each: each.name)
def test_the_adapter_exports_what_the_table_says(personality: Personality) -> None:
    info = binary.parse(personality.wasm)
    found = {name: info.signature(name) for name in info.exports if name != "memory"}
    wanted = {
        function.name: (SIGNATURES[function.name], () if function.name == "proc_exit" else (I,))
        for function in FUNCTIONS
        if function.unstable or personality is wasi.PREVIEW1
    }
    assert found == wanted


def test_there_are_46_functions() -> None:
    assert len(FUNCTIONS) == len({function.name for function in FUNCTIONS}) == 46
    assert {function.name for function in FUNCTIONS} == set(SIGNATURES)


def test_the_messages_exist() -> None:
    assert {name for function in FUNCTIONS for name in function.messages} <= set(abi.RPCS)


@pytest.mark.parametrize(("name", "arguments"), VALID)
def test_no_other_messages_are_sent(
    machine: Machine, name: str, arguments: tuple[int, ...]
) -> None:
    machine.fs = FakeFs({"f": b"0123", "l": "f", "d": None})
    machine.tcpip = FakeTcpip([80], [b"hello", b"again"])
    machine.arguments, machine.environment = ["program"], {"A": "1"}
    calls, _ = prepared()
    machine.kernel.set_trace(True)
    before = {"path_open", "sock_accept", "fd_write"}  # what `prepared` and the last print use
    calls.add(name, *map(int, arguments))
    assert machine.run(calls).errnos[-1] == 0
    allowed = {
        message
        for function in FUNCTIONS
        if function.name in {name, *before}
        for message in function.messages
    }
    names = {rpc.request.TYPE: message for message, rpc in abi.RPCS.items()}
    sent = {names[event.type] for event in machine.kernel.events() if event.kind == "call"}
    assert sent <= allowed | set(PREPARING)
    assert len(sent) > 5


def test_the_page_is_up_to_date() -> None:
    path = ROOT / "docs/reference/wasi.md"
    assert path.read_text() == page(), "run python -m wasmos.personalities.wasi"
