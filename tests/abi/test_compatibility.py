"""WasmOS's own 66 messages, number by number and byte by byte.

Law: this table is never edited. A guest binary compiled for WasmOS relies on every row of it; a
change that breaks one of these tests breaks that guest.
"""

from __future__ import annotations

import pytest

from wasmos import abi

# number, name, bytes of payload, then name:type@offset+size of each member of the C struct.
TABLE = """
1 exception 8 task:task@8+4 reason:int@12+4
2 page_fault 16 task:task@8+4 uaddr:uint32@12+4 ip:uint32@16+4 fault:uint32@20+4
3 page_fault_reply 0
4 notify 4 notifications:uint32@8+4
5 notify_irq 0
6 notify_timer 0
7 async_recv 0
8 async_recv_reply 0
9 ping 4 value:int@8+4
10 ping_reply 4 value:int@8+4
11 spawn_task 32 name:char[32]@8+32
12 spawn_task_reply 4 task:task@8+4
13 destroy_task 4 task:task@8+4
14 destroy_task_reply 0
15 service_lookup 64 name:char[64]@8+64
16 service_lookup_reply 4 task:task@8+4
17 service_register 64 name:char[64]@8+64
18 service_register_reply 0
19 watch_tasks 0
20 watch_tasks_reply 0
21 task_destroyed 4 task:task@8+4
22 vm_map_physical 12 paddr:uint32@8+4 size:uint32@12+4 map_flags:int@16+4
23 vm_map_physical_reply 4 uaddr:uint32@8+4
24 vm_alloc_physical 12 size:uint32@8+4 alloc_flags:int@12+4 map_flags:int@16+4
25 vm_alloc_physical_reply 8 uaddr:uint32@8+4 paddr:uint32@12+4
26 blk_read 12 sector:uint32@8+4 offset:uint32@12+4 len:uint32@16+4
27 blk_read_reply 1028 data:uint8[1024]@8+1024 data_len:uint32@1032+4
28 blk_write 1036 sector:uint32@8+4 offset:uint32@12+4 data:uint8[1024]@16+1024 data_len:uint32@1040+4
29 blk_write_reply 0
30 net_open 0
31 net_open_reply 6 macaddr:uint8[6]@8+6
32 net_recv 1504 payload:uint8[1500]@8+1500 payload_len:uint32@1508+4
33 net_send 1504 payload:uint8[1500]@8+1500 payload_len:uint32@1508+4
34 net_send_reply 0
35 fs_open 260 path:char[256]@8+256 flags:int@264+4
36 fs_open_reply 4 fd:int@8+4
37 fs_close 4 fd:int@8+4
38 fs_close_reply 0
39 fs_read 8 fd:int@8+4 len:uint32@12+4
40 fs_read_reply 1028 data:uint8[1024]@8+1024 data_len:uint32@1032+4
41 fs_write 1032 fd:int@8+4 data:uint8[1024]@12+1024 data_len:uint32@1036+4
42 fs_write_reply 4 written_len:uint32@8+4
43 fs_readdir 260 path:char[256]@8+256 index:int@264+4
44 fs_readdir_reply 264 name:char[256]@8+256 type:int@264+4 filesize:uint32@268+4
45 fs_mkfile 256 path:char[256]@8+256
46 fs_mkfile_reply 0
47 fs_mkdir 256 path:char[256]@8+256
48 fs_mkdir_reply 0
49 fs_delete 256 path:char[256]@8+256
50 fs_delete_reply 0
51 tcpip_connect 8 dst_addr:uint32@8+4 dst_port:uint16@12+2
52 tcpip_connect_reply 4 sock:int@8+4
53 tcpip_listen 2 listen_port:uint16@8+2
54 tcpip_listen_reply 4 sock:int@8+4
55 tcpip_destroy 4 sock:int@8+4
56 tcpip_destroy_reply 0
57 tcpip_write 1032 sock:int@8+4 data:uint8[1024]@12+1024 data_len:uint32@1036+4
58 tcpip_write_reply 0
59 tcpip_read 4 sock:int@8+4
60 tcpip_read_reply 1028 data:uint8[1024]@8+1024 data_len:uint32@1032+4
61 tcpip_dns_resolve 256 hostname:char[256]@8+256
62 tcpip_dns_resolve_reply 4 addr:uint32@8+4
63 tcpip_data 4 sock:int@8+4
64 tcpip_closed 4 sock:int@8+4
65 echo 1028 data:uint8[1024]@8+1024 data_len:uint32@1032+4
66 echo_reply 1028 data:uint8[1024]@8+1024 data_len:uint32@1032+4
"""  # noqa: E501 - a row is a line

KIND_OF_TYPE = {
    "task": abi.INT32,
    "int": abi.INT32,
    "uint32": abi.UINT32,
    "uint16": abi.UINT16,
}

ROWS = TABLE.strip().splitlines()


def members(cls: type[abi.Message]) -> list[str]:
    """A class's fields, written as the table writes them."""
    lines = []
    for field in cls.FIELDS:
        lines.append(f"{field.name}@{field.offset}+{field.size}")
        if field.kind == abi.BYTES:
            lines.append(f"{field.name}_len@{field.len_offset}+4")
    return lines


