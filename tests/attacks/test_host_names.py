"""A name that the resolver of the host would make another one of is no name."""

from __future__ import annotations

import pytest

from tests.attacks.attack import Scene
from tests.attacks.outside import resolve, serve
from wasmos.servers.tcpip.host import _look_up

FOLDED = ["ｌocalhost", "ⓛocalhost", "loc\u00adalhost", "localhost\u200b"]
ODD = [
    "other.com/.example.com",
    "other.com\\.example.com",
    "other.com:443.example.com",
    "127.0.0.1/.example.com",
    "[::1].example.com",
    "other.com#.example.com",
    "other.com?.example.com",
]


@pytest.mark.parametrize("name", FOLDED)
def test_past_a_deny_rule_by_folding(scene: Scene, name: str) -> None:
    network = serve(scene)
    evil = scene.agent("evil", "tcpip")
    scene.kernel.deny(evil.task, 'tcpip.dns_resolve(hostname="localhost")')
    assert resolve(evil, name) < 0
    # The real resolver says 127.0.0.1 to each: only what is ASCII may reach it.
    assert not [n for n in network.resolved if _look_up(n) == ["127.0.0.1"]]


@pytest.mark.parametrize("name", ODD)
def test_no_host_name_has_these(scene: Scene, name: str) -> None:
    network = serve(scene)
    evil = scene.agent("evil", 'tcpip(host="*.example.com")')
    resolve(evil, name)
    assert network.resolved == []
