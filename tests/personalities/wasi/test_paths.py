"""Paths: what they become in messages, and what is done with them."""

from __future__ import annotations

import pytest

from tests.personalities.wasi.calls import RIGHTS, Calls, Loaded
from tests.personalities.wasi.conftest import Machine

READ = 2
CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
NOENT, EXIST, NOTDIR, ISDIR, NOTEMPTY, INVAL, PERM = 44, 20, 54, 31, 55, 28, 63
ILSEQ, NAMETOOLONG, LOOP, BUSY, BADF = 25, 37, 32, 10, 8


def asked_for(machine: Machine, path: str | bytes, root: str = "/data") -> tuple[int, object]:
    """The errno of `path_create_directory`, and the path that the server saw."""
    machine.plant({"data": None, "data/sub": None, "data/x": "sub", "data/f": b""}, roots=[root])
    calls = Calls()
    calls.add("path_create_directory", 3, *calls.text(path))
    result = machine.run(calls)
    return result.errnos[0], machine.fs.asked[-1][1] if machine.fs.asked else None


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("a", "/data/a"), ("./a", "/data/a"), ("a/", "/data/a/"), ("a//", "/data/a/"),
        ("sub//./a", "/data/sub/a"), ("sub/../a", "/data/sub/../a"),
        ("x/../a", "/data/x/../a"), ("...", "/data/..."), ("..a", "/data/..a"),
        (".a", "/data/.a"), ("ünï", "/data/ünï"), ("\U0001f600", "/data/\U0001f600"),
        ("./" * 300 + "a", "/data/a"), ("a\\b", "/data/a\\b"), (" ", "/data/ "),
    ],
)  # fmt: skip
def test_a_path_as_the_server_sees_it(machine: Machine, path: str, seen: str) -> None:
    assert asked_for(machine, path) == (0, seen)


@pytest.mark.parametrize("size", [256, 1017])
def test_a_name_that_is_too_long_for_the_host(machine: Machine, size: int) -> None:
    assert asked_for(machine, "n" * size) == (NAMETOOLONG, "/data/" + "n" * size)


@pytest.mark.parametrize(
    ("path", "seen", "errno"),
    [(".", "/.", EXIST), ("./", "/.", EXIST), ("sub/.", "/sub/.", EXIST), ("x/.", "/x/.", EXIST),
     ("a/.", "/a/.", NOENT), ("f/.", "/f/.", NOTDIR), ("sub//././", "/sub/.", EXIST)],
)  # fmt: skip
def test_a_dot_is_no_name(machine: Machine, path: str, seen: str, errno: int) -> None:
    assert asked_for(machine, path) == (errno, f"/data{seen}")


def test_a_path_of_what_is_there(machine: Machine) -> None:
    assert asked_for(machine, "sub/..") == (EXIST, "/data/sub/..")


def test_below_the_root(machine: Machine) -> None:
    assert asked_for(machine, "a/", "/") == (0, "/a/")
    assert Machine  # the root's own path ends in a slash, and there aren't two


@pytest.mark.parametrize(
    ("path", "errno"),
    [
        ("", NOENT), ("/", PERM), ("/data/a", PERM), ("..", PERM), ("../data/a", PERM),
        ("sub/../..", PERM), ("sub/../../data/a", PERM), ("./../a", PERM), ("sub/.//../..", PERM),
        ("a\0", INVAL), ("\0", INVAL), ("a/b\0c", INVAL), ("n" * 1018, NAMETOOLONG),
        ("n" * 5000, NAMETOOLONG), (b"\xff", ILSEQ), (b"a\xc3", ILSEQ), (b"\xc0\xaf", ILSEQ),
        (b"\xed\xa0\x80", ILSEQ), (b"\xf4\x90\x80\x80", ILSEQ), (b"\xe0\x80\x80", ILSEQ),
        (b"\xf0\x80\x80\x80", ILSEQ), (b"\xe2\x82", ILSEQ), (b"\xe2\x28\xa1", ILSEQ),
        (b"\x80", ILSEQ), (b"/\xff", ILSEQ), (b"\xf8\x88\x80\x80\x80", ILSEQ),
    ],
)  # fmt: skip
def test_a_path_that_is_not_passed_on(machine: Machine, path: str | bytes, errno: int) -> None:
    assert asked_for(machine, path) == (errno, None)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_all_texts_are_judged_as_python_does(machine: Machine, size: int) -> None:
    """Every first byte, with what is at the edges of what may follow."""
    edges = [0x2E, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0]
    texts = [bytes([first]) + bytes([second]) * (size - 1)
             for first in range(1, 256) for second in (edges if size > 1 else [0])
             if first != ord("/")]  # fmt: skip
    calls = Calls()
    at, _ = calls.text(b"".join(texts))
    for number in range(0, 1000 if size == 1 else len(texts)):
        if number >= len(texts) or len(calls) > 1100:
            break
        calls.add("path_unlink_file", 3, at + number * size, size)

    def valid(text: bytes) -> bool:
        try:
            text.decode()
        except UnicodeDecodeError:
            return False
        return True

    errnos = machine.run(calls).errnos
    for text, errno in zip(texts, errnos, strict=False):
        assert (errno != ILSEQ) == valid(text), text


