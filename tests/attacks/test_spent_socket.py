"""So does what was opened by a last use."""

from __future__ import annotations

import pytest

from tests.attacks.attack import Scene, settle
from tests.attacks.test_network import OTHER, PUBLIC, connect, serve
from wasmos import abi


@pytest.mark.parametrize("how", ["parent", "grant", "expiry"])
def test_a_spent_socket(scene: Scene, how: str) -> None:
    serve(scene)
    giver = scene.agent("giver", "tcpip")
    evil = scene.agent("evil", f'tcpip.connect(dst_addr="{OTHER}")')
    parent = giver.grants[0]
    rule = f'tcpip.connect(dst_addr="{PUBLIC}")'
    grant = parent.delegate(evil.task, rule, uses=1, seconds=60 if how == "expiry" else None)
    assert connect(evil, PUBLIC) == 0
    sock = evil.result().message.sock
    if how == "parent":
        parent.revoke()
    elif how == "grant":
        grant.revoke()
    else:
        scene.kernel.run(timeout=61)
    settle(scene.kernel)
    assert evil.call("tcpip", abi.TcpipWrite(sock, b"x")).error != 0
