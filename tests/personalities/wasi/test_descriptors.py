"""The table of descriptors against a model of the engine's: thousands of openings, closings and
renumberings, and what every number stands for afterwards.

The model is checked too: the engine's own WASI plays the same calls. WASI_EXAMPLES=1000 tries as
many other sequences.
"""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.personalities.wasi.conftest import Machine
from tests.personalities.wasi.host_files import RecordingFs, plant
from tests.personalities.wasi.player import Call, EnginePlayer, Out, Played, Player
from wasmos.kernel import Personality
from wasmos.personalities import wasi
from wasmos.servers.fs.host import load_directory
from wasmos.servers.fs.image import Image

SEEDS = range(int(os.environ.get("WASI_EXAMPLES", "3")))
MOST = 1024  # descriptors
BADF, MFILE, NOTDIR = 8, 33, 54
READ = 2
FOLDERS = 6


class Folder:
    """A directory with a file "f". Every file and directory is known by a size: a file by its own,
    a directory by that of its "f"."""

    def __init__(self, size: int, folders: dict[bytes, Folder]) -> None:
        self.size = size
        self.folders = folders


class Opened(NamedTuple):
    """What a descriptor stands for: a folder, a file of this size at this offset, or a stream."""

    folder: Folder | None = None
    size: int = 0
    offset: int = 0
    name: bytes | None = None  # of a directory that was granted


class Table:
    """The highest number that was freed, or else the next."""

    def __init__(self, granted: list[Opened]) -> None:
        self.open = dict(enumerate([Opened()] * 3 + granted))
        self.freed: set[int] = set()

    @property
    def next(self) -> int:
        return len(self.open) + len(self.freed)

    def number(self) -> int:
        return max(self.freed, default=self.next)

    def put(self, fd: int, what: Opened) -> None:
        self.freed.discard(fd)
        self.open[fd] = what

    def close(self, fd: int) -> None:
        del self.open[fd]
        self.freed.add(fd)


def tree() -> Folder:
    """As `planted` makes it."""
    return Folder(1, {b"d%d" % n: Folder(10 * n, {b"in": Folder(10 * n + 1, {})})
                      for n in range(1, FOLDERS + 1)})  # fmt: skip


def planted(folder: Folder, path: str = "") -> dict[str, bytes | str | None]:
    made: dict[str, bytes | str | None] = {f"{path}f": bytes(folder.size)}
    for name, inner in folder.folders.items():
        made[path + name.decode()] = None
        made |= planted(inner, f"{path}{name.decode()}/")
    return made


