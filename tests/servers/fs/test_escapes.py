"""Every form of path that leads out, by every message that takes a path: nothing outside is read
or changed, whoever resolves, and while somebody exchanges what is on the way."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import wasmos
from tests.servers.fs import trees
from tests.servers.fs.clients import User, entries
from tests.servers.fs.paths import FORMS
from tests.servers.fs.trees import renew
from wasmos import abi
from wasmos.errors import ServiceError
from wasmos.servers.fs import Fs
from wasmos.servers.fs.resolve import Resolver
from wasmos.servers.fs.world import (
    CREATE,
    EMPTY,
    EXCLUSIVE,
    IS_DIRECTORY,
    NO_FOLLOW,
    TO_READ,
    TO_WRITE,
)

BOTH = TO_READ | TO_WRITE
OPENINGS = [
    TO_READ,
    BOTH,
    BOTH | EMPTY,
    TO_READ | EMPTY,
    BOTH | NO_FOLLOW,
    BOTH | CREATE,
    BOTH | CREATE | EMPTY,
    BOTH | CREATE | EXCLUSIVE,
    BOTH | CREATE | NO_FOLLOW,
    TO_READ | IS_DIRECTORY,
    TO_READ | IS_DIRECTORY | NO_FOLLOW,
]


@pytest.fixture(params=trees.RESOLVERS, ids=trees.NAMES)
def kernel(request: pytest.FixtureRequest) -> Iterator[wasmos.Kernel]:
    resolver: Resolver = request.param
    before = trees.open_descriptors()
    kernel = wasmos.Kernel()
    kernel.serve(Fs(resolver=resolver))
    yield kernel
    kernel.close()
    assert trees.open_descriptors() <= before


class Thief:
    """Plays every message with a path, uses what comes of it, and looks at what it got."""

    def __init__(self, kernel: wasmos.Kernel, inside: Path, outside: Path, mode: str) -> None:
        self.user = User(kernel, f'fs(dir="{inside}", at="/data", mode="{mode}")')
        self.forbidden = {
            (found.st_dev, found.st_ino)
            for path in [outside, outside.parent, *outside.rglob("*")]
            for found in (path.lstat(),)
        }
        self.opened = 0

    def calls(self, path: str) -> Iterator[Callable[[], object]]:
        user, spare = self.user, itertools.count()
        for flags in OPENINGS:
            yield lambda flags=flags: self._use(path, flags)  # type: ignore[misc]
        for follow in (0, 1):
            yield lambda follow=follow: self._look(abi.FsStat(path, follow))  # type: ignore[misc]
            yield lambda follow=follow: user.ask(  # type: ignore[misc]
                abi.FsSetTimes(path, follow, 5, 5)
            )
            yield lambda follow=follow: self._linked(path, follow, next(spare))  # type: ignore[misc]
        yield lambda: user.ask(abi.FsLink("/data/f", path, 0))
        yield lambda: user.ask(abi.FsMakeLink("evil", path))
        yield lambda: user.ask(abi.FsReadLink(path, bytearray(100)))
        yield lambda: user.ask(abi.FsRename("/data/victim", path))
        yield lambda: user.ask(abi.FsMakeDirectory(path))
        yield lambda: user.ask(abi.FsRemoveDirectory(path))
        yield lambda: user.ask(abi.FsRename(path, "/data/e/taken"))
        yield lambda: user.ask(abi.FsRemoveFile(path))

    def play(self, path: str, again: Callable[[], object]) -> None:
        for call in self.calls(path):
            again()
            with contextlib.suppress(ServiceError):
                call()

    def _use(self, path: str, flags: int) -> None:
        answer = self.user.ask(abi.FsOpenFile(path, flags))
        self.opened += 1
        try:
            self._look(abi.FsStatFile(answer.fd))
            if answer.kind == 3:
                names = [name for *_, name in entries(self.user.listed(answer.fd, 0, 65536))]
                assert "empty" not in names and "outside" not in names
            else:
                assert trees.SECRET not in self.user.read(answer.fd)
                self.user.ask(abi.FsWriteAt(answer.fd, 0, b"evil"))
        finally:
            self.user.ask(abi.FsCloseFile(answer.fd))

    def _linked(self, path: str, follow: int, number: int) -> None:
        """Another name for something outside would be a way to it."""
        self.user.ask(abi.FsLink(path, f"/data/e/{number}", follow))
        self._look(abi.FsStat(f"/data/e/{number}", 0))
        self.user.ask(abi.FsRemoveFile(f"/data/e/{number}"))

    def _look(self, message: abi.Message) -> None:
        found: Any = self.user.ask(message)
        assert (found.device, found.inode) not in self.forbidden


@pytest.mark.parametrize("part", range(0, len(FORMS), 16))
def test_no_form_by_no_message(
    kernel: wasmos.Kernel, inside: Path, outside: Path, part: int
) -> None:
    thief = Thief(kernel, inside, outside, "rw")
    before = trees.digest(outside)
    for form in FORMS[part : part + 16]:
        path = "/data/" + form.format(outside=outside, inside=inside)
        thief.play(path, lambda: renew(inside, outside))
        assert trees.digest(outside) == before, form


@pytest.mark.parametrize("mode", ["ro", "overlay"])
def test_nothing_is_changed_at_all(
    kernel: wasmos.Kernel, inside: Path, outside: Path, mode: str
) -> None:
    renew(inside, outside)
    before = trees.digest(inside)
    thief = Thief(kernel, inside, outside, mode)
    for form in [*FORMS, "f", "d/sub/deep", "e/new", "d", "e"]:
        thief.play("/data/" + form.format(outside=outside, inside=inside), lambda: None)
    assert trees.digest(inside) == before


def test_links_that_the_guest_made_itself(
    kernel: wasmos.Kernel, inside: Path, outside: Path
) -> None:
    """They are made, as they are only texts, and lead nowhere."""
    thief = Thief(kernel, inside, outside, "rw")
    for target in [
        "../outside",
        str(outside),
        "/",
        "/proc/self/root",
        "/proc/self/fd",
        "../inside/../outside",
        "../" * 100,
    ]:
        for rest in ("", "/secret", "/sub/deep", "/new", f"{outside}/secret"):

            def make(target: str = target) -> None:
                for path in ("/data/mine", "/data/e/taken"):
                    with contextlib.suppress(ServiceError):
                        thief.user.ask(abi.FsRemoveFile(path))
                with contextlib.suppress(ServiceError):
                    thief.user.ask(abi.FsMakeLink(target, "/data/mine"))
                (inside / "victim").write_bytes(b"victim")

            make()
            text = bytearray(1000)
            count = thief.user.ask(abi.FsReadLink("/data/mine", text)).len
            assert text[:count].decode() == target
            thief.play("/data/mine" + rest, make)


def test_specials_are_neither_opened_nor_waited_for(
    kernel: wasmos.Kernel, inside: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inside.parent)
    user = User(kernel, f'fs(dir="{inside}", at="/data")')
    with trees.plant_specials(inside) as names:
        for name in names:
            for flags in OPENINGS:
                if flags & (EXCLUSIVE | IS_DIRECTORY | NO_FOLLOW):
                    continue
                code = user.code(abi.FsOpenFile(f"/data/{name}", flags))
                assert code == wasmos.abi.ErrorCode.NOT_PERMITTED, (name, flags)
            assert user.code(abi.FsSetTimes(f"/data/{name}", 1, 0, 0)) == (
                wasmos.abi.ErrorCode.NOT_PERMITTED
            )
        kinds = {name: kind for _, _, kind, name in entries(user.listed(user.open("/data")))}
        assert (kinds["fifo"], kinds["socket"], kinds["tofifo"]) == (0, 6, 7)


# --- races ------------------------------------------------------------------------------------

ROUNDS = 20


@contextlib.contextmanager
def exchanging(inside: Path, names: tuple[str, str, str]) -> Iterator[None]:
    """Somebody who lets a name be one thing, then another one, as often as he can."""
    name, one, two = (inside / each for each in names)
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            for other in (one, two):
                with contextlib.suppress(OSError):
                    os.rename(other, name)
                with contextlib.suppress(OSError):
                    os.rename(name, other)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


COUNT = len(OPENINGS) + 2 * 3 + 8
CALLS = range(COUNT)


@pytest.mark.parametrize("index", CALLS)
def test_races(kernel: wasmos.Kernel, inside: Path, outside: Path, index: int) -> None:
    """A directory becomes a link out and a directory again, while one call is played."""
    thief = Thief(kernel, inside, outside, "rw")

    def renew() -> None:
        (inside / "victim").write_bytes(b"victim")
        with contextlib.suppress(OSError):
            os.unlink(inside / "e" / "taken")
        with contextlib.suppress(OSError):
            (inside / "good").mkdir()
        with contextlib.suppress(OSError):
            (inside / "evil").symlink_to("../outside")
        with contextlib.suppress(OSError):
            (inside / "good" / "secret").write_bytes(b"deep")

    renew()
    with exchanging(inside, ("flip", "good", "evil")):
        for rest in ["/secret", ""] * ROUNDS:
            renew()
            call = list(thief.calls("/data/flip" + rest))[index]
            with contextlib.suppress(ServiceError):
                call()


def test_every_call_has_its_race(kernel: wasmos.Kernel, inside: Path, outside: Path) -> None:
    assert len(list(Thief(kernel, inside, outside, "rw").calls("/data/f"))) == COUNT
