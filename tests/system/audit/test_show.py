"""A record as one line."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.audit import call, denial
from wasmos.system.audit.schema import EVENTS, KEYS
from wasmos.system.audit.show import asked, show

TIME = "2026-11-25T09:30:00.123456Z"
GRANT = {"grant": 12, "rule": "tcpip.listen(listen_port=80)", "origin": "policy.toml:12"}


def shown(record: dict[str, Any]) -> str:
    record.pop("time_ns", None)
    return show({"v": 1, "seq": 5, "time": TIME, **record})


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (call(3), "call      webapi[9]       tcpip.write(sock=3)  grant 12"),
        (denial(), "denial    webapi[9]       tcpip.listen(listen_port=80)  no_capability"),
        (denial(count=7), "denial    webapi[9]       tcpip.listen(listen_port=80)  no_capability"
                          "  x7"),
        (denial(cause="field", **GRANT), "denial    webapi[9]       tcpip.listen(listen_port=80)"
                                         "  field  grant 12  (policy.toml:12)"),
        ({"event": "grant", "task": 9, "service": "tcpip", **GRANT, "origin": ""},
         "grant     [9]             tcpip.listen(listen_port=80)  grant 12 by the operator"),
        ({"event": "grant", "task": 9, "name": "webapi", **GRANT},
         "grant     webapi[9]       tcpip.listen(listen_port=80)  grant 12 by the operator"
         "  (policy.toml:12)"),
        ({"event": "delegate", "task": 9, "parent": 7, "by": 3, **GRANT},
         "delegate  [9]             tcpip.listen(listen_port=80)  grant 12 from 7 by task 3"
         "  (policy.toml:12)"),
        ({"event": "revoke", "task": 9, "grant": 12, "by": 3},
         "revoke    [9]             grant 12 by task 3"),
        ({"event": "exit", "task": 9, "name": "webapi", "reason": "killed"},
         "exit      webapi[9]       (killed)"),
        ({"event": "register", "task": 9, "service": "kv"}, "register  [9]             kv"),
        ({"event": "dropped", "count": 3, "reason": "disk full"},
         "dropped   -               3 lines  (disk full)"),
        ({"event": "open"}, "open      -"),
        (call(3, decision="asked"),
         "call      webapi[9]       tcpip.write(sock=3)  asked  grant 12"),
    ],
)  # fmt: skip
def test_a_line(record: dict[str, Any], text: str) -> None:
    assert shown(record) == f"     5  {TIME}  {text}"


def test_what_was_asked() -> None:
    fields = {"path": "/a", "len": 5, "data": {"len": 7}, "token": "***"}
    assert asked({"message": "fs.write", "fields": fields}) == (
        'fs.write(path="/a", len=5, len(data)=7, token="***")'
    )
    assert asked({"service": "fs", "fields": {}}) == "fs"
    assert asked({}) == ""


@pytest.mark.parametrize("value", [None, "", 0, -1, 1e300, [], {}, [[{}]], {"a": {}}, True, "x\ny"])
@pytest.mark.parametrize("key", KEYS)
def test_any_record_gives_a_line(key: str, value: object) -> None:
    assert show({key: value}) is not None
    assert show({**denial(), **GRANT, key: value})
    assert show({"fields": {"a": value, "b": {"len": value}}})


def test_each_event() -> None:
    for event in EVENTS:
        assert event in show({"event": event})
