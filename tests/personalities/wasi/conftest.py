"""A machine for programs that speak WASI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

import wasmos
from tests.personalities.wasi.calls import Calls, Result
from tests.personalities.wasi.fakes import FakeConsole, FakeTcpip
from tests.personalities.wasi.host_files import RecordingFs, plant
from wasmos.personalities import wasi
from wasmos.servers.args import Args
from wasmos.servers.clock import Clock
from wasmos.servers.env import Env
from wasmos.servers.fs.host import load_directory
from wasmos.servers.fs.image import Image
from wasmos.servers.random import Random

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.personalities.wasi.host_files import Tree

EVERYTHING = ("args", "clock", "console", "env", "fs", "random", "tcpip")


class Machine:
    """A kernel with all services; console and network are fakes.

    root: the host directory that programs see as "/", unless a test has planted others.
    """

    def __init__(self, root: Path) -> None:
        self.kernel = wasmos.Kernel(virtual_clock=True, personalities=wasi.ALL)
        self.root = root
        self.fs = RecordingFs()
        self.plant({})
        self.arguments: Sequence[str] = ()
        self.environment: Mapping[str, str] = {}
        self.console = FakeConsole()
        self.tcpip = FakeTcpip()

    def plant(self, tree: Tree, roots: Sequence[str] = ("/",)) -> None:
        """What is in the host directory, and which directories of it programs have."""
        plant(self.root, tree)
        self.fs_rules = [f'fs(dir="{self.root}{root.rstrip("/")}", at="{root}")' for root in roots]

    def plant_in_memory(self, tree: Tree) -> None:
        """The same for "/", without any file of the host that could be open."""
        self.plant(tree)
        image = Image()
        load_directory(self.root, image)
        self.fs = RecordingFs(image, max_open_files=2000)
        self.fs_rules = ["fs"]

    def serve(self) -> None:
        if not self.kernel.services:
            for service in (
                Args(lambda _: self.arguments),
                Clock(),
                self.console,
                Env(lambda _: self.environment),
                self.fs,
                Random(),
                self.tcpip,
            ):
                self.kernel.serve(service)

    def run(self, calls: Calls, allow: Sequence[str] = EVERYTHING) -> Result:
        """Needs the console: what is in the memory in the end comes over it."""
        ended = self.start(calls.source, allow)
        *_, memory = self.console.printed[2] or [b"\xff" * 65536]
        return Result(calls, ended, memory)

    def start(self, source: str | bytes, allow: Sequence[str] = EVERYTHING) -> wasmos.Exit:
        self.serve()
        rules = [text for rule in allow for text in (self.fs_rules if rule == "fs" else [rule])]
        task = self.kernel.spawn(source, allow=rules, trusted=True)
        return self.kernel.wait(task)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "files")
    with machine.kernel:
        yield machine
