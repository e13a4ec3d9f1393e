"""The rule that would have allowed a message, from what the log tells of it."""

from __future__ import annotations

from typing import Any

import pytest

from wasmos.kernel import Rule
from wasmos.system.audit.needed import needed


@pytest.mark.parametrize(
    ("service", "message", "fields", "rule"),
    [
        ("tcpip", "tcpip.listen", {"listen_port": 80}, "tcpip.listen(listen_port=80)"),
        ("tcpip", "tcpip_listen", {"listen_port": 80}, "tcpip.listen(listen_port=80)"),
        ("tcpip", "tcpip.connect", {"dst_addr": "10.0.0.1", "dst_port": 443},
         'tcpip.connect(dst_addr="10.0.0.1", dst_port=443)'),
        ("fs", "fs.open", {"path": "/a", "flags": 3}, 'fs.open(path="/a")'),
        ("console", "console.write", {"data": {"len": 7}}, "console.write"),
        ("pong", "pong.ping", {"value": 7}, "pong.ping"),
        # What the log doesn't tell can't be in the rule.
        ("tcpip", "tcpip.listen", {}, "tcpip.listen"),
        ("tcpip", "tcpip.connect", {"dst_port": 443}, "tcpip.connect"),
        ("tcpip", "tcpip.listen", {"listen_port": "***"}, "tcpip.listen"),
        ("fs", "fs.open", {"path": "***"}, "fs.open"),
        ("fs", "fs.open", {"path": "/long…"}, "fs.open"),
        ("fs", "fs.open", {"path": "../up"}, "fs.open"),
        ("tcpip", "tcpip.connect", {"dst_addr": "10.0.0", "dst_port": 1}, "tcpip.connect"),
        ("tcpip", "tcpip.connect", {"dst_addr": "10.0.0.256", "dst_port": 1}, "tcpip.connect"),
        ("tcpip", "tcpip.connect", {"dst_addr": "9" * 5000 + ".0.0.1", "dst_port": 1},
         "tcpip.connect"),
        # Messages that aren't known here, and what is none.
        ("kv", "kv.put", {"key": "a"}, "kv.put"),
        ("kv", "kv.1001", {}, "kv"),
        ("fs", "fs (lookup)", {}, "fs"),
        ("", "", {}, ""),
    ],
)  # fmt: skip
def test_a_rule(service: str, message: str, fields: dict[str, Any], rule: str) -> None:
    assert needed({"service": service, "message": message, "fields": fields}) == rule


def test_what_a_guest_chose_widens_nothing() -> None:
    """A star in a path is a star, and no pattern."""
    for path in ("/*", '/a", mode="rw', "/a\n", "/\\", "/?"):
        rule = needed({"service": "fs", "message": "fs.open", "fields": {"path": path}})
        parsed = Rule.parse(rule)
        assert rule == str(parsed) and rule != "fs.open"
        assert "rw" not in parsed.badge.values()


@pytest.mark.parametrize("value", [None, "x", -1, 1 << 70, 1.5, [], {}, True])
def test_nonsense(value: object) -> None:
    for message in ("tcpip.listen", "tcpip.connect", "fs.open"):
        fields = {"listen_port": value, "dst_addr": value, "dst_port": value, "path": value}
        service = message.partition(".")[0]
        assert needed({"service": service, "message": message, "fields": fields}).startswith(
            message
        )
        assert needed({"service": service, "message": message, "fields": value}) == message
    assert isinstance(needed({"service": value, "message": value}), str)
