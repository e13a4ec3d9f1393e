"""What leads out of a directory, by every function of WASI that takes a path, and what a program
can try with its descriptors: nothing outside is read or changed.

The forms are those of the file server's own attacks; here they go through the adapter.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.personalities.wasi.calls import RIGHTS, Calls, Loaded
from tests.personalities.wasi.conftest import Machine
from tests.personalities.wasi.player import Call, Into, Out, Parts, Played, Player, Slot
from tests.servers.fs import trees
from tests.servers.fs.paths import FORMS
from tests.servers.fs.trees import renew

READ, WRITE = 1 << 1, 1 << 6
CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
BADF, FAULT, FBIG, INVAL, NOTCAPABLE = 8, 21, 22, 28, 76
ROOT, OPEN = Slot(0), Slot(1)
OFLAGS = [0, DIRECTORY, TRUNC, CREAT, CREAT | EXCL, CREAT | TRUNC, EXCL | TRUNC,
          DIRECTORY | TRUNC, DIRECTORY | CREAT | EXCL | TRUNC]  # fmt: skip


def using(path: bytes) -> Iterator[Call]:
    """Every function that takes a path, and what comes of those that open: what only looks first,
    what takes away last."""
    for oflags in OFLAGS:
        for follow in (0, 1):
            yield Call("path_open", ROOT, follow, path, oflags, RIGHTS, RIGHTS, 0, Into(1))
            yield Call("fd_filestat_get", OPEN, Out(64))
            yield Call("fd_pread", OPEN, Parts([bytes(50)]), 0, Out(4))
            yield Call("fd_readdir", OPEN, Out(1000), 1000, 0, Out(4))
            yield Call("fd_write", OPEN, Parts([b"evil"]), Out(4))
            yield Call("fd_filestat_set_times", OPEN, 5, 5, 5)
            yield Call("path_open", OPEN, 1, b"../outside/secret", 0, READ, 0, 0, Into(2))
            yield Call("fd_pread", Slot(2), Parts([bytes(50)]), 0, Out(4))
            yield Call("fd_close", OPEN)
            yield Call("forget", 8 + 4)
    for follow in (0, 1):
        yield Call("path_filestat_get", ROOT, follow, path, Out(64))
        yield Call("path_filestat_set_times", ROOT, follow, path, 5, 5, 5)
        yield Call("path_link", ROOT, follow, path, ROOT, b"e/linked")
        yield Call("path_filestat_get", ROOT, 0, b"e/linked", Out(64))
        yield Call("path_unlink_file", ROOT, b"e/linked")
    yield Call("path_readlink", ROOT, path, Out(100), 100, Out(4))
    yield Call("path_symlink", b"evil", ROOT, path)
    yield Call("path_create_directory", ROOT, path)
    yield Call("path_remove_directory", ROOT, path)
    yield Call("path_link", ROOT, 0, b"f", ROOT, path)
    yield Call("path_rename", ROOT, b"victim", ROOT, path)
    yield Call("path_rename", ROOT, path, ROOT, b"e/taken")
    yield Call("path_unlink_file", ROOT, path)
    yield Call("path_remove_directory", ROOT, path)


def check(calls: list[Call], played: Played, outside: Path) -> None:
    forbidden = {
        struct.pack("<QQ", found.st_dev, found.st_ino)
        for path in [outside, outside.parent, *outside.rglob("*")]
        for found in (path.lstat(),)
    }
    for call, errno, data in zip(calls, played.errnos, played.data, strict=True):
        if call.name in ("fd_pread", "fd_readdir"):
            assert trees.SECRET not in data, calls
        elif call.name.endswith("filestat_get") and errno == 0:
            at = sum(-len(each) // 8 * -8 for each in call.arguments if isinstance(each, bytes))
            assert data[at : at + 16] not in forbidden, calls


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return trees.make_outside(tmp_path)


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    return trees.make_inside(tmp_path)


def path_of(form: str, inside: Path, outside: Path) -> bytes:
    return form.format(inside=inside, outside=outside).encode("utf-8", "surrogateescape")


def test_the_calls_do_something(machine: Machine, inside: Path, outside: Path) -> None:
    """With what is inside they work: what they are refused outside isn't refused anyway."""
    renew(inside, outside)
    calls = [*using(b"d/sub/deep")]
    first = Player(machine).play(calls[:90], inside)
    assert first.data[2].find(b"deep") == 16 - 8  # behind the array of one part
    worked = {call.name for call, errno in zip(calls, first.errnos, strict=False) if errno == 0}
    second = Player(machine).play(calls[90:], inside)
    worked |= {
        call.name for call, errno in zip(calls[90:], second.errnos, strict=True) if not errno
    }
    assert worked >= {call.name for call in calls} - {
        "path_readlink", "path_symlink", "path_create_directory", "path_remove_directory",
        "fd_readdir",
    }  # fmt: skip


