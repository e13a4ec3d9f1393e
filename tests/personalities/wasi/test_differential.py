"""Any calls, here and under the engine's own WASI, in two copies of one directory: the same
errnos, the same results, and the same directory in the end.

The examples are the same in each run. WASI_EXAMPLES=20000 tries so many others, which differ from
run to run. Where the two differ on purpose is said in `explained`, as narrowly as it can be, and in
docs/reference/wasi.md.
"""

from __future__ import annotations

import functools
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.personalities.wasi.conftest import Machine
from tests.personalities.wasi.host_files import plant
from tests.personalities.wasi.player import (
    LATELY,
    Call,
    EnginePlayer,
    Into,
    Out,
    Parts,
    Played,
    Player,
    Slot,
    remains,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.personalities.wasi.player import Argument

EXAMPLES = int(os.environ.get("WASI_EXAMPLES", "0"))
TREE: dict[str, bytes | str | None] = {
    "f": b"0123456789", "d": None, "d/in": b"inner", "d/sub": None, "d/up": "../f", "e": None,
    "l": "f", "ld": "d", "dangling": "new", "loop": "loop", "out": "../outside", "abs": "/etc",
}  # fmt: skip
READ, WRITE, ALL = 1 << 1, 1 << 6, (1 << 29) - 1
CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
BADF, ILSEQ, INVAL, NAMETOOLONG, NOENT, PERM = 8, 25, 28, 37, 44, 63
LONGEST = {1: 1023 - 1, 2: 735 - 1}  # without the root's own slash

# --- any calls ----------------------------------------------------------------------------------

NAMES = ["f", "d", "e", "in", "sub", "up", "l", "ld", "dangling", "loop", "out", "abs", "x", "new",
         ".", "..", "", "n" * 256]  # fmt: skip
USUAL = st.sampled_from(["f", "d", "e", "l", "ld", "d/in", "d/sub", "d/up", "x", "new", "e/x", "."])
PATHS = st.one_of(
    USUAL,
    USUAL,
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join),
    st.sampled_from(["", "a\0b", "/", "/f", "./f/", "d//in", "ld/../f", "n" * 1100, "\\", "d\\in"]),
).map(str.encode) | st.sampled_from([b"\xff", b"d/\xc3"])
DIRECTORIES = st.sampled_from([Slot(0), Slot(0), Slot(0), Slot(1), Slot(2)])
OPENED = st.sampled_from([Slot(number) for number in (1, 1, 1, 2, 2, 3, 4, 0)])
INTO = st.sampled_from([Into(number) for number in (1, 1, 2, 2, 3, 4)])
FOLLOW = st.sampled_from([0, 1])
TEXT = st.sampled_from([b"", b"a", b"bcdef", b"x" * 30])
OFFSETS = st.sampled_from([0, 1, 5, 10, 12, 100, 2**31, 2**63 - 1, 2**63, 2**64 - 1])
SIZES = st.sampled_from([0, 1, 5, 10, 100, 5000, 2**63 - 1, 2**63, 2**64 - 1])
DELTAS = st.sampled_from([0, 1, -1, 5, -5, -10, -11, 100, 2**31, 2**63 - 1, -(2**63)])
TIMES = st.sampled_from([0, 5, 1_000_000_007, 2**62])


def calls_of(name: str, *arguments: st.SearchStrategy[Argument] | Argument) -> object:
    made = [each if isinstance(each, st.SearchStrategy) else st.just(each) for each in arguments]
    return st.builds(functools.partial(Call, name), *made)