def test_a_directory_that_was_opened(machine: Machine) -> None:
    machine.plant({"data": None, "data/sub": None}, roots=["/data"])
    calls = Calls()
    calls.add("path_open", 3, 0, *calls.text("sub/"), DIRECTORY, READ, 0, 0, 0)
    calls.add("path_create_directory", Loaded(0), *calls.text("a"))
    calls.add("path_open", Loaded(0), 0, *calls.text("."), DIRECTORY, READ, 0, 0, 4)
    calls.add("path_create_directory", Loaded(4), *calls.text("b"))
    calls.add("path_create_directory", Loaded(4), *calls.text("../c"))
    result = machine.run(calls)
    assert result.errnos == [0, 0, 0, 0, PERM]
    assert [what[1] for what in machine.fs.asked] == [
        "/data/sub/", "/data/sub/a", "/data/sub", "/data/sub/b",
    ]  # fmt: skip


def test_a_directory_that_was_renamed_while_open(machine: Machine) -> None:
    machine.plant({"a": None, "a/b": None, "ab": None})
    calls = Calls()
    for at, path in ((0, "a"), (4, "a/b"), (8, "ab")):
        calls.add("path_open", 3, 0, *calls.text(path), DIRECTORY, READ, 0, 0, at)
    calls.add("path_rename", 3, *calls.text("a"), 3, *calls.text("renamed"))
    for at in (0, 4, 8):
        calls.add("path_create_directory", Loaded(at), *calls.text("new"))
    result = machine.run(calls)
    assert result.errnos == [0] * 7
    assert [what[1] for what in machine.fs.asked[3:]] == [
        "/renamed/new", "/renamed/b/new", "/ab/new",
    ]  # fmt: skip


@pytest.mark.parametrize("stream", [0, 1])
def test_a_directory_under_the_number_of_a_stream(machine: Machine, stream: int) -> None:
    """Its path is kept like that of any other: when one before it is given back, and when it is
    renamed."""
    machine.plant({"a": None, "b": None})
    calls = Calls()
    new = calls.text("new")
    calls.add("path_open", 3, 0, *calls.text("a"), DIRECTORY, READ, 0, 0, 0)
    calls.add("path_open", 3, 0, *calls.text("b"), DIRECTORY, READ, 0, 0, 4)
    calls.add("fd_renumber", Loaded(4), stream)
    calls.add("fd_close", Loaded(0))
    calls.add("path_open", 3, 0, *calls.text("a"), DIRECTORY, READ, 0, 0, 0)  # in its place
    calls.add("path_create_directory", stream, *new)
    calls.add("path_rename", 3, *calls.text("b"), 3, *calls.text("renamed"))
    calls.add("path_create_directory", stream, *calls.text("again"))
    result = machine.run(calls)
    assert result.errnos == [0] * 8
    assert [what[1] for what in machine.fs.asked[3:]] == ["/b/new", "/renamed/again"]


def test_paths_of_open_directories_are_given_back(machine: Machine) -> None:
    """Opened and closed for ever; and the ones that stay open keep theirs."""
    machine.plant({"n" * 200: None, "stays": None})
    calls = Calls()
    long, stays = calls.text("n" * 200), calls.text("stays")
    calls.add("path_open", 3, 0, *long, 0, READ, 0, 0, 0)
    calls.add("path_open", 3, 0, *stays, 0, READ, 0, 0, 4)
    calls.add("fd_close", Loaded(0))
    for _ in range(500):
        calls.add("path_open", 3, 0, *long, 0, READ, 0, 0, 0)
        calls.add("fd_close", Loaded(0))
    calls.add("path_create_directory", Loaded(4), *calls.text("new"))
    result = machine.run(calls)
    assert set(result.errnos) == {0}
    assert machine.fs.asked[-1] == ("mkdir", "/stays/new")


def test_there_is_an_end_to_paths(machine: Machine) -> None:
    machine.plant_in_memory({"n" * 250: None})
    calls = Calls()
    long = calls.text("n" * 250)
    for _ in range(262):
        calls.add("path_open", 3, 0, *long, 0, READ, 0, 0, 0)
    result = machine.run(calls)
    assert result.errnos[:261] == [0] * 261
    assert result.errnos[261] == 48