class Script:
    """Calls by chance, and what each has to give: an errno, and what is in its record then."""

    def __init__(self, seed: int, personality: Personality) -> None:
        self.root = tree()
        self.is_old = personality is wasi.UNSTABLE
        names = [b"/", b"."] if self.is_old else [b"/"]
        self.table = Table([Opened(self.root, name=name) for name in names])
        self.calls: list[Call] = []
        self.wanted: list[tuple[int, int, bytes]] = []  # errno, where, what
        self._random = random.Random(seed)

    def _add(self, call: Call, errno: int = 0, at: int = 0, found: bytes = b"") -> None:
        self.calls.append(call)
        self.wanted.append((errno, at, b"" if errno else found))

    # --- what a number stands for ---

    def check(self, fd: int) -> None:
        what = self.table.open.get(fd)
        if what is None:
            self._add(Call("fd_fdstat_get", fd, Out(24)), BADF)
        elif what.folder is not None:
            self._check_folder(fd, what.folder, what.name)
        elif what.size:
            size = struct.pack("<Q", what.size)
            at = 24 if self.is_old else 32
            self._add(Call("fd_filestat_get", fd, Out(64)), 0, at, size)
            self._add(Call("fd_tell", fd, Out(8)), 0, 0, struct.pack("<Q", what.offset))
        else:
            self._add(Call("fd_fdstat_get", fd, Out(24)))

    def _check_folder(self, fd: int, folder: Folder, name: bytes | None) -> None:
        at = 8 + (24 if self.is_old else 32)
        size = struct.pack("<Q", folder.size)
        self._add(Call("path_filestat_get", fd, 0, b"f", Out(64)), 0, at, size)
        errno = NOTDIR if name is None else 0
        self._add(Call("fd_prestat_dir_name", fd, Out(8), len(name or b"")), errno, 0, name or b"")

    def check_all(self) -> None:
        for fd in range(self.table.next + 2):
            self.check(fd)

    # --- what is done ---

    def _any(self) -> int:
        """Mostly a number that is open, never the one that the player prints by."""
        if self._random.random() < 0.1:
            return self._random.choice([self.table.next, 2000, *self.table.freed])
        return self._random.choice([fd for fd in self.table.open if fd != 1])

    def _folder(self) -> tuple[int, Folder]:
        return self._random.choice(
            [(fd, what.folder) for fd, what in self.table.open.items() if what.folder is not None]
        )

    def _is_needed(self, fd: int) -> bool:
        """Whether it is the only way to all files."""
        ways = [at for at, what in self.table.open.items() if what.folder is self.root]
        return ways == [fd]

    def open(self) -> None:
        fd, folder = self._folder()
        names = [b".", b"f", b"f", *folder.folders]
        name = self._random.choice(names)
        if name == b"f":
            what = Opened(size=folder.size, offset=len(self.calls))
        else:
            what = Opened(folder if name == b"." else folder.folders[name])
        number = self.table.number()
        call = Call("path_open", fd, 0, name, 0, READ, READ, 0, Out(4))
        if number == MOST:
            self._add(call, MFILE)
            return
        self._add(call, 0, -len(name) // 8 * -8, struct.pack("<I", number))
        self.table.put(number, what)
        if what.size:
            from_start = 2 if self.is_old else 0
            self._add(Call("fd_seek", number, what.offset, from_start, Out(8)))

    def close(self) -> None:
        fd = self._any()
        if self._is_needed(fd):
            return
        if fd in self.table.open:
            self._add(Call("fd_close", fd))
            self.table.close(fd)
        else:
            self._add(Call("fd_close", fd), BADF)

    def renumber(self) -> None:
        fd, to = self._any(), self._any()
        if self._is_needed(to):
            return
        if not {fd, to} <= set(self.table.open):
            self._add(Call("fd_renumber", fd, to), BADF)
            return
        self._add(Call("fd_renumber", fd, to))
        if fd != to:
            self.table.put(to, self.table.open[fd])
            self.table.close(fd)

    def rename(self) -> None:
        """Those that are open follow, whatever becomes of the length of their paths."""
        fd = self._random.choice(
            [at for at, what in self.table.open.items() if what.folder is self.root]
        )
        old = self._random.choice(list(self.root.folders))
        new = b"%d" % len(self.calls) + b"n" * self._random.randrange(30)
        self._add(Call("path_rename", fd, old, fd, new))
        self.root.folders[new] = self.root.folders.pop(old)

    def go_on(self, calls: int, opening: int, closing: int) -> None:
        """Some more calls, with these odds."""
        does = [self.open, self.close, self.renumber, self.rename]
        end = len(self.calls) + calls
        while len(self.calls) < end:
            [do] = self._random.choices(does, [opening, closing, 4, 1])
            do()
            self.check(self._any())


def compare(script: Script, played: Played) -> None:
    for number, (errno, at, found) in enumerate(script.wanted):
        got = played.errnos[number], played.data[number][at : at + len(found)]
        assert got == (errno, found), script.calls[: number + 1][-20:]


def play(machine: Machine, script: Script, personality: Personality) -> None:
    image = Image()
    plant(machine.root, planted(tree()))
    load_directory(machine.root, image)
    machine.fs = RecordingFs(image, max_open_files=2 * MOST)
    player = Player(machine, personality, len(script.calls))
    compare(script, player.play_with(script.calls, ["fs"]))


@pytest.mark.parametrize("personality", wasi.ALL, ids=lambda each: each.name)
@pytest.mark.parametrize("seed", SEEDS)
def test_numbers(machine: Machine, tmp_path: Path, personality: Personality, seed: int) -> None:
    script = Script(seed, personality)
    for opening, closing in ((8, 4), (4, 8), (6, 6)):
        script.go_on(200, opening, closing)
    script.check_all()
    play(machine, script, personality)
    if personality is wasi.PREVIEW1:
        plant(tmp_path / "engines", planted(tree()))
        engine = EnginePlayer(tmp_path, len(script.calls))
        compare(script, engine.play(script.calls, tmp_path / "engines"))


@pytest.mark.parametrize("personality", wasi.ALL, ids=lambda each: each.name)
def test_numbers_where_they_end(machine: Machine, personality: Personality) -> None:
    script = Script(-1, personality)
    while script.table.number() < MOST:
        script.open()
    for opening, closing in ((8, 4), (4, 8), (8, 4)):
        script.go_on(300, opening, closing)
    script.check_all()
    play(machine, script, personality)
