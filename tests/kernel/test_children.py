"""What a child gets of its parent's rights, and what the host may say beyond that."""

from __future__ import annotations

import pytest

import wasmos
from tests.support.services import NOT_ALLOWED, Who, ping
from tests.support.wat import SLEEP


def test_a_child_gets_what_both_have(kernel: wasmos.Kernel) -> None:
    parent = kernel.spawn(
        SLEEP, allow=["who.ping(value=..9)", "console"], deny=["console.read"], trusted=True
    )
    child = kernel.spawn(
        SLEEP, parent=parent, allow=["who.ping(value=5..)", "fs", "console"], trusted=True
    )
    held = {grant.rule.service: grant for grant in child.grants}
    assert sorted(held) == ["console", "who"]
    assert [grant.parent for grant in child.grants] == parent.grants[1:]
    parent.grants[1].revoke()
    assert [grant.rule.service for grant in child.grants] == ["console"]


def test_a_childs_child_gets_no_more(kernel: wasmos.Kernel) -> None:
    parent = kernel.spawn(SLEEP, allow=["who"], trusted=True)
    child = kernel.spawn(SLEEP, parent=parent, allow=[], trusted=True)
    assert kernel.spawn(SLEEP, parent=child, allow=["who", "*"], trusted=True).grants == []


def test_a_child_gets_each_directory_once(kernel: wasmos.Kernel) -> None:
    """A rule that doesn't say which means all of them; but not each grant that there is for one."""
    rules = ['fs(dir="/a", at="/a")', 'fs(dir="/b", at="/b")']
    parent = kernel.spawn(SLEEP, allow=rules, trusted=True)
    for grant in parent.grants[:]:
        grant.delegate(parent, "fs.open")
    child = kernel.spawn(SLEEP, parent=parent, allow=["fs.open"], trusted=True)
    assert [grant.badge["dir"] for grant in child.grants] == ["/a", "/b"]
    assert kernel.spawn(SLEEP, parent=parent, allow=[rules[1]], trusted=True).grants[0].badge == {
        "dir": "/b", "at": "/b"
    }  # fmt: skip


def test_a_spawn_that_gives_too_much_leaves_nothing(kernel: wasmos.Kernel) -> None:
    parent = kernel.spawn(SLEEP, allow=["who", "console"], trusted=True)
    kernel.parse_rule("who")
    program = kernel.load(SLEEP, trusted=True)
    rules = [f"who for {n}s" for n in range(1, 200)]
    kernel.spawn(program, parent=parent, allow=rules)
    before = kernel.grants, kernel.tasks
    with pytest.raises(wasmos.UsageError, match="256"):
        kernel.spawn(program, parent=parent, allow=rules)
    assert (kernel.grants, kernel.tasks) == before
    assert all(grant.state == "live" for grant in before[0])


def test_what_the_host_says_has_no_bounds(kernel: wasmos.Kernel) -> None:
    """A grant of its own isn't counted, and one that it passes on is only counted."""
    giver, heir = kernel.client("giver", allow=[]), kernel.client("heir", allow=["tcpip", "vm"])
    stars = ",".join(f'"*{n}*"' for n in range(100))
    kernel.grant(heir, f"tcpip.dns_resolve(hostname=[{stars}])")
    grant = kernel.grant(giver, f"tcpip.dns_resolve(hostname=[{stars}])")
    kernel.pass_on(giver, heir, 'tcpip.dns_resolve(hostname="*1*") 5 times', offer=False)
    for _ in range(15):
        grant.delegate(heir)
    with pytest.raises(wasmos.UsageError, match="too long to check"):
        kernel.pass_on(giver, heir, 'tcpip.dns_resolve(hostname="*1*") 5 times', offer=False)
    grant.delegate(heir)
    kernel.pass_on(kernel.client("other", allow=["console"]), heir, "console", offer=False)


def test_an_offer_that_is_too_much_stays_one(kernel: wasmos.Kernel) -> None:
    giver, heir = kernel.client("giver", allow=["tcpip"]), kernel.client("heir", allow=[])
    pattern = "*a" * 16
    rule = f'tcpip.dns_resolve(hostname="{pattern}")'
    offers = [kernel.pass_on(giver, heir, rule, offer=True) for _ in range(140)]
    with pytest.raises(wasmos.UsageError, match="too long to check"):
        for offer in offers:
            kernel.accept(heir, offer.id)
    taken = [offer for offer in offers if offer.state == "live"]
    assert 100 < len(taken) < 130
    taken[0].revoke()
    kernel.accept(heir, offers[len(taken)].id)
    with pytest.raises(wasmos.UsageError, match="too long to check"):
        kernel.accept(heir, offers[-1].id)
    assert offers[-1].state == "offered"


def test_what_the_host_denies_keeps_nobody_from_one_grant(kernel: wasmos.Kernel) -> None:
    """However much there is to ask, and of which service."""
    parent = kernel.spawn(SLEEP, allow=["fs", "console", "who"], trusted=True)
    for number in range(1_000):
        kernel.deny(parent, f'fs.open(path="/**/{number}/*")')
    child = kernel.spawn(SLEEP, parent=parent, allow=["fs", "console", "who"], trusted=True)
    assert [grant.rule.service for grant in child.grants] == ["fs", "console", "who"]
    kernel.pass_on(parent, child, "console", offer=False)
    with pytest.raises(wasmos.UsageError, match="too long to check"):
        kernel.pass_on(parent, child, "fs", offer=False)


def test_a_denial_is_asked_about_once(kernel: wasmos.Kernel) -> None:
    """However often a right went to and fro between those whom it denies."""
    kernel.serve(Who())
    a, b = kernel.client("a", allow=["who"]), kernel.client("b", allow=[])
    early = kernel.deny(a, "who.ping(value=1)")
    grants = [a.grants[0]]
    for n in range(10):
        grants.append(grants[-1].delegate((b, a)[n % 2]))
    late = kernel.deny(a, "who.ping(value=2)")
    assert [grant.excepts for grant in grants[1:]] == [[early, late]] * 10
    assert [ping(b, value=value) for value in (1, 2, 3)] == [NOT_ALLOWED, NOT_ALLOWED, 0]
    late.revoke()
    assert [ping(b, value=value) for value in (1, 2, 3)] == [NOT_ALLOWED, 0, 0]