@pytest.mark.parametrize("part", range(0, len(FORMS), 32))
def test_no_form_by_no_function(machine: Machine, inside: Path, outside: Path, part: int) -> None:
    player = Player(machine)
    before = trees.digest(outside)
    for form in FORMS[part : part + 32]:
        renew(inside, outside)
        calls = [*using(path_of(form, inside, outside))]
        # Twice as many as there is room for: half of the flags each time.
        for some in (calls[:90], calls[90:]):
            check(some, player.play(some, inside), outside)
        assert trees.digest(outside) == before, form


@pytest.mark.parametrize("mode", ["ro", "overlay"])
def test_nothing_is_changed_that_is_only_to_be_read(
    machine: Machine, inside: Path, outside: Path, mode: str
) -> None:
    """Whatever rights it asks for, and whatever rights it is told that it has."""
    renew(inside, outside)
    player = Player(machine)
    before = trees.digest(inside), trees.digest(outside)
    for form in ["f", "d", "d/sub/deep", "e", "e/new", "victim", *FORMS[::7]]:
        calls = [*using(path_of(form, inside, outside))]
        for some in (calls[:90], calls[90:]):
            check(some, player.play(some, inside, mode), outside)
    assert (trees.digest(inside), trees.digest(outside)) == before


def test_texts_of_links_that_a_program_makes(machine: Machine, inside: Path, outside: Path) -> None:
    player = Player(machine)
    before = trees.digest(outside)
    for target in [b"../outside", b"../outside/secret", b"..", b"../" * 64, b"d/../../outside"]:
        for rest in [b"", b"/", b"/secret", b"/sub/deep", b"/new", b"/outside/secret"]:
            calls = [Call("path_symlink", target, ROOT, b"mine"), *using(b"mine" + rest)]
            for some in (calls[:90], calls[:1] + calls[90:]):
                check(some, player.play(some, inside), outside)
                (inside / "mine").unlink(missing_ok=True)
            (inside / "victim").write_bytes(b"victim")
            assert trees.digest(outside) == before, (target, rest)


# --- descriptors --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def players(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Player]:
    machine = Machine(tmp_path_factory.mktemp("files") / "root")
    with machine.kernel:
        yield Player(machine)


EDGES = [0, 1, 2, 3, 4, 5, 100, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]


def test_cookies_that_nobody_gave(machine: Machine) -> None:
    """Between changes: nothing but entries of that directory comes, and none past its end."""
    machine.plant({"d": None, **{f"d/name{n}": b"" for n in range(5)}, "secret": b""})
    calls = Calls()
    calls.add("path_open", 3, 0, *calls.text("d"), DIRECTORY, READ, 0, 0, 0)
    for number, cookie in enumerate(EDGES):
        calls.add("fd_readdir", Loaded(0), 1000, 500, cookie, 4)
        calls.add("fd_readdir", Loaded(0), 2000, 30, cookie, 8)
        if number < 5:
            calls.add("path_unlink_file", 3, *calls.text(f"d/name{number}"))
        calls.add("path_create_directory", 3, *calls.text(f"d/other{number}"))
    result = machine.run(calls)
    assert set(result.errnos) == {0}
    assert b"secret" not in result.bytes(1000, 1500)
    assert (result.u32(4), result.u32(8)) == (0, 0)


# A disk may well have what is between: only what no file can have, or what is little.
HUGE = [edge for edge in EDGES if edge > 2**62]


@pytest.mark.parametrize(
    ("offset", "size"), [*((huge, edge) for huge in HUGE for edge in EDGES if edge),
                         *((edge, huge) for huge in HUGE for edge in EDGES if edge <= 2**32)]
)  # fmt: skip
def test_room_that_nobody_has(players: Player, tmp_path: Path, offset: int, size: int) -> None:
    (tmp_path / "f").write_bytes(b"0123")
    played = players.play(
        [
            Call("path_open", ROOT, 0, b"f", 0, RIGHTS, RIGHTS, 0, Into(1)),
            Call("fd_allocate", OPEN, offset, size),
            Call("fd_filestat_set_size", OPEN, max(offset, size)),
            Call("fd_tell", OPEN, Out(8)),
        ],
        tmp_path,
    )
    assert played.errnos[0] == played.errnos[3] == 0
    assert played.errnos[1] in (INVAL, FBIG) and played.errnos[2] in (INVAL, FBIG)
    assert (tmp_path / "f").read_bytes() == b"0123"


