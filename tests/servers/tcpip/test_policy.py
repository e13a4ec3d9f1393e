"""What the server itself allows, of what grants do."""

from __future__ import annotations

import pytest

import wasmos
from tests.servers.tcpip.grants import PRIVATE, PUBLIC, code, offering
from tests.servers.tcpip.harness import World
from wasmos.abi import ErrorCode


def test_capabilities_decide(fake_world: World) -> None:
    world = fake_world
    world.serve()
    offering(world, PUBLIC, PRIVATE)
    assert code(world.guest("a", allow=["tcpip"]), PUBLIC) == 0
    assert code(world.guest("b", allow=["tcpip.listen"]), PUBLIC) == ErrorCode.NOT_ALLOWED
    assert code(world.guest("c", allow=["*"]), PRIVATE) == 0


@pytest.mark.parametrize(
    ("connect", "reached"),
    [
        ("granted", [PUBLIC, PRIVATE]),
        (["granted"], [PUBLIC, PRIVATE]),
        ("any", [PUBLIC]),
        ("10.0.0.0/8", [PRIVATE]),
        ("none", []),
        (["none"], []),
    ],
)
def test_a_bound_on_what_they_allow(
    fake_world: World, connect: str | list[str], reached: list[str]
) -> None:
    world = fake_world
    world.serve(connect=connect)
    offering(world, PUBLIC, PRIVATE)
    guest = world.guest(allow=['tcpip.connect(dst_addr="all")'])
    assert [address for address in (PUBLIC, PRIVATE) if code(guest, address) == 0] == reached


@pytest.mark.parametrize("alone", ["none", "granted"])
def test_what_stands_alone(fake_world: World, alone: str) -> None:
    with pytest.raises(wasmos.UsageError, match=f'"{alone}" stands alone'):
        fake_world.serve(connect=[alone, "any"])
