"""What a check reads is made once and must never be stale: each change, after calls that were
admitted without looking further."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import wasmos
from tests.support import wat
from wasmos import abi

PASSIVE = wat.PASSIVE


def calls(client: wasmos.Client, service: str = "s") -> bool:
    """Whether a call arrives."""
    try:
        client.call(service, abi.Ping(1))
    except wasmos.CapabilityDenied:
        return False
    return True


@pytest.fixture
def service(kernel: wasmos.Kernel) -> wasmos.Task:
    return kernel.spawn(PASSIVE, service="s", trusted=True)


CHANGES: dict[str, Callable[[wasmos.Kernel, wasmos.Client, wasmos.Task], object]] = {
    "revoke": lambda kernel, client, _: kernel.revoke(client, "s"),
    "deny the service": lambda kernel, client, _: kernel.deny(client, "s"),
    "deny everything": lambda kernel, client, _: kernel.deny(client, "*"),
    "deny the message": lambda kernel, client, _: kernel.deny(client, "s.ping"),
    "deny a field": lambda kernel, client, _: kernel.deny(client, "s.ping(value=..5)"),
    "deny a name that it takes later": lambda kernel, client, service: (
        kernel.deny(client, "later"),
        kernel.register(service, "later"),
    ),
    "grant something else instead": lambda kernel, client, _: (
        kernel.grant(client, "s.echo"),
        kernel.revoke(client, "s"),
        kernel.grant(client, "s.ping(value=2..)"),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_counts_from_the_next_call(
    kernel: wasmos.Kernel, service: wasmos.Task, change: str
) -> None:
    client = kernel.client("c", allow=["s"])
    assert [calls(client) for _ in range(3)] == [True] * 3
    ping, rights = kernel.encode(abi.Ping(1)), kernel.rights(client.id)
    assert kernel.would_admit(client.id, service.id, ping) == 2
    assert kernel.rights(client.id) == rights
    CHANGES[change](kernel, client, service)
    assert kernel.rights(client.id) != rights
    assert kernel.would_admit(client.id, service.id, ping) == 0
    assert [calls(client) for _ in range(2)] == [False] * 2


@pytest.mark.parametrize("rule", ["s", "*", "s.ping", "s.ping(value=1)", "s.ping(value=[1, 7])"])
def test_and_so_does_a_grant(kernel: wasmos.Kernel, service: wasmos.Task, rule: str) -> None:
    client = kernel.client("c", allow=[])
    assert not calls(client)
    seen = {kernel.rights(client.id)}
    grant = kernel.grant(client, rule)
    seen.add(kernel.rights(client.id))
    assert calls(client)
    assert calls(client)
    grant.revoke()
    seen.add(kernel.rights(client.id))
    assert not calls(client)
    assert len(seen) == 3


def test_rights_change_with_those_of_who_passed_them_on(
    kernel: wasmos.Kernel, service: wasmos.Task
) -> None:
    giver, heir = kernel.client(allow=["s"]), kernel.client(allow=[])
    giver.grants[0].delegate(heir)
    ping, seen = kernel.encode(abi.Ping(1)), [kernel.rights(heir.id)]
    rule = kernel.deny(giver, "s.ping")
    seen.append(kernel.rights(heir.id))
    assert kernel.would_admit(heir.id, service.id, ping) == 0
    rule.revoke()
    seen.append(kernel.rights(heir.id))
    assert kernel.would_admit(heir.id, service.id, ping) == 2
    kernel.revoke(giver, "s")
    seen.append(kernel.rights(heir.id))
    assert kernel.would_admit(heir.id, service.id, ping) == 0
    assert len(set(seen)) == 4


@pytest.mark.parametrize(("limits", "answer"), [({}, 2), ({"seconds": 9}, 1), ({"uses": 9}, 0)])
def test_what_a_right_that_ends_by_itself_admits(
    kernel: wasmos.Kernel, service: wasmos.Task, limits: dict[str, int], answer: int
) -> None:
    """One with uses is for sending; with both, the one without counts."""
    client, ping = kernel.client(allow=[]), kernel.encode(abi.Ping(1))
    kernel.grant(client, "s", uses=1)
    kernel.grant(client, "s", **limits)
    assert kernel.would_admit(client.id, service.id, ping) == answer
    assert calls(client)
    kernel.run()  # the one use is over


def test_what_is_no_message_is_not_asked_about(kernel: wasmos.Kernel, service: wasmos.Task) -> None:
    client = kernel.client()
    for raw in (b"", b"123", kernel.encode(abi.Ping(1))[:-1]):
        with pytest.raises(ValueError, match="message has"):
            kernel.would_admit(client.id, service.id, raw)
    for sender, to in ((999, service.id), (client.id, 999)):
        with pytest.raises(LookupError):
            kernel.would_admit(sender, to, kernel.encode(abi.Ping(1)))


def test_the_next_task_behind_a_name_is_asked_about_anew(kernel: wasmos.Kernel) -> None:
    """Also if it lies where the one before lay."""
    client = kernel.client("c", allow=["s"])
    for _ in range(20):
        service = kernel.spawn(PASSIVE, service="s", trusted=True)
        assert calls(client)
        service.kill()
        stranger = kernel.spawn(PASSIVE, service="t", trusted=True)
        assert not calls(client, "t")
        stranger.kill()


def test_one_task_behind_two_names(kernel: wasmos.Kernel, service: wasmos.Task) -> None:
    kernel.register(service, "t")
    client = kernel.client("c", allow=["t.ping(value=1)", "s.ping(value=2)"])
    assert calls(client)
    assert client.call("s", abi.Ping(2))
    with pytest.raises(wasmos.CapabilityDenied):
        client.call("t", abi.Ping(3))
    kernel.deny(client, "s")
    assert not calls(client, "t")
