"""Rules in files: a badge has to mean something to its server."""

from __future__ import annotations

import pytest

from wasmos.errors import RuleError
from wasmos.kernel import Rule
from wasmos.system.policy.rights import check_badge


@pytest.mark.parametrize(
    "rule",
    [
        "clock",
        'clock(at="2026-01-02T03:04:05")',
        'clock.clock_get(at="12.5")',
        'random(seed="")',
        'random(seed="any text")',
        'tcpip.listen(bind="8080", listen_port=80)',
    ],
)
def test_badges_that_mean_something(rule: str) -> None:
    check_badge(Rule.parse(rule))


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ('clock(at="noon")', "clock: at 'noon' is no time; write at=\"2026-01-02T03:04:05\""),
        ('clock(at="1969-12-31")', "out of range; there are the years 1970 to 2262"),
        ('tcpip.listen(bind="eighty")', "'eighty' is no port"),
    ],
)
def test_badges_that_mean_nothing(rule: str, error: str) -> None:
    with pytest.raises(RuleError) as caught:
        check_badge(Rule.parse(rule))
    assert error in str(caught.value)