OPEN = calls_of(
    "path_open", DIRECTORIES, FOLLOW, PATHS,
    st.sampled_from([0, 0, 0, CREAT, CREAT, CREAT | TRUNC, CREAT | EXCL, TRUNC, DIRECTORY, EXCL,
                     DIRECTORY | CREAT, DIRECTORY | TRUNC]),
    st.sampled_from([READ, WRITE, READ | WRITE, READ | WRITE, ALL]),
    st.sampled_from([0, ALL]), st.sampled_from([0, 0, 0, 1, 4]), INTO,
)  # fmt: skip
READ_INTO = st.sampled_from([Parts([bytes(n)]) for n in (0, 1, 5, 20)] + [Parts([])])
CALLS = st.one_of(
    OPEN,
    OPEN,
    OPEN,
    calls_of("fd_read", OPENED, READ_INTO, Out(4)),
    calls_of("fd_pread", OPENED, READ_INTO, OFFSETS, Out(4)),
    calls_of("fd_write", OPENED, TEXT.map(lambda text: Parts([text])), Out(4)),
    calls_of("fd_pwrite", OPENED, TEXT.map(lambda text: Parts([text])), OFFSETS, Out(4)),
    calls_of("fd_seek", OPENED, DELTAS, st.sampled_from([0, 1, 2]), Out(8)),
    calls_of("fd_tell", OPENED, Out(8)),
    calls_of("fd_filestat_get", OPENED, Out(64)),
    calls_of("fd_filestat_set_size", OPENED, SIZES),
    calls_of("fd_filestat_set_times", OPENED, TIMES, TIMES, st.integers(0, 15)),
    calls_of("fd_fdstat_get", OPENED, Out(24)),
    calls_of("fd_fdstat_set_flags", OPENED, st.sampled_from([0, 1, 4, 5])),
    calls_of("fd_readdir", OPENED, Out(1000), 1000, st.sampled_from([0, 1, 2, 3, 100, 2**64 - 1]),
             Out(4)),
    calls_of("fd_readdir", OPENED, Out(60), st.sampled_from([0, 10, 24, 25, 50]), 0, Out(4)),
    calls_of("fd_advise", OPENED, OFFSETS, SIZES, st.integers(0, 5)),
    calls_of("fd_sync", OPENED),
    calls_of("fd_datasync", OPENED),
    calls_of("fd_prestat_get", OPENED, Out(8)),
    calls_of("fd_prestat_dir_name", OPENED, Out(8), st.sampled_from([0, 1, 2])),
    calls_of("fd_close", OPENED),
    calls_of("fd_renumber", OPENED, OPENED),
    calls_of("path_create_directory", DIRECTORIES, PATHS),
    calls_of("path_remove_directory", DIRECTORIES, PATHS),
    calls_of("path_unlink_file", DIRECTORIES, PATHS),
    calls_of("path_rename", DIRECTORIES, PATHS, DIRECTORIES, PATHS),
    calls_of("path_rename", DIRECTORIES, PATHS, DIRECTORIES, PATHS),
    calls_of("path_link", DIRECTORIES, 0, PATHS, DIRECTORIES, PATHS),
    calls_of("path_symlink", PATHS, DIRECTORIES, PATHS),
    calls_of("path_readlink", DIRECTORIES, PATHS, Out(50), st.sampled_from([0, 1, 50]), Out(4)),
    calls_of("path_filestat_get", DIRECTORIES, FOLLOW, PATHS, Out(64)),
    calls_of("path_filestat_set_times", DIRECTORIES, FOLLOW, PATHS, TIMES, TIMES,
             st.integers(0, 15)),
)  # fmt: skip


EMPTIES = (CREAT, TRUNC, CREAT | TRUNC, CREAT | EXCL)


def tidied(calls: list[Call]) -> list[Call]:
    """What was opened is looked at. And what is created or emptied is opened to be written: the
    engine lets it be written in any case."""
    made: list[Call] = []
    for call in calls:
        slot = call.arguments[-1 if call.name == "path_open" else 0]
        if call.name == "path_open" and call.arguments[3] in EMPTIES:
            rights = call.arguments[4]
            assert isinstance(rights, int)
            before, after = call.arguments[:4], call.arguments[5:]
            call = Call(call.name, *before, rights | WRITE, *after)
        made.append(call)
        if isinstance(slot, int) and call.name == "path_open":
            made.append(Call("fd_fdstat_get", Slot(slot), Out(24)))
    return made


# --- what is compared ---------------------------------------------------------------------------


