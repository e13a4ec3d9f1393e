"""A service that does nothing, and tells what it was asked for."""

from __future__ import annotations

import wasmos
from tests.attacks.attack import Scene


class Echoes(wasmos.Service):
    """Notes what it is asked for."""

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]
        self.seen: list[object] = []

    def tcpip_listen(self, caller: wasmos.Caller, listen_port: int) -> int:
        self.seen.append(listen_port)
        return 3

    def tcpip_connect(self, caller: wasmos.Caller, dst_addr: int, dst_port: int) -> int:
        self.seen.append((dst_addr, dst_port))
        return 3

    def tcpip_write(self, caller: wasmos.Caller, sock: int, data: bytes) -> None:
        self.seen.append(data)

    def fs_readdir(self, caller: wasmos.Caller, path: str, index: int) -> tuple[str, int, int]:
        self.seen.append(index)
        return "x", 255, 0

    def tcpip_dns_resolve(self, caller: wasmos.Caller, hostname: str) -> int:
        self.seen.append(hostname)
        return 1


def serve(scene: Scene, name: str = "tcpip") -> Echoes:
    service = Echoes(name)
    scene.serve(service)
    return service
