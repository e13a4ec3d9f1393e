"""One step wider: what it is, and that it is no more."""

from __future__ import annotations

import pytest

from wasmos.kernel import Rule
from wasmos.system.policy.widen import head, items_of, wider

STEPS = {
    "tcpip.listen(listen_port=80)": ["tcpip.listen"],
    "console.write": ["console"],
    "console": [],
    'tcpip.dns_resolve(hostname="www.example.com")': [
        'tcpip.dns_resolve(hostname="*.example.com")'
    ],
    'tcpip.dns_resolve(hostname="example.com")': [
        'tcpip.dns_resolve(hostname=["*.example.com", "example.com"])'
    ],
    # Everybody can have a name below these.
    'tcpip.dns_resolve(hostname="example.co.uk")': [
        'tcpip.dns_resolve(hostname=["*.example.co.uk", "example.co.uk"])'
    ],
    'tcpip.dns_resolve(hostname="localhost")': ["tcpip.dns_resolve"],
    'fs.open(path="/data/notes/a.txt")': ['fs.open(path="/data/notes/**")', "fs"],
    'fs.open(path="/a.txt")': ["fs.open", "fs"],
    'tcpip.connect(dst_addr="10.0.0.5", dst_port=443)': [
        'tcpip.connect(dst_addr="10.0.0.0/24", dst_port=443)',
        'tcpip.connect(dst_addr="10.0.0.5")',
    ],
    'tcpip.connect(host="example.com", dst_port=443)': ['tcpip.connect(host="example.com")'],
    'vm.spawn_task(name="x")': ["vm.spawn_task"],
}


@pytest.mark.parametrize("text", STEPS)
def test_steps(text: str) -> None:
    rule = Rule.parse(text)
    found = wider(rule, "task")
    assert found == [Rule.parse(step) for step in STEPS[text]]
    for step in found:
        assert step.covers(rule, "task") and not rule.covers(step, "task")
        assert step.service == rule.service and step.badge == rule.badge


@pytest.mark.parametrize("text", [*STEPS, '"a(b".ping', 'fs(dir="/a, (b)", mode="ro")'])
def test_a_rule_is_its_head_and_its_items(text: str) -> None:
    rule = Rule.parse(text)
    items = ", ".join(items_of(rule))
    assert head(rule) + (f"({items})" if items else "") == str(rule)


def test_patterns_in_what_a_guest_says_stay_what_they_are() -> None:
    """A host that is called `*` doesn't become all of them."""
    for text in (r'fs.open(path="/\\*/a")', r'tcpip.dns_resolve(hostname="\\*.example.com")'):
        rule = Rule.parse(text)
        step = wider(rule)[0]
        assert step.covers(rule) and not rule.covers(step)
    assert str(wider(Rule.parse(r'fs.open(path="/\\*/a")'))[0]) == r'fs.open(path="/\\*/**")'
