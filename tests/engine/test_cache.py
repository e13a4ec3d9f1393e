"""Machine code on disk: what is found again, and all that isn't."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from wasmos.engine import cache as cache_module
from wasmos.engine import private
from wasmos.engine.cache import Cache, digest, key, user_cache

KEY = key("a program")
CODE = bytes(range(256)) * 64
FACTS = {"name": "hello", "kind": "active"}
MOST = 1 << 20


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(str(tmp_path / "cache"), str(tmp_path / "secrets"))


@pytest.fixture
def file(cache: Cache) -> Path:
    """The only one in `cache`."""
    cache.store(KEY, FACTS, CODE)
    (found,) = Path(cache.folder).iterdir()
    return found


def another(cache: Cache) -> Cache:
    """The same cache, as another process sees it."""
    return Cache(cache.folder, cache._secret_folder)


def test_what_was_stored_is_found(cache: Cache) -> None:
    assert cache.find(KEY) is None
    cache.store(KEY, FACTS, CODE)
    for each in cache, another(cache):
        found = each.find(KEY)
        assert found is not None
        assert (found["name"], found["kind"]) == ("hello", "active")
        assert each.code(KEY, MOST) == CODE


@pytest.mark.parametrize("size", [0, 1, 3_000, 5_000, 9 << 20])
def test_code_of_any_size(cache: Cache, size: int) -> None:
    """Of none there is nothing to find; some is read with the head, some is not."""
    code = os.urandom(size)
    cache.store(KEY, FACTS, code)
    assert cache.code(KEY, 16 << 20) == (code or None)


def test_more_than_wanted_is_not_read(cache: Cache, file: Path) -> None:
    assert cache.code(KEY, len(CODE) - 1) is None
    assert file.exists()
    assert cache.code(KEY, len(CODE)) == CODE


def test_another_key_finds_nothing(cache: Cache, file: Path) -> None:
    other = key("another program")
    assert cache.code(other, MOST) is None
    file.rename(file.with_name(file.name.replace(KEY, other)))
    assert cache.code(other, MOST) is None, "a file under a key that isn't its own"


def test_a_key_is_made_of_all_its_parts() -> None:
    keys = [key(), key(""), key("a"), key("a", "b"), key("ab"), key("b", "a"), key(1), key("1")]
    assert len({*keys}) == len(keys)


def test_the_digest_depends_on_every_byte() -> None:
    for size in 100, cache_module._LARGE:
        data = bytearray(size)
        before = digest(bytes(data))
        data[-1] = 1
        assert len(before) == 64
        assert digest(bytes(data)) != before


def test_the_last_one_stored_counts(cache: Cache, file: Path) -> None:
    cache.store(KEY, FACTS, CODE[::-1])
    assert cache.code(KEY, MOST) == CODE[::-1]
    assert [*Path(cache.folder).iterdir()] == [file]


# --- who else could have written it -----------------------------------------------------------


def test_modes(cache: Cache, file: Path) -> None:
    """Nobody else sees anything of it, whatever the umask."""
    old = os.umask(0)
    try:
        cache.store(key("b"), FACTS, CODE)
    finally:
        os.umask(old)
    for path in (file.parent, Path(cache._secret_folder)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        for each in path.iterdir():
            assert stat.S_IMODE(each.stat().st_mode) == 0o600


def symlink(file: Path, tmp_path: Path) -> None:
    file.rename(tmp_path / "moved")
    file.symlink_to(tmp_path / "moved")


def hard_link(file: Path, tmp_path: Path) -> None:
    (tmp_path / "link").hardlink_to(file)


def fifo(file: Path, _: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def device(file: Path, _: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


PLANTED: dict[str, Callable[[Path, Path], object]] = {
    "writable by the group": lambda file, _: file.chmod(0o620),
    "writable by all": lambda file, _: file.chmod(0o602),
    "symbolic link": symlink,
    "hard link": hard_link,
    "fifo": fifo,
    "device": device,
    "empty": lambda file, _: file.write_bytes(b""),
    "head only": lambda file, _: os.truncate(file, 200),
    "one byte less": lambda file, _: os.truncate(file, file.stat().st_size - 1),
    "one byte more": lambda file, _: file.write_bytes(file.read_bytes() + b"\0"),
    "zeros": lambda file, _: file.write_bytes(bytes(file.stat().st_size)),
    "another format": lambda file, _: file.write_bytes(
        file.read_bytes().replace(b"machine code 1", b"machine code 2")
    ),
    "another fact": lambda file, _: file.write_bytes(
        file.read_bytes().replace(b"kind active", b"kind passiv")
    ),
    "bare code": lambda file, _: file.write_bytes(CODE),
}


@pytest.mark.parametrize("what", PLANTED)
def test_planted_and_damaged_files(cache: Cache, file: Path, tmp_path: Path, what: str) -> None:
    """As if it weren't there; then it isn't, and is made anew."""
    PLANTED[what](file, tmp_path)
    for each in cache, another(cache):
        assert each.code(KEY, MOST) is None
    assert not os.path.lexists(file)
    cache.store(KEY, FACTS, CODE)
    assert cache.code(KEY, MOST) == CODE


def test_a_directory_in_its_place(cache: Cache, file: Path) -> None:
    file.unlink()
    file.mkdir()
    assert cache.code(KEY, MOST) is None
    cache.store(KEY, FACTS, CODE)
    assert cache.code(KEY, MOST) is None
    assert [*file.parent.iterdir()] == [file]


def test_a_flipped_bit_anywhere(cache: Cache, file: Path) -> None:
    good = file.read_bytes()
    start = len(good) - len(CODE)
    for at in [*range(start), start, start + 1, len(good) // 2, len(good) - 1]:
        bad = bytearray(good)
        bad[at] ^= 1
        file.write_bytes(bad)
        assert cache.code(KEY, MOST) is None, at
        file.touch(0o600)
        file.chmod(0o600)


def test_a_file_of_another_user(cache: Cache, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.code(KEY, MOST) == CODE
    monkeypatch.setattr(private.os, "geteuid", lambda: os.getuid() + 1)
    assert cache.code(KEY, MOST) is None
    cache.store(KEY, FACTS, CODE[::-1])
    monkeypatch.undo()
    assert cache.code(KEY, MOST) == CODE


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
@pytest.mark.parametrize("which", ["folder", "_secret_folder"])
def test_directories_that_others_can_write_to(
    cache: Cache, file: Path, which: str, mode: int
) -> None:
    os.chmod(getattr(cache, which), mode)
    fresh = another(cache)
    assert fresh.code(KEY, MOST) is None
    with pytest.raises(OSError, match="by others"):
        fresh.check()
    fresh.store(key("b"), FACTS, CODE)
    assert [*file.parent.iterdir()] == [file]
    os.chmod(getattr(cache, which), 0o700)
    assert another(cache).code(KEY, MOST) == CODE, "nothing was lost"


def test_a_link_in_place_of_the_directory(cache: Cache, file: Path, tmp_path: Path) -> None:
    file.parent.rename(tmp_path / "moved")
    file.parent.symlink_to(tmp_path / "moved")
    assert cache.code(KEY, MOST) is None


def test_another_secret(cache: Cache, file: Path) -> None:
    """As in a cache that was restored from elsewhere: its files are nothing to us."""
    (Path(cache._secret_folder) / "cache").unlink()
    assert another(cache).code(KEY, MOST) is None
    assert file.exists(), "nobody can say what it is"
    another(cache).store(key("b"), FACTS, CODE)
    fresh = another(cache)
    assert (fresh.code(KEY, MOST), fresh.code(key("b"), MOST)) == (None, CODE)
    assert not file.exists()


@pytest.mark.parametrize("secret", [b"", b"short", bytes(33)])
def test_a_damaged_secret_is_replaced(cache: Cache, file: Path, secret: bytes) -> None:
    path = Path(cache._secret_folder) / "cache"
    path.write_bytes(secret)
    assert another(cache).code(KEY, MOST) is None
    another(cache).store(KEY, FACTS, CODE)
    assert another(cache).code(KEY, MOST) == CODE
    assert len(path.read_bytes()) == 32


# --- what can go wrong ------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["open", "write", "rename", "mkdir"])
def test_disks_that_are_full_or_read_only(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Storing does nothing, and leaves nothing."""
    real = getattr(os, call)

    def fail(*arguments: object, **options: object) -> object:
        if call == "open" and not arguments[1] & os.O_CREAT:  # type: ignore[operator]
            return real(*arguments, **options)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(private.os, call, fail)
        cache.store(KEY, FACTS, CODE)
    folder = Path(cache.folder)
    assert not folder.exists() or not [*folder.iterdir()]
    assert cache.code(KEY, MOST) is None


