"""Nothing outside of the directory is read or changed: every form of path, by every operation, by
both ways of resolving; also while somebody moves things about."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.fs import trees
from wasmos.servers.fs import beneath as module
from wasmos.servers.fs import resolve
from wasmos.servers.fs.beneath import Beneath
from wasmos.servers.fs.resolve import Resolver

pytestmark = pytest.mark.parametrize("resolver", trees.RESOLVERS, ids=trees.NAMES)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux")


@pytest.fixture
def beneath(inside: Path, outside: Path, resolver: Resolver) -> Iterator[Beneath]:
    before = trees.open_descriptors()
    found = Beneath(inside, resolver=resolver)
    yield found
    found.close()
    assert trees.open_descriptors() <= before  # others may have left theirs to the collector


@pytest.fixture
def planted(beneath: Beneath, inside: Path, outside: Path) -> Beneath:
    trees.plant(inside, outside)
    return beneath


def read(beneath: Beneath, path: str, *, writable: bool = False) -> bytes:
    descriptor, _ = beneath.open_file(path, writable=writable)
    try:
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


OPERATIONS: dict[str, Callable[[Beneath, str], object]] = {
    "read": lambda beneath, path: read(beneath, path),
    "write": lambda beneath, path: read(beneath, path, writable=True),
    "names": Beneath.names,
    "make_file": Beneath.make_file,
    "make_directory": Beneath.make_directory,
    "delete": Beneath.delete,
}
LOOKING = ("read", "write", "names")
MAKING = ("make_file", "make_directory")


def error(call: Callable[..., object], *arguments: object) -> int | None:
    with pytest.raises(OSError) as refused:
        call(*arguments)
    return refused.value.errno


def errors(beneath: Beneath, path: str) -> dict[str, int | None]:
    return {name: error(operation, beneath, path) for name, operation in OPERATIONS.items()}


# --- what is inside ---------------------------------------------------------------------------

GOOD_LINKS = {
    "link": "f",
    "d/link": "../f",
    "dirlink": "d",
    "there": "dirlink/sub/../../d/link",
    "dotlink": ".",
    "d/sub/same": "deep",
}


@pytest.fixture
def linked(beneath: Beneath, inside: Path) -> Beneath:
    for name, target in GOOD_LINKS.items():
        (inside / name).symlink_to(target)
    return beneath


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("link", b"file"),
        ("d/link", b"file"),
        ("dirlink/link", b"file"),
        ("there", b"file"),
        ("dotlink/dotlink/f", b"file"),
        ("dirlink/../f", b"file"),
        ("dirlink/sub/same", b"deep"),
        ("dirlink/sub/deep", b"deep"),
    ],
)
def test_links_that_stay_inside(linked: Beneath, path: str, data: bytes) -> None:
    assert read(linked, path) == data
    assert read(linked, path, writable=True) == data


def test_links_are_listed_as_what_they_lead_to(linked: Beneath) -> None:
    assert linked.names(".") == ["d", "dirlink", "dotlink", "e", "f", "link", "there"]
    assert linked.entry(".", "link") == (False, 4)
    assert linked.entry(".", "dirlink") == (True, 0)
    assert linked.entry("dirlink", "link") == (False, 4)
    assert linked.names("dirlink") == linked.names("d") == ["link", "sub"]


def test_a_link_is_deleted_and_not_what_it_leads_to(linked: Beneath, inside: Path) -> None:
    assert error(linked.delete, "dirlink/") == errno.ENOTDIR
    for name in GOOD_LINKS:
        linked.delete(name)
    assert sorted(os.listdir(inside)) == ["d", "e", "f"]
    assert (inside / "f").read_bytes() == b"file"


def test_as_many_links_as_linux_follows(beneath: Beneath, inside: Path) -> None:
    (inside / "l0").symlink_to("f")
    for number in range(1, 41):
        (inside / f"l{number}").symlink_to(f"l{number - 1}")
    assert read(beneath, "l39") == b"file"
    assert error(OPERATIONS["read"], beneath, "l40") == errno.ELOOP
    assert error(OPERATIONS["read"], beneath, "l40/x") == errno.ELOOP


def test_it_is_opened_once(beneath: Beneath, inside: Path, outside: Path) -> None:
    """Another directory that takes its name changes nothing."""
    inside.rename(inside.parent / "moved")
    inside.symlink_to(outside)
    assert read(beneath, "f") == b"file"
    assert error(beneath.names, "sub") == errno.ENOENT
    beneath.make_file("new")
    assert (inside.parent / "moved" / "new").exists()


def test_what_is_made_gets_the_masks_rights(beneath: Beneath, inside: Path) -> None:
    before = os.umask(0o027)
    try:
        beneath.make_file("new")
        beneath.make_directory("newdir")
    finally:
        os.umask(before)
    assert stat.S_IMODE((inside / "new").stat().st_mode) == 0o640
    assert stat.S_IMODE((inside / "newdir").stat().st_mode) == 0o750


def test_names_that_are_not_text(beneath: Beneath, inside: Path) -> None:
    beneath.make_file("\udcff\udcfe")
    assert os.listdir(os.fsencode(inside)).count(b"\xff\xfe") == 1
    assert beneath.names(".")[-1] == "\udcff\udcfe"
    assert beneath.entry(".", "\udcff\udcfe") == (False, 0)
    beneath.delete("\udcff\udcfe")


# --- what isn't: paths ------------------------------------------------------------------------

LEAVING = [
    "..",
    "../",
    "../.",
    "./..",
    "/..",
    "//..",
    "../f",
    "../inside/f",
    "../outside/secret",
    "../outside/new",
    "/../outside/secret",
    "./../outside/secret",
    "//..//outside//secret",
    ".././outside/secret",
    "e/../../outside/secret",
    "e/./../../outside/secret",
    "e//..//..//outside/secret",
    "d/sub/../../../outside/secret",
    "d/../e/../../outside/secret",
    "d/sub/.././../../outside",
    "../" * 40,
    "../" * 40 + "etc/passwd",
    "d/sub/" + "../" * 60 + "proc/self/status",
    "e/../..",
    "d/sub/../../..",
]


@pytest.mark.parametrize("path", LEAVING)
def test_paths_that_leave(beneath: Beneath, path: str) -> None:
    assert set(errors(beneath, path).values()) == {errno.EXDEV}


@pytest.mark.parametrize("path", ["/etc/passwd", "//etc/passwd", "///proc/self/root/etc/passwd"])
def test_absolute_paths_are_from_the_directory(beneath: Beneath, path: str) -> None:
    assert set(errors(beneath, path).values()) == {errno.ENOENT}
    assert read(beneath, "/f") == read(beneath, "///f") == b"file"


def test_absolute_path_of_what_is_outside(beneath: Beneath, outside: Path) -> None:
    assert set(errors(beneath, str(outside / "secret")).values()) == {errno.ENOENT}
    assert set(errors(beneath, "//" + str(outside / "secret")).values()) == {errno.ENOENT}


NO_PATHS = [
    "",
    "\0",
    "f\0",
    "f\0/../../outside/secret",
    "..\0",
    "d\0/sub",
    "\0/../outside/secret",
    "\ud800",
    "d/\udbff",
]


@pytest.mark.parametrize("path", NO_PATHS)
def test_texts_that_are_no_path(beneath: Beneath, inside: Path, path: str) -> None:
    assert set(errors(beneath, path).values()) == {errno.EINVAL}
    assert sorted(os.listdir(inside)) == ["d", "e", "f"]


TOO_LONG = [
    "n" * 256,
    "e/" + "n" * 254,
    "ä" * 128,
    "\udcff" * 256,
    "d/../" * 52 + "f",
    "x" * 5000,
    "/" * 256,
    "../" * 100,
]


@pytest.mark.parametrize("path", TOO_LONG, ids=range(len(TOO_LONG)))
def test_paths_that_are_too_long(beneath: Beneath, path: str) -> None:
    assert set(errors(beneath, path).values()) == {errno.ENAMETOOLONG}


def test_the_longest_name(beneath: Beneath, inside: Path) -> None:
    beneath.make_file("n" * 255)
    assert read(beneath, "n" * 255) == b""
    beneath.delete("n" * 255)


STRANGE = [
    "...",
    "....",
    ". .",
    " ..",
    ".. ",
    "..\\outside",
    "..;",
    "%2e%2e",
    "．．",
    "‥",
    "F",
    "CON",
]


@pytest.mark.parametrize("name", STRANGE)
def test_names_that_only_look_like_it(beneath: Beneath, inside: Path, name: str) -> None:
    beneath.make_file(name)
    assert os.path.isfile(inside / name)
    assert read(beneath, name) == b""
    beneath.delete(name)


SLASHED = ["f/", "f//", "f/.", "f/..", "f/../f", "f/../../outside/secret", "f/x", "d/sub/deep/"]


@pytest.mark.parametrize("path", SLASHED)
def test_files_are_no_directories(beneath: Beneath, path: str) -> None:
    assert set(errors(beneath, path).values()) == {errno.ENOTDIR}
    assert read(beneath, "f") == b"file"


@pytest.mark.parametrize("path", ["e/", "e//", "e/.", "e/./", "./e", "d/../e/"])
def test_directories_with_a_slash(beneath: Beneath, inside: Path, path: str) -> None:
    assert beneath.names(path) == []
    assert error(beneath.make_directory, path) == error(beneath.make_file, path) == errno.EEXIST
    beneath.delete(path)
    assert not (inside / "e").exists()


@pytest.mark.parametrize("path", [".", "/", "./", "/.", "//", "././/.", "e/..", "d/sub/../../"])
def test_the_directory_itself_stays(beneath: Beneath, path: str) -> None:
    assert error(beneath.delete, path) == errno.EPERM
    assert error(beneath.make_file, path) == error(beneath.make_directory, path) == errno.EEXIST
    assert beneath.names(path) == ["d", "e", "f"]


def test_what_is_above_something_is_not_empty(beneath: Beneath, inside: Path) -> None:
    assert error(beneath.delete, "d/sub/..") == errno.ENOTEMPTY
    assert error(beneath.delete, "d/sub/../") == errno.ENOTEMPTY
    assert (inside / "d" / "sub" / "deep").exists()


# --- what isn't: links ------------------------------------------------------------------------

SOMETHING_BELOW = ["", "/", "/.", "/..", "/secret", "/outside/secret", "/x/../secret"]


@pytest.mark.parametrize("name", list(trees.LINKS))
def test_links_that_leave(planted: Beneath, inside: Path, name: str) -> None:
    for operation in LOOKING:
        assert error(OPERATIONS[operation], planted, name) == errno.EXDEV, operation
    where, _, leaf = name.rpartition("/")
    assert planted.entry(where or ".", leaf) == (False, 0)
    # What is made is new: not through a link, whether it leads to something or to nothing.
    for operation in MAKING:
        assert error(OPERATIONS[operation], planted, name) == errno.EEXIST, operation
    planted.delete(name)
    assert not os.path.lexists(inside / name)


@pytest.mark.parametrize("below", SOMETHING_BELOW[1:])
@pytest.mark.parametrize("name", list(trees.LINKS))
def test_below_links_that_leave(planted: Beneath, inside: Path, name: str, below: str) -> None:
    found = errors(planted, name + below)
    if below.strip("/.") == "" and ".." not in below:
        # A link with a slash: for the host it is the directory behind, or it is no directory.
        assert found.pop("delete") == errno.ENOTDIR
        made = {found.pop("make_directory"), found.pop("make_file")}
        assert made <= {errno.EXDEV, errno.EEXIST}
    assert set(found.values()) == {errno.EXDEV}
    assert os.path.lexists(inside / name)


@pytest.mark.parametrize("name", list(trees.LOOPS))
@pytest.mark.parametrize("below", ["", "/x", "/../f"])
def test_loops_end(planted: Beneath, name: str, below: str) -> None:
    for operation in LOOKING:
        assert error(OPERATIONS[operation], planted, name + below) == errno.ELOOP
    assert planted.entry(".", name) == (False, 0)
    made = errno.ELOOP if below else errno.EEXIST
    for operation in MAKING:
        assert error(OPERATIONS[operation], planted, name + below) == made


def test_nothing_is_made_through_a_dangling_link(
    beneath: Beneath, inside: Path, outside: Path
) -> None:
    for number, target in enumerate(["nowhere", "e/nowhere", "d/sub/../nowhere"]):
        (inside / f"l{number}").symlink_to(target)
        for operation in LOOKING:
            assert error(OPERATIONS[operation], beneath, f"l{number}") == errno.ENOENT
        for operation in MAKING:
            assert error(OPERATIONS[operation], beneath, f"l{number}") == errno.EEXIST
        assert beneath.entry(".", f"l{number}") == (False, 0)
    assert not list(inside.rglob("nowhere"))


# --- what isn't: /proc and /dev ---------------------------------------------------------------


@linux
@pytest.mark.parametrize(
    "path",
    [
        "self/root",
        "self/root/etc/passwd",
        "self/cwd",
        "self/exe",
        "self/fd/{fd}",
        "thread-self/root/etc/passwd",
        "self/task/../root",
        "1/../self/cwd/..",
    ],
)
def test_links_that_are_no_links(tmp_path: Path, resolver: Resolver, path: str) -> None:
    """Even if somebody grants /proc."""
    beneath = Beneath("/proc", resolver=resolver)
    with (tmp_path / "held").open("wb") as held:
        refused = errors(beneath, path.format(fd=held.fileno()))
    # The walk takes them for what they say: an absolute path.
    expected = errno.ELOOP if isinstance(resolver, resolve.Openat2) else errno.EXDEV
    assert {refused["read"], refused["write"], refused["names"]} == {expected}
    beneath.close()


@linux
@pytest.mark.parametrize(
    "path",
    ["proc/self/status", "proc/self/mem", "proc/self/root/etc/passwd", "dev/null", "dev/fd/0"],
)
def test_what_is_mounted_inside(resolver: Resolver, path: str) -> None:
    beneath = Beneath("/", resolver=resolver)
    for operation in LOOKING:
        assert error(OPERATIONS[operation], beneath, path) == errno.EXDEV
    beneath.close()


@linux
@pytest.mark.parametrize("path", ["null", "zero", "tty", "full", "random", "./null"])
def test_devices_of_dev(resolver: Resolver, path: str) -> None:
    beneath = Beneath("/dev", resolver=resolver)
    assert error(OPERATIONS["read"], beneath, path) == errno.EPERM
    assert error(OPERATIONS["write"], beneath, path) == errno.EPERM
    assert error(OPERATIONS["names"], beneath, path) == errno.ENOTDIR
    assert error(OPERATIONS["read"], beneath, "fd/0") == errno.EXDEV
    assert error(OPERATIONS["read"], beneath, "stdin") == errno.EXDEV
    beneath.close()


# --- what isn't: fifos, sockets, devices ------------------------------------------------------


def test_specials_are_refused_and_not_waited_for(
    beneath: Beneath, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inside)
    with trees.plant_specials(inside) as names:
        for name in names:
            assert error(OPERATIONS["read"], beneath, name) == errno.EPERM
            assert error(OPERATIONS["write"], beneath, name) == errno.EPERM
            assert error(OPERATIONS["names"], beneath, name) == errno.ENOTDIR
            for operation in MAKING:
                assert error(OPERATIONS[operation], beneath, name) == errno.EEXIST
                assert error(OPERATIONS[operation], beneath, name + "/x") == errno.ENOTDIR
        for name in beneath.names("."):
            assert beneath.entry(".", name) == (
                (True, 0) if name in "de" else (False, 4 * (name == "f"))
            )
        for name in set(names) - {"e/../fifo"}:
            beneath.delete(name)
        assert beneath.names(".") == ["d", "e", "f"]


def test_a_fifo_in_a_files_place(
    beneath: Beneath, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the opening; to open it with nobody at the other end must not wait."""
    real = Beneath._look

    def look_then_swap(self: Beneath, path: bytes, flags: int = resolve.PATH) -> os.stat_result:
        found = real(self, path, flags)
        (inside / "f").unlink(missing_ok=True)
        os.mkfifo(inside / "f")
        return found

    monkeypatch.setattr(Beneath, "_look", look_then_swap)
    for operation in ("read", "write"):
        (inside / "f").unlink()
        (inside / "f").write_bytes(b"x")
        assert error(OPERATIONS[operation], beneath, "f") == errno.EPERM


