"""The tables agree with the classes and with each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from wasmos import abi

CLASSES = list(abi.MESSAGES.values())


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.NAME)
def test_class_agrees_with_its_tables(cls: type[abi.Message]) -> None:
    assert abi.MESSAGES[cls.TYPE] is cls
    assert list(cls.__slots__) == [field.name for field in cls.FIELDS]
    assert not hasattr(cls(), "__dict__")
    assert abi.HEADER_SIZE <= cls.SIZE <= abi.MESSAGE_SIZE
    assert cls.__doc__
    assert getattr(abi, cls.__name__) is cls
    assert cls.__name__ in abi.__all__


def test_every_message_is_an_rpc_or_oneway_once() -> None:
    rpcs = [cls for rpc in abi.RPCS.values() for cls in (rpc.request, rpc.reply)]
    both = rpcs + list(abi.ONEWAYS.values())
    assert sorted(cls.TYPE for cls in both) == sorted(abi.MESSAGES)


def test_a_reply_has_the_number_after_its_request() -> None:
    for name, rpc in abi.RPCS.items():
        assert rpc.name == rpc.request.NAME == name
        expected = (f"{name}_reply", rpc.request.TYPE + 1)
        assert expected == (rpc.reply.NAME, rpc.reply.TYPE)


def test_services_answer_what_the_interface_says() -> None:
    assert abi.SERVICES["pong"] == ("ping",)
    assert abi.SERVICES["echo"] == ("echo",)
    assert abi.SERVICES["net_device"] == ("net_open", "net_send")
    assert abi.SERVICES["console"] == (
        "console_write",
        "console_read",
        "console_put",
        "console_take",
        "console_poll",
        "console_terminals",
    )
    assert {"clock_get", "clock_wait", "clock_set_alarm"} < set(abi.SERVICES["clock"])
    assert "clock_alarm" not in abi.SERVICES["clock"]
    assert abi.SERVICES["random"] == ("random_get",)
    assert {"lent_read", "lent_write"} < set(abi.SERVICES["vm"])
    assert abi.SERVICES["args"] == ("args_get", "args_read")
    assert {"ping", "service_lookup", "watch_tasks"} < set(abi.SERVICES["vm"])
    assert {"cap_get", "cap_grant", "spawn_granted"} < set(abi.SERVICES["vm"])
    assert abi.SERVICES["env"] == ("env_get", "env_list", "env_read")
    assert "task_destroyed" not in abi.SERVICES["vm"]
    assert all(name.startswith("fs_") for name in abi.SERVICES["fs"])


def test_services_name_messages_that_a_task_may_send() -> None:
    events = {name for names in abi.EVENTS.values() for name in names}
    requests = set(abi.RPCS) | set(abi.ONEWAYS) - events
    kernel = {abi.MESSAGES[number].NAME for number in abi.KERNEL_ONLY}
    for names in abi.SERVICES.values():
        assert set(names) <= requests - kernel


def test_events() -> None:
    assert abi.EVENTS == {
        "vm": ("task_destroyed",),
        "net_device": ("net_recv",),
        "tcpip": ("tcpip_data", "tcpip_closed", "tcpip_ready"),
        "clock": ("clock_alarm",),
        "console": ("console_ready",),
    }


def test_what_covers_what() -> None:
    covered = {
        abi.MESSAGES[number].NAME: [abi.MESSAGES[other].NAME for other in others]
        for number, others in abi.COVERED_BY.items()
    }
    sockets = ["tcpip_connect", "tcpip_listen"]
    assert covered == {
        "fs_close": ["fs_open"],
        "fs_read": ["fs_open"],
        "tcpip_destroy": sockets,
        "tcpip_write": sockets,
        "tcpip_read": sockets,
        "fs_close_file": ["fs_open_file"],
        "fs_read_at": ["fs_open_file"],
        "fs_stat_file": ["fs_open_file"],
        "fs_advise": ["fs_open_file"],
        "fs_sync": ["fs_open_file"],
        "fs_set_flags": ["fs_open_file"],
        "fs_list": ["fs_open_file"],
        "console_poll": ["console_take"],
        "console_terminals": ["console_take", "console_put"],
        "tcpip_accept": ["tcpip_listen"],
        "tcpip_receive": sockets,
        "tcpip_send": sockets,
        "fs_root": ["fs_open_file"],
        "tcpip_listener": ["tcpip_listen"],
        "tcpip_shutdown": sockets,
        "tcpip_poll": sockets,
        "args_read": ["args_get"],
        "env_read": ["env_list"],
    }


def test_badges() -> None:
    assert abi.BADGES == {
        "fs": ("dir", "at", "mode", "archive"),
        "tcpip": ("host", "bind"),
        "clock": ("at",),
        "random": ("seed",),
    }


def test_what_fields_mean() -> None:
    meanings = {
        f"{cls.NAME}.{field.name}": field.meaning
        for cls in CLASSES
        for field in cls.FIELDS
        if field.meaning
    }
    assert meanings == {
        "spawn_task.name": "name",
        "service_lookup.name": "name",
        "service_register.name": "own_name",
        "fs_open.path": "path",
        "fs_readdir.path": "path",
        "fs_mkfile.path": "path",
        "fs_mkdir.path": "path",
        "fs_delete.path": "path",
        "tcpip_connect.dst_addr": "ipv4",
        "tcpip_connect.dst_port": "port",
        "tcpip_listen.listen_port": "port",
        "tcpip_dns_resolve.hostname": "hostname",
        "spawn_granted.name": "name",
        "env_get.name": "name",
        "env_get_reply.value": "secret",
        "fs_open_file.path": "path",
        "fs_stat.path": "path",
        "fs_set_times.path": "path",
        "fs_make_directory.path": "path",
        "fs_remove_directory.path": "path",
        "fs_remove_file.path": "path",
        "fs_rename.path": "path",
        "fs_rename.new_path": "path",
        "fs_link.path": "path",
        "fs_link.new_path": "path",
        "fs_make_link.path": "path",
        "fs_read_link.path": "path",
    }


def test_the_kernel_keeps_eight_numbers() -> None:
    assert frozenset(range(1, 9)) == abi.KERNEL_ONLY


def test_no_builtin_is_shadowed() -> None:
    assert abi.MESSAGES[1] is abi.Exception_


def test_abi_imports_nothing_else_of_wasmos() -> None:
    for path in Path(abi.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                module = node.module or ""
                assert not module.startswith("wasmos") or module.startswith("wasmos.abi"), path
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("wasmos") for alias in node.names), path


def test_import_is_light() -> None:
    """Nothing that is slow to import is loaded: only `enum`, and what that needs.

    The package above is stood in for, because what it imports is its own affair.
    """
    source = Path(abi.__file__).parents[1]
    code = f"""
import sys, types
package = types.ModuleType("wasmos")
package.__path__ = [{str(source)!r}]
sys.modules["wasmos"] = package
import wasmos.abi
print(*sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.split())
    assert "wasmos.abi.messages" in loaded
    assert not loaded & {"typing", "dataclasses", "re", "inspect", "lark", "wasmos.idl"}
