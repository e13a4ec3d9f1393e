"""Offers end with who made them, and what one task is given by others has a bound."""

from __future__ import annotations

from tests.attacks.attack import Scene, serve_vm, settle
from wasmos import abi


def test_left_offers(scene: Scene) -> None:
    serve_vm(scene)
    evil, victim = scene.agent("evil", "vm", "bank.ping"), scene.agent("victim", "vm")
    for _ in range(6):
        id = evil.call("vm", abi.SpawnTask("child")).message.task
        child = scene.adopt(scene.kernel.find(id))
        for _ in range(256):
            child.call("vm", abi.CapGrant(victim.id, "bank.ping"))
        child.exit()
        settle(scene.kernel)
    assert len(scene.kernel.grants) < 600, len(scene.kernel.grants)