# --- opening ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "oflags", "errno"),
    [
        ("f", 0, 0), ("none", 0, NOENT), ("none", CREAT, 0), ("f", CREAT, 0),
        ("f", CREAT | EXCL, EXIST), ("f", TRUNC, 0), ("f", DIRECTORY, NOTDIR), ("d", DIRECTORY, 0),
        ("d", 0, 0), ("f/", 0, NOTDIR), ("f/x", 0, NOTDIR), ("d", DIRECTORY | CREAT, INVAL),
        ("d", DIRECTORY | TRUNC, INVAL), ("d", DIRECTORY | EXCL, INVAL), ("loop", 0, LOOP),
        ("f", 16, INVAL),
    ],
)  # fmt: skip
def test_open(machine: Machine, path: str, oflags: int, errno: int) -> None:
    machine.plant({"f": b"x", "d": None, "loop": "loop"})
    calls = Calls()
    calls.put(0, b"\xff" * 4)
    calls.add("path_open", 3, 1, *calls.text(path), oflags, READ, 0, 0, 0)
    result = machine.run(calls)
    assert result.errnos == [errno]
    assert result.u32(0) == (0xFFFFFFFF if errno else 4)


def test_open_through_a_link_or_not(machine: Machine) -> None:
    machine.plant({"f": b"x", "link": "f"})
    calls = Calls()
    for follow in (0, 1, 2):
        calls.add("path_open", 3, follow, *calls.text("link"), 0, READ, 0, 0, 0)
    assert machine.run(calls).errnos == [LOOP, 0, INVAL]


def test_open_in_what_is_no_directory(machine: Machine) -> None:
    machine.plant({"f": b"x"})
    calls = Calls()
    calls.add("path_open", 3, 0, *calls.text("f"), 0, READ, 0, 0, 0)
    calls.add("path_open", Loaded(0), 0, *calls.text("f"), 0, READ, 0, 0, 4)
    calls.add("path_open", 1, 0, *calls.text("f"), 0, READ, 0, 0, 4)
    calls.add("path_unlink_file", Loaded(0), *calls.text("f"))
    assert machine.run(calls).errnos == [0, NOTDIR, BADF, BADF]


@pytest.mark.parametrize("argument", ["base", "inheriting", "fdflags"])
def test_bits_that_mean_nothing(machine: Machine, argument: str) -> None:
    base, inheriting, fdflags = (1 << 40 if argument == name else 0 for name in
                                 ("base", "inheriting", "none"))  # fmt: skip
    calls = Calls()
    flags = 32 if argument == "fdflags" else fdflags
    calls.add("path_open", 3, 0, *calls.text("f"), 0, base, inheriting, flags, 0)
    assert machine.run(calls).errnos == [INVAL]


@pytest.mark.parametrize(
    ("rights", "oflags", "fdflags", "follow", "flags"),
    [
        (READ, 0, 0, 0, 16 | 32), (RIGHTS, 0, 0, 1, 32 | 64), (1 << 6, CREAT | EXCL, 0, 1, 69),
        (0, TRUNC, 0, 1, 8 | 32), (READ, 0, 1, 1, 32 | 128), (READ, 0, 2, 1, 32 | 256),
        (READ, 0, 4, 1, 32 | 1024), (READ, 0, 8, 1, 32 | 256), (READ, 0, 16, 1, 32 | 512),
    ],
)  # fmt: skip
def test_how_the_server_is_asked(
    machine: Machine, rights: int, oflags: int, fdflags: int, follow: int, flags: int
) -> None:
    calls = Calls()
    calls.add("path_open", 3, follow, *calls.text("f"), oflags, rights, rights, fdflags, 0)
    machine.run(calls)
    assert machine.fs.asked == [("open", "/f", flags)]


# --- changing -----------------------------------------------------------------------------------


