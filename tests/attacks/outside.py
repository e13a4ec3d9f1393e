"""A network that notes who is reached, and how a task tries to."""

from __future__ import annotations

import asyncio
import ipaddress

from tests.attacks.agent import raw
from tests.attacks.attack import Agent, Scene, settle
from wasmos import abi
from wasmos.servers.tcpip import Tcpip
from wasmos.servers.tcpip.fake import FakeNetwork
from wasmos.servers.tcpip.network import Endpoint, Events, Stream

PUBLIC = "93.184.215.14"
OTHER = "151.101.1.140"
NAMES = {
    "example.com": PUBLIC, "www.example.com": PUBLIC, "local.example.com": "127.0.0.1",
    "cloud.example.com": "169.254.169.254", "intra.example.com": "10.0.0.1", "other.com": OTHER,
    "zero.example.com": "0.0.0.0",
}  # fmt: skip


class Watched(FakeNetwork):
    """Notes what is connected to, looked up and opened."""

    def __init__(self) -> None:
        super().__init__(NAMES)
        self.connected: list[str] = []
        self.resolved: list[str] = []
        self.opened: list[str] = []

    def connect(
        self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint, events: Events
    ) -> Stream:
        self.connected.append(f"{endpoint.host}:{endpoint.port}")
        return super().connect(loop, endpoint, events)

    async def resolve(self, hostname: str) -> list[str]:
        self.resolved.append(hostname)
        return await super().resolve(hostname)

    def listen(self, loop, endpoint, door):  # type: ignore[no-untyped-def]
        self.opened.append(f"{endpoint.host}:{endpoint.port}")
        return super().listen(loop, endpoint, door)


def serve(scene: Scene) -> Watched:
    network = Watched()
    for host in (PUBLIC, OTHER, "127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0"):
        network.offer(host, 443)
    scene.serve(Tcpip(network=network, ports=["0:80", "0:81"]))
    return network


def number(address: str) -> int:
    return int(ipaddress.IPv4Address(address))


def connect(agent: Agent, address: str | int, port: int = 443) -> int:
    """The error; 0 if it is connected."""
    to = number(address) if isinstance(address, str) else address
    agent.begin_call("tcpip", raw(abi.TcpipConnect.TYPE, 0, to - ((to >> 31) << 32), port))
    for _ in range(20):
        settle(agent._kernel)
        if agent.is_back:
            break
    return agent.result().error


def resolve(agent: Agent, name: str) -> int:
    """The address; an error if it is negative."""
    agent.begin_call("tcpip", abi.TcpipDnsResolve(name))
    for _ in range(20):
        settle(agent._kernel)
        if agent.is_back:
            break
    result = agent.result()
    return result.error or result.message.addr
