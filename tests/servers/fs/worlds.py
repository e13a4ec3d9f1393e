"""Worlds of every kind with the same things in them, and ways to look at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.fs import trees
from wasmos.errors import ServiceError
from wasmos.servers.fs import Image
from wasmos.servers.fs.beneath import Beneath
from wasmos.servers.fs.hostworld import Budget, HostWorld
from wasmos.servers.fs.imageworld import ImageWorld
from wasmos.servers.fs.overlay import lay_over
from wasmos.servers.fs.world import CREATE, IS_DIRECTORY, TO_READ, TO_WRITE, Opened, World

LINKS = {
    "l": "f",
    "ld": "d",
    "d/up": "../f",
    "dangling": "e/new",
    "loop": "loop",
    "out": "../x",
    "abs": "/etc/passwd",
    "outdir": "../",
}
OVERLAYS = ["OverlayAbove", "OverlayBelow"]
KINDS = ["Image", *trees.NAMES, *OVERLAYS]


def fill(world: World) -> None:
    """A file `f`, an empty directory `e`, `d/sub/deep`, and links."""
    put(world, "f", b"file")
    for directory in ("e", "d", "d/sub"):
        world.add_directory(directory)
    put(world, "d/sub/deep", b"deep")
    for path, target in LINKS.items():
        world.make_link(target, path)


def put(world: World, path: str, data: bytes) -> None:
    opened = world.open_file(path, CREATE | TO_WRITE)
    assert opened.write_from(0, memoryview(data)) == len(data)
    opened.close()


def read(world: World, path: str) -> bytes:
    opened = world.open_file(path, TO_READ)
    try:
        return reading(opened, 0, 1000)
    finally:
        opened.close()


def reading(opened: Opened, offset: int, size: int) -> bytes:
    data = bytearray(size)
    return bytes(data[: opened.read_into(offset, memoryview(data))])


def names(world: World, path: str = ".") -> list[str]:
    opened = world.open_file(path, TO_READ | IS_DIRECTORY)
    try:
        return sorted(name.decode() for name, _, _ in opened.entries())
    finally:
        opened.close()


def outcome(call: Callable[..., object], *arguments: object, **options: object) -> object:
    """What it gives, or its error's code."""
    try:
        return call(*arguments, **options)
    except ServiceError as error:
        return error.code


def host_world(directory: Path, name: str) -> HostWorld:
    directory.mkdir()
    resolver = trees.RESOLVERS[trees.NAMES.index(name)]
    return HostWorld(Beneath(directory, resolver=resolver), Budget(100))


@contextmanager
def make(kind: str, directory: Path, *, empty: bool = False) -> Iterator[World]:
    """One of the kinds; with nothing left open after it."""
    before = trees.open_descriptors()
    if kind == "Image":
        world: World = ImageWorld(Image())
        if not empty:
            fill(world)
        yield world
        return
    host = host_world(directory, trees.NAMES[-1] if kind in OVERLAYS else kind)
    if kind == "OverlayBelow" and not empty:
        fill(host)  # before it is looked at
    world = ImageWorld(lay_over(host)) if kind in OVERLAYS else host
    if kind != "OverlayBelow" and not empty:
        fill(world)
    digest = trees.digest(directory)
    yield world
    if kind in OVERLAYS:
        assert trees.digest(directory) == digest
    host.close()
    assert host._budget.used == 0
    assert trees.open_descriptors() <= before
