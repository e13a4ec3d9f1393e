"""What the operator's shell shares with the guests: sockets, and whom their rules hold."""

from __future__ import annotations

import io

import pytest

import wasmos
from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.servers.tcpip.addresses import Destinations
from wasmos.servers.tcpip.fake import FakeNetwork
from wasmos.system.operator import SharedConsole, SharedTcpip

PUBLIC, PRIVATE = 0x5DB8D70E, 0x0A000001
ALL = 'tcpip.connect(dst_addr="all")'


@pytest.mark.parametrize(
    ("rules", "allow", "reached"),
    [
        ("granted", ["tcpip"], [PUBLIC]),
        ("granted", [ALL], [PUBLIC, PRIVATE]),
        ("granted", ["tcpip.listen"], []),
        (Destinations(["any"]), [ALL], [PUBLIC]),
        (Destinations(["10.0.0.0/8"]), ["tcpip"], []),
        (None, [ALL], []),
    ],
)
def test_guests_reach_what_both_allow(
    kernel: wasmos.Kernel, rules: object, allow: list[str], reached: list[int]
) -> None:
    network = FakeNetwork()
    for address in ("93.184.215.14", "10.0.0.1"):
        network.offer(address, 80)
    guest = kernel.client("guest", allow=allow)
    operator = kernel.client("shell")
    operators = {operator.id}
    kernel.serve(SharedTcpip(rules, operators.__contains__, network=network))  # type: ignore[arg-type]

    def reaches(client: wasmos.Client, address: int) -> bool:
        try:
            client.call("tcpip", abi.TcpipConnect(address, 80))
        except wasmos.CapabilityDenied:
            return False
        return True

    assert [address for address in (PUBLIC, PRIVATE) if reaches(guest, address)] == reached
    assert reaches(operator, PUBLIC)
    assert reaches(operator, PRIVATE)


def test_names_are_the_operators_where_connecting_is_off(kernel: wasmos.Kernel) -> None:
    guest = kernel.client("guest", allow=["tcpip"])
    operator = kernel.client("shell")
    kernel.serve(SharedTcpip(None, lambda task: task == operator.id, network=FakeNetwork()))
    question = abi.TcpipDnsResolve("localhost")
    with pytest.raises(wasmos.ServiceError) as caught:
        guest.call("tcpip", question)
    assert caught.value.code == ErrorCode.NOT_ALLOWED
    assert operator.call("tcpip", question).addr == 0x7F000001


def test_input_is_for_whom_it_is(kernel: wasmos.Kernel) -> None:
    """Who may not read is at the end at once, by whichever message, and isn't told of more."""
    mine, other = kernel.client("mine"), kernel.client("other")
    console = SharedConsole(io.BytesIO(), io.BytesIO(b"secret"), lambda task: task == mine.id)
    kernel.serve(console)
    room = bytearray(3)
    assert other.call("console", abi.ConsolePoll()).is_ready
    assert other.call("console", abi.ConsoleTake(room)).len == 0
    with pytest.raises(wasmos.ServiceError) as caught:
        other.call("console", abi.ConsoleRead(3))
    assert caught.value.code == ErrorCode.EOF
    assert console._pollers == {}
    assert mine.call("console", abi.ConsolePoll()).is_ready
    assert mine.call("console", abi.ConsoleTake(room)).len == 3
    assert (bytes(room), mine.call("console", abi.ConsoleRead(3)).data) == (b"sec", b"ret")