def results(call: Call, errno: int, data: bytes) -> object:
    """What a call has to give everywhere: inodes are the host's, and it is always later."""
    if errno:
        return None
    if call.name.endswith("filestat_get"):
        at = sum(-len(each) // 8 * -8 for each in call.arguments if isinstance(each, bytes))
        _, _, kind, links, size, accessed, modified, _ = struct.unpack_from("<QQB7xQQQQQ", data, at)
        is_directory = kind == 3
        times = [time if time < LATELY else "now" for time in (accessed, modified)]
        return kind, links, None if is_directory else size, times
    if call.name == "fd_readdir":
        return entries(data, call)
    if call.name == "fd_fdstat_get" and data[0] == 3:
        return data[:16]  # what can be had below a directory: more, here
    return data


def entries(data: bytes, call: Call) -> object:
    room = call.arguments[1]
    assert isinstance(room, Out)
    (used,) = struct.unpack_from("<I", data, room + -room % 8)
    found, at = [], 0
    while at + 24 <= used:
        cookie, _, size, kind = struct.unpack_from("<QQII", data, at)
        name = data[at + 24 : min(at + 24 + size, used)]
        found.append((cookie, size, kind, name))
        at += 24 + size
    return used, found


def explained(call: Call, ours: int, engines: int) -> str:
    """Why the two may differ in this call; nothing if they may not."""
    paths = [each for each in call.arguments if isinstance(each, bytes)]
    if call.name == "path_remove_directory" and engines == INVAL and paths[0].endswith(b"/"):
        return "a directory with a slash after its name is taken away"
    if call.name == "path_filestat_set_times" and call.arguments[-1] == 0 and engines == 0:
        return "what isn't there is an error, also if nothing is to be set"
    if ours == NAMETOOLONG and any(len(path) > LONGEST[len(paths)] for path in paths):
        return "a message has room for so long a path"
    if call.name == "path_readlink" and (ours, engines) == (0, PERM):
        return "the text of a link may say anything, also `/`"
    if ours == PERM and engines and any(map(leaves, paths)):
        return "`..` above the directory is EPERM, whatever links there are"
    several = len(paths) > 1 or BADF in (ours, engines) or engines == ILSEQ
    if ours and engines and several and any(map(is_malformed, paths)):
        return "of two things that are wrong, either can be reported"
    if call.name == "path_link" and ours == NOENT and engines:
        return "what a link is to be made to is looked for first, and not its place"
    return ""


CHANGING = ("path_open", "path_create_", "path_remove_", "path_unlink", "path_rename", "path_link",
            "path_symlink")  # fmt: skip


def goes_on_after_a_change(calls: list[Call], number: int) -> bool:
    """Whether a listing goes on that began before names came or went: POSIX leaves open if those
    are in it. The engine reads the directory anew each time, and here it is as it was."""
    call = calls[number]
    if call.name != "fd_readdir" or not call.arguments[3]:
        return False
    return any(each.name.startswith(CHANGING) for each in calls[:number])


def is_malformed(path: bytes) -> bool:
    """Whether it can be told from the path alone that there may be something wrong with it."""
    try:
        path.decode()
    except UnicodeDecodeError:
        return True
    too_long = any(len(name) > 255 for name in path.split(b"/"))
    return not path or path.endswith(b"/") or b"\0" in path or leaves(path) or too_long


def leaves(path: bytes) -> bool:
    depth = 0
    for name in path.split(b"/"):
        depth += -1 if name == b".." else name not in (b"", b".")
        if depth < 0:
            return True
    return path.startswith(b"/")


@pytest.fixture(scope="module")
def players(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Player, EnginePlayer]]:
    machine = Machine(tmp_path_factory.mktemp("ours") / "files")
    with machine.kernel:
        yield Player(machine), EnginePlayer(tmp_path_factory.mktemp("engine"))


def compare(players: tuple[Player, EnginePlayer], folder: Path, calls: list[Call]) -> None:
    calls = tidied(calls)
    roots = [folder / "ours" / "root", folder / "engines" / "root"]
    played: list[Played] = []
    for player, root in zip(players, roots, strict=True):
        root.parent.mkdir()
        plant(root, TREE)
        played.append(player.play(calls, root))
    ours, engines = played
    for number, call in enumerate(calls):
        one, other = ours.errnos[number], engines.errnos[number]
        here = calls[: number + 1]
        if one != other:
            assert explained(call, one, other), f"{one}, engine {other}: {here}"
            if 0 in (one, other):
                return  # what comes after that can't be the same
        else:
            if goes_on_after_a_change(calls, number):
                continue
            assert results(call, one, ours.data[number]) == results(
                call, other, engines.data[number]
            ), here
    assert remains(roots[0]) == remains(roots[1]), calls


@settings(
    max_examples=EXAMPLES or 400,
    deadline=None,
    derandomize=not EXAMPLES,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(calls=st.lists(CALLS, min_size=1, max_size=14))
def test_any_calls(
    players: tuple[Player, EnginePlayer],
    tmp_path_factory: pytest.TempPathFactory,
    calls: list[Call],
) -> None:
    folder = tmp_path_factory.mktemp("differential")
    try:
        compare(players, folder, calls)
    finally:
        shutil.rmtree(folder)
