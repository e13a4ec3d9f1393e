"""How each server is made for a system: the one place that knows them all.

Law: a server is imported when it is wanted, so that a program that uses one
does not pay for the others.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from ipaddress import IPv4Address
    from typing import BinaryIO, TypeAlias

    from wasmos.kernel import Caller, Service, Task
    from wasmos.servers.fs import Image

    MayConnect: TypeAlias = Callable[[Caller, IPv4Address, int], bool]


def vm(spawn: Callable[[str, Caller], Awaitable[Task]] | None) -> Service:
    from wasmos.servers.vm import Vm

    return Vm(spawn)


def console(output: BinaryIO | None, source: BinaryIO | None) -> Service:
    from wasmos.servers.console import Console

    return Console(output, source)


def args(arguments: Mapping[int, Sequence[str]]) -> Service:
    from wasmos.servers.args import Args

    return Args(arguments)


def echo() -> Service:
    from wasmos.servers.echo import Echo

    return Echo()


def pong() -> Service:
    from wasmos.servers.pong import Pong

    return Pong()


def fs(image: Image | None) -> Service:
    from wasmos.servers.fs import Fs

    return Fs(image)


def tcpip(
    listen: Sequence[str], connect: str | MayConnect, log: Callable[[str], object]
) -> Service:
    from wasmos.servers.tcpip import PortMap, Tcpip

    return Tcpip(
        ports=PortMap(listen),
        connect=connect,
        on_bound=lambda port, endpoint: log(f"tcpip: port {port} is {endpoint}"),
    )


def make_image(files: Mapping[str, str]) -> Image:
    """An image with some files in it."""
    from wasmos.servers.fs import Image

    image = Image()
    for name, text in files.items():
        image.put(name, text.encode())
    return image


def load_image(image: Image, path: str) -> list[str]:
    """Add what is in a host directory or a tar file; what was left out."""
    from wasmos.servers.fs.host import load

    return [f"{name}, which is {reason}" for name, reason in load(path, image)]


def would_lose(target: str, source: str | None) -> bool:
    """Whether saving to the directory `target` would delete what isn't ours."""
    if target.endswith(".tar") or not os.path.isdir(target):
        return False
    same = source is not None and os.path.realpath(source) == os.path.realpath(target)
    return not same and bool(os.listdir(target))


def save_image(image: Image, path: str) -> None:
    """Write the image to a host directory, or to a file if it ends in .tar,
    in place of what an earlier shutdown left there."""
    from wasmos.servers.fs.host import save

    save(image, path, replace=True)