# --- rights of the host -----------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ETXTBSY])
def test_what_can_only_be_read(
    beneath: Beneath, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    real = Beneath._resolve

    def refuse(self: Beneath, path: bytes, flags: int) -> int:
        if flags & os.O_RDWR:
            raise OSError(code, "no")
        return real(self, path, flags)

    monkeypatch.setattr(Beneath, "_resolve", refuse)
    descriptor, writable = beneath.open_file("f", writable=True)
    assert not writable
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(descriptor, b"x", 0)
    os.close(descriptor)


def test_other_errors_are_errors(beneath: Beneath, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Beneath._resolve

    def full(self: Beneath, path: bytes, flags: int) -> int:
        if flags & os.O_RDWR:
            raise OSError(errno.EMFILE, "too many")
        return real(self, path, flags)

    monkeypatch.setattr(Beneath, "_resolve", full)
    assert error(OPERATIONS["write"], beneath, "f") == errno.EMFILE


def test_reading_is_all_that_was_asked_for(beneath: Beneath) -> None:
    descriptor, writable = beneath.open_file("f", writable=False)
    assert not writable
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(descriptor, b"x", 0)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


# --- listing ----------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a directory was read."""
    found: list[int] = []
    real = module._list

    def counted(descriptor: int) -> list[str]:
        found.append(descriptor)
        return real(descriptor)

    monkeypatch.setattr(module, "_list", counted)
    return found


def test_a_settled_directory_is_read_once(
    inside: Path, resolver: Resolver, scans: list[int]
) -> None:
    clock = Clock()
    beneath = Beneath(inside, resolver=resolver, now_ns=clock)
    status = inside.stat()
    clock.ns = max(status.st_mtime_ns, status.st_ctime_ns) + module.SETTLED_NS
    for _ in range(3):
        assert beneath.names(".") == ["d", "e", "f"]
    assert len(scans) == 3  # the clock hasn't moved on enough
    clock.ns += 1
    for path in (".", "e/..", "/"):
        assert beneath.names(path) == ["d", "e", "f"]
    assert len(scans) == 4
    (inside / "new").touch()
    assert beneath.names(".") == ["d", "e", "f", "new"]
    os.utime(inside, ns=(status.st_atime_ns, status.st_mtime_ns))  # as archivers do
    assert beneath.names(".") == ["d", "e", "f", "new"]
    beneath.close()


def test_few_listings_are_remembered(inside: Path, resolver: Resolver, scans: list[int]) -> None:
    beneath = Beneath(inside, resolver=resolver, now_ns=lambda: 1 << 62)
    for number in range(2 * module.MAX_LISTINGS):
        beneath.make_directory(f"e/{number}")
    for number in range(2 * module.MAX_LISTINGS):
        assert beneath.names(f"e/{number}") == []
    assert len(beneath._listings) == module.MAX_LISTINGS
    beneath.close()


def test_a_huge_directory_is_an_error(beneath: Beneath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LISTED", 2)
    assert error(beneath.names, ".") == errno.EFBIG
    assert beneath.names("d") == ["sub"]


def test_an_entry_that_is_gone(beneath: Beneath) -> None:
    assert beneath.entry(".", "gone") == (False, 0)


# --- while somebody moves things about --------------------------------------------------------


class Racer:
    """Does two things in turn, in a thread of its own, while the test goes on."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = steps
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.error: BaseException | None = None

    def _run(self) -> None:
        try:
            for step in itertools.cycle(self._steps):
                if self._stop.is_set():
                    return
                step()
        except BaseException as error:  # the test must hear of it
            self.error = error

    def __enter__(self) -> Racer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise self.error


ROUNDS = 300


@pytest.mark.parametrize("operation", list(OPERATIONS))
@pytest.mark.parametrize("path", ["x", "x/secret", "x/sub/deep", "x/../f", "d/../x/empty", "x/new"])
def test_a_directory_that_turns_into_a_link(
    beneath: Beneath, inside: Path, outside: Path, operation: str, path: str
) -> None:
    """And back, all the time: it is the one or the other, and never the link's other side."""
    (inside / "real").mkdir()
    (inside / "real" / "secret").write_bytes(b"inside")
    (inside / "link").symlink_to("../outside")
    here = {name: str(inside / name) for name in ("real", "link", "x")}
    os.rename(here["real"], here["x"])
    racer = Racer(
        lambda: os.rename(here["x"], here["real"]),
        lambda: os.rename(here["link"], here["x"]),
        lambda: os.rename(here["x"], here["link"]),
        lambda: os.rename(here["real"], here["x"]),
    )
    # What is made or deleted inside is fair; but without `x` itself there is no race.
    if path == "x" and operation not in LOOKING:
        path = "x/other"
    with racer:
        for _ in range(ROUNDS):
            try:
                found = OPERATIONS[operation](beneath, path)
            except OSError:
                continue
            assert found in (None, b"inside", b"file", b"", ["secret"], ["new", "secret"]), found


@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_a_parent_that_is_moved_out_and_back(
    beneath: Beneath, inside: Path, tmp_path: Path, operation: str
) -> None:
    """`..` of a directory that was moved out is outside, where the canary is next door."""
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    there, away = str(inside / "d"), str(tmp_path / "elsewhere" / "deep" / "d")
    racer = Racer(lambda: os.rename(there, away), lambda: os.rename(away, there))
    with racer:
        for _ in range(ROUNDS):
            for path in (
                "d/sub/../../../../outside/secret",
                "d/sub/../../../outside/secret",
                "d/sub/../../outside/secret",
                "d/../../outside/secret",
            ):
                with pytest.raises(OSError):
                    OPERATIONS[operation](beneath, path)


@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_a_name_that_turns_into_a_link(
    beneath: Beneath, inside: Path, outside: Path, operation: str
) -> None:
    """The last name, by atomic replacement."""
    (inside / "x").write_bytes(b"inside")

    def to_link() -> None:
        (inside / "temporary").symlink_to("../outside/secret")
        (inside / "temporary").rename(inside / "x")

    def to_file() -> None:
        (inside / "temporary").write_bytes(b"inside")
        (inside / "temporary").rename(inside / "x")

    with Racer(to_link, to_file):
        for _ in range(ROUNDS):
            try:
                found = OPERATIONS[operation](beneath, "x")
            except OSError:
                continue
            assert found in (None, b"inside", b""), found