def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("not a directory")
    cache = Cache(str(tmp_path / "cache"), str(tmp_path / "secrets"))
    cache.store(KEY, FACTS, CODE)
    assert cache.code(KEY, MOST) is None
    assert cache.entries() == cache.prune() == cache.clear() == []


def test_no_descriptor_is_left_open(cache: Cache, file: Path, uncollected: None) -> None:
    before = set(os.listdir("/proc/self/fd"))
    cache.code(KEY, MOST)
    file.write_bytes(b"damaged")
    cache.code(KEY, MOST)
    cache.store(KEY, FACTS, CODE)
    cache.entries()
    cache.prune(max_bytes=0)
    assert set(os.listdir("/proc/self/fd")) == before


def test_writers_at_once(cache: Cache) -> None:
    """Of one process, with a reader: it finds one of them, whole, or nothing."""
    codes = [bytes([n]) * 100_000 for n in range(8)]
    writers = [
        threading.Thread(
            target=lambda code=code: [another(cache).store(KEY, FACTS, code) for _ in range(20)]
        )
        for code in codes
    ]
    for writer in writers:
        writer.start()
    found = set()
    while any(writer.is_alive() for writer in writers):
        found.add(another(cache).code(KEY, MOST))
    for writer in writers:
        writer.join()
    assert found <= {None, *codes}
    # Each may have made a secret of its own; whose was the last can read.
    cache.store(KEY, FACTS, CODE)
    assert cache.code(KEY, MOST) == CODE
    assert not [*Path(cache.folder).glob("*.new")]


