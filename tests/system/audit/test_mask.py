"""Secrets of rules stay out of the log."""

from __future__ import annotations

import pytest

from wasmos.system.audit.mask import without


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        ('kv.put(token="a", port=80)', "kv.put(token=***, port=80)"),
        (r'kv.put(token="a\", port=\"b", port=80)', "kv.put(token=***, port=80)"),
        ('kv.put(port=80, token=["a]", "b"]) for 60s', "kv.put(port=80, token=***) for 60s"),
        ("kv.put(token=17, port=80)", "kv.put(token=***, port=80)"),
        ("kv.put(token=17)", "kv.put(token=***)"),
        ('kv.put(token = "a")', "kv.put(token = ***)"),
        ('kv.put(token="cut off', "kv.put(token=***"),
        ('kv.put(token=["cut off", "h', "kv.put(token=***"),
        ('kv.put(mytoken="a")', 'kv.put(mytoken="a")'),
        ("kv.put(len(token)=5)", "kv.put(len(token)=5)"),
        ("console", "console"),
    ],
)  # fmt: skip
def test_a_rule_without_secrets(rule: str, shown: str) -> None:
    assert without({"token", "a.b"}, rule) == shown
    assert without((), rule) == rule
