"""Grants that say where a port is."""

from __future__ import annotations

import pytest

from tests.servers.tcpip.grants import grant
from tests.servers.tcpip.harness import World
from wasmos.abi import ErrorCode


def test_bind_says_where_a_port_is(world: World) -> None:
    world.serve(ports=["0:81"])
    guest = world.guest(allow=['tcpip.listen(listen_port=80, bind="0")'])
    guest.listen()
    peer = world.dial()
    world.do(peer.send(b"hello"))
    assert guest.read(guest.accept()) == b"hello"
    assert guest.error(guest.listen, 81) == ErrorCode.NOT_ALLOWED  # the grant is for 80


@pytest.mark.parametrize(
    ("bind", "endpoint"),
    [
        ("8080", "127.0.0.1:8080"),
        ("0.0.0.0:8080", "0.0.0.0:8080"),
        ("[::1]:8080", "[::1]:8080"),
        ("0", "127.0.0.1:49152"),
        ("8080-8089", "127.0.0.1:8080"),
    ],
)
def test_forms_of_bind(fake_world: World, bind: str, endpoint: str) -> None:
    told = []
    fake_world.serve(on_bound=lambda *row: told.append(row))
    guest = fake_world.guest(allow=[f'tcpip.listen(bind="{bind}")'])
    guest.listen(80)
    assert [(port, str(where)) for port, where in told] == [(80, endpoint)]
    assert guest.error(guest.listen, 80) == ErrorCode.ALREADY_USED


def test_the_oldest_bind_decides(fake_world: World) -> None:
    world = fake_world
    world.serve(ports=["7000:80"])
    guest = world.guest(
        allow=[
            "tcpip",
            'tcpip.listen(listen_port=81, bind="8001")',
            'tcpip.listen(bind="8002")',
            'tcpip.listen(listen_port=80, bind="8003")',
        ]
    )
    guest.listen()
    assert str(world.tcpip.bound[80][0]) == "127.0.0.1:8002"
    grant(guest, 2).revoke()
    assert world.tcpip.bound == {}
    guest.listen()
    assert str(world.tcpip.bound[80][0]) == "127.0.0.1:8003"
    grant(guest, 2).revoke()
    guest.listen()  # no bind admits it any more
    assert str(world.tcpip.bound[80][0]) == "127.0.0.1:7000"


def test_each_task_has_its_own_port_80(fake_world: World) -> None:
    world = fake_world
    world.serve(ports=["7000:80"])
    guests = [
        world.guest(f"guest{last}", allow=[f'tcpip.listen(bind="800{last}")']) for last in (1, 2)
    ]
    guests.append(world.guest("mapped", allow=["tcpip"]))
    for guest in guests:
        guest.listen()
    assert [each.port for each in world.tcpip.bound[80]] == [8001, 8002, 7000]
    other = world.guest("other", allow=["tcpip"])
    assert other.error(other.listen) == ErrorCode.ALREADY_USED
    late = world.guest("late", allow=['tcpip.listen(bind="8001")'])
    assert late.error(late.listen) == ErrorCode.ALREADY_USED
    guests[0].client.kill()
    late.listen()
    guests[2].client.kill()
    other.listen()
    assert sorted(each.port for each in world.tcpip.bound[80]) == [7000, 8001, 8002]


def test_a_range_is_shared(fake_world: World) -> None:
    fake_world.serve()
    for name in ("one", "two"):
        guest = fake_world.guest(name, allow=['tcpip.listen(bind="8080-8081")'])
        guest.listen()
    assert [each.port for each in fake_world.tcpip.bound[80]] == [8080, 8081]


def test_a_bind_that_makes_no_sense_opens_nothing(fake_world: World) -> None:
    fake_world.serve(ports=["8080:80"])
    guest = fake_world.guest(allow=['tcpip.listen(bind="eighty")'])
    assert guest.error(guest.listen) == ErrorCode.NOT_ALLOWED
    assert "'eighty' is no port" in guest.client.denials[-1].reason
    assert fake_world.tcpip.bound == {}