def test_more_parts_than_memory(machine: Machine) -> None:
    machine.plant({"f": b"0123"})
    calls = Calls()
    calls.add("path_open", 3, 0, *calls.text("f"), 0, RIGHTS, 0, 0, 0)
    calls.put(100, struct.pack("<II", 0, 0xFFFFFFFF))
    calls.put(200, struct.pack("<IIII", 0x8000, 0x8000, 0xFFFFFFF0, 0x20))
    for name, more in {"fd_read": (), "fd_write": (), "fd_pread": (0,), "fd_pwrite": (0,)}.items():
        for at, count in ((100, 1), (200, 2), (300, 0xFFFFFFFF), (300, 1 << 29), (300, 1 << 13)):
            calls.add(name, Loaded(0), at, count, *more, 8)
    result = machine.run(calls)
    assert result.errnos == [0] + [FAULT] * 20
    assert (machine.root / "f").read_bytes() == b"0123"


def test_many_parts(machine: Machine) -> None:
    """As many as there is room for: each is looked at, and what is read fills the first ones."""
    machine.plant({"f": b"0123"})
    calls = Calls()
    calls.add("path_open", 3, 0, *calls.text("f"), 0, RIGHTS, 0, 0, 0)
    parts = calls.parts(*((16 + n % 8, 1) for n in range(5000)))
    calls.add("fd_pread", Loaded(0), *parts, 0, 8)
    calls.add("fd_pwrite", Loaded(0), *calls.parts(*[(16, 0)] * 100, (16, 2)), 4, 12)
    result = machine.run(calls)
    assert result.errnos == [0, 0, 0]
    assert (result.u32(8), result.u32(12), result.bytes(16, 5)) == (4, 2, b"0123\0")
    assert (machine.root / "f").read_bytes() == b"012301"


def test_rights_do_not_come_back(machine: Machine) -> None:
    """Neither by opening the same directory again, nor under another number, nor by asking."""
    machine.plant({"f": b"0123", "d": None})
    calls = Calls()
    calls.add("fd_fdstat_set_rights", 3, 1 << 13 | 1 << 14, READ | 1 << 13)  # to open, to read
    calls.add("path_open", 3, 0, *calls.text("."), DIRECTORY, 1 << 13, 1 << 13, 0, 0)
    for fd in (3, Loaded(0)):
        calls.add("path_open", fd, 0, *calls.text("f"), 0, READ | WRITE, 0, 0, 8)
        calls.add("path_open", fd, 0, *calls.text("f"), 0, READ, READ | WRITE, 0, 8)
        calls.add("path_unlink_file", fd, *calls.text("f"))
        calls.add("path_create_directory", fd, *calls.text("new"))
        calls.add("fd_fdstat_set_rights", fd, RIGHTS, RIGHTS)
    calls.add("fd_renumber", 3, Loaded(0))
    calls.add("path_unlink_file", Loaded(0), *calls.text("f"))
    result = machine.run(calls)
    assert result.errnos == [0, 0, *[NOTCAPABLE] * 10, 0, NOTCAPABLE]
    assert (machine.root / "f").exists()


def test_what_was_closed_stays_closed(machine: Machine) -> None:
    """A number means what it was given to last, and nothing once that is closed."""
    machine.plant({"f": b"file", "g": b"other", "d": None})
    calls = Calls()
    f, g = calls.text("f"), calls.text("g")
    calls.add("path_open", 3, 0, *f, 0, READ, 0, 0, 0)  # 4
    calls.add("path_open", 3, 0, *g, 0, RIGHTS, 0, 0, 4)  # 5
    calls.add("fd_renumber", 5, 4)
    calls.add("fd_pread", 4, *calls.parts((100, 5)), 0, 8)
    calls.add("fd_close", 5)
    calls.add("fd_renumber", 5, 3)
    calls.add("fd_close", 4)
    calls.add("fd_close", 4)
    calls.add("fd_pread", 4, *calls.parts((200, 5)), 0, 8)
    calls.add("path_open", 3, 0, *f, 0, READ, 0, 0, 0)  # 5, which was freed
    calls.add("path_open", 3, 0, *f, 0, READ, 0, 0, 0)  # 4 again
    calls.add("fd_pread", 4, *calls.parts((200, 5)), 0, 8)
    calls.add("fd_write", 4, *calls.parts((200, 5)), 8)
    calls.add("fd_renumber", 4, 3)
    calls.add("path_open", 3, 0, *f, 0, READ, 0, 0, 0)
    calls.add("fd_prestat_get", 3, 8)
    calls.add("fd_close", 3)
    calls.add("path_open", 3, 0, *f, 0, READ, 0, 0, 0)
    result = machine.run(calls)
    assert result.errnos == [
        0, 0, 0, 0, BADF, BADF, 0, BADF, BADF, 0, 0, 0, BADF, 0, 54, BADF, 0, BADF,
    ]  # fmt: skip
    assert (result.bytes(100, 5), result.bytes(200, 4)) == (b"other", b"file")
    assert (machine.root / "f").read_bytes() == b"file"