def test_processes_at_once(cache: Cache) -> None:
    script = (
        "import sys; from wasmos.engine.cache import Cache, key\n"
        "for n in range(30): Cache(*sys.argv[1:]).store(key('a program'), {'name': 'x'}, bytes(n))"
    )
    argv = [sys.executable, "-c", script, cache.folder, cache._secret_folder]
    children = [subprocess.Popen(argv) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    cache.store(KEY, FACTS, CODE)
    assert another(cache).code(KEY, MOST) == CODE
    assert len([*Path(cache.folder).iterdir()]) == 1


# --- housekeeping -----------------------------------------------------------------------------


@pytest.fixture
def three(cache: Cache) -> list[str]:
    """Keys of three entries, of which the first was used last, each a day before the other."""
    keys = [key(n) for n in range(3)]
    now = int(os.path.getmtime("/proc/self"))
    for days, each in enumerate(keys):
        cache.store(each, {"name": f"program {days}"}, CODE)
        os.utime(Path(cache.folder) / f"{each}.code", times=(now - days * 86_400,) * 2)
    return keys


def test_a_list(cache: Cache, three: list[str]) -> None:
    found = cache.entries()
    assert [entry.key for entry in found] == three
    assert [entry.facts["name"] for entry in found] == ["program 0", "program 1", "program 2"]
    assert all(entry.bytes > len(CODE) for entry in found)


def test_use_is_remembered(cache: Cache, three: list[str]) -> None:
    cache.code(three[2], MOST)
    assert cache.entries()[0].key == three[2]


def test_pruning_by_age(cache: Cache, three: list[str]) -> None:
    assert [entry.key for entry in cache.prune(unused_seconds=36 * 3600)] == three[2:]
    assert [entry.key for entry in cache.entries()] == three[:2]


@pytest.mark.parametrize("room", range(4))
def test_pruning_by_size(cache: Cache, three: list[str], room: int) -> None:
    size = cache.entries()[0].bytes
    removed = cache.prune(max_bytes=room * size + size // 2)
    assert [entry.key for entry in removed] == three[room:]
    assert [entry.key for entry in cache.entries()] == three[:room]


def test_pruning_by_number(cache: Cache, three: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_FILES", 2)
    assert [entry.key for entry in cache.prune()] == three[2:]


def test_storing_prunes(cache: Cache, three: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not each time; in the long run no more is there than there may be."""
    monkeypatch.setattr(cache_module, "MAX_FILES", 2)
    cache.store("0" * 64, FACTS, CODE)
    assert [entry.key for entry in cache.entries()] == ["0" * 64, three[0]]


def test_what_was_never_finished_goes_after_an_hour(cache: Cache, file: Path) -> None:
    new, old = (file.with_name(f"{name}.new") for name in ("just-now", "long-ago"))
    for path in new, old:
        path.write_bytes(b"half")
    os.utime(old, times=(0, 0))
    cache.prune()
    assert sorted(file.parent.iterdir()) == sorted([file, new])
    cache.clear()
    assert [*file.parent.iterdir()] == []


def test_ctrl_c_right_after_a_file_has_its_name(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It isn't lost: that the cache is no reason to fail is about the disk."""
    rename = os.rename

    def renamed(*names: str, **folders: int) -> None:
        rename(*names, **folders)
        raise KeyboardInterrupt

    cache.store(key("another"), FACTS, CODE)
    monkeypatch.setattr(os, "rename", renamed)
    with pytest.raises(KeyboardInterrupt):
        cache.store(KEY, FACTS, CODE)
    assert cache.code(KEY, MOST) == CODE


def test_only_our_files_are_removed(cache: Cache, file: Path) -> None:
    theirs = file.with_name("letter.txt")
    theirs.write_text("not ours")
    assert [entry.key for entry in cache.clear()] == [KEY]
    assert [*file.parent.iterdir()] == [theirs]


# --- where ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "folder", "secrets"),
    [
        ({"HOME": "/h"}, "/h/.cache/wasmos", "/h/.local/state/wasmos/secrets"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/c"}, "/c/wasmos", "/h/.local/state/wasmos/secrets"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/s"}, "/h/.cache/wasmos", "/s/wasmos/secrets"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "c"}, "/h/.cache/wasmos",
         "/h/.local/state/wasmos/secrets"),
        ({"HOME": "/h", "WASMOS_CACHE_DIR": "/w"}, "/w", "/h/.local/state/wasmos/secrets"),
        ({"HOME": "/h", "WASMOS_NO_CACHE": "0"}, "/h/.cache/wasmos",
         "/h/.local/state/wasmos/secrets"),
    ],
)  # fmt: skip
def test_the_users_cache(environment: dict[str, str], folder: str, secrets: str) -> None:
    found = user_cache(environment)
    assert found is not None
    assert (found.folder, found._secret_folder) == (folder, secrets)


@pytest.mark.parametrize("value", ["1", "yes", "true"])
def test_switched_off(value: str) -> None:
    assert user_cache({"HOME": "/h", "WASMOS_NO_CACHE": value}) is None


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module.os.path, "expanduser", lambda path: path)
    assert user_cache({}) is None


def test_nothing_is_made_in_another_users_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sudo` leaves HOME as it was."""
    cache = Cache(str(tmp_path / "home/cache"), str(tmp_path / "home/secrets"))
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(private.os, "geteuid", lambda: os.getuid() + 1)
    if os.getuid() == 0:
        real = os.stat
        stranger = os.stat_result((*real(tmp_path)[:4], 4242, *real(tmp_path)[5:]))
        monkeypatch.setattr(private.os, "stat", lambda *_a, **_o: stranger)
    cache.store(KEY, FACTS, CODE)
    monkeypatch.undo()
    assert [*(tmp_path / "home").iterdir()] == []
