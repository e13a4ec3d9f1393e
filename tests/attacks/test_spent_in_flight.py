"""A call by a grant's last use ends when that grant, or what it came from, is taken back."""

from __future__ import annotations

import pytest

from tests.attacks.attack import Scene, Slow, settle
from wasmos import abi


@pytest.mark.parametrize("how", ["grant", "parent", "expiry", "task", "deny"])
def test_spent_in_flight(scene: Scene, how: str) -> None:
    scene.serve(Slow())
    giver, evil = scene.agent("giver", "slow"), scene.agent("evil")
    parent = giver.grants[0]
    grant = parent.delegate(evil.task, uses=1, seconds=60 if how == "expiry" else None)
    evil.begin_call("slow", abi.Ping(1))
    if how == "grant":
        grant.revoke()
    elif how == "parent":
        parent.revoke()
    elif how == "expiry":
        scene.kernel.run(timeout=61)
    elif how == "deny":
        scene.kernel.deny(evil.task, "slow")
    else:
        scene.kernel.revoke(evil.task, "slow")
    settle(scene.kernel)
    assert evil.is_back and evil.result().error == -8