def test_what_is_done_with_paths(machine: Machine) -> None:
    machine.plant({"f": b"x", "d": None, "d/inner": b""})
    calls = Calls()
    f, d, link, new, e = (calls.text(text) for text in ("f", "d", "link", "new", "d/e"))
    calls.add("path_create_directory", 3, *e)
    calls.add("path_remove_directory", 3, *d)
    calls.add("path_remove_directory", 3, *e)
    calls.add("path_remove_directory", 3, *f)
    calls.add("path_symlink", *calls.text("d/../f"), 3, *link)
    calls.add("path_readlink", 3, *link, 100, 50, 0)
    calls.add("path_readlink", 3, *link, 200, 3, 4)
    calls.add("path_readlink", 3, *f, 200, 3, 4)
    calls.add("path_link", 3, 0, *f, 3, *new)
    calls.add("path_link", 3, 0, *f, 3, *new)
    calls.add("path_filestat_get", 3, 0, *new, 300)
    calls.add("path_rename", 3, *new, 3, *e)
    calls.add("path_unlink_file", 3, *new)
    calls.add("path_unlink_file", 3, *d)
    calls.add("path_unlink_file", 3, *e)
    result = machine.run(calls)
    assert result.errnos == [
        0, NOTEMPTY, 0, NOTDIR, 0, 0, 0, INVAL, 0, EXIST, 0, 0, NOENT, ISDIR, 0,
    ]  # fmt: skip
    assert result.bytes(100, result.u32(0)) == b"d/../f"
    assert (result.u32(4), result.bytes(200, 4)) == (3, b"d/.\0")
    assert result.u64(300 + 24) == 2


LINKS: dict[str, bytes | str | None] = {
    "f": b"text", "d": None, "d/g": b"", "link": "f", "chain": "d/../link", "inner": "d/g",
    "loop": "loop", "dangling": "nothing", "out": "../out", "root": "/f", "to_d": "d",
}  # fmt: skip


@pytest.mark.parametrize("mode", ["rw", "overlay"])
@pytest.mark.parametrize(
    ("path", "errno", "followed"),
    [("f", 0, "f"), ("link", 0, "f"), ("chain", 0, "f"), ("inner", 0, "d/g"),
     ("to_d/g", 0, "d/g"), ("loop", LOOP, ""), ("dangling", NOENT, ""), ("out", PERM, ""),
     ("root", PERM, ""), ("to_d", PERM, ""), ("d", PERM, ""), ("link/", NOTDIR, "")],
)  # fmt: skip
def test_another_name_for_what_a_link_leads_to(
    machine: Machine, mode: str, path: str, errno: int, followed: str
) -> None:
    machine.plant(LINKS)
    machine.fs_rules = [f'fs(dir="{machine.root}", at="/", mode="{mode}")']
    calls = Calls()
    new = calls.text("new")
    calls.add("path_link", 3, 1, *calls.text(path), 3, *new)
    calls.add("path_filestat_get", 3, 0, *new, 100)
    calls.add("path_filestat_get", 3, 0, *calls.text(followed or path), 200)
    result = machine.run(calls)
    assert result.errnos[:2] == [errno, NOENT if errno else 0]
    if not errno:  # one file, by two names
        assert result.bytes(100, 64) == result.bytes(200, 64)
        assert result.u64(100 + 24) == 2


def test_another_name_for_a_link(machine: Machine) -> None:
    machine.plant(LINKS)
    calls = Calls()
    calls.add("path_link", 3, 0, *calls.text("link"), 3, *calls.text("new"))
    calls.add("path_readlink", 3, *calls.text("new"), 100, 50, 0)
    result = machine.run(calls)
    assert (result.errnos, result.bytes(100, result.u32(0))) == ([0, 0], b"f")


def test_a_directory_by_another_name(machine: Machine) -> None:
    """ "." has no name that could be taken away."""
    machine.plant({"d": None})
    calls = Calls()
    dot, d = calls.text("d/."), calls.text("e")
    calls.add("path_remove_directory", 3, *dot)
    calls.add("path_remove_directory", 3, *calls.text("."))
    calls.add("path_unlink_file", 3, *dot)
    calls.add("path_rename", 3, *dot, 3, *d)
    calls.add("path_rename", 3, *calls.text("d"), 3, *dot)
    assert machine.run(calls).errnos == [INVAL, INVAL, ISDIR, BUSY, BUSY]


@pytest.mark.parametrize(
    ("target", "errno"),
    [("", NOENT), ("/etc", PERM), ("../../x", 0), ("a\0b", INVAL), (b"\xff", ILSEQ),
     ("x" * 735, 0), ("x" * 736, NAMETOOLONG)],
)  # fmt: skip
def test_targets(machine: Machine, target: str | bytes, errno: int) -> None:
    calls = Calls()
    calls.add("path_symlink", *calls.text(target), 3, *calls.text("link"))
    assert machine.run(calls).errnos == [errno]


def test_flags_that_are_none(machine: Machine) -> None:
    calls = Calls()
    f = calls.text("f")
    calls.add("path_filestat_get", 3, 2, *f, 0)
    calls.add("path_filestat_set_times", 3, 2, *f, 0, 0, 0)
    calls.add("path_link", 3, 2, *f, 3, *f)
    assert machine.run(calls).errnos == [INVAL] * 3