def kinds(columns: list[str]) -> list[int]:
    """The kinds that the table's types stand for; the length after an array belongs to it."""
    found: list[int] = []
    for column in columns:
        name, type_ = column.split("@")[0].split(":")
        if name.endswith("_len") and found[-1:] == [abi.UINT8_ARRAY]:
            found[-1] = abi.BYTES
        elif type_.startswith("char["):
            found.append(abi.CSTR)
        elif type_.startswith("uint8["):
            found.append(abi.UINT8_ARRAY)
        else:
            found.append(KIND_OF_TYPE[type_])
    return found


def test_the_table_is_whole() -> None:
    assert [int(row.split()[0]) for row in ROWS] == list(range(1, 67))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split()[1])
def test_message_is_where_it_always_was(row: str) -> None:
    number, name, payload_size, *columns = row.split()
    cls = abi.MESSAGES[int(number)]
    expected = (int(number), name, abi.HEADER_SIZE + int(payload_size))
    assert expected == (cls.TYPE, cls.NAME, cls.SIZE)
    places = [f"{column.split(':')[0]}@{column.split('@')[1]}" for column in columns]
    assert members(cls) == places
    assert [field.kind for field in cls.FIELDS] == kinds(columns)


def test_numbers_that_followed() -> None:
    numbers = {cls.NAME: number for number, cls in abi.MESSAGES.items() if number > 66}
    assert numbers == {
        "console_write": 67,
        "console_write_reply": 68,
        "console_read": 69,
        "console_read_reply": 70,
        "args_get": 71,
        "args_get_reply": 72,
        "cap_get": 73,
        "cap_get_reply": 74,
        "cap_grant": 75,
        "cap_grant_reply": 76,
        "cap_accept": 77,
        "cap_accept_reply": 78,
        "cap_revoke": 79,
        "cap_revoke_reply": 80,
        "cap_badge": 81,
        "cap_badge_reply": 82,
        "spawn_granted": 83,
        "spawn_granted_reply": 84,
        "env_get": 85,
        "env_get_reply": 86,
        "env_list": 87,
        "env_list_reply": 88,
        "fs_root": 89,
        "fs_root_reply": 90,
        "fs_open_file": 91,
        "fs_open_file_reply": 92,
        "fs_close_file": 93,
        "fs_close_file_reply": 94,
        "fs_read_at": 95,
        "fs_read_at_reply": 96,
        "fs_write_at": 97,
        "fs_write_at_reply": 98,
        "fs_stat": 99,
        "fs_stat_reply": 100,
        "fs_stat_file": 101,
        "fs_stat_file_reply": 102,
        "fs_set_times": 103,
        "fs_set_times_reply": 104,
        "fs_set_file_times": 105,
        "fs_set_file_times_reply": 106,
        "fs_resize": 107,
        "fs_resize_reply": 108,
        "fs_allocate": 109,
        "fs_allocate_reply": 110,
        "fs_advise": 111,
        "fs_advise_reply": 112,
        "fs_sync": 113,
        "fs_sync_reply": 114,
        "fs_set_flags": 115,
        "fs_set_flags_reply": 116,
        "fs_list": 117,
        "fs_list_reply": 118,
        "fs_make_directory": 119,
        "fs_make_directory_reply": 120,
        "fs_remove_directory": 121,
        "fs_remove_directory_reply": 122,
        "fs_remove_file": 123,
        "fs_remove_file_reply": 124,
        "fs_rename": 125,
        "fs_rename_reply": 126,
        "fs_link": 127,
        "fs_link_reply": 128,
        "fs_make_link": 129,
        "fs_make_link_reply": 130,
        "fs_read_link": 131,
        "fs_read_link_reply": 132,
        "clock_get": 133,
        "clock_get_reply": 134,
        "clock_resolution": 135,
        "clock_resolution_reply": 136,
        "clock_wait": 137,
        "clock_wait_reply": 138,
        "clock_set_alarm": 139,
        "clock_set_alarm_reply": 140,
        "clock_clear_alarm": 141,
        "clock_clear_alarm_reply": 142,
        "clock_alarm": 143,
        "random_get": 144,
        "random_get_reply": 145,
        "console_put": 146,
        "console_put_reply": 147,
        "console_take": 148,
        "console_take_reply": 149,
        "console_poll": 150,
        "console_poll_reply": 151,
        "console_ready": 152,
        "console_terminals": 153,
        "console_terminals_reply": 154,
        "tcpip_listener": 155,
        "tcpip_listener_reply": 156,
        "tcpip_accept": 157,
        "tcpip_accept_reply": 158,
        "tcpip_receive": 159,
        "tcpip_receive_reply": 160,
        "tcpip_send": 161,
        "tcpip_send_reply": 162,
        "tcpip_shutdown": 163,
        "tcpip_shutdown_reply": 164,
        "tcpip_poll": 165,
        "tcpip_poll_reply": 166,
        "tcpip_ready": 167,
        "lent_read": 168,
        "lent_read_reply": 169,
        "lent_write": 170,
        "lent_write_reply": 171,
        "args_read": 172,
        "args_read_reply": 173,
        "env_read": 174,
        "env_read_reply": 175,
    }
